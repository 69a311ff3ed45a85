"""How charges add up: by sums, by Gaussian differential privacy, and never by a mix."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pegai.errors import BudgetExceededError, LedgerError, PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    LaplaceEvent,
    Ledger,
    Plan,
    SubsampledGaussianEvent,
    compute_epsilon,
    gaussian_noise_multiplier,
)
from pegai.privacy import ledger_account as module
from pegai.privacy.accountant import (
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    samplers_slack,
)
from pegai.privacy.ledger_account import Account
from pegai.privacy.ledger_chain import Entry, canonical, line_hash

DELTA = 1e-5


def of_epsilon(epsilon, delta=DELTA):
    """One Gaussian that costs it."""
    return Plan.make([GaussianEvent("g", gaussian_noise_multiplier(epsilon, delta))], delta)


SGD = Plan.make([SubsampledGaussianEvent("sgd", 6.0, 0.05, 1000)], DELTA)
SERIES = Plan.make([GaussianFilterEvent("series", 4.0)], DELTA)
PURE = Plan.make([LaplaceEvent("noise", 5.0), ExponentialEvent("pick", 0.1)], DELTA)


def charge(ledger, plan, *, dataset="ward", table=b"table"):
    return ledger.charge(
        dataset=dataset,
        fingerprint=ledger.fingerprint([table]),
        unit="patient",
        plan=plan,
        label="fit",
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def by_mu(ledger):
    ledger.set_budget("ward", 3.0, 1e-5, composition="gaussian")
    return ledger


def test_equal_releases_grow_with_the_root_of_their_number(by_mu):
    plan = of_epsilon(0.5)
    for _ in range(9):
        charge(by_mu, plan)
    epsilon, delta = by_mu.spent("ward")
    mu = 3 / plan.events[0].noise_multiplier
    # 7/8 of delta, less what the samplers may take, which is far below a digit of it.
    assert epsilon == pytest.approx(gaussian_epsilon(mu, 7 / 8 * 1e-5), rel=1e-6)
    assert epsilon >= gaussian_epsilon(mu, 7 / 8 * 1e-5)
    assert delta == pytest.approx(7 / 8 * 1e-5)
    assert epsilon < 0.4 * 9 * 0.5


def test_every_kind_of_release_adds_up_nearly_as_their_joint_distribution(by_mu):
    plans = [SGD, SERIES, of_epsilon(0.7), SGD]
    for plan in plans:
        charge(by_mu, plan)
    epsilon, delta = by_mu.spent("ward")
    exact = compute_epsilon([event for plan in plans for event in plan.events], delta)
    assert exact <= epsilon <= 1.03 * exact
    assert epsilon < 0.65 * sum(plan.epsilon for plan in plans)
    assert 7 / 8 * 1e-5 < delta <= 1e-5


def test_the_budget_is_kept_and_a_refusal_writes_nothing(by_mu):
    taken = 0
    with pytest.raises(BudgetExceededError, match=r"epsilon would be 3\.\d+ in all"):
        for _ in range(100):
            before = by_mu.path.read_bytes()
            charge(by_mu, of_epsilon(1.0))
            taken += 1
    assert by_mu.path.read_bytes() == before
    assert taken == 7  # sums would stop after 3
    assert by_mu.spent("ward")[0] <= 3.0
    with pytest.raises(BudgetExceededError):
        by_mu.check(dataset="ward", plan=of_epsilon(1.0))
    by_mu.check(dataset="ward", plan=of_epsilon(0.2))


def test_pure_releases_are_covered_too_though_dearly(by_mu):
    charge(by_mu, PURE)
    assert PURE.epsilon < by_mu.spent("ward")[0] < 6 * PURE.epsilon


def test_remainders_have_their_own_share_of_delta(by_mu, monkeypatch):
    monkeypatch.setattr(module, "_REMAINDER_OF_CHARGE", 1 / 20)
    plan = Plan.make([SubsampledGaussianEvent("sgd", 50.0, 0.05, 10)], DELTA)
    with pytest.raises(BudgetExceededError, match="delta would be"):
        for _ in range(4):
            charge(by_mu, plan)
    assert len(by_mu.account("ward").charges) == 2


def test_more_charges_than_the_samplers_are_accounted_for_are_refused(by_mu, monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARGES", 2)
    for _ in range(2):
        charge(by_mu, of_epsilon(0.01))
    with pytest.raises(BudgetExceededError, match="inf"):
        charge(by_mu, of_epsilon(0.01))


def test_a_budget_below_the_samplers_slack_permits_nothing(ledger):
    ledger.set_budget("ward", 20.0, 1e-10, composition="gaussian")
    with pytest.raises(BudgetExceededError):
        charge(ledger, of_epsilon(0.1))


PLANS = st.lists(st.sampled_from([of_epsilon(0.1), of_epsilon(1.0), SGD, SERIES, PURE]), max_size=6)


@pytest.mark.parametrize("composition", ["sums", "gaussian"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans=PLANS)
def test_a_charge_never_lowers_what_is_spent_and_planning_is_what_charging_is(composition, plans):
    account = Account((), 3.0, 1e-5, composition)
    spent = account.spent()
    for place, plan in enumerate(plans):
        ahead = account.spent([plan])
        cost = account.cost(plan)
        charged = Entry(
            place,
            "",
            "charge",
            epsilon=plan.epsilon,
            delta=plan.delta,
            mu_squared=cost.mu_squared,
            remainder=cost.remainder,
        )
        account = Account((*account.charges, charged), 3.0, 1e-5, composition)
        assert account.spent() == ahead
        assert ahead[0] > spent[0]
        assert ahead[1] >= spent[1]
        spent = ahead
    exact = compute_epsilon([e for p in plans for e in p.events], max(spent[1], 1e-9))
    assert spent[0] >= exact * (1 - 1e-9)


def test_how_charges_add_up_is_chosen_before_the_first_one(ledger):
    ledger.set_budget("ward", 2.0, 1e-3)
    assert ledger.account("ward").composition == "sums"
    ledger.set_budget("ward", 2.0, 1e-3, composition="gaussian")
    ledger.set_budget("ward", 3.0, 1e-3)
    assert ledger.account("ward").composition == "gaussian"
    charge(ledger, SERIES)
    before = ledger.path.read_bytes()
    with pytest.raises(PrivacyError, match="charged by gaussian"):
        ledger.set_budget("ward", 3.0, 1e-3, composition="sums")
    assert ledger.path.read_bytes() == before
    ledger.set_budget("ward", 4.0, 1e-3)
    ledger.set_budget("ward", 5.0, 1e-3, composition="gaussian")
    assert ledger.account("ward").composition == "gaussian"
    assert ledger.budget("ward") == (5.0, 1e-3)


def test_data_that_are_summed_stay_so(ledger):
    charge(ledger, SERIES)
    with pytest.raises(PrivacyError, match="charged by sums"):
        ledger.set_budget("ward", 3.0, 1e-3, composition="gaussian")
    with pytest.raises(PrivacyError, match="add up by 'roots'"):
        ledger.set_budget("ward", 3.0, 1e-3, composition="roots")


def test_a_new_name_of_the_same_table_adds_up_as_the_table_does(by_mu):
    charge(by_mu, SERIES)
    charge(by_mu, SERIES, dataset="other name")
    account = by_mu.account("ward")
    assert account.composition == by_mu.account("other name").composition == "gaussian"
    assert len(account.charges) == 2
    assert account.spent()[0] < 1.6 * SERIES.epsilon


def test_data_under_different_rules_are_never_joined(by_mu):
    charge(by_mu, SERIES)
    charge(by_mu, SERIES, dataset="clinic", table=b"another")
    before = by_mu.path.read_bytes()
    for dataset, table in (("clinic", b"table"), ("ward", b"another")):
        with pytest.raises(LedgerError, match="another rule"):
            charge(by_mu, SERIES, dataset=dataset, table=table)
    # Nor by a name that asks for one rule over a table that is charged by the other.
    by_mu.set_budget("third", 3.0, 1e-5, composition="gaussian")
    before = by_mu.path.read_bytes()
    with pytest.raises(LedgerError, match="another rule"):
        charge(by_mu, SERIES, dataset="third", table=b"another")
    assert by_mu.path.read_bytes() == before


def test_a_budget_lowered_later_leaves_nothing(by_mu):
    charge(by_mu, of_epsilon(1.0))
    by_mu.set_budget("ward", 0.5, 1e-5)
    with pytest.raises(BudgetExceededError, match=r"0 left of 0\.5"):
        charge(by_mu, of_epsilon(0.01))


def test_lines_of_summed_data_are_as_in_the_first_version(ledger):
    ledger.set_budget("ward", 3.0, 1e-3)
    charge(ledger, SERIES)
    for line in ledger.path.read_text().splitlines():
        assert not {"composition", "mu_squared", "remainder"} & set(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [
        {"mu_squared": -1.0},
        {"mu_squared": "much"},
        {"remainder": -1e-9},
        {"composition": "roots"},
        {"mu_squared": None},
    ],
)
def test_costs_that_are_none_are_damage_even_with_a_right_hash(by_mu, change):
    charge(by_mu, SERIES)
    lines = by_mu.path.read_bytes().splitlines()
    body = {**json.loads(lines[-1]), **change}
    del body["hash"]
    body["hash"] = line_hash(body)
    by_mu.path.write_bytes(b"".join(line + b"\n" for line in [*lines[:-1], canonical(body)]))
    head = {"count": len(lines), "hash": body["hash"], "pending": None}
    by_mu.head_path.write_bytes(canonical(head))
    assert "lacks a field" in by_mu.verify()[0].message
    with pytest.raises(LedgerError):
        by_mu.spent("ward")


def test_the_better_of_two_rules_would_break_the_budget_and_neither_account_offers_it():
    """One Gaussian of epsilon 1; then a coin of epsilon 1 if it told much, a Gaussian if not."""
    x = np.linspace(-12, 12, 100_001)
    delta, (one, whole) = 1e-5, (gaussian_mu(e, 1e-5) for e in (1.0, 2.0))
    rest = math.sqrt(whole**2 - one**2)
    left = 2.0 - (one * x - one**2 / 2)  # the loss that is still allowed after the first release
    by_mu = norm.cdf(rest / 2 - left / rest) - np.exp(left) * norm.cdf(-rest / 2 - left / rest)
    chance = 1 / (1 + math.exp(-1))
    coin = (np.clip(p - np.exp(left) * (1 - p), 0, None) for p in (chance, 1 - chance))
    by_sums = sum(coin)
    mass = norm.pdf(x, one) * (x[1] - x[0])
    assert mass @ by_mu <= delta * (1 + 1e-6)
    assert mass @ by_sums <= delta
    assert mass @ np.maximum(by_mu, by_sums) > 1.66 * delta

    first = Plan.make([GaussianEvent("first", 1 / one)], delta)
    then = {
        "sums": Plan.make([ExponentialEvent("coin", 1.0)], 1e-9),
        "gaussian": Plan.make([GaussianEvent("rest", 1 / rest * 1.02)], delta),
    }
    for composition, admitted in then.items():
        cost = Account((), 2.0, delta, composition).cost(first)
        charged = Entry(0, "", "charge", "", 1.0, delta * (1 - 1e-4), mu_squared=cost.mu_squared)
        account = Account((charged,), 2.0 * (1 + 1e-6), delta, composition)
        for plan in then.values():
            assert (account.refusal([plan]) == "") == (plan is admitted)


def test_the_stated_box_is_within_the_budget():
    """Worst case of the argument in `gaussian_cost`: the box, full, beside all slack."""
    for epsilon, delta in ((0.5, 1e-6), (3.0, 1e-5), (10.0, 1e-2), (20.0, 1e-6)):
        slack = module.MAX_CHARGES * samplers_slack(epsilon)
        mu = gaussian_mu(epsilon, delta * 7 / 8 - slack)
        full = Entry(0, "", "charge", mu_squared=(mu * (1 - 1e-9)) ** 2, remainder=delta / 8)
        account = Account((full,), epsilon, delta, "gaussian")
        assert account.spent()[0] <= epsilon
        assert account.spent()[1] == pytest.approx(delta)
        assert delta / 8 + gaussian_delta(mu, epsilon) + slack <= delta
        over = Entry(0, "", "charge", mu_squared=(mu * (1 + 1e-6)) ** 2)
        assert Account((over,), epsilon, delta, "gaussian").spent()[0] > epsilon
        assert math.isfinite(account.spent()[0])
