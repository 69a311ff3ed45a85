from __future__ import annotations

import math

import pytest

from pegai.evaluate.scores import Evaluation, Score
from pegai.report import CONTROLLED_1, POLICIES, PUBLIC_1, decide
from pegai.report.gates import (
    best_attack_gate,
    canary_gates,
    copied_rows_gates,
    copies_gate,
    guarantee_gates,
    hit_rate_gates,
    is_open,
    membership_auc_gate,
    permutation_gate,
    repeats_gate,
    safe_harbor_gate,
    utility_gate,
)

NAN = math.nan


def one(name, value, low=NAN, high=NAN, baseline=NAN, *, n=5, holdout=276, **rows) -> Evaluation:
    score = Score(name, "privacy", name, value, low, high, baseline, n=n)
    return Evaluation((score,), rows={"train": 644, "holdout": holdout, **rows})


@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [
        (0.50, 0.46, 0.55, "pass"),
        (0.50, 0.42, 0.58, "caution"),  # no leak seen, but the interval is too wide to exclude one
        (0.54, 0.51, 0.57, "fail"),
        (0.90, 0.88, 0.92, "fail"),
        (0.50, NAN, NAN, "not assessed"),
        (NAN, NAN, NAN, "not assessed"),
    ],
)
def test_membership_auc(value, low, high, status):
    assert membership_auc_gate(one("membership_auc", value, low, high), PUBLIC_1).status == status


def test_hit_rates_are_gated_only_where_the_holdout_supports_an_estimate():
    small = one("membership_tpr_at_1pct", 0.01, 0.0, 0.02, holdout=999)
    large = one("membership_tpr_at_1pct", 0.01, 0.0, 0.02, holdout=1000)
    assert hit_rate_gates(small, PUBLIC_1) == ()
    (gate,) = hit_rate_gates(large, PUBLIC_1)
    assert gate.status == "pass"
    huge = one("membership_tpr_at_1pct", 0.05, 0.04, 0.06, holdout=10_000)
    first, second = hit_rate_gates(huge, PUBLIC_1)
    assert (first.status, second.status) == ("fail", "not assessed")


@pytest.mark.parametrize(
    ("p", "holdout", "status"),
    [
        (0.4, 276, "pass"),
        (0.03, 276, "caution"),
        (0.003, 276, "fail"),  # nothing else guards the low end of the curve
        (0.003, 20_000, "caution"),
        (NAN, 276, "not assessed"),
    ],
)
def test_permutation(p, holdout, status):
    assert permutation_gate(one("membership_p", p, holdout=holdout), PUBLIC_1).status == status


@pytest.mark.parametrize(
    ("value", "low", "baseline", "status"),
    [
        (0.0, 0.0, 0.0, "pass"),
        (0.02, 0.01, 0.02, "pass"),  # coarse table: the holdout has as many
        (0.0205, 0.015, 0.02, "pass"),
        (0.0205, 0.0203, 0.02, "caution"),
        (0.03, 0.01, 0.02, "caution"),
        (0.03, 0.025, 0.02, "fail"),
        (0.03, NAN, 0.02, "fail"),
        (0.0, 0.0, NAN, "not assessed"),
    ],
)
def test_copies(value, low, baseline, status):
    evaluation = one("exact_copies", value, low, value + 0.01, baseline)
    assert copies_gate(evaluation, PUBLIC_1).status == status


def test_copies_prefer_the_paired_excess():
    base = one("exact_copies", 0.03, 0.025, 0.04, 0.02)
    paired = Score("exact_copies_excess", "privacy", "excess", 0.01, -0.01, 0.03)
    assert copies_gate(base, PUBLIC_1).status == "fail"
    both = Evaluation((*base.scores, paired), rows=base.rows)
    assert copies_gate(both, PUBLIC_1).status == "caution"


@pytest.mark.parametrize(
    ("value", "low", "status"),
    [(0.87, 0.86, "pass"), (0.87, 0.84, "caution"), (0.87, NAN, "not assessed")],
)
def test_utility(value, low, status):
    evaluation = one("tstr_auc", value, low, 0.9, baseline=0.88)
    assert utility_gate(evaluation, PUBLIC_1).status == status


@pytest.mark.parametrize(("n", "status"), [(5, "pass"), (2, "caution"), (1, "caution")])
def test_repeats(n, status):
    assert repeats_gate(one("tstr_auc", 0.8, n=n), PUBLIC_1).status == status


