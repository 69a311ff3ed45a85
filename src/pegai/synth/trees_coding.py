"""Codes of a table that point at nobody: what `trees` learns instead of the values.

Every code stands for several patients, and so does every number that decoding may give:

* A bin of a numeric column holds at least `min_patients` patients. Inside it, a value that
  `min_shared` patients hold is drawn exactly; all else is drawn evenly between limits, each the
  mean of two neighbouring patients or, at the two ends of the column, of `min_patients` patients.
* Levels of fewer patients share one code, which decodes to any of them with equal chance. If these
  together are too few, the next larger level shares their code, and comes out by its share.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from pegai.data.table import Table
from pegai.encode.categorical import CategoricalEncoder, CategoricalSummary, level_codes
from pegai.encode.numeric import KNOTS, NumericEncoder, bounded, summarize_numeric
from pegai.encode.table import ColumnEncoder, TableEncoder
from pegai.schema import Column
from pegai.synth.trees_config import TreesConfig

SHARED = 0.05
"""Share of a bin's patients that a value holds, at least, to be drawn exactly."""


def fit_coding(table: Table, units: np.ndarray, config: TreesConfig) -> TableEncoder:
    """The encoder of a table of modelled columns.

    Args:
        table: Shape (rows, columns).
        units: The patient of each row, from 0; shape (rows,).
        config: Its `max_bins`, `min_patients` and `min_shared`.
    """
    single = int(units.max(initial=-1)) + 1 == len(units)
    encoders: list[ColumnEncoder] = []
    for column in table.columns:
        if column.is_discrete:
            codes = level_codes(table.texts(column.name), column.levels)
            patients = _patients(codes, units, len(column.levels) + 1, single)
            encoders.append(_levels(patients, column, config.min_patients))
        else:
            values = bounded(table.numbers(column.name), column)
            held = np.isfinite(values)
            encoders.append(_bins(values[held], units[held], column, config, single=single))
    return TableEncoder(table.schema, tuple(encoders))


