"""From content to what the page's templates show: the banner, its checks, the candidates.

A template makes no decision: it gets titles, cells and pictures in the order they are shown.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass

from pegai.errors import PrivacyError
from pegai.evaluate.scores import Evaluation, Score
from pegai.privacy.explain import explain
from pegai.privacy.guarantee import Guarantee
from pegai.report.content import Candidate, Content, plain
from pegai.report.numbers import (
    NONE,
    duration,
    figure,
    is_share,
    score_interval,
    score_text,
    score_with_interval,
    share,
    significant,
    why_not,
)
from pegai.report.tables import Grid, Text
from pegai.report.verdict import Verdict

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """One key figure of the banner."""

    label: str
    value: str
    below: str


def key_figures(candidate: Candidate) -> tuple[Tile, ...]:
    """The four figures of the banner."""
    evaluation = candidate.evaluation
    attack, utility = evaluation.get("membership_auc"), evaluation.get("tstr_auc")
    real = math.nan if utility is None else utility.baseline
    return (
        guarantee_tile(candidate),
        Tile("Attack AUC", score_text(attack), _below(attack, "chance 0.5")),
        Tile("Usefulness (TSTR AUC)", score_text(utility), _below(utility, f"real {figure(real)}")),
        _realism_tile(evaluation),
    )


def _realism_tile(evaluation: Evaluation) -> Tile:
    """As good as how many real patients; without that, how well they are told apart."""
    sample, patients = evaluation.get("equivalent_sample"), evaluation.get("equivalent_patients")
    if patients is not None and patients.assessed:
        below = "no share" if sample is None or not sample.assessed else score_with_interval(sample)
        label = "As good as a real sample of"
        return Tile(label, f"{patients.value:,.0f}", f"patients\n{below} of those learnt from")
    detection = evaluation.get("detection_auc")
    return Tile("Told apart (C2ST AUC)", score_text(detection), _below(detection, "ideal 0.5"))


def sample_sentence(evaluation: Evaluation) -> str:
    """The headline of usefulness that needs no statistics."""
    patients, rows = evaluation.get("equivalent_patients"), evaluation.rows.get("train", 0)
    if patients is None or not patients.assessed:
        return (
            "Each answer names the figure it rests on; the figure in brackets is its 95 % interval."
        )
    return (
        f"In tables of a few columns the synthetic data are as exact as a real sample of "
        f"{patients.value:,.0f} patients"
        + (f" (learnt from {rows:,} rows)." if rows else ".")
        + " Each answer names the figure it rests on, with its 95 % interval."
    )


def absent(evaluation: Evaluation, name: str, fine: str) -> str:
    """What stands where nothing is listed: that nothing was found, or that nothing was measured."""
    score = evaluation.get(name)
    if score is not None and score.assessed:
        return fine
    return f"{NONE.capitalize()}. {why_not(score)}".strip()


def explained(guarantee: Guarantee | None) -> tuple[str, ...]:
    """The guarantee for people who decide; nothing where there is none."""
    if guarantee is None or guarantee.audit_only:
        return ()
    try:
        found = explain(guarantee.epsilon, guarantee.delta, unit=guarantee.unit)
    except PrivacyError:  # out of the range that means anything
        return ()
    return tuple(found.in_words())


def guarantee_tile(candidate: Candidate) -> Tile:
    """The guarantee as a key figure."""
    guarantee = candidate.guarantee
    if guarantee is None:
        if candidate.heuristic:
            return Tile("Guarantee", "none", "heuristic noise only:\nno formal guarantee")
        return Tile("Guarantee", "none", "no differential privacy")
    if guarantee.audit_only:
        return Tile("Guarantee", "none", "made for an audit only")
    below = f"δ = {significant(guarantee.delta)}, per {guarantee.unit}"
    return Tile("Guarantee", f"ε = {significant(guarantee.epsilon)}", below)


def _below(score: Score | None, reference: str) -> str:
    if score is None or not score.assessed:
        return "no evidence, not a pass"
    between = score_interval(score)
    return f"{between}\n{reference}" if between else f"no interval\n{reference}"


def attack_facts(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The figures of the attack, beside its curve."""
    names = (
        ("AUC", "membership_auc"),
        ("Hits at 1 % false alarms", "membership_tpr_at_1pct"),
        ("Hits at 0.1 % false alarms", "membership_tpr_at_0.1pct"),
        ("Permutation p", "membership_p"),
        ("Exact copies", "exact_copies"),
    )
    return tuple((title, score_with_interval(evaluation.get(name))) for title, name in names)


