"""Key selection: its threshold and cost by independent computation, its law, what it refuses.

Statistical tests use fresh noise and a false-alarm rate of 1e-6.
"""

import json
import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from scipy import optimize, stats

from pegai.errors import BudgetExceededError, PlanError, PrivacyError
from pegai.privacy import (
    GaussianEvent,
    KeySelectionEvent,
    KeySelectionMechanism,
    LaplaceEvent,
    Ledger,
    Plan,
    Privacy,
    Session,
    SubsampledGaussianEvent,
    compute_delta,
    compute_epsilon,
    event_from_dict,
)
from pegai.privacy.accountant import delta_curve, exact_mu_squared, gaussian_delta
from pegai.privacy.gaussian_cost import gaussian_cost
from pegai.privacy.key_selection import entries
from pegai.privacy.outlook import event_in_words

FALSE_ALARM = 1e-6
WHOLE = 2**16
EVENT = KeySelectionEvent("categories", 6.0, 1e-6, 5)


def exact_pass(whole, multiplier, threshold, weight):
    """The chance that a value of some weight passes, from the law of the integer noise."""
    sigma = multiplier * whole
    if sigma <= 64:  # a rounded Gaussian
        return stats.norm.sf((threshold - weight + 0.5) / sigma)
    variance = sigma**2 + 4
    tail = np.arange(threshold - weight + 1, threshold - weight + 1 + int(20 * sigma))
    middle = np.arange(-int(20 * sigma), int(20 * sigma) + 1)
    return np.exp(-(tail**2) / (2 * variance)).sum() / np.exp(-(middle**2) / (2 * variance)).sum()


# ---------------------------------------------------------------- the threshold


