"""What a table may be used for: five intended uses, each answered by named scores.

The answers are about quality. Whether the table may leave at all is the verdict's matter, and where
it forbids a release no use is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.numbers import NONE, figure, score_with_interval, share
from pegai.report.policy import ReleasePolicy
from pegai.report.tables import Grid, Text
from pegai.report.verdict import Verdict

Answer = Literal["yes", "with care", "no", "not assessed"]

STATUS = {"yes": "pass", "with care": "caution", "no": "fail", "not assessed": "not-assessed"}
HARM = 0.05
"""A subgroup for which models lose more than this, in AUC, is named."""
MAX_NAMED = 6


@dataclass(frozen=True)
class Use:
    """One intended use.

    Attributes:
        name: What for.
        answer: Whether the table is fit for it.
        found: The figures that decide, in words.
        reason: What they mean.
    """

    name: str
    answer: Answer
    found: str
    reason: str


def intended_uses(
    evaluation: Evaluation, verdict: Verdict, policy: ReleasePolicy
) -> tuple[Use, ...]:
    """The five uses, in the order of what they ask of a table."""
    uses = (
        _teaching(evaluation),
        _exploration(evaluation, policy),
        _prediction(evaluation, policy),
        _inference(evaluation, policy),
        _rare(evaluation),
    )
    if verdict.decision != "DO NOT RELEASE":
        return uses
    forbidden = "A check that protects patients failed: the table must not be given to anyone."
    return tuple(Use(use.name, "no", use.found, forbidden) for use in uses)


def use_grid(uses: Sequence[Use]) -> Grid:
    """The uses as a table."""
    rows = tuple(
        (
            Text(use.name),
            Text(use.answer, kind=f"status-{STATUS[use.answer]}"),
            Text(use.reason, use.found),
        )
        for use in uses
    )
    return Grid("What the data are fit for", ("Use", "Fit?", "Why"), rows)


def _teaching(evaluation: Evaluation) -> Use:
    name = "Teaching, software tests, pilots"
    shapes, rules = evaluation.get("column_shapes"), evaluation.get("rule_violations")
    if shapes is None or not shapes.assessed:
        return Use(name, "not assessed", "", "It is not known whether columns look right.")
    found = f"column shapes {score_with_interval(shapes)}"
    broken = 0.0
    if rules is not None and rules.assessed:
        broken = rules.value
        found += f"; worst rule broken {share(broken)} more often than by real patients"
    if shapes.value >= 0.9 and broken <= 0.05:
        return Use(name, "yes", found, "Columns have the values and shapes of real ones.")
    reason = "Some columns look wrong, or rules are broken: say so to those who use it."
    return Use(name, "with care", found, reason)


def _exploration(evaluation: Evaluation, policy: ReleasePolicy) -> Use:
    name = "Exploratory statistics: counts, shares, cross tables"
    sample, pairs = evaluation.get("equivalent_sample"), evaluation.get("pair_trends")
    if sample is not None and sample.assessed:
        good = policy.min_equivalent_sample or 0.25
        found = f"equivalent real sample {score_with_interval(sample)}"
        patients = evaluation.get("equivalent_patients")
        if patients is not None and patients.assessed:
            found += f", {patients.value:,.0f} patients"
        if sample.value >= good:
            reason = "Tables of a few columns are as exact as those of that many real patients."
            return Use(name, "yes", found, reason)
        if sample.value >= good / 5:
            reason = "Good for a first look: errors are those of a small sample of patients."
            return Use(name, "with care", found, reason)
        return Use(name, "no", found, "Tables are rougher than those of a handful of patients.")
    if pairs is None or not pairs.assessed or math.isnan(pairs.baseline):
        return Use(name, "not assessed", "", "It is not known how exact tables are.")
    found = f"pair trends {score_with_interval(pairs)}, real {figure(pairs.baseline)}"
    if pairs.baseline - pairs.value <= 0.1:
        return Use(name, "with care", found, "Pairs of columns hang together nearly as in reality.")
    return Use(name, "no", found, "Columns do not hang together as in reality.")


def _prediction(evaluation: Evaluation, policy: ReleasePolicy) -> Use:
    name = "Building prediction models"
    area = evaluation.get("tstr_auc")
    what, limit = "AUC", policy.max_tstr_drop
    if area is None or not area.assessed:
        area, what, limit = evaluation.get("tstr_r2"), "R²", 2 * policy.max_tstr_drop
    if area is None or math.isnan(area.value + area.baseline):
        return Use(name, "not assessed", "", "No model was trained: there is no target column.")
    found = f"{what} {score_with_interval(area)}, real {figure(area.baseline)}"
    worst = area.baseline - (area.value if math.isnan(area.low) else area.low)
    slope = evaluation.get("calibration_slope")
    calibrated = slope is None or not slope.assessed or 0.8 <= slope.value <= 1.25
    if slope is not None and slope.assessed:
        found += f"; calibration slope {figure(slope.value, 2)}"
    if area.baseline - area.value > 3 * limit:
        return Use(name, "no", found, "Models lose much of what they learn from real patients.")
    if worst <= limit and calibrated:
        return Use(name, "yes", found, "Models learn nearly the same as from real patients.")
    reason = "Models may lose: validate on real patients before any use."
    if not calibrated:
        reason = "Predicted risks do not come true as often as they say: recalibrate on patients."
    return Use(name, "with care", found, reason)


def _inference(evaluation: Evaluation, policy: ReleasePolicy) -> Use:
    name = "Effect estimates and tests"
    overlap = evaluation.get("coefficient_overlap")
    flips, cover = (evaluation.get(n) for n in ("coefficient_sign_flips", "coefficient_coverage"))
    if overlap is None or not overlap.assessed:
        reason = "No regression was compared. Confirm every effect on real patients."
        return Use(name, "not assessed", "", reason)
    good = policy.min_coefficient_overlap or 0.7
    found = f"overlap of intervals {score_with_interval(overlap)}"
    flipped = _value(flips)
    if not math.isnan(flipped):
        found += f"; sign flips {_count(flips)}"
    if not math.isnan(_value(cover)):
        found += f"; coverage {share(_value(cover))}"
    if overlap.value < min(0.5, good) or flipped > 0.2:
        reason = "Effects come out different from those in real patients, some with other signs."
        return Use(name, "no", found, reason)
    steady = (overlap.value if math.isnan(overlap.low) else overlap.low) >= good
    if steady and flipped <= 0 and _value(cover) >= 0.9:
        reason = "Effects agree. Standard errors need the combining rules; confirm what matters."
        return Use(name, "yes", found, reason)
    reason = "Good for planning an analysis; no effect counts before it is confirmed on patients."
    return Use(name, "with care", found, reason)


def _rare(evaluation: Evaluation) -> Use:
    name = "Questions about small subgroups"
    gap = evaluation.get("subgroup_gap")
    if gap is None or not gap.assessed:
        return Use(name, "not assessed", "", "Subgroups were not compared, or are too small.")
    found = f"largest loss of any subgroup {score_with_interval(gap)}"
    harmed = harmed_subgroups(evaluation)
    worst = abs(gap.value)
    if worst <= HARM and not harmed:
        return Use(name, "yes", found, "No subgroup that could be measured loses much.")
    if worst <= 3 * HARM:
        reason = "Some subgroups are served worse than others: see below."
        return Use(name, "with care", found, reason)
    return Use(name, "no", found, "At least one subgroup is served badly.")


def harmed_subgroups(evaluation: Evaluation) -> tuple[Score, ...]:
    """Subgroups that evidently lose more than `HARM`, worst first."""
    found = [
        score
        for score in evaluation.scores
        if score.name.startswith("subgroup_gap/")
        and score.assessed
        and score.value > HARM
        and (math.isnan(score.low) or score.low > 0)
    ]
    return tuple(sorted(found, key=lambda s: -s.value))


def subgroup_lines(evaluation: Evaluation) -> tuple[str, ...]:
    """The harmed subgroups in words; empty where none is, or none was measured."""
    harmed = harmed_subgroups(evaluation)
    lines = [
        f"{score.name.split('/', 1)[1]}: loses {score_with_interval(score)}"
        for score in harmed[:MAX_NAMED]
    ]
    if len(harmed) > MAX_NAMED:
        lines.append(f"and {len(harmed) - MAX_NAMED} more, listed for the scientist")
    return tuple(lines)


def rule_lines(evaluation: Evaluation) -> tuple[str, ...]:
    """The rules that are broken more often than by real patients, worst first."""
    rules = [
        score
        for score in evaluation.scores
        if score.name.startswith("rule_violations/") and score.assessed and score.value > 0
    ]
    worst = sorted(rules, key=lambda s: -s.value)[:MAX_NAMED]
    return tuple(f"{s.title}: {s.note or f'{share(s.value)} more often'}" for s in worst)


def _value(score: Score | None) -> float:
    return math.nan if score is None else score.value


def _count(score: Score | None) -> str:
    return NONE if score is None else share(score.value)
