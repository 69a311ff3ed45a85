"""Realism: ranking, intervals, invariances, rules, and what is not assessed."""

from __future__ import annotations

import json
import math
from functools import cache

import numpy as np
import polars as pl
import pytest

from pegai.data.datasets import load_heart_disease
from pegai.data.splits import split
from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.score_realism import (
    measure_realism,
    prepare_realism,
    realism_plots,
    realism_scores,
)
from pegai.evaluate.tiers import QUICK, STANDARD
from pegai.schema import Schema, schema_from_dict
from pegai.streams import Streams

NAMES = {
    *("equivalent_sample", "equivalent_patients", "tvd_1way", "tvd_2way", "tvd_3way", "ks"),
    *("wasserstein", "correlation_difference", "contingency_difference", "missing_rates"),
    *("missing_patterns", "density", "coverage", "pmse_ratio", "rule_violations"),
}


def prepare(train, holdout, *, tier=QUICK, seed=0):
    features = fit_features(train)
    coded = encode(features, train), encode(features, holdout)
    return features, prepare_realism(train, holdout, *coded, Streams(seed), tier=tier)


def score(train, holdout, *synthetics, seed=0):
    features, prepared = prepare(train, holdout, seed=seed)
    measured = [measure_realism(prepared, t, encode(features, t)) for t in synthetics]
    found = realism_scores(prepared, measured)
    json.dumps(realism_plots(prepared, measured), allow_nan=False)
    return {s.name: s for s in found}, realism_plots(prepared, measured)


def sequential_trees(train: Table, leaf: int, rng: np.random.Generator) -> Table:
    """CART column by column, each cell drawn from its leaf."""
    from sklearn.tree import DecisionTreeRegressor

    codes = [
        train.numbers(c.name)
        if c.is_numeric
        else train.texts(c.name).rank("dense").cast(pl.Float64).to_numpy()
        for c in train.columns
    ]
    real = np.column_stack([np.where(np.isnan(v), -99.0, v) for v in codes])
    n = len(train)
    source = np.empty(real.shape, dtype=int)
    made = np.empty(real.shape)
    for j in range(real.shape[1]):
        leaves = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        if j:
            tree = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=0)
            tree.fit(real[:, :j], real[:, j])
            leaves = tree.apply(real[:, :j]), tree.apply(made[:, :j])
        order = np.argsort(leaves[0], kind="stable")
        low, high = (
            np.searchsorted(leaves[0][order], leaves[1], side=s) for s in ("left", "right")
        )
        source[:, j] = order[low + (rng.random(n) * (high - low)).astype(int)]
        made[:, j] = real[source[:, j], j]
    columns = {
        c.name: train.frame[c.name].gather(source[:, j]) for j, c in enumerate(train.columns)
    }
    return Table(pl.DataFrame(columns), train.schema)


@cache
def heart(seed: int) -> tuple[Table, Table, Table]:
    table = load_heart_disease()
    first = split(table, holdout=1 / 3, rng=Streams(seed).get("split"))
    second = split(first.train, holdout=0.5, rng=Streams(seed + 50).get("split"))
    return second.train, first.holdout, second.holdout


@pytest.mark.parametrize(("seed", "tier"), [(0, STANDARD), (1, QUICK)])
def test_fresh_patients_rank_first_and_independent_columns_last(seed, tier, independent):
    train, holdout, fresh = heart(seed)
    features, prepared = prepare(train, holdout, tier=tier)
    tables = {
        "fresh": fresh,
        "copy": train,
        "trees": sequential_trees(train, 15, np.random.default_rng(seed)),
        "independent": independent(train, seed),
    }
    worth = {}
    for name, table in tables.items():
        measured = measure_realism(prepared, table, encode(features, table))
        worth[name] = realism_scores(prepared, [measured])[0]
    assert worth["copy"].value == 1.0  # by construction: fidelity does not judge copying
    assert "at least all" in worth["copy"].note
    # Seen over eight splits: fresh 0.56 to 1, trees 0.35 to 0.44, independent 0.02.
    assert worth["fresh"].value > 0.55
    assert 0.25 < worth["trees"].value < 0.5
    assert worth["independent"].value < 0.06 < worth["trees"].low
    assert "predicting columns from the others" in worth["independent"].note
    assert "see the privacy scores" in worth["fresh"].note


