"""The checks of disclosure: what attacks learn about patients beyond what they learn of strangers.

Each compares success on training patients with success on holdout patients, who show what can be
guessed without any leak. A check **fails** where the leak is evident: the *lower* end of the
interval is above the limit. Where only the upper end is, the patients are too few to tell, and the
check asks for **caution**: a holdout of sixty patients has wide intervals, and a wide interval is
no evidence against a table. Without a figure it is not assessed, which is never a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.gates import AGREEMENT, MORE_PATIENTS, REFIT, TINY, Gate, Status
from pegai.report.numbers import NONE, share, why_not
from pegai.report.policy import ReleasePolicy

BY_HAND = (
    "Let someone judge this risk by hand, or name the columns that it needs in the schema (roles "
    "quasi-identifier and sensitive) and evaluate again."
)
IDENTITY = (
    "0.09 is a limit for re-identification on quasi-identifiers; it says nothing about membership."
)
COARSER = "Coarsen or drop quasi-identifiers, such as exact ages or small regions, and fit again."
CONTROLS = (
    ("control_planted", "verbatim copies"),
    ("control_jitter", "slightly changed copies"),
    ("control_overfit", "an overfitted generator"),
)
"""Positive controls: leaks made on purpose, which the attacks have to see."""


@dataclass(frozen=True)
class _Attack:
    """One check of an excess: its score, limit and words."""

    name: str
    limit: str
    title: str
    what: str
    fine: str


ATTACKS = (
    _Attack(
        "singling_out",
        "max_singling_out",
        "Singling out",
        "what only one patient has reappears",
        "What only one patient has reappears no more often than what only one stranger has.",
    ),
    _Attack(
        "linkability",
        "max_linkability",
        "Linkability",
        "two halves of a record are linked",
        "Two halves of a record are linked no more often than those of strangers.",
    ),
    _Attack(
        "attribute_inference",
        "max_attribute_inference",
        "Inference of secrets",
        "a secret is guessed",
        "Secrets of patients are guessed no better than those of strangers.",
    ),
)


INVERSION = _Attack(
    "model_inversion",
    "max_attribute_inference",
    "Inference through the released model",
    "a secret is guessed by asking the model",
    "The model tells no more of patients than of strangers.",
)
"""Only where a model is to be released."""


def disclosure_gates(evaluation: Evaluation, policy: ReleasePolicy) -> tuple[Gate, ...]:
    """Every check of disclosure for which the policy has a limit."""
    gates = [
        _excess_gate(evaluation.get(attack.name), attack, limit, policy)
        for attack in ATTACKS
        if (limit := getattr(policy, attack.limit)) is not None
    ]
    inversion = evaluation.get(INVERSION.name)
    if policy.max_attribute_inference is not None and inversion is not None and inversion.assessed:
        gates.append(_excess_gate(inversion, INVERSION, policy.max_attribute_inference, policy))
    if policy.max_identity_risk is not None:
        gates.append(identity_gate(evaluation, policy))
    if policy.max_detectable_leak is not None:
        gates.append(instrument_gate(evaluation, policy))
    return tuple(gates)


def _excess_gate(score: Score | None, attack: _Attack, limit: float, policy: ReleasePolicy) -> Gate:
    rule = (
        f"Upper end of the 95 % interval of how much more often {attack.what} than for holdout "
        f"patients at most {share(limit)}"
    )
    status, reason, control = _against(score, limit, fine=attack.fine)
    return Gate(
        attack.name,
        "privacy",
        attack.title,
        rule,
        _shown(score),
        status,
        reason,
        control,
        attack.name in policy.required,
    )


def identity_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """The risk that a patient is identified in the synthetic data and something new is learnt."""
    limit = policy.max_identity_risk
    assert limit is not None  # noqa: S101
    score = evaluation.get("identity_risk")
    status, reason, control = _against(
        score, limit, fine="Few patients would be identified together with something new."
    )
    excess = evaluation.get("identity_risk_excess")
    if status == "fail" and score is not None and not _above_strangers(score, excess):
        # A table without memory would give the same: the columns are to blame, not the generator.
        status, control = "caution", COARSER
        reason = "Above the limit, but no more than for strangers: the columns tell people apart."
    return Gate(
        "identity_risk",
        "privacy",
        "Risk of being identified",
        f"Risk of meaningful identification at most {share(limit)}",
        _shown(score),
        status,
        f"{reason} {IDENTITY}",
        control,
        "identity_risk" in policy.required,
    )


def _above_strangers(score: Score, excess: Score | None) -> bool:
    """Whether a risk is evidently above that of patients the generator never saw."""
    if excess is not None and excess.assessed and not math.isnan(excess.low):
        return excess.low > TINY
    low = score.value if math.isnan(score.low) else score.low
    return math.isnan(score.baseline) or low > score.baseline + TINY


def _against(score: Score | None, limit: float, *, fine: str) -> tuple[Status, str, str]:
    """Status, reason and control of a figure that must not be above a limit."""
    if score is None or not score.assessed:
        return "not assessed", why_not(score, "This attack was not run."), BY_HAND
    # Without an interval the figure has to speak for itself.
    high = score.value if math.isnan(score.high) else score.high
    low = score.value if math.isnan(score.low) else score.low
    if max(high, score.value) <= limit + TINY:
        return "pass", fine, ""
    if low > limit + TINY:
        return "fail", "The leak is evident and above the limit.", REFIT
    if low > TINY and score.value > limit + TINY:
        return "caution", "There is a leak; whether it is above the limit is open.", AGREEMENT
    reason = "The interval is too wide to exclude a leak above the limit."
    return "caution", reason, MORE_PATIENTS


def _shown(score: Score | None) -> str:
    if score is None or not score.assessed:
        return NONE
    if math.isnan(score.low) or math.isnan(score.high):
        return share(score.value)
    return f"{share(score.value)} ({share(score.low)} to {share(score.high)})"


def instrument_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """Whether the attacks would have seen a leak: the positive controls and the smallest leak."""
    limit = policy.max_detectable_leak
    assert limit is not None  # noqa: S101
    leak = evaluation.get("minimum_detectable_leak")
    missed = [title for name, title in CONTROLS if detected(evaluation.get(name)) is False]
    seen = [title for name, title in CONTROLS if detected(evaluation.get(name))]
    status, reason, control = _instrument(leak, limit, missed, seen)
    smallest = NONE if leak is None or not leak.assessed else share(leak.value)
    return Gate(
        "instrument_check",
        "privacy",
        "Would the attacks have seen a leak?",
        f"Leaks made on purpose are seen, and copies of {share(limit)} of the patients would be",
        f"smallest leak that would be seen: {smallest}",
        status,
        reason,
        control,
        "instrument_check" in policy.required,
    )


def _instrument(
    leak: Score | None, limit: float, missed: list[str], seen: list[str]
) -> tuple[Status, str, str]:
    blind = "So a quiet attack says little here."
    if missed:
        reason = f"The attacks did not see: {', '.join(missed)}. {blind}"
        return "not assessed", reason, MORE_PATIENTS
    if not seen:
        return "not assessed", f"No leak was made on purpose. {blind}", MORE_PATIENTS
    if leak is None or not leak.assessed:
        reason = why_not(leak, f"The smallest leak is not known. {blind}")
        return "not assessed", reason, MORE_PATIENTS
    if leak.value > limit + TINY:
        reason = f"Smaller leaks would go unseen. {blind}"
        return "not assessed", reason, MORE_PATIENTS
    return "pass", f"Seen: {', '.join(seen)}.", ""


def detected(score: Score | None) -> bool | None:
    """Whether a positive control was seen; None where it was not tried.

    A control is a p-value, small where the leak was seen, or the share of tries that saw it.
    """
    if score is None or not score.assessed:
        return None
    return score.value < 0.05 if score.better == "lower" else score.value >= 0.5
