"""The accountant against closed forms, against dp-accounting directly, and against itself."""

import math

import dp_accounting as dpa
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pegai.errors import PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
    attack_bound,
    compute_delta,
    compute_epsilon,
)
from pegai.privacy.accountant import epsilon_at_resolution, gaussian_delta, gaussian_epsilon


def dp_sgd(multiplier, q, steps):
    return SubsampledGaussianEvent("sgd", multiplier, q, steps)


def peer(accountant, events, delta):
    for event in events:
        accountant.compose(event.to_dp_event())
    return accountant.get_epsilon(delta)


def test_nothing_costs_nothing():
    assert compute_epsilon([], 1e-5) == 0
    assert compute_delta([], 1.0) == 0


@pytest.mark.parametrize("mu", [1e-3, 0.268, 1.0, 5.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
def test_gaussian_delta_is_the_integral(mu, epsilon):
    def excess(x):
        return max(stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x), 0.0)

    edge = epsilon / mu + mu / 2
    if edge > 30:
        assert gaussian_delta(mu, epsilon) < 1e-100
        return
    value = integrate.quad(excess, edge, edge + 40, epsabs=1e-14, epsrel=1e-12, limit=400)[0]
    assert gaussian_delta(mu, epsilon) == pytest.approx(value, rel=1e-8, abs=1e-13)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 20), st.floats(1e-12, 0.5))
def test_gaussian_epsilon_and_delta_are_inverse_and_never_below(mu, delta):
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_delta(mu, epsilon) <= delta
    if epsilon > 1e-6:
        assert gaussian_delta(mu, epsilon * (1 - 1e-6)) > delta


def test_gaussians_compose_exactly():
    parts = [GaussianEvent("a", 3.0, 4), GaussianEvent("b", 1.7), GaussianEvent("c", 8.0, 10)]
    mu = math.sqrt(4 / 9 + 1 / 1.7**2 + 10 / 64)
    assert compute_epsilon(parts, 1e-5) == pytest.approx(gaussian_epsilon(mu, 1e-5), rel=1e-9)
    assert compute_epsilon(parts, 1e-5) >= gaussian_epsilon(mu, 1e-5)
    assert compute_delta(parts, 2.0) == pytest.approx(gaussian_delta(mu, 2.0), rel=1e-9)
    assert compute_epsilon(parts, 1e-5) == pytest.approx(
        peer(PLDAccountant(), parts, 1e-5), rel=1e-4
    )


def test_a_filter_costs_one_gaussian_of_its_whole_budget():
    events = [GaussianFilterEvent("f", 2.5), GaussianEvent("g", 4.0)]
    same = [GaussianEvent("f", 2.5), GaussianEvent("g", 4.0)]
    assert compute_epsilon(events, 1e-5) == compute_epsilon(same, 1e-5)
    assert compute_delta(events, 1.0) == compute_delta(same, 1.0)
    assert peer(PLDAccountant(), events, 1e-5) == pytest.approx(
        compute_epsilon(events, 1e-5), rel=1e-4
    )


def test_randomized_responses_cost_as_pure_events():
    assert compute_epsilon([RandomizedResponseEvent("r", 0.3, 8, 60)], 1e-5) == compute_epsilon(
        [ExponentialEvent("a", 0.3, 60)], 1e-5
    )


def test_full_batches_are_plain_gaussians():
    assert compute_epsilon([dp_sgd(5.0, 1.0, 9)], 1e-5) == compute_epsilon(
        [GaussianEvent("g", 5.0, 9)], 1e-5
    )


