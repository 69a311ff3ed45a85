"""Kaplan-Meier curves, restricted means and their variances."""

import numpy as np
import pytest

from pegai.evaluate.utility.survival import (
    curve_distance,
    horizon,
    kaplan_meier,
    restricted_mean,
)

TIME = np.array([1.0, 2, 2, 3, 4, 5])
EVENT = np.array([1.0, 1, 0, 0, 1, 0])


def test_curve_by_hand():
    curve = kaplan_meier(TIME, EVENT)
    assert curve.times.tolist() == [1, 2, 4]
    assert curve.at_risk.tolist() == [6, 5, 2]
    assert curve.survival == pytest.approx([5 / 6, 5 / 6 * 4 / 5, 1 / 3])
    assert curve.at(np.array([0.5, 1.0, 3.9, 9.0])) == pytest.approx([1, 5 / 6, 2 / 3, 1 / 3])


def test_restricted_mean_by_hand():
    area, variance = restricted_mean(kaplan_meier(TIME, EVENT), 4.5)
    assert area == pytest.approx(1 + 5 / 6 + 2 * 2 / 3 + 0.5 / 3)
    left = [5 / 6 + 4 / 3 + 1 / 6, 4 / 3 + 1 / 6, 1 / 6]
    assert variance == pytest.approx(left[0] ** 2 / 30 + left[1] ** 2 / 20 + left[2] ** 2 / 2)


def test_without_censoring_it_is_the_mean_and_its_standard_error():
    rng = np.random.default_rng(0)
    time = rng.exponential(1, 500)
    area, variance = restricted_mean(kaplan_meier(time, np.ones(500)), 1.5)
    cut = np.minimum(time, 1.5)
    assert area == pytest.approx(cut.mean())
    assert variance == pytest.approx(cut.var() / 500, rel=1e-6)


def test_distance_is_an_exact_integral():
    late = kaplan_meier(TIME + 1, EVENT)
    early = kaplan_meier(TIME, EVENT)
    assert curve_distance(early, early, 4.5) == 0
    grid = np.linspace(0, 4.5, 900_001)[:-1]
    expected = np.abs(early.at(grid) - late.at(grid)).mean()
    assert curve_distance(early, late, 4.5) == pytest.approx(expected, abs=1e-5)


def test_horizon_keeps_a_tenth_of_the_patients():
    assert horizon(np.arange(1.0, 201)) == 181.0
    assert horizon(np.arange(1.0, 31)) == 21.0
    assert np.isnan(horizon(np.arange(9.0)))


def test_nothing_happens_and_nobody_is_there():
    curve = kaplan_meier(TIME, np.zeros(6))
    assert curve.at(TIME).tolist() == [1.0] * 6
    assert restricted_mean(curve, 3.0) == (3.0, 0.0)
    assert kaplan_meier(np.zeros(0), np.zeros(0)).at(np.array([1.0])).tolist() == [1.0]
    low, high = kaplan_meier(TIME, np.ones(6)).band(np.array([0.0, 2.0, 9.0]))
    assert (low <= high).all()
    assert np.isfinite([low, high]).all()


def test_matches_lifelines():
    lifelines = pytest.importorskip("lifelines")
    from lifelines.utils import restricted_mean_survival_time

    rng = np.random.default_rng(1)
    time = rng.exponential(2, 300).round(1)
    event = (rng.random(300) < 0.6) * 1.0
    fitted = lifelines.KaplanMeierFitter().fit(time, event)
    curve = kaplan_meier(time, event)
    grid = np.linspace(0.05, 4, 40)
    assert curve.at(grid) == pytest.approx(fitted.predict(grid).to_numpy())
    area, _ = restricted_mean(curve, 3.0)
    assert area == pytest.approx(restricted_mean_survival_time(fitted, t=3.0))
