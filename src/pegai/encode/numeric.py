"""Numeric columns as bins: quantile bins, spikes for values that many rows share, and missing.

A summary is a weighted sketch of the values, so it merges over chunks and over hospitals. Under
privacy the sketch is replaced by a noisy histogram on a public grid (`NumericSummary.on_grid`);
everything after it is the same code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pegai.schema import Column

MAX_POINTS = 4096
KNOTS = 9
MIN_SPIKE_ROWS = 3


@dataclass(frozen=True)
class NumericSummary:
    """A weighted sketch of a numeric column.

    Attributes:
        points: Sorted values, shape (points,); at most `MAX_POINTS`, beyond which neighbours are
            joined into one (rank error at most 1 / MAX_POINTS a merge).
        weights: Rows at each point, shape (points,).
        missing: Rows without a value.
        exact: Whether each point is a value that occurs; False after joining or on a grid.
        spikes: Values known to be shared by many rows, with their rows, where `exact` is False.
        cells: Whether the points are the lower and upper ends of cells, in turn, with all of a
            cell's rows at the upper one.
    """

    points: np.ndarray
    weights: np.ndarray
    missing: float
    exact: bool = True
    spikes: tuple[tuple[float, float], ...] = ()
    cells: bool = False

    def merge(self, other: NumericSummary) -> NumericSummary:
        """The summary of both tables together."""
        points = np.concatenate([self.points, other.points])
        weights = np.concatenate([self.weights, other.weights])
        exact = self.exact and other.exact
        spikes = Counter(dict(self.spikes))
        spikes.update(dict(other.spikes))
        merged = _sketch(points, weights, self.missing + other.missing, exact)
        return replace(merged, spikes=() if exact else tuple(sorted(spikes.items())))

    @classmethod
    def on_grid(
        cls, edges: np.ndarray, counts: np.ndarray, spikes: tuple[tuple[float, float], ...] = ()
    ) -> NumericSummary:
        """A summary from a (noisy) histogram.

        Args:
            edges: Public bin edges, shape (bins + 1,).
            counts: Rows a bin, then the missing rows; shape (bins + 1,). Negative counts are 0.
            spikes: Values that many rows share, with their (noisy) rows.
        """
        kept = np.maximum(counts, 0.0)
        # Both ends, with all rows at the upper one: quantiles between them are even in the cell.
        inset = np.diff(edges) * 1e-9
        points = np.column_stack([edges[:-1] + inset, edges[1:] - inset])
        weights = np.column_stack([np.zeros(len(points)), kept[:-1]])
        held = kept[:-1] > 0
        missing = float(kept[-1])
        return cls(points[held].ravel(), weights[held].ravel(), missing, False, spikes, cells=True)

    @property
    def total(self) -> float:
        """Rows, with and without a value."""
        return float(self.weights.sum() + self.missing)


def _sketch(points: np.ndarray, weights: np.ndarray, missing: float, exact: bool) -> NumericSummary:
    values, inverse = np.unique(points, return_inverse=True)
    sums = np.bincount(inverse, weights=weights, minlength=len(values))
    if len(values) <= MAX_POINTS:
        return NumericSummary(values, sums, missing, exact)
    ranks = np.cumsum(sums) - sums / 2
    group = np.minimum((ranks / sums.sum() * MAX_POINTS).astype(int), MAX_POINTS - 1)
    total = np.bincount(group, weights=sums, minlength=MAX_POINTS)
    mean = np.bincount(group, weights=sums * values, minlength=MAX_POINTS)
    held = total > 0
    centres = mean[held] / total[held]
    # The extremes stay what they are: bounds must not shrink as chunks are merged.
    centres[0], centres[-1] = values[0], values[-1]
    return NumericSummary(centres, total[held], missing, exact=False)


def summarize_numeric(numbers: np.ndarray, weights: np.ndarray | None = None) -> NumericSummary:
    """Sketch a column of floats with NaN for missing; `weights` (rows,) default to 1."""
    weight = np.ones(len(numbers)) if weights is None else weights
    known = np.isfinite(numbers)
    return _sketch(numbers[known], weight[known], float(weight[~known].sum()), exact=True)


def bounded(numbers: np.ndarray, column: Column) -> np.ndarray:
    """Values outside the column's bounds, moved to the nearest bound; NaN stays."""
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    return np.clip(numbers, low, high)


