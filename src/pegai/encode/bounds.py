"""Bounds of numbers and dates from a noisy histogram on a grid that is the same for all data.

| type | coarse cells | each in |
|---|---|---|
| integer | 0, and 2^k to 2^(k+1) - 1 of both signs, up to 2^40 | 8 parts |
| number | 0 to 2^e, and 2^k to 2^(k+1) of both signs, up to 2^40 | 8 parts |
| date, datetime | decades from 1800 to 2199 | 10 years |

e is the largest with 2^e <= 10^-decimals, or -20 where the schema has no decimals. Values beyond
the grid count in its outermost cells.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from importlib import import_module
from typing import Any

import numpy as np

from pegai.schema import Column

FALSE_ALARM = 1e-3
"""Chance, by column, that a bound is put where nobody is."""

LARGEST_POWER = 40
SMALLEST_POWER = -20
FIRST_YEAR, LAST_YEAR = 1800, 2200
DAY_SECONDS = 86_400
_PARTS, _YEARS = 8, 10
_DIGITS = Context(prec=60)

Bound = int | float | str


@dataclass(frozen=True, eq=False)
class BoundsGrid:
    """Cells of two widths, from the type and the decimals of a column alone.

    Attributes:
        column: The column.
        edges: Of the narrow cells, shape (coarse x parts + 1,); a cell holds its lower edge.
        parts: Narrow cells in a coarse one.
    """

    column: Column
    edges: np.ndarray
    parts: int

    @classmethod
    def of(cls, column: Column) -> BoundsGrid:
        """The grid of a numeric column."""
        if column.type in ("date", "datetime"):
            years = range(FIRST_YEAR, LAST_YEAR + 1)
            unit = 1 if column.type == "date" else DAY_SECONDS
            days = [(dt.date(year, 1, 1) - dt.date(1970, 1, 1)).days for year in years]
            return cls(column, np.array(days, float) * unit, _YEARS)
        wide = _integer_edges() if column.type == "integer" else _number_edges(column)
        inner = np.arange(_PARTS) / _PARTS
        narrow = (wide[:-1, None] + np.diff(wide)[:, None] * inner).ravel()
        return cls(column, np.append(narrow, wide[-1]), _PARTS)

    @property
    def size(self) -> int:
        """Coarse cells."""
        return (len(self.edges) - 1) // self.parts

    def tables(self, numbers: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        """Weights by coarse and by narrow cell, int64, shapes (size,) and (size x parts,).

        Args:
            numbers: Shape (rows,); what is not finite counts nowhere.
            weights: Integers, shape (rows,).
        """
        known = np.isfinite(numbers)
        cells = np.searchsorted(self.edges, numbers[known], side="right") - 1
        cells = np.clip(cells, 0, len(self.edges) - 2)
        # Held as float64, in which sums of less than 2^53 are exact.
        narrow = np.bincount(cells, weights=weights[known], minlength=len(self.edges) - 1)
        narrow = narrow.astype(np.int64)
        return [narrow.reshape(-1, self.parts).sum(axis=1), narrow]

    def bounds(
        self, wide: np.ndarray, narrow: np.ndarray, deviation: float
    ) -> tuple[Bound, Bound] | None:
        """Minimum and maximum, rounded outwards to the grid; None if no cell stands out.

        A coarse cell stands out if noise alone would get there with a chance of `FALSE_ALARM` in
        any of them. Of the outermost that do, those parts are cut off from outside which hold
        no more, together, than the noise of their sum.

        Args:
            wide: Noisy patients by coarse cell.
            narrow: Noisy patients by narrow cell.
            deviation: Standard deviation of the noise in each cell, in patients.
        """
        tall = np.flatnonzero(wide > threshold_deviations(self.size) * deviation)
        if not tall.size:
            return None
        first, last = int(tall[0]) * self.parts, (int(tall[-1]) + 1) * self.parts
        low = first + _empty(narrow[first : first + self.parts], deviation)
        high = last - _empty(narrow[last - self.parts : last][::-1], deviation)
        # In a single coarse cell both cuts may meet, or leave no whole number between them.
        inside = self._pair(low, high) if low < high else None
        return inside or self._pair(first, last)

    def _pair(self, low: int, high: int) -> tuple[Bound, Bound] | None:
        """The bounds of narrow cells from `low` up to but not `high`; None if nothing is inside."""
        pair = self._value(low, upper=False), self._value(high, upper=True)
        return pair if self.column.as_number(pair[0]) <= self.column.as_number(pair[1]) else None

    def _value(self, index: int, *, upper: bool) -> Bound:
        """An edge as the schema writes bounds; the upper one is the last value below it."""
        edge = float(self.edges[index])
        if self.column.type == "integer":
            return math.ceil(edge) - 1 if upper else math.ceil(edge)
        if self.column.type == "number":
            return _outwards(edge, self.column.pegai.decimals, upper=upper)
        if self.column.type == "date":
            return (dt.date(1970, 1, 1) + dt.timedelta(days=edge - upper)).isoformat()
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=edge - upper)
        return moment.isoformat()


def threshold_deviations(cells: int) -> float:
    """How many deviations noise alone exceeds in any of some cells with chance `FALSE_ALARM`."""
    ndtri: Any = import_module("scipy.special").ndtri
    return -float(ndtri(FALSE_ALARM / cells))


def _integer_edges() -> np.ndarray:
    powers = 2.0 ** np.arange(LARGEST_POWER + 1)
    return np.concatenate([1 - powers[::-1], powers])


def _number_edges(column: Column) -> np.ndarray:
    decimals = column.pegai.decimals
    least = SMALLEST_POWER if decimals is None else math.floor(-decimals * math.log2(10))
    powers = 2.0 ** np.arange(least, LARGEST_POWER + 1)
    return np.concatenate([-powers[::-1], [0.0], powers])


def _empty(cells: np.ndarray, deviation: float) -> int:
    """How many cells from the start hold no more than the noise of their sum; never all."""
    sums = np.cumsum(cells[:-1])
    full = sums > deviation * np.sqrt(np.arange(1, len(cells)))
    return int(np.argmax(full)) if full.any() else len(cells) - 1


def _outwards(edge: float, decimals: int | None, *, upper: bool) -> float:
    if decimals is None:
        return edge
    step = Decimal(1).scaleb(-decimals)
    rounding = ROUND_CEILING if upper else ROUND_FLOOR
    return float(Decimal(edge).quantize(step, rounding=rounding, context=_DIGITS)) + 0.0
