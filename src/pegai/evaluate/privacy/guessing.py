"""Guessing: a secret's values as numbers, when a guess is right, and the best guess of a group.

A secret is one number a row: level codes, or scaled numbers, with a missing value as a level of its
own, far from all others. A guess is right within an absolute tolerance. Relative errors are never
taken: they change with the unit's zero, and for negative guesses a signed one calls everything
right.

| secret | right |
|---|---|
| categories | the same level |
| numbers | within 5 % of the training table's interquartile range |
| numbers whose interquartile range is 0, so that most values are equal | the same value |
| missing | guessed to be missing |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded

TOLERANCE = 0.05
"""Interquartile ranges by which a guessed number may be off."""

MISSING = -3e6
_EQUAL = 1e-9


@dataclass(frozen=True)
class Secret:
    """One column to learn.

    Attributes:
        name: The column.
        is_number: Whether it is numeric.
        tolerance: By how much a guess may be off, in scaled units.
    """

    name: str
    is_number: bool
    tolerance: float

    def values(self, table: Encoded) -> np.ndarray:
        """The secret of each row, `MISSING` where it is missing; shape (rows,), float64."""
        spec = table.features
        if self.is_number:
            place = next(i for i, c in enumerate(spec.numbers) if c.name == self.name)
            found = table.numbers[:, place]
            return np.where(np.isnan(found), MISSING, found)
        place = next(i for i, c in enumerate(spec.discrete) if c.name == self.name)
        codes = table.codes[:, place].astype(np.float64)
        return np.where(codes < 0, MISSING, codes)

    def right(self, guesses: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Whether each guess is right."""
        return np.abs(guesses - truth) <= self.tolerance + _EQUAL


def fit_secret(name: str, train: Encoded) -> Secret:
    """A column as a secret; its tolerance comes from the training table's spread."""
    numbers = [c.name for c in train.features.numbers]
    if name not in numbers:
        return Secret(name, False, 0.0)
    values = train.numbers[:, numbers.index(name)]
    observed = values[~np.isnan(values)]
    spread = float(np.subtract(*np.quantile(observed, [0.75, 0.25]))) if observed.size else 0.0
    return Secret(name, True, TOLERANCE * spread if spread > _EQUAL else 0.0)


@dataclass(frozen=True, eq=False)
class Guesses:
    """The best guess of each group of rows.

    Attributes:
        groups: Group numbers, ascending; shape (groups,).
        value: The guess of each; shape (groups,).
        share: The share of the group's rows for which it is right.
    """

    groups: np.ndarray
    value: np.ndarray
    share: np.ndarray

    def of(self, groups: np.ndarray, default: float) -> np.ndarray:
        """The guess for each row's group, or the default where the group has no rows."""
        if self.groups.size == 0:
            return np.full(groups.shape, default)
        place = np.minimum(np.searchsorted(self.groups, groups), self.groups.size - 1)
        return np.where(self.groups[place] == groups, self.value[place], default)


def best_guesses(groups: np.ndarray, values: np.ndarray, secret: Secret) -> Guesses:
    """For each group the value that is right most often within it.

    Among equals the one that is right most often in the whole table is taken. Counting is done on
    ranks, so that no sum of a group and a value loses digits.

    Args:
        groups: Group of each row; shape (rows,), any sortable type.
        values: The secret of each row.
        secret: Says what is right.
    """
    found, group = np.unique(groups, return_inverse=True)
    levels, rank = np.unique(values, return_inverse=True)
    reach = secret.tolerance + _EQUAL
    low = np.searchsorted(levels, levels - reach, side="left")[rank]
    high = np.searchsorted(levels, levels + reach, side="right")[rank]
    width = levels.size + 1
    key = group.astype(np.int64) * width + rank
    ordered = np.sort(key)
    base = key - rank
    hits = np.searchsorted(ordered, base + high) - np.searchsorted(ordered, base + low)
    everywhere = np.cumsum(np.bincount(rank, minlength=levels.size + 1))
    overall = everywhere[high - 1] - np.where(low > 0, everywhere[low - 1], 0)
    order = np.lexsort([rank, -overall, -hits, group])
    first = order[np.searchsorted(group[order], np.arange(found.size))]
    size = np.bincount(group, minlength=found.size)
    return Guesses(found, values[first], hits[first] / np.maximum(size, 1))


def best_guess(values: np.ndarray, secret: Secret) -> float:
    """The value that is right most often among some rows; NaN without rows."""
    if values.size == 0:
        return math.nan
    return float(best_guesses(np.zeros(values.size, dtype=np.int64), values, secret).value[0])
