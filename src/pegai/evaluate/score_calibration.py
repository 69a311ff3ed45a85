"""Scores of calibration: whether risks from models of synthetic patients come true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import combine
from pegai.evaluate.scores import Score, joined, mean, values_note
from pegai.evaluate.utility.calibration import FIGURES, MIN_CLASS_ROWS, Calibration, reliability
from pegai.evaluate.utility.learners import HEADLINE, LINEAR
from pegai.evaluate.utility.tstr import Task, Utility

_BOUNDS = {"brier": (0.0, 1.0)}


def calibration_scores(
    cache: RealBaselines, task: Task, found: Sequence[Utility]
) -> tuple[Score, ...]:
    """`brier`, `calibration_slope`, `calibration_intercept`, and the same of the plain model.

    The headline's figures have bare names, those of logistic regression a name with the learner.
    """
    if not task.target.is_class:
        note = f"not assessed: the target {task.target.name!r} is a number and has no risks"
        title = f"Train on synthetic, test on real: {FIGURES['brier']}"
        return (Score("brier", "utility", title, math.nan, better="lower", n=0, note=note),)
    return tuple(
        _score(cache, found, learner, figure) for learner in _calibrated(task) for figure in FIGURES
    )


def _calibrated(task: Task) -> list[str]:
    return [name for name in (HEADLINE, *LINEAR) if name in task.learners]


def _score(cache: RealBaselines, found: Sequence[Utility], learner: str, figure: str) -> Score:
    assert cache.task is not None and cache.utility is not None  # noqa: S101
    tables = [u.calibration[learner].figures[figure] for u in found if learner in u.calibration]
    values = [float(table[0]) for table in tables]
    low = high = math.nan
    if tables:
        rng = cache.streams.child("combine/calibration").get("split")
        resampled = np.array([table[1:] for table in tables])
        bounds = _BOUNDS.get(figure, (-math.inf, math.inf))
        low, high = combine(np.array(values), resampled, rng, bounds=bounds)
    real = cache.utility.calibration.get(learner)
    value = mean(values)
    return Score(
        figure if learner == HEADLINE else f"{figure}/{learner}",
        "utility",
        f"Train on synthetic, test on real: {FIGURES[figure]}, "
        f"{cache.task.target.learners[learner].lower()}",
        value,
        low,
        high,
        float(real.figures[figure][0]) if real is not None else math.nan,
        "lower" if figure == "brier" else "higher",
        len(values),
        tuple(values),
        joined(_why_not(found, learner) if math.isnan(value) else values_note(len(values))),
    )


def _why_not(found: Sequence[Utility], learner: str) -> str:
    if not any(learner in u.calibration for u in found):
        return "not assessed: a model without every class gives no risks"
    return (
        f"not assessed: fewer than {MIN_CLASS_ROWS} holdout rows of a class, risks that are all "
        "equal, or that separate the classes"
    )


def reliability_plots(task: Task, real: Utility, found: Sequence[Utility]) -> list[dict[str, Any]]:
    """Reliability curves: `classifier`, `title`, and points of `real` and `synthetic` models."""

    def of(tables: Sequence[Utility], learner: str) -> list[Calibration]:
        return [u.calibration[learner] for u in tables if learner in u.calibration]

    return [
        {
            "classifier": learner,
            "title": task.target.learners[learner],
            "real": reliability(of([real], learner)),
            "synthetic": reliability(of(found, learner)),
        }
        for learner in _calibrated(task)
    ]
