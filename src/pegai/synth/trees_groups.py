"""Columns of many levels as few groups, so that trees see one byte a cell.

Levels that go with the same values of the other columns stand together in a group; a level that is
frequent enough has a group of its own. Within its group a level is drawn by its share, whatever the
other columns hold: for the two or three patients of a level, no more can be learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_CODES = 255
"""Codes of a column that trees see, at most."""

PRIOR_ROWS = 20.0
"""Rows of the whole table that a level's profile is mixed with: a rare level is no outlier."""

MAX_PROFILE = 64
"""Columns in a level's profile, at most."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Columns of many codes, as groups that a byte can number.

    Attributes:
        columns: Positions of these columns.
        group: For each, the group of each code; shape (codes,).
        shares: For each, the share of each code within its group; shape (codes,).
    """

    columns: tuple[int, ...]
    group: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]

    def apply(self, codes: np.ndarray) -> np.ndarray:
        """Codes with groups in place of the codes of long columns; uint8, the same shape."""
        if not self.columns:
            return codes.astype(np.uint8, copy=False)
        found = np.empty(codes.shape, np.uint8)
        grouped = dict(zip(self.columns, self.group, strict=True))
        for i in range(codes.shape[1]):
            found[:, i] = grouped[i][codes[:, i]] if i in grouped else codes[:, i]
        return found

    def sizes(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Codes or groups a column, from its codes."""
        found = list(sizes)
        for column, group in zip(self.columns, self.group, strict=True):
            found[column] = int(group.max()) + 1
        return tuple(found)

    def of(self, column: int, code: int) -> int:
        """The group of one code."""
        if column not in self.columns:
            return code
        return int(self.group[self.columns.index(column)][code])

    def draw(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Codes from groups, shape (rows, columns)."""
        if not self.columns:
            return groups
        codes = groups.astype(np.int32)
        for column, group, shares in zip(self.columns, self.group, self.shares, strict=True):
            order = np.argsort(group, kind="stable")
            # Group g's levels divide the stretch from g to g + 1.
            upper = np.cumsum(shares[order])
            last = np.append(np.flatnonzero(np.diff(group[order])), len(order) - 1)
            before = np.concatenate([[0.0], upper[last]])[:-1]
            upper = np.minimum(upper - before[group[order]], 1.0) + group[order]
            upper[last] = group[order][last] + 1.0
            places = groups[:, column] + rng.random(len(groups)) * (1 - 1e-9)
            codes[:, column] = order[np.searchsorted(upper, places, side="right")]
        return codes


def fit_groups(codes: np.ndarray, sizes: tuple[int, ...], missing: tuple[bool, ...]) -> Groups:
    """Group the levels of every column of more than `MAX_CODES` codes.

    Args:
        codes: Shape (rows, columns).
        sizes: Codes a column.
        missing: Whether a column's last code stands for missing; it keeps a group of its own, the
            last one.
    """
    long = tuple(i for i, size in enumerate(sizes) if size > MAX_CODES)
    found = [_group(codes, sizes, i, missing[i]) for i in long]
    return Groups(long, tuple(g for g, _ in found), tuple(s for _, s in found))


def _group(
    codes: np.ndarray, sizes: tuple[int, ...], column: int, missing: bool
) -> tuple[np.ndarray, np.ndarray]:
    size, own = sizes[column], codes[:, column]
    levels = size - missing
    rows = np.bincount(own, minlength=size).astype(float)
    order = np.argsort(_axis(codes, sizes, column), kind="stable")
    order = order[order < levels]
    weights = rows[order] + 1e-9
    frequent = weights >= weights.sum() / MAX_CODES
    groups = np.empty(size, np.uint8)
    alone = order[frequent]
    groups[alone] = np.arange(len(alone))
    left = MAX_CODES - missing - len(alone)
    rest = np.cumsum(weights[~frequent])
    places = np.minimum((rest / max(rest[-1:].sum(), 1e-300) * left).astype(int), left - 1)
    groups[order[~frequent]] = len(alone) + np.unique(places, return_inverse=True)[1]
    if missing:
        groups[-1] = int(groups[:-1].max()) + 1
    total = np.bincount(groups, weights=rows)
    count = np.bincount(groups)
    even = 1.0 / count[groups]
    shares = np.where(total[groups] > 0, rows / np.maximum(total[groups], 1.0), even)
    return groups, shares


def _axis(codes: np.ndarray, sizes: tuple[int, ...], column: int) -> np.ndarray:
    """Where each level of a column lies on the first axis of the levels' profiles; shape (codes,).

    A profile is the mean standardised code of the other columns.
    """
    own, size = codes[:, column], sizes[column]
    rows = np.bincount(own, minlength=size)
    profiles = []
    for i in [i for i in range(len(sizes)) if i != column][:MAX_PROFILE]:
        values = codes[:, i].astype(float)
        spread = values.std()
        if spread > 0:
            sums = np.bincount(own, weights=(values - values.mean()) / spread, minlength=size)
            profiles.append(sums / (rows + PRIOR_ROWS))
    if not profiles:
        return -rows.astype(float)
    matrix = np.column_stack(profiles) * np.sqrt(rows)[:, None]
    _, _, axes = np.linalg.svd(matrix.T @ matrix)
    return np.column_stack(profiles) @ axes[0]
