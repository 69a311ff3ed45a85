"""Choices in Gaussian differential privacy: against the pairs, in many digits, and composed."""

import math

import mpmath
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import PrivacyError
from pegai.privacy.accountant import gaussian_delta
from pegai.privacy.bounded_range import (
    MAX_RANGE,
    bounded_range_epsilon,
    bounded_range_mu,
    pair_mu,
)


@pytest.mark.parametrize("epsilon", np.geomspace(1e-3, 20, 25))
def test_no_pair_costs_more_and_the_one_in_the_middle_costs_as_much(epsilon):
    bound = bounded_range_mu(epsilon)
    worst = max(pair_mu(epsilon, epsilon * i / 1000) for i in range(1, 1000))
    assert worst <= bound
    assert pair_mu(epsilon, epsilon / 2) == pytest.approx(bound, rel=1e-7)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 0.1, 1.0, 1.999, 2.001, 7.0, 20.0, MAX_RANGE])
def test_rounding_is_upwards_against_many_digits(epsilon):
    with mpmath.workdps(60):
        odds = mpmath.exp(mpmath.mpf(epsilon) / 2)
        # 2 z(p) of p = odds / (1 + odds), by erf(x) = 2 p - 1.
        root = mpmath.findroot(
            lambda x: mpmath.erf(x) - (odds - 1) / (odds + 1), bounded_range_mu(epsilon) / 2**1.5
        )
        exact = 2 * mpmath.sqrt(2) * root
    assert exact <= bounded_range_mu(epsilon) <= exact * (1 + 2e-9)


def composed_deltas(epsilon, t, count, epsilons):
    """Hockey-stick divergences of `count` pairs of losses t and t - epsilon, by binomials."""
    q = -math.expm1(t - epsilon) / (math.exp(t) - math.exp(t - epsilon))
    k = np.arange(count + 1)
    losses = k * t + (count - k) * (t - epsilon)
    mass = stats.binom.pmf(k, count, math.exp(t) * q)
    return [float(mass @ -np.expm1(np.minimum(e - losses, 0.0))) for e in epsilons]


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_the_bound_holds_for_choices_composed_and_a_smaller_one_does_not(epsilon, count):
    mu = bounded_range_mu(epsilon) * math.sqrt(count)
    epsilons = np.linspace(0, 1.2 * mu * (mu / 2 + 3), 25)
    due = np.array([gaussian_delta(mu, e) for e in epsilons])
    # A Gaussian's bound on one choice is met, that on many is not: they tend to mu = epsilon / 2.
    less = np.array([gaussian_delta((0.95 if count == 1 else 0.75) * mu, e) for e in epsilons])
    broken = False
    for part in (0.02, 0.2, 0.4, 0.5, 0.6, 0.8, 0.98):
        found = np.array(composed_deltas(epsilon, part * epsilon, count, epsilons))
        assert (found <= due + 1e-15).all()
        broken |= bool((found > less).any())
    assert broken


@pytest.mark.parametrize("part", [0.2, 0.5, 0.7])
def test_the_bound_holds_by_dp_accounting(part):
    epsilon, count = 0.5, 20
    t = part * epsilon
    q = -math.expm1(t - epsilon) / (math.exp(t) - math.exp(t - epsilon))
    p = math.exp(t) * q
    one = pld.from_two_probability_mass_functions(
        {0: math.log(q), 1: math.log1p(-q)},
        {0: math.log(p), 1: math.log1p(-p)},
        value_discretization_interval=1e-5,
    )
    many = one.self_compose(count)
    mu = bounded_range_mu(epsilon) * math.sqrt(count)
    for at in (0.05, 0.5, 1.5, 3.0, 5.0):
        # Theirs is rounded upwards, by half a bin a use.
        assert many.get_delta_for_epsilon(at) <= gaussian_delta(mu, at - 2e-4) + 1e-12


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-6, 10))
def test_the_range_that_a_mu_buys_costs_no_more_and_hardly_less(mu):
    cost = bounded_range_mu(bounded_range_epsilon(mu))
    assert cost <= mu
    assert cost >= mu * (1 - 1e-8)


def test_more_mu_than_the_widest_choice_needs_buys_no_more():
    assert bounded_range_epsilon(1e3) == MAX_RANGE


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, None, True, MAX_RANGE * 1.01])
def test_ranges_out_of_range_are_refused(bad):
    with pytest.raises(PrivacyError, match="range"):
        bounded_range_mu(bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, None])
def test_mus_out_of_range_are_refused(bad):
    with pytest.raises(PrivacyError, match="mu"):
        bounded_range_epsilon(bad)
