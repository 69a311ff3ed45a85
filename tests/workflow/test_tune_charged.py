"""Charged tuning: what is charged, what is refused, and that nothing else is seen of a patient."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.conform import load_table
from pegai.data.table import Table
from pegai.errors import BudgetExceededError, PlanError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.privacy.ledger import Ledger
from pegai.privacy.session import Session
from pegai.schema import read_schema, schema_from_dict, write_schema
from pegai.synth.catalog import make
from pegai.workflow import tune_charged
from pegai.workflow.tune import TuneConfig, TuneResult, tune
from pegai.workflow.tune_charged import SCORES, ScoringRule, Series, TrialSession

pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_charged, "ROWS", 200)


class Tape:
    """Records what mechanisms are given and replays fixed outputs in place of noise."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, np.ndarray, float]] = []

    def record(self, label: str, kind: str, values: np.ndarray, sensitivity: float) -> np.ndarray:
        self.calls.append((label, kind, values, sensitivity))
        rng = np.random.default_rng(len(self.calls))
        if kind == "poisson_sample":
            return rng.random(int(values[0])) < 0.3
        if kind == "choose":
            return rng.integers(len(values), size=1)
        return rng.normal(20, 10, values.shape)


def config(clinic: Path, name: str = "patients.csv", **more: Any) -> TuneConfig:
    given: dict[str, Any] = {
        "trials": 3, "epsilon": 1.0, "delta": 1e-3, "private_mode": "charge",
        "ledger": clinic / f"{name}.ledger", **more,
    }  # fmt: skip
    method = given.pop("method", "mst")
    folder = clinic / f"tuned {name}"
    return TuneConfig(clinic / "schema.json", folder, method, data=clinic / name, **given)


def test_all_trials_are_one_charge_that_costs_less_than_their_sum(clinic: Path) -> None:
    done = tune(config(clinic))
    assert [t.state for t in done.record.trials] == ["done"] * 3
    charges = [e for e in Ledger(clinic / "patients.csv.ledger").entries() if e.kind == "charge"]
    (charge,) = charges
    assert charge.label == "tune mst: 3 trials"
    assert 1.5 < charge.epsilon < 3
    assert {e.label for e in charge.events} == {
        SCORES, *(f"trial {i}: marginals" for i in range(3))
    }  # fmt: skip
    record = json.loads(done.files["record"].read_text())
    assert record["spent"][0]["ledger_line"] == charge.index
    assert record["spent"][0]["epsilon"] == charge.epsilon
    # How long a private fit took may tell of the data.
    assert {t["seconds"] for t in record["trials"]} == {None}
    again = tune(config(clinic))
    assert again.made == 0
    assert len(Ledger(clinic / "patients.csv.ledger").entries()) == charge.index + 1


def test_trials_and_the_fit_after_them_must_fit_the_budget(clinic: Path) -> None:
    Ledger(clinic / "patients.csv.ledger").set_budget("clinic", 2.5, 1e-2)
    before = (clinic / "patients.csv.ledger").read_bytes()
    with pytest.raises(BudgetExceededError, match="and the fit after them"):
        tune(config(clinic))
    assert (clinic / "patients.csv.ledger").read_bytes() == before
    assert not (clinic / "tuned patients.csv").exists()


