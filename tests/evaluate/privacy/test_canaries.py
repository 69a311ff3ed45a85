"""Canaries: a method that learns by heart is caught, one that doesn't is not, rules are kept."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import fit_features
from pegai.evaluate.intervals import weighted_auc
from pegai.evaluate.privacy.canaries import (
    CANARIES_A_GUESS,
    PATIENTS_A_CANARY,
    Planted,
    craft,
    guess,
    plant_canaries,
)
from pegai.evaluate.score_canaries import canary_scores
from pegai.evaluate.tiers import AUDIT
from pegai.schema import schema_from_dict
from pegai.streams import Streams

FITS = 3


@pytest.fixture(scope="module")
def reference(patients):
    return patients(240, 7)


@pytest.fixture(scope="module")
def features(patients):
    return fit_features(patients(200, 1))


def copies(table, number):
    return table


def jittered(table, number):
    """Every record with a little noise on its numbers."""
    rng = np.random.default_rng(number)
    noise = pl.Series(rng.normal(0, 0.05, len(table)))
    frame = table.frame.with_columns(pl.col("pressure") + noise * 12, pl.col("lab") + noise)
    return Table(frame, table.schema)


def area(planted: Planted) -> float:
    inside = planted.inside[None].astype(float)
    return float(weighted_auc(planted.scores, inside, 1 - inside)[0])


@pytest.mark.parametrize("method", [copies, jittered])
def test_a_method_that_learns_by_heart_is_caught(reference, features, method):
    planted = plant_canaries(reference, features, method, Streams(0), fits=FITS)
    found = guess(planted, 0.0)
    assert min(area(p) for p in planted) > 0.99
    assert found.correct == found.guesses == FITS * (240 // PATIENTS_A_CANARY // CANARIES_A_GUESS)
    # All of 60 guesses right: 1 / (1 + exp(-epsilon)) to the 60 is 5 %.
    assert found.epsilon == pytest.approx(-math.log(0.05 ** (-1 / 60) - 1), abs=1e-6)
    assert guess(planted, 1e-5).epsilon < found.epsilon


def test_independent_columns_are_not(reference, features, independent):
    """30 evaluations of a method that puts no two values of a patient together.

    A bound above 0 is a false alarm, of 5 % chance at most: more than 5 of 30 have 0.3 %.
    """
    areas, alarms = [], 0
    for seed in range(30):
        planted = plant_canaries(
            reference, features, lambda t, i, s=seed: independent(t, 50 * s + i), Streams(seed),
            fits=2,
        )  # fmt: skip
        areas += [area(p) for p in planted]
        alarms += guess(planted, 0.0).epsilon > 0
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * 0.065 / math.sqrt(len(areas)))
    assert alarms <= 5


def test_coins_that_nobody_sees_give_the_false_alarms_that_are_claimed():
    """2,000 evaluations with scores that know nothing: at most 5 % + 4 standard errors."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        planted = [Planted(rng.random(100) < 0.5, rng.random(100)) for _ in range(2)]
        alarms += guess(planted, 0.0).epsilon > 0
    assert alarms / 2000 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_canaries_are_in_the_domain_and_like_nobody(reference):
    found = craft(reference, 80, np.random.default_rng(0))
    assert len(found) == 80
    for name in ("sex", "ward", "grade", "outcome"):
        counts = found.frame[name].value_counts()["count"]
        assert counts.min() > 0.6 * 80 / len(counts) - 5  # rare levels as often as common ones
    age = reference.frame["age"]
    assert age.min() <= found.frame["age"].min() and found.frame["age"].max() <= age.max()
    assert found.frame.join(reference.frame, on=reference.schema.names, nulls_equal=True).is_empty()
    assert not any(found.frame[name].null_count() for name in found.frame.columns)


def test_canaries_keep_the_rules_and_have_patients_of_their_own(reference):
    raw = reference.schema.to_dict()
    raw["fields"].append({"name": "id", "type": "integer", "pegai": {"role": "identifier"}})
    raw["pegai"] = {
        "unit": "id",
        "impossible": [{"sex": ["m"], "ward": ["a"]}],
        "rules": [{"name": "old", "check": "age > 50"}],
    }
    frame = reference.frame.with_columns(pl.Series("id", np.arange(240)))
    table = Table(frame, schema_from_dict(raw))
    found = craft(table, 60, np.random.default_rng(1)).frame
    assert found.height == 60
    assert (found["age"] > 50).all()
    assert found.filter((pl.col("sex") == "m") & (pl.col("ward") == "a")).is_empty()
    assert found["id"].n_unique() == 60
    assert not set(found["id"]) & set(frame["id"])


def test_a_narrow_table_has_fewer_canaries_and_never_one_twice(reference):
    """Sex, grade and smoking: some patient has every combination."""
    table = reference.select(["sex", "grade", "smoker"])
    assert len(craft(table, 80, np.random.default_rng(0))) == 0
    assert plant_canaries(table, fit_features(table), copies, Streams(0), fits=1) == ()
    wider = reference.select(["sex", "grade", "smoker", "ward", "outcome"])
    found = craft(wider, 80, np.random.default_rng(0)).frame
    assert 0 < found.height == found.n_unique() < 80
    assert found.join(wider.frame, on=found.columns).is_empty()


def test_ids_of_text_are_new_too(reference):
    raw = reference.schema.to_dict()
    raw["fields"].append({"name": "id", "type": "string", "pegai": {"role": "identifier"}})
    raw["pegai"] = {"unit": "id"}
    frame = reference.frame.with_columns(pl.Series("id", [f"p{i}" for i in range(240)]))
    found = craft(Table(frame, schema_from_dict(raw)), 30, np.random.default_rng(1)).frame["id"]
    assert found.n_unique() == 30
    assert not set(found) & set(frame["id"])


def test_other_names_and_order_of_levels_give_the_same_canaries(reference):
    raw = reference.schema.to_dict()
    names = {"a": "z", "b": "y", "c": "x", "d": "w"}
    for field in raw["fields"]:
        if field["name"] == "ward":
            field["categories"] = [names[c if isinstance(c, str) else c["value"]]
                                   for c in field["categories"]]  # fmt: skip
    other = Table(
        reference.frame.with_columns(pl.col("ward").replace(names)), schema_from_dict(raw)
    )
    first, second = (craft(t, 40, np.random.default_rng(2)).frame for t in (reference, other))
    assert first.with_columns(pl.col("ward").replace(names)).equals(second)


def test_scores(real, reference):
    cache = dataclasses.replace(real, tier=dataclasses.replace(AUDIT, canary_fits=2))
    calls: list[int] = []

    def refit(table, number):
        calls.append(number)
        return table

    scores = {s.name: s for s in canary_scores(cache, reference=reference, refit=refit, delta=1e-6)}
    assert calls == [4, 5]  # after the shadow fits
    auc, right, bound = (scores[f"canary_{n}"] for n in ("auc", "guesses", "epsilon"))
    assert auc.low > 0.95
    assert right.value == 1.0
    assert right.low > 0.9
    assert 2.5 < bound.value < 3.5
    assert "40 of 40" in bound.note


def test_nothing_is_said_without_evidence(real, patients, reference):
    assert canary_scores(real, reference=reference, refit=copies) == ()
    cache = dataclasses.replace(real, tier=AUDIT)
    for table, refit in ((None, copies), (reference, None), (patients(60, 1), copies)):
        found = canary_scores(cache, reference=table, refit=refit)
        assert not any(s.assessed for s in found)
        assert all(s.note.startswith("not assessed") for s in found)
        assert len(found) == 3
