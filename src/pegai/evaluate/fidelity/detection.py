"""Detection: can a gradient-boosted classifier tell synthetic patients from real ones?

The classifier two-sample test (Lopez-Paz and Oquab 2017): the area under the ROC curve of
cross-validated predictions, synthetic against the *holdout*. One half is ideal. Below one half is
kept as it is: it is chance, or a table that shares rows with the holdout.

Rows that are equal, and rows of one patient, always fall into the same fold; else a table of copies
would be scored far below one half. Small tables make one cross-validation noisy, so it is repeated
with several seeds and averaged. Scores are compared within folds only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pegai.evaluate.features import Encoded, tree_matrix
from pegai.streams import Streams

FOLDS = 5
MIN_ROWS = 20
MAX_ROWS = 20_000
"""Rows a side; larger tables are subsampled (the standard error of the area is then 0.003)."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What the classifier could tell.

    Attributes:
        placements: For each holdout row, the share of synthetic rows of its fold that look more
            synthetic than it (ties one half), averaged over repeats; NaN where it was not used.
        synthetic_error: Standard error of the area from the sampling of synthetic rows.
        note: Why there is no figure; empty otherwise.
    """

    placements: np.ndarray
    synthetic_error: float = 0.0
    note: str = ""

    @property
    def auc(self) -> float:
        """Area under the ROC curve; NaN is not assessed."""
        used = self.placements[~np.isnan(self.placements)]
        return float(used.mean()) if used.size else float("nan")

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The area on resamples of the holdout's patients; weights of shape (resamples, rows)."""
        used = ~np.isnan(self.placements)
        total = weights[:, used].sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, weights[:, used] @ self.placements[used] / total, np.nan)


def detection(
    holdout: Encoded, synthetic: Encoded, streams: Streams, *, max_rows: int = MAX_ROWS
) -> Detection:
    """Cross-validated detection of synthetic rows against the holdout.

    The larger side is subsampled to the size of the smaller, anew at each repeat.

    Args:
        holdout: Real patients that the generator never saw.
        synthetic: The synthetic table, by the same coding.
        streams: Seeds; the same for every table, so that tables are compared on equal folds.
        max_rows: Rows a side; larger tables are subsampled.
    """
    size = min(len(holdout), len(synthetic), max_rows)
    empty = np.full(len(holdout), np.nan)
    if size < MIN_ROWS:
        return Detection(empty, note=f"not assessed: {size} rows a side, {MIN_ROWS} are needed")
    total, count = np.zeros(len(holdout)), np.zeros(len(holdout))
    variances = []
    for repeat in range(_repeats(size)):
        rng = streams.child("detection").get("split", repeat)
        real_rows = _choose(rng, len(holdout), size)
        fake_rows = _choose(rng, len(synthetic), size)
        found = _one_pass(holdout.take(real_rows), synthetic.take(fake_rows), rng)
        if found is None:
            note = "not assessed: too few distinct rows for cross-validation"
            return Detection(empty, note=note)
        real, fake = found
        known = ~np.isnan(real)
        total[real_rows[known]] += real[known]
        count[real_rows[known]] += 1
        variances.append(np.nanvar(fake) / max(1, int((~np.isnan(fake)).sum())))
    placements = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Detection(placements, float(np.sqrt(np.mean(variances))))


def _repeats(size: int) -> int:
    return 3 if size <= 1_000 else 2 if size <= 3_000 else 1


def _choose(rng: np.random.Generator, available: int, size: int) -> np.ndarray:
    # Sorted: the canonical order of rows is kept, so ties are broken in the same way.
    return np.sort(rng.choice(available, size, replace=False))


def _one_pass(
    holdout: Encoded, synthetic: Encoded, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Placements of holdout and synthetic rows from one cross-validation; None if impossible."""
    matrix, nominal = tree_matrix(holdout)
    matrix = np.vstack([matrix, tree_matrix(synthetic)[0]])
    label = np.repeat([0, 1], [len(holdout), len(synthetic)])
    folds = grouped_folds(row_groups(holdout, synthetic), label, rng)
    placements = np.full(label.size, np.nan)
    done = 0
    for fold in range(FOLDS):
        test = folds == fold
        train, real, fake = ~test, test & (label == 0), test & (label == 1)
        if not real.any() or not fake.any() or np.unique(label[train]).size < 2:
            continue
        scores = _fit_predict(matrix[train], label[train], matrix[test], nominal)
        by_label = label[test]
        real_scores, fake_scores = scores[by_label == 0], scores[by_label == 1]
        placements[real] = _placement(real_scores, fake_scores)
        placements[fake] = 1.0 - _placement(fake_scores, real_scores)
        done += 1
    return (placements[: len(holdout)], placements[len(holdout) :]) if done >= 2 else None


def _fit_predict(
    train: np.ndarray, label: np.ndarray, test: np.ndarray, nominal: np.ndarray
) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    usable = ~np.isnan(train).all(axis=0)
    if not usable.any():
        return np.zeros(test.shape[0])
    model = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=min(20, max(2, train.shape[0] // 20)),
        l2_regularization=1.0,
        categorical_features=nominal[usable],  # pyright: ignore[reportArgumentType]
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=0,
    )
    model.fit(train[:, usable], label)
    return np.asarray(model.predict_proba(test[:, usable]))[:, 1]


def _placement(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    ordered = np.sort(fake)
    below = np.searchsorted(ordered, real, side="left")
    upto = np.searchsorted(ordered, real, side="right")
    return 1.0 - (below + upto) / (2 * ordered.size)


def row_groups(holdout: Encoded, synthetic: Encoded) -> np.ndarray:
    """Groups that must not straddle folds: equal rows and rows of one patient, chained.

    Returns:
        Group of each holdout row, then of each synthetic row.
    """
    synthetic_units = synthetic.units + holdout.units.max(initial=-1) + 1
    units = np.concatenate([holdout.units, synthetic_units])
    unit = np.unique(units, return_inverse=True)[1]
    key = np.unique(np.concatenate([holdout.keys, synthetic.keys]), return_inverse=True)[1]
    key = key + unit.max(initial=-1) + 1
    nodes = int(key.max(initial=-1)) + 1
    graph = coo_matrix((np.ones(unit.size), (unit, key)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][unit]


def grouped_folds(groups: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fold for each row: groups stay whole, the share of the labels is alike in every fold."""
    _, inverse = np.unique(groups, return_inverse=True)
    size = np.bincount(inverse)
    fake = np.bincount(inverse, weights=label)
    stratum = np.where(fake == 0, 0, np.where(fake == size, 2, 1))
    fold_of = np.empty(size.size, dtype=np.int64)
    start = 0
    for kind in range(3):
        members = rng.permutation(np.flatnonzero(stratum == kind))
        members = members[np.argsort(-size[members], kind="stable")]  # large groups spread first
        fold_of[members] = (start + np.arange(members.size)) % FOLDS
        start += members.size
    return fold_of[inverse]