def test_guarantee(make_evaluation, make_guarantee):
    evaluation = make_evaluation()

    def statuses(guarantee, policy=PUBLIC_1):
        return [g.status for g in guarantee_gates(evaluation, guarantee, policy=policy)]

    assert statuses(None) == ["caution"]
    assert statuses(make_guarantee(1.0)) == ["pass", "pass"]
    assert statuses(make_guarantee(8.0)) == ["caution", "pass"]
    assert statuses(make_guarantee(8.0), CONTROLLED_1) == ["pass", "pass"]
    assert statuses(make_guarantee(1.0, delta=0.01)) == ["pass", "fail"]  # 644 rows
    assert statuses(make_guarantee(NAN)) == ["not assessed", "pass"]
    assert statuses(make_guarantee(1.0, audit_only=True)) == ["fail"]


def test_attacks_above_the_promise_break_it(make_guarantee):
    def status(seen):
        evaluation = one("membership_epsilon", seen)
        gates = guarantee_gates(evaluation, make_guarantee(1.0), policy=PUBLIC_1)
        return [g.status for g in gates if g.name == "membership_epsilon"]

    assert [status(v) for v in (0.0, 1.0, 1.2, NAN)] == [["pass"], ["pass"], ["fail"], []]
    assert guarantee_gates(one("membership_epsilon", 3.0), None, policy=PUBLIC_1)[0].name == (
        "guarantee"
    )


@pytest.mark.parametrize("seen, status", [(0.0, ["pass"]), (1.2, ["fail"]), (NAN, [])])
def test_canaries_above_the_promise_break_it(make_guarantee, seen, status):
    evaluation = Evaluation((Score("canary_epsilon", "privacy", "t", seen),))
    gates = guarantee_gates(evaluation, make_guarantee(1.0), policy=PUBLIC_1)
    assert [g.status for g in gates if g.name == "canary_epsilon"] == status
    assert len(guarantee_gates(evaluation, None, policy=PUBLIC_1)) == 1


@pytest.mark.parametrize(
    "value, low, high, status",
    [(0.5, 0.44, 0.56, ["pass"]), (0.7, 0.6, 0.8, ["caution"]), (NAN, NAN, NAN, [])],
)
def test_learning_by_heart_asks_for_controls(make_guarantee, value, low, high, status):
    evaluation = Evaluation((Score("canary_auc", "privacy", "t", value, low, high, 0.5, "half"),))
    gates = canary_gates(evaluation, None)
    assert [g.status for g in gates] == status
    assert not any(g.required for g in gates)
    assert canary_gates(evaluation, make_guarantee(1.0)) == ()


def test_safe_harbor():
    assert safe_harbor_gate(None).status == "not assessed"
    assert safe_harbor_gate([]).status == "pass"
    assert safe_harbor_gate([{"class": "A", "status": "closed"}]).status == "pass"
    gate = safe_harbor_gate([{"class": "C: dates", "column": "admitted", "reason": "a date"}])
    assert gate.status == "caution"
    assert "C: dates" in gate.control
    assert is_open({"open": True}) and not is_open({"open": False})


def test_all_green_is_a_release(make_evaluation, make_guarantee):
    verdict = decide(make_evaluation(0.02), make_guarantee(1.0), lint=[])
    assert verdict.decision == "RELEASE"
    assert {g.status for g in verdict.gates} == {"pass"}
    assert verdict.controls == ()


PRIVACY_EVIDENCE = ("membership_auc", "membership_p", "exact_copies")


@pytest.mark.parametrize("how", ["without", "nan"])
@pytest.mark.parametrize("name", [*PRIVACY_EVIDENCE, "detection_auc", "tstr_auc"])
def test_missing_evidence_is_never_green(make_evaluation, make_guarantee, name, how):
    evaluation = make_evaluation(0.02, **{how: (name,)})
    verdict = decide(evaluation, make_guarantee(1.0), lint=[])
    (gate,) = (g for g in verdict.gates if g.name == name)
    assert gate.status == "not assessed"
    wanted = "NOT ASSESSED" if name in PRIVACY_EVIDENCE else "RELEASE WITH CONTROLS"
    assert verdict.decision == wanted


def test_an_empty_evaluation_is_not_assessed(make_guarantee):
    verdict = decide(Evaluation(()), make_guarantee(1.0), lint=[])
    assert verdict.decision == "NOT ASSESSED"
    green = {g.name for g in verdict.gates if g.status == "pass"}
    assert green == {"guarantee", "safe_harbor"}


def test_no_guarantee_never_gives_a_plain_release(make_evaluation):
    assert decide(make_evaluation(0.02), None, lint=[]).decision == "RELEASE WITH CONTROLS"