def _patients(codes: np.ndarray, units: np.ndarray, size: int, single: bool) -> np.ndarray:
    """Patients with each code, shape (size,)."""
    if single:
        return np.bincount(codes, minlength=size)
    pairs = np.unique(codes.astype(np.int64) * (int(units.max(initial=0)) + 1) + units)
    return np.bincount(pairs // (int(units.max(initial=0)) + 1), minlength=size)


def _levels(patients: np.ndarray, column: Column, min_patients: int) -> CategoricalEncoder:
    summary = CategoricalSummary(patients.astype(float))
    few = _few(patients[:-1], min_patients)
    encoder = CategoricalEncoder.fit(summary, column, min_count=few)
    held = dict(zip(column.levels, patients[:-1].astype(float), strict=True))
    own = np.array([held[level] for level in encoder.rare])
    scarce = own < min_patients
    # Equal chances: how often a rare level comes out tells nothing about who has it. A level that
    # is frequent, and shares the code so that it holds enough patients, keeps its share.
    own[scarce] = own[scarce].mean() if own.any() else 1.0
    return replace(encoder, rare_shares=tuple((own / max(own.sum(), 1.0)).tolist()))


def _few(patients: np.ndarray, min_patients: int) -> int:
    """Levels of fewer patients share a code, which then holds at least `min_patients`, or nobody.

    Args:
        patients: Of each level, shape (levels,).
        min_patients: Of a code.
    """
    for few in [min_patients, *(np.unique(patients[patients >= min_patients]) + 1)]:
        together = patients[patients < few].sum()
        if together == 0 or together >= min_patients:
            return int(few)
    return int(patients.max(initial=0)) + 1


def _bins(
    values: np.ndarray,
    units: np.ndarray,
    column: Column,
    config: TreesConfig,
    *,
    single: bool,
) -> NumericEncoder:
    missing, least = not column.constraints.required, config.min_patients
    if values.size == 0:
        return NumericEncoder.fit(summarize_numeric(values), column)
    points, inverse = np.unique(values, return_inverse=True)
    rows = np.bincount(inverse)
    patients = rows if single else _patients(inverse, units, len(points), single)
    weights = rows if single else _weights(inverse, units, len(points))
    share = max(float(least), _share(weights, config.max_bins))
    last = _last_points(weights, share, least)
    edges = (points[last] + points[last + 1]) / 2
    shared = patients >= config.min_shared
    starts = np.concatenate([[0], last + 1, [len(points)]])
    knots = np.empty((len(starts) - 1, KNOTS))
    spikes: list[tuple[float, ...]] = []
    shares: list[tuple[float, ...]] = []
    for b, (start, stop) in enumerate(pairwise(starts)):
        part = slice(start, stop)
        exact = shared[part] & (patients[part] >= SHARED * patients[part].sum())
        ends = _ends(points, weights, edges, b, least)
        knots[b] = _knots(points[part][~exact], weights[part][~exact], ends, least)
        spikes.append(tuple(points[part][exact].tolist()))
        shares.append(tuple((rows[part][exact] / rows[part].sum()).tolist()))
    return NumericEncoder(column, edges, knots, tuple(spikes), tuple(shares), missing)


def _weights(inverse: np.ndarray, units: np.ndarray, size: int) -> np.ndarray:
    """Patients by value, each spread over all of its own values; shape (values,).

    A patient weighs 1 over the whole column, so that values that weigh n together are those of n
    patients at least, however many different ones a patient has.
    """
    whose, value = np.divmod(np.unique(units.astype(np.int64) * size + inverse), size)
    own = np.bincount(whose)
    return np.bincount(value, weights=1 / own[whose], minlength=size)


def _share(patients: np.ndarray, max_bins: int) -> float:
    """Patients of a bin: those aside from values that fill a bin, over the bins that are left."""
    share = float(patients.sum())
    while True:
        light = patients[patients < share]
        left = max_bins - (len(patients) - len(light))
        following = light.sum() / max(left, 1)
        if following >= share or left <= 1 or not len(light):
            return share
        share = float(following)


def _last_points(patients: np.ndarray, share: float, least: int) -> np.ndarray:
    """Positions of the last point of every bin but the last one.

    A bin is closed once it holds `share` patients, or `least` where the next value alone fills a
    bin; too small a rest goes into the last bin.
    """
    total = np.cumsum(patients)
    heavy = np.flatnonzero(patients >= share)
    cuts: list[int] = []
    held = 0.0
    while True:
        at = int(np.searchsorted(total, held + share))
        before = heavy[np.searchsorted(heavy, cuts[-1] + 1 if cuts else 0) :]
        for point in before[:2]:  # the next heavy value, or the one after if it opens the bin
            if point <= at and point > 0 and total[point - 1] - held >= least:
                at = int(point) - 1
                break
        if at >= len(patients) - 1 or total[-1] - total[at] < least:
            return np.array(cuts, dtype=np.int64)
        cuts.append(at)
        held = float(total[at])


def _ends(
    points: np.ndarray, patients: np.ndarray, edges: np.ndarray, b: int, least: int
) -> tuple[float, float]:
    """Where a bin's values begin and end; outermost, no single patient's value."""
    low = edges[b - 1] if b > 0 else _outermost(points, patients, least)
    if b < len(edges):
        return float(low), float(edges[b])
    return float(low), float(-_outermost(-points[::-1], patients[::-1], least))


def _outermost(points: np.ndarray, patients: np.ndarray, least: int) -> float:
    """The lower end of evenly spread values whose mean is that of the `least` lowest patients."""
    if patients[0] >= least:
        return float(points[0])
    count = int(np.searchsorted(np.cumsum(patients), least)) + 1
    lowest, weights = points[:count], patients[:count]
    inner = float(points[min(count, len(points) - 1)] + lowest[-1]) / 2
    return 2 * float(np.average(lowest, weights=weights)) - inner


def _knots(
    points: np.ndarray, patients: np.ndarray, ends: tuple[float, float], least: int
) -> np.ndarray:
    """Quantiles of a bin's unshared values; each segment holds at least `least` patients."""
    total = np.cumsum(patients)
    segments = int(min(KNOTS - 1, total[-1] // least)) if len(points) else 0
    limits = [ends[0]]
    for i in range(1, segments):
        at = int(np.searchsorted(total, total[-1] * i / segments))
        if at < len(points) - 1:
            limits.append(float(points[at] + points[at + 1]) / 2)
        else:
            limits.append(ends[1])
    limits = np.clip(np.maximum.accumulate([*limits, ends[1]]), ends[0], ends[1])
    places = np.linspace(0, 1, len(limits))
    return np.interp(np.linspace(0, 1, KNOTS), places, limits)
