"""Randomized response: its law, its guarantee by dp-accounting, its counts, what it refuses.

Statistical tests use fresh noise and a false-alarm rate of 1e-7.
"""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from scipy import stats

from pegai.errors import PlanError, PrivacyError
from pegai.privacy import (
    Plan,
    Privacy,
    RandomizedResponseEvent,
    RandomizedResponseMechanism,
    Session,
    compute_delta,
    compute_epsilon,
)
from pegai.privacy.randomized_response import ABSENT

FALSE_ALARM = 1e-7
N = 60_000


def law(epsilon, categories, code):
    """Probabilities of the answers, from the definition."""
    if code == ABSENT:
        return np.full(categories, 1 / categories)
    weights = np.ones(categories)
    weights[code] = math.exp(epsilon)
    return weights / weights.sum()


@pytest.mark.parametrize("categories", [2, 3, 10])
@pytest.mark.parametrize("code", [ABSENT, 1])
def test_answers_follow_their_law_and_no_other(categories, code):
    epsilon = 1.0
    answers = RandomizedResponseMechanism(epsilon, categories).release(np.full(N, code))
    seen = np.bincount(answers, minlength=categories)
    assert seen.size == categories
    assert stats.chisquare(seen, law(epsilon, categories, code) * N).pvalue > FALSE_ALARM
    if code != ABSENT:
        for wrong in (2 / 3, 3 / 2):
            due = law(epsilon * wrong, categories, code) * N
            assert stats.chisquare(seen, due).pvalue < FALSE_ALARM


@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("categories", [2, 5, 100])
def test_no_patient_changes_a_probability_by_more_than_epsilon(epsilon, categories):
    """By the chance of a true answer that is really used, for every pair of codes."""
    truth = RandomizedResponseMechanism(epsilon, categories).truth
    even = (1 - truth) / categories
    laws = {ABSENT: np.full(categories, 1 / categories)}
    for code in (0, 1):
        laws[code] = np.full(categories, even)
        laws[code][code] += truth
    worst = max(
        float(np.log(first / second).max()) for first in laws.values() for second in laws.values()
    )
    assert worst <= epsilon * (1 + 1e-12)
    # At epsilon 20 the chance that is rounded off, 2^-48, is seen beside e^-20.
    assert worst >= epsilon * (1 - 1e-4)


@pytest.mark.parametrize(("categories", "count"), [(2, 1), (2, 30), (7, 30)])
def test_the_accountant_is_never_below_dp_accounting_for_a_changed_answer(categories, count):
    event = RandomizedResponseEvent("r", 0.2, categories, count)
    theirs = PLDAccountant(NeighboringRelation.REPLACE_ONE)
    theirs.compose(event.to_dp_event())
    ours = compute_epsilon([event], 1e-5)
    # Their grid rounds each use up by 1e-4.
    assert ours >= theirs.get_epsilon(1e-5) - 1e-4 * count
    if categories == 2:
        assert ours == pytest.approx(theirs.get_epsilon(1e-5), rel=5e-3)


@pytest.mark.parametrize("categories", [2, 10])
def test_the_accountant_is_never_below_dp_accounting_for_one_who_comes_or_goes(categories):
    present, absent = (np.log(law(0.5, categories, code)) for code in (0, ABSENT))
    # A pair of PMFs is for a given order: the two orders are "add" and "remove".
    for upper, lower in ((present, absent), (absent, present)):
        one = pld.from_two_probability_mass_functions(
            dict(enumerate(lower)), dict(enumerate(upper)), value_discretization_interval=1e-4
        )
        for at in (0.5, 1.5):
            ours = compute_delta([RandomizedResponseEvent("r", 0.5, categories, 20)], at)
            assert ours >= one.self_compose(20).get_delta_for_epsilon(at + 20 * 1e-4)


def test_counts_are_unbiased_also_with_places_that_are_empty():
    codes = np.repeat([0, 1, 2, ABSENT], [30_000, 10_000, 0, 20_000])
    asked = RandomizedResponseMechanism(1.5, 3)
    found = asked.estimate_counts(asked.release(codes), present=40_000)
    deviation = math.sqrt(N) / (2 * asked.truth)
    assert found.sum() == pytest.approx(40_000)
    # 6 deviations: a false alarm in 5e8.
    assert np.abs(found - [30_000, 10_000, 0]).max() < 6 * deviation
    # Empty places taken for full ones would move the third count by 6,667.
    assert 12 * deviation < 20_000 / 3


def test_answers_keep_the_shape_and_are_never_the_codes_themselves():
    codes = np.zeros((200, 3), np.uint8)
    answers = RandomizedResponseMechanism(0.1, 4).release(codes)
    assert answers.shape == (200, 3)
    assert answers.dtype == np.int64
    assert answers.any()
    assert RandomizedResponseMechanism(1.0, 2).release(np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("codes", [[0, 3], [-2, 0], [0.0, 1.0], ["a"], [True]])
def test_codes_that_are_none_are_refused_and_not_told(codes):
    with pytest.raises(PrivacyError) as caught:
        RandomizedResponseMechanism(1.0, 3).release(np.array(codes))
    assert "[" not in str(caught.value)


@pytest.mark.parametrize("categories", [1, 0, 2.0, True, None, 2**16 + 1])
def test_categories_out_of_range_are_refused(categories):
    with pytest.raises(PrivacyError, match="categories"):
        RandomizedResponseEvent("r", 1.0, categories)
    with pytest.raises(PrivacyError, match="categories"):
        RandomizedResponseMechanism(1.0, categories)


def test_a_session_admits_it_as_planned(tmp_path):
    plan = Plan.make([RandomizedResponseEvent("asked", 1.0, 3)], 1e-5)
    assert plan.epsilon == 1.0
    session = Session.open(
        plan,
        Privacy(1.0, 1e-5, ledger=tmp_path / "l.jsonl"),
        dataset="ward",
        fingerprint_chunks=[b""],
        label="x",
    )
    answers = session.randomized_response("asked", np.array([0, 1, ABSENT, 2]))
    assert answers.shape == (4,)
    with pytest.raises(PlanError, match="all are used"):
        session.randomized_response("asked", np.array([0]))
    with pytest.raises(PlanError, match="planned as"):
        session.gaussian("asked", np.array([0]), l2_sensitivity=1.0)
