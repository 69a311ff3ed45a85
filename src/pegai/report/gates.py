"""The checks of a release policy, one function each: evidence in, rule and result in words out.

A check without evidence is `not assessed`, never a pass. `caution` asks for a control; `fail`
forbids a release.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.numbers import (
    NONE,
    at_most,
    figure,
    score_with_interval,
    share,
    shorten,
    significant,
    why_not,
)
from pegai.report.policy import ReleasePolicy

if TYPE_CHECKING:
    from pegai.privacy.guarantee import Guarantee

Status = Literal["pass", "caution", "fail", "not assessed"]
Group = Literal["privacy", "quality"]

TINY = 1e-9  # intervals come from floating-point sums; a limit met exactly is met

AGREEMENT = (
    "Give the data only to named recipients, under an agreement that forbids re-identification, "
    "in an environment you control."
)
MORE_PATIENTS = (
    "Repeat the attack with more holdout patients, or treat the data as if the limit were missed."
)
REFIT = (
    "Fit again with differential privacy or a smaller ε, or with a generator that memorises less."
)
CHOSEN_NOISE = (
    "The noise that was added has a chosen scale, not one derived from what a patient can change: "
    "it is a heuristic and promises nothing."
)
HOLDOUT = "Keep a random holdout of patients before training and run the attack on it."


@dataclass(frozen=True)
class Gate:
    """One check of a policy.

    Attributes:
        name: Unique in a verdict.
        group: `privacy` gates can forbid a release; `quality` gates can only ask for controls.
        title: What is checked.
        rule: The rule with its limit, in words.
        value: What was found, in words.
        status: pass, caution, fail or not assessed.
        reason: What the result means.
        control: What to do about it; empty where nothing is asked.
        required: Whether nothing may be released without evidence for it; else missing evidence
            asks for a control.
    """

    name: str
    group: Group
    title: str
    rule: str
    value: str
    status: Status
    reason: str
    control: str = ""
    required: bool = True

    @property
    def decides(self) -> bool:
        """Whether this result alone can hold a release back."""
        return self.status == "fail" or (self.status == "not assessed" and self.required)


def guarantee_gates(
    evaluation: Evaluation,
    guarantee: Guarantee | None,
    *,
    policy: ReleasePolicy,
    heuristic: str = "",
) -> tuple[Gate, ...]:
    """The formal guarantee: that there is one, that epsilon and delta mean something."""
    rule = f"Differential privacy with ε of at most {significant(policy.max_epsilon)}"
    if guarantee is None:
        return (_no_guarantee(rule, heuristic),)
    if guarantee.audit_only:
        reason = "The noise of this run was recorded or replayed for an audit: no guarantee at all."
        control = "Fit again without a recorder."
        return (Gate(*_GUARANTEE, rule, "audit only", "fail", reason, control),)
    epsilon = float(guarantee.epsilon)
    return (
        _epsilon_gate(guarantee, epsilon, rule, policy),
        _delta_gate(evaluation, float(guarantee.delta)),
        *_promise_gates(evaluation, epsilon),
    )


_GUARANTEE: tuple[str, Group, str] = ("guarantee", "privacy", "Formal guarantee")


def _no_guarantee(rule: str, heuristic: str) -> Gate:
    reason = (
        "The generator was trained without differential privacy. Nothing bounds what the data "
        "may reveal about one patient; only the attacks of this report were tried."
    )
    value = "none"
    if heuristic:
        value = f"none; {heuristic}"
        reason += f" {CHOSEN_NOISE}"
    return Gate(*_GUARANTEE, rule, value, "caution", reason, AGREEMENT)


def _epsilon_gate(guarantee: Guarantee, epsilon: float, rule: str, policy: ReleasePolicy) -> Gate:
    value = f"ε = {significant(epsilon)}, δ = {significant(float(guarantee.delta))}"
    if math.isnan(epsilon) or math.isinf(epsilon) or epsilon < 0:
        return Gate(*_GUARANTEE, rule, value, "not assessed", "The ε of the fit is not known.")
    if epsilon <= policy.max_epsilon + TINY:
        reason = "One patient more or less changes what can be learned by a bounded factor only."
        return Gate(*_GUARANTEE, rule, value, "pass", reason)
    reason = (
        "The promise holds, but an ε this large rules out little: an attacker at 1 % false "
        f"alarms may recognise up to {at_most(guarantee.attack_tpr)} of the {guarantee.unit}s."
    )
    return Gate(*_GUARANTEE, rule, value, "caution", reason, AGREEMENT)


_PROMISE = (
    ("membership_epsilon", "The attacks against the guarantee", "the attacks"),
    ("canary_epsilon", "The canaries against the guarantee", "the guesses about made-up patients"),
)
"""Lower bounds on ε: score, title of its check, what the bound explains."""


def _promise_gates(evaluation: Evaluation, epsilon: float) -> tuple[Gate, ...]:
    """Whether attacks and canaries did better than the guarantee allows: then it is broken."""
    found: list[Gate] = []
    for name, title, what in _PROMISE:
        score = evaluation.get(name)
        if score is None or not score.assessed or not math.isfinite(epsilon):
            continue
        rule = f"The least ε that explains {what} is at most the ε that was promised"
        value = f"at least {figure(score.value, 2)}; promised {significant(epsilon)}"
        if score.value <= epsilon + TINY:
            reason = "No attack did better than the guarantee allows."
            found.append(Gate(name, "privacy", title, rule, value, "pass", reason))
            continue
        reason = "An attack beat what is promised, at 5 % false alarms: treat it as broken."
        control = "Do not use this generator; report it, with the report and the ledger."
        found.append(Gate(name, "privacy", title, rule, value, "fail", reason, control))
    return tuple(found)


def canary_gates(evaluation: Evaluation, guarantee: Guarantee | None) -> tuple[Gate, ...]:
    """Whether a method without a guarantee learns odd patients by heart; none if it wasn't tried.

    With a guarantee its epsilon is the measure (`guarantee_gates`).
    """
    score = evaluation.get("canary_auc")
    if guarantee is not None or score is None or not score.assessed:
        return ()
    name, title = "canary_auc", "Odd patients learnt by heart"
    rule = "Made-up patients of a refit are told from others no better than by chance (AUC 0.50)"
    value = score_with_interval(score)
    if score.low <= 0.5 + TINY:
        reason = "Refits gave no made-up patient away, as far as this many can show."
        return (Gate(name, "privacy", title, rule, value, "pass", reason, required=False),)
    reason = (
        "The method remembers single odd patients when it is refitted: patients like no other "
        "are at risk, though other attacks may not reach them."
    )
    return (
        Gate(name, "privacy", title, rule, value, "caution", reason, AGREEMENT, required=False),
    )


def _delta_gate(evaluation: Evaluation, delta: float) -> Gate:
    name, title = "delta", "Chance that the guarantee fails"
    rule = "δ below one over the number of training patients"
    rows = evaluation.rows.get("train_patients", evaluation.rows.get("train", 0))
    value = f"δ = {significant(delta)}"
    if rows < 1 or math.isnan(delta):
        reason = "The number of training patients is not recorded."
        return Gate(name, "privacy", title, rule, value, "not assessed", reason)
    value += f"; 1 / {rows} = {significant(1 / rows)}"
    if delta * rows < 1:
        reason = "Publishing one random patient's row would already break this δ."
        return Gate(name, "privacy", title, rule, value, "pass", reason)
    reason = "A δ this large would allow the publication of one random patient's row."
    control = "Fit again with a δ well below one over the number of patients."
    return Gate(name, "privacy", title, rule, value, "fail", reason, control)


def membership_auc_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """The attack's AUC: its interval must end below the limit."""
    limit = policy.max_membership_auc
    return _attack_gate(
        evaluation.get("membership_auc"),
        name="membership_auc",
        title="Membership attack, overall",
        rule=f"Upper end of the 95 % interval of the AUC at most {figure(limit, 2)} (chance: 0.50)",
        limit=limit,
        chance=0.5,
    )


