"""Sessions: charged first, planned only, each use once."""

import copy
import math
import multiprocessing
import pickle
import sys
import threading

import numpy as np
import pytest

from pegai.errors import BudgetExceededError, LedgerError, PlanError, PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    LaplaceEvent,
    Ledger,
    Plan,
    Privacy,
    SecureRandom,
    Session,
    SubsampledGaussianEvent,
)

PLAN = Plan.make(
    [
        GaussianEvent("counts", 4.0, 2),
        LaplaceEvent("total", 8.0),
        ExponentialEvent("pick", 0.1, 3),
        SubsampledGaussianEvent("sgd", 3.0, 0.25, 4),
    ],
    1e-4,
    ["bounds: dictionary"],
)


def open_session(folder, *, plan=PLAN, epsilon=8.0, dataset="ward", recorder=None):
    privacy = Privacy(epsilon, 1e-3, ledger=folder / "ledger.jsonl")
    return Session.open(
        plan,
        privacy,
        dataset=dataset,
        fingerprint_chunks=[b"table"],
        label="test",
        recorder=recorder,
    )


def test_the_whole_plan_is_charged_before_anything_is_drawn(tmp_path, monkeypatch):
    order = []
    for owner, name in ((Ledger, "charge"), (SecureRandom, "words")):
        real = getattr(owner, name)

        def spy(self, *args, real=real, name=name, **kwargs):
            order.append(name)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, spy)
    session = open_session(tmp_path)
    assert order == ["charge"]
    session.gaussian("counts", np.arange(3), l2_sensitivity=1.0)
    assert order[0] == "charge"
    assert set(order[1:]) == {"words"}
    entry = Ledger(tmp_path / "ledger.jsonl").entries()[-1]
    assert (entry.epsilon, entry.delta, entry.events) == (PLAN.epsilon, 1e-4, PLAN.events)
    assert entry.label == "test"
    assert session.charge == entry


def test_each_mechanism_runs_as_often_as_planned_and_no_more(tmp_path):
    session = open_session(tmp_path)
    for _ in range(2):
        assert session.gaussian("counts", np.zeros(3), l2_sensitivity=1.0).shape == (3,)
    assert session.laplace("total", np.array([7]), l1_sensitivity=1.0).dtype == np.int64
    for _ in range(3):
        assert session.choose("pick", np.array([0, 5000]), sensitivity=1.0) == 1
    for use in (
        lambda: session.gaussian("counts", np.zeros(3), l2_sensitivity=1.0),
        lambda: session.laplace("total", np.array([7]), l1_sensitivity=1.0),
        lambda: session.choose("pick", np.array([0, 5000]), sensitivity=1.0),
    ):
        with pytest.raises(PlanError, match="all are used"):
            use()
    assert session.remaining("counts") == 0


def test_noise_has_the_planned_multiplier_times_the_sensitivity(tmp_path):
    session = open_session(tmp_path)
    noise = session.gaussian("counts", np.zeros(50_000), l2_sensitivity=0.5)
    assert noise.std() == pytest.approx(2.0, rel=0.03)  # 9 standard errors
    noise = session.laplace("total", np.zeros(50_000), l1_sensitivity=0.5)
    assert np.abs(noise).mean() == pytest.approx(4.0, rel=0.04)


def test_calls_outside_the_plan_are_refused_and_spend_nothing(tmp_path):
    session = open_session(tmp_path)
    for use in (
        lambda: session.gaussian("other", np.zeros(3), l2_sensitivity=1.0),
        lambda: session.gaussian("total", np.zeros(3), l2_sensitivity=1.0),
        lambda: session.gaussian("pick", np.zeros(3), l2_sensitivity=1.0),
        lambda: session.laplace("counts", np.zeros(3), l1_sensitivity=1.0),
        lambda: session.choose("counts", np.zeros(3), sensitivity=1.0),
        lambda: session.poisson_sample("counts", 10),
        lambda: session.remaining("other"),
    ):
        with pytest.raises(PlanError):
            use()
    assert [session.remaining(event.label) for event in PLAN.events] == [2, 1, 3, 4]


def test_a_subsampled_step_is_armed_by_its_sample_and_used_once(tmp_path):
    session = open_session(tmp_path)
    with pytest.raises(PlanError, match="no sample"):
        session.gaussian("sgd", np.zeros(2), l2_sensitivity=1.0)
    for step in range(4):
        mask = session.poisson_sample("sgd", 1000)
        assert mask.shape == (1000,)
        assert mask.dtype == np.bool_
        assert 150 < mask.sum() < 350  # 7 standard deviations
        assert session.remaining("sgd") == 3 - step
        session.gaussian("sgd", np.zeros(2), l2_sensitivity=1.0)
        with pytest.raises(PlanError, match="no sample"):
            session.gaussian("sgd", np.zeros(2), l2_sensitivity=1.0)
    with pytest.raises(PlanError, match="all are used"):
        session.poisson_sample("sgd", 1000)


def test_sampling_twice_spends_two_steps_and_arms_one(tmp_path):
    session = open_session(tmp_path)
    session.poisson_sample("sgd", 0)
    session.poisson_sample("sgd", np.int64(5))
    session.gaussian("sgd", np.zeros(2), l2_sensitivity=1.0)
    assert session.remaining("sgd") == 2
    with pytest.raises(PlanError):
        session.gaussian("sgd", np.zeros(2), l2_sensitivity=1.0)
    with pytest.raises(PlanError):
        session.poisson_sample("sgd", -1)


