"""Samplers and guarantees against OpenDP, an independent implementation with vetted proofs.

OpenDP is heavy (265 MB) and no part of the development set: `pip install 'pegai[oracle]'` brings
it, and without it these tests are skipped. Nothing can be seeded on either side, so each test has a
false-alarm rate of 1e-7 and shows its power by telling 2/3 and 3/2 of the right scale apart.
"""

import math

import numpy as np
import pytest
from scipy import stats

from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    LaplaceEvent,
    SecureRandom,
    compute_epsilon,
)
from pegai.privacy.mechanisms import BoundedRangeMechanism, ExponentialMechanism, GaussianMechanism

dp = pytest.importorskip("opendp.prelude")
dp.enable_features("contrib")

FALSE_ALARM = 1e-7
DRAWS = 20_000
OURS = 200_000
RANDOM = SecureRandom()


def integers():
    return dp.vector_domain(dp.atom_domain(T=int))


def opendp_gaussian(scale):
    return dp.m.make_gaussian(integers(), dp.l2_distance(T=float), scale=scale)


def opendp_laplace(scale):
    return dp.m.make_laplace(integers(), dp.l1_distance(T=int), scale=scale)


def same_law(first, second):
    """p-value of a two-sample chi-square; neighbouring values are joined to 40 draws together."""
    low = min(first.min(), second.min())
    size = int(max(first.max(), second.max()) - low) + 1
    counts = np.array([np.bincount(x - low, minlength=size) for x in (first, second)], float)
    smaller = np.array([first.size, second.size]).min() / (first.size + second.size)
    group = np.minimum(
        np.cumsum(counts.sum(axis=0)) * smaller // 40, counts.sum() * smaller // 40 - 1
    ).astype(int)
    joined = np.array([np.bincount(group, c) for c in counts])
    return stats.chi2_contingency(joined[:, joined.sum(axis=0) > 0]).pvalue


