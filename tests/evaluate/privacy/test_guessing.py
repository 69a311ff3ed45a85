import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.guessing import MISSING, Secret, best_guess, best_guesses, fit_secret
from pegai.schema import schema_from_dict

NUMBER = Secret("x", True, 0.05)
LEVEL = Secret("c", False, 0.0)


def test_negative_guesses_are_not_always_right():
    guess, truth = np.array([-1.0, -5.0, -2.0]), np.array([100.0, 7.0, -2.04])
    assert NUMBER.right(guess, truth).tolist() == [False, False, True]
    # Symmetric, and the same after a shift of the zero.
    assert NUMBER.right(-guess, -truth).tolist() == [False, False, True]
    assert NUMBER.right(guess + 50, truth + 50).tolist() == [False, False, True]


def test_missing_is_a_level_of_its_own():
    values = np.array([MISSING, MISSING, 0.0, 1.0])
    assert best_guess(values, NUMBER) == MISSING
    assert NUMBER.right(np.array([MISSING, MISSING]), np.array([MISSING, -1e6])).tolist() == [
        True,
        False,
    ]


def test_the_best_guess_is_right_most_often():
    assert best_guess(np.array([1.0, 2.0, 2.0]), LEVEL) == 2.0
    # No two are equal, but three lie within the tolerance of 5.02.
    assert best_guess(np.array([1.0, 1.2, 4.98, 5.02, 5.06]), NUMBER) == pytest.approx(5.02)
    assert np.isnan(best_guess(np.zeros(0), LEVEL))


def test_ties_within_a_group_go_to_the_value_common_everywhere():
    groups = np.array([0, 0, 1, 1, 1])
    values = np.array([1.0, 2.0, 2.0, 2.0, 3.0])
    found = best_guesses(groups, values, LEVEL)
    assert found.value.tolist() == [2.0, 2.0]
    assert found.share == pytest.approx([0.5, 2 / 3])
    assert found.of(np.array([1, 0, 9]), -1.0).tolist() == [2.0, 2.0, -1.0]


def test_best_guesses_match_a_plain_search():
    rng = np.random.default_rng(0)
    groups, values = rng.integers(0, 30, 400), rng.normal(0, 0.3, 400).round(3)
    found = best_guesses(groups, values, NUMBER)
    for i, group in enumerate(found.groups):
        inside = values[groups == group]
        hits = (np.abs(inside[:, None] - inside) <= 0.05 + 1e-9).sum(axis=0)
        assert found.share[i] == pytest.approx(hits.max() / inside.size)
        assert (np.abs(inside - found.value[i]) <= 0.05 + 1e-9).sum() == hits.max()


def test_the_tolerance_is_five_percent_of_the_spread_or_exact():
    fields = [{"name": n, "type": "number"} for n in ("wide", "heaped", "empty")]
    frame = pl.DataFrame(
        {
            "wide": np.arange(100.0),
            "heaped": [0.0] * 90 + [float(i) for i in range(10)],
            "empty": pl.Series([None] * 100, dtype=pl.Float64),
        }
    )
    table = Table(frame, schema_from_dict({"fields": fields}))
    coded = encode(fit_features(table), table)
    assert fit_secret("wide", coded).tolerance == pytest.approx(0.05)
    assert fit_secret("heaped", coded).tolerance == 0.0
    empty = fit_secret("empty", coded)
    assert empty.tolerance == 0.0
    assert (empty.values(coded) == MISSING).all()
