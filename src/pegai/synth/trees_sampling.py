"""Rows from the trees of all columns, also under conditions, at a fixed cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pegai.synth.trees_growing import Forest
from pegai.synth.trees_scores import Scores

WHOLE = 65_535
"""Steps that a probability is kept in."""

POOL_FACTOR = 4
MIN_POOL = 4096
MAX_POOL = 262_144

LEAST_EFFECTIVE = 0.5
"""Share of the pool's effective size (Kong, Liu and Wong 1994), below which it is drawn anew."""


@dataclass(frozen=True, eq=False)
class ColumnTrees:
    """How one column is drawn from those before it.

    Attributes:
        features: Columns that the trees ask about, shape (features,).
        ranks: The rank of each code of a feature; shape (features, 256), uint8.
        scores: What the columns tell together.
        forest: The trees, over ranks, then the scores' cells.
        row: The row of `upper` of each leaf; shape (nodes,).
        upper: Cumulated shares of the codes in steps of 1 / `WHOLE`; shape (leaves, codes), uint16.
        score: Log-likelihood of a left-out row, in nats.
    """

    features: np.ndarray
    ranks: np.ndarray
    scores: Scores
    forest: Forest
    row: np.ndarray
    upper: np.ndarray
    score: float = 0.0

    @property
    def size(self) -> int:
        """Codes of the column."""
        return self.upper.shape[1]

    def leaves(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The row of `upper` by which each row draws; shape (rows,).

        Args:
            codes: Of all columns, shape (columns, rows).
            rng: Chooses the tree.
        """
        rows, trees = codes.shape[1], len(self.forest.roots)
        width = len(self.features)
        ranks = np.empty((rows, width + self.scores.count), np.uint8)
        for i, feature in enumerate(self.features):
            np.take(self.ranks[i], codes[feature], out=ranks[:, i])
        ranks[:, width:] = self.scores.cells(codes)
        tree = rng.integers(trees, size=rows) if trees > 1 else np.zeros(rows, np.int64)
        return self.row[self.forest.descend(ranks, tree)]

    def draw(self, leaves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Codes, shape (rows,), by halving the codes until one is left."""
        wanted = rng.integers(WHOLE, size=len(leaves), dtype=np.uint16)
        flat, start = self.upper.ravel(), leaves.astype(np.int64) * self.size
        place = np.zeros(len(leaves), np.int64)
        step = 1 << max(self.size - 1, 0).bit_length() >> 1
        while step:
            following = np.minimum(place + step, self.size - 1)
            place = np.where(flat[start + following - 1] <= wanted, following, place)
            step >>= 1
        return place.astype(np.uint8)

    def log_share(self, leaves: np.ndarray, code: int) -> np.ndarray:
        """Log-probability of one code, shape (rows,); at least that of half a step."""
        high = self.upper[leaves, code].astype(np.float64)
        low = self.upper[leaves, code - 1] if code > 0 else 0.0
        return np.log(np.maximum(high - low, 0.5) / WHOLE)

    def arrays(self, place: int) -> dict[str, np.ndarray]:
        """Its arrays by name; `place` is its position in the order."""
        parts = {
            "features": self.features,
            "ranks": self.ranks,
            "row": self.row,
            "upper": self.upper,
            "feature": self.forest.feature,
            "threshold": self.forest.threshold,
            "left": self.forest.left,
            "roots": self.forest.roots,
            **self.scores.arrays(),
        }
        return {f"{place:04d}.{name}": part for name, part in parts.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], place: int) -> ColumnTrees:
        """The inverse of `arrays`.

        Raises:
            ValueError: The arrays are no trees.
        """
        start = f"{place:04d}."
        part = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        forest = Forest(part["feature"], part["threshold"], part["left"], part["roots"])
        nodes = np.arange(len(forest.left))
        # Children come after their parent, so that every descent ends.
        if not ((forest.left >= nodes) & (forest.left < len(nodes))).all():
            raise ValueError("a tree points at a node that is not below")
        scores, ranks = Scores.from_arrays(part), part["ranks"]
        asked = len(ranks) + scores.count
        places = ((forest.feature, max(asked, 1)), (forest.roots, len(nodes)))
        for held, end in (*places, (part["row"], len(part["upper"]))):
            if ((held < 0) | (held >= end)).any():
                raise ValueError("a tree points at what is not there")
        return cls(part["features"], ranks, scores, forest, part["row"], part["upper"])


def steps_of(shares: np.ndarray) -> np.ndarray:
    """Cumulated shares in steps of 1 / `WHOLE`; shape (leaves, codes), uint16."""
    upper = np.cumsum(shares, axis=1)
    return np.round(upper / upper[:, -1:] * WHOLE).astype(np.uint16)


def draw_codes(
    order: tuple[int, ...],
    columns: tuple[ColumnTrees, ...],
    wanted: Mapping[int, int],
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Codes of n rows, each with the wanted codes; shape (columns, n), uint8.

    Columns are drawn in order. Where all wanted columns come first, the rest is drawn as it is.
    Else a pool of rows is drawn with the wanted codes set; each row is weighted by the probability
    of what was set, and the pool is drawn anew by weight whenever few rows carry most of it
    (sequential importance resampling, Gordon, Salmond and Smith 1993). Nothing is rejected, so
    that the cost is the same whatever is wanted.

    Args:
        order: Positions of the columns, as they are drawn.
        columns: Their trees, in this order.
        wanted: Code by position.
        n: Rows.
        rng: Trees and codes.
    """
    free = next((i for i, column in enumerate(order) if column not in wanted), len(order))
    weighted = len(wanted) > free
    size = int(np.clip(POOL_FACTOR * n, MIN_POOL, max(MAX_POOL, n))) if weighted else n
    codes = np.zeros((len(order), size), np.uint8)
    weights = np.zeros(size)
    for i, (place, trees) in enumerate(zip(order, columns, strict=True)):
        if place in wanted and i < free:
            codes[place] = wanted[place]
            continue
        leaves = trees.leaves(codes, rng)
        if place not in wanted:
            codes[place] = trees.draw(leaves, rng)
            continue
        codes[place] = wanted[place]
        weights += trees.log_share(leaves, wanted[place])
        if _effective(weights) < LEAST_EFFECTIVE * size:
            codes = codes[:, _resampled(weights, size, rng)]
            weights = np.zeros(size)
    return codes[:, rng.permutation(_resampled(weights, n, rng))] if weighted else codes


def _effective(weights: np.ndarray) -> float:
    shares = np.exp(weights - weights.max())
    return float(shares.sum() ** 2 / (shares**2).sum())


def _resampled(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions drawn by weight, systematically (Kitagawa 1996); shape (n,)."""
    total = np.cumsum(np.exp(weights - weights.max()))
    places = (np.arange(n) + rng.random()) / n * total[-1]
    return np.minimum(np.searchsorted(total, places, side="right"), len(weights) - 1)
