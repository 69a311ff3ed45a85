"""Rows from a mixture: evenly spread over it, and exactly conditional on what is given.

**Evenly spread.** Independent draws would add sampling error to the noise. Components get their
rows by systematic sampling (one random offset), and inside a component each column's rows are
spread evenly over its shares and then shuffled (stratified draws; Cochran 1977, chapter 8). Each
row alone has exactly the mixture's law; the table as a whole is nearer to it than independent rows.

**Conditional.** Given values of some columns, a component's share is its weight times the shares of
what is given (Bayes' rule), and the other columns stay products: exact, whatever is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pegai.synth.marginals.measurements import Array
from pegai.synth.marginals.mixture import Mixture


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sampled codes.

    Attributes:
        classes: Shape (rows,).
        codes: Without the class, int32 of shape (rows, columns).
    """

    classes: Array
    codes: Array


def draw(
    mixture: Mixture,
    n: int,
    rng: np.random.Generator,
    *,
    given: Mapping[int, int] | None = None,
    given_class: int | None = None,
) -> Drawn:
    """Sample n rows in random order.

    Args:
        mixture: The model.
        n: Rows.
        rng: Random numbers.
        given: Column to code, that every row must have.
        given_class: The class that every row must have.
    """
    classes, components, width = mixture.shares.shape
    weights = _posterior(mixture, given or {}, given_class)
    which = _systematic(weights.ravel(), n, rng)
    shares = mixture.shares.reshape(classes * components, width)
    codes = np.empty((n, len(mixture.layout.sizes)), np.int32)
    for column in range(codes.shape[1]):
        if given and column in given:
            codes[:, column] = given[column]
        else:
            inside = shares[:, mixture.layout.span(column)]
            codes[:, column] = spread(inside, which, rng)
    order = rng.permutation(n)
    return Drawn((which // components)[order], codes[order])


def _posterior(mixture: Mixture, given: Mapping[int, int], given_class: int | None) -> Array:
    """Weights of the components given some columns; the prior's where all is impossible."""
    logs = np.log(np.maximum(mixture.weights, 1e-300))
    if given_class is not None:
        logs = np.where(np.arange(len(logs))[:, None] == given_class, logs, -np.inf)
    for column, code in given.items():
        share = mixture.shares[:, :, mixture.layout.span(column)][:, :, code]
        logs = logs + np.log(np.maximum(share, 1e-30))
    raised = np.exp(logs - logs.max())
    return raised / raised.sum()


def _systematic(weights: Array, n: int, rng: np.random.Generator) -> Array:
    """Component of each row, sorted; each gets floor or ceil of its due."""
    places = (np.arange(n) + rng.random()) / n
    cumulated = np.cumsum(weights)
    found = np.searchsorted(cumulated / cumulated[-1], places, side="right")
    return np.minimum(found, len(weights) - 1)


def spread(inside: Array, group: Array, rng: np.random.Generator) -> Array:
    """Codes of rows, evenly spread over the shares of each row's group.

    Args:
        inside: Shares by group, shape (groups, size); rows sum to a positive number.
        group: The group of each row, shape (rows,).
        rng: Random numbers.

    Returns:
        Shape (rows,); each row alone has exactly its group's law.
    """
    counts = np.bincount(group, minlength=len(inside))
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(group))
    ranks[np.lexsort((rng.random(len(group)), group))] = np.arange(len(group))
    places = (ranks - starts[group] + rng.random(len(counts))[group]) / counts[group]
    cumulated = np.cumsum(inside.astype(np.float64), axis=1)
    cumulated /= cumulated[:, -1:]
    # One sorted array serves all groups: group z holds the values in (z, z + 1].
    flat = (cumulated + np.arange(len(inside))[:, None]).ravel()
    codes = np.searchsorted(flat, group + places, side="right") - group * inside.shape[1]
    return np.clip(codes, 0, inside.shape[1] - 1)
