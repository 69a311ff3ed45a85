import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.contrast import leak
from pegai.evaluate.privacy.guessing import fit_secret
from pegai.evaluate.privacy.model_inversion import fit_inversion, invert
from pegai.evaluate.privacy.scenario import fit_scenario
from pegai.evaluate.tiers import QUICK
from pegai.schema import schema_from_dict
from pegai.streams import Streams

QI = {"role": "quasi-identifier"}
FIELDS = [
    {"name": "age", "type": "integer", "pegai": QI},
    {"name": "born", "type": "date", "pegai": QI},
    {"name": "sex", "type": "string", "categories": ["f", "m"], "pegai": QI},
    {"name": "smoker", "type": "boolean", "pegai": QI},
    {"name": "lab", "type": "number", "pegai": {"role": "sensitive", "decimals": 2}},
]


def make(n, seed, *, quasi=True):
    rng = np.random.default_rng(seed)
    smoker = pl.Series(rng.random(n) < 0.5)
    frame = pl.DataFrame(
        {
            "age": rng.integers(20, 90, n),
            "born": pl.Series(rng.integers(-9_000, 9_000, n)).cast(pl.Int32).cast(pl.Date),
            "sex": np.array(["f", "m"])[rng.integers(0, 2, n)],
            "smoker": pl.select(
                pl.when(pl.Series(rng.random(n) < 0.2)).then(None).otherwise(smoker)
            ).to_series(),
            "lab": rng.normal(-3, 2, n).round(2),
        }
    )
    fields = FIELDS if quasi else [{**f, "pegai": {}} for f in FIELDS]
    return Table(frame, schema_from_dict({"fields": fields}))


def targets_of(train, holdout, *, seed=0):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    scenario = fit_scenario(train.schema, features, full=True)
    secrets = [fit_secret(name, a) for name in scenario.secrets]
    return fit_inversion(a, b, train.schema, scenario, secrets, Streams(seed), tier=QUICK)


def memory(table):
    """A model that gives back the training rows that fit what is given, else any rows."""
    texts = table.frame.select(pl.all().cast(pl.String))

    def sampler(given, rows, rng):
        fits = np.ones(len(table), dtype=bool)
        for name, value in given.items():
            column = texts[name]
            fits &= (column.is_null() if value is None else column.eq_missing(value)).to_numpy()
        pool = np.flatnonzero(fits) if fits.any() else np.arange(len(table))
        return table.take(rng.choice(pool, rows))

    return sampler


def test_a_model_that_remembers_is_found_out():
    train, holdout = make(150, 1), make(100, 2)
    targets = targets_of(train, holdout)
    assert targets is not None
    assert len(targets.queries) <= 40
    found = invert(targets, encode(targets.features, make(150, 3)), memory(train))
    assert found.refused == 0
    assert found.outcomes["lab"].member_rate == 1.0  # every date, flag and missing value fits
    assert leak("lab", [found.outcomes["lab"]]).low > 0.5


def test_a_model_without_memory_is_not():
    train, holdout, fresh = make(150, 1), make(100, 2), make(400, 3)
    targets = targets_of(train, holdout)
    assert targets is not None
    found = invert(targets, encode(targets.features, fresh), memory(fresh))
    single = leak("lab", [found.outcomes["lab"]])
    assert single.low <= 0 <= single.high


def test_both_sides_are_asked_about_alike_and_the_same_seed_gives_the_same():
    train, holdout = make(150, 1), make(100, 2)
    targets, again = targets_of(train, holdout), targets_of(train, holdout)
    assert targets is not None
    assert again is not None
    assert targets.member.sum() == (~targets.member).sum() == 20
    assert targets.queries == again.queries
    order = np.random.default_rng(0).permutation(150)
    turned = targets_of(train.take(order), holdout)
    assert turned is not None
    assert turned.queries == targets.queries


def test_a_model_that_refuses_is_answered_by_the_commonest_value():
    train, holdout = make(150, 1), make(100, 2)
    targets = targets_of(train, holdout)
    assert targets is not None

    def refuses(given, rows, rng):
        raise UsageError("given: outside of the domain")

    found = invert(targets, encode(targets.features, train), refuses)
    assert found.refused == len(targets.queries)
    assert found.outcomes["lab"].member_rate < 0.3


def test_without_roles_there_is_nothing_to_ask():
    assert targets_of(make(50, 1, quasi=False), make(50, 2, quasi=False)) is None


@pytest.mark.parametrize("rows", [1, 5])
def test_tiny_tables_are_survived(rows):
    train, holdout = make(rows, 1), make(rows, 2)
    targets = targets_of(train, holdout)
    assert targets is not None
    found = invert(targets, encode(targets.features, train), memory(train))
    assert not found.outcomes["lab"].enough
