import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.contrast import leak
from pegai.evaluate.privacy.identity_risk import fit_identity, identity_risk
from pegai.evaluate.privacy.scenario import fit_scenario
from pegai.schema import schema_from_dict

SCHEMA = schema_from_dict(
    {
        "fields": [
            {"name": "age", "type": "integer", "pegai": {"role": "quasi-identifier"}},
            {
                "name": "hiv",
                "type": "string",
                "categories": ["no", "yes"],
                "pegai": {"role": "sensitive"},
            },
        ]
    }
)


def table(age, hiv):
    return Table(pl.DataFrame({"age": age, "hiv": hiv}), SCHEMA)


def measure(train, holdout, fake, **extra):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    scenario = fit_scenario(train.schema, features, full=True)
    targets = fit_identity(a, b, scenario, **extra)
    assert targets is not None
    return identity_risk(targets, encode(features, fake))


def test_the_formula_by_hand():
    train = table([30, 30, 41, 52, 63, 70], ["yes", "no", "yes", "no", "no", "no"])
    holdout = table([41, 99], ["yes", "yes"])
    fake = table([30, 41, 52, 88], ["yes", "yes", "no", "yes"])
    found = measure(train, holdout, fake)
    # 30: two in the class, one of them "yes" and found: 1/2. 41: alone and found: 1. 52: found,
    # but "no" is what most have. 63, 70: no match. Mean over six patients.
    assert found.member_rate == pytest.approx((1 / 2 + 1) / 6)
    # 41 of the holdout would be the second of its class; nobody has 99.
    assert found.holdout_rate == pytest.approx((1 / 2) / 2)


def test_the_sampling_fraction_scales_it():
    train = table([30, 41, 52], ["yes", "no", "no"])
    full = measure(train, train, train)
    assert measure(train, train, train, population=30).member_rate == pytest.approx(
        full.member_rate / 10
    )
    assert measure(train, train, train, population=1).member_rate == full.member_rate


def test_missing_matches_missing_but_is_no_discovery():
    train = table([None, 41, 52, 53], ["yes", None, "no", "no"])
    found = measure(train, train, train)
    assert found.member_rate == pytest.approx(1 / 4)


def test_numbers_count_within_a_deviation():
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "age", "type": "integer", "pegai": {"role": "quasi-identifier"}},
                {"name": "lab", "type": "number", "pegai": {"role": "sensitive"}},
            ]
        }
    )
    lab = np.arange(101.0) - 200  # median -150, median absolute deviation 25
    train = Table(pl.DataFrame({"age": np.arange(101), "lab": lab}), schema)
    shifted = Table(pl.DataFrame({"age": np.arange(101), "lab": lab + 36}), schema)
    farther = Table(pl.DataFrame({"age": np.arange(101), "lab": lab + 38}), schema)
    # 1.48 x 25 = 37: what fewer than half share lies at either end of the range.
    near, far = measure(train, train, shifted), measure(train, train, farther)
    assert near.member_rate == pytest.approx(np.mean(_shares(lab, 37) < 0.5))
    assert 0.1 < near.member_rate < 0.9
    assert far.member_rate == 0.0


def _shares(values, reach):
    return (np.abs(values[:, None] - values) <= reach).mean(axis=1)


def test_a_copy_is_far_above_fresh_patients(patients):
    base = patients(10, 0).schema
    roles = {"age": "quasi-identifier", "sex": "quasi-identifier", "lab": "sensitive"}
    schema = base.replace_columns(
        tuple(
            c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": roles[c.name]})})
            if c.name in roles
            else c
            for c in base.columns
        )
    )
    train, holdout, fresh = (
        Table(patients(n, s).frame, schema) for n, s in ((300, 1), (300, 2), (300, 3))
    )
    copied = leak("copy", [measure(train, holdout, train)])
    assert copied.low > 0
    null = leak("fresh", [measure(train, holdout, fresh)])
    assert null.low <= 0 <= null.high


def test_without_quasi_identifiers_there_is_no_figure(train):
    features = fit_features(train)
    coded = encode(features, train)
    scenario = fit_scenario(train.schema, features, full=True)
    assert fit_identity(coded, coded, scenario) is None


def test_the_worst_row_of_a_patient_counts():
    schema = schema_from_dict(
        {
            "fields": [{"name": "id", "type": "string"}, *SCHEMA.to_dict()["fields"]],
            "pegai": {"unit": "id", "max_rows_per_unit": 3},
        }
    )
    frame = pl.DataFrame({"id": list("aab"), "age": [30, 31, 31], "hiv": ["yes", "no", "no"]})
    train = Table(frame, schema)
    found = measure(train, train, train)
    # a: alone with 30 and "yes", which a third of the rows have; "no" is what most have.
    assert sorted(found.member.tolist()) == [0.0, 1.0]