def test_a_failed_privacy_gate_outweighs_missing_evidence(make_evaluation, make_guarantee):
    evaluation = make_evaluation(0.02, attack=0.7, without=("exact_copies",))
    verdict = decide(evaluation, make_guarantee(1.0), lint=None)
    assert verdict.decision == "DO NOT RELEASE"
    assert "membership attack, overall" in verdict.summary


def test_quality_can_only_ask_for_controls(make_evaluation, make_guarantee):
    verdict = decide(make_evaluation(0.45), make_guarantee(1.0), lint=[])
    assert verdict.decision == "RELEASE WITH CONTROLS"
    assert any("fit for" in control for control in verdict.controls)


def test_what_is_asked_fits_the_decision(make_evaluation, make_guarantee):
    refused = decide(make_evaluation(0.45, attack=0.7), None, lint=[])
    assert refused.decision == "DO NOT RELEASE"
    assert [c.split()[0] for c in refused.controls] == ["Fit"]  # no "give it only to ..."
    missing = decide(make_evaluation(0.45, without=("membership_auc",)), None, lint=None)
    assert {c.split()[0] for c in missing.controls} == {"Keep", "Run"}


def test_policies_are_known_by_their_names():
    assert {name: policy.name for name, policy in POLICIES.items()} == {
        "public-2": "public-2", "controlled-2": "controlled-2",
        "public-1": "public-1", "controlled-1": "controlled-1",
    }  # fmt: skip


def half(value, low, high):
    score = Score("membership_auc", "privacy", "a", value, low, high, 0.5, "half", n=5)
    return Evaluation((score,), rows={"train": 644, "holdout": 20_000})


@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [(0.2, 0.17, 0.23, "fail"), (0.5, 0.44, 0.54, "caution"), (0.5, 0.46, 0.54, "pass")],
)
def test_an_area_far_below_one_half_gives_members_away_too(value, low, high, status):
    assert membership_auc_gate(half(value, low, high), PUBLIC_1).status == status


@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [(0.5, 0.46, 0.54, "pass"), (0.6, 0.56, 0.64, "fail"), (0.4, 0.36, 0.44, "caution")],
)
def test_the_best_attack(value, low, high, status):
    score = Score("membership_auc_best", "privacy", "a", value, low, high, 0.5, "half", n=5)
    (gate,) = best_attack_gate(Evaluation((score,)), PUBLIC_1)
    assert gate.status == status
    assert best_attack_gate(Evaluation(()), PUBLIC_1) == ()


def test_the_best_attack_forbids_only_what_the_whole_panel_confirms():
    best = Score("membership_auc_best", "privacy", "a", 0.6, 0.56, 0.64, 0.5, "half", n=5)
    for p, status in ((0.2, "caution"), (0.04, "fail"), (NAN, "fail")):
        panel = Score("membership_p", "privacy", "p", p)
        (gate,) = best_attack_gate(Evaluation((best, panel)), PUBLIC_1)
        assert gate.status == status


@pytest.mark.parametrize(
    ("value", "low", "baseline", "status"),
    [
        (0.0, 0.0, 0.0, "pass"),
        (0.3, 0.25, 0.0, "fail"),
        (0.02, -0.007, 0.0, "caution"),
        (0.0005, -0.01, 0.0, "caution"),  # one row, where chance gives none
        (0.2, 0.15, 0.21, "pass"),
        (NAN, NAN, 0.0, "not assessed"),
    ],
)
def test_rows_that_are_one_patients_record(value, low, baseline, status):
    for name in ("copied_rows", "text_copies/note"):
        (gate,) = copied_rows_gates(one(name, value, low, 1.0, baseline), PUBLIC_1)
        assert gate.status == status


def test_patients_count_and_not_rows():
    """200 patients with ten visits each are no 2,000 patients."""
    few = one("membership_tpr_at_1pct", 0.01, 0.0, 0.02, holdout=2_000, non_members=200)
    assert hit_rate_gates(few, PUBLIC_1) == ()


def test_swapped_files_are_noticed():
    scores = (
        Score("exact_copies", "privacy", "c", 0.0, 0.0, 0.01, 1.0, "lower", n=5),
        Score("exact_copies_excess", "privacy", "e", -1.0, -1.0, -0.98, 0.0, "lower", n=5),
    )
    gate = copies_gate(Evaluation(scores, rows={"holdout": 276}), PUBLIC_1)
    assert gate.status == "fail"
    assert "swapped" in gate.reason