def test_a_subsample_is_worth_its_size(patients):
    train, holdout = patients(2000, 1), patients(2000, 2)
    for size in (60, 400):
        found, _ = score(train, holdout, *(patients(size, 10 + s) for s in range(3)))
        # The smallest of four answers errs on the low side.
        assert 0.55 * size < found["equivalent_patients"].value < 1.3 * size
        assert found["equivalent_patients"].low < size


def test_a_defect_in_one_place_is_seen_there(patients, independent):
    train, holdout, fresh = patients(400, 1), patients(400, 2), patients(400, 3)
    null, _ = score(train, holdout, fresh)
    for name in ("tvd_1way", "ks", "missing_rates", "missing_patterns", "correlation_difference"):
        assert null[name].value < 2.5 * max(null[name].baseline, 0.01), name
    assert 0.5 < null["pmse_ratio"].value < 1.7
    assert abs(null["density"].value - null["density"].baseline) < 0.2
    lost, _ = score(train, holdout, independent(train, 0))
    assert lost["correlation_difference"].value > 2 * null["correlation_difference"].value
    assert lost["contingency_difference"].value > 2 * null["contingency_difference"].value
    assert lost["tvd_1way"].value < 2 * null["tvd_1way"].value
    assert lost["pmse_ratio"].value > 1.5
    gone = pl.lit(None).cast(pl.Float64).alias("lab")
    older = Table(fresh.frame.with_columns(pl.col("age") + 30, gone), fresh.schema)
    moved, plots = score(train, holdout, older)
    assert moved["wasserstein"].value > 4 * null["wasserstein"].value
    assert moved["missing_rates"].value > 5 * null["missing_rates"].value
    assert moved["ks"].value > 3 * null["ks"].value
    assert {plots["worst_1way"][0]["columns"][0], plots["worst_1way"][1]["columns"][0]} == {
        "age",
        "lab",
    }
    assert plots["worst_missing"][0]["columns"] == ["lab"]


def figures(found):
    return {name: (s.value, s.low, s.high, s.baseline, s.values) for name, s in found.items()}


def test_row_order_units_and_names_change_nothing(patients):
    train, holdout, fake = patients(120, 1), patients(90, 2), patients(100, 3)
    first, plots = score(train, holdout, fake)
    again, plots_again = score(train, holdout, fake)
    assert repr(figures(first)) == repr(figures(again))
    assert plots == plots_again
    rng = np.random.default_rng(0)
    shuffled = [t.take(rng.permutation(len(t))) for t in (train, holdout, fake)]
    assert repr(figures(score(*shuffled)[0])) == repr(figures(first))

    def changed(table: Table) -> Table:
        fields = [dict(f) for f in table.schema.to_dict()["fields"]]
        for field in fields:
            if field["name"] == "ward":
                field["categories"] = [{"value": v} for v in "zyxw"]
            if field["name"] == "pressure":
                field.pop("pegai", None)
        frame = table.frame.with_columns(
            pl.col("ward").replace_strict(dict(zip("abcd", "zyxw", strict=True))),
            pl.col("pressure") * 0.133322 + 4,
        )
        return Table(frame, schema_from_dict({"fields": fields}))

    renamed = score(*(changed(t) for t in (train, holdout, fake)))[0]
    for name, score_ in first.items():
        assert renamed[name].value == pytest.approx(score_.value, rel=1e-6, nan_ok=True), name
    other = score(train, holdout, fake, seed=1)[0]
    assert other["equivalent_patients"].value != first["equivalent_patients"].value


def test_names_groups_and_several_tables(patients):
    found, plots = score(patients(200, 1), patients(150, 2), *(patients(200, s) for s in (3, 4, 5)))
    assert set(found) == NAMES
    assert {s.group for s in found.values()} == {"fidelity"}
    for name, item in found.items():
        if name != "rule_violations":
            assert item.n == len(item.values) == 3
            assert item.low <= item.value <= item.high, name
            assert not math.isnan(item.baseline), name
    assert next(iter(found)) == "equivalent_sample"
    assert found["equivalent_sample"].baseline == 1.0
    assert "pegai.rules" in found["rule_violations"].note
    assert not found["rule_violations"].assessed
    curve = plots["equivalent_sample"]
    assert [q["name"] for q in curve["questions"]] == ["1way", "2way", "3way", "conditionals"]
    for question in curve["questions"]:
        assert np.all(np.diff(question["real"]) <= 1e-12)
        assert len(question["real"]) == len(curve["patients"])
        assert len(question["synthetic"]) == 3


