import numpy as np
import polars as pl
import pytest
from scipy import stats

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.fidelity.column_shapes import column_shapes, kolmogorov_smirnov
from pegai.schema import schema_from_dict

FIELDS = [
    {"name": "x", "type": "number"},
    {"name": "c", "type": "string", "categories": ["a", "b", "c"]},
]


def coded(x, c, *, like=None):
    made = Table(
        pl.DataFrame({"x": pl.Series(x, dtype=pl.Float64), "c": pl.Series(c, dtype=pl.String)}),
        schema_from_dict({"fields": FIELDS}),
    )
    return encode(like.features if like else fit_features(made), made)


def test_golden_values():
    real = coded([1, 2, 3, 4], ["a", "a", "b", None])
    fake = coded([1, 2, None, None], ["a", "c", "c", "c"], like=real)
    number, level = column_shapes(real, fake).details
    assert (number.metric, number.observed, number.missing_synthetic) == ("ks", 0.5, 0.5)
    assert number.distance == 0.5 + 0.5 * 0.5
    assert (level.metric, level.distance) == ("tvd", 0.75)


def test_equal_tables_score_one_and_disjoint_ones_zero():
    real = coded([1, 2, 3, None], ["a", "b", "a", None])
    assert column_shapes(real, real).score == 1.0
    far = coded([90, 91, 92, 93], ["c"] * 4, like=real)
    assert column_shapes(real, far).details[1].distance == 1.0
    assert column_shapes(real, far).details[0].observed == 1.0


def test_all_missing_against_observed_is_one():
    real, fake = coded([1, 2], ["a", "b"]), None
    fake = coded([None, None], [None, None], like=real)
    assert column_shapes(real, fake).score == 0.0
    assert column_shapes(fake, fake).score == 1.0


def test_levels_outside_the_schema_count_as_different():
    real = coded([1, 2], ["a", "b"])
    assert column_shapes(real, coded([1, 2], ["q", "r"], like=real)).details[1].distance == 1.0


def test_ks_matches_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 80).astype(float), rng.integers(2, 12, 50).astype(float)
    expected = stats.ks_2samp(a, b, method="asymp").statistic
    assert kolmogorov_smirnov(a, b) == pytest.approx(expected)
    assert kolmogorov_smirnov(a, a[:0]) == 0.0
