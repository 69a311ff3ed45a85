"""What an (epsilon, delta) means: every bound against an attack that reaches it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import PrivacyError
from pegai.privacy import GaussianEvent, Plan, Privacy
from pegai.privacy.explain import LIMITS, explain, gaussian_attack, percent, up
from pegai.privacy.outlook import Expected, Outlook, chance_range_95, event_in_words

epsilons = st.floats(0.05, 15)
deltas = st.floats(1e-9, 1e-2)


@settings(max_examples=60, deadline=None)
@given(epsilons, deltas)
def test_beliefs_and_guesses_are_those_of_the_release_that_dominates_all(epsilon, delta):
    """The four outcomes of Kairouz, Oh and Viswanath: told, told, and randomized response."""
    found = explain(epsilon, delta)
    truth = (1 - delta) * np.exp(epsilon) / (1 + np.exp(epsilon))
    lie = (1 - delta) / (1 + np.exp(epsilon))
    inside, outside = np.array([delta, 0, truth, lie]), np.array([0, delta, lie, truth])
    for belief in found.beliefs:
        joint = belief.before * inside
        after = joint / (joint + (1 - belief.before) * outside)
        assert belief.most == pytest.approx(after[2], rel=1e-9)
        assert belief.least == pytest.approx(after[3], rel=1e-9)
        assert after[0] == 1  # the chance of delta that is left out
    best_guess = np.maximum(inside, outside).sum() / 2
    assert found.guess == pytest.approx(best_guess, rel=1e-9)
    for attack in found.attacks:
        # Neyman and Pearson on the same outcomes, randomized at the threshold.
        left, hit = attack.false_alarms, inside[0]
        for i in (2, 3, 1):
            part = min(1.0, left / outside[i]) if outside[i] else 1.0
            hit, left = hit + part * inside[i], left - part * outside[i]
        assert attack.any_mechanism == pytest.approx(min(hit, 1.0), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(epsilons, deltas)
def test_gaussian_bounds_are_those_of_the_noise_that_is_drawn(epsilon, delta):
    found = explain(epsilon, delta)
    mu = found.mu
    reached = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(
        -mu / 2 - epsilon / mu
    )
    assert reached == pytest.approx(delta, rel=1e-6)
    for attack in found.attacks:
        threshold = stats.norm.isf(attack.false_alarms)
        assert attack.gaussian == pytest.approx(stats.norm.sf(threshold - mu), rel=1e-9)
        assert attack.gaussian <= attack.any_mechanism * (1 + 1e-9)
    assert found.gaussian_guess == pytest.approx(stats.norm.cdf(mu / 2), rel=1e-12)
    assert found.gaussian_guess <= found.guess


def test_an_attack_on_real_noise_finds_what_the_gaussian_bound_says():
    """On 2e5 noisy counts; six standard errors have a false-alarm rate below 1e-8."""
    from pegai.privacy import GaussianMechanism

    found, runs = explain(3.0, 1e-3), 200_000
    mechanism = GaussianMechanism(1.0, 1 / found.mu)
    outside = mechanism.release(np.zeros(runs))
    inside = mechanism.release(np.ones(runs))
    threshold = np.quantile(outside, 0.9)
    hits = (inside > threshold).mean()
    due = gaussian_attack(found.mu, 0.1)
    margin = 6 * 2 * math.sqrt(0.25 / runs)
    assert abs(hits - due) < margin
    for wrong in (2 / 3, 3 / 2):  # the noise it would be
        assert abs(hits - gaussian_attack(found.mu / wrong, 0.1)) > margin


def test_words_state_the_figures_rounded_up():
    said = " ".join(explain(1.0, 1e-5, patients=10_000).in_words())
    for part in (
        "factor of 2.72 at most",
        "from 50 % to 73.2 %, from 10 % to 23.2 %, from 1 % to 2.7 %",
        "at most 2.8 % of the patients (guessing finds 1 %)",
        "it is at most 2 %",
        "1 in 100,000",
        "With 10,000 patients, delta x patients is 0.1: far below 1",
        "two such releases are at most epsilon 2 with delta 2e-05",
        "chance of 73.11 %",
    ):
        assert part in said, part
    assert all(limit in said for limit in LIMITS)


@pytest.mark.parametrize(
    ("patients", "verdict"),
    [(100, "far below 1"), (5000, "take a smaller delta"), (10_000, "TOO LARGE")],
)
def test_delta_is_judged_by_the_number_of_patients(patients, verdict):
    said = explain(1.0, 1e-4, patients=patients).in_words()
    assert any(verdict in sentence for sentence in said)
    assert not any("delta x patients" in s for s in explain(1.0, 1e-4).in_words())


def test_the_unit_is_named():
    said = " ".join(explain(1.0, 1e-5, unit="hospital stay").in_words())
    assert "a given hospital stay was in the data" in said


@pytest.mark.parametrize(
    ("epsilon", "delta", "patients"),
    [
        (0.0, 1e-5, None),
        (-1.0, 1e-5, None),
        (math.nan, 1e-5, None),
        (math.inf, 1e-5, None),
        (21.0, 1e-5, None),
        (1.0, 0.0, None),
        (1.0, 1.0, None),
        (1.0, math.nan, None),
        (1.0, 1e-5, 0),
    ],
)
def test_figures_out_of_range_are_refused(epsilon, delta, patients):
    with pytest.raises(PrivacyError):
        explain(epsilon, delta, patients=patients)


@given(st.floats(1e-12, 1e9))
def test_bounds_are_never_said_smaller_than_they_are(value):
    assert float(up(value).replace(",", "")) >= value * (1 - 1e-9)
    assert float(up(value).replace(",", "")) <= value * 1.011
    share = value / (1 + value)
    assert float(percent(share).split()[0]) >= 100 * share - 1e-6


# ---------------------------------------------------------------- noise


def test_tables_share_the_noise_by_the_root_of_their_number():
    one = Outlook.of_tables(Privacy(1.0, 1e-5), 1)
    ten = Outlook.of_tables(Privacy(1.0, 1e-5), 10)
    assert [e.deviation for e in one.expected] == pytest.approx([3.7306, 1.8653], rel=1e-4)
    assert ten.expected[1].deviation == pytest.approx(3.7306 * 10**0.5, rel=1e-4)
    assert one.plan.epsilon <= 1.0
    with pytest.raises(PrivacyError, match="tables"):
        Outlook.of_tables(Privacy(1.0, 1e-5), 0)


def test_ranges_hold_as_often_as_said():
    """The 95 % range of a share against noise that is really drawn; false alarms below 1e-8."""
    from pegai.privacy import GaussianMechanism

    found, runs = Expected("count", 3.7), 100_000
    noisy = GaussianMechanism(1.0, 3.7).release(np.full(runs, 120.0))
    inside = np.abs(noisy / 400 - 120 / 400) <= found.share_range_95(400)
    assert abs(inside.mean() - 0.95) < 6 * math.sqrt(0.05 * 0.95 / runs)
    mean_error = found.to_dict(400)["share_mean_absolute_error"]
    assert np.abs(noisy / 400 - 0.3).mean() == pytest.approx(mean_error, rel=0.02)
    assert found.share_range_95(found.patients_for_one_point) <= 0.01
    assert found.share_range_95(found.patients_for_one_point - 1) > 0.01


def test_chance_alone_is_the_binomial_range():
    low, high = stats.binom.interval(0.95, 10_000, 0.5)
    assert chance_range_95(10_000) == pytest.approx((high - low) / 20_000, rel=0.02)


def test_looks_are_said_in_words():
    from pegai.privacy import ExponentialEvent, SubsampledGaussianEvent
    from pegai.privacy.events import GaussianFilterEvent

    said = [
        event_in_words(event)
        for event in (
            GaussianEvent("a", 3.0),
            SubsampledGaussianEvent("b", 2.0, 0.15, 2000),
            ExponentialEvent("c", 0.5, 3),
            GaussianFilterEvent("d", 4.0),
        )
    ]
    assert said == [
        "once, noise multiplier 3",
        "2,000 times, noise multiplier 2, each patient in a step with chance 0.15",
        "3 times, epsilon 0.5 each",
        "a series, each look chosen after the last, together, noise multiplier 4",
    ]


def test_a_plan_that_says_nothing_of_its_counts_is_shown_by_its_whole_budget():
    from pegai.privacy.events import GaussianFilterEvent

    privacy = Privacy(2.0, 1e-5)
    plan = Plan.make([GaussianFilterEvent("m", 4.0)], 1e-5)
    (expected,) = Outlook.of_plan(plan, privacy, {}).expected
    assert (expected.what, expected.deviation) == ("a count with all of the budget", 4.0)
    (told,) = Outlook.of_plan(plan, privacy, {"cells": 9.0}).expected
    assert told == Expected("cells", 9.0)
