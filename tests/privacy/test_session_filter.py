"""Filters in a session: what each look spends, and that none passes what was planned."""

import copy
import math
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import PlanError, PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    LaplaceEvent,
    Ledger,
    Plan,
    Privacy,
    Session,
    compute_epsilon,
)
from pegai.privacy.bounded_range import bounded_range_epsilon, bounded_range_mu

PLAN = Plan.make(
    [
        GaussianFilterEvent("series", 2.0),
        GaussianEvent("counts", 4.0),
        ExponentialEvent("pick", 0.1),
        LaplaceEvent("total", 8.0),
    ],
    1e-4,
)
FALSE_ALARM = 1e-7


class Watcher:
    """Notes every release and lets it pass."""

    def __init__(self):
        self.calls = []

    def record(self, label, kind, values, sensitivity):
        self.calls.append((label, kind, values.size, sensitivity))


def open_session(folder, *, plan=PLAN, recorder=None):
    return Session.open(
        plan,
        Privacy(20.0, 1e-3, ledger=folder / "ledger.jsonl"),
        dataset="ward",
        fingerprint_chunks=[b"table"],
        label="test",
        recorder=recorder,
    )


def test_looks_spend_what_they_cost_until_nothing_is_left(tmp_path):
    watcher = Watcher()
    session = open_session(tmp_path, recorder=watcher)
    assert session.filter_left("series") == 0.25
    session.gaussian("series", np.zeros(3), l2_sensitivity=2.0, noise_multiplier=4.0)
    assert session.filter_left("series") == pytest.approx(0.25 - 1 / 16)
    session.choose("series", np.array([0, 5]), sensitivity=1.5, epsilon=0.5)
    left = 0.25 - 1 / 16 - bounded_range_mu(0.5) ** 2
    assert session.filter_left("series") == pytest.approx(left)
    session.gaussian("series", np.zeros(3), l2_sensitivity=1.0, noise_multiplier=left**-0.5)
    assert session.filter_left("series") == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(PlanError, match="can't spend"):
        session.gaussian("series", np.zeros(3), l2_sensitivity=1.0, noise_multiplier=1e4)
    assert watcher.calls == [
        ("series", "gaussian", 3, 2.0),
        ("series", "choose", 2, 1.5),
        ("series", "gaussian", 3, 1.0),
    ]
    # Charged once, as the whole it may spend.
    entry = Ledger(tmp_path / "ledger.jsonl").entries()[-1]
    assert entry.events == PLAN.events
    same = (GaussianEvent("series", 2.0), *PLAN.events[1:])
    assert entry.epsilon == compute_epsilon(same, 1e-4)


