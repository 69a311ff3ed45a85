import math

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.score_disclosure import (
    disclosure_scores,
    measure_disclosure,
    prepare_disclosure,
)
from pegai.evaluate.tiers import QUICK
from pegai.streams import Streams

ROLES = {
    "age": "quasi-identifier",
    "sex": "quasi-identifier",
    "ward": "quasi-identifier",
    "lab": "sensitive",
}


def with_roles(table, roles):
    columns = [
        c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": roles[c.name]})})
        if c.name in roles
        else c
        for c in table.schema.columns
    ]
    return Table(table.frame, table.schema.replace_columns(tuple(columns)))


def score(train, holdout, *fakes, sampler=None, seed=0):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    prepared = prepare_disclosure(train, holdout, a, b, Streams(seed), tier=QUICK)
    measured = [
        measure_disclosure(prepared, fake, encode(features, fake), sampler=sampler)
        for fake in fakes
    ]
    return {s.name: s for s in disclosure_scores(prepared, measured)}


@pytest.fixture(scope="module")
def sides(patients):
    return [with_roles(patients(n, s), ROLES) for n, s in ((260, 1), (220, 2), (260, 3))]


@pytest.fixture(scope="module")
def copied(sides):
    train, holdout, _ = sides

    def sampler(given, rows, rng):
        fits = np.ones(len(train), dtype=bool)
        for name, value in given.items():
            fits &= train.frame[name].cast(pl.String).eq_missing(value).to_numpy()
        return train.take(rng.choice(np.flatnonzero(fits) if fits.any() else len(train), rows))

    return score(train, holdout, train, sampler=sampler)


@pytest.fixture(scope="module")
def fresh(sides):
    return score(*sides)


LEAKS = (
    "attribute_inference",
    "linkability",
    "singling_out",
    "singling_out/values",
    "singling_out/combinations",
    "identity_risk_excess",
)


def test_a_copy_is_raised_everywhere(copied):
    for name in (*LEAKS, "model_inversion"):
        assert copied[name].low > 0, name
        assert copied[name].low <= copied[name].value <= copied[name].high
        assert copied[name].baseline == 0
        assert copied[name].better == "lower"
    assert copied["identity_risk"].low > copied["identity_risk"].baseline
    assert copied["dcr_median"].value == 0


def test_fresh_patients_are_not(fresh):
    for name in LEAKS:
        assert fresh[name].low <= 0 <= fresh[name].high, name
    assert fresh["attribute_inference_population/outcome"].group == "utility"
    assert fresh["attribute_inference_population/outcome"].value > 0.1
    assert "not leakage" in fresh["attribute_inference_population/outcome"].note


def test_independent_marginals_single_out_but_do_not_link(sides):
    train, holdout, _ = sides
    rng = np.random.default_rng(0)
    drawn = {c: train.frame[c].gather(rng.integers(0, 260, 260)) for c in train.frame.columns}
    found = score(train, holdout, Table(pl.DataFrame(drawn), train.schema))
    assert found["singling_out"].low > 0.4
    assert "rare values" in found["singling_out"].note
    assert found["linkability"].low <= 0 <= found["linkability"].high
    assert found["attribute_inference"].low <= 0


def test_names_are_unique_and_notes_say_what_matters(fresh, copied):
    assert set(fresh) <= set(copied)
    for name in ("attribute_inference/lab", "l_diversity/outcome", "t_closeness/lab"):
        assert name in fresh
    assert "worst: " in copied["attribute_inference"].note
    assert "220 holdout patients" in copied["linkability"].note
    for name in ("dcr_share", "nndr_5pct", "dcr_median"):
        assert "diagnostic, never gated" in fresh[name].note
    assert "no proof about synthetic rows" in fresh["k_anonymity"].note
    assert "no model is released" in fresh["model_inversion"].note
    assert math.isnan(fresh["model_inversion"].value)
    assert "sampling fraction 1" in fresh["identity_risk"].note


def test_without_roles_the_notes_say_what_was_assumed(patients):
    tables = [with_roles(patients(n, s), {"outcome": "feature"}) for n, s in ((60, 1), (50, 2))]
    found = score(*tables, tables[0])
    assert "no quasi-identifiers named" in found["attribute_inference"].note
    assert "tried 1 of 9 columns" in found["attribute_inference"].note
    for name in ("identity_risk", "identity_risk_excess", "k_anonymity", "model_inversion"):
        assert math.isnan(found[name].value)
        assert "no quasi-identifiers" in found[name].note
    assert found["attribute_inference"].low > 0


def test_several_tables_widen_by_seeds(sides, copied):
    train, holdout, other = sides
    found = score(train, holdout, train, other)
    single = found["linkability"]
    assert single.n == 2
    assert single.value == pytest.approx(np.mean(single.values))
    assert single.low < copied["linkability"].low
    assert single.low < 0 < single.high


def test_the_same_seed_gives_the_same_scores(sides, fresh):
    again = score(*sides)
    turned = [t.take(np.random.default_rng(0).permutation(len(t))) for t in sides]
    assert repr(again) == repr(fresh)
    shuffled = score(*turned)
    for name, value in fresh.items():
        assert shuffled[name].value == pytest.approx(value.value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("rows", [1, 5])
def test_tiny_tables_give_nothing_made_up(patients, rows):
    train, holdout, fake = (with_roles(patients(rows, s), ROLES) for s in (1, 2, 3))
    found = score(train, holdout, fake)
    for name in (*LEAKS, "identity_risk", "dcr_share", "model_inversion"):
        assert math.isnan(found[name].value), name
        assert found[name].note.startswith("not assessed"), name


def test_empty_columns_and_fewer_levels_are_survived(sides):
    train, holdout, fake = sides
    emptied = fake.frame.with_columns(
        pl.lit(None, dtype=pl.Float64).alias("lab"), pl.lit("a").alias("ward")
    )
    found = score(train, holdout, Table(emptied, fake.schema))
    assert found["attribute_inference/lab"].assessed
    assert found["linkability"].low <= 0
