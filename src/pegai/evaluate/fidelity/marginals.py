"""Marginals: total variation distances of tables of one, two and three columns.

The k-marginal comparison: columns are cut at quantiles of the real training table ("missing" is a
bin of its own), and the shares of every table of one, two and three columns are compared with the
holdout's. Half the summed difference of shares is the total variation distance: the share of
patients that would have to change cell.

Two finite samples of the same patients are never at distance 0, and the more cells a table has the
farther they are: read a distance beside the one of the training table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.fidelity.marginal_tables import (
    ORDERS,
    Binned,
    Marginals,
    shares,
    tables,
    with_left_out,
)


@dataclass(frozen=True, eq=False)
class RealTables:
    """The shares of all tables of the holdout.

    Attributes:
        marginals: Which tables.
        shares: For each order, the shares of each table, of all patients and then without each
            jackknife group; shape (1 + groups, cells).
    """

    marginals: Marginals
    shares: tuple[tuple[np.ndarray, ...], ...]


def real_tables(marginals: Marginals, holdout: Binned, group: np.ndarray) -> RealTables:
    """Count the holdout, once for all comparisons.

    Args:
        marginals: Which tables.
        holdout: Its bins.
        group: A jackknife group for each row, from 0 without gaps; whole patients.
    """
    groups = int(group.max(initial=0)) + 1
    found = (
        tuple(
            shares(with_left_out(counts))
            for counts in tables(marginals, holdout, order, group, groups)
        )
        for order in ORDERS
    )
    return RealTables(marginals, tuple(found))


@dataclass(frozen=True, eq=False)
class MarginalDistances:
    """The distances of one table of rows from the holdout.

    Attributes:
        marginals: Which tables were compared.
        distances: For each order an array of shape (tables, 1 + groups): against the whole holdout,
            then against it without each jackknife group.
    """

    marginals: Marginals
    distances: tuple[np.ndarray, ...]

    def means(self, order: int) -> np.ndarray:
        """Mean over the tables of an order; shape (1 + groups,), NaN where there are none."""
        found = self.distances[order - 1]
        return found.mean(axis=0) if found.shape[0] else np.full(found.shape[1], np.nan)

    def worst(self, order: int, n: int = 10) -> list[tuple[tuple[str, ...], float]]:
        """The tables of an order that are farthest off, worst first: columns and distance."""
        found, sets = self.distances[order - 1], self.marginals.sets[order - 1]
        chosen = np.argsort(-found[:, 0], kind="stable")[:n]
        return [
            (tuple(self.marginals.names[c] for c in sets[i]), float(found[i, 0])) for i in chosen
        ]


def marginal_distances(real: RealTables, table: Binned) -> MarginalDistances:
    """Compare one table of rows with the holdout."""
    part = np.zeros(table.rows, dtype=np.int64)
    found = tuple(growing_distances(real, table, order, part, 1)[:, 0] for order in ORDERS)
    return MarginalDistances(real.marginals, found)


def growing_distances(
    real: RealTables, table: Binned, order: int, part: np.ndarray, parts: int
) -> np.ndarray:
    """Distances of growing subsamples: rows of parts up to each part.

    Args:
        real: The holdout's tables.
        table: The rows.
        order: 1, 2 or 3.
        part: With which part each row comes in; shape (rows,).
        parts: How many parts.

    Returns:
        Shape (tables, parts, 1 + groups).
    """
    theirs = real.shares[order - 1]
    found = np.zeros((len(theirs), parts, real.shares[0][0].shape[0]))
    for i, counts in enumerate(tables(real.marginals, table, order, part, parts)):
        ours = shares(np.cumsum(counts, axis=0))
        found[i] = np.abs(ours[:, None, :] - theirs[i][None, :, :]).sum(axis=2) / 2
    return found