def test_a_stopped_series_stays_charged(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sum_of, calls = ScoringRule.sum_of, []

    def stopped(self: ScoringRule, *tables: Table) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sum_of(self, *tables)

    monkeypatch.setattr(ScoringRule, "sum_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(config(clinic))
    notes: list[str] = []
    done = tune(config(clinic), notice=notes.append)
    assert [t.state for t in done.record.trials].count("done") == 3
    assert len(done.record.spent) == 2
    assert any("Their charge stays" in note for note in notes)


def neighbours(clinic: Path) -> dict[str, pl.DataFrame]:
    frame = pl.read_csv(clinic / "patients.csv", infer_schema_length=0)
    one = frame.slice(0, 1)
    return {
        "": frame,
        "more": pl.concat([frame, one.with_columns(mrn=pl.lit("1"))]),
        "odd": pl.concat(
            [frame, *[one.with_columns(mrn=pl.lit("1"), sex=pl.lit("?"), age=pl.lit("900"))] * 5]
        ),
        "empty": pl.concat(
            [frame, one.with_columns(pl.lit("").alias(n) for n in frame.columns if n != "mrn")]
        ),
        "no id": pl.concat([frame, *[one.with_columns(mrn=pl.lit(""))] * 9]),
    }


@pytest.mark.parametrize("method", ["mst", "ctgan"])
def test_record_and_replay_on_neighbouring_tables(clinic: Path, method: str) -> None:
    """With mechanism outputs frozen, a patient more or less may change nothing that is seen."""
    quick = {"hidden": 8, "privacy": {"steps": 2, "hidden": 8, "sampling_probability": 0.3}}
    fixed = quick if method == "ctgan" else {}
    seen: list[tuple[Tape, TuneResult, list[tuple[str, float]], str]] = []
    for name, frame in neighbours(clinic).items():
        frame.write_csv(clinic / f"p{name}.csv")
        tape, told = Tape(), []
        asked = config(clinic, f"p{name}.csv", method=method, fixed=fixed, trials=2)
        done = tune(asked, progress=lambda *x, told=told: told.append(x), recorder=tape)
        record = json.loads(done.files["record"].read_text())
        record["spent"] = [{k: x[k] for k in ("epsilon", "delta")} for x in record["spent"]]
        seen.append((tape, done, told, json.dumps(record)))
    tape, done, told, record = seen[0]
    for other, other_done, other_told, other_record in seen[1:]:
        assert [c[:2] for c in tape.calls] == [c[:2] for c in other.calls]
        assert (told, record) == (other_told, other_record)
        assert done.record.settings == other_done.record.settings
        for (label, kind, x, limit), (_, _, y, _) in zip(tape.calls, other.calls, strict=True):
            if kind == "gaussian" and "DP-SGD" not in label and "critic" not in label:
                assert np.linalg.norm(x - y) <= limit * (1 + 1e-9), label
            if kind == "choose":
                assert np.abs(x - y).max() <= limit * (1 + 1e-9), label
    assert sum(call[0] == SCORES for call in tape.calls) == 2


def test_a_patient_moves_a_score_by_at_most_one(clinic: Path) -> None:
    schema = read_schema(clinic / "schema.json")
    table = load_table(clinic / "patients.csv", schema, cell_by_cell=True)
    rule = ScoringRule.of(schema)
    drawn = make("mst").fit(table, rng=0).sample(300, rng=0)
    scores = rule.scores(drawn, table)
    assert np.abs(scores).max() <= 1
    whole, ids = rule.sum_of(drawn, table), table["mrn"].unique().sort()
    for one in ids[:10]:
        rest = Table(table.frame.filter(pl.col("mrn") != one), schema)
        assert abs(whole - rule.sum_of(drawn, rest)) <= 1
    assert rule.sum_of(drawn, table.head(0)) == 0


def test_the_score_prefers_the_truth(clinic: Path) -> None:
    schema = read_schema(clinic / "schema.json")
    table = load_table(clinic / "patients.csv", schema, cell_by_cell=True)
    rule = ScoringRule.of(schema)
    shuffled = table.frame.with_columns(
        pl.col(n).shuffle(seed=i) for i, n in enumerate(table.frame.columns)
    )
    constant = pl.concat([table.frame.slice(0, 1)] * len(table))
    found = [rule.sum_of(Table(f, schema), table) for f in (table.frame, shuffled, constant)]
    assert found[0] > found[1] > found[2]


def test_a_part_admits_its_own_events_only(clinic: Path, tmp_path: Path) -> None:
    schema = read_schema(clinic / "schema.json")
    privacy = Privacy(1.0, 1e-3, ledger=tmp_path / "l")
    series = Series.of([make("independent")] * 2, schema, privacy, first=0)
    # Two fits and two scores that cost as much as one: sqrt(3) times the mu of one.
    one = series.plans[0].events[0].to_dict()["noise_multiplier"]
    total = sum(e.count / e.to_dict()["noise_multiplier"] ** 2 for e in series.whole.events)
    assert math.sqrt(total) == pytest.approx(math.sqrt(3) / one)
    asked = Privacy(series.whole.epsilon, 1e-3, ledger=tmp_path / "l")
    session = Session.open(
        series.whole, asked, dataset="clinic", fingerprint_chunks=[b"x"], label="tune"
    )
    part = TrialSession(session, series.names[0], series.plans[0])
    part.gaussian("one-way tables", np.zeros(3), l2_sensitivity=1.0)
    with pytest.raises(PlanError, match="all are used"):
        part.gaussian("one-way tables", np.zeros(3), l2_sensitivity=1.0)
    with pytest.raises(PlanError, match="no event"):
        part.gaussian(SCORES, np.zeros(1), l2_sensitivity=1.0)
    assert session.remaining("trial 1: one-way tables") == 1


def test_rules_that_no_row_keeps_are_refused_before_the_charge(clinic: Path) -> None:
    raw = read_schema(clinic / "schema.json").to_dict()
    both = {n: [*read_schema(clinic / "schema.json")[n].levels, None] for n in ("sex", "ward")}
    raw["pegai"]["impossible"] = [both]
    write_schema(schema_from_dict(raw), clinic / "schema.json")
    with pytest.raises(UsageError, match="impossible"):
        tune(config(clinic))
    assert not (clinic / "patients.csv.ledger").exists()
    assert not (clinic / "tuned patients.csv").exists()


def test_pairs_of_very_many_cells_are_left_out_of_the_score(
    clinic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [f"{i}" for i in range(1500)]
    whole = read_schema(clinic / "schema.json")
    raw = whole.to_dict()
    raw["fields"] = [f for f in raw["fields"] if f["name"] in ("mrn", "sex")]
    raw["pegai"].pop("impossible", None)
    like = next(f for f in raw["fields"] if f["name"] == "sex")
    for name in ("much", "many"):
        field = json.loads(json.dumps(like).replace('"sex"', f'"{name}"'))
        field["categories"] = levels
        raw["fields"].append(field)
    rule = ScoringRule.of(schema_from_dict(raw))
    sizes = [rule.grids[i].size * rule.grids[j].size for i, j in rule.pairs]
    assert len(rule.pairs) == 2
    assert max(sizes) <= tune_charged.MAX_CELLS
    # With no pair left each column is looked at by itself.
    monkeypatch.setattr(tune_charged, "MAX_CELLS", 1)
    alone = ScoringRule.of(whole)
    assert alone.pairs == tuple((i, i) for i in range(len(alone.grids)))
    table = load_table(clinic / "patients.csv", whole, cell_by_cell=True)
    assert np.abs(alone.scores(table, table)).max() <= 1


def test_a_rule_that_cannot_be_made_costs_nothing(
    clinic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ScoringRule, "of", fails)
    with pytest.raises(MemoryError):
        tune(config(clinic))
    assert not Ledger(clinic / "patients.csv.ledger").entries()


def test_when_a_single_fit_ended_is_not_written(
    clinic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, sum_of = clinic / "tuned patients.csv" / "study.jsonl", ScoringRule.sum_of
    sizes: list[int] = []

    def watched(self: ScoringRule, *tables: Table) -> float:
        sizes.append(study.stat().st_size)
        return sum_of(self, *tables)

    monkeypatch.setattr(ScoringRule, "sum_of", watched)
    tune(config(clinic))
    assert len(sizes) == 3
    assert len(set(sizes)) == 1


def test_rows_without_an_id_do_not_hide_what_was_spent(clinic: Path) -> None:
    """The table is known again under another name, by the rows that a charge is bound to."""
    frame = pl.read_csv(clinic / "patients.csv", infer_schema_length=0)
    lost = frame.slice(0, 2).with_columns(mrn=pl.lit(""))
    pl.concat([frame, lost]).write_csv(clinic / "patients.csv")
    tune(config(clinic, trials=1))
    ledger = Ledger(clinic / "patients.csv.ledger")
    ledger.set_budget("clinic", 3.0, 1e-2)
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetExceededError, match="and the fit after them"):
        tune(replace(config(clinic, dataset="other"), folder=clinic / "again"))
    assert ledger.path.read_bytes() == before
