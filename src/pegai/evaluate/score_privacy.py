"""Scores of privacy: the membership panel and exact copies, over synthetic tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import clopper_pearson, combine, newcombe
from pegai.evaluate.measure import Measured, joined, mean, values_note
from pegai.evaluate.privacy.membership import (
    ATTACKS,
    FPRS,
    HEADLINE,
    MIN_PATIENTS,
    PanelTest,
    Targets,
    observed_statistics,
    panel_test,
    resampled_statistics,
    roc_curve,
)
from pegai.evaluate.scores import Score, mean_interval

ROC_GRID = np.unique(
    np.concatenate([np.logspace(-4, -1, 31), np.linspace(0, 0.1, 21), np.linspace(0, 1, 101)])
).round(6)


def privacy_scores(cache: RealBaselines, measured: Sequence[Measured]) -> tuple[Score, ...]:
    """Membership, then copies."""
    copies = (_copies(cache, measured), _excess(cache, measured))
    if cache.targets is None:
        note = (
            "not assessed: training and holdout need "
            f"{MIN_PATIENTS} patients each, for members and non-members"
        )
        names = ("membership_auc", *(tpr_name(f) for f in FPRS), "membership_p")
        empty = [
            Score(n, "privacy", "Membership inference", math.nan, better="half", n=0, note=note)
            for n in names
        ]
        return (*empty, *copies)
    panel = panel_test([m.attacks for m in measured], cache.targets.member, cache.streams)
    every = {name: _attack_scores(cache, cache.targets, measured, name, panel) for name in ATTACKS}
    headline = [_as_headline(score) for score in every[HEADLINE]]
    supported = _supported(cache, cache.targets, measured)
    singles = [score for scores in every.values() for score in scores]
    p_value = _p_value(panel, len(measured))
    return (*headline, supported, p_value, *singles, *copies)


def tpr_name(fpr: float) -> str:
    """The score name of a true positive rate: `membership_tpr_at_1pct`."""
    return f"membership_tpr_at_{fpr * 100:g}pct"


def _as_headline(score: Score) -> Score:
    return dataclasses.replace(score, name=score.name.rsplit("/", 1)[0])


def _attack_scores(
    cache: RealBaselines,
    targets: Targets,
    measured: Sequence[Measured],
    name: str,
    panel: PanelTest,
) -> list[Score]:
    """The area and the true positive rates of one attack."""
    assert cache.target_weights is not None  # noqa: S101
    values = np.array([observed_statistics(m.attacks[name], targets.member) for m in measured])
    draws = np.array(
        [resampled_statistics(m.attacks[name], cache.target_weights) for m in measured]
    )
    rng = cache.streams.child("combine/membership").get("split")
    low, high = combine(values[:, 0], draws[:, 0], rng, bounds=(0.0, 1.0))
    title = ATTACKS[name]
    found = [
        Score(
            f"membership_auc/{name}",
            "privacy",
            f"Membership inference: AUC, {title}",
            float(values[:, 0].mean()),
            low,
            high,
            0.5,
            "half",
            len(measured),
            tuple(values[:, 0].tolist()),
            values_note(len(measured)),
        )
    ]
    for i, fpr in enumerate(FPRS, start=1):
        score = _tpr_score(cache, targets, values[:, i], draws[:, i], fpr=fpr, attack=name)
        found.append(dataclasses.replace(score, baseline=panel.null_means[name, f"tpr_{fpr:g}"]))
    return found


def _tpr_score(
    cache: RealBaselines,
    targets: Targets,
    values: np.ndarray,
    draws: np.ndarray,
    *,
    fpr: float,
    attack: str,
) -> Score:
    name, title = (
        f"{tpr_name(fpr)}/{attack}",
        (
            f"Membership inference: true positive rate at {fpr * 100:g} % false positives, "
            f"{ATTACKS[attack]}"
        ),
    )
    needed = math.ceil(round(10 / fpr, 6))
    if targets.non_members < needed:
        supported = targets.supported_fpr()
        instead = f"the smallest rate supported is {supported * 100:g} %" if supported else ""
        note = joined(
            f"not assessed: {needed:,} non-members are needed, the holdout has "
            f"{targets.non_members:,} (observed {float(values.mean()):.4f}, used in membership_p)",
            instead,
        )
        return Score(name, "privacy", title, math.nan, better="lower", n=0, note=note)
    rng = cache.streams.child("combine/membership").get("split")
    low, high = _tpr_interval(targets, values, draws, rng)
    return Score(
        name,
        "privacy",
        title,
        float(values.mean()),
        low,
        high,
        better="lower",
        n=values.size,
        values=tuple(values.tolist()),
        note=values_note(values.size),
    )


def _tpr_interval(
    targets: Targets, values: np.ndarray, draws: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Two-way bootstrap, widened to Clopper-Pearson's, since no hits resample to no hits."""
    low, high = combine(values, draws, rng, bounds=(0.0, 1.0))
    least, most = clopper_pearson(float(values.mean()) * targets.members, targets.members)
    return min(low, least), max(high, most)


