"""The schema's rules hold in every row of every method, and no fit looks at who breaks one."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.table import DTYPES, Table
from pegai.errors import UsageError
from pegai.privacy.guarantee import Privacy
from pegai.schema import Schema, breaks_any, schema_from_dict
from pegai.synth.base import Fitted
from pegai.synth.catalog import CATALOG, load, make
from pegai.synth.running import Run

from .methods import QUICK, Tape, every, quick

RULES = {
    "stay": "discharge >= admission",
    "order": "admission <= operation <= discharge",
    "adult": "age >= 18",
    "sum": "total == a + b",
    "pregnant": "if sex == 'm' then pregnant == 'no'",
    "place": "if city in ['Bonn', 'Essen'] then state == 'NW'",
    "dead": "if died == 1 then not is_missing(cause)",
    "near": "abs(a - b) <= 6",
}
IMPOSSIBLE = [{"died": [0], "cause": ["heart", "other"]}]


BOTH = [(name, way) for name in CATALOG for way in (False, True) if quick(name).private or not way]
PRIVATE = [name for name, way in BOTH if way]


def ruled(*, required: bool = True, rules: dict[str, str] | None = None, **table: Any) -> Schema:
    """Dates in a chain, a sum, implications; with `required` False, anything may be missing."""

    def field(name: str, kind: str, low: Any = None, high: Any = None, **more: Any) -> Any:
        limits = {} if low is None else {"minimum": low, "maximum": high}
        own = {"source": "expert", **more.pop("pegai", {})}
        limits |= {"required": more.pop("always", required)}
        return {"name": name, "type": kind, "constraints": limits, "pegai": own, **more}

    first, last = "2020-01-01", "2024-12-31"
    named = RULES if rules is None else rules
    return schema_from_dict(
        {
            "fields": [
                field("age", "integer", 0, 110),
                field("sex", "string", categories=["f", "m"]),
                field("pregnant", "string", categories=["no", "yes"], always=False),
                field("city", "string", categories=["Bonn", "Essen", "Mainz"]),
                field("state", "string", categories=["NW", "RP"]),
                field("admission", "date", first, last),
                field("operation", "date", first, last, always=False),
                field("discharge", "date", first, last, always=False),
                field("a", "number", 0, 10, pegai={"decimals": 1}),
                field("b", "number", 0, 10, pegai={"decimals": 1}),
                field("total", "number", 0, 20, pegai={"decimals": 1}),
                field("cause", "string", categories=["heart", "other"], always=False),
                field("died", "integer", categories=[0, 1], always=True, pegai={"role": "target"}),
            ],
            "pegai": {
                "dataset": "toy",
                "rules": [{"name": n, "check": c} for n, c in named.items()],
                "impossible": IMPOSSIBLE,
                **table,
            },
        }
    )


def patients(schema: Schema, n: int = 150, *, kept: bool = True, gone: float = 0.0) -> Table:
    """Patients who keep the rules, or draw every column by itself; some cells are missing."""
    rng = np.random.default_rng(0)
    admission = rng.integers(18_262, 20_000, n)
    wait, after = rng.geometric(0.4, n), rng.geometric(0.2, n)
    if not kept:
        wait, after = rng.integers(-300, 300, n), rng.integers(-300, 300, n)
    low, high = (3, 9) if kept else (0, 10)
    a, b = rng.uniform(low, high, n).round(1), rng.uniform(low, high, n).round(1)
    city = rng.choice(["Bonn", "Essen", "Mainz"], n)
    sex, died = rng.choice(["f", "m"], n), rng.integers(0, 2, n)
    sure = city == "Mainz" if kept else rng.random(n) < 0.5
    women = sex == "f" if kept else np.full(n, True)
    cells: dict[str, Any] = {
        "age": rng.integers(18 if kept else 0, 100, n),
        "sex": sex,
        "pregnant": np.where(women & (rng.random(n) < 0.3), "yes", "no"),
        "city": city,
        "state": np.where(sure, "RP", "NW"),
        "admission": admission,
        "operation": admission + wait,
        "discharge": admission + wait + after,
        "a": a,
        "b": b,
        "total": (a + b).round(1) if kept else rng.uniform(0, 20, n).round(1),
        "cause": ["heart" if d == kept else None for d in died],
        "died": died,
    }
    frame = pl.DataFrame(cells)
    days = [pl.col(n).cast(pl.Int32) for n in ("admission", "operation", "discharge")]
    frame = frame.with_columns(days).cast({c.name: DTYPES[c.type] for c in schema.columns})
    absent = {
        name: pl.Series(rng.random(n) < gone)
        for name in schema.names
        if not schema[name].constraints.required
    }
    frame = frame.with_columns(
        pl.when(~hidden).then(pl.col(name)).alias(name) for name, hidden in absent.items()
    )
    return Table(frame, schema)


def fitted(name: str, table: Table, tmp_path: Path, *, private: bool) -> Fitted:
    if not private:
        return quick(name).fit(table, rng=1)
    return quick(name).fit(table, privacy=Privacy(2.0, 1e-4, ledger=tmp_path / "ledger.jsonl"))


def assert_kept(sampled: Table, schema: Schema) -> None:
    assert sampled.schema.rules == schema.rules
    for rule in schema.rules:
        broken = sampled.frame.select(rule.broken(schema.columns).sum()).item()
        assert not broken, (rule.name, broken)
    assert not sampled.frame.select(breaks_any(schema.impossible).any()).item()
    for column in schema.columns:
        assert not (column.constraints.required and sampled[column.name].null_count())
        if column.is_numeric:
            known = sampled.numbers(column.name)[~sampled[column.name].is_null().to_numpy()]
            assert column.minimum is not None
            assert column.maximum is not None
            assert ((known >= column.minimum) & (known <= column.maximum)).all(), column.name
        if column.pegai.decimals == 1:
            tenths = sampled[column.name].drop_nulls().to_numpy() * 10
            assert np.abs(tenths - tenths.round()).max(initial=0) < 1e-9


@pytest.mark.parametrize(("name", "private"), BOTH)
@pytest.mark.parametrize("required", [True, False])
def test_rules_hold_in_every_row(name: str, private: bool, required: bool, tmp_path: Path) -> None:
    schema = ruled(required=required)
    table = patients(schema, gone=0.15)
    model = fitted(name, table, tmp_path, private=private)
    sampled = model.sample(1000, rng=2)
    assert model.schema == table.schema
    assert len(sampled) == 1000
    assert_kept(sampled, schema)
    assert private or sampled["discharge"].null_count() > 20
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.schema == model.schema
    assert again.sample(300, rng=4).frame.equals(model.sample(300, rng=4).frame)
    if model.guarantee is not None:
        assert "rules" in str(model.guarantee.to_dict()["public"])


@every
def test_what_is_given_holds_with_the_rules(name: str, tmp_path: Path) -> None:
    schema = ruled()
    model = fitted(name, patients(schema, gone=0.15), tmp_path, private=False)
    day = dt.date(2022, 5, 6)
    cases: list[dict[str, Any]] = [
        {"discharge": "2022-05-06", "sex": "m"},
        {"operation": "2022-05-06", "admission": "2022-05-06", "total": 7.3},
        {"discharge": None, "a": 9.9, "total": 18.0},
        {"city": "Essen", "died": 1},
    ]
    for given in cases:
        sampled = model.sample(200, given=given, rng=3)
        assert len(sampled) == 200
        assert_kept(sampled, schema)
        for column, value in given.items():
            expected = day if value == "2022-05-06" else value
            assert set(sampled[column]) == {expected}
    with pytest.raises(UsageError, match=r"break the rule 'adult'.*age >= 18"):
        model.sample(5, given={"age": 17})
    with pytest.raises(UsageError, match="break the rule 'pregnant'"):
        model.sample(5, given={"sex": "m", "pregnant": "yes"})
    with pytest.raises(UsageError, match=r"every row given .*total=20.* is impossible"):
        model.sample(5, given={"total": 20.0, "a": 1.0})


@pytest.mark.parametrize(("name", "private"), BOTH)
def test_a_table_that_breaks_every_rule_gives_rows_that_keep_them(
    name: str, private: bool, tmp_path: Path
) -> None:
    schema = ruled(required=False)
    table = patients(schema, 60, kept=False)
    broken = [table.frame.select(r.broken(schema.columns).mean()).item() for r in schema.rules]
    assert min(broken) > 0.05
    model = fitted(name, table, tmp_path, private=private)
    assert_kept(model.sample(400, rng=2), schema)


@pytest.mark.parametrize("name", PRIVATE)
def test_one_patient_and_much_noise_still_give_rows(name: str, tmp_path: Path) -> None:
    schema = ruled()
    table = patients(schema, 1, kept=False)
    privacy = Privacy(0.05, 1e-4, ledger=tmp_path / "ledger.jsonl")
    model = quick(name).fit(table, privacy=privacy)
    for given in ({}, {"died": 1, "total": 11.0}):
        sampled = model.sample(20, given=given, rng=1)
        assert len(sampled) == 20
        assert_kept(sampled, schema)


@every
def test_rules_that_no_row_keeps_are_refused_before_anything_is_charged(
    name: str, tmp_path: Path
) -> None:
    schema = ruled(rules={"one": "a > b + 4", "two": "b > a", "three": "age >= 18"})
    table = patients(schema, 20)
    for private in (False, quick(name).private):
        with pytest.raises(UsageError, match=r"every row is impossible .*a > b \+ 4"):
            fitted(name, table, tmp_path, private=private)
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize(("name", "private"), BOTH)
def test_the_length_of_stay_is_learned(name: str, private: bool, tmp_path: Path) -> None:
    """Dates apart would be days to years off: stays of a few days are kept by the gap alone."""
    schema = ruled(rules={"stay": "discharge >= admission"})
    table = patients(schema, 300)
    sampled = fitted(name, table, tmp_path, private=private).sample(1000, rng=1)
    stay = (sampled["discharge"] - sampled["admission"]).dt.total_days().drop_nulls()
    real = (table["discharge"] - table["admission"]).dt.total_days()
    assert real.median() == pytest.approx(6, abs=1)
    middle = stay.median()
    assert isinstance(middle, float)
    assert 2 <= middle <= (30 if private else 14)


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("required", [True, False])
def test_record_and_replay_with_a_patient_who_breaks_rules(
    name: str, required: bool, tmp_path: Path
) -> None:
    """One patient more, who breaks all rules and lacks what is compared, changes nothing seen."""
    schema = ruled(required=required)
    table = patients(schema, 60)
    odd = table.frame.head(2).with_columns(
        admission=pl.Series([dt.date(2024, 1, 1), None], dtype=pl.Date),
        discharge=pl.Series([dt.date(1900, 1, 1), dt.date(2024, 1, 1)], dtype=pl.Date),
        total=pl.Series([1e300, None], dtype=pl.Float64),
        a=pl.Series([float("inf"), float("nan")], dtype=pl.Float64),
        age=pl.Series([3, None], dtype=pl.Int64),
    )
    for i in range(2):
        more = Table(pl.concat([table.frame, odd.slice(i, 1)]), schema)
        tapes, seen = (Tape(), Tape()), list[str]()
        for tape, data in zip(tapes, (table, more), strict=True):
            told: list[tuple[str, float]] = []
            model = make(name, QUICK[name]).fit(
                data,
                privacy=Privacy(2.0, 1e-4, ledger=tmp_path / f"l{i}{len(seen)}.jsonl"),
                recorder=tape,
                run=Run(lambda stage, share, told=told: told.append((stage, share))),
            )
            file = model.to_file()
            shapes = {key: (value.shape, str(value.dtype)) for key, value in file.weights.items()}
            parts = [file.state, shapes, told, file.schema.to_dict(), file.learned_as]
            seen.append(json.dumps(parts))
        assert seen[0] == seen[1]
        assert [c[:2] for c in tapes[0].calls] == [c[:2] for c in tapes[1].calls]
        for (label, kind, x, limit), (_, _, y, _) in zip(
            tapes[0].calls, tapes[1].calls, strict=True
        ):
            if kind == "gaussian" and "DP-SGD" not in label:
                assert np.linalg.norm(x - y) <= limit * (1 + 1e-9), label
