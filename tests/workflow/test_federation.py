"""pegai federate: from files to a model, a table and a report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pegai.cli.main import run
from pegai.data.datasets import load_heart_disease
from pegai.data.files import write_table
from pegai.data.splits import split
from pegai.errors import FederationError, UsageError
from pegai.evaluate.utility.places import auc_by_place
from pegai.privacy import Ledger
from pegai.schema import write_schema
from pegai.synth.catalog import load
from pegai.workflow.federation import SimulationRequest, plan_in_words, simulate_files, sites_from

SITES = ("cleveland", "hungarian", "va")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for site in SITES:
        table = load_heart_disease(site)
        write_table(table, tmp_path / f"{site}.csv")
    write_schema(load_heart_disease("va").schema, tmp_path / "heart.schema.json")
    (tmp_path / "plan.toml").write_text(
        'study = "heart"\nschema = "heart.schema.json"\nmethod = "mst"\nepsilon = 3.0\n'
        "delta = 1e-3\nrows = 50\n"
        + "sites = ["
        + ", ".join(f'{{ name = "{site}" }}' for site in SITES)
        + "]\n"
    )
    return {site: tmp_path / f"{site}.csv" for site in SITES}


def arguments(files: dict[str, Path], *more: str) -> list[str]:
    folder = files["va"].parent
    sites = [word for site, path in files.items() for word in ("--site", f"{site}={path}")]
    ledger = ["--ledger", str(folder / "ledger.jsonl")]
    out = ["--out", str(folder / "out")]
    return ["federate", "simulate", str(folder / "plan.toml"), *sites, *out, *ledger, *more]


def test_a_simulation_writes_model_rows_and_report(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = files["va"].parent
    assert run(arguments(files, "--json", "--quiet", "--compare")) == 0
    told = json.loads(capsys.readouterr().out)
    model = load(folder / "out" / "model")
    assert model.guarantee is not None
    assert told["epsilon"] == model.guarantee.epsilon
    assert (folder / "out" / "synthetic.csv").read_text().count("\n") == 51
    assert set(told["figures"]) == {"federated", "pooled", *(f"alone {s}" for s in SITES)}
    assert set(told["real"]) == {"all", *SITES}
    assert told["real"]["all"] > 0.8
    assert told["figures"]["federated"]["all"] > 0.6
    report = (folder / "out" / "federation.md").read_text()
    for text in ("What the coordinator saw", "rows at one site only", "| real patients |"):
        assert text in report
    plain = json.loads((folder / "out" / "federation.json").read_text())
    assert plain["participants"] == sorted(SITES)
    # Each site once, and once more alone; all in one place, once.
    charges = [e for e in Ledger(folder / "ledger.jsonl").entries() if e.kind == "charge"]
    assert len(charges) == 3 + 1 + 3


def test_the_same_command_goes_on_at_no_cost(files: dict[str, Path]) -> None:
    folder = files["va"].parent
    for _ in range(2):
        assert run(arguments(files, "--quiet")) == 0
    charges = [e for e in Ledger(folder / "ledger.jsonl").entries() if e.kind == "charge"]
    assert len(charges) == 3


def test_another_plan_needs_another_folder(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(files, "--quiet")) == 0
    assert run(arguments(files, "--quiet", "--noise", "secagg")) == 3
    assert "another plan" in capsys.readouterr().err


def test_a_budget_that_is_spent_is_refused(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = files["va"].parent
    name = load_heart_disease("va").schema.pegai.dataset or "heart"
    Ledger(folder / "ledger.jsonl").set_budget(f"{name} at va", 1.0, 1e-2)
    assert run(arguments(files, "--quiet")) == 3
    assert "va" in capsys.readouterr().err
    assert not (folder / "out" / "model").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [(["a"], "NAME=FILE"), (["=b"], "NAME=FILE"), (["a=b", "a=c"], "twice")],
)
def test_sites_that_are_none(options: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        sites_from(options)


def test_sites_must_be_those_of_the_plan(files: dict[str, Path]) -> None:
    folder = files["va"].parent
    some = {name: path for name, path in files.items() if name != "va"}
    request = SimulationRequest(folder / "plan.toml", some, folder / "out")
    with pytest.raises(UsageError, match="given are cleveland, hungarian"):
        simulate_files(request, lambda *_: None)


def test_keys_of_another_simulation_are_refused(files: dict[str, Path]) -> None:
    folder = files["va"].parent
    assert run(arguments(files, "--quiet")) == 0
    (folder / "out" / "run" / "simulation-keys.json").write_text("{}")
    with pytest.raises(FederationError, match="no keys"):
        request = SimulationRequest(folder / "plan.toml", files, folder / "out")
        simulate_files(request, lambda *_: None)


def test_a_plan_in_words(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = files["va"].parent / "plan.toml"
    told = plan_in_words(path)
    for label, width in told["in_one_place"].items():
        assert told["noise_in_patients"][label] == pytest.approx(math.sqrt(3) * width)
    assert run(["federate", "plan", str(path)]) == 0
    out = capsys.readouterr().out
    assert told["digest"] in out
    assert "cleveland, hungarian, va" in out


def test_the_template_is_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.toml"
    assert run(["federate", "template", "-o", str(path)]) == 0
    write_schema(load_heart_disease("va").schema, tmp_path / "heart.schema.json")
    assert plan_in_words(path)["sites"] == ["aarhus", "bergen", "cadiz"]
    assert run(["federate", "template", "-o", str(path)]) == 2
    assert "--force" in capsys.readouterr().err


def test_places_are_tested_by_one_model() -> None:
    parts = split(load_heart_disease(), rng=np.random.default_rng(0))
    first = parts.holdout.take(np.arange(len(parts.holdout)) % 2 == 0)
    few = parts.holdout.head(3)
    found: Any = auc_by_place(
        [parts.train], parts.train, {"all": parts.holdout, "half": first, "few": few}, seed=0
    )
    assert found["all"] > 0.85
    assert abs(found["half"] - found["all"]) < 0.08
    assert math.isnan(found["few"])


def test_networks_averaged_without_privacy(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """No ledger is charged, and model and report say that nothing is promised."""
    folder = files["va"].parent
    plan = folder / "plan.toml"
    assert run(arguments(files, "--without-privacy", "--quiet")) == 2  # mst has no networks
    text = plan.read_text().replace('method = "mst"', 'method = "ctgan"')
    plan.write_text(text + "\n[settings]\nmax_steps = 40\n")
    capsys.readouterr()
    assert run(arguments(files, "--without-privacy", "--json", "--quiet")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["epsilon"], told["noise"], told["exchanges"]) == (None, None, 0)
    assert not (folder / "ledger.jsonl").exists()
    assert load(folder / "out" / "model").guarantee is None
    assert "No formal guarantee" in (folder / "out" / "federation.md").read_text()


@pytest.mark.parametrize(
    ("more", "differing"), [(["--seed", "1"], "seed"), (["--holdout", "0.4"], "holdout")]
)
def test_a_run_is_not_gone_on_with_on_another_split(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], more: list[str], differing: str
) -> None:
    """Its model has learned from patients that would now be tested on."""
    assert run(arguments(files, "--quiet")) == 0
    capsys.readouterr()
    assert run(arguments(files, "--quiet", *more)) == 3
    assert f"a run with another {differing}" in capsys.readouterr().err
    assert run(arguments(files, "--quiet")) == 0
    files["va"].write_text(files["va"].read_text() + files["va"].read_text().splitlines()[-1])
    assert run(arguments(files, "--quiet")) == 3