@pytest.mark.parametrize(
    ("multiplier", "q", "steps"),
    [(1.0, 0.0128, 2000), (2.0, 0.1, 500), (14.0, 0.3, 2000), (0.7, 0.02, 50), (1.2, 0.9, 20)],
)
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_subsampled_gaussians_agree_with_dp_accounting(multiplier, q, steps, delta):
    events = [dp_sgd(multiplier, q, steps)]
    epsilon = compute_epsilon(events, delta)
    assert epsilon == pytest.approx(peer(PLDAccountant(), events, delta), rel=2e-3)
    assert epsilon <= peer(RdpAccountant(), events, delta) * 1.0001
    # An upper bound: above the optimistic estimate, on any grid, and tighter on a finer one.
    floor = pld.from_gaussian_mechanism(
        multiplier,
        sampling_prob=q,
        pessimistic_estimate=False,
        use_connect_dots=False,
        value_discretization_interval=1e-4,
    ).self_compose(steps)
    assert epsilon >= floor.get_epsilon_for_delta(delta)
    assert epsilon_at_resolution(events, delta, 8.0) >= epsilon


def test_golden_figure_of_the_field_notes():
    # Measured with dp-accounting's own accountant; RDP says 3.749, a PRV accountant 3.408.
    assert compute_epsilon([dp_sgd(1.0, 0.0128, 2000)], 1e-5) == pytest.approx(3.398, abs=2e-3)


def test_one_pure_event_costs_its_epsilon():
    assert compute_epsilon([LaplaceEvent("a", 4.0)], 1e-6) == 0.25
    assert compute_epsilon([ExponentialEvent("a", 0.3)], 1e-6) == 0.3
    slack = compute_delta([LaplaceEvent("a", 4.0)], 0.25)
    assert 0 < slack < 1e-20


def test_one_laplace_has_its_closed_form():
    # delta(e) = 1 - exp((e - 1/b) / 2) below 1/b.
    for epsilon in (0.0, 0.2, 0.4):
        due = -math.expm1((epsilon - 0.5) / 2)
        found = compute_delta([LaplaceEvent("a", 2.0)], epsilon)
        assert due <= found <= due * 1.01 + 1e-9


def test_many_pure_events_cost_less_than_their_sum_but_no_less_than_the_truth():
    events = [ExponentialEvent("a", 0.1, 60)]
    epsilon = compute_epsilon(events, 1e-5)
    assert epsilon < 0.8 * 6.0
    # The truth for randomized response: a binomial number of losses of +-0.1.
    k = np.arange(61)
    up = 1 / (1 + math.exp(-0.1))
    mass = stats.binom.pmf(k, 60, up)
    excess = -np.expm1(np.minimum(epsilon * (1 - 1e-6) - 0.1 * (2 * k - 60), 0))
    assert float(mass @ excess) >= 1e-5 * 0.99
    assert float(mass @ -np.expm1(np.minimum(epsilon - 0.1 * (2 * k - 60), 0))) <= 1e-5


def test_many_laplaces_agree_with_dp_accounting():
    events = [LaplaceEvent("a", 10.0, 80), LaplaceEvent("b", 20.0, 40)]
    epsilon = compute_epsilon(events, 1e-5)
    assert epsilon < 10.0
    assert epsilon == pytest.approx(peer(PLDAccountant(), events, 1e-5), rel=5e-3)


def test_every_kind_together():
    events = [
        GaussianEvent("a", 4.0, 2),
        LaplaceEvent("b", 8.0),
        ExponentialEvent("c", 0.05, 3),
        dp_sgd(2.0, 0.05, 200),
    ]
    whole = compute_epsilon(events, 1e-5)
    parts = [compute_epsilon([event], 1e-5) for event in events]
    assert max(parts) < whole < sum(parts)
    # dp-accounting takes randomized response under replacement only, so build its PLD here.
    made = pld.from_gaussian_mechanism(4.0).self_compose(2)
    made = made.compose(pld.from_laplace_mechanism(8.0))
    pure = pld.from_privacy_parameters(dpa.pld.common.DifferentialPrivacyParameters(0.05, 0))
    made = made.compose(pure.self_compose(3))
    made = made.compose(pld.from_gaussian_mechanism(2.0, sampling_prob=0.05).self_compose(200))
    assert whole == pytest.approx(made.get_epsilon_for_delta(1e-5), rel=5e-3)
    assert compute_delta(events, whole) <= 1e-5 * (1 + 1e-6)