LAWS = {
    "discrete_gaussian": opendp_gaussian,
    "discrete_laplace": opendp_laplace,
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("scale", [0.7, 3.7, 40.0])
def test_discrete_noise_has_the_law_of_opendp_and_no_other_scale(name, scale):
    theirs = np.array(LAWS[name](scale)([0] * DRAWS))
    assert same_law(getattr(RANDOM, name)(scale, OURS), theirs) > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert same_law(getattr(RANDOM, name)(scale * wrong, OURS), theirs) < FALSE_ALARM


def test_wide_gaussian_noise_has_the_law_of_opendp():
    # Above the largest table, where ours is convolved; in steps of 300, a tenth of the width.
    theirs = np.array(opendp_gaussian(3000.0)([0] * DRAWS)) // 300
    assert same_law(RANDOM.discrete_gaussian(3000.0, OURS) // 300, theirs) > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        other = RANDOM.discrete_gaussian(3000.0 * wrong, OURS) // 300
        assert same_law(other, theirs) < FALSE_ALARM


def test_the_gaussian_mechanism_releases_what_opendp_does():
    """On whole numbers; ours widens the noise by 2 steps in the grid's variance, no more."""
    values = np.full(OURS, 17)
    ours = GaussianMechanism(10.0, 8.0).release(values)
    theirs = np.array(opendp_gaussian(80.0)([17] * DRAWS))
    assert same_law(ours // 8, theirs // 8) > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        other = GaussianMechanism(10.0, 8.0 * wrong).release(values)
        assert same_law(other // 8, theirs // 8) < FALSE_ALARM


def choices(draw, runs):
    return np.bincount([draw() for _ in range(runs)], minlength=4)


@pytest.mark.parametrize(
    ("mechanism", "measure"),
    [
        # Permute-and-flip is report-noisy-max with exponential noise (Ding et al. 2021, theorem 5);
        # the exponential mechanism is report-noisy-max with Gumbel noise.
        (ExponentialMechanism, dp.max_divergence),
        (BoundedRangeMechanism, dp.zero_concentrated_divergence),
    ],
)
def test_choices_fall_as_those_of_opendp(mechanism, measure):
    scores, epsilon, runs = np.array([3, 7, 6, 0]), 0.8, 8000
    space = (integers(), dp.linf_distance(T=int))
    theirs = dp.m.make_noisy_max(*space, measure(), scale=2 / epsilon)
    found = choices(lambda: theirs(scores.tolist()), runs)

    def p_value(at):
        mine = choices(lambda: mechanism(1.0, at).release(scores)[0], runs)
        return stats.chi2_contingency([mine, found]).pvalue

    assert p_value(epsilon) > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert p_value(epsilon * wrong) < FALSE_ALARM


# ---------------------------------------------------------------- guarantees


@pytest.mark.parametrize("multiplier", [0.5, 3.7, 40.0])
def test_the_gaussian_guarantee_is_that_of_opendp(multiplier):
    """Theirs is in zCDP, rho = mu^2 / 2; ours in mu."""
    rho = opendp_gaussian(multiplier).map(1.0)
    assert math.sqrt(2 * rho) == pytest.approx(1 / multiplier, rel=1e-9)


@pytest.mark.parametrize("multiplier", [0.5, 3.7, 40.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_our_epsilon_is_below_that_of_opendp_which_goes_by_zcdp(multiplier, delta):
    made = dp.c.make_zCDP_to_approxDP(opendp_gaussian(multiplier))
    theirs = dp.c.make_fix_delta(made, delta).map(1.0)[0]
    ours = compute_epsilon([GaussianEvent("a", multiplier)], delta)
    # Both are upper bounds on the same mechanism. The detour costs them 3 to 25 %.
    assert theirs * 0.75 < ours < theirs


@pytest.mark.parametrize("multiplier", [0.5, 3.7, 40.0])
def test_the_laplace_guarantee_is_that_of_opendp(multiplier):
    theirs = opendp_laplace(multiplier).map(1)
    ours = compute_epsilon([LaplaceEvent("a", multiplier)], 1e-15)
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_the_guarantee_of_a_choice_is_that_of_opendp(epsilon):
    space = (integers(), dp.linf_distance(T=int))
    theirs = dp.m.make_noisy_max(*space, dp.max_divergence(), scale=2 / epsilon)
    assert theirs.map(1) == pytest.approx(epsilon, rel=1e-9)
    ours = compute_epsilon([ExponentialEvent("a", epsilon)], 1e-12)
    assert ours == pytest.approx(theirs.map(1), rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_the_range_of_a_choice_costs_no_less_than_its_zcdp_by_opendp(epsilon):
    """mu-GDP is (mu^2 / 2)-zCDP, so a sound mu must have mu^2 / 2 >= the least rho of a choice."""
    from pegai.privacy.bounded_range import bounded_range_mu

    space = (integers(), dp.linf_distance(T=int))
    theirs = dp.m.make_noisy_max(*space, dp.zero_concentrated_divergence(), scale=2 / epsilon)
    assert theirs.map(1) == pytest.approx(epsilon**2 / 8, rel=1e-6)
    # KL divergence of the worst pair: what any zCDP guarantee must cover.
    half = epsilon / 2
    p = 1 / (1 + math.exp(-half))
    least = (2 * p - 1) * half
    assert bounded_range_mu(epsilon) ** 2 / 2 >= least


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_calibrated_noise_is_enough_by_opendp_at_what_its_detour_costs(epsilon, delta):
    from pegai.privacy import gaussian_noise_multiplier

    multiplier = gaussian_noise_multiplier(epsilon, delta)
    made = dp.c.make_zCDP_to_approxDP(opendp_gaussian(multiplier))
    assert epsilon < dp.c.make_fix_delta(made, delta).map(1.0)[0] < 1.3 * epsilon
