"""The largest distance between a class and the whole table, for t-closeness (Li et al. 2007).

Both distances work on the values that occur in a class only, so that they cost as much as there are
rows, not classes times values.
"""

from __future__ import annotations

import numpy as np
import polars as pl


def total_variation(counts: pl.DataFrame) -> float:
    """Equal-distance earth mover's distance: half the sum of |p - q|, the largest of all classes.

    Args:
        counts: Columns `class`, `value` and `n`, one row for each pair that occurs.
    """
    overall = counts.group_by("value").agg(pl.col("n").sum().alias("q"))
    overall = overall.with_columns(pl.col("q") / pl.col("q").sum())
    p = pl.col("n") / pl.col("n").sum()
    # Values that a class lacks add their q: together 1 minus the q of those it has.
    distance = (p - pl.col("q")).abs().sum() + 1 - pl.col("q").sum()
    sums = counts.join(overall, on="value").group_by("class").agg(distance.alias("d"))
    return _bounded(float(sums["d"].max() or 0.0) / 2)  # pyright: ignore[reportArgumentType]


def ordered_distance(counts: pl.DataFrame) -> float:
    """Ordered-distance earth mover's distance: the mean of |F - Q| over the m - 1 steps.

    F and Q are the distribution functions of a class and of the table over the m distinct values of
    the table in their order (Li et al. 2007, section 5.1); the largest of all classes. Between two
    values of a class F is constant and Q rises, so the sum has a closed form by the prefix sums of
    Q on both sides of where Q crosses F.

    Args:
        counts: Columns `class`, `value` (an integer in the order of the values) and `n`.
    """
    ranked = counts.with_columns((pl.col("value").rank("dense") - 1).cast(pl.Int64).alias("i"))
    ranked = ranked.sort("class", "i")
    totals = ranked.group_by("i").agg(pl.col("n").sum()).sort("i")["n"].to_numpy()
    m = totals.size
    if m < 2:
        return 0.0
    Q = np.cumsum(totals) / totals.sum()
    prefix = np.concatenate([[0.0], np.cumsum(Q)])
    group = ranked["class"].to_numpy()
    start = ranked["i"].to_numpy()
    n = ranked["n"].to_numpy().astype(np.float64)
    is_first = np.concatenate([[True], group[1:] != group[:-1]])
    is_last = np.concatenate([is_first[1:], [True]])
    number = np.cumsum(is_first) - 1
    running = np.cumsum(n)
    before = (running - n)[is_first]
    size = np.bincount(number, n)
    F = (running - before[number]) / size[number]
    end = np.where(is_last, m - 1, np.concatenate([start[1:], [0]]))
    # The last step, i = m - 1, has F = Q = 1 and adds nothing; before its first value F is 0.
    inside = _gap(F, start, np.maximum(end, start), Q, prefix)
    head = prefix[start[is_first]]
    distance = (np.bincount(number, inside) + head) / (m - 1)
    return _bounded(float(distance.max()))


def _gap(
    F: np.ndarray, start: np.ndarray, end: np.ndarray, Q: np.ndarray, prefix: np.ndarray
) -> np.ndarray:
    """Sum of |F - Q[i]| for start <= i < end, row by row."""
    cross = np.clip(np.searchsorted(Q, F), start, end)
    below = F * (cross - start) - (prefix[cross] - prefix[start])
    above = (prefix[end] - prefix[cross]) - F * (end - cross)
    return below + above


def _bounded(distance: float) -> float:
    """Within 0 and 1, where rounding may have left it by a hair."""
    return min(1.0, max(0.0, distance))
