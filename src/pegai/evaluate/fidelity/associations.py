"""Associations: whether the strength of dependence between two columns is that of real patients.

Two numeric columns by Spearman's correlation. All other pairs by Cramer's V of their table of bins,
"missing" included, corrected for the bias of few patients (Bergsma 2013, "A bias-correction for
Cramer's V and Tschuprow's T"). A figure is the mean absolute difference over pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.fidelity.marginal_tables import Binned, Marginals, tables, with_left_out
from pegai.evaluate.fidelity.pair_trends import rank_correlation


@dataclass(frozen=True, eq=False)
class Associations:
    """The strength of dependence of every pair.

    Attributes:
        rho: Spearman's correlation of pairs of numeric columns, in the order of
            `numpy.triu_indices`; shape (1 + groups, pairs).
        v: Cramer's V of the pairs of `marginals` that are not both numeric; likewise.
    """

    rho: np.ndarray
    v: np.ndarray


def associations(
    marginals: Marginals, table: Encoded, bins: Binned, group: np.ndarray | None = None
) -> Associations:
    """Measure a table, and all of it but each jackknife group where groups are given.

    Args:
        marginals: The pairs.
        table: The coded table.
        bins: Its bins.
        group: A jackknife group for each row, from 0 without gaps; None measures the whole only.
    """
    parts = 1 if group is None else int(group.max(initial=0)) + 1
    part = np.zeros(len(table), dtype=np.int64) if group is None else group
    numeric = table.numbers.shape[1]
    sets = marginals.sets[1]
    found = [
        cramers_v(
            (counts if group is None else with_left_out(counts)).reshape(
                -1, marginals.size(a, 2), marginals.size(b, 2)
            )
        )
        for (a, b), counts in zip(sets, tables(marginals, bins, 2, part, parts), strict=True)
        if b >= numeric
    ]
    kept = [np.ones(len(table), dtype=bool)]
    if group is not None:
        kept += [group != g for g in range(parts)]
    upper = np.triu_indices(numeric, 1)
    rho = np.array([rank_correlation(table.numbers[rows])[upper] for rows in kept])
    v = np.array(found).T if found else np.zeros((len(kept), 0))
    return Associations(rho, v)


def cramers_v(counts: np.ndarray) -> np.ndarray:
    """Bias-corrected Cramer's V; counts of shape (..., rows, columns), 0 where one is constant."""
    n = np.maximum(counts.sum(axis=(-2, -1)), 2.0)
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    expected = rows[..., :, None] * columns[..., None, :] / n[..., None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        chi = np.where(expected > 0, (counts - expected) ** 2 / expected, 0.0).sum(axis=(-2, -1))
    r, c = (rows > 0).sum(axis=-1), (columns > 0).sum(axis=-1)
    phi = np.maximum(0.0, chi / n - (r - 1) * (c - 1) / (n - 1))
    room = np.minimum(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return np.sqrt(np.minimum(1.0, np.where(room > 0, phi / np.where(room > 0, room, 1.0), 0.0)))


def correlation_difference(real: Associations, synthetic: Associations) -> np.ndarray:
    """Mean absolute difference of the correlations; shape (1 + groups,), NaN without pairs."""
    return _mean_difference(real.rho, synthetic.rho)


def contingency_difference(real: Associations, synthetic: Associations) -> np.ndarray:
    """Mean absolute difference of Cramer's V; shape (1 + groups,), NaN without pairs."""
    return _mean_difference(real.v, synthetic.v)


def _mean_difference(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    if real.shape[1] == 0:
        return np.full(real.shape[0], np.nan)
    return np.abs(real - synthetic[:1]).mean(axis=1)
