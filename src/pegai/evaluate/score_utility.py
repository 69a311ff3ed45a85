"""Scores of utility: every learner and metric, beside models trained on real patients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import combine
from pegai.evaluate.measure import Measured
from pegai.evaluate.score_calibration import calibration_scores, reliability_plots
from pegai.evaluate.scores import Better, Score, joined, mean, values_note
from pegai.evaluate.utility.importance import kendall_tau
from pegai.evaluate.utility.learners import HEADLINE
from pegai.evaluate.utility.metrics import MIN_CLASS_ROWS, by_class
from pegai.evaluate.utility.tstr import RESAMPLES, Figure, Task, Utility, real_on_synthetic

MIN_RANKED = 4
"""Learners below which their order says nothing."""

_BOUNDS = {"r2": (-math.inf, 1.0), "mae": (0.0, math.inf)}


def utility_scores(cache: RealBaselines, measured: Sequence[Measured]) -> tuple[Score, ...]:
    """The headline, the drop from real, every metric of every learner, and the other ways round.

    These are: real models tested on synthetic rows (`trts_auc`, and of each learner), what a user
    of the synthetic table measures on rows kept back (`tsts_auc`) and how much it is too rosy
    (`tsts_gap`), calibration, and whether learners rank as among models of real patients.
    """
    if cache.task is None or cache.utility is None:
        return (_not_assessed("auc", cache.utility_note), _drop_not_assessed(cache.utility_note))
    task, target = cache.task, cache.task.target
    found = [m.utility for m in measured if m.utility is not None]
    every = [
        _score(cache, found, learner, metric)
        for metric in target.metrics
        for learner in task.learners
    ]
    best = next(s for s in every if s.name == f"tstr_{target.main}/{HEADLINE}")
    headline = dataclasses.replace(
        best,
        name=f"tstr_{target.main}",
        title=f"{best.title}; predicts {target.title}",
    )
    others = (
        *_real_on_synthetic(cache, task, measured),
        *_own(cache, task, found),
        *calibration_scores(cache, task, found),
        _ranking(cache, task, found),
    )
    if not target.is_class:
        reason = f"not assessed: the target {target.name!r} is a number, see tstr_r2"
        first = (headline, _not_assessed("auc", reason), _drop_not_assessed(reason))
        return (*first, *every, *others)
    return (headline, _drop(cache, task, found), *every, *others)


def _not_assessed(metric: str, note: str) -> Score:
    title = "Train on synthetic, test on real: AUC, gradient boosting"
    return Score(f"tstr_{metric}", "utility", title, math.nan, n=0, note=note)


def _drop_not_assessed(note: str) -> Score:
    return Score("tstr_auc_drop", "utility", _DROP_TITLE, math.nan, better="lower", n=0, note=note)


_DROP_TITLE = "Loss of AUC from training on synthetic rather than real patients"


def _score(cache: RealBaselines, found: Sequence[Utility], learner: str, metric: str) -> Score:
    assert cache.task is not None and cache.utility is not None  # noqa: S101
    target = cache.task.target
    values = [u.values[learner][metric] for u in found]
    resampled = np.array([u.resampled[learner][metric] for u in found])
    rng = cache.streams.child("combine/utility").get("split")
    low, high = combine(np.array(values), resampled, rng, bounds=_BOUNDS.get(metric, (0.0, 1.0)))
    few = _few_rows(cache.utility) if metric == "auc" else ""
    return Score(
        f"tstr_{metric}/{learner}",
        "utility",
        f"Train on synthetic, test on real: {target.metrics[metric]}, "
        f"{target.learners[learner].lower()}",
        mean(values),
        low,
        high,
        cache.utility.values[learner][metric],
        "lower" if metric == "mae" else "higher",
        len(values),
        tuple(values),
        joined(few, *(u.note for u in found), values_note(len(values))),
    )


def _drop(cache: RealBaselines, task: Task, found: Sequence[Utility]) -> Score:
    """Paired over patients: both models are tested on the same resamples."""
    assert cache.utility is not None  # noqa: S101
    real = cache.utility
    values = [real.values[HEADLINE]["auc"] - u.values[HEADLINE]["auc"] for u in found]
    resampled = np.array(
        [real.resampled[HEADLINE]["auc"] - u.resampled[HEADLINE]["auc"] for u in found]
    )
    rng = cache.streams.child("combine/utility").get("split")
    low, high = combine(np.array(values), resampled, rng, bounds=(-1.0, 1.0))
    return Score(
        "tstr_auc_drop",
        "utility",
        _DROP_TITLE,
        mean(values),
        low,
        high,
        0.0 if not math.isnan(real.values[HEADLINE]["auc"]) else math.nan,
        "lower",
        len(values),
        tuple(values),
        joined(_few_rows(real), *(u.note for u in found), values_note(len(values))),
    )


def _few_rows(real: Utility) -> str:
    if not math.isnan(real.values[HEADLINE]["auc"]):
        return ""
    return f"not assessed: the holdout has fewer than {MIN_CLASS_ROWS} rows of a class"


def _real_on_synthetic(
    cache: RealBaselines, task: Task, measured: Sequence[Measured]
) -> tuple[Score, ...]:
    """The models of real patients on synthetic rows, beside themselves on the holdout."""
    real, metric = cache.utility, task.target.main
    assert real is not None  # noqa: S101
    tables = [
        (m.utility.on_synthetic if m.utility is not None else {})
        or real_on_synthetic(task, real, m.encoded)
        for m in measured
    ]
    scores: list[Score] = []
    for learner, title in task.learners.items():
        found = [table[learner] for table in tables if learner in table]
        score = _of_figures(
            cache,
            f"trts_{metric}/{learner}",
            f"Train on real, test on synthetic: {task.target.metrics[metric]}, {title.lower()}",
            found,
            real.values[learner][metric],
        )
        if learner == HEADLINE:
            scores.insert(0, dataclasses.replace(score, name=f"trts_{metric}"))
        scores.append(score)
    return tuple(scores)


def _own(cache: RealBaselines, task: Task, found: Sequence[Utility]) -> tuple[Score, ...]:
    """What an analyst measures who has synthetic rows only, and the gap to the truth."""
    real, metric, title = cache.utility, task.target.main, task.target.metrics[task.target.main]
    assert real is not None  # noqa: S101
    own = [u.own for u in found if u.own is not None]
    alone = _of_figures(
        cache,
        f"tsts_{metric}",
        f"Train and test on synthetic: {title}, gradient boosting",
        own,
        math.nan if real.own is None else real.own.value,
    )
    gaps = [
        Figure(
            u.own.value - u.values[HEADLINE][metric],
            u.own.resampled - u.resampled[HEADLINE][metric],
        )
        for u in found
        if u.own is not None
    ]
    gap = _of_figures(
        cache,
        "tsts_gap",
        "Optimism of testing on synthetic rather than real patients (0 is ideal)",
        gaps,
        math.nan if real.own is None else real.own.value - real.values[HEADLINE][metric],
        better="lower",
        bounds=(-math.inf, math.inf),
    )
    return alone, gap


def _of_figures(
    cache: RealBaselines,
    name: str,
    title: str,
    found: Sequence[Figure],
    baseline: float,
    *,
    better: Better = "higher",
    bounds: tuple[float, float] | None = None,
) -> Score:
    values = [figure.value for figure in found]
    rng = cache.streams.child("combine/utility").get("split")
    limits = bounds or _BOUNDS.get("r2" if "_r2" in name else "auc", (0.0, 1.0))
    low = high = math.nan
    if found:
        resampled = np.array([figure.resampled for figure in found])
        low, high = combine(np.array(values), resampled, rng, bounds=limits)
    value = mean(values)
    few = "not assessed: too few synthetic rows, or rows of a class, to test on"
    return Score(
        name,
        "utility",
        title,
        value,
        low,
        high,
        baseline,
        better,
        len(values),
        tuple(values),
        few if math.isnan(value) else values_note(len(values)),
    )


def _ranking(cache: RealBaselines, task: Task, found: Sequence[Utility]) -> Score:
    """Whether learners come in the same order; the real order against its own resamples."""
    title = "Agreement on which learner is best (Kendall's tau, synthetic against real)"
    real, metric = cache.utility, task.target.main
    assert real is not None  # noqa: S101
    if len(task.learners) < MIN_RANKED:
        note = f"not assessed: {len(task.learners)} learners, {MIN_RANKED} are ranked"
        return Score("learner_ranking", "utility", title, math.nan, n=0, note=note)

    def ranks(table: Utility) -> tuple[np.ndarray, np.ndarray]:
        whole = np.array([[table.values[name][metric] for name in task.learners]])
        again = [table.resampled[name][metric][:RESAMPLES] for name in task.learners]
        return whole, np.array(again).T

    truth, truth_resampled = ranks(real)
    values: list[float] = []
    resampled: list[np.ndarray] = []
    for table in found:
        whole, again = ranks(table)
        values.append(float(kendall_tau(truth, whole)[0]))
        resampled.append(kendall_tau(truth_resampled, again))
    rng = cache.streams.child("combine/utility").get("split")
    low, high = combine(np.array(values), np.array(resampled), rng, bounds=(-1.0, 1.0))
    itself = kendall_tau(np.repeat(truth, truth_resampled.shape[0], axis=0), truth_resampled)
    value = mean(values)
    return Score(
        "learner_ranking",
        "utility",
        title,
        value,
        low,
        high,
        mean(itself.tolist()),
        "higher",
        len(values),
        tuple(values),
        "not assessed: too few rows, or all learners are alike"
        if math.isnan(value)
        else values_note(len(values)),
    )


def utility_plots(cache: RealBaselines, measured: Sequence[Measured]) -> dict[str, Any]:
    """`tstr`, `confusion`, `report` and `reliability`; the last three are None without classes."""
    if cache.task is None or cache.utility is None:
        return {"tstr": [], "confusion": None, "report": None, "reliability": None}
    target = cache.task.target
    found = [m.utility for m in measured if m.utility is not None]
    rows = []
    for learner, title in cache.task.learners.items():
        metrics: dict[str, dict[str, float]] = {}
        for metric in target.metrics:
            score = _score(cache, found, learner, metric)
            metrics[metric] = {
                "synthetic": score.value,
                "low": score.low,
                "high": score.high,
                "real": score.baseline,
            }
        rows.append({"classifier": learner, "title": title, "metrics": metrics})
    if not target.is_class:
        return {"tstr": rows, "confusion": None, "report": None, "reliability": None}
    real = cache.utility.confusions[HEADLINE]
    synthetic = np.mean([u.confusions[HEADLINE] for u in found], axis=0)
    labels = list(target.labels)
    return {
        "tstr": rows,
        "confusion": {
            "classifier": HEADLINE,
            "title": target.learners[HEADLINE],
            "target": target.title,
            "labels": labels,
            "synthetic": np.round(synthetic, 2).tolist(),
            "real": np.round(real, 2).tolist(),
        },
        "report": {
            "real": classification_report(real, labels),
            "synthetic": classification_report(synthetic, labels),
        },
        "reliability": reliability_plots(cache.task, cache.utility, found),
    }


def classification_report(table: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, then their plain and weighted means.

    Args:
        table: Confusion matrix, truth by prediction.
        labels: The classes' names.
    """
    precision, recall, f1, support = (v[0] for v in by_class(table[None]))
    rows = [
        {
            "label": label,
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": float(support[i]),
        }
        for i, label in enumerate(labels)
    ]
    total = float(support.sum())
    for label, weights in (("mean", (support > 0) * 1.0), ("weighted mean", support)):
        share = weights / max(1e-12, weights.sum())
        rows.append(
            {
                "label": label,
                "precision": float(precision @ share),
                "recall": float(recall @ share),
                "f1": float(f1 @ share),
                "support": total,
            }
        )
    return rows