def test_tiny_and_degenerate_tables(patients):
    few, _ = score(patients(40, 1), patients(5, 2), patients(40, 3))
    assert not any(s.assessed for s in few.values())
    assert all("20 are needed" in s.note or "no rules" in s.note for s in few.values())
    small, _ = score(patients(5, 1), patients(30, 2), patients(5, 3))
    assert not small["equivalent_sample"].assessed
    assert "fewer than 20 training patients" in small["equivalent_sample"].note
    assert not small["coverage"].assessed
    assert small["tvd_2way"].assessed
    schema = patients(5, 1).schema
    empty = pl.DataFrame(
        {n: pl.Series([None] * 50, dtype=t) for n, t in patients(5, 1).frame.schema.items()}
    )
    nothing, _ = score(patients(60, 1), patients(60, 2), Table(empty, schema))
    assert nothing["ks"].value == 1.0
    assert nothing["equivalent_sample"].value < 0.2
    constant, _ = score(Table(empty, schema), Table(empty, schema), Table(empty, schema))
    assert constant["tvd_3way"].value == 0.0
    assert not constant["ks"].assessed
    one = patients(60, 1).select(["sex"])
    single, _ = score(one, one, one)
    assert not single["tvd_2way"].assessed
    assert "has no pairs" in single["tvd_2way"].note
    assert single["equivalent_sample"].value == 1.0


def several_visits(n: int, seed: int) -> Table:
    """Patients with three equal rows each."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=n), 3)
    fields = [{"name": "id", "type": "string"}, {"name": "x", "type": "number"}]
    unit = {"unit": "id", "max_rows_per_unit": 3}
    frame = pl.DataFrame({"id": np.repeat([f"p{i}" for i in range(n)], 3), "x": x})
    return Table(frame, schema_from_dict({"fields": fields, "pegai": unit}))


def test_patients_are_counted_not_rows():
    found, _ = score(several_visits(80, 1), several_visits(60, 2), several_visits(80, 3))
    assert found["equivalent_patients"].baseline == 80


def ruled(table: Table, *rules: dict[str, str], impossible: object = ()) -> Table:
    raw = {**table.schema.to_dict(), "pegai": {"rules": rules, "impossible": impossible}}
    return Table(table.frame, schema_from_dict(raw))


def test_broken_rules_are_an_excess_over_the_holdout(patients):
    rules = (
        {"name": "age", "check": "age < 80", "title": "Nobody is 80"},
        {"name": "ward", "check": "if ward == 'a' then grade <= 2"},
    )
    never = [{"ward": ["a"], "grade": [3]}]
    train, holdout, fresh = (ruled(patients(300, s), *rules, impossible=never) for s in (1, 2, 3))
    good, _ = score(train, holdout, fresh)
    assert [n for n in good if n.startswith("rule")] == [
        "rule_violations",
        "rule_violations/age",
        "rule_violations/ward",
        "rule_violations/impossible:1",
    ]
    real = (holdout.frame["age"] >= 80).mean()
    fake = (fresh.frame["age"] >= 80).mean()
    found = good["rule_violations/age"]
    assert found.value == pytest.approx(fake - real)
    assert found.low < 0 < found.high
    assert found.title == "Nobody is 80"
    assert f"{real:.2%} of the holdout" in found.note
    assert good["rule_violations/ward"].value == 0.0
    assert good["rule_violations/impossible:1"].value == 0.0
    broken = Table(fresh.frame.with_columns(pl.lit("a").alias("ward")), fresh.schema)
    bad, _ = score(train, holdout, broken, fresh, broken)
    worst = bad["rule_violations"]
    assert worst.value == bad["rule_violations/ward"].value > 0.1
    assert worst.low <= bad["rule_violations/ward"].low
    assert "the worst of 3" in worst.note
    assert worst.n == 3


def test_a_missing_value_keeps_a_rule(patients):
    check = {"name": "lab", "check": "lab > 0"}
    tables = [ruled(patients(60, s), check) for s in (1, 2)]
    gone = tables[0].frame.with_columns(pl.lit(None).cast(pl.Float64).alias("lab"))
    found, _ = score(*tables, Table(gone, tables[0].schema))
    assert found["rule_violations"].value == 0.0
    assert isinstance(tables[0].schema, Schema)
