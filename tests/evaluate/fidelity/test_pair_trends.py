import numpy as np
import polars as pl
import pytest
from scipy import stats

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.fidelity.pair_trends import (
    fit_pair_bins,
    pair_tables,
    pair_trends,
    rank_correlation,
)
from pegai.schema import schema_from_dict

FIELDS = [
    {"name": "x", "type": "number"},
    {"name": "y", "type": "number"},
    {"name": "c", "type": "string", "categories": ["a", "b"]},
    {"name": "d", "type": "string", "categories": ["a", "b"]},
]


def make(frame):
    return Table(pl.DataFrame(frame), schema_from_dict({"fields": FIELDS}))


@pytest.fixture
def linked():
    x = np.arange(40.0)
    c = np.where(x < 20, "a", "b")
    return make({"x": x, "y": 2 * x, "c": c, "d": c})


def distances(real, fake):
    features = fit_features(real)
    first, second = encode(features, real), encode(features, fake)
    bins = fit_pair_bins(first)
    found = pair_trends(pair_tables(bins, first), pair_tables(bins, second))
    return {(p.first, p.second): (p.metric, p.distance) for p in found.worst(10)}, found.score


def test_golden_values(linked):
    found, score = distances(
        linked, make(linked.frame.with_columns(pl.col("y").reverse(), pl.col("d").reverse()))
    )
    assert found["x", "y"] == ("correlation", pytest.approx(1.0))
    assert found["c", "d"] == ("tvd", pytest.approx(1.0))
    assert found["x", "c"] == ("tvd", pytest.approx(0.0))
    assert found["y", "d"] == ("tvd", pytest.approx(0.0))
    # Of the five bins of a number the middle one holds both levels: 0.8 of the rows moved.
    assert found["x", "d"] == found["y", "c"] == ("tvd", pytest.approx(0.8))
    assert score == pytest.approx(1 - (1 + 1 + 0.8 + 0.8 + 0 + 0) / 6)


def test_equal_tables_score_one(linked):
    assert distances(linked, linked)[1] == 1.0


def test_missing_is_a_bin(linked):
    gone = make(linked.frame.with_columns(pl.lit(None, dtype=pl.String).alias("c")))
    assert distances(linked, gone)[0]["x", "c"] == ("tvd", pytest.approx(1.0))
    assert distances(gone, gone)[1] == 1.0


def test_one_column_has_no_score():
    schema = schema_from_dict({"fields": FIELDS[:1]})
    real = Table(pl.DataFrame({"x": [1.0, 2.0]}), schema)
    assert np.isnan(distances(real, real)[1])


def test_rank_correlation_matches_scipy_and_ignores_missing_rows():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 3))
    data[:, 1] += data[:, 0]
    assert rank_correlation(data) == pytest.approx(stats.spearmanr(data).statistic, abs=1e-12)
    data[:10, 2] = np.nan
    # Ranks are taken once a column, so the pairwise value is Spearman's up to a small difference.
    expected = stats.spearmanr(data[10:, 0], data[10:, 2]).statistic
    assert rank_correlation(data)[0, 2] == pytest.approx(expected, abs=0.03)
    constant = np.column_stack([data[:, 0], np.ones(60)])
    assert rank_correlation(constant)[0, 1] == 0.0


def test_unit_changes_nothing(linked):
    rng = np.random.default_rng(1)
    fake = make(linked.frame.with_columns(pl.Series("x", rng.normal(20, 9, 40).round(1))))
    inches = [make(t.frame.with_columns(pl.col("x") / 2.54 + 3)) for t in (linked, fake)]
    assert distances(*inches)[1] == pytest.approx(distances(linked, fake)[1], abs=1e-12)
