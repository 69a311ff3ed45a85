"""Plots: the JSON-ready data behind the pictures of a report.

Distributions, correlations and the scatter show the real *training* table, which the generator
learned; the figures compare with the holdout. Shares and associations are means over the synthetic
tables, the scatter is of the first one.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.features import Encoded, Features, distance_matrix
from pegai.evaluate.fidelity.pair_trends import rank_correlation
from pegai.schema import Column

MAX_BARS = 20
MAX_POINTS = 400
MAX_ROWS = 20_000
"""Rows that associations are computed on."""


def marginals(train: Table, synthetics: Sequence[Table]) -> list[dict[str, Any]]:
    """Bars of every column, real training table beside synthetic.

    Returns:
        A dict a column, in the schema's order: `column`, `title`, `kind`, `labels` (categories or
        bins, then "missing" if any value is), `edges` of the bins or None, `real` and `synthetic`
        shares in the order of the labels.
    """
    found = []
    for column in train.schema.modelled:
        if column.is_numeric:
            found.append(_numeric_bars(column, train, synthetics))
        elif column.is_discrete:
            found.append(_discrete_bars(column, train, synthetics))
    return found


def _bars(column: Column, labels: list[str], edges: list[float] | None, counts: Any) -> dict:
    """Shares from count vectors whose last entry is "missing"."""
    shares = [c / max(1, c.sum()) for c in counts]
    real, synthetic = shares[0], np.mean(shares[1:], axis=0)
    labels = [*labels, "missing"]
    if real[-1] == 0 and synthetic[-1] == 0:
        labels, real, synthetic = labels[:-1], real[:-1], synthetic[:-1]
    return {
        "column": column.name,
        "title": column.title or column.name,
        "kind": column.kind,
        "labels": labels,
        "edges": edges,
        "real": [round(float(v), 6) for v in real],
        "synthetic": [round(float(v), 6) for v in synthetic],
    }


def _numeric_bars(column: Column, train: Table, synthetics: Sequence[Table]) -> dict[str, Any]:
    values = [_finite(t.numbers(column.name)) for t in (train, *synthetics)]
    edges = bin_edges(values[0][~np.isnan(values[0])], whole=column.type in ("integer", "date"))
    counts = []
    for column_values in values:
        observed = column_values[~np.isnan(column_values)]
        # The end bins hold what lies beyond them.
        place = np.clip(np.searchsorted(edges, observed, side="right") - 1, 0, edges.size - 2)
        bars = np.bincount(place, minlength=edges.size - 1)
        counts.append(np.append(bars, column_values.size - observed.size))
    labels = [_bin_label(column, a, b) for a, b in itertools.pairwise(edges)]
    return _bars(column, labels, [float(e) for e in edges], counts)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(values), np.sign(values) * 1e300, values)


def bin_edges(observed: np.ndarray, *, whole: bool) -> np.ndarray:
    """Equal bins between the 0.5 % and 99.5 % quantile; whole numbers get bins of whole width."""
    if observed.size == 0:
        return np.array([0.0, 1.0])
    low, high = np.quantile(observed, [0.005, 0.995])
    if whole:
        low, high = float(np.floor(low)), float(np.ceil(high))
        step = max(1.0, float(np.ceil((high - low + 1) / MAX_BARS)))
        return low + step * np.arange(int(np.floor((high - low) / step)) + 2)
    if not high - low > 1e-12 * max(1.0, abs(high)):
        width = abs(float(low)) * 0.05 or 0.5
        return np.array([low - width, low + width])
    return np.linspace(low, high, MAX_BARS + 1)


def _bin_label(column: Column, low: float, high: float) -> str:
    if column.type == "date":
        return _day(low) if high - low <= 1 else f"{_day(low)} to {_day(high - 1)}"
    if column.type == "datetime":
        return f"{_day(low / 86400)} to {_day(high / 86400)}"
    if column.type == "integer":
        return f"{low:.0f}" if high - low <= 1 else f"{low:.0f} to {high - 1:.0f}"
    return f"{low:.4g} to {high:.4g}"


def _day(days: float) -> str:
    try:
        return (dt.date(1970, 1, 1) + dt.timedelta(days=float(np.floor(days)))).isoformat()
    except OverflowError:
        return f"{days:.0f} days"


def _discrete_bars(column: Column, train: Table, synthetics: Sequence[Table]) -> dict[str, Any]:
    tables = [t.texts(column.name) for t in (train, *synthetics)]
    found = [dict(series.value_counts().iter_rows()) for series in tables]
    levels = list(column.levels) + sorted(
        {level for counts in found for level in counts if level is not None} - set(column.levels)
    )
    shown = levels
    if len(levels) > MAX_BARS:
        frequent = sorted(levels, key=lambda level: -found[0].get(level, 0))[: MAX_BARS - 1]
        shown = [level for level in levels if level in set(frequent)]
    counts = []
    for table in found:
        bars = [table.get(level, 0) for level in shown]
        absent = table.get(None, 0)
        if len(shown) < len(levels):
            bars.append(sum(table.values()) - absent - sum(bars))
        counts.append(np.array([*bars, absent], dtype=float))
    labels = [column.labels.get(level, level) for level in shown]
    if len(shown) < len(levels):
        labels.append(f"{len(levels) - len(shown)} others")
    return _bars(column, labels, None, counts)


def associations(table: Encoded) -> np.ndarray:
    """How strongly each pair of columns goes together; shape (columns, columns), numeric first.

    Spearman's correlation of two numbers, the correlation ratio (eta) of a number and a category,
    bias-corrected Cramer's V of two categories (Bergsma 2013); rows where either is missing are
    left out.
    """
    p, q = table.numbers.shape[1], table.codes.shape[1]
    found = np.eye(p + q)
    found[:p, :p] = rank_correlation(table.numbers)
    np.fill_diagonal(found, 1.0)
    for j in range(q):
        codes = table.codes[:, j]
        for i in range(p):
            found[i, p + j] = found[p + j, i] = _correlation_ratio(codes, table.numbers[:, i])
        for i in range(j):
            found[p + i, p + j] = found[p + j, p + i] = _cramers_v(table.codes[:, i], codes)
    return found


def _correlation_ratio(codes: np.ndarray, values: np.ndarray) -> float:
    seen = (codes >= 0) & ~np.isnan(values)
    codes, values = codes[seen], values[seen]
    if codes.size < 2:
        return 0.0
    values = values - values.mean()
    total = float(values @ values)
    if total <= 1e-12:
        return 0.0
    count = np.bincount(codes)
    sums = np.bincount(codes, weights=values)
    between = float((sums[count > 0] ** 2 / count[count > 0]).sum())
    return float(np.sqrt(min(1.0, between / total)))


def _cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    seen = (a >= 0) & (b >= 0)
    if seen.sum() < 2:
        return 0.0
    rows, a = np.unique(a[seen], return_inverse=True)
    cols, b = np.unique(b[seen], return_inverse=True)
    n, r, c = a.size, rows.size, cols.size
    if min(r, c) < 2:
        return 0.0
    table = np.bincount(a * c + b, minlength=r * c).reshape(r, c).astype(float)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / n
    phi2 = float(((table - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    bound = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(min(1.0, corrected / bound))) if bound > 0 else 0.0


def correlation(
    features: Features, order: Sequence[str], train: Encoded, synthetics: Sequence[Encoded]
) -> dict[str, Any]:
    """Association matrices: `columns` in the schema's order, `real`, `synthetic`, `method`."""
    place = {name: i for i, name in enumerate(features.names)}
    names = [name for name in order if name in place]
    index = np.ix_([place[n] for n in names], [place[n] for n in names])
    real = associations(_thin(train))[index]
    synthetic = np.mean([associations(_thin(s)) for s in synthetics], axis=0)[index]
    return {
        "columns": names,
        "real": np.round(real, 6).tolist(),
        "synthetic": np.round(synthetic, 6).tolist(),
        "method": "Spearman correlation, correlation ratio or bias-corrected Cramer's V",
    }