def best_attack_gate(evaluation: Evaluation, policy: ReleasePolicy) -> tuple[Gate, ...]:
    """The best attack of the panel, chosen on other patients; none where it was not looked for."""
    score = evaluation.get("membership_auc_best")
    if score is None:
        return ()
    limit = policy.max_membership_auc
    rule = f"Upper end of the 95 % interval of the AUC at most {figure(limit, 2)} (chance: 0.50)"
    gate = _attack_gate(
        score,
        name="membership_auc_best",
        title="Best of the membership attacks",
        rule=rule,
        limit=limit,
        chance=0.5,
    )
    # Below one half the choice was no good on the other patients: that is chance, and so is an area
    # that the exact test of the whole panel does not confirm.
    p = _value(evaluation.get("membership_p"))
    if gate.status == "fail" and (score.low <= 0.5 or p >= policy.min_p):
        return (replace(gate, status="caution", control=MORE_PATIENTS),)
    return (gate,)


def hit_rate_gates(evaluation: Evaluation, policy: ReleasePolicy) -> tuple[Gate, ...]:
    """The attack's hit rates at few false alarms, as far as the holdout supports an estimate.

    Where it does not (`patients_needed`), the permutation test stands in for them.
    """
    holdout = non_members(evaluation)
    return tuple(
        _attack_gate(
            evaluation.get(f"membership_tpr_at_{percent}pct"),
            name=f"membership_tpr_at_{percent}pct",
            title=f"Membership attack at {percent} % false alarms",
            rule=f"Upper end of the 95 % interval of the hit rate at most {share(limit)}",
            limit=limit,
            chance=float(percent) / 100,
        )
        for percent, limit in _hit_rates(policy)
        if holdout >= patients_needed(percent, policy)
    )


