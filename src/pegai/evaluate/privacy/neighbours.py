"""Neighbours: exact distances from patients to their nearest rows, in blocks of matrix products.

Targets may be subsampled by the caller; the reference never is, since a copy whose source was left
out can't be seen. Reference rows are coded block by block, so that a million of them need no more
memory than one block. Candidates are found in single precision, a few more than asked for; their
distances are then computed from the differences in double precision, so that the distance of a copy
is 0 and not a rounding error.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.evaluate.features import Encoded, distance_matrix, distance_width

_BLOCK = 8_192
_CHUNK = 512
_SPARE = 3  # candidates beyond k, for what single precision puts in the wrong order
_CELLS = 4_000_000  # numbers of the exact pass held at once: 32 MB


class Points(Protocol):
    """Rows with coordinates, which may be computed when they are asked for."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """Coordinates a row."""
        ...

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Coordinates of some rows; shape (rows, width), float64."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayPoints:
    """Coordinates that are there already; shape (rows, width)."""

    values: np.ndarray

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def width(self) -> int:
        """Coordinates a row."""
        return self.values.shape[1]

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Coordinates of some rows."""
        return self.values[rows]


@dataclass(frozen=True, eq=False)
class CodedPoints:
    """A coded table whose coordinates (`distance_matrix`) are computed when asked for."""

    table: Encoded

    def __len__(self) -> int:
        return len(self.table)

    @property
    def width(self) -> int:
        """Coordinates a row."""
        return distance_width(self.table.features)

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Coordinates of some rows."""
        return distance_matrix(self.table.take(rows))


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest reference rows of each target, nearest first.

    Attributes:
        distances: Shape (targets, k); infinite where all rows left are of the same patient.
        index: Positions in the reference; shape (targets, k).
    """

    distances: np.ndarray
    index: np.ndarray


def nearest_distances(
    targets: Points | np.ndarray,
    reference: Points | np.ndarray,
    k: int,
    *,
    target_units: np.ndarray | None = None,
    reference_units: np.ndarray | None = None,
) -> np.ndarray:
    """Distances of `nearest_neighbours`; shape (targets, min(k, rows))."""
    return nearest_neighbours(
        targets, reference, k, target_units=target_units, reference_units=reference_units
    ).distances


def nearest_neighbours(
    targets: Points | np.ndarray,
    reference: Points | np.ndarray,
    k: int,
    *,
    target_units: np.ndarray | None = None,
    reference_units: np.ndarray | None = None,
) -> Neighbours:
    """The k nearest reference rows of each target by Euclidean distance.

    Args:
        targets: Coordinates of shape (targets, width), no NaN, or points.
        reference: The same for the rows to search; shape (rows, width).
        k: Neighbours; fewer where the reference has fewer rows.
        target_units: Patient of each target; with `reference_units`, rows of the same patient are
            not neighbours.
        reference_units: Patient of each reference row.

    Returns:
        min(k, rows) neighbours of each target; rows equally far come in the order of their
        positions.
    """
    left = ArrayPoints(targets) if isinstance(targets, np.ndarray) else targets
    right = ArrayPoints(reference) if isinstance(reference, np.ndarray) else reference
    k = min(k, len(right))
    if k == 0 or len(left) == 0:
        return Neighbours(np.empty((len(left), k)), np.empty((len(left), k), dtype=np.int64))
    own = _own_pairs(target_units, reference_units, len(right))
    candidates = _candidates(left, right, min(k + _SPARE, len(right)), own)
    return _exact(left, right, candidates, k, (target_units, reference_units))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Which (target, reference row) pairs are of one patient, ordered by reference row."""

    target: np.ndarray
    row: np.ndarray

    def within(self, start: int, stop: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of a block of rows and a chunk of targets, by position inside of both."""
        low, high = np.searchsorted(self.row, [start, stop])
        target, row = self.target[low:high], self.row[low:high]
        here = (target >= first) & (target < last)
        return target[here] - first, row[here] - start