def test_overspending_is_refused_before_anything_is_released_and_spends_nothing(tmp_path):
    watcher = Watcher()
    session = open_session(tmp_path, recorder=watcher)
    for use in (
        lambda: session.gaussian("series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=1.99),
        lambda: session.choose("series", np.zeros(2), sensitivity=1.0, epsilon=0.81),
    ):
        with pytest.raises(PlanError, match="can't spend"):
            use()
    assert watcher.calls == []
    assert session.filter_left("series") == 0.25
    session.choose("series", np.zeros(2), sensitivity=1.0, epsilon=bounded_range_epsilon(0.5))


def test_a_look_that_fails_stays_spent(tmp_path):
    session = open_session(tmp_path)
    with pytest.raises(PrivacyError):
        session.gaussian("series", np.array([math.nan]), l2_sensitivity=1.0, noise_multiplier=4.0)
    with pytest.raises(PrivacyError):
        session.choose("series", np.array([math.inf]), sensitivity=1.0, epsilon=0.3)
    left = 0.25 - 1 / 16 - bounded_range_mu(0.3) ** 2
    assert session.filter_left("series") == pytest.approx(left)


def test_noise_is_chosen_in_a_filter_and_nowhere_else(tmp_path):
    session = open_session(tmp_path)
    values = np.zeros(2)
    for use in (
        lambda: session.gaussian("series", values, l2_sensitivity=1.0),
        lambda: session.choose("series", values, sensitivity=1.0),
        lambda: session.gaussian("counts", values, l2_sensitivity=1.0, noise_multiplier=9.0),
        lambda: session.choose("pick", values, sensitivity=1.0, epsilon=0.05),
        lambda: session.laplace("series", values, l1_sensitivity=1.0),
        lambda: session.filter_left("counts"),
        lambda: session.filter_left("other"),
        lambda: session.poisson_sample("series", 3),
    ):
        with pytest.raises(PlanError):
            use()
    assert session.filter_left("series") == 0.25
    assert [session.remaining(name) for name in ("counts", "pick")] == [1, 1]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_noise_and_choices_out_of_range_are_refused_and_spend_nothing(tmp_path, bad):
    session = open_session(tmp_path)
    with pytest.raises(PrivacyError):
        session.gaussian("series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=bad)
    with pytest.raises(PrivacyError):
        session.choose("series", np.zeros(2), sensitivity=1.0, epsilon=bad)
    assert session.filter_left("series") == 0.25


def test_noise_has_the_chosen_multiplier_times_the_sensitivity(tmp_path):
    session = open_session(tmp_path)
    for multiplier in (4.0, 6.0):
        noise = session.gaussian(
            "series", np.zeros(50_000), l2_sensitivity=0.5, noise_multiplier=multiplier
        )
        assert noise.std() == pytest.approx(multiplier / 2, rel=0.03)  # 9 standard errors


def test_a_choice_in_a_filter_is_the_exponential_mechanism(tmp_path):
    """Of permute-and-flip, whose range is not bounded, the law would be another."""
    plan = Plan.make([GaussianFilterEvent("series", 0.45), ExponentialEvent("pick", 1.0)], 1e-3)
    session = open_session(tmp_path, plan=plan)
    scores = np.array([0, -1, -3, -3, -10, -2])
    picks = []
    for _ in range(3000):
        session._spent["series"].clear()  # one session for all runs
        picks.append(session.choose("series", scores, sensitivity=1.0, epsilon=1.5))
    seen = np.bincount(picks, minlength=6)
    for rate, fits in ((1.5, True), (1.0, False), (2.25, False)):
        due = np.exp(rate * scores / 2)
        p_value = stats.chisquare(seen, 3000 * due / due.sum()).pvalue
        assert (p_value > FALSE_ALARM) == fits


@pytest.mark.parametrize("parts", [1, 3, 7, 49, 1000])
def test_equal_parts_of_the_whole_fit_in_spite_of_rounding_and_no_part_more(tmp_path, parts):
    session = open_session(tmp_path)
    for _ in range(parts):
        session.gaussian(
            "series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=2.0 * parts**0.5
        )
    with pytest.raises(PlanError):
        session.gaussian("series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=1e5)


@pytest.fixture(scope="module")
def charged(tmp_path_factory):
    return open_session(tmp_path_factory.mktemp("filter"), recorder=Watcher())


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(looks=st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.6)), max_size=12))
def test_no_series_of_looks_spends_more_than_was_planned(charged, looks):
    charged._spent["series"].clear()
    spent = []
    for is_choice, mu in looks:
        cost = bounded_range_mu(bounded_range_epsilon(mu)) ** 2 if is_choice else mu**2
        fits = math.fsum([*spent, cost]) <= 0.25 * (1 + 2**-40)
        try:
            if is_choice:
                charged.choose(
                    "series", np.zeros(2), sensitivity=1.0, epsilon=bounded_range_epsilon(mu)
                )
            else:
                charged.gaussian("series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=1 / mu)
        except PlanError:
            assert not fits or math.isclose(math.fsum([*spent, cost]), 0.25, rel_tol=1e-9)
        else:
            spent.append(cost)
    assert math.fsum(spent) <= 0.25 * (1 + 1e-9)


def test_choices_count_toward_the_draws_that_delta_accounts_for(tmp_path, monkeypatch):
    import pegai.privacy.session as module

    monkeypatch.setattr(module, "MAX_DRAWS", 10)
    session = open_session(tmp_path)
    session.choose("series", np.zeros(8), sensitivity=1.0, epsilon=0.1)
    with pytest.raises(PlanError, match="10 numbers"):
        session.choose("series", np.zeros(8), sensitivity=1.0, epsilon=0.1)


def test_threads_share_a_filter(tmp_path):
    session = open_session(tmp_path, plan=Plan.make([GaussianFilterEvent("series", 2.0)], 1e-4))
    done, refused = [], []

    def run():
        for _ in range(10):
            try:
                session.gaussian("series", np.zeros(1), l2_sensitivity=1.0, noise_multiplier=12.0)
                done.append(1)
            except PlanError:
                refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (36, 44)


def test_a_filter_can_not_be_copied_to_be_spent_twice(tmp_path):
    with pytest.raises(PrivacyError, match="copied"):
        copy.deepcopy(open_session(tmp_path))