@pytest.mark.parametrize("max_keys", [1, 2, 10, 365])
@pytest.mark.parametrize("multiplier", [0.1, 1.0, 8.0, 200.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_the_threshold_is_the_root_of_its_bound(max_keys, multiplier, delta):
    mechanism = KeySelectionMechanism(WHOLE, multiplier, delta, max_keys)
    deviation = math.sqrt((multiplier * WHOLE) ** 2 + 4)

    def chance(threshold):
        return stats.norm.sf((threshold - WHOLE) / deviation) + (max_keys - 1) * stats.norm.sf(
            threshold / deviation
        )

    root = optimize.brentq(lambda t: chance(t) - delta, WHOLE, WHOLE + 40 * deviation)
    assert root - 1e-3 <= mechanism.threshold <= root * (1 + 1e-6) + 2
    # k rows of equal weight, as in Wilson et al. 2020: covered, and at little more than its cost.
    for rows in range(1, max_keys + 1):
        each = rows * stats.norm.sf((mechanism.threshold - WHOLE / rows) / (multiplier * WHOLE))
        assert each <= delta

    def equal(threshold):
        return max(
            m * stats.norm.sf((threshold - WHOLE / m) / (multiplier * WHOLE))
            for m in range(1, max_keys + 1)
        )

    least = optimize.brentq(lambda t: equal(t) - delta, WHOLE, WHOLE + 40 * deviation)
    assert mechanism.threshold <= 1.1 * least


@pytest.mark.parametrize(("whole", "multiplier"), [(1, 3.0), (8, 2.0), (64, 3.0), (512, 0.5)])
@pytest.mark.parametrize("max_keys", [1, 3, 8])
def test_no_way_to_spread_a_patient_passes_more_often_than_delta(whole, multiplier, max_keys):
    delta = 1e-4
    threshold = KeySelectionMechanism(whole, multiplier, delta, max_keys).threshold
    rng = np.random.default_rng(0)
    spreads = [np.bincount(rng.integers(max_keys, size=whole)) for _ in range(20)]
    spreads += [np.array([whole]), np.array([whole - 1, 1]), np.full(max_keys, whole // max_keys)]
    worst = 0.0
    for spread in spreads:
        held = spread[spread > 0][:max_keys]
        worst = max(worst, sum(exact_pass(whole, multiplier, threshold, w) for w in held))
    assert worst <= delta
    if whole >= 64 and max_keys == 1:
        assert exact_pass(whole, multiplier, threshold - 2, whole) > delta


def test_a_value_of_one_patient_comes_out_as_often_as_was_said_and_no_more():
    delta, n = 0.02, 200_000
    mechanism = KeySelectionMechanism(WHOLE, 4.0, delta, 1)
    alone = entries([str(i) for i in range(n)], np.full(n, WHOLE))
    passed = len(mechanism.release(alone))
    assert stats.binomtest(passed, n, delta).pvalue > FALSE_ALARM
    # Power: with noise of 3/2 the scale, or the threshold of 2/3 of it, it is seen.
    wide = KeySelectionMechanism(WHOLE, 6.0, delta, 1)
    for noise, threshold in ((6.0, mechanism.threshold), (4.0, wide.threshold)):
        wrong = stats.norm.sf((threshold - WHOLE) / (noise * WHOLE))
        assert stats.binomtest(round(n * wrong), n, delta).pvalue < FALSE_ALARM


def test_noise_on_what_comes_out_has_the_planned_scale():
    n, far = 50_000, 10**9
    mechanism = KeySelectionMechanism(WHOLE, 3.0, 1e-6, 1)
    found = mechanism.release(entries([str(i) for i in range(n)], np.full(n, far)))
    assert len(found) == n
    noise = found["weight"] - far
    for scale, fits in ((1.0, True), (2 / 3, False), (3 / 2, False)):
        statistic = np.square(noise / (3.0 * WHOLE * scale)).sum()
        tails = 2 * min(stats.chi2.cdf(statistic, n), stats.chi2.sf(statistic, n))
        assert bool(tails > FALSE_ALARM) is fits
    assert abs(noise.mean()) < stats.norm.isf(FALSE_ALARM / 2) * 3.0 * WHOLE / math.sqrt(n)


def test_keys_come_out_sorted_whatever_their_order_and_without_those_of_no_weight():
    rng = np.random.default_rng(1)
    keys = ["b", "a\0", "a", "", "é", "Z", "10", "9", "none"]
    weights = dict.fromkeys(keys, 10**9) | {"none": 0}
    mechanism = KeySelectionMechanism(WHOLE, 1.0, 1e-6, 4)
    for _ in range(5):
        rng.shuffle(keys)
        found = mechanism.release(entries(keys, np.array([weights[k] for k in keys])))
        assert list(found["key"]) == sorted(set(keys) - {"none"})
    assert len(mechanism.release(entries([], np.array([], np.int64)))) == 0


# ---------------------------------------------------------------- the cost


def test_the_claim_holds_both_ways_by_adding_up_all_outcomes():
    """A shared value and one that the patient alone has, by the law of the rounded Gaussian."""
    whole, multiplier, delta = 4, 1.0, 0.02
    threshold = KeySelectionMechanism(whole, multiplier, delta, 2).threshold
    counts = np.arange(threshold + 1, threshold + 80)

    def law(weight):
        """Chances of each noisy count that comes out, and last of nothing."""
        sigma = multiplier * whole
        cells = stats.norm.cdf((counts - weight + 0.5) / sigma)
        shown = cells - stats.norm.cdf((counts - weight - 0.5) / sigma)
        return np.append(shown, 1 - shown.sum())

    nothing = np.append(np.zeros(len(counts)), 1.0)
    event = KeySelectionEvent("k", multiplier, delta)
    seen = 0.0
    for shared in (1, 8, 20):
        for to_shared in range(whole + 1):
            without = np.outer(law(shared), nothing)
            alone = law(whole - to_shared) if to_shared < whole else nothing
            with_one = np.outer(law(shared + to_shared), alone)
            for epsilon in (0.0, 0.1, 0.5, 1.0, 2.0, 4.0):
                claimed = compute_delta([event], epsilon)
                for p, q in ((with_one, without), (without, with_one)):
                    told = np.maximum(p - math.exp(epsilon) * q, 0).sum()
                    assert told <= claimed + 1e-12
                    seen = max(seen, told / claimed)
    assert seen > 0.5  # the claim is not so loose that this could not fail


def test_the_accountant_adds_delta_to_dp_accountings_gaussian():
    theirs = PLDAccountant()
    theirs.compose(GaussianDpEvent(EVENT.noise_multiplier), EVENT.count)
    lost = EVENT.count * EVENT.delta
    for delta in (1e-5, 1e-4, 1e-3):
        ours = compute_epsilon([EVENT], delta)
        assert ours == pytest.approx(theirs.get_epsilon(delta - lost), rel=1e-3)
        assert ours == pytest.approx(compute_epsilon([EVENT.gaussian_part], delta - lost), rel=1e-9)
        assert ours > compute_epsilon([EVENT.gaussian_part], delta)
    for epsilon in (0.0, 0.5, 3.0):
        gaussian = gaussian_delta(math.sqrt(EVENT.count) / EVENT.noise_multiplier, epsilon)
        assert compute_delta([EVENT], epsilon) == pytest.approx(gaussian + lost, rel=1e-9)
        assert compute_delta([EVENT], epsilon) >= gaussian + lost
    assert compute_delta([EVENT], math.inf) >= lost


@pytest.mark.parametrize(
    "others",
    [
        [LaplaceEvent("l", 3.0)],
        [SubsampledGaussianEvent("s", 1.2, 0.05, 100)],
        [GaussianEvent("g", 3.0), KeySelectionEvent("more", 9.0, 1e-7)],
    ],
)
def test_it_composes_with_every_kind(others):
    lost = sum(e.count * e.delta for e in [EVENT, *others] if isinstance(e, KeySelectionEvent))
    plain = [getattr(e, "gaussian_part", e) for e in [EVENT, *others]]
    ours = compute_epsilon([EVENT, *others], 1e-4)
    assert ours == pytest.approx(compute_epsilon(plain, 1e-4 - lost), rel=1e-6)
    curve = np.array(delta_curve([EVENT, *others], [0.0, 1.0]))
    assert curve == pytest.approx(np.array(delta_curve(plain, [0.0, 1.0])) + lost)
    cost, base = gaussian_cost([EVENT, *others], 1e-7), gaussian_cost(plain, 1e-7)
    assert cost.mu_squared == base.mu_squared
    assert cost.remainder == pytest.approx(base.remainder + lost, rel=1e-9)
    assert cost.remainder >= base.remainder + lost


def test_a_delta_that_is_used_up_has_no_epsilon():
    assert compute_epsilon([EVENT], EVENT.count * EVENT.delta) == math.inf
    with pytest.raises(PrivacyError, match="no finite epsilon"):
        Plan.make([EVENT], 5e-6)


def test_it_never_passes_as_a_gaussian():
    assert exact_mu_squared([EVENT]) is None
    assert exact_mu_squared([EVENT.gaussian_part]) == pytest.approx(5 / 36)
    with pytest.raises(PrivacyError, match="dp_accounting"):
        EVENT.to_dp_event()


def test_a_ledger_that_composes_by_mu_keeps_its_delta_as_remainder(tmp_path):
    ledger = Ledger(tmp_path / "l.jsonl")
    ledger.set_budget("d", 3.0, 1e-3, composition="gaussian")
    plan = Plan.make([EVENT], 1e-4)
    for number in (1, 2):
        ledger.charge(dataset="d", fingerprint="", unit="patient", plan=plan, label="estimate")
        entry = ledger.entries()[-1]
        assert entry.events == (EVENT,)
        assert entry.mu_squared == pytest.approx(5 / 36)
        assert entry.remainder == pytest.approx(5e-6)
        assert ledger.spent("d")[1] == pytest.approx(7e-3 / 8 + number * 5e-6)
    # An eighth of the delta is kept for remainders; more is refused.
    greedy = Plan.make([KeySelectionEvent("k", 6.0, 2e-4)], 5e-4)
    with pytest.raises(BudgetExceededError, match="delta"):
        ledger.charge(dataset="d", fingerprint="", unit="patient", plan=greedy, label="estimate")


# ---------------------------------------------------------------- the event and the session


def test_round_trip_through_json():
    assert event_from_dict(json.loads(json.dumps(EVENT.to_dict()))) == EVENT
    assert "one patient alone" in event_in_words(EVENT)


@pytest.mark.parametrize("bad", [0, -1.0, 1.0, math.nan, math.inf, "1", None, True])
def test_figures_out_of_range_are_refused(bad):
    with pytest.raises(PrivacyError, match="delta"):
        KeySelectionEvent("a", 1.0, bad)
    if bad != 1.0 or bad is True:
        with pytest.raises(PrivacyError, match="noise_multiplier"):
            KeySelectionEvent("a", bad, 1e-6)
    with pytest.raises(PrivacyError):
        KeySelectionMechanism(bad if bad != 1.0 else 1.5, 1.0, 1e-6, 1)
    with pytest.raises(PrivacyError):
        KeySelectionMechanism(1, 1.0, 1e-6, bad if bad != 1.0 else 1.5)


def opened(tmp_path, *events):
    plan = Plan.make(events, 1e-4)
    privacy = Privacy(20.0, 1e-4, ledger=tmp_path / "ledger.jsonl", dataset="d")
    Ledger(tmp_path / "ledger.jsonl").set_budget("d", 100, 1e-2)
    return Session.open(plan, privacy, dataset="d", fingerprint_chunks=[b""], label="test")


def test_a_session_admits_what_was_planned_and_no_more(tmp_path):
    session = opened(tmp_path, KeySelectionEvent("k", 6.0, 1e-6, 2), GaussianEvent("g", 9.0))
    keys, counts = session.select_keys(
        "k", ["b", "a", "rare"], np.array([10**8, 10**8, 1]), whole=WHOLE, max_keys=1
    )
    assert keys == ("a", "b")
    assert counts.shape == (2,)
    assert session.select_keys("k", [], np.array([], int), whole=WHOLE, max_keys=1)[0] == ()
    for label in ("k", "g", "unplanned"):
        with pytest.raises(PlanError):
            session.select_keys(label, ["a"], np.array([1]), whole=WHOLE, max_keys=1)
    with pytest.raises(PlanError, match="key_selection"):
        session.gaussian("k", np.zeros(3), l2_sensitivity=1.0)


@pytest.mark.parametrize(
    ("keys", "weights"),
    [(["a", "a"], np.array([1, 2])), (["a"], np.array([1, 2])), (["a"], np.array([1.5]))],
)
def test_a_callers_fault_is_refused_and_the_use_is_spent(tmp_path, keys, weights):
    session = opened(tmp_path, KeySelectionEvent("k", 6.0, 1e-6))
    with pytest.raises(PrivacyError, match="key selection"):
        session.select_keys("k", keys, weights, whole=WHOLE, max_keys=1)
    assert session.remaining("k") == 0
