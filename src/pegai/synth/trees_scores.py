"""Additive scores: what many columns tell together, as questions that a tree can ask.

A tree of some thousand patients asks about ten questions before its leaves are too small, so that
forty columns which each tell a little about another one are lost to it. They are summed up first: a
ridge regression of what the tree is shown of its column (`trees_growing.image_of`) on what is shown
of the columns before it. Its leading fitted directions, cut into even cells, are put to the tree
beside the columns themselves.

The rows that the tree is grown on are scored by a regression on other patients (cross-fitting, with
few folds): else scores that fit by chance, in small tables, would be believed. Leaving out one row
at a time would not do, as the mean of all others gives away the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SCORES = 3
"""Scores a column, at most."""

CELLS = 255
"""Cells that a score is cut into."""

LEAST_SHARE = 0.02
"""Of the variance that the first score tells, that another one tells at least."""

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Ridge penalties that are tried, as pseudo-rows."""

FOLDS = 5

MAX_ROWS = 30_000
"""Rows that scores are fitted on, at most."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one column.

    Attributes:
        features: Columns that are summed up, shape (features,).
        tables: What each code of a feature adds; shape (features, 256, scores), float32.
        edges: Between the cells, rising; shape (scores, `CELLS` - 1), float32.
    """

    features: np.ndarray
    tables: np.ndarray
    edges: np.ndarray

    @property
    def count(self) -> int:
        """Scores of the column."""
        return len(self.edges)

    def cells(self, codes: np.ndarray) -> np.ndarray:
        """The cell of each row by each score; shape (rows, scores), uint8.

        Args:
            codes: Of all columns, shape (columns, rows).
        """
        total = np.zeros((codes.shape[1], self.count), np.float32)
        if self.count:
            for feature, table in zip(self.features, self.tables, strict=True):
                total += table[codes[feature]]
        return self._cut(total)

    def _cut(self, totals: np.ndarray) -> np.ndarray:
        found = np.empty(totals.shape, np.uint8)
        for i, edges in enumerate(self.edges):
            found[:, i] = np.searchsorted(edges, totals[:, i], side="right")
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        return {
            "scored": self.features,
            "tables": self.tables,
            "edges": self.edges,
        }

    @classmethod
    def from_arrays(cls, part: Mapping[str, np.ndarray]) -> Scores:
        """The inverse of `arrays`."""
        return cls(part["scored"], part["tables"], part["edges"])


def no_scores() -> Scores:
    """Where nothing comes before a column."""
    return Scores(
        np.zeros(0, np.int16),
        np.zeros((0, 256, 0), np.float32),
        np.zeros((0, CELLS - 1), np.float32),
    )


def fit_scores(
    codes: np.ndarray,
    features: list[int],
    images: list[np.ndarray],
    shown: np.ndarray,
    fold: np.ndarray,
) -> tuple[Scores, np.ndarray]:
    """The scores of one column, and the cell of each row by a regression on other folds.

    Args:
        codes: Of all columns, shape (rows, columns).
        features: The columns that are summed up.
        images: What is shown of each code of these, each of shape (codes, outputs).
        shown: What is shown of the column itself, shape (rows, outputs).
        fold: Of each row, below `FOLDS`; shape (rows,).

    Returns:
        The scores; and shape (rows, scores), uint8.
    """
    rows = len(codes)
    if not features or rows < 2:
        return no_scores(), np.zeros((rows, 0), np.uint8)
    step = -(-rows // MAX_ROWS)
    fitted = slice(None, None, step)
    basis = np.hstack([i[codes[fitted, f]] for f, i in zip(features, images, strict=True)])
    centre = basis.mean(axis=0)
    basis -= centre
    target = shown[fitted] - shown[fitted].mean(axis=0)
    weights, without = _ridge(basis, target, fold[fitted])
    # Directions of the column's image that the others tell most about.
    spread = without.T @ without / len(without)
    told, axes = np.linalg.eigh(spread)
    told, axes = told[::-1], axes[:, ::-1]
    axes = axes[:, :SCORES][:, told[:SCORES] > LEAST_SHARE * max(told[0], 1e-9)]
    if not axes.shape[1]:
        return no_scores(), np.zeros((rows, 0), np.uint8)
    weights, without = weights @ axes, without @ axes
    tables = np.zeros((len(features), 256, axes.shape[1]), np.float32)
    start = 0
    for i, image in enumerate(images):
        stop = start + image.shape[1]
        tables[i, : len(image)] = (image - centre[start:stop]) @ weights[start:stop]
        start = stop
    levels = np.arange(1, CELLS) / CELLS
    edges = np.quantile(without, levels, axis=0).T.astype(np.float32)
    scores = Scores(np.array(features, np.int16), tables, np.ascontiguousarray(edges))
    if step > 1:
        return scores, scores.cells(codes.T)
    return scores, scores._cut(without.astype(np.float32))


def _ridge(
    basis: np.ndarray, target: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (inputs, outputs), and each row's value by other folds, of `target`'s shape."""
    total, answer = basis.T @ basis, basis.T @ target
    values = np.zeros((len(PENALTIES), *target.shape))
    for number in range(FOLDS):
        here = fold == number
        part = basis[here]
        found = _solved(total - part.T @ part, answer - part.T @ target[here])
        values[:, here] = part @ found
    best = int(np.argmin(((target - values) ** 2).sum(axis=(1, 2))))
    return _solved(total, answer)[best], values[best]


def _solved(gram: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Ridge weights by each penalty, shape (penalties, inputs, outputs)."""
    spread, axes = np.linalg.eigh(gram)
    inverse = 1 / (np.maximum(spread, 0.0) + np.array(PENALTIES)[:, None])
    return axes @ (inverse[:, :, None] * (axes.T @ answer))