def _supported(cache: RealBaselines, targets: Targets, measured: Sequence[Measured]) -> Score:
    """The headline attack at the smallest false positive rate that the holdout supports."""
    assert cache.target_weights is not None  # noqa: S101
    fpr = targets.supported_fpr()
    title = "Membership inference: true positive rate at the smallest supported false positive rate"
    if fpr is None:
        note = f"not assessed: 100 non-members are needed, the holdout has {targets.non_members}"
        return Score(
            "membership_tpr_supported", "privacy", title, math.nan, better="lower", n=0, note=note
        )
    scores = [m.attacks[HEADLINE] for m in measured]
    values = np.array([observed_statistics(s, targets.member, (fpr,))[1] for s in scores])
    draws = np.array([resampled_statistics(s, cache.target_weights, (fpr,))[1] for s in scores])
    rng = cache.streams.child("combine/membership").get("split")
    low, high = _tpr_interval(targets, values, draws, rng)
    return Score(
        "membership_tpr_supported",
        "privacy",
        f"Membership inference: true positive rate at {fpr * 100:g} % false positives",
        float(values.mean()),
        low,
        high,
        fpr,
        "lower",
        values.size,
        tuple(values.tolist()),
        joined(f"at {fpr * 100:g} % false positives", values_note(values.size)),
    )


def _p_value(panel: PanelTest, tables: int) -> Score:
    return Score(
        "membership_p",
        "privacy",
        "Membership inference: p-value of the whole panel, exact by permutation",
        panel.p_value,
        baseline=0.5,
        better="higher",
        n=tables,
        note="small means that the synthetic data remember training patients; uniform between 0 "
        "and 1 if they don't, provided the holdout was drawn at random by patient",
    )


def _copies(cache: RealBaselines, measured: Sequence[Measured]) -> Score:
    values = [m.copies.train_rate for m in measured]
    patients = measured[0].copies.train.size
    low, high = _seeds_and(values, *clopper_pearson(mean(values) * patients, patients))
    rows = sum(m.copies.rows for m in measured)
    total = sum(m.copies.size for m in measured)
    return Score(
        "exact_copies",
        "privacy",
        "Training patients whose record stands verbatim in the synthetic data",
        mean(values),
        low,
        high,
        mean([m.copies.holdout_rate for m in measured]),
        "lower",
        len(values),
        tuple(values),
        joined(
            f"{rows:,} of {total:,} synthetic rows equal a training record; the baseline is the "
            "share of holdout patients found",
            values_note(len(values)),
        ),
    )


def _excess(cache: RealBaselines, measured: Sequence[Measured]) -> Score:
    values = [m.copies.excess for m in measured]
    sizes = measured[0].copies.train.size, measured[0].copies.holdout.size
    rates = (
        mean([m.copies.train_rate for m in measured]),
        mean([m.copies.holdout_rate for m in measured]),
    )
    patients = newcombe(rates[0] * sizes[0], sizes[0], rates[1] * sizes[1], sizes[1])
    low, high = _seeds_and(values, *patients)
    return Score(
        "exact_copies_excess",
        "privacy",
        "Verbatim records: training patients minus holdout patients",
        mean(values),
        low,
        high,
        0.0,
        "lower",
        len(values),
        tuple(values),
        values_note(len(values)),
    )


def _seeds_and(values: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Widen an interval over patients by Student's over the seeds (square and add)."""
    centre, least, most = mean_interval(list(values))
    if math.isnan(least):
        return low, high
    down = math.hypot(centre - low, centre - least)
    return max(-1.0 if low < 0 else 0.0, centre - down), min(
        1.0, centre + math.hypot(high - centre, most - centre)
    )


def privacy_plots(
    cache: RealBaselines, measured: Sequence[Measured], area: Score | None
) -> dict[str, Any]:
    """`roc` of the headline attack, the mean of strict step curves over synthetic tables."""
    if cache.targets is None or area is None or not area.assessed:
        return {"roc": None}
    member = cache.targets.member
    curves = [roc_curve(m.attacks[HEADLINE], member, ROC_GRID) for m in measured]
    return {
        "roc": {
            "attack": HEADLINE,
            "title": ATTACKS[HEADLINE],
            "fpr": ROC_GRID.tolist(),
            "tpr": np.mean(curves, axis=0).round(6).tolist(),
            "auc": area.value,
            "low": area.low,
            "high": area.high,
            "members": cache.targets.members,
            "non_members": cache.targets.non_members,
        }
    }
