"""In which order columns are drawn, and which columns tell most about another."""

from __future__ import annotations

import numpy as np

CELLS = 8
"""Cells that a column of more codes is cut into where dependence is measured."""

MAX_ROWS = 20_000
"""Rows that dependence is measured on."""


def coarse(codes: np.ndarray, size: int, *, ordered: bool, missing: bool) -> np.ndarray:
    """Codes in at most `CELLS` cells: of even weight where they are ordered, else by frequency.

    Args:
        codes: Shape (rows,).
        size: Number of codes.
        ordered: Whether their order means something.
        missing: Whether the last code stands for missing; it keeps a cell of its own.
    """
    if size <= CELLS:
        return codes.astype(np.int64)
    counts = np.bincount(codes, minlength=size).astype(float)
    if not ordered:
        ranks = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        return np.minimum(ranks, CELLS - 1)[codes]
    known = counts[: size - missing]
    places = (np.cumsum(known) - known / 2) / max(known.sum(), 1.0)
    cells = np.minimum((places * (CELLS - 1)).astype(np.int64), CELLS - 2)
    return np.append(cells, [CELLS - 1] * missing)[codes]


def dependence(cells: np.ndarray) -> np.ndarray:
    """Mutual information of all pairs of columns in nats, less its bias (Miller 1955).

    Args:
        cells: Coarse codes, shape (rows, columns).

    Returns:
        Shape (columns, columns), with a diagonal of zero.
    """
    rows, columns = cells.shape
    flags = (cells[:, :, None] == np.arange(CELLS)).reshape(rows, -1).astype(np.float32)
    joint = (flags.T @ flags).astype(np.float64) / max(rows, 1)
    single = np.diagonal(joint)
    expected = single[:, None] * single[None, :]
    held = joint > 0
    terms = np.zeros_like(joint)
    terms[held] = joint[held] * np.log(joint[held] / expected[held])
    found = terms.reshape(columns, CELLS, columns, CELLS).sum(axis=(1, 3))
    free = (single.reshape(columns, CELLS) > 0).sum(axis=1) - 1.0
    found = np.maximum(found - free[:, None] * free[None, :] / (2 * max(rows, 1)), 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def ordering(
    sizes: tuple[int, ...], target: int | None, numeric: list[int], tells: np.ndarray
) -> list[int]:
    """The order in which columns are drawn.

    The target comes first, so that every other column is drawn with it known; then the numeric
    column that tells most about the others, aside from the one it tells most about, which may be
    its own twin; then all others by rising number of codes.

    Args:
        sizes: Codes a column.
        target: Position of the target, or None.
        numeric: Positions of numeric columns.
        tells: As of `dependence`.
    """
    rising = sorted(range(len(sizes)), key=lambda i: (i != target, sizes[i], i))
    worth = tells.sum(axis=1) - tells.max(axis=1, initial=0.0)
    others = [i for i in numeric if i != target]
    if others:
        second = max(others, key=lambda i: (worth[i], -i))
        rising.remove(second)
        rising.insert(0 if target is None else 1, second)
    return rising
