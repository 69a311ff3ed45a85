"""Privacy, plans and guarantees: what they refuse, and what they say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pegai.errors import PrivacyError
from pegai.privacy import (
    AUDIT_ONLY,
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    Guarantee,
    Plan,
    Privacy,
    SubsampledGaussianEvent,
    attack_bound,
    compute_epsilon,
)

EVENTS = (GaussianEvent("counts", 4.0, 2), SubsampledGaussianEvent("sgd", 2.0, 0.1, 100))
PLAN = Plan.make(EVENTS, 1e-4, ["bounds of age: dictionary"])


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 20.1, "1", None, True])
def test_epsilons_out_of_range_are_refused(epsilon):
    with pytest.raises(PrivacyError, match="epsilon"):
        Privacy(epsilon, 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan, None])
def test_deltas_out_of_range_are_refused(delta):
    with pytest.raises(PrivacyError, match="delta"):
        Privacy(1.0, delta)


def test_the_ceiling_itself_is_allowed_and_a_unit_is_needed():
    Privacy(20.0, 0.01)
    with pytest.raises(PrivacyError, match="unit"):
        Privacy(1.0, 1e-5, unit="")


def test_where_the_ledger_is(monkeypatch, tmp_path):
    monkeypatch.delenv("PEGAI_LEDGER", raising=False)
    assert Privacy(1.0, 1e-5).ledger_path == Path("pegai-ledger.jsonl")
    monkeypatch.setenv("PEGAI_LEDGER", str(tmp_path / "a.jsonl"))
    assert Privacy(1.0, 1e-5).ledger_path == tmp_path / "a.jsonl"
    assert Privacy(1.0, 1e-5, ledger=tmp_path / "b").ledger_path == tmp_path / "b"


def test_a_plan_costs_what_the_accountant_says():
    assert PLAN.epsilon == compute_epsilon(EVENTS, 1e-4)
    assert PLAN["sgd"] is EVENTS[1]
    assert PLAN.public == ("bounds of age: dictionary",)
    with pytest.raises(KeyError):
        PLAN["other"]


def test_a_plan_can_claim_more_but_never_less():
    Plan(EVENTS, PLAN.epsilon + 1, 1e-4)
    for claim in (PLAN.epsilon * 0.99, 0.0, math.nan):
        with pytest.raises(PrivacyError, match="cost"):
            Plan(EVENTS, claim, 1e-4)


@pytest.mark.parametrize(
    "events",
    [(), (GaussianEvent("a", 1.0), ExponentialEvent("a", 1.0)), (GaussianEvent("a", 1e-3),)],
)
def test_plans_that_make_no_sense_are_refused(events):
    with pytest.raises(PrivacyError):
        Plan.make(events, 1e-5)


def test_a_guarantee_survives_json():
    guarantee = Guarantee.of(PLAN, unit="person")
    again = Guarantee.from_dict(json.loads(json.dumps(guarantee.to_dict())))
    assert again == guarantee
    assert again.adjacency == "add or remove one person"
    assert set(again.versions) >= {"pegai", "python", "dp-accounting"}
    assert again.created.endswith("+00:00")
    again.require_releasable()


def test_an_edited_guarantee_is_refused():
    raw = Guarantee.of(PLAN).to_dict()
    with pytest.raises(PrivacyError, match="claims"):
        Guarantee.from_dict({**raw, "epsilon": 0.1}).require_releasable()
    for broken in ({}, {**raw, "events": [{"kind": "x"}]}, {**raw, "delta": "much"}):
        with pytest.raises(PrivacyError):
            Guarantee.from_dict(broken)
    with pytest.raises(PrivacyError):
        Guarantee.from_dict({k: v for k, v in raw.items() if k != "status"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": []}, "no events"),
        ({"epsilon": 20.1}, "ceiling"),
        ({"epsilon": math.inf}, "finite"),
        ({"epsilon": math.nan}, "finite"),
        ({"delta": 0.011}, "ceiling"),
        ({"delta": 1.5}, "delta"),
        ({"unit": ""}, "unit"),
    ],
)
def test_a_guarantee_that_nobody_may_ask_for_is_refused(change, message):
    raw = {**Guarantee.of(PLAN).to_dict(), **change}
    with pytest.raises(PrivacyError, match=message):
        Guarantee.from_dict(raw).require_releasable()


def test_a_figure_without_end_is_no_figure():
    with pytest.raises(PrivacyError, match="can't be read"):
        Guarantee.from_dict({**Guarantee.of(PLAN).to_dict(), "epsilon": 10**400})


def test_an_audit_carries_no_guarantee():
    audit = Guarantee.of(PLAN, audit_only=True)
    assert audit.to_dict()["status"] == AUDIT_ONLY
    assert Guarantee.from_dict(audit.to_dict()).audit_only
    assert "no privacy guarantee" in " ".join(audit.in_words())
    with pytest.raises(PrivacyError, match="audit"):
        audit.require_releasable()
    # Any other status than the one that is released is taken for an audit.
    assert Guarantee.from_dict({**audit.to_dict(), "status": "something"}).audit_only


def test_the_attack_bound_is_tighter_than_that_of_epsilon_alone_and_still_a_bound():
    guarantee = Guarantee.of(Plan.make([GaussianEvent("a", 1.0)], 1e-5))
    assert guarantee.attack_tpr < attack_bound(guarantee.epsilon, 1e-5, 0.01)
    # The best attack on mu = 1 at 1 %: Phi(Phi^-1(.01) + 1) = .0924.
    assert 0.0924 <= guarantee.attack_tpr < 0.13


def test_words_say_what_a_series_is():
    one = Guarantee.of(Plan.make([GaussianFilterEvent("f", 4.0)], 1e-5))
    assert "counts a series of noisy looks, each chosen after the last, at the data" in " ".join(
        one.in_words()
    )
    events = [GaussianFilterEvent("f", 8.0), GaussianEvent("g", 8.0), GaussianFilterEvent("h", 8.0)]
    words = " ".join(Guarantee.of(Plan.make(events, 1e-5)).in_words())
    assert "counts 1 noisy look and 2 series of noisy looks, each look chosen" in words


def test_words_round_against_the_claim():
    guarantee = replace(Guarantee.of(PLAN), epsilon=2.9912, delta=1.2345e-5, attack_tpr=0.05218)
    words = " ".join(guarantee.in_words())
    assert "epsilon 3 " in words
    assert "delta 1.24e-05" in words
    assert "5.3 %" in words
    assert "102 noisy looks" in words
    assert "bounds of age: dictionary" in words
    assert "any one patient" in words
    one = replace(guarantee, events=(GaussianEvent("a", 1.0),), epsilon=0.1234, public=())
    assert "epsilon 0.124 " in " ".join(one.in_words())
    assert "1 noisy look " in " ".join(one.in_words())
