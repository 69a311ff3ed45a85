"""Scores of verbatim copies: training patients found in the synthetic data, against the holdout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pegai.evaluate.intervals import clopper_pearson, newcombe
from pegai.evaluate.measure import Measured
from pegai.evaluate.scores import Score, joined, mean, mean_interval, values_note


def copies_scores(measured: Sequence[Measured]) -> tuple[Score, ...]:
    """The share of training patients that stand in the synthetic data, and its excess."""
    return _copies(measured), _excess(measured)


def _copies(measured: Sequence[Measured]) -> Score:
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


def _excess(measured: Sequence[Measured]) -> Score:
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
