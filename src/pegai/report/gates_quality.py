"""The checks of quality that a policy may add: rules, equivalent sample size, coefficients.

They can only ask for controls: a useless table harms no patient, but whoever gets it has to know.
"""

from __future__ import annotations

import math

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.gates import LIMITS_OF_USE, TINY, Gate, Status
from pegai.report.numbers import NONE, figure, score_with_interval, share, why_not
from pegai.report.policy import ReleasePolicy


def quality_gates(evaluation: Evaluation, policy: ReleasePolicy) -> tuple[Gate, ...]:
    """Every check of quality for which the policy has a limit of its own."""
    gates: list[Gate] = []
    if policy.max_rule_excess is not None:
        gates.append(_rules_gate(evaluation.get("rule_violations"), policy.max_rule_excess))
    if policy.min_equivalent_sample is not None:
        gates.append(_sample_gate(evaluation, policy.min_equivalent_sample))
    if policy.min_coefficient_overlap is not None:
        limit = policy.min_coefficient_overlap
        gates.append(_overlap_gate(evaluation.get("coefficient_overlap"), limit))
    return tuple(gates)


def _gate(name: str, title: str, rule: str, value: str, found: tuple[Status, str]) -> Gate:
    status, reason = found
    control = "" if status == "pass" else LIMITS_OF_USE
    return Gate(name, "quality", title, rule, value, status, reason, control, required=False)


def _missing(score: Score | None, otherwise: str) -> tuple[Status, str]:
    return "not assessed", why_not(score, otherwise)


def _rules_gate(score: Score | None, limit: float) -> Gate:
    title = "Clinical rules"
    rule = f"Each rule broken at most {share(limit)} more often than by real patients (upper end)"
    if score is None or not score.assessed:
        found = _missing(score, "The schema states no rules between columns.")
        return _gate("rule_violations", title, rule, NONE, found)
    high = score.value if math.isnan(score.high) else score.high
    if max(score.value, high) <= limit + TINY:
        found = ("pass", f"No rule is broken more often: {score.note}.")
    else:
        found = (
            "caution",
            f"A rule may be broken in {share(high)} more of the rows: {score.note}.",
        )
    value = score_with_interval(score)
    return _gate("rule_violations", title, rule, value, found)


def _sample_gate(evaluation: Evaluation, limit: float) -> Gate:
    score, patients = evaluation.get("equivalent_sample"), evaluation.get("equivalent_patients")
    title = "Equivalent real sample"
    rule = f"As good as a real sample of at least {share(limit)} of the training patients"
    if score is None or not score.assessed:
        found = _missing(score, "The equivalent sample size was not measured.")
        return _gate("equivalent_sample", title, rule, NONE, found)
    value = score_with_interval(score)
    if patients is not None and patients.assessed:
        value += f"; {patients.value:,.0f} patients"
    if score.value >= limit - TINY:
        found = ("pass", "Joint tables of columns are as exact as those of that many patients.")
    else:
        found = ("caution", "Counts and shares are as rough as those of a few real patients.")
    return _gate("equivalent_sample", title, rule, value, found)


def _overlap_gate(score: Score | None, limit: float) -> Gate:
    title = "Effect estimates"
    rule = f"Mean overlap of the intervals of regression coefficients at least {figure(limit, 2)}"
    if score is None or not score.assessed:
        found = _missing(score, "No regression was compared.")
        return _gate("coefficient_overlap", title, rule, NONE, found)
    value = score_with_interval(score)
    if score.value >= limit - TINY:
        found = ("pass", "A regression would say much the same; confirm it on real patients.")
    else:
        found = ("caution", "A regression would say something else than on real patients.")
    return _gate("coefficient_overlap", title, rule, value, found)
