"""Pair trends: whether two columns go together as they do in real patients.

Two numeric columns by the difference of their rank correlations, all other pairs by the total
variation distance of their contingency tables, numbers cut at quantiles of the real training table
and "missing" a bin of its own. The comparison is with the holdout.

All contingency tables come from one matrix product of indicator columns, so that fifty columns
cost what one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, one_hot_matrix

MAX_BINS = 5
"""Quantile bins of a numeric column, besides the one for missing values."""

MAX_PAIR_LEVELS = 20
"""Most frequent levels of a discrete column that are told apart; the others are one."""

_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class PairBins:
    """How columns are cut for contingency tables.

    Attributes:
        cuts: Inner edges a numeric column, in scaled units.
        sizes: Bins a column, numeric ones first; bin 0 is "missing".
    """

    cuts: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class PairTrend:
    """How far one pair of columns is from the real pair: 0 is equal, 1 is as far as can be."""

    first: str
    second: str
    metric: str
    distance: float


@dataclass(frozen=True, eq=False)
class PairTrends:
    """The distances of all pairs.

    Attributes:
        names: Columns, numeric ones first.
        distances: Upper triangle by `numpy.triu_indices(len(names), 1)`.
        numeric: How many of the columns are numeric.
    """

    names: tuple[str, ...]
    distances: np.ndarray
    numeric: int

    @property
    def score(self) -> float:
        """One minus the mean distance over pairs: 1 is equal. NaN for fewer than two columns."""
        return 1.0 - float(self.distances.mean()) if self.distances.size else float("nan")

    def worst(self, n: int) -> tuple[PairTrend, ...]:
        """The n pairs that are farthest from the real ones, worst first."""
        rows, cols = np.triu_indices(len(self.names), 1)
        order = np.argsort(-self.distances, kind="stable")[:n]
        return tuple(
            PairTrend(
                self.names[rows[i]],
                self.names[cols[i]],
                "correlation" if cols[i] < self.numeric else "tvd",
                float(self.distances[i]),
            )
            for i in order
        )


def fit_pair_bins(train: Encoded) -> PairBins:
    """Cut numeric columns at quantiles of the real training table."""
    inner = np.linspace(0, 1, MAX_BINS + 1)[1:-1]
    cuts = []
    for i in range(train.numbers.shape[1]):
        observed = train.numbers[~np.isnan(train.numbers[:, i]), i]
        # `inverted_cdf` cuts at values that occur, so a change of unit moves no row over an edge.
        edges = np.quantile(observed, inner, method="inverted_cdf") if observed.size else inner[:0]
        cuts.append(np.unique(edges))
    sizes = [c.size + 2 for c in cuts]
    sizes += [min(c.size, MAX_PAIR_LEVELS) + 1 for c in train.features.discrete]
    return PairBins(tuple(cuts), tuple(sizes))


@dataclass(frozen=True, eq=False)
class PairTables:
    """Every pair of columns of one table.

    Attributes:
        names: Columns, numeric ones first.
        shares: Share of the rows in every pair of bins; shape (all bins, all bins).
        starts: First bin of each column.
        correlation: Rank correlation of the numeric columns; shape (numeric, numeric).
    """

    names: tuple[str, ...]
    shares: np.ndarray
    starts: np.ndarray
    correlation: np.ndarray


def pair_tables(bins: PairBins, table: Encoded) -> PairTables:
    """Count every pair of columns of a coded table."""
    return PairTables(
        table.features.names,
        _contingency(bins, table),
        np.cumsum([0, *bins.sizes])[:-1],
        rank_correlation(table.numbers),
    )


def pair_trends(real: PairTables, synthetic: PairTables) -> PairTrends:
    """Compare every pair of columns of two tables, counted with the same bins."""
    difference = np.abs(real.shares - synthetic.shares)
    starts = real.starts
    if starts.size:
        difference = np.add.reduceat(np.add.reduceat(difference, starts, axis=0), starts, axis=1)
    distances = difference / 2
    numeric = real.correlation.shape[0]
    distances[:numeric, :numeric] = np.abs(real.correlation - synthetic.correlation) / 2
    return PairTrends(real.names, distances[np.triu_indices(starts.size, 1)], numeric)


def bin_codes(bins: PairBins, table: Encoded) -> np.ndarray:
    """The bin of every cell, 0 for missing; shape (rows, columns), int32, numeric columns first."""
    offset = len(bins.cuts)
    codes = np.empty((len(table), len(bins.sizes)), dtype=np.int32)
    for i, cuts in enumerate(bins.cuts):
        values = table.numbers[:, i]
        codes[:, i] = np.where(np.isnan(values), 0, np.searchsorted(cuts, values, side="left") + 1)
    for i in range(table.codes.shape[1]):
        codes[:, offset + i] = np.minimum(table.codes[:, i] + 1, bins.sizes[offset + i] - 1)
    return codes


def _contingency(bins: PairBins, table: Encoded) -> np.ndarray:
    """Shares of every pair of bins; shape (all bins, all bins)."""
    codes = bin_codes(bins, table)
    total = np.zeros((sum(bins.sizes), sum(bins.sizes)))
    for start in range(0, len(table), _CHUNK):
        # Counts below 2^24 are exact in single precision.
        hot = one_hot_matrix(codes[start : start + _CHUNK], bins.sizes, np.float32)
        total += hot.T @ hot
    return total / max(1, len(table))


def rank_correlation(numbers: np.ndarray) -> np.ndarray:
    """Spearman correlation of all pairs, over the rows where both are observed.

    Ranks are taken once a column; a pair without spread has correlation 0.

    Args:
        numbers: Shape (rows, columns), NaN for missing.

    Returns:
        Shape (columns, columns), within -1 and 1.
    """
    from scipy.stats import rankdata

    present = ~np.isnan(numbers)
    ranks = np.zeros_like(numbers)
    for i in range(numbers.shape[1]):
        observed = numbers[present[:, i], i]
        if observed.size:
            ranks[present[:, i], i] = rankdata(observed) / observed.size - 0.5
    seen = present.astype(np.float64)
    count = np.maximum(seen.T @ seen, 1.0)
    first, second = ranks.T @ seen / count, seen.T @ ranks / count
    squares = (ranks**2).T @ seen / count
    variance = np.maximum(squares - first**2, 0.0)
    covariance = ranks.T @ ranks / count - first * second
    scale = np.sqrt(variance * variance.T)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A constant column has a variance of rounding errors only.
        varied = np.minimum(variance, variance.T) > 1e-12
        rho = np.where(varied, covariance / scale, 0.0)
    return np.clip(rho, -1.0, 1.0)