def _thin(table: Encoded) -> Encoded:
    if len(table) <= MAX_ROWS:
        return table
    return table.take(np.linspace(0, len(table) - 1, MAX_ROWS).astype(np.int64))


def scatter(train: Encoded, synthetic: Encoded, rng: np.random.Generator) -> dict[str, Any]:
    """Two principal components fitted on real rows; at most 400 points a side.

    Returns:
        `real` and `synthetic` as [[x, y], ...], `explained` as two shares of the variance.
    """
    real = distance_matrix(_thin(train))
    clip = 5.0  # one outlying laboratory value must not take an axis for itself
    centre = np.clip(real, -clip, clip).mean(axis=0)
    centred = np.clip(real, -clip, clip) - centre
    variance, axes = np.linalg.eigh(centred.T @ centred / max(1, real.shape[0]))
    axes = axes[:, ::-1][:, :2]
    # The sign of a component is arbitrary: fix it, so that equal data give equal pictures.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    total = float(np.maximum(variance, 0).sum())
    explained = [float(v / total) if total > 0 else 0.0 for v in variance[::-1][:2]]

    def points(table: Encoded) -> list[list[float]]:
        rows = np.sort(rng.choice(len(table), min(MAX_POINTS, len(table)), replace=False))
        coordinates = np.clip(distance_matrix(table.take(rows)), -clip, clip) - centre
        flat = np.zeros((rows.size, 2))
        flat[:, : axes.shape[1]] = coordinates @ axes
        return np.round(flat, 5).tolist()

    return {
        "real": points(train),
        "synthetic": points(synthetic),
        "explained": [*explained, 0.0, 0.0][:2],
    }
