"""Settings tuned on private data without a charge never reach a private fit."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pegai.errors import PrivacyError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.synth.catalog import make
from pegai.workflow.compare_plan import CompareConfig, check_config
from pegai.workflow.config import FitSection
from pegai.workflow.outlook import method_outlook
from pegai.workflow.steps import fit_file, read_settings
from pegai.workflow.training import check_methods
from pegai.workflow.tune import TuneConfig, tune
from pegai.workflow.tune_origin import origin, settings_for
from pegai.workflow.tune_results import to_toml

BARE = {"min_count": 4}
MARKED = {**origin("none", ()), **BARE}
LINE = {"dataset": "clinic", "ledger_line": 3, "ledger_hash": "ab"}
PAID = {**origin("charge", [LINE]), **BARE}


def test_only_what_nobody_charged_is_refused() -> None:
    assert MARKED["tuned_on"] == "private data"
    assert PAID["tuned_charges"] == ["clinic, line 3, ab"]
    assert origin("simulate", ()) == {}
    for settings in (BARE, PAID):
        assert settings_for(settings, private=True) == BARE
    assert settings_for(MARKED, private=False) == BARE
    # What nobody knows is refused too, whatever it is.
    for said in ("private data", "charged twice", "", 3, []):
        with pytest.raises(PrivacyError, match="without a charge"):
            settings_for({**BARE, "tuned_on": said}, private=True)
    # A reader of settings who forgets to ask gets nothing either.
    with pytest.raises(UsageError, match="tuned_on"):
        make("independent", MARKED)


def doors(clinic: Path, settings: Path) -> dict[str, Callable[[bool], Any]]:
    """Every way of settings into a fit, with a budget or without."""
    data, schema, ledger = clinic / "patients.csv", clinic / "schema.json", clinic / "ledger"
    raw = tomllib.loads(settings.read_text())

    def budget(private: bool) -> dict[str, Any]:
        return {"epsilon": 1.0, "delta": 1e-3} if private else {"epsilon": None, "delta": None}

    def fit(private: bool) -> object:
        return fit_file(
            data, schema, clinic / f"model {private}", method="independent", **budget(private),
            ledger=ledger, dataset=None, settings=settings, overwrite=False, seed=None,
            progress=lambda *_: None,
        )  # fmt: skip

    def compare(by_method: dict[str, Any]) -> Callable[[bool], object]:
        def check(private: bool) -> object:
            epsilons = (1.0, None) if private else (None,)
            return check_config(
                CompareConfig(
                    data, schema, clinic / "c", ("independent",), epsilons, 1e-3, settings=by_method
                )
            )

        return check

    def run(private: bool) -> object:
        section = FitSection(method="independent", settings=raw, **budget(private))
        return check_methods([section])

    def tuned(private: bool) -> object:
        return tune(
            TuneConfig(
                schema, clinic / f"tuned {private}", "independent",
                data=data, trials=1, repeats=1, patients=60 if private else None, fixed=raw,
                **budget(private),
            )
        )  # fmt: skip

    whole = {"tuned_on": raw["tuned_on"], "independent": BARE} if "tuned_on" in raw else {}
    return {
        "fit": fit,
        "compare": compare({"independent": raw}),
        "compare, for the whole file": compare(whole),
        "run": run,
        "tune": tuned,
    }


NAMES = ["fit", "compare", "compare, for the whole file", "run", "tune"]


@pytest.mark.parametrize("name", NAMES)
def test_every_door_to_a_private_fit_is_shut(clinic: Path, name: str) -> None:
    pytest.importorskip("optuna")
    file = clinic / "settings.toml"
    file.write_text(to_toml(MARKED))
    door = doors(clinic, file)[name]
    with pytest.raises(PrivacyError, match="without a charge"):
        door(True)
    assert not (clinic / "ledger").exists()
    door(False)


@pytest.mark.parametrize("name", ["fit", "run", "compare"])
def test_charged_settings_go_into_private_fits(clinic: Path, name: str) -> None:
    file = clinic / "settings.toml"
    file.write_text(to_toml(PAID))
    doors(clinic, file)[name](True)


def test_a_plan_refuses_them_too(clinic: Path) -> None:
    file = clinic / "settings.toml"
    file.write_text(to_toml(MARKED))
    privacy = Privacy(1.0, 1e-3)
    with pytest.raises(PrivacyError, match="--private-mode simulate"):
        method_outlook("independent", clinic / "schema.json", privacy, settings=file)
    assert read_settings(file, private=False) == BARE
    file.write_text(to_toml(PAID))
    method_outlook("independent", clinic / "schema.json", privacy, settings=file)
