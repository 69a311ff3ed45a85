"""Coefficients, survival, importance and subgroups of whole tables."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.score_inference import (
    inference_plots,
    inference_scores,
    measure_inference,
    prepare_inference,
)
from pegai.evaluate.tiers import QUICK, STANDARD
from pegai.schema import schema_from_dict
from pegai.streams import Streams


def followed(table: Table, seed: int) -> Table:
    """Follow-up and death that depend on age and smoking."""
    rng = np.random.default_rng(seed)
    risk = 0.05 * (table.frame["age"].to_numpy() - 60) + table.frame["smoker"].to_numpy()
    died, left = rng.exponential(5 * np.exp(-risk)), rng.uniform(1, 8, len(table))
    raw = table.schema.to_dict()
    raw["fields"] = [
        *raw["fields"],
        {"name": "years", "type": "number", "pegai": {"role": "time"}},
        {"name": "died", "type": "boolean", "pegai": {"role": "event"}},
    ]
    frame = table.frame.with_columns(
        pl.Series("years", np.minimum(died, left).round(2)), pl.Series("died", died <= left)
    )
    return Table(frame, schema_from_dict(raw))


@pytest.fixture(scope="module")
def tables(patients):
    return [followed(patients(n, seed), seed) for n, seed in ((400, 1), (400, 2), (400, 3))]


def run(train, holdout, synthetics, *, tier=STANDARD, **settings):
    features = fit_features(train)
    sides = encode(features, train), encode(features, holdout)
    prepared = prepare_inference(train, holdout, *sides, Streams(0), tier=tier, **settings)
    measured = [measure_inference(prepared, t, encode(features, t)) for t in synthetics]
    return (
        {score.name: score for score in inference_scores(prepared, measured)},
        inference_plots(prepared, measured),
    )


@pytest.fixture(scope="module")
def fresh(tables):
    return run(tables[0], tables[1], [tables[2]])


def test_fresh_patients_score_as_the_training_table(fresh):
    scores, _ = fresh
    assert scores["coefficient_overlap"].value > 0.6
    assert scores["coefficient_sign_flips"].value == 0
    assert scores["coefficient_coverage"].value > 0.7
    assert scores["hazard_overlap"].value > 0.5
    assert scores["survival_distance"].value < 0.06
    assert scores["rmst_difference"].low == 0.0
    assert scores["importance_agreement"].value > 0.7
    gap = scores["subgroup_gap"]
    assert gap.low <= 0.0 <= gap.high
    for score in scores.values():
        assert score.assessed or score.note.startswith("not assessed"), score
        if not math.isnan(score.low):
            assert score.low <= score.value <= score.high, score.name


def test_planted_defects_are_seen(tables, fresh, independent):
    good, _ = fresh
    train, holdout, synthetic = tables
    broken = independent(synthetic, 0)
    late = broken.frame.with_columns(pl.col("years") * 2)
    found, _ = run(train, holdout, [Table(late, broken.schema)])
    assert found["coefficient_overlap"].high < good["coefficient_overlap"].low + 0.1
    assert found["coefficient_agreement"].value < good["coefficient_agreement"].value - 0.2
    assert found["coefficient_bias"].value > good["coefficient_bias"].value + 0.5
    assert found["survival_distance"].low > found["survival_distance"].baseline
    assert found["rmst_difference"].low > 0
    assert found["subgroup_gap"].low > found["subgroup_gap"].baseline
    assert found["importance_agreement"].value < good["importance_agreement"].value


def test_a_missing_subgroup_is_named(tables):
    train, holdout, synthetic = tables
    young = synthetic.take((synthetic["age"] < 60).to_numpy())
    scores, plots = run(train, holdout, [young], tier=QUICK)
    assert scores["subgroup_share/age=above 65"].value == 0
    assert scores["subgroup_share/age=above 65"].high < 0.2
    assert scores["subgroup_share/age=below 45"].low > 1
    by_group = {row["group"]: row for row in plots["subgroups"]}
    assert by_group["above 65"]["share_synthetic"] == 0
    assert by_group["above 65"]["n"] == (holdout["age"] > 65).sum()


def test_a_flipped_effect_is_a_sign_flip(tables):
    train, holdout, synthetic = tables
    turned = synthetic.frame.with_columns((120 - pl.col("age")).alias("age"))
    scores, _ = run(train, holdout, [Table(turned, synthetic.schema)], tier=QUICK)
    assert scores["coefficient_sign_flips"].value > 0
    assert scores["coefficient_sign_flips"].baseline == 0


def test_false_alarms_of_the_largest_gap(patients):
    """Fresh patients: no more than 4 of 20 largest gaps leave out 0 (p < 0.003 at a true 5 %)."""
    alarms = 0
    for seed in range(20):
        real, holdout, other = (patients(150, 100 + 3 * seed + k) for k in range(3))
        scores, _ = run(real, holdout, [other], tier=QUICK)
        alarms += scores["subgroup_gap"].low > 0
    assert alarms <= 4


def test_same_seed_same_bytes_and_row_order(tables, fresh):
    train, holdout, synthetic = tables
    order = np.random.default_rng(0).permutation(400)
    mixed = [Table(t.frame[order], t.schema) for t in (train, holdout, synthetic)]
    scores, plots = run(mixed[0], mixed[1], [mixed[2]])
    assert json.dumps(plots) == json.dumps(fresh[1])
    # NaN is not equal to itself, its text is.
    assert repr(scores) == repr(fresh[0])


def test_names_of_levels_and_units_change_nothing(tables, fresh):
    names = {"a": "west", "b": "z", "c": "5", "d": "A"}
    changed = []
    for table in tables:
        raw = table.schema.to_dict()
        ward = next(f for f in raw["fields"] if f["name"] == "ward")
        ward["categories"] = [{"value": v} for v in names.values()]
        frame = table.frame.with_columns(
            pl.col("ward").replace_strict(names), pl.col("years") * 365.25, pl.col("lab") * 18.02
        )
        changed.append(Table(frame, schema_from_dict(raw)))
    scores, _ = run(changed[0], changed[1], [changed[2]])
    for name, score in fresh[0].items():
        assert scores[name].value == pytest.approx(score.value, abs=1e-6, nan_ok=True), name


def test_several_tables_and_private_ones(tables):
    train, holdout, synthetic = tables
    one, plots = run(train, holdout, [synthetic], tier=QUICK, private=True)
    assert "noise" in one["coefficient_overlap"].note
    assert "noise" in plots["coefficients"]["warning"]
    two, plots = run(train, holdout, [synthetic, train], tier=QUICK, private=True)
    assert "noise" not in two["coefficient_overlap"].note
    assert plots["coefficients"]["warning"] == ""
    assert two["survival_distance"].n == 2
    assert len(two["subgroup_gap"].values) == 2


def test_plots(fresh, tables):
    _, plots = fresh
    json.dumps(plots)
    forest = plots["coefficients"]
    assert forest["family"] == "logistic"
    assert {"age", "smoker"} <= {term["column"] for term in forest["terms"]}
    assert not {"years", "died", "outcome"} & {term["column"] for term in forest["terms"]}
    assert all(t["real_low"] <= t["real"] <= t["real_high"] for t in forest["terms"])
    assert plots["hazards"]["family"] == "cox"
    curve = plots["survival"]
    assert curve["times"][-1] == curve["horizon"] < tables[1]["years"].max()
    for side in ("real", "synthetic"):
        assert 0.98 < curve[side]["survival"][0] <= 1.0  # times are rounded: some are 0
        assert np.all(np.diff(curve[side]["survival"]) <= 1e-9)
        assert np.all(np.array(curve[side]["low"]) <= np.array(curve[side]["high"]))
    assert plots["importance"][0]["real"] >= plots["importance"][-1]["real"]


def test_without_time_one_score_says_so(train, holdout):
    scores, plots = run(train, holdout, [train], tier=QUICK)
    assert "names no time" in scores["survival_distance"].note
    assert not any(name.startswith(("hazard", "rmst")) for name in scores)
    assert plots["survival"] is None
    assert "quick" in scores["importance_agreement"].note


def with_role(table, name, role):
    columns = tuple(
        c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": role})})
        if c.name == name
        else c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": "feature"})})
        for c in table.schema.columns
    )
    return Table(table.frame, table.schema.model_copy(update={"fields": columns}))


@pytest.mark.parametrize(
    ("name", "role", "reason"),
    [
        ("ward", "target", "4 classes"),
        ("ward", "site", "names no target"),
        ("pressure", "target", ""),
    ],
)
def test_other_targets(train, holdout, name, role, reason):
    sides = [with_role(t, name, role) for t in (train, holdout)]
    scores, plots = run(*sides, [sides[0]], tier=QUICK)
    if reason:
        assert reason in scores["coefficient_overlap"].note
        assert plots["coefficients"] is None
    else:
        assert plots["coefficients"]["family"] == "linear"
        assert "R squared" in scores["subgroup_gap/sex=m"].title
    if role == "site":
        assert "subgroup_share/ward=a" in scores
        assert not scores["subgroup_gap"].assessed


@pytest.mark.parametrize("rows", [5, 25])
def test_tiny_tables_and_missing_columns(tables, rows):
    train, holdout, synthetic = tables
    empty = synthetic.frame.with_columns(
        pl.lit(None, dtype=pl.Float64).alias("lab"), pl.lit("a").alias("ward")
    )
    short = [t.head(rows) for t in (train, holdout)]
    for tier in (QUICK, STANDARD):
        scores, plots = run(*short, [synthetic.head(5)], tier=tier)
        json.dumps(plots)
        for score in scores.values():
            assert score.assessed or score.note.startswith("not assessed"), score
    scores, _ = run(train, holdout, [Table(empty, synthetic.schema).head(rows)], tier=QUICK)
    for score in scores.values():
        assert score.assessed or score.note.startswith("not assessed"), score


def test_one_class_and_nobody_dies(tables):
    train, holdout, synthetic = tables
    frame = synthetic.frame.with_columns(
        pl.lit("no").alias("outcome"), pl.lit(value=False).alias("died")
    )
    scores, plots = run(train, holdout, [Table(frame, synthetic.schema)], tier=QUICK)
    assert scores["coefficient_overlap"].value == 0
    assert scores["coefficient_coverage"].value == 0
    assert math.isnan(scores["coefficient_sign_flips"].value)
    assert scores["survival_distance"].value > 0.2
    assert dataclasses.asdict(scores["hazard_overlap"])["value"] == 0
    assert plots["survival"]["synthetic"]["survival"][-1] == 1.0
