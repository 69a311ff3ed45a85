import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.attribute_inference import (
    fit_inference,
    infer_attributes,
    secret_leak,
    worst_secret,
)
from pegai.evaluate.privacy.guessing import fit_secret
from pegai.evaluate.privacy.scenario import fit_scenario
from pegai.evaluate.tiers import QUICK
from pegai.schema import schema_from_dict
from pegai.streams import Streams

FIELDS = [
    {"name": "x", "type": "number"},
    {"name": "y", "type": "number"},
    {"name": "z", "type": "number"},
    {"name": "secret", "type": "number", "pegai": {"role": "sensitive"}},
]


def make(n, seed, *, fields=None, missing=0.0):
    """Three known numbers and a secret, mostly negative, that has little to do with them."""
    rng = np.random.default_rng(seed)
    known = {name: rng.normal(size=n) for name in "xyz"}
    secret = (known["x"] * 0.2 + rng.normal(-5, 2, n)).round(2)
    secret = pl.Series(np.where(rng.random(n) < missing, np.nan, secret)).fill_nan(None)
    schema = schema_from_dict({"fields": fields or FIELDS})
    return Table(pl.DataFrame({**known, "secret": secret}), schema)


def attack(train, holdout, fake, *, seed=0):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    scenario = fit_scenario(train.schema, features, full=True)
    secrets = [fit_secret(name, a) for name in scenario.secrets]
    targets = fit_inference(a, b, scenario, secrets, Streams(seed), tier=QUICK)
    return infer_attributes(targets, encode(features, fake))


def both(first, second):
    return Table(pl.concat([first.frame, second.frame]), first.schema)


def test_a_copy_gives_every_secret_away():
    train, holdout = make(300, 1), make(200, 2)
    found = attack(train, holdout, train)["secret"]
    assert found.outcomes["lookup"].member_rate == 1.0
    leak = secret_leak("secret", [found])
    assert leak is not None
    assert leak.name == "secret, lookup"
    assert leak.low > 0.8


def test_a_leak_of_five_percent_shows_as_five_percent():
    train, holdout, fresh = make(800, 1), make(800, 2), make(760, 3)
    found = attack(train, holdout, both(fresh, train.head(40)))["secret"]
    # 40 of 800 are known for sure; others as well as holdout patients are.
    assert found.outcomes["lookup"].difference == pytest.approx(0.05, abs=0.02)
    leak = secret_leak("secret", [found])
    assert leak is not None
    assert 0 < leak.low < 0.05 < leak.high


def test_missing_secrets_and_negative_ones_are_guessed():
    train, holdout = make(200, 1, missing=0.3), make(150, 2, missing=0.3)
    found = attack(train, holdout, train)["secret"]
    assert found.outcomes["lookup"].member_rate == 1.0
    # The commonest "value" is missing: 30 % of holdout patients are guessed by saying so always,
    # and not all of them just since the guesses are negative.
    assert 0.02 < found.outcomes["lookup"].holdout_rate < 0.3


def test_fresh_patients_raise_few_alarms(patients):
    alarms, runs = 0, 16
    for seed in range(runs):
        tables = (patients(n, 100 + 3 * seed + i) for i, n in enumerate((120, 90, 120)))
        leak = worst_secret([attack(*tables, seed=seed)])
        assert leak is not None
        alarms += not leak.low <= 0 <= leak.high
    assert alarms <= 3  # 5 % of 16 is 0.8; more than 3 has probability 0.0009


def test_what_is_learned_of_the_population_is_no_leak(patients):
    train, holdout, fresh = (patients(n, s) for n, s in ((300, 1), (300, 2), (600, 3)))
    found = attack(train, holdout, fresh)["outcome"]
    assert found.gain.mean() > 0.1
    leak = secret_leak("outcome", [found])
    assert leak is not None
    assert leak.low <= 0 <= leak.high


def test_exact_matches_of_quasi_identifiers_are_looked_up():
    fields = [
        {"name": "q", "type": "integer", "pegai": {"role": "quasi-identifier"}},
        {"name": "noise", "type": "number"},
        {
            "name": "hiv",
            "type": "string",
            "categories": ["no", "yes"],
            "pegai": {"role": "sensitive"},
        },
    ]

    def table(q, hiv):
        frame = pl.DataFrame({"q": q, "noise": np.zeros(len(q)), "hiv": hiv})
        return Table(frame, schema_from_dict({"fields": fields}))

    train = table(list(range(40)), ["yes", "no"] * 20)
    # Twice "yes" and once "no" for the first; nobody with 1, whose nearest are 0 and 2.
    fake = table([0, 0, 0, 2, 3], ["yes", "no", "yes", "yes", "no"])
    found = attack(train, train, fake)["hiv"].outcomes["lookup"].member
    # Right for 0, 2 and 3, wrong for 1; all above 3 are guessed "no", right for the 18 odd ones.
    assert found.sum() == 3 + 18


def test_the_order_of_rows_names_and_units_change_nothing(patients):
    train, holdout, fresh = (patients(n, s) for n, s in ((120, 1), (90, 2), (120, 3)))
    first = attack(train, holdout, both(fresh, train.head(12)))["outcome"]
    rng = np.random.default_rng(0)
    turned = [t.take(rng.permutation(len(t))) for t in (train, holdout)]
    fake = both(fresh, train.head(12))
    second = attack(*turned, fake.take(rng.permutation(len(fake))))["outcome"]
    inches = [
        Table(t.frame.with_columns(pl.col("pressure") / 2.54), t.schema)
        for t in (train, holdout, fake)
    ]
    third = attack(*inches)["outcome"]
    for other in (second, third):
        assert other.chosen == first.chosen
        for name, outcome in first.outcomes.items():
            assert outcome.member_rate == other.outcomes[name].member_rate
            assert outcome.holdout_rate == other.outcomes[name].holdout_rate


def test_tiny_and_constant_tables_are_survived(patients):
    train, holdout = patients(5, 1), patients(5, 2)
    found = attack(train, holdout, patients(1, 3))
    assert secret_leak("outcome", [found["outcome"]]) is None
    constant = make(40, 1)
    flat = Table(constant.frame.with_columns(pl.lit(1.0).alias("secret")), constant.schema)
    empty = Table(
        constant.frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("secret")),
        constant.schema,
    )
    assert attack(flat, flat, flat)["secret"].outcomes["model"].member_rate == 1.0
    assert attack(empty, empty, empty)["secret"].outcomes["model"].member_rate == 1.0
    assert attack(flat, flat, empty)["secret"].outcomes["model"].member_rate == 0.0
