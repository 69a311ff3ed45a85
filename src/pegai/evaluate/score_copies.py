"""Scores of verbatim copies: training patients found in the synthetic data, against the holdout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pegai.evaluate.intervals import clopper_pearson, newcombe
from pegai.evaluate.measure import Measured
from pegai.evaluate.privacy.copies import TextCopies
from pegai.evaluate.scores import Score, joined, mean, mean_interval, values_note

MIN_TEXTS = 10


def copies_scores(measured: Sequence[Measured]) -> tuple[Score, ...]:
    """Patients that stand in the synthetic data, rows that stand for one patient, and texts."""
    texts = [_texts([m.texts[i] for m in measured]) for i in range(len(measured[0].texts))]
    return _copies(measured), _excess(measured), _unique(measured), *texts


def _unique(measured: Sequence[Measured]) -> Score:
    found = [m.unique for m in measured]
    values = [u.synthetic[0] / max(1, u.synthetic[1]) for u in found]
    chance = found[0].holdout
    title = "Synthetic rows that equal the record of one training patient only"
    rates = round(mean(values) * found[0].synthetic[1]), found[0].synthetic[1]
    low, high = newcombe(*rates, *chance)
    baseline = chance[0] / max(1, chance[1])
    low, high = _seeds_and([v - baseline for v in values], low, high)
    return Score(
        "copied_rows",
        "privacy",
        title,
        mean(values),
        max(0.0, low + baseline),
        min(1.0, high + baseline),
        baseline,
        "lower",
        len(values),
        tuple(values),
        joined(
            "the baseline is the share of holdout rows that do so by chance; the interval is that "
            "of the difference, moved by it",
            values_note(len(values)),
        ),
    )


def _texts(found: Sequence[TextCopies]) -> Score:
    worst = max(found, key=lambda t: t.excess)
    name, title = f"text_copies/{worst.column}", f"Texts of single patients found in {worst.column}"
    if min(worst.train[1], worst.holdout[1]) < MIN_TEXTS:
        note = f"not assessed: {MIN_TEXTS} texts of single patients are needed on both sides"
        if worst.train[0] == 0:
            return Score(name, "privacy", title, math.nan, better="lower", n=0, note=note)
    low, high = worst.interval
    return Score(
        name,
        "privacy",
        title,
        worst.excess,
        low,
        high,
        0.0,
        "lower",
        len(found),
        tuple(t.excess for t in found),
        f"{worst.train[0]} of {worst.train[1]} training texts, {worst.holdout[0]} of "
        f"{worst.holdout[1]} holdout texts, in the table with the most",
    )


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
