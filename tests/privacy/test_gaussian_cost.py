"""Costs in Gaussian differential privacy: against dp-accounting's distributions, and composed."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from pegai.errors import PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
    compute_epsilon,
)
from pegai.privacy.accountant import gaussian_delta, gaussian_epsilon, gaussian_mu
from pegai.privacy.gaussian_cost import GaussianCost, gaussian_cost

REMAINDER = 1e-8


def their_loss(event):
    """By dp-accounting on a grid of its own, rounded down: never above the truth."""
    options = {"pessimistic_estimate": False, "use_connect_dots": False}
    # Rounding down costs them up to a bin a use.
    fine = 1e-5 if event.noise_multiplier > 5 and event.count > 100 else 1e-4
    if isinstance(event, LaplaceEvent):
        one = pld.from_laplace_mechanism(
            event.noise_multiplier, value_discretization_interval=fine, **options
        )
    else:
        one = pld.from_gaussian_mechanism(
            event.noise_multiplier,
            sampling_prob=event.sampling_probability,
            value_discretization_interval=fine,
            **options,
        )
    return one.self_compose(event.count)


@pytest.mark.parametrize(
    "event",
    [
        SubsampledGaussianEvent("sgd", 6.0, 0.05, 1000),
        SubsampledGaussianEvent("sgd", 1.04, 0.1, 300),
        SubsampledGaussianEvent("sgd", 0.8, 0.02, 30),
        SubsampledGaussianEvent("sgd", 1.0, 0.01, 1),
        LaplaceEvent("noise", 1.0),
        LaplaceEvent("noise", 10.0, 40),
    ],
)
def test_the_cost_covers_the_whole_curve_and_a_smaller_mu_does_not(event):
    cost = gaussian_cost([event], REMAINDER)
    assert cost.remainder == REMAINDER
    mu = math.sqrt(cost.mu_squared)
    loss = their_loss(event)
    top = compute_epsilon([event], REMAINDER) * 1.5
    epsilons = np.linspace(0, top, 400)
    found = np.array(loss.get_delta_for_epsilon(epsilons))

    def covered(at):
        due = np.array([gaussian_delta(at, e) for e in epsilons])
        return bool((found <= REMAINDER + (1 - REMAINDER) * due + 1e-12).all())

    assert covered(mu)
    assert not covered(0.98 * mu)


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 8.0])
def test_a_pure_event_costs_what_its_coin_does(epsilon):
    # The coin of losses +-epsilon meets the Gaussian's curve at its corner.
    from scipy.stats import norm

    exact = -2 * norm.ppf(1 / (1 + math.exp(epsilon)))
    for event in (ExponentialEvent("a", epsilon), RandomizedResponseEvent("a", epsilon, 9)):
        mu = math.sqrt(gaussian_cost([event], REMAINDER).mu_squared)
        assert exact <= mu <= exact * 1.005


def test_gaussian_events_are_exact_and_leave_nothing():
    events = [
        GaussianEvent("a", 3.0, 4),
        GaussianFilterEvent("b", 2.0),
        SubsampledGaussianEvent("c", 5.0, 1.0, 10),
    ]
    cost = gaussian_cost(events, REMAINDER)
    assert cost == GaussianCost(math.fsum([4 / 9, 1 / 4, 10 / 25]), 0.0)
    assert gaussian_cost([], REMAINDER) == GaussianCost(0.0, 0.0)


def test_releases_cost_together_no_less_than_their_joint_distribution_and_hardly_more():
    parts = [
        [SubsampledGaussianEvent("a", 2.3, 0.1, 300)],
        [GaussianEvent("b", 1.4)],
        [SubsampledGaussianEvent("c", 9.0, 0.3, 500)],
    ]
    total = GaussianCost.sum([gaussian_cost(part, REMAINDER) for part in parts])
    ours = gaussian_epsilon(math.sqrt(total.mu_squared), 1e-5 - total.remainder)
    exact = compute_epsilon([event for part in parts for event in part], 1e-5)
    assert exact <= ours <= 1.02 * exact
    assert ours < 0.75 * sum(compute_epsilon(part, 1e-5 / 3) for part in parts)


@pytest.mark.parametrize(
    "event", [SubsampledGaussianEvent("a", 0.01, 0.5, 100), ExponentialEvent("a", 600.0)]
)
def test_what_can_not_be_covered_costs_infinity(event):
    assert gaussian_cost([event], REMAINDER).mu_squared == math.inf


@pytest.mark.parametrize("bad", [0.0, 1.0, -1e-9, math.nan, None])
def test_remainders_out_of_range_are_refused(bad):
    with pytest.raises(PrivacyError, match="remainder"):
        gaussian_cost([LaplaceEvent("a", 1.0)], bad)


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1.0, 20.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.3])
def test_mu_and_epsilon_are_inverse_and_mu_is_never_too_large(epsilon, delta):
    mu = gaussian_mu(epsilon, delta)
    assert gaussian_delta(mu, epsilon) <= delta
    assert gaussian_delta(mu * (1 + 1e-9), epsilon) > delta
    assert gaussian_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("epsilon", "delta"), [(-1.0, 0.1), (math.inf, 0.1), (1.0, 0), (1.0, 1)])
def test_figures_without_a_mu_are_refused(epsilon, delta):
    with pytest.raises(PrivacyError):
        gaussian_mu(epsilon, delta)