def _own_pairs(
    target_units: np.ndarray | None, reference_units: np.ndarray | None, rows: int
) -> _Pairs | None:
    if target_units is None or reference_units is None:
        return None
    order = np.argsort(target_units, kind="stable")
    known = target_units[order]
    low = np.searchsorted(known, reference_units, side="left")
    count = np.searchsorted(known, reference_units, side="right") - low
    row = np.repeat(np.arange(rows), count)
    step = np.arange(row.size) - np.repeat(np.cumsum(count) - count, count)
    return _Pairs(order[np.repeat(low, count) + step], row)


def _candidates(left: Points, right: Points, k: int, own: _Pairs | None) -> np.ndarray:
    """Positions of the k nearest rows in single precision; shape (targets, k), -1 for none."""
    centre = left.at(slice(0, _BLOCK)).mean(axis=0)
    coordinates = (left.at(slice(0, len(left))) - centre).astype(np.float32)
    best = np.full((len(left), k), np.inf, dtype=np.float32)
    index = np.full((len(left), k), -1, dtype=np.int64)
    chunks = [(i, min(i + _CHUNK, len(left))) for i in range(0, len(left), _CHUNK)]
    # Threads over chunks: one thread a matrix product, so that finding the smallest is shared too.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(right), _BLOCK):
            stop = min(start + _BLOCK, len(right))
            block = (right.at(slice(start, stop)) - centre).astype(np.float32)
            half = np.einsum("ij,ij->i", block, block) / 2

            def search(
                chunk: tuple[int, int],
                block: np.ndarray = block,
                half: np.ndarray = half,
                span: tuple[int, int] = (start, stop),
            ) -> None:
                first, last = chunk
                # |a - b|^2 / 2 less |a|^2 / 2, which is the same for all rows.
                near = half - coordinates[first:last] @ block.T
                if own is not None:
                    near[own.within(*span, first, last)] = np.inf
                _keep_nearest(best[first:last], index[first:last], near, span[0])

            list(pool.map(search, chunks))
    return index


def _keep_nearest(best: np.ndarray, index: np.ndarray, near: np.ndarray, start: int) -> None:
    """Put rows of a block that are nearer than the farthest candidate among the candidates."""
    better = np.flatnonzero(near.min(axis=1) < best.max(axis=1))
    if better.size == 0:
        return
    k = best.shape[1]
    found = near[better]
    if found.shape[1] > k:
        place = np.argpartition(found, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(found, place, axis=1)
    else:
        place = np.broadcast_to(np.arange(found.shape[1]), found.shape)
    both = np.hstack([best[better], found])
    where = np.hstack([index[better], place + start])
    chosen = np.argpartition(both, k - 1, axis=1)[:, :k]
    best[better] = np.take_along_axis(both, chosen, axis=1)
    index[better] = np.take_along_axis(where, chosen, axis=1)


def _exact(
    left: Points,
    right: Points,
    candidates: np.ndarray,
    k: int,
    units: tuple[np.ndarray | None, np.ndarray | None],
) -> Neighbours:
    """Distances in double precision; the k nearest, ties in the order of positions."""
    distances = np.empty((len(left), k))
    index = np.empty((len(left), k), dtype=np.int64)
    step = max(1, _CELLS // (candidates.shape[1] * max(1, right.width)))
    for start in range(0, len(left), step):
        part = slice(start, min(start + step, len(left)))
        # None (-1) would be the last row: it is put at infinity below.
        rows = np.sort(np.where(candidates[part] < 0, len(right), candidates[part]), axis=1)
        missing = rows >= len(right)
        rows = np.where(missing, 0, rows)
        found = right.at(rows.ravel()).reshape(*rows.shape, -1)
        far = np.sqrt(((found - left.at(part)[:, None, :]) ** 2).sum(axis=2))
        if units[0] is not None and units[1] is not None:
            missing |= units[1][rows] == units[0][part][:, None]
        far[missing] = np.inf
        order = np.argsort(far, axis=1, kind="stable")[:, :k]
        distances[part] = np.take_along_axis(far, order, axis=1)
        index[part] = np.take_along_axis(rows, order, axis=1)
    return Neighbours(distances, index)