def gate_grid(verdict: Verdict) -> Grid:
    """Every check of the policy with its rule and result."""
    rows = tuple(
        (
            Text(gate.title, gate.rule),
            Text(gate.value, gate.reason),
            Text(gate.status, kind=f"status-{gate.status.replace(' ', '-')}"),
        )
        for gate in verdict.gates
    )
    return Grid(f"Checks of policy {verdict.policy}", ("Check and rule", "Found", "Result"), rows)


def candidate_grid(content: Content) -> Grid:
    """The candidates side by side."""
    heads = (
        "Candidate", "ε", "Usefulness (TSTR AUC)", "Told apart (C2ST)", "Pair trends",
        "Attack AUC", "Exact copies", "Policy",
    )  # fmt: skip
    rows = tuple(
        _candidate_row(candidate, verdict)
        for candidate, verdict in zip(content.candidates, content.verdicts, strict=True)
    )
    return Grid("Candidates side by side", heads, rows, marked=content.subject_index)


def _candidate_row(candidate: Candidate, verdict: Verdict) -> tuple[Text, ...]:
    evaluation = candidate.evaluation
    guarantee = candidate.guarantee
    formal = guarantee is not None and not guarantee.audit_only
    slug = verdict.decision.replace(" ", "-").lower()
    about = (
        [candidate.method]
        if math.isnan(candidate.seconds)
        else [f"{candidate.method}, {duration(candidate.seconds)}"]
    )
    about += ["for release"] if candidate.released else []
    epsilon = significant(candidate.epsilon) if formal else "none"
    delta = f"δ = {significant(guarantee.delta)}" if guarantee and formal else "no formal guarantee"
    if candidate.heuristic and not formal:
        delta = "heuristic noise,\nno formal guarantee"
    return (
        Text(candidate.title, "\n".join(about)),
        Text(epsilon, delta, "number"),
        _against(evaluation.get("tstr_auc"), "real"),
        _against(evaluation.get("detection_auc"), "real"),
        _against(evaluation.get("pair_trends"), "real"),
        _against(evaluation.get("membership_auc"), ""),
        _against(evaluation.get("exact_copies"), "holdout"),
        Text(verdict.decision.lower(), kind=f"decision-{slug}"),
    )


def _against(score: Score | None, word: str) -> Text:
    if score is None or not score.assessed:
        return Text(NONE, kind="number missing")
    below = score_interval(score)
    if word and not math.isnan(score.baseline):
        show = share if is_share(score.name) else figure
        reference = f"{word} {show(score.baseline)}"
        below = f"{below}\n{reference}" if below else reference
    return Text(score_text(score), below, "number")


def when(moment: str) -> str:
    """An ISO 8601 moment for people; any other text as it is."""
    try:
        read = dt.datetime.fromisoformat(moment)
    except ValueError:
        return moment
    zone = read.tzname() or ""
    return f"{read.day} {MONTHS[read.month - 1]} {read:%Y, %H:%M} {zone}".strip()


def guarantee_json(candidate: Candidate) -> str:
    """The guarantee as indented JSON, or nothing."""
    if candidate.guarantee is None:
        return ""
    return json.dumps(plain(candidate.guarantee.to_dict()), indent=2, ensure_ascii=False)
