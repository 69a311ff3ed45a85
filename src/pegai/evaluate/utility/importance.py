"""Permutation importance: which columns a model leans on, and whether two models agree on it.

A column's importance is what the figure of merit loses on the holdout when the column's values are
shuffled among patients (Breiman 2001; Fisher, Rudin and Dominici 2019). The same shuffles serve
every model, so that models differ by what they learned and not by luck.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pegai.evaluate.intervals import GROUPS, jackknife_groups
from pegai.evaluate.utility.learners import Side
from pegai.streams import Streams

MAX_ROWS = 2_000
REPEATS = 3
"""Groups of patients left out in turn, for an interval by the jackknife."""

Worth = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Scores, truth and weights (weightings, rows) to a figure for each weighting."""


def permutation_importance(
    scores: Callable[[Side], np.ndarray],
    test: Side,
    truth: np.ndarray,
    units: np.ndarray,
    worth: Worth,
    streams: Streams,
) -> np.ndarray:
    """Loss of worth from shuffling each column of the trees' matrix.

    Args:
        scores: The model, as a function of a side.
        test: The holdout in the model's coding.
        truth: The target; shape (rows,).
        units: The patient of each row.
        worth: The figure of merit.
        streams: Seeds of the shuffles.

    Returns:
        Shape (1 + `GROUPS`, columns): over all rows, then without each group of patients; NaN where
        the figure of merit is.
    """
    streams = streams.child("importance")
    rows = np.arange(truth.size)
    if rows.size > MAX_ROWS:
        rows = np.sort(streams.get("split").choice(rows, MAX_ROWS, replace=False))
    matrix, truth = test.trees[rows], truth[rows]
    weights = np.vstack([np.ones((1, rows.size)), _left_out(units[rows], streams)])
    whole = worth(scores(Side(matrix, test.linear[rows])), truth, weights)
    rng = streams.get("model")
    orders = [rng.permutation(rows.size) for _ in range(REPEATS)]
    found = np.zeros((weights.shape[0], matrix.shape[1]))
    for column in range(matrix.shape[1]):
        for order in orders:
            shuffled = matrix.copy()
            shuffled[:, column] = matrix[order, column]
            found[:, column] += whole - worth(
                scores(Side(shuffled, test.linear[rows])), truth, weights
            )
    return found / REPEATS


def _left_out(units: np.ndarray, streams: Streams) -> np.ndarray:
    """Weight 0 for the rows of a group of patients; shape (GROUPS, rows)."""
    group = jackknife_groups(units, streams)
    return (group[None] != np.arange(GROUPS)[:, None]).astype(np.float64)


def rank_agreement(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's correlation of two rankings, ties at their mean rank; NaN where one is constant.

    Args:
        left: Importances; shape (columns,).
        right: The same columns by another model.
    """
    from scipy.stats import rankdata

    if left.size < 3 or np.isnan(left).any() or np.isnan(right).any():
        return float("nan")
    # Nine decimals: the order of sums must not break a tie.
    first, second = (rankdata(np.round(values, 9)) for values in (left, right))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def kendall_tau(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of many pairs of rankings; NaN where one has no order.

    Args:
        left: Shape (rankings, items).
        right: The same shape.

    Returns:
        Shape (rankings,).
    """
    i, j = np.triu_indices(left.shape[1], 1)
    first, second = (np.sign(np.round(v[:, i] - v[:, j], 9)) for v in (left, right))
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, (first * second).sum(axis=1) / size, np.nan)