@dataclass(frozen=True)
class NumericEncoder:
    """Codes of a numeric column: one a bin, the last one for missing.

    Inside a bin a value is drawn from the bin's quantile knots (linear between them), or, with
    the bin's spike probability, is one of the values that at least `MIN_SPIKE_ROWS` rows share:
    clinical numbers are heaped on round values, and a value that several patients have singles
    out nobody.

    Attributes:
        column: The column.
        edges: Inner bin edges, shape (bins - 1,); bin b holds edges[b-1] < value <= edges[b].
        knots: Quantiles inside each bin, shape (bins, KNOTS).
        spikes: For each bin, the shared values.
        spike_shares: For each bin, their shares of the bin's rows.
        missing: Whether the last code stands for missing.
    """

    column: Column
    edges: np.ndarray
    knots: np.ndarray
    spikes: tuple[tuple[float, ...], ...]
    spike_shares: tuple[tuple[float, ...], ...]
    missing: bool = True

    @classmethod
    def fit(cls, summary: NumericSummary, column: Column, *, max_bins: int = 10) -> NumericEncoder:
        """Bins of about equal weight; a value heavier than a bin has one of its own."""
        missing = not column.constraints.required
        if summary.weights.sum() <= 0:
            middle = _middle(column)
            knots = np.full((1, KNOTS), middle)
            return cls(column, np.zeros(0), knots, ((),), ((),), missing)
        edges = _edges(summary, max_bins)
        bins = np.searchsorted(edges, summary.points, side="left")
        at = np.searchsorted(edges, [value for value, _ in summary.spikes], side="left")
        parts = [_inside(summary, bins == b, at == b) for b in range(len(edges) + 1)]
        return cls(
            column,
            edges,
            np.stack([p[0] for p in parts]),
            tuple(p[1] for p in parts),
            tuple(p[2] for p in parts),
            missing,
        )

    @classmethod
    def of_cells(
        cls,
        cells: np.ndarray,
        column: Column,
        spikes: tuple[tuple[float, float], ...] = (),
        counts: np.ndarray | None = None,
    ) -> NumericEncoder:
        """A bin for each cell between given edges, evenly filled but for shared values.

        Args:
            cells: Edges, shape (bins + 1,).
            column: The column.
            spikes: Values that many rows share, with their (noisy) rows.
            counts: (Noisy) rows of each bin, shape (bins,); needed where there are spikes.
        """
        low, high = bounded(cells[:-1], column), bounded(cells[1:], column)
        knots = np.linspace(low, high, KNOTS, axis=1)
        inner = cells[1:-1]
        at = np.searchsorted(inner, [value for value, _ in spikes], side="left")
        inside = [[s for s, b in zip(spikes, at, strict=True) if b == i] for i in range(len(knots))]
        whole = np.zeros(len(knots)) if counts is None else np.maximum(counts, 0.0)
        sums = [max(w, sum(h for _, h in s)) for w, s in zip(whole, inside, strict=True)]
        return cls(
            column,
            inner,
            knots,
            tuple(tuple(v for v, _ in s) for s in inside),
            tuple(tuple(h / w for _, h in s) for s, w in zip(inside, sums, strict=True)),
            not column.constraints.required,
        )

    def smoothed(self, shares: np.ndarray) -> NumericEncoder:
        """The same bins, filled as a smooth density with these shares would fill them.

        Wherever a bin is filled evenly, its knots are moved onto a monotone cubic through the
        cumulated shares (Fritsch and Carlson 1980). Bins whose inside is known keep it.

        Args:
            shares: Of each code, shape (size,); shared values are taken out by their part.
        """
        from scipy.interpolate import PchipInterpolator

        ends = np.concatenate([self.knots[:1, 0], self.edges, self.knots[-1:, -1]])
        spread = np.array([1.0 - sum(s) for s in self.spike_shares])
        inside = np.maximum(shares[: len(self.knots)] * spread, 0.0)
        if len(self.knots) < 3 or not inside.sum() > 0 or not (np.diff(ends) > 0).all():
            return self
        heights = np.concatenate([[0.0], np.cumsum(inside / inside.sum())])
        curve = PchipInterpolator(ends, heights)
        moved = self.knots.copy()
        for b in range(len(moved)):
            even = np.allclose(np.diff(moved[b], 2), 0.0, atol=1e-6 * (ends[b + 1] - ends[b]))
            if even and heights[b + 1] - heights[b] > 1e-9:
                places = np.linspace(ends[b], ends[b + 1], 129)
                due = np.linspace(heights[b], heights[b + 1], KNOTS)
                moved[b] = np.interp(due, np.maximum.accumulate(curve(places)), places)
        return replace(self, knots=moved)

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.knots) + self.missing

    @property
    def values(self) -> tuple[float, ...]:
        """A number a code, for models that use order: scaled to [0, 1], missing is 0.5."""
        centres = self.knots.mean(axis=1)
        span = centres[-1] - centres[0]
        scaled = (centres - centres[0]) / span if span > 0 else np.zeros(len(centres))
        return tuple(float(v) for v in scaled) + ((0.5,) if self.missing else ())

    def code_of(self, value: float | None) -> int | None:
        """The code of one value, or None where missing is not allowed."""
        if value is None:
            return self.size - 1 if self.missing else None
        return int(self.encode(np.array([value]))[0])

    def encode(self, numbers: np.ndarray) -> np.ndarray:
        """Codes of floats with NaN for missing, shape (rows,)."""
        values = bounded(numbers, self.column)
        codes = np.searchsorted(self.edges, values, side="left")
        absent = self.size - 1 if self.missing else 0
        return np.where(np.isnan(values), absent, codes)

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Floats of codes, NaN for missing, rounded to the column's decimals."""
        bins = np.minimum(codes, len(self.knots) - 1)
        place = rng.random(len(codes)) * (KNOTS - 1)
        left = place.astype(int)
        low, high = self.knots[bins, left], self.knots[bins, left + 1]
        values = low + (high - low) * (place - left)
        values = self._with_spikes(values, bins, rng.random(len(codes)))
        values = bounded(_rounded(values, self.column), self.column)
        if self.missing:
            values = np.where(codes == self.size - 1, np.nan, values)
        return values

    def _with_spikes(self, values: np.ndarray, bins: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Values in whose place one of their bin's shared values comes, where `draw` says so.

        Args:
            values: Shape (rows,).
            bins: Of each row.
            draw: In [0, 1); below the sum of the bin's shares a row gets a shared value.
        """
        upper = [np.cumsum(shares) for shares in self.spike_shares]
        hit = np.flatnonzero(draw < np.array([u[-1] if len(u) else 0.0 for u in upper])[bins])
        if not len(hit):
            return values
        # All bins on one line, a unit apart: one search serves every row.
        line = np.concatenate([b + u for b, u in enumerate(upper)])
        at = np.searchsorted(line, bins[hit] + draw[hit], side="right")
        ends = np.cumsum([len(u) for u in upper])
        at = np.clip(at, np.append(0, ends[:-1])[bins[hit]], ends[bins[hit]] - 1)
        values[hit] = np.concatenate([np.asarray(s, float) for s in self.spikes])[at]
        return values

    def to_dict(self) -> dict[str, Any]:
        """JSON types, without the column (it is in the schema)."""
        return {
            "kind": "numeric",
            "edges": self.edges.tolist(),
            "knots": self.knots.tolist(),
            "spikes": [list(s) for s in self.spikes],
            "spike_shares": [list(s) for s in self.spike_shares],
            "missing": self.missing,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any], column: Column) -> NumericEncoder:
        """The inverse of `to_dict`."""
        return cls(
            column,
            np.asarray(plain["edges"], dtype=float),
            np.asarray(plain["knots"], dtype=float).reshape(-1, KNOTS),
            tuple(tuple(s) for s in plain["spikes"]),
            tuple(tuple(s) for s in plain["spike_shares"]),
            bool(plain["missing"]),
        )


def _middle(column: Column) -> float:
    ends = [end for end in (column.minimum, column.maximum) if end is not None]
    return sum(ends) / len(ends) if ends else 0.0


def _edges(summary: NumericSummary, max_bins: int) -> np.ndarray:
    """Upper edges of all bins but the last, each midway between two points, or where a cell ends.

    A cell is never cut: nothing is known of where in it its rows lie.
    """
    points, weights = summary.points, summary.weights
    between = (points[:-1] + points[1:]) / 2
    if summary.cells:
        between, weights = points[1::2], weights[1::2]
    share = weights.sum() / max_bins
    cuts: list[float] = []
    held = 0.0
    for i, weight in enumerate(weights[:-1]):
        held += weight
        alone = weights[i + 1] >= share
        if held >= share or (alone and held >= share / 4):
            cuts.append(between[i])
            held = 0.0
    return np.array(cuts)


def _inside(
    summary: NumericSummary, chosen: np.ndarray, spiked: np.ndarray
) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Knots, spikes and spike shares of one bin."""
    points, weights = summary.points[chosen], summary.weights[chosen]
    total = weights.sum()
    shared = (weights >= MIN_SPIKE_ROWS) & summary.exact
    rest = weights * ~shared
    own = [spike for spike, s in zip(summary.spikes, spiked, strict=True) if s]
    if summary.cells:
        for value, rows in own:
            # Shared values are drawn as such; what is left of their cell is spread.
            at = min(int(np.searchsorted(points, value)), len(points) - 1) if len(points) else 0
            rest[at : at + 1] = np.maximum(rest[at : at + 1] - rows, 0.0)
    ranks = np.cumsum(rest if rest.sum() > 0 else weights)
    targets = np.linspace(0, ranks[-1], KNOTS)
    knots = np.interp(targets, np.concatenate([[0.0], ranks]), np.concatenate([points[:1], points]))
    values = [*points[shared], *(value for value, _ in own)]
    heights = [*weights[shared], *(rows for _, rows in own)]
    whole = max(total, sum(heights))
    return knots, tuple(float(v) for v in values), tuple(float(h / whole) for h in heights)


def _rounded(values: np.ndarray, column: Column) -> np.ndarray:
    if column.type == "number":
        decimals = column.pegai.decimals
        return values if decimals is None else np.round(values, decimals)
    return np.round(values)
