"""PATE: a patient moves one teacher, a teacher moves what is declared, votes cost what is said."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import DataError, PlanError, PrivacyError
from pegai.privacy import GaussianEvent, Plan, Privacy, Session, compute_epsilon
from pegai.privacy.pate import (
    TeacherPartition,
    noisy_vote_counts,
    noisy_votes,
    plan_votes,
    public_vote,
    vote_counts,
    vote_deviation,
    vote_sensitivity,
)

KEY = bytes(range(32))
FALSE_ALARM = 1e-7


class Watch:
    """Notes what a session is given, and may replay."""

    def __init__(self, replay=None):
        self.calls, self.replay = [], replay

    def record(self, label, kind, values, sensitivity):
        self.calls.append((label, kind, values, sensitivity))
        return self.replay


def session_of(folder, event, *, delta=1e-4, recorder=None):
    plan = Plan.make([event], delta)
    privacy = Privacy(min(plan.epsilon * (1 + 1e-9), 20.0), delta, ledger=folder / "l.jsonl")
    return Session.open(
        plan, privacy, dataset="d", fingerprint_chunks=[b"t"], label="t", recorder=recorder
    )


# ---------------------------------------------------------------- the partition

ids = st.lists(st.one_of(st.integers(), st.text()), max_size=30)


@settings(max_examples=150, deadline=None)
@given(ids, st.one_of(st.integers(), st.text()), st.data(), st.integers(2, 40))
def test_adding_a_patient_changes_the_rows_of_one_teacher_and_of_no_other(
    patients, new, data, teachers
):
    patients = [p for p in patients if str(p) != str(new)]
    rows = data.draw(st.integers(1, 4))
    more = list(patients)
    for _ in range(rows):
        more.insert(data.draw(st.integers(0, len(more))), new)
    before = TeacherPartition.of(patients, teachers, key=KEY)
    after = TeacherPartition.of(more, teachers, key=KEY)
    changed = [
        t
        for t in range(teachers)
        if [patients[i] for i in before.rows(t)] != [more[i] for i in after.rows(t)]
    ]
    assert len(changed) == 1
    left = [more[i] for i in after.rows(changed[0]) if str(more[i]) != str(new)]
    assert left == [patients[i] for i in before.rows(changed[0])]


def test_all_rows_of_a_patient_have_one_teacher_and_all_teachers_have_patients():
    partition = TeacherPartition.of([f"p{i // 3}" for i in range(3000)], 10)
    assert (partition.teacher_of.reshape(-1, 3) == partition.teacher_of[::3, None]).all()
    sizes = np.bincount(partition.teacher_of[::3], minlength=10)
    assert sizes.sum() == 1000
    assert stats.chisquare(sizes).pvalue > FALSE_ALARM
    rows = np.concatenate([partition.rows(t) for t in range(10)])
    assert sorted(rows) == list(range(3000))


def test_each_partition_has_a_secret_key_of_its_own():
    first, second = (TeacherPartition.of(range(200), 8) for _ in range(2))
    assert (first.teacher_of != second.teacher_of).any()
    same = [TeacherPartition.of(range(200), 8, key=KEY).teacher_of for _ in range(2)]
    assert (same[0] == same[1]).all()


def test_ids_that_are_no_valid_text_have_a_teacher_too():
    assert len(TeacherPartition.of(["\ud800", "", "é"], 4).teacher_of) == 3


@pytest.mark.parametrize(
    ("teachers", "key"), [(1, None), (0, None), (True, None), (2**21, None), (4, b"short")]
)
def test_partitions_out_of_range_are_refused(teachers, key):
    with pytest.raises(PrivacyError):
        TeacherPartition.of(range(5), teachers, key=key)


# ---------------------------------------------------------------- asking teachers


def test_teachers_without_rows_vote_by_a_public_rule_that_favours_no_class():
    partition = TeacherPartition.of([], 6, key=KEY)
    votes = partition.collect_votes(lambda t, rows: 1 / 0, questions=4, classes=3)
    assert votes.tolist() == [public_vote(t, 4, 3).tolist() for t in range(6)]
    assert (vote_counts(votes, 3) == 2).all()


@pytest.mark.parametrize("error", [DataError("x"), ValueError("x"), ZeroDivisionError()])
def test_a_teacher_that_fails_on_its_rows_is_not_seen(error):
    def teach(teacher, rows):
        if teacher == 1:
            raise error
        return np.zeros(3, int)

    partition = TeacherPartition.of(range(50), 3, key=KEY)
    votes = partition.collect_votes(teach, questions=3, classes=2)
    assert votes[1].tolist() == public_vote(1, 3, 2).tolist()
    assert votes[[0, 2]].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1, 2, 0.5, 1e300])
def test_a_vote_that_is_no_class_gives_way_to_the_rule(bad):
    partition = TeacherPartition.of(range(50), 3, key=KEY)
    votes = partition.collect_votes(lambda t, rows: np.array([1, bad, 1]), questions=3, classes=2)
    for teacher in range(3):
        assert votes[teacher].tolist() == [1, public_vote(teacher, 3, 2)[1], 1]


def test_votes_of_the_wrong_shape_are_the_callers_mistake():
    partition = TeacherPartition.of(range(50), 3, key=KEY)
    with pytest.raises(PrivacyError, match="of shape"):
        partition.collect_votes(lambda t, rows: np.zeros(2), questions=3, classes=2)


def test_adding_a_patient_moves_the_votes_of_one_teacher_only():
    values = np.random.default_rng(0).normal(size=101)

    def votes_of(rows_in_table):
        def teach(teacher, rows):
            mean = values[rows_in_table][rows].mean()
            return np.array([mean > t for t in (-0.2, 0.0, 0.2)], int)

        partition = TeacherPartition.of([f"p{i}" for i in rows_in_table], 12, key=KEY)
        return partition.collect_votes(teach, questions=3, classes=2)

    every = np.arange(101)
    whole = votes_of(every)
    moved = [int((votes_of(np.delete(every, i)) != whole).any(axis=1).sum()) for i in every]
    assert max(moved) == 1


# ---------------------------------------------------------------- sensitivity


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("questions", [1, 2, 3])
def test_declared_sensitivity_is_the_largest_over_all_changes_of_one_teacher(
    tmp_path, classes, questions
):
    """Brute force: every vote of one teacher against every other, beside fixed others."""
    others = np.random.default_rng(1).integers(0, classes, (3, questions))
    released = {}
    every = list(itertools.product(range(classes), repeat=questions))
    watch = Watch()
    session = session_of(tmp_path, GaussianEvent("votes", 40.0, len(every)), recorder=watch)
    for mine in every:
        noisy_votes(session, "votes", np.vstack([others, mine]), classes=classes)
        released[mine] = watch.calls[-1][2].astype(float)
    declared = {call[3] for call in watch.calls}
    largest = max(
        np.linalg.norm(released[a] - released[b]) for a, b in itertools.product(every, repeat=2)
    )
    assert declared == {vote_sensitivity(questions, classes)}
    assert largest == pytest.approx(vote_sensitivity(questions, classes), rel=1e-12)
    # So neither more nor less noise than needed; 1 a question would be too little for 3 classes.
    assert (largest > math.sqrt(questions) * 1.4) == (classes > 2)


# ---------------------------------------------------------------- release and cost


@pytest.mark.parametrize(("classes", "questions"), [(2, 50), (5, 40), (3, 200)])
def test_noise_has_the_planned_width_and_the_lead_the_stated_one(tmp_path, classes, questions):
    multiplier, runs = 6.0, 4000 // questions
    session = session_of(tmp_path, GaussianEvent("votes", multiplier, runs), delta=1e-2)
    votes = np.zeros((30, questions), np.int64)
    drawn = np.concatenate(
        [noisy_vote_counts(session, "votes", votes, classes=classes) for _ in range(runs)]
    ) - np.array([30] + [0] * (classes - 1))
    size = len(drawn)
    due = multiplier * vote_sensitivity(questions, classes)
    lead = vote_deviation(multiplier, questions=questions, classes=classes)
    # The variance of a Gaussian sample: a relative error of 6 sqrt(2 / n) has a chance below 1e-8.
    margin = 6 * math.sqrt(2 / size)
    for seen, right in (
        (drawn[:, 0].std(), due),
        ((drawn[:, 0] - drawn[:, 1]).std(), lead),
    ):
        assert abs((seen / right) ** 2 - 1) < margin
        for wrong in (2 / 3, 3 / 2):
            assert abs((seen / right / wrong) ** 2 - 1) > margin


def test_two_counts_of_two_classes_are_told_by_one(tmp_path):
    watch = Watch()
    session = session_of(tmp_path, GaussianEvent("votes", 5.0), recorder=watch)
    counts = noisy_vote_counts(session, "votes", np.array([[0, 1], [1, 1], [0, 0]]), classes=2)
    ((_, kind, values, sensitivity),) = watch.calls
    assert (kind, values.tolist(), sensitivity) == ("gaussian", [[2], [1]], math.sqrt(2))
    assert values.dtype == np.int64
    assert (counts.sum(axis=1) == 3).all()


def test_labels_are_the_largest_noisy_counts_and_ties_go_to_the_smaller_class(tmp_path):
    replay = np.array([[4, 9, 9], [7, 0, 7]])
    session = session_of(tmp_path, GaussianEvent("v", 5.0), recorder=Watch(replay))
    labels = noisy_votes(session, "v", np.zeros((5, 2), np.int64), classes=3)
    assert labels.tolist() == [1, 0]
    assert labels.dtype == np.int64


def test_many_teachers_that_agree_are_heard_through_the_noise(tmp_path):
    event = plan_votes("v", epsilon=2.0, delta=1e-4, releases=10)
    lead = vote_deviation(event.noise_multiplier, questions=8, classes=4)
    session = session_of(tmp_path, event)
    truth = np.arange(8) % 4
    votes = np.tile(truth, (math.ceil(8 * lead), 1))
    assert noisy_votes(session, "v", votes, classes=4).tolist() == truth.tolist()


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 7.3])
@pytest.mark.parametrize("releases", [1, 7, 1000, 99_991])
def test_planned_votes_cost_what_was_asked_and_no_less(epsilon, releases):
    event = plan_votes("v", epsilon=epsilon, delta=1e-5, releases=releases)
    assert event.count == releases
    cost = compute_epsilon([event], 1e-5)
    assert epsilon * (1 - 1e-6) < cost <= epsilon
    # mu = sqrt(releases) / multiplier, as an independent count.
    mu = math.sqrt(releases) / event.noise_multiplier
    delta = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(
        -mu / 2 - epsilon / mu
    )
    assert delta == pytest.approx(1e-5, rel=1e-4)


def test_votes_beyond_the_plan_are_refused(tmp_path):
    session = session_of(tmp_path, plan_votes("v", epsilon=1.0, delta=1e-4, releases=2))
    votes = np.zeros((5, 3), np.int64)
    for _ in range(2):
        noisy_votes(session, "v", votes, classes=3)
    with pytest.raises(PlanError, match="all are used"):
        noisy_votes(session, "v", votes, classes=3)


@pytest.mark.parametrize(
    "votes",
    [
        np.array([[0, 3]]),
        np.array([[-1, 0]]),
        np.array([[0.0, 1.0]]),
        np.array([0, 1]),
        np.zeros((0, 2), np.int64),
        np.zeros((2, 0), np.int64),
    ],
)
def test_votes_that_are_none_are_refused_before_anything_is_spent(tmp_path, votes):
    session = session_of(tmp_path, plan_votes("v", epsilon=1.0, delta=1e-4, releases=1))
    with pytest.raises(PrivacyError):
        noisy_votes(session, "v", votes, classes=3)
    assert session.remaining("v") == 1


@pytest.mark.parametrize("classes", [1, 0, 2.0])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(PrivacyError, match="classes"):
        vote_sensitivity(1, classes)


@pytest.mark.parametrize("releases", [0, -1, 1.5])
def test_plans_of_no_release_are_refused(releases):
    with pytest.raises(PrivacyError, match="releases"):
        plan_votes("v", epsilon=1.0, delta=1e-5, releases=releases)
