"""Propensity: S_pMSE, how far the propensities of trees are from "can't tell", over chance.

The propensity score mean squared error (Snoke et al. 2018, "General and specific utility measures
for synthetic data"): classification trees, which find interactions by themselves, are fitted to
tell synthetic rows from holdout rows, and the pMSE is the mean squared difference of their
propensities from the share of synthetic rows. Trees always find something: the pMSE is divided by
its mean over random permutations of the labels (of whole patients). 1 is what real patients give.

One tree is greedy and overlooks a lost dependence where no single column gives a table away (three
of five times for independent columns of 300 heart patients): propensities are the mean of ten trees
that each look at a part of the columns at every split.

It is a diagnostic. The ratio grows with the number of rows for any difference whatever, so it can
rank tables of one evaluation and can't be held against a fixed limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, tree_matrix

MIN_ROWS = 20
_DEPTH = 8
_TREES = 10


@dataclass(frozen=True)
class Propensity:
    """The ratio of one table, and the rows a side that it was found on."""

    ratio: float
    rows: int


def propensity(
    holdout: Encoded,
    synthetic: Encoded,
    rng: np.random.Generator,
    *,
    max_rows: int,
    permutations: int,
) -> Propensity | None:
    """The pMSE ratio of a synthetic table; None with fewer than `MIN_ROWS` rows a side.

    Args:
        holdout: Real patients.
        synthetic: The synthetic table.
        rng: Draws rows, where there are more than `max_rows` a side, and permutations.
        max_rows: The most rows a side.
        permutations: Of the labels, for the null expectation.
    """
    size = min(len(holdout), len(synthetic), max_rows)
    if size < MIN_ROWS:
        return None
    real = holdout.take(np.sort(rng.choice(len(holdout), size, replace=False)))
    fake = synthetic.take(np.sort(rng.choice(len(synthetic), size, replace=False)))
    matrix, label = _matrix(real, fake), np.repeat([0, 1], size)
    units = np.concatenate([real.units, fake.units + real.units.max(initial=-1) + 1])
    chance = np.mean([_error(matrix, _permuted(label, units, rng)) for _ in range(permutations)])
    # Where no tree finds anything in permuted labels there is one value only.
    return Propensity(_error(matrix, label) / float(chance) if chance > 0 else 1.0, size)


def _matrix(real: Encoded, fake: Encoded) -> np.ndarray:
    """Numbers and level codes; missing is a value far below.

    Codes are numbered by frequency in the training table: an order without meaning, but the same
    for all tables, and a deep tree can pick single levels out of it.
    """
    both = np.vstack([tree_matrix(real)[0], tree_matrix(fake)[0]])
    return np.where(np.isnan(both), -1e7, both).astype(np.float32)


def _permuted(label: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    return rng.permutation(label[first])[inverse] if found.size else label


def _error(matrix: np.ndarray, label: np.ndarray) -> float:
    from sklearn.tree import DecisionTreeClassifier

    share = float(label.mean())
    if share in (0.0, 1.0):
        return 0.0
    propensities = np.zeros(label.size)
    for seed in range(_TREES):
        tree = DecisionTreeClassifier(
            max_depth=_DEPTH,
            min_samples_leaf=max(10, label.size // 100),
            max_features="sqrt",
            random_state=seed,
        )
        propensities += np.asarray(tree.fit(matrix, label).predict_proba(matrix))[:, 1] / _TREES
    return float(((propensities - share) ** 2).mean())