def non_members(evaluation: Evaluation) -> int:
    """Holdout patients that were attacked; rows, in evaluations that did not count patients."""
    return evaluation.rows.get("non_members", evaluation.rows.get("holdout", 0))


def _hit_rates(policy: ReleasePolicy) -> tuple[tuple[str, float], ...]:
    return (("1", policy.max_tpr_at_1pct), ("0.1", policy.max_tpr_at_01pct))


def patients_needed(percent: str, policy: ReleasePolicy) -> int:
    """Fewest holdout patients for an estimate of the hit rate at a false-alarm rate."""
    return math.ceil(policy.nonmembers_per_fpr / (float(percent) / 100) - TINY)


def permutation_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """Whether training patients stand out at all: the exact permutation test of all attacks."""
    score = evaluation.get("membership_p")
    p = _value(score)
    name, title = "membership_p", "Training patients standing out"
    holdout = non_members(evaluation)
    rule = f"Permutation p of at least {figure(policy.min_p, 2)}"
    missing = [q for q, _ in _hit_rates(policy) if holdout < patients_needed(q, policy)]
    if missing:
        rule += (
            f" (and p below {figure(policy.fail_p, 2)} forbids a release, as {holdout:,} holdout "
            f"patients are too few to estimate hit rates at {' and '.join(missing)} % false alarms)"
        )
    if math.isnan(p):
        reason = _note(score) or "No permutation test was run."
        return Gate(name, "privacy", title, rule, NONE, "not assessed", reason, HOLDOUT)
    value = f"p = {figure(p)}"
    if p >= policy.min_p:
        reason = "Chance alone would give a result like this often enough."
        return Gate(name, "privacy", title, rule, value, "pass", reason)
    reason = "There is evidence that training patients stand out, small or large."
    if missing and p < policy.fail_p:
        return Gate(name, "privacy", title, rule, value, "fail", reason, REFIT)
    return Gate(name, "privacy", title, rule, value, "caution", reason, AGREEMENT)


