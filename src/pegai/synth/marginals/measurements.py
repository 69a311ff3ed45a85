"""Noisy marginals as one weighted least-squares problem, and its thinning for choosing settings.

Measured tables of two columns, whole or split by class, are laid side by side: for each column i
one block with the cells of (i, j) for all partners j > i. Several measurements of the same table
are joined by their precisions (inverse variances), which loses nothing, since noise is Gaussian.

**Thinning.** Gaussian noise of known variance s^2 can be split after the fact: with e ~ N(0, s^2),
Y + a e and Y - e / a are independent and both centred on the truth (Rasines and Young 2023,
"Splitting strategies for post-selection inference"; Neufeld et al. 2024, "Data thinning"). A model
fitted to the first is judged by the second: settings are chosen without a further look at the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each column's codes lie in a row of all codes side by side.

    Attributes:
        sizes: Codes a column.
    """

    sizes: tuple[int, ...]

    @property
    def starts(self) -> Array:
        """Where each column starts; shape (columns,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.intp)

    @property
    def width(self) -> int:
        """All codes together."""
        return int(sum(self.sizes))

    def span(self, column: int) -> slice:
        """Where a column lies."""
        start = int(sum(self.sizes[:column]))
        return slice(start, start + self.sizes[column])


@dataclass(frozen=True, eq=False)
class NoisyTable:
    """A measured table.

    Attributes:
        columns: (i,) or (i, j) with i < j.
        counts: Noisy patients, shape (classes, size_i[, size_j]); one class where it is whole.
        deviation: Standard deviation of the noise in each cell, in patients; above 0. A number,
            or one for each code of the last column.
        impossible: Where no row can be, of the shape of the counts, which are 0 there; None is
            nowhere.
    """

    columns: tuple[int, ...]
    counts: Array
    deviation: float | Array
    impossible: Array | None = None

    def is_split(self, classes: int) -> bool:
        """Whether it is by class (with one class there is no difference)."""
        return classes > 1 and len(self.counts) == classes


@dataclass(frozen=True, eq=False)
class Cells:
    """Noisy counts with their precisions; 0 where nothing was measured."""

    counts: Array
    precision: Array

    @classmethod
    def none(cls, *shape: int) -> Cells:
        """Nothing measured."""
        return cls(np.zeros(shape), np.zeros(shape))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self.precision.any()

    def join(self, counts: Array, deviation: float | Array, where: tuple[slice, ...]) -> None:
        """Add a measurement by precision, in place: only while a problem is being built."""
        old, new = self.precision[where], np.asarray(deviation, float) ** -2.0
        total = old + new
        self.counts[where] = (old * self.counts[where] + new * counts) / total
        self.precision[where] = total

    def thinned(self, share: float, rng: np.random.Generator) -> tuple[Cells, Cells]:
        """Two independent measurements: one to fit, one to judge; see the module."""
        with np.errstate(divide="ignore"):
            deviation = np.where(self.precision > 0, self.precision**-0.5, 0.0)
        noise = deviation * rng.standard_normal(self.counts.shape)
        fitted = Cells(self.counts + share * noise, self.precision / (1 + share**2))
        judging = Cells(self.counts - noise / share, self.precision / (1 + share**-2))
        return fitted, judging


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Tables of one column with later ones.

    Attributes:
        column: i.
        partners: Codes of the partner columns j > i, positions in the layout; shape (width,).
        whole: Over all classes, shape (1, size_i, width).
        split: By class, shape (classes, size_i, width).
    """

    column: int
    partners: Array
    whole: Cells
    split: Cells

    @cached_property
    def places(self) -> Array | slice:
        """The partners, as a slice where they lie side by side: that needs no copy."""
        first, last = int(self.partners[0]), int(self.partners[-1])
        return slice(first, last + 1) if last - first + 1 == len(self.partners) else self.partners


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything that was measured, in patients.

    Attributes:
        layout: The columns, without the class.
        totals: Patients a class, above 0; shape (classes,). Taken as known.
        ones: One-way tables over all classes, shape (1, width).
        split_ones: One-way tables by class, shape (classes, width).
        blocks: Two-way tables.
    """

    layout: Layout
    totals: Array
    ones: Cells
    split_ones: Cells
    blocks: tuple[RowBlock, ...]

    @classmethod
    def of(cls, layout: Layout, totals: Array, tables: Iterable[NoisyTable]) -> Problem:
        """Lay out measured tables."""
        tables, classes = list(tables), len(totals)
        ones, split_ones = Cells.none(1, layout.width), Cells.none(classes, layout.width)
        for table in tables:
            if len(table.columns) == 1:
                target = split_ones if table.is_split(classes) else ones
                where = (slice(None), layout.span(table.columns[0]))
                target.join(table.counts, table.deviation, where)
        pairs = [t for t in tables if len(t.columns) == 2]
        firsts = sorted({t.columns[0] for t in pairs})
        blocks = [
            _row_block(layout, classes, i, [t for t in pairs if t.columns[0] == i]) for i in firsts
        ]
        return cls(layout, totals, ones, split_ones, tuple(blocks))

    def thinned(self, share: float, rng: np.random.Generator) -> tuple[Problem, Problem]:
        """Two independent problems: one to fit, one to judge; the totals are shared."""
        ones = self.ones.thinned(share, rng)
        split_ones = self.split_ones.thinned(share, rng)
        whole = [b.whole.thinned(share, rng) for b in self.blocks]
        split = [b.split.thinned(share, rng) for b in self.blocks]

        def side(k: int) -> Problem:
            triples = zip(self.blocks, whole, split, strict=True)
            blocks = tuple(replace(b, whole=w[k], split=s[k]) for b, w, s in triples)
            return Problem(self.layout, self.totals, ones[k], split_ones[k], blocks)

        return side(0), side(1)

    @property
    def known_ones(self) -> Array:
        """One-way counts over all classes by precision, not below 0; shape (width,)."""
        classes = len(self.totals)
        precise = np.array([self.ones.precision[0], self.split_ones.precision[0] / classes])
        counts = np.array([self.ones.counts[0], self.split_ones.counts.sum(axis=0)])
        return np.maximum((precise * counts).sum(axis=0) / precise.sum(axis=0), 0.0)


def _row_block(layout: Layout, classes: int, column: int, tables: list[NoisyTable]) -> RowBlock:
    partners = sorted({t.columns[1] for t in tables})
    widths = [layout.sizes[j] for j in partners]
    ends = np.cumsum(widths)
    places = {j: slice(int(e - w), int(e)) for j, w, e in zip(partners, widths, ends, strict=True)}
    size, width = layout.sizes[column], int(ends[-1])
    whole, split = Cells.none(1, size, width), Cells.none(classes, size, width)
    for table in tables:
        target = split if table.is_split(classes) else whole
        where = (slice(None), slice(None), places[table.columns[1]])
        target.join(table.counts, table.deviation, where)
    spans = [np.arange(layout.width)[layout.span(j)] for j in partners]
    return RowBlock(column, np.concatenate(spans), whole, split)
