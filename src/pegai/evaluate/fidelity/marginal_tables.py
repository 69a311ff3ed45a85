"""Tables of one, two and three columns, counted at once for many parts of a table of rows.

Columns are small whole numbers (the bin of each cell), so that a table of three columns is one pass
of counting. A *part* is a set of rows that counts by itself: the patients of one jackknife group,
or those that a growing subsample adds. Which pairs and triples are counted never depends on the
data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.fidelity.pair_trends import PairBins, bin_codes

ORDERS = (1, 2, 3)
MAX_TRIPLE_LEVELS = 9
"""Bins a column in tables of three columns; those after are one."""


@dataclass(frozen=True, eq=False)
class Marginals:
    """The tables that are counted.

    Attributes:
        names: Columns, numeric ones first.
        bins: How cells become bins.
        sets: For each order, the columns of each table, by position.
    """

    names: tuple[str, ...]
    bins: PairBins
    sets: tuple[tuple[tuple[int, ...], ...], ...]

    def size(self, column: int, order: int) -> int:
        """Bins of a column in tables of an order."""
        found = self.bins.sizes[column]
        return min(found, MAX_TRIPLE_LEVELS) if order == 3 else found


def choose_marginals(
    names: tuple[str, ...],
    bins: PairBins,
    rng: np.random.Generator,
    *,
    max_pairs: int,
    max_triples: int,
) -> Marginals:
    """All columns; all pairs and triples, or as many drawn at random without a look at the data."""
    ones = tuple((i,) for i in range(len(names)))
    return Marginals(
        names,
        bins,
        (ones, _drawn(len(names), 2, max_pairs, rng), _drawn(len(names), 3, max_triples, rng)),
    )


def _drawn(
    columns: int, order: int, most: int, rng: np.random.Generator
) -> tuple[tuple[int, ...], ...]:
    total = math.comb(columns, order)
    if total <= 20 * most:
        found = list(combinations(range(columns), order))
        if total <= most:
            return tuple(found)
        return tuple(found[i] for i in np.sort(rng.choice(total, most, replace=False)))
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < most:
        chosen.add(tuple(sorted(rng.choice(columns, order, replace=False).tolist())))
    return tuple(sorted(chosen))


@dataclass(frozen=True, eq=False)
class Binned:
    """The bins of a table's cells.

    Attributes:
        codes: Shape (columns, rows), a contiguous row for each column.
        short: The same with the levels of tables of three columns.
    """

    codes: np.ndarray
    short: np.ndarray

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.codes.shape[1]


def binned(marginals: Marginals, table: Encoded) -> Binned:
    """The bins of every cell."""
    codes = np.ascontiguousarray(bin_codes(marginals.bins, table).T.astype(np.int64))
    return Binned(codes, np.minimum(codes, MAX_TRIPLE_LEVELS - 1))


def tables(
    marginals: Marginals, table: Binned, order: int, part: np.ndarray, parts: int
) -> Iterator[np.ndarray]:
    """The counts of every table of an order.

    Args:
        marginals: Which tables.
        table: From `binned`.
        order: 1, 2 or 3.
        part: Which part each row is in, from 0; shape (rows,), int64.
        parts: How many parts there are.

    Yields:
        Counts of shape (parts, cells), in the order of `marginals.sets`.
    """
    codes = table.short if order == 3 else table.codes
    offset, first, seen = part, -1, 1
    for columns in marginals.sets[order - 1]:
        if columns[0] != first:  # the sets are sorted: what the first column adds is kept
            first = columns[0]
            seen = marginals.size(first, order)
            offset = part * seen + codes[first]
        index, cells = offset, seen
        for column in columns[1:]:
            size = marginals.size(column, order)
            index = index * size + codes[column]
            cells *= size
        yield np.bincount(index, minlength=parts * cells).reshape(parts, cells)


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their part; a part without rows has shares of 0."""
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def with_left_out(counts: np.ndarray) -> np.ndarray:
    """All rows first, then all but each part: shape (1 + parts, cells)."""
    total = counts.sum(axis=0, keepdims=True)
    return np.vstack([total, total - counts])