def copies_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """Exact copies of training rows, beyond those of patients the generator never saw."""
    score = evaluation.get("exact_copies")
    paired = evaluation.get("exact_copies_excess")
    name, title = "exact_copies", "Exact copies of patients"
    limit = policy.max_copy_excess
    rule = f"Copies of training rows at most {share(limit)} above copies of holdout rows"
    if score is None or not score.assessed or math.isnan(score.baseline):
        reason = _note(score) or "The rate of copies, or the holdout's own rate, is missing."
        return Gate(name, "privacy", title, rule, NONE, "not assessed", reason, HOLDOUT)
    excess, least = score.value - score.baseline, score.low - score.baseline
    if paired is not None and paired.assessed:
        excess, least = paired.value, paired.low
    value = f"{share(score.value)}; holdout {share(score.baseline)}"
    if paired is not None and paired.assessed and paired.high < -limit - TINY:
        reason = "Holdout patients are repeated in the synthetic data: were the files swapped?"
        return Gate(name, "privacy", title, rule, value, "fail", reason, HOLDOUT)
    evident = math.isnan(least) or least > TINY
    if excess <= TINY or (excess <= limit + TINY and not evident):
        reason = "No more copies than of patients that the generator never saw."
        return Gate(name, "privacy", title, rule, value, "pass", reason)
    if excess <= limit + TINY:
        reason = "A few more copies than of patients that the generator never saw."
        return Gate(name, "privacy", title, rule, value, "caution", reason, AGREEMENT)
    if not evident:
        reason = "More copies than expected, though chance can't be ruled out."
        return Gate(name, "privacy", title, rule, value, "caution", reason, MORE_PATIENTS)
    reason = "Rows of real patients are repeated in the synthetic data."
    return Gate(name, "privacy", title, rule, value, "fail", reason, REFIT)


def copied_rows_gates(evaluation: Evaluation, policy: ReleasePolicy) -> tuple[Gate, ...]:
    """Rows that stand for one patient only, and texts; none where they were not looked for."""
    limit = policy.max_copy_excess
    found = []
    for score in evaluation.scores:
        if score.name != "copied_rows" and not score.name.startswith("text_copies/"):
            continue
        is_text = score.name != "copied_rows"
        title = f"Texts of patients in {score.name.partition('/')[2]}" if is_text else (
            "Rows that are one patient's record"
        )  # fmt: skip
        rule = f"At most {share(limit)} more than chance, measured on holdout patients"
        found.append(_copied(score, title, rule, limit))
    return tuple(found)


def _copied(score: Score, title: str, rule: str, limit: float) -> Gate:
    if not score.assessed:
        return Gate(
            score.name, "privacy", title, rule, NONE, "not assessed", _note(score), required=False
        )
    excess, least = score.value - score.baseline, score.low - score.baseline
    value = f"{share(score.value)}; by chance {share(score.baseline)}"
    if excess > limit + TINY and least > TINY:
        reason = "What one patient has is repeated in the synthetic data."
        return Gate(score.name, "privacy", title, rule, value, "fail", reason, REFIT)
    if excess > limit + TINY or (score.value > 0 and score.baseline == 0):
        reason = "More than chance would give, though chance can't be ruled out."
        return Gate(score.name, "privacy", title, rule, value, "caution", reason, AGREEMENT)
    reason = "No more than chance gives."
    return Gate(score.name, "privacy", title, rule, value, "pass", reason)


