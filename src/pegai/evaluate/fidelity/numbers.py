"""Numbers: distances of single numeric columns, over what is observed.

Kolmogorov and Smirnov's (largest difference of the distribution functions) and Wasserstein's of
order 1 (area between them: how far values would have to be moved, in interquartile ranges of the
real training table). Missing rates are compared by themselves, in `missingness`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded


@dataclass(frozen=True, eq=False)
class NumberDistances:
    """The distances of every numeric column.

    Attributes:
        names: The columns.
        ks: Shape (columns, 1 + groups): against the whole holdout, then without each jackknife
            group; NaN where the holdout has no value, 1 where only the synthetic table has none.
        wasserstein: The same, NaN where either has no value.
    """

    names: tuple[str, ...]
    ks: np.ndarray
    wasserstein: np.ndarray


def number_distances(
    holdout: Encoded, group: np.ndarray, groups: int, synthetic: Encoded
) -> NumberDistances:
    """Compare every numeric column.

    Args:
        holdout: Real patients.
        group: A jackknife group for each row, from 0.
        groups: How many groups.
        synthetic: The synthetic table.
    """
    columns = holdout.numbers.shape[1]
    ks, wasserstein = np.full((2, columns, 1 + groups), np.nan)
    for i in range(columns):
        ks[i], wasserstein[i] = _distances(
            holdout.numbers[:, i], group, groups, synthetic.numbers[:, i]
        )
    return NumberDistances(tuple(c.name for c in holdout.features.numbers), ks, wasserstein)


def _distances(
    real: np.ndarray, group: np.ndarray, groups: int, fake: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(real)
    real, group, fake = real[known], group[known], fake[~np.isnan(fake)]
    nothing = np.full(1 + groups, np.nan)
    if real.size == 0:
        return nothing, nothing
    if fake.size == 0:
        return np.ones(1 + groups), nothing
    pooled = np.concatenate([real, fake])
    order = np.argsort(pooled, kind="stable")
    values = pooled[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    label = np.concatenate([group, np.full(fake.size, groups)])[order]
    counts = np.zeros((values.size, groups + 1), dtype=np.int32)
    counts[np.arange(values.size), label] = 1
    below = np.cumsum(counts, axis=0, dtype=np.int32)[last]
    total = below[:, :groups].sum(axis=1, keepdims=True)
    reals = np.hstack([total, total - below[:, :groups]])
    sizes = np.where(reals[-1] > 0, reals[-1], np.nan)
    gap = np.abs(reals / sizes - below[:, groups:] / fake.size)
    return gap.max(axis=0), np.diff(values[last]) @ gap[:-1]