def test_gaussian_with_pure_is_at_most_its_simple_sum():
    events = [GaussianEvent("a", 2.0), ExponentialEvent("b", 0.5)]
    simple = compute_epsilon(events[:1], 1e-5) + 0.5
    assert compute_epsilon(events, 1e-5) <= simple * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 20), st.floats(0.01, 0.9), st.integers(1, 300), st.sampled_from([1e-3, 1e-6]))
def test_more_noise_fewer_steps_and_smaller_samples_cost_less(multiplier, q, steps, delta):
    cost = compute_epsilon([dp_sgd(multiplier, q, steps)], delta) * (1 + 2e-3) + 1e-9
    assert compute_epsilon([dp_sgd(multiplier * 1.1, q, steps)], delta) <= cost
    assert compute_epsilon([dp_sgd(multiplier, q * 0.9, steps)], delta) <= cost
    assert compute_epsilon([dp_sgd(multiplier, q, max(steps // 2, 1))], delta) <= cost
    full = compute_epsilon([GaussianEvent("g", multiplier, steps)], delta)
    assert compute_epsilon([dp_sgd(multiplier, q, steps)], delta) <= full * (1 + 2e-3) + 1e-9


@pytest.mark.parametrize(
    "events",
    [
        [GaussianEvent("a", 1e-3)],
        [dp_sgd(1e-3, 0.5, 10)],
        [LaplaceEvent("a", 1e-3)],
        [ExponentialEvent("a", 500.0, 3)],
        [dp_sgd(0.3, 0.9, 100_000)],
    ],
)
def test_hopeless_events_cost_infinity_and_take_no_time(events):
    assert compute_epsilon(events, 1e-5) == math.inf
    assert compute_delta(events, 5.0) > 0.9


def test_slack_of_the_samplers_is_charged():
    events = [GaussianEvent("a", 1.0)]
    assert compute_delta(events, 1.0) > gaussian_delta(1.0, 1.0) or math.isclose(
        compute_delta(events, 1.0), gaussian_delta(1.0, 1.0), rel_tol=1e-15
    )
    assert compute_delta(events, 30.0) >= math.exp(30) * 2.0**-72
    # A delta below the slack can't be certified.
    assert compute_epsilon(events, 1e-22) == math.inf


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan, math.inf, "1e-5", None])
def test_deltas_out_of_range_are_refused(delta):
    with pytest.raises(PrivacyError, match="delta"):
        compute_epsilon([GaussianEvent("a", 1.0)], delta)


@pytest.mark.parametrize("epsilon", [-1.0, math.nan])
def test_epsilons_out_of_range_are_refused(epsilon):
    with pytest.raises(PrivacyError, match="epsilon"):
        compute_delta([GaussianEvent("a", 1.0)], epsilon)


def test_attack_bound_at_its_ends():
    assert attack_bound(0.0, 0.0, 0.01) == pytest.approx(0.01)
    assert attack_bound(1.0, 0.0, 0.01) == pytest.approx(math.e * 0.01)
    assert attack_bound(3.0, 1e-3, 0.5) == pytest.approx(1 - math.exp(-3) * (0.5 - 1e-3))
    assert attack_bound(1000.0, 0.0, 0.5) == 1.0
    assert attack_bound(0.1, 1.0, 0.0) == 1.0
    with pytest.raises(PrivacyError):
        attack_bound(1.0, 0.0, 1.5)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 3), st.floats(1e-6, 0.1), st.floats(0.001, 0.999))
def test_attack_bound_is_above_the_best_attack_on_a_gaussian(mu, delta, fpr):
    best = stats.norm.sf(stats.norm.isf(fpr) - mu)
    assert attack_bound(gaussian_epsilon(mu, delta), delta, fpr) >= best - 1e-12