def safe_harbor_gate(lint: Sequence[Mapping[str, Any]] | None) -> Gate:
    """Whether the schema leaves a class of HIPAA identifiers open."""
    name, title = "safe_harbor", "Identifiers in the schema"
    rule = "No column of the released schema in a HIPAA Safe Harbor class"
    if lint is None:
        reason = "The Safe Harbor lint was not run."
        control = "Run the lint over the schema of the released columns."
        return Gate(name, "privacy", title, rule, NONE, "not assessed", reason, control)
    found = [row for row in lint if is_open(row)]
    if not found:
        reason = "The lint reads names and types only; it is a check, not a legal finding."
        return Gate(name, "privacy", title, rule, "none open", "pass", reason)
    named = (str(row.get("class") or row.get("column") or "free text") for row in found)
    classes = "; ".join(dict.fromkeys(shorten(name, 44) for name in named))
    control = f"Remove or coarsen the columns of these classes, or justify them: {classes}."
    reason = "These classes count as identifiers unless an expert determines otherwise."
    return Gate(
        name, "privacy", title, rule, f"{len(found)} open: {classes}", "caution", reason, control
    )


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a row of the Safe Harbor lint says that a class is left open."""
    if isinstance(row.get("open"), bool):
        return bool(row["open"])
    return str(row.get("status", "open")).lower() in ("open", "fail", "warning", "warn")


def detection_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """Whether a classifier tells synthetic from real patients at a glance."""
    score = evaluation.get("detection_auc")
    name, title = "detection_auc", "Realism"
    limit = policy.flag_detection_auc
    rule = f"A classifier tells synthetic from holdout patients with an AUC of at most {limit:.2f}"
    if score is None or not score.assessed:
        reason = _note(score) or "The test was not run."
        return Gate(name, "quality", title, rule, NONE, "not assessed", reason, LIMITS_OF_USE)
    value = score_with_interval(score)
    if score.value <= limit + TINY:
        good = score.value <= 0.65
        reason = "Hard to tell apart." if good else "Told apart in part: look at the plots."
        return Gate(name, "quality", title, rule, value, "pass", reason)
    reason = "Synthetic patients are easily told apart; rare patterns may be missing."
    return Gate(name, "quality", title, rule, value, "caution", reason, LIMITS_OF_USE)


LIMITS_OF_USE = (
    "State with the data what they are fit for (teaching, software tests, pilots) and that "
    "findings must be confirmed on real patients."
)


def utility_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """How much a model loses when it is trained on synthetic patients."""
    score = evaluation.get("tstr_auc")
    name, title = "tstr_auc", "Usefulness for prediction"
    limit = policy.max_tstr_drop
    rule = (
        "A model trained on synthetic patients and tested on real ones loses at most "
        f"{figure(limit, 2)} AUC against one trained on real patients (upper end of the interval)"
    )
    if score is None or math.isnan(score.value + score.baseline + score.low):
        reason = _note(score) or "The figure, its interval or the real-data figure is missing."
        return Gate(
            name, "quality", title, rule, score_with_interval(score), "not assessed", reason,
            LIMITS_OF_USE,
        )  # fmt: skip
    drop = score.baseline - score.low
    value = f"AUC {score_with_interval(score)}; real {figure(score.baseline)}"
    if drop <= limit + TINY:
        reason = "Models learn nearly the same from the synthetic patients."
        return Gate(name, "quality", title, rule, value, "pass", reason)
    reason = f"The loss may be as large as {figure(drop)}."
    return Gate(name, "quality", title, rule, value, "caution", reason, LIMITS_OF_USE)


def repeats_gate(evaluation: Evaluation, policy: ReleasePolicy) -> Gate:
    """Whether the figures rest on enough synthetic tables."""
    counted = [s.n for s in evaluation.scores if s.assessed]
    repeats = int(evaluation.plots.get("seeds") or max(counted, default=0))
    name, title = "repeats", "Repeated runs"
    rule = f"Figures over at least {policy.min_repeats} synthetic tables (seeds)"
    if repeats < 1:
        return Gate(name, "quality", title, rule, NONE, "not assessed", "Nothing was evaluated.")
    if repeats >= policy.min_repeats:
        reason = "The intervals include the luck of a single run."
        return Gate(name, "quality", title, rule, str(repeats), "pass", reason)
    reason = "Exploratory: the intervals do not include enough of the luck of a single run."
    control = f"Repeat the evaluation with {policy.min_repeats} seeds before relying on it."
    return Gate(name, "quality", title, rule, str(repeats), "caution", reason, control)


def _attack_gate(
    score: Score | None, *, name: str, title: str, rule: str, limit: float, chance: float
) -> Gate:
    value = score_with_interval(score)
    if score is None or math.isnan(score.value + score.low + score.high):
        reason = _note(score) or "The attack, or its interval, is missing."
        return Gate(name, "privacy", title, rule, value, "not assessed", reason, HOLDOUT)
    # An area far below one half gives members away just as well.
    below = 1 - limit if score.better == "half" else -math.inf
    if score.high <= limit + TINY and score.low >= below - TINY:
        reason = "A stronger effect of this attack is excluded with 95 % confidence."
        return Gate(name, "privacy", title, rule, value, "pass", reason)
    if score.low > chance + TINY or (score.better == "half" and score.high < chance - TINY):
        reason = "The attack works, and a leak above the limit can't be excluded."
        return Gate(name, "privacy", title, rule, value, "fail", reason, REFIT)
    reason = "No leak was found, but the interval is too wide to exclude one above the limit."
    return Gate(name, "privacy", title, rule, value, "caution", reason, MORE_PATIENTS)


def _value(score: Score | None) -> float:
    return math.nan if score is None else score.value


def _note(score: Score | None) -> str:
    return why_not(score)
