"""Scores of utility: every learner and metric, beside models trained on real patients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import combine
from pegai.evaluate.measure import Measured, joined, mean, values_note
from pegai.evaluate.scores import Score
from pegai.evaluate.utility.learners import HEADLINE
from pegai.evaluate.utility.metrics import MIN_CLASS_ROWS, by_class
from pegai.evaluate.utility.tstr import Target, Task, Utility

_BOUNDS = {"r2": (-math.inf, 1.0), "mae": (0.0, math.inf)}


def utility_scores(cache: RealBaselines, measured: Sequence[Measured]) -> tuple[Score, ...]:
    """The headline, the drop from real, then every metric of every learner."""
    if cache.task is None or cache.utility is None:
        return (_not_assessed("auc", cache.utility_note), _drop_not_assessed(cache.utility_note))
    task, target = cache.task, cache.task.target
    found = [m.utility for m in measured if m.utility is not None]
    every = [
        _score(cache, found, learner, metric)
        for metric in target.metrics
        for learner in target.learners
    ]
    best = next(s for s in every if s.name == f"tstr_{_main(target)}/{HEADLINE}")
    headline = dataclasses.replace(
        best,
        name=f"tstr_{_main(target)}",
        title=f"{best.title}; predicts {target.title}",
    )
    if not target.is_class:
        reason = f"not assessed: the target {target.name!r} is a number, see tstr_r2"
        first = (headline, _not_assessed("auc", reason), _drop_not_assessed(reason))
        return (*first, *every)
    return (headline, _drop(cache, task, found), *every)


def _main(target: Target) -> str:
    return "auc" if target.is_class else "r2"


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


def utility_plots(cache: RealBaselines, measured: Sequence[Measured]) -> dict[str, Any]:
    """`tstr`, `confusion` and `report`; the last two are None without classes."""
    if cache.task is None or cache.utility is None:
        return {"tstr": [], "confusion": None, "report": None}
    target = cache.task.target
    found = [m.utility for m in measured if m.utility is not None]
    rows = []
    for learner, title in target.learners.items():
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
        return {"tstr": rows, "confusion": None, "report": None}
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