def test_a_failed_run_stays_charged_and_its_use_stays_spent(tmp_path):
    session = open_session(tmp_path)
    with pytest.raises(PrivacyError):
        session.gaussian("counts", np.array([math.nan]), l2_sensitivity=1.0)
    assert session.remaining("counts") == 1
    with pytest.raises(PrivacyError):
        session.gaussian("counts", np.array([1.0]), l2_sensitivity=math.inf)
    assert session.remaining("counts") == 0
    assert Ledger(tmp_path / "ledger.jsonl").spent("ward")[0] == PLAN.epsilon


def test_a_plan_dearer_than_asked_for_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(BudgetExceededError, match="asked for"):
        open_session(tmp_path, epsilon=PLAN.epsilon * 0.999)
    assert list(tmp_path.iterdir()) == []


def test_over_budget_is_refused_and_nothing_is_written(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.set_budget("ward", PLAN.epsilon * 1.5, 1e-2)
    open_session(tmp_path)
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetExceededError):
        open_session(tmp_path)
    # Nor under another name: the table is the same.
    with pytest.raises(BudgetExceededError):
        open_session(tmp_path, dataset="other")
    assert ledger.path.read_bytes() == before


def test_a_first_charge_over_budget_makes_no_ledger(tmp_path):
    dear = Plan.make([ExponentialEvent("pick", 12.0)], 1e-4)
    with pytest.raises(BudgetExceededError):
        open_session(tmp_path, plan=dear, epsilon=20.0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_ledger_opens_nothing(tmp_path):
    open_session(tmp_path)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"ward", b"wart"))
    with pytest.raises(LedgerError):
        open_session(tmp_path)


def test_the_data_set_named_in_privacy_goes_first(tmp_path):
    privacy = Privacy(8.0, 1e-3, ledger=tmp_path / "l", dataset="named")
    Session.open(PLAN, privacy, dataset="other", fingerprint_chunks=[], label="x")
    assert Ledger(tmp_path / "l").spent("named")[0] == PLAN.epsilon


def test_the_guarantee_is_that_of_the_whole_plan(tmp_path):
    guarantee = open_session(tmp_path).guarantee()
    assert (guarantee.epsilon, guarantee.delta) == (PLAN.epsilon, PLAN.delta)
    assert guarantee.events == PLAN.events
    assert guarantee.public == PLAN.public
    assert not guarantee.audit_only
    guarantee.require_releasable()


class Replayer:
    """Records every call; replays what it is told to."""

    def __init__(self, replay=None):
        self.calls = []
        self.replay = replay or {}

    def record(self, label, kind, values, sensitivity):
        self.calls.append((label, kind, values, sensitivity))
        return self.replay.get(label)


def test_a_recorder_sees_what_goes_in_and_voids_the_guarantee(tmp_path):
    recorder = Replayer()
    session = open_session(tmp_path, recorder=recorder)
    values = np.array([1.0, 2.0])
    noisy = session.gaussian("counts", values, l2_sensitivity=0.5)
    assert not np.array_equal(noisy, values)
    session.poisson_sample("sgd", 9)
    session.gaussian("sgd", values, l2_sensitivity=2.0)
    session.choose("pick", values, sensitivity=1.0)
    assert [(c[0], c[1], c[3]) for c in recorder.calls] == [
        ("counts", "gaussian", 0.5),
        ("sgd", "poisson_sample", 1.0),
        ("sgd", "gaussian", 2.0),
        ("pick", "choose", 1.0),
    ]
    recorder.calls[0][2][:] = 99.0
    assert values.tolist() == [1.0, 2.0]
    guarantee = session.guarantee()
    assert guarantee.audit_only
    with pytest.raises(PrivacyError):
        guarantee.require_releasable()


def test_a_recorder_replays_but_admits_no_more_than_planned(tmp_path):
    mask = np.array([True, False, True])
    recorder = Replayer({"counts": np.array([7.0]), "pick": np.array([1])})
    session = open_session(tmp_path, recorder=recorder)
    for _ in range(2):
        assert session.gaussian("counts", np.zeros(1), l2_sensitivity=1.0).tolist() == [7.0]
    assert session.choose("pick", np.zeros(2), sensitivity=1.0) == 1
    with pytest.raises(PlanError):
        session.gaussian("counts", np.zeros(1), l2_sensitivity=1.0)
    recorder.replay["sgd"] = mask
    assert session.poisson_sample("sgd", 3).tolist() == mask.tolist()


def test_a_session_can_not_be_copied_or_pickled(tmp_path):
    session = open_session(tmp_path)
    for use in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(PrivacyError, match="copied"):
            use(session)


def test_threads_share_the_uses(tmp_path):
    plan = Plan.make([GaussianEvent("counts", 20.0, 40)], 1e-4)
    session = open_session(tmp_path, plan=plan)
    done, refused = [], []

    def run():
        for _ in range(10):
            try:
                done.append(session.gaussian("counts", np.zeros(1), l2_sensitivity=1.0))
            except PlanError:
                refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (40, 40)


def _use_in_child(session, queue):
    try:
        session.gaussian("counts", np.zeros(1), l2_sensitivity=1.0)
        queue.put("released")
    except PlanError:
        queue.put("refused")


@pytest.mark.skipif(sys.platform != "linux", reason="only a fork inherits a session")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_can_not_use_it(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_use_in_child, args=(open_session(tmp_path), queue))
    child.start()
    assert queue.get(timeout=30) == "refused"
    child.join(30)


def test_draws_beyond_what_delta_accounts_for_are_refused(tmp_path, monkeypatch):
    import pegai.privacy.session as module

    monkeypatch.setattr(module, "MAX_DRAWS", 10)
    session = open_session(tmp_path)
    session.gaussian("counts", np.zeros(8), l2_sensitivity=1.0)
    with pytest.raises(PlanError, match="10 numbers"):
        session.gaussian("counts", np.zeros(8), l2_sensitivity=1.0)
