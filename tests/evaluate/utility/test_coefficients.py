"""Overlap of intervals and the rules for standard errors of synthetic tables."""

import numpy as np
import pytest

from pegai.errors import UsageError
from pegai.evaluate.utility.coefficients import (
    FIGURES,
    Combined,
    agreement,
    combine_estimates,
    interval_overlap,
)
from pegai.evaluate.utility.regression import Estimates

Z = 1.959964


def table(values, error, rows=100):
    values = np.array(values, dtype=float)
    return Estimates(values, np.full(values.size, error), rows)


def of(values, error):
    return Combined(np.array(values, dtype=float), np.full(len(values), float(error)))


def test_overlap_by_hand():
    # Intervals of half width 1: equal, half apart, touching, far apart.
    real, other = of([0.0] * 4, 1 / Z), of([0.0, 1.0, 2.0, 9.0], 1 / Z)
    assert interval_overlap(real, other) == pytest.approx([1, 0.5, 0, 0], abs=1e-5)
    # One twice as wide around the same point: (1 + 1/2) / 2.
    assert interval_overlap(real, of([0.0] * 4, 2 / Z))[0] == pytest.approx(0.75)


def test_figures_by_hand():
    real = of([3.0, -3.0, 0.1, 5.0], 1.0)
    other = Combined(np.array([4.0, 3.0, 3.0, np.nan]), np.array([1.0, 1.0, 1.0, np.nan]))
    found = dict(zip(FIGURES, agreement(real, other), strict=True))
    assert found["coefficient_bias"] == pytest.approx((1 + 6 + 2.9) / 3)
    assert found["coefficient_sign_flips"] == 1 / 2
    assert found["coefficient_agreement"] == 1 / 4
    assert found["coefficient_coverage"] == 1 / 4
    assert np.isnan(agreement(of([np.nan], 1.0), of([1.0], 1.0))).all()


def test_rules_by_hand():
    found = [table([1.0], 0.2, 50), table([2.0], 0.4, 50), table([3.0], 0.4, 50)]
    within, between = (0.04 + 0.16 + 0.16) / 3, 1.0
    expected = {
        "single": within * (50 / 200 + 1 / 3),
        "partial": within + between / 3,
        "full": 4 / 3 * between - within,
        "private": within * 50 / 200 + between / 3,
    }
    for rule, variance in expected.items():
        combined = combine_estimates(found, rule, real_rows=200)
        assert combined.values[0] == pytest.approx(2.0)
        assert combined.errors[0] ** 2 == pytest.approx(variance), rule
        assert combined.warning == ""
    alike = [table([1.0], 0.2, 50)] * 2  # no variance between tables: Reiter's adjustment
    assert combine_estimates(alike, "full", real_rows=200).errors[0] ** 2 == pytest.approx(0.01)


def test_one_table():
    single = combine_estimates([table([1.0], 0.2)], "single", real_rows=100)
    assert single.errors[0] == pytest.approx(0.2 * np.sqrt(2))
    private = combine_estimates([table([1.0], 0.2)], "private", real_rows=100)
    assert "noise" in private.warning
    for rule in ("partial", "full"):
        with pytest.raises(UsageError, match="two synthetic tables"):
            combine_estimates([table([1.0], 0.2)], rule, real_rows=100)


def test_single_release_intervals_cover_the_truth():
    """95 % within 2 points over 4,000 releases: chance alone goes beyond that 1 time in 10^8."""
    rng = np.random.default_rng(0)
    n, k, runs = 400, 800, 4000
    real = rng.normal(0, 1 / np.sqrt(n), runs)  # the mean that each generator learns
    found = table(real + rng.normal(0, 1 / np.sqrt(k), runs), 1 / np.sqrt(k), k)
    combined = combine_estimates([found], "single", real_rows=n)
    assert ((combined.low < 0) & (combined.high > 0)).mean() == pytest.approx(0.95, abs=0.02)
    naive = np.abs(found.values) < Z * found.errors
    assert naive.mean() < 0.8
