"""Calibration: whether the risks that a model gives come true among real patients.

Slope and intercept are those of logistic recalibration (Cox 1958; Van Calster et al. 2019): the
outcome is regressed on the logit of the risk. A slope below 1 is a model whose risks are too
extreme; the intercept (calibration in the large, the slope held at 1) is above 0 where risks are
too low on average. The Brier score is the mean squared error of the risk (Brier 1950).

With two classes the risk is that of the second one. With more, all pairs of a patient and a class
count, each class against the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.intervals import wilson

MIN_CLASS_ROWS = 10
"""Patients with and without the outcome that slope and intercept need."""

RESAMPLES = 200
_EDGE = 1e-4  # risks are kept this far from 0 and 1: a certain model has no logit
_STEPS = 15
_STEEPEST = 50.0

FIGURES = {
    "brier": "Brier score of its risks",
    "calibration_slope": "calibration slope of its risks (1 is ideal)",
    "calibration_intercept": "calibration in the large of its risks, in logits (0 is ideal)",
}
"""Names and titles of the figures."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How a model's risks compare with what happened.

    Attributes:
        risks: Shape (rows, classes or 1).
        happened: 0 or 1, same shape.
        figures: Name of `FIGURES` to the figure, then its resamples; shape (1 + resamples,).
    """

    risks: np.ndarray
    happened: np.ndarray
    figures: dict[str, np.ndarray]


def calibration(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Calibration:
    """Brier score, slope and intercept on the holdout and on its resamples.

    Args:
        scores: Risks of each class; shape (rows, classes).
        truth: Class codes; shape (rows,).
        weights: Patient resamples; shape (resamples, rows). The first 200 are used.
    """
    classes = np.arange(scores.shape[1]) if scores.shape[1] > 2 else np.array([1])
    risks = scores[:, classes]
    happened = (truth[:, None] == classes).astype(np.float64)
    weights = np.vstack([np.ones((1, truth.size)), weights[:RESAMPLES]])
    error = ((risks - happened) ** 2).mean(axis=1)
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        brier = np.where(total > 0, weights @ error / total, np.nan)
    slope, intercept = _recalibration(risks.ravel(), happened.ravel(), weights, classes.size)
    return Calibration(
        risks,
        happened,
        {"brier": brier, "calibration_slope": slope, "calibration_intercept": intercept},
    )


def _recalibration(
    risks: np.ndarray, happened: np.ndarray, weights: np.ndarray, repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """Slope, and intercept with slope 1; NaN where outcomes are too few or are separated."""
    nothing = np.full(weights.shape[0], np.nan)
    if min(happened.sum(), (1 - happened).sum()) < MIN_CLASS_ROWS:
        return nothing, nothing
    weights = np.repeat(weights, repeats, axis=1)
    clipped = np.clip(risks, _EDGE, 1 - _EDGE)
    # Risks within a hundredth of a logit count as one, so that resamples cost next to nothing.
    logits, place = np.unique(np.round(np.log(clipped / (1 - clipped)), 2), return_inverse=True)
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], np.arange(logits.size))
    grouped = np.add.reduceat(weights[:, order], first, axis=1)
    outcome = np.add.reduceat((weights * happened)[:, order], first, axis=1)
    return _slope(logits, grouped, outcome), _intercept(logits, grouped, outcome)


def _slope(logits: np.ndarray, weights: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    if np.ptp(logits) < 1e-9:
        return np.full(weights.shape[0], np.nan)
    # From a slope of 0 Newton's steps don't overshoot; in standard deviations they are alike.
    level, slope, spreading = np.zeros(weights.shape[0]), np.zeros(weights.shape[0]), logits.std()
    logits = logits / spreading
    squared = logits**2
    move = np.zeros((2, weights.shape[0]))
    for _ in range(_STEPS):
        risk = _sigmoid(level[:, None] + slope[:, None] * logits)
        gap, spread = outcome - weights * risk, weights * risk * (1 - risk)
        a, b, c = spread.sum(axis=1), spread @ logits, spread @ squared
        u, v = gap.sum(axis=1), gap @ logits
        determinant = np.maximum(a * c - b * b, 1e-12)
        move = np.clip([(c * u - b * v) / determinant, (a * v - b * u) / determinant], -2, 2)
        level, slope = level + move[0], slope + move[1]
        if np.abs(move).max() < 1e-8:
            break
    slope = slope / spreading
    lost = (np.abs(move).max(axis=0) > 1e-3) | (np.abs(slope) > _STEEPEST)
    return np.where(lost, np.nan, slope)


def _intercept(logits: np.ndarray, weights: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    level = np.zeros(weights.shape[0])
    move = level
    for _ in range(_STEPS):
        risk = _sigmoid(level[:, None] + logits)
        spread = np.maximum((weights * risk * (1 - risk)).sum(axis=1), 1e-12)
        move = np.clip((outcome - weights * risk).sum(axis=1) / spread, -2, 2)
        level = level + move
        if np.abs(move).max() < 1e-8:
            break
    return np.where(np.abs(move) > 1e-3, np.nan, level)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def reliability(found: list[Calibration], bins: int = 10) -> list[dict[str, float]]:
    """Points of a reliability curve: mean risk and observed share of groups of like risk.

    Args:
        found: The calibrations of one learner, one a table; their risks are pooled.
        bins: Groups, of about equal size; risks that are equal stay together.

    Returns:
        `risk`, `observed`, `low` and `high` (Wilson, by the patients of one table) and `n`.
    """
    if not found:
        return []
    risks = np.concatenate([c.risks.ravel() for c in found])
    happened = np.concatenate([c.happened.ravel() for c in found])
    edges = np.unique(np.quantile(risks, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    group = np.searchsorted(edges, risks, side="left")
    points: list[dict[str, float]] = []
    for k in np.unique(group):
        inside = group == k
        share, n = float(happened[inside].mean()), max(1, round(inside.sum() / len(found)))
        low, high = wilson(share * n, n)
        points.append(
            {
                "risk": float(risks[inside].mean()),
                "observed": share,
                "low": low,
                "high": high,
                "n": float(n),
            }
        )
    return points
