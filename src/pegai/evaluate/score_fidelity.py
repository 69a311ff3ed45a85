"""Scores of fidelity: column shapes, pair trends and detection, over synthetic tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import MIN_ROWS, RealBaselines
from pegai.evaluate.intervals import combine, combine_jackknife
from pegai.evaluate.measure import Measured
from pegai.evaluate.scores import Score, joined, mean, values_note

WORST_PAIRS = 20


def fidelity_scores(cache: RealBaselines, measured: Sequence[Measured]) -> tuple[Score, ...]:
    """`column_shapes`, `pair_trends` and `detection_auc`."""
    return (
        _column_shapes(cache, measured),
        _pair_trends(cache, measured),
        _detection(cache, measured),
    )


def _too_few(cache: RealBaselines) -> str:
    rows = len(cache.holdout)
    return f"not assessed: {rows} holdout rows, {MIN_ROWS} are needed" if rows < MIN_ROWS else ""


def _column_shapes(cache: RealBaselines, measured: Sequence[Measured]) -> Score:
    values = [m.shapes.score if m.shapes else math.nan for m in measured]
    left_out = np.array([m.shapes_left_out for m in measured])
    low, high = combine_jackknife(np.array(values), left_out, bounds=(0.0, 1.0))
    skipped = len(cache.features.texts)
    return Score(
        "column_shapes",
        "fidelity",
        "Column shapes (1 minus mean distance to the holdout)",
        mean(values),
        low,
        high,
        cache.shapes.score if cache.shapes else math.nan,
        "higher",
        len(values),
        tuple(values),
        joined(
            _too_few(cache) or values_note(len(values)),
            f"{skipped} free-text columns left out" if skipped else "",
        ),
    )


def _pair_trends(cache: RealBaselines, measured: Sequence[Measured]) -> Score:
    values = [m.pairs.score if m.pairs else math.nan for m in measured]
    left_out = np.array([m.pairs_left_out for m in measured])
    low, high = combine_jackknife(np.array(values), left_out, bounds=(0.0, 1.0))
    note = _too_few(cache)
    if not note and len(cache.features.names) < 2:
        note = "not assessed: one column has no pairs"
    return Score(
        "pair_trends",
        "fidelity",
        "Pair trends (1 minus mean distance to the holdout)",
        mean(values),
        low,
        high,
        cache.pairs.score if cache.pairs else math.nan,
        "higher",
        len(values),
        tuple(values),
        note or values_note(len(values)),
    )


def _detection(cache: RealBaselines, measured: Sequence[Measured]) -> Score:
    values = [m.detection.auc for m in measured]
    resampled = np.array([m.detection.resampled(cache.weights) for m in measured])
    rng = cache.streams.child("combine/detection").get("split")
    if len(measured) == 1:  # several tables show this part of the chance by themselves
        noise = rng.standard_normal(resampled.shape[1])
        resampled = resampled + measured[0].detection.synthetic_error * noise
    low, high = combine(np.array(values), resampled, rng, bounds=(0.0, 1.0))
    notes = [m.detection.note for m in measured if m.detection.note]
    return Score(
        "detection_auc",
        "fidelity",
        "Detection (AUC of a boosted classifier, synthetic against holdout)",
        mean(values),
        low,
        high,
        cache.detection.auc,
        "half",
        len(values),
        tuple(values),
        joined(*notes, values_note(len(values))),
    )


def fidelity_plots(cache: RealBaselines, measured: Sequence[Measured]) -> dict[str, Any]:
    """`columns` (distance of each column) and `pairs` (the worst pairs), worst first."""
    if cache.shapes is None:
        return {"columns": [], "pairs": []}
    titles = {c.name: c.title or c.name for c in cache.train_table.schema.columns}
    columns = []
    for i, real in enumerate(cache.shapes.details):
        details = [m.shapes.details[i] for m in measured if m.shapes is not None]
        columns.append(
            {
                "column": real.column,
                "title": titles[real.column],
                "metric": real.metric,
                "distance": mean([d.distance for d in details]),
                "baseline": real.distance,
                "missing_real": real.missing_real,
                "missing_synthetic": mean([d.missing_synthetic for d in details]),
            }
        )
    columns.sort(key=lambda entry: -entry["distance"])
    return {"columns": columns, "pairs": _worst_pairs(cache, measured, titles)}


def _worst_pairs(
    cache: RealBaselines, measured: Sequence[Measured], titles: dict[str, str]
) -> list[dict[str, Any]]:
    found = [m.pairs.distances for m in measured if m.pairs is not None]
    if cache.pairs is None or not found or found[0].size == 0:
        return []
    average = np.mean(found, axis=0)
    rows, cols = np.triu_indices(len(cache.pairs.names), 1)
    names = cache.pairs.names
    return [
        {
            "first": names[rows[i]],
            "second": names[cols[i]],
            "title": f"{titles[names[rows[i]]]} and {titles[names[cols[i]]]}",
            "metric": "correlation" if cols[i] < cache.pairs.numeric else "tvd",
            "distance": float(average[i]),
            "baseline": float(cache.pairs.distances[i]),
        }
        for i in np.argsort(-average, kind="stable")[:WORST_PAIRS]
    ]
