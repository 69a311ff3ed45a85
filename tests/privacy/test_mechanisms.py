"""Mechanisms: their noise, their grid, what they refuse, and an audit from outside.

Statistical tests use fresh noise and a false-alarm rate of 1e-7.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import PrivacyError
from pegai.privacy import (
    BoundedRangeMechanism,
    ExponentialEvent,
    ExponentialMechanism,
    GaussianEvent,
    GaussianMechanism,
    LaplaceEvent,
    LaplaceMechanism,
)
from pegai.privacy.mechanisms import RELATIVE_STEP, _Grid

FALSE_ALARM = 1e-7
N = 100_000


def rounded_variance(sigma):
    k = np.arange(1, math.ceil(10 * sigma) + 2)
    mass = stats.norm.sf((k - 0.5) / sigma) - stats.norm.sf((k + 0.5) / sigma)
    return 2 * float(k**2 @ mass)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("sensitivity", [1.0, 0.37, 12.0])
@pytest.mark.parametrize("multiplier", [0.8, 20.0])
def test_gaussian_noise_has_the_stated_scale(dtype, sensitivity, multiplier):
    sigma = sensitivity * multiplier
    noise = GaussianMechanism(sensitivity, multiplier).release(np.zeros(N, dtype))
    # The float grid adds at most 0.2 % to the variance.
    due = rounded_variance(sigma) if dtype is np.int64 else sigma**2
    spread = due * 6 * math.sqrt(6 / N)
    assert abs(noise.var() - due) < spread + 0.002 * due
    for wrong in (2 / 3, 3 / 2):
        other = rounded_variance(sigma * wrong) if dtype is np.int64 else (sigma * wrong) ** 2
        assert abs(noise.var() - other) > spread + 0.002 * due


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("multiplier", [1.5, 20.0])
def test_laplace_noise_has_the_stated_scale(dtype, multiplier):
    noise = LaplaceMechanism(1.0, multiplier).release(np.zeros(N, dtype))
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, N) if dtype is np.int64 else 0.0
    tested = np.rint(noise)
    law = stats.laplace(scale=multiplier)
    reach = int(6 * multiplier)
    edges = np.arange(-reach, reach + 2) - 0.5
    seen = np.histogram(tested, edges)[0]
    due = np.diff(law.cdf(edges)) * N
    assert stats.chisquare(seen, due * seen.sum() / due.sum()).pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(noise + jitter, "laplace", args=(0, multiplier * wrong)).pvalue < 1e-12


def test_integers_stay_on_the_integers_and_shapes_stay():
    for values in (np.arange(6).reshape(2, 3), np.array([True, False]), np.array([7], np.uint8)):
        released = GaussianMechanism(1.0, 3.0).release(values)
        assert released.dtype == np.int64
        assert released.shape == values.shape
    released = LaplaceMechanism(1.0, 3.0).release(np.zeros((3, 0, 2)))
    assert released.shape == (3, 0, 2)
    assert released.dtype == np.float64
    assert np.shape(GaussianMechanism(1.0, 1.0).release(np.array(5.0))) == ()


def test_floats_come_out_on_a_public_grid():
    values = np.random.default_rng(1).normal(size=1000)
    grid = _Grid.of(values, 0.3, math.sqrt(1000))
    released = GaussianMechanism(0.3, 1.0).release(values)
    assert math.log2(grid.step).is_integer()
    assert np.array_equal(released / grid.step, np.rint(released / grid.step))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.floats(1e-6, 1e6),
    st.floats(-1e9, 1e9),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_rounding_never_carries_neighbours_past_the_sensitivity(d, sensitivity, centre, seed, l2):
    rng = np.random.default_rng(seed)
    first = centre + rng.normal(size=d) * sensitivity * 10
    step = rng.normal(size=d)
    step *= sensitivity * rng.uniform() / np.linalg.norm(step, 2 if l2 else 1)
    second = first + step
    order, growth = (2, math.sqrt(d)) if l2 else (1, float(d))
    # The declared sensitivity is that of the arrays as given, in floating point.
    declared = max(sensitivity, float(np.linalg.norm(first - second, order)) * (1 + 1e-12))
    one, two = (_Grid.of(x, declared, growth) for x in (first, second))
    assert one.step == two.step
    assert np.linalg.norm(one.points - two.points, order) <= one.sensitivity * (1 + 1e-12)
    assert one.sensitivity * one.step <= declared * (1 + RELATIVE_STEP) * (1 + 1e-12)


def test_values_beyond_the_grid_are_clamped_not_wrapped():
    released = GaussianMechanism(1.0, 1.0).release(np.array([1e300, -1e300, 0.0]))
    assert released[0] > 1e12
    assert released[1] < -1e12
    big = np.array([2**63 - 1, -(2**63)], np.int64)
    released = GaussianMechanism(1.0, 1.0).release(big)
    assert abs(released[0] - 2**62) < 100
    assert abs(released[1] + 2**62) < 100
    assert GaussianMechanism(1.0, 1.0).release(np.array([2**64 - 1], np.uint64))[0] > 2**61
    assert ExponentialMechanism(1.0, 1.0).release(np.array([-1e300, 1e300])).tolist() == [1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "mechanism",
    [
        GaussianMechanism(1.0, 1.0),
        LaplaceMechanism(1.0, 1.0),
        ExponentialMechanism(1.0, 1.0),
        BoundedRangeMechanism(1.0, 1.0),
    ],
)
def test_values_that_are_not_finite_fail_closed_and_tell_nothing(mechanism, bad):
    with pytest.raises(PrivacyError) as caught:
        mechanism.release(np.array([123.25, bad, 77.5]))
    for told in ("123", "77", "nan", "inf ", "[1]", "index"):
        assert told not in str(caught.value)


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_what_is_not_a_number_is_refused(values):
    for mechanism in (GaussianMechanism(1.0, 1.0), LaplaceMechanism(1.0, 1.0)):
        with pytest.raises(PrivacyError):
            mechanism.release(values)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, "1", None, True])
def test_parameters_out_of_range_are_refused(bad):
    for kind in (GaussianMechanism, LaplaceMechanism, ExponentialMechanism):
        with pytest.raises(PrivacyError):
            kind(bad, 1.0)
        with pytest.raises(PrivacyError):
            kind(1.0, bad)
    with pytest.raises(PrivacyError):
        GaussianMechanism(1e-200, 1.0)


def test_noise_too_wide_for_the_grid_is_refused_not_wrapped():
    with pytest.raises(PrivacyError):
        GaussianMechanism(1.0, 1e30).release(np.zeros(3))


def test_events_state_what_was_spent():
    assert GaussianMechanism(2.0, 3.0).event("a", 4) == GaussianEvent("a", 3.0, 4)
    assert LaplaceMechanism(2.0, 3.0).event("a") == LaplaceEvent("a", 3.0)
    assert ExponentialMechanism(2.0, 0.5).event("a") == ExponentialEvent("a", 0.5)


def test_a_choice_is_nearly_the_best():
    scores = np.array([0.0, 3.0, 100.0, 2.0])
    chosen = [int(ExponentialMechanism(1.0, 2.0).release(scores)[0]) for _ in range(50)]
    assert set(chosen) == {2}
    for bad in (np.zeros((2, 2)), np.array([]), np.array(1.0)):
        with pytest.raises(PrivacyError):
            ExponentialMechanism(1.0, 1.0).release(bad)


def test_a_choice_keeps_its_epsilon_on_neighbouring_scores():
    # Worst pair: one score up by the sensitivity, the other down. 95 % needs about e^epsilon.
    runs, epsilon = 4000, 1.0
    mechanism = ExponentialMechanism(1.0, epsilon)
    first = sum(int(mechanism.release(np.array([1, 0]))[0]) for _ in range(runs))
    second = sum(int(mechanism.release(np.array([0, 1]))[0]) for _ in range(runs))
    low = stats.beta.ppf(1e-7, second, runs - second + 1)
    high = stats.beta.ppf(1 - 1e-7, first + 1, runs - first)
    assert low / high < math.exp(epsilon)
    # P(1 | [1, 0]) = e^-1/2 / 2 = .303 exactly, P(1 | [0, 1]) = .697.
    assert stats.binomtest(first, runs, math.exp(-0.5) / 2).pvalue > FALSE_ALARM


SCORES = np.array([0, -1, -3, -3, -10, -2])


def chosen(mechanism, scores, runs):
    picks = [int(mechanism.release(scores)[0]) for _ in range(runs)]
    return np.bincount(picks, minlength=scores.size)


@pytest.mark.parametrize("scale", [1, 1.0, 0.37])
def test_bounded_range_choices_follow_their_law_and_no_other(scale):
    """Whole scores and others, which are put on a grid of 1 / 1024 of the sensitivity."""
    runs, epsilon = 6000, 1.0
    # In whole numbers the grid adds nothing; else it widens the sensitivity by 1 / 1024.
    due = np.exp(epsilon * SCORES / 2)
    seen = chosen(BoundedRangeMechanism(float(scale), epsilon), SCORES * scale, runs)
    assert stats.chisquare(seen, runs * due / due.sum()).pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        other = due**wrong
        assert stats.chisquare(seen, runs * other / other.sum()).pvalue < FALSE_ALARM


def test_bounded_range_choices_are_not_permute_and_flip():
    """Permute-and-flip is not of bounded range, so a filter must not be given it."""
    runs = 6000
    due = np.exp(SCORES / 2)
    seen = chosen(ExponentialMechanism(1.0, 1.0), SCORES, runs)
    assert stats.chisquare(seen, runs * due / due.sum()).pvalue < FALSE_ALARM


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, None, True, 41.0])
def test_bounded_range_choices_refuse_what_is_out_of_range(bad):
    with pytest.raises(PrivacyError):
        BoundedRangeMechanism(1.0, bad)
    with pytest.raises(PrivacyError):
        BoundedRangeMechanism(bad if bad != 41.0 else 0, 1.0)


def mu_lower_bound(without, with_one, level):
    """A lower bound of mu by Clopper-Pearson, from the attack that is best: a cut half-way."""
    n = without.size
    hits, alarms = int((with_one > 0.5).sum()), int((without > 0.5).sum())
    low = stats.beta.ppf(level / 2, hits, n - hits + 1)
    high = stats.beta.ppf(1 - level / 2, alarms + 1, n - alarms)
    return stats.norm.ppf(low) - stats.norm.ppf(high)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("mu", [0.268, 1.0, 2.0])
def test_audit_of_the_gaussian_mechanism(dtype, mu):
    """Each coordinate is one run; the patient adds the whole sensitivity to it."""
    without, with_one = neighbouring_releases(1 / mu, dtype)
    assert mu_lower_bound(without, with_one, FALSE_ALARM) <= mu
    # Rounding to integers hides the more, the fewer integers there are to a sigma.
    if dtype is np.float64 or mu < 1:
        # 200,000 runs put the 95 % bound .011 +- .004 below mu: this is 7 deviations away.
        assert mu_lower_bound(without, with_one, 0.05) >= 0.85 * mu


@pytest.mark.parametrize("mu", [0.268, 1.0, 2.0])
def test_the_audit_catches_two_thirds_of_the_noise(mu):
    without, with_one = neighbouring_releases(1 / mu * 2 / 3, np.float64)
    assert mu_lower_bound(without, with_one, FALSE_ALARM) > mu


def neighbouring_releases(multiplier, dtype, runs=200_000):
    mechanism = GaussianMechanism(1.0, multiplier)
    without = mechanism.release(np.zeros(runs, dtype))
    return without.astype(float), mechanism.release(np.ones(runs, dtype)).astype(float)
