"""Conditionals: how well each column of real patients is predicted by what the others taught.

Tables of few columns say little about how a column hangs on all others together, and their mean
over all pairs, most of which are nearly independent, hardly falls where dependence is lost. So
each column is also predicted from all others: ridge regressions of the indicators of its bins on
those of all other columns, learned on one table and judged by the squared error (Brier's score) on
the holdout. A table whose columns are independent teaches nothing, and does as badly as a handful
of patients.

All regressions come from one inverse: that of the indicators' Gram matrix, whose blocks hold the
coefficients of every column on the others (as the precision matrix does for a Gaussian; Lauritzen,
Graphical Models, 1996, appendix C). So 50 columns cost what one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.fidelity.marginal_tables import Binned, Marginals

RIDGE = 5.0
"""Penalty of each coefficient but the constant's, in rows."""

MAX_WIDTH = 600
"""Indicators; of wider tables, columns are drawn at random without a look at the data."""

_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class RealConditionals:
    """The holdout's Gram matrices.

    Attributes:
        columns: The columns used, by position.
        sizes: Indicators of each.
        grams: Of all patients and then without each jackknife group, a row on average; shape
            (1 + groups, width, width), the last indicator is the constant.
    """

    columns: np.ndarray
    sizes: tuple[int, ...]
    grams: np.ndarray


def real_conditionals(
    marginals: Marginals, holdout: Binned, group: np.ndarray, rng: np.random.Generator
) -> RealConditionals:
    """Prepare the holdout, once for all comparisons.

    Args:
        marginals: The columns and their bins; those of tables of three columns are used.
        holdout: Its bins.
        group: A jackknife group for each row, from 0 without gaps.
        rng: Draws columns, where there are too many.
    """
    all_sizes = np.array([marginals.size(i, 3) for i in range(len(marginals.names))], dtype=int)
    order = rng.permutation(all_sizes.size)
    kept = order[np.cumsum(all_sizes[order]) <= MAX_WIDTH]
    columns = np.sort(kept)
    sizes = tuple(int(size) for size in all_sizes[columns])
    parts = np.array(
        [_gram(holdout.short[columns][:, group == g], sizes) for g in range(group.max() + 1)]
    )
    total = parts.sum(axis=0)
    grams = np.concatenate([total[None], total - parts])
    rows = np.maximum(grams[:, -1:, -1:], 1.0)
    return RealConditionals(columns, sizes, grams / rows)


def conditional_errors(
    real: RealConditionals, table: Binned, part: np.ndarray | None = None, parts: int = 1
) -> np.ndarray:
    """Mean squared error over the columns, of what growing subsamples teach.

    Args:
        real: The prepared holdout.
        table: The rows that are learned from.
        part: With which part each row comes in; None is all at once.
        parts: How many parts.

    Returns:
        Shape (parts, 1 + groups); NaN for fewer than two columns.
    """
    groups = real.grams.shape[0]
    found = np.full((parts, groups), np.nan)
    if len(real.sizes) < 2:
        return found
    codes = table.short[real.columns]
    total = np.zeros(real.grams.shape[1:])
    for i in range(parts):
        total += _gram(codes if part is None else codes[:, part == i], real.sizes)
        residual = _residuals(total, real.sizes)
        # trace(R' G R) for every G, by way of R R'.
        squares = (residual @ residual.T).ravel()
        found[i] = real.grams.reshape(groups, -1) @ squares / len(real.sizes)
    return np.round(np.maximum(found, 0.0), 12)


def _gram(codes: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    width = sum(sizes) + 1
    total = np.zeros((width, width))
    starts = np.cumsum([0, *sizes])
    for start in range(0, codes.shape[1], _CHUNK):
        chunk = codes[:, start : start + _CHUNK].T
        hot = np.zeros((chunk.shape[0], width), dtype=np.float32)
        hot[np.arange(chunk.shape[0])[:, None], chunk + starts[:-1]] = 1.0
        hot[:, -1] = 1.0
        total += hot.T @ hot  # whole numbers below 2^24: exact in single precision
    return total


def _residuals(gram: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Coefficients of every indicator's residual; shape (width, width - 1)."""
    penalty = np.full(gram.shape[0], RIDGE)
    penalty[-1] = 1e-6
    inverse = np.linalg.inv(gram + np.diag(penalty))
    found = np.empty((gram.shape[0], gram.shape[0] - 1))
    start = 0
    for size in sizes:
        block = slice(start, start + size)
        found[:, block] = inverse[:, block] @ np.linalg.inv(inverse[block, block])
        start += size
    return found
