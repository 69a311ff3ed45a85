"""Scores of survival: Kaplan-Meier curves and restricted mean survival times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from pegai.evaluate.features import Encoded
from pegai.evaluate.score_coefficients import jackknife_score
from pegai.evaluate.scores import Score, joined, values_note
from pegai.evaluate.utility.models import FollowUp
from pegai.evaluate.utility.survival import (
    Curve,
    curve_distance,
    horizon,
    kaplan_meier,
    restricted_mean,
)

MIN_EVENTS = 5
MIN_ROWS = 20
GRID = 101
_TITLE = "Mean distance of Kaplan-Meier curves up to the horizon"


@dataclass(frozen=True, eq=False)
class RealSurvival:
    """The curves of real patients.

    Attributes:
        follow_up: Time and event; None where there are none.
        note: Why not.
        until: The horizon, in the coding's units.
        holdout: The reference.
        left_out: The same without each group of its patients.
        train: The baseline.
    """

    follow_up: FollowUp | None
    note: str
    until: float = math.nan
    holdout: Curve | None = None
    left_out: tuple[Curve, ...] = ()
    train: Curve | None = None


def fit_survival(
    follow_up: FollowUp | None, note: str, train: Encoded, holdout: Encoded, groups: np.ndarray
) -> RealSurvival:
    """The curves of the holdout, of the holdout without each group, and of the training table."""
    if follow_up is None:
        return RealSurvival(None, note)
    rows, time, event = follow_up.of(holdout)
    _, train_time, train_event = follow_up.of(train)
    until = min(horizon(time), horizon(train_time))  # a NaN is caught below
    inside = min((event[time < until]).sum(), (train_event[train_time < until]).sum())
    if min(time.size, train_time.size) < MIN_ROWS or inside < MIN_EVENTS or not until > 0:
        few = f"{MIN_ROWS} patients and {MIN_EVENTS} events are needed in each real table"
        return RealSurvival(None, f"not assessed: {few}")
    left_out = tuple(
        kaplan_meier(time[groups[rows] != group], event[groups[rows] != group])
        for group in np.unique(groups[rows])
    )
    curves = kaplan_meier(time, event), kaplan_meier(train_time, train_event)
    return RealSurvival(follow_up, "", until, curves[0], left_out, curves[1])


def measure_survival(real: RealSurvival, synthetic: Encoded) -> Curve | None:
    """The curve of a synthetic table; None where it has nothing to show."""
    if real.follow_up is None:
        return None
    _, time, event = real.follow_up.of(synthetic)
    return kaplan_meier(time, event) if time.size >= MIN_ROWS else None


def survival_scores(real: RealSurvival, found: Sequence[Curve | None]) -> tuple[Score, ...]:
    """`survival_distance` and `rmst_difference`, or the first with the reason why not."""
    if real.follow_up is None or real.holdout is None or real.train is None:
        note = real.note
        return (
            Score("survival_distance", "utility", _TITLE, math.nan, better="lower", n=0, note=note),
        )
    curves = [curve for curve in found if curve is not None]
    few = "" if curves else f"not assessed: fewer than {MIN_ROWS} synthetic rows have a time"
    values = [curve_distance(real.holdout, curve, real.until) for curve in curves]
    left_out = np.array(
        [[curve_distance(part, curve, real.until) for part in real.left_out] for curve in curves]
    ).reshape(len(curves), len(real.left_out))
    baseline = curve_distance(real.holdout, real.train, real.until)
    distance = jackknife_score(
        "survival_distance",
        _TITLE,
        values or [math.nan],
        left_out if curves else np.zeros((1, 0)),
        baseline=baseline,
        better="lower",
        note=few,
    )
    return distance, _restricted(real, curves, few)


def _restricted(real: RealSurvival, curves: Sequence[Curve], few: str) -> Score:
    """Absolute difference of restricted mean survival times, as a share of the horizon."""
    assert real.follow_up is not None  # noqa: S101
    assert real.holdout is not None and real.train is not None  # noqa: S101
    until = real.until
    reference, variance = restricted_mean(real.holdout, until)
    means = [restricted_mean(curve, until) for curve in curves]
    signed = np.array([(value - reference) / until for value, _ in means])
    low = high = math.nan
    note = few
    if curves:
        seeds = [v for _, v in means]
        low, high = _interval(signed, variance / until**2, float(np.mean(seeds)) / until**2)
        text = f"{signed.mean():+.3f} of the horizon (95 % interval {low:+.3f} to {high:+.3f})"
        note = joined(f"signed: {text}", values_note(len(curves)))
        low, high = (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(-low, high)
    size = abs(float(signed.mean())) if curves else math.nan
    return Score(
        "rmst_difference",
        "utility",
        "Difference of restricted mean survival times, as a share of the horizon",
        size,
        low,
        high,
        abs(restricted_mean(real.train, until)[0] - reference) / until,
        "lower",
        len(curves),
        tuple(abs(signed).tolist()),
        note,
    )


def _interval(signed: np.ndarray, real: float, synthetic: float) -> tuple[float, float]:
    """Of the mean difference: the holdout's variance, and that of the tables over seeds.

    One table has Greenwood's variance of its own; several show it by themselves, with few degrees
    of freedom (Satterthwaite's approximation).
    """
    tables = signed.size
    between = float(signed.var(ddof=1)) / tables if tables > 1 else synthetic
    total = real + between
    freedom = math.inf
    if tables > 1 and between > 0:
        freedom = total**2 / (between**2 / (tables - 1))
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)
    return float(signed.mean()) - half, float(signed.mean()) + half


def survival_plot(real: RealSurvival, found: Sequence[Curve | None]) -> dict[str, Any] | None:
    """Curves on a grid of times in the column's unit; None without them.

    Returns:
        `time` and `event` (columns), `title`, `horizon`, `times`, and for `real` and `synthetic`
        the `survival`, `low` and `high` at each; several synthetic tables are averaged.
    """
    follow_up = real.follow_up
    curves = [curve for curve in found if curve is not None]
    if follow_up is None or real.holdout is None or not curves:
        return None
    grid = np.linspace(0.0, real.until, GRID)

    def shown(parts: Sequence[Curve]) -> dict[str, list[float]]:
        bands = [curve.band(grid) for curve in parts]
        columns = {
            "survival": [curve.at(grid) for curve in parts],
            "low": [low for low, _ in bands],
            "high": [high for _, high in bands],
        }
        return {k: np.round(np.mean(v, axis=0), 6).tolist() for k, v in columns.items()}

    return {
        "time": follow_up.time,
        "event": follow_up.event,
        "title": follow_up.title,
        "horizon": float(f"{real.until * follow_up.scale:.9g}"),
        "times": [float(f"{t * follow_up.scale:.6g}") for t in grid],
        "real": shown([real.holdout]),
        "synthetic": shown(curves),
    }
