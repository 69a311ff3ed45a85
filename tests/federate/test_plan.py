"""Plans: one word more is another plan, and what can't be run is refused when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pegai.errors import PrivateDomainError, UsageError
from pegai.federate.plan import plan_from_dict, read_plan
from pegai.schema import write_schema

from .sites import NAMES, Make, small_schema


def draft(**changes: Any) -> dict[str, Any]:
    return {
        "study": "heart",
        "schema": small_schema().to_dict(),
        "epsilon": 1.0,
        "delta": 1e-4,
        "sites": [{"name": name} for name in NAMES],
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 1.0000001},
        {"delta": 2e-4},
        {"method": "mst"},
        {"settings": {"steps": 999}},
        {"noise": "secagg"},
        {"quorum": 2},
        {"study": "heart2"},
        {"sites": [{"name": name} for name in NAMES[:2]]},
        {"rows": 999},
    ],
)
def test_another_word_is_another_plan(changes: dict[str, Any]) -> None:
    assert plan_from_dict(draft()).digest != plan_from_dict(draft(**changes)).digest


def test_the_schema_and_the_keys_are_in_the_digest(federation: Make) -> None:
    plan = plan_from_dict(draft())
    other = small_schema().to_dict()
    other["fields"][0]["constraints"]["maximum"] += 1
    assert plan_from_dict(draft(schema=other)).digest != plan.digest
    assert federation().plan.digest != federation().plan.digest


def test_a_plan_is_the_same_after_it_has_travelled(federation: Make) -> None:
    plan = federation().plan
    back = plan_from_dict(json.loads(plan.to_bytes()))
    assert back.digest == plan.digest
    assert back.pinned == plan.pinned


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epsilon": 0}, "epsilon"),
        ({"epsilon": 100}, "epsilon"),
        ({"delta": 0.5}, "delta"),
        ({"sites": [{"name": "a"}]}, "sites"),
        ({"sites": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"sites": [{"name": "a/../b"}, {"name": "c"}]}, "sites"),
        ({"sites": [{"name": "a", "key": "abc"}, {"name": "b"}]}, "32 bytes"),
        ({"quorum": 4}, "quorum"),
        ({"noise": "secagg", "quorum": 2, "colluders": 2}, "colluders"),
        ({"noise": "secagg", "quorum": 1, "colluders": 0}, "quorum of at least 2"),
        ({"sites_a_patient": 4}, "sites_a_patient"),
        ({"method": "trees"}, "method"),
        ({"nois": "local"}, "nois"),
        ({"settings": {"no_such": 1}}, "no_such"),
    ],
)
def test_what_can_not_be_run_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        plan_from_dict(draft(**changes))


def test_bounds_from_private_data_are_refused() -> None:
    schema = small_schema().to_dict()
    schema["fields"][0]["pegai"]["source"] = "private"
    with pytest.raises(PrivateDomainError, match="age"):
        plan_from_dict(draft(schema=schema))


def test_a_draft_names_the_schema_file(tmp_path: Path) -> None:
    write_schema(small_schema(), tmp_path / "heart.schema.json")
    text = """
        study = "heart"
        schema = "heart.schema.json"
        epsilon = 1.0
        delta = 1e-4
        sites = [{ name = "aarhus" }, { name = "bergen" }, { name = "cadiz" }]
    """
    (tmp_path / "plan.toml").write_text(text)
    plan = read_plan(tmp_path / "plan.toml")
    assert plan.digest == plan_from_dict(draft()).digest
    (tmp_path / "plan.json").write_bytes(plan.to_bytes())
    assert read_plan(tmp_path / "plan.json").digest == plan.digest


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"= nothing"])
def test_a_plan_that_can_not_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "plan.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"plan\.toml"):
        read_plan(path)


def test_each_mode_says_what_it_rests_on() -> None:
    public = {
        noise: " ".join(plan_from_dict(draft(noise=noise)).privacy.public)
        for noise in ("local", "secagg", "central")
    }
    assert all("rows at one site only" in text for text in public.values())
    assert "no more than 1 leave out" in public["secagg"]
    assert "no real run" in public["central"]


def test_noise_of_sums() -> None:
    """Variance by that of one full noise: all K parts of which K - t are counted on."""
    local, shared, central = (
        plan_from_dict(draft(noise=noise)) for noise in ("local", "secagg", "central")
    )
    assert local.noise_variance(3) == 3
    assert shared.noise_variance(3) == pytest.approx(1.5)
    assert central.noise_variance(3) == 1


def test_patients_of_several_sites_cost_more() -> None:
    """Local noise: half the budget each. Sums: twice the sensitivity, so four times the noise."""
    once, twice = plan_from_dict(draft()), plan_from_dict(draft(sites_a_patient=2))
    assert twice.site_budget == pytest.approx(once.site_budget / 2)
    assert twice.sensitivity_factor == 1
    shared = plan_from_dict(draft(sites_a_patient=2, noise="secagg"))
    assert shared.site_budget == once.site_budget
    assert shared.sensitivity_factor == 2
    assert shared.noise_variance(3) == pytest.approx(6.0)
