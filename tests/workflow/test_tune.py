"""Tuning without charges: spaces, simulated tables, the objective, studies, the choice."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pegai
from pegai.data.files import write_table
from pegai.errors import MissingExtraError, PrivacyError, UsageError
from pegai.schema import read_schema, schema_from_dict, write_schema
from pegai.streams import Streams
from pegai.synth.catalog import CATALOG, make
from pegai.workflow import tune_study
from pegai.workflow.tune import TuneConfig, tune
from pegai.workflow.tune_objective import Figures, Judge
from pegai.workflow.tune_results import choose, to_toml
from pegai.workflow.tune_simulate import Population
from pegai.workflow.tune_spaces import SPACES, nested, space_of
from pegai.workflow.tune_study import STUDY, Trial

pytest.importorskip("optuna")


def test_every_method_but_auto_has_a_space() -> None:
    assert set(SPACES) == set(CATALOG) - {"auto"}
    with pytest.raises(UsageError, match="'auto' has no search space"):
        space_of("auto", private=False, fixed={})
    with pytest.raises(UsageError, match="no setting without privacy"):
        space_of("mst", private=False, fixed={})


@pytest.mark.parametrize("name", list(SPACES))
def test_a_space_is_of_settings_that_exist_and_holds_the_defaults(name: str) -> None:
    for setting in (*SPACES[name].plain, *SPACES[name].private):
        value = CATALOG[name].config()
        for part in setting.path.split("."):
            value = getattr(value, part)
        assert setting.holds(value), setting
        for end in setting.ends:
            make(name, nested({setting.path: end}))


@pytest.mark.parametrize("seed", range(4))
def test_simulated_patients_fit_the_schema(clinic: Path, seed: int) -> None:
    raw = read_schema(clinic / "schema.json").to_dict()
    raw["pegai"]["impossible"] = [{"sex": ["F"], "ward": ["onco", None]}]
    schema = schema_from_dict(raw)
    rng = np.random.default_rng(seed)
    table = Population.random(schema, rng).patients(200, rng)
    assert len(table) == 200
    assert table["mrn"].n_unique() == 200
    assert table["surname"].null_count() == 200
    assert table["age"].drop_nulls().is_between(18, 90).all()
    assert table["crp"].drop_nulls().is_between(0, 200).all()
    both = table.frame.filter((pl.col("sex") == "F") & (pl.col("ward") == "onco"))
    assert both.height == 0
    again = np.random.default_rng(seed)
    assert Population.random(schema, again).patients(200, again).frame.equals(table.frame)


def test_a_copy_loses_by_its_secrecy() -> None:
    table = pegai.datasets.load_heart_disease("cleveland")
    halves = [table.take(np.arange(len(table)) % 2 == side) for side in (0, 1)]
    judge = Judge.of(halves[0].evaluated(), halves[1].evaluated(), Streams(0))
    copy = judge.figures(halves[0].modelled())
    other = judge.figures(make("independent").fit(halves[0], rng=0).sample(150, rng=0))
    assert copy.realism > 0.8
    assert copy.utility == 1.0
    assert copy.secrecy < 0.05
    assert other.secrecy > 0.8
    assert other.utility < 0.5
    assert Figures(0.5, float("nan"), 1.0).score == 0.75


def heart(folder: Path) -> tuple[Path, Path]:
    table = pegai.datasets.load_heart_disease("cleveland")
    write_table(table, folder / "heart.csv")
    write_schema(table.schema, folder / "heart.json")
    return folder / "heart.csv", folder / "heart.json"


def plain(folder: Path, **more: object) -> TuneConfig:
    data, schema = heart(folder)
    given = {"trials": 3, "repeats": 1, **more}
    return TuneConfig(schema, folder / "tuned", "independent", data=data, **given)  # type: ignore[arg-type]


def test_a_study_goes_on_and_its_settings_fit(tmp_path: Path) -> None:
    first = tune(plain(tmp_path))
    assert first.made == 3
    assert first.record.trials[0].own
    settings = tomllib.loads((tmp_path / "tuned" / "settings.toml").read_text())
    assert settings.pop("tuned_on") == "private data"
    make("independent", settings)
    record = json.loads((tmp_path / "tuned" / "tune.json").read_text())
    assert record["private_mode"] == "none"
    assert record["internal"]
    assert [t["state"] for t in record["trials"]] == ["done"] * 3
    assert record["chosen"]["settings"] == settings
    assert (tmp_path / "tuned" / "history.png").read_bytes()[:4] == b"\x89PNG"
    more = tune(plain(tmp_path, trials=4))
    assert more.made == 1
    assert more.record.trials[:3] == first.record.trials
    with pytest.raises(UsageError, match="another seed"):
        tune(plain(tmp_path, seed=7))


def test_an_interruption_keeps_finished_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, calls = Judge.figures, []

    def stopped(self: Judge, table: object) -> Figures:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return figures(self, table)  # type: ignore[arg-type]

    monkeypatch.setattr(Judge, "figures", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(plain(tmp_path))
    record = json.loads((tmp_path / "tuned" / "tune.json").read_text())
    assert [t["state"] for t in record["trials"]] == ["done", "interrupted"]
    done = tune(plain(tmp_path))
    assert done.made == 2
    assert sum(t.own for t in done.record.trials) == 1


def test_nothing_is_left_where_no_trial_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Judge, table: object) -> Figures:
        raise UsageError("no")

    monkeypatch.setattr(Judge, "figures", fails)
    with pytest.raises(UsageError):
        tune(plain(tmp_path))
    assert not (tmp_path / "tuned").exists()


def test_a_damaged_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / STUDY).write_text("no study\n")
    with pytest.raises(UsageError, match="damaged"):
        tune(plain(tmp_path))


def test_simulate_reads_no_data_and_charges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEGAI_LEDGER", str(tmp_path / "ledger.jsonl"))
    _, schema = heart(tmp_path)
    config = TuneConfig(
        schema, tmp_path / "tuned", "mst", data=tmp_path / "absent.csv",
        trials=2, repeats=1, epsilon=1.0, delta=1e-3, patients=100,
    )  # fmt: skip
    notes: list[str] = []
    done = tune(config, notice=notes.append)
    assert [t.state for t in done.record.trials] == ["done", "done"]
    assert "absent.csv is not read" in notes[0]
    assert done.record.spent == ()
    assert not (tmp_path / "ledger.jsonl").exists()


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="number of patients"):
        tune(plain(tmp_path, epsilon=1.0, delta=1e-3))
    with pytest.raises(UsageError, match="go together"):
        tune(plain(tmp_path, epsilon=1.0))
    with pytest.raises(UsageError, match="at least 1"):
        tune(plain(tmp_path, trials=0))
    _, schema = heart(tmp_path)
    with pytest.raises((PrivacyError, UsageError), match=r"privacy|private"):
        tune(TuneConfig(schema, tmp_path / "t", "trees", epsilon=1, delta=1e-3, patients=50))

    def absent(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(tune_study, "import_module", absent)
    with pytest.raises(MissingExtraError) as caught:
        tune(plain(tmp_path))
    assert "pip install 'pegai[tune]'" in caught.value.hint
    assert not (tmp_path / "tuned").exists()


def trial(number: int, *scores: float, own: bool = False, noise: float = 0.0) -> Trial:
    return Trial(number, "done", {"a": number}, scores, own=own, noise=noise)


def test_the_choice_keeps_the_defaults_within_chance() -> None:
    own = trial(0, 0.70, 0.60, 0.80, own=True)
    lucky, better = trial(1, 0.80, 0.55, 0.81), trial(2, 0.80, 0.71, 0.90)
    first, second = choose([own, lucky]), choose([own, lucky, better])
    assert first is not None
    assert second is not None
    assert (first.trial, first.best) == (own, lucky)
    assert "may be chance" in first.why
    assert second.trial == better
    noisy = choose([trial(0, 100.0, own=True, noise=10.0), trial(1, 120.0, noise=10.0)])
    assert noisy is not None
    assert noisy.trial.number == 0
    assert choose([]) is None


def test_toml_comes_back() -> None:
    settings = {"a": 1, "b": 1e-05, "c": True, "d": 'x"y', "p": {"q": 2.0, "r": {"s": [1, 2]}}}
    assert tomllib.loads(to_toml(settings, ["head"])) == settings
