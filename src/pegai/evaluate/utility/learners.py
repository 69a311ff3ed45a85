"""Learners: the classifiers and regressors that stand for "an analyst's model".

Each takes a training side and the holdout's rows and gives scores; none ever fails on a training
side that is small, has one class only, or lacks a class that the holdout has.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.evaluate.features import Encoded, fit_linear, linear_matrix, tree_matrix

LEARNERS: dict[str, str] = {
    "gradient_boosting": "Gradient boosting",
    "random_forest": "Random forest",
    "logistic_regression": "Logistic regression",
    "k_nearest_neighbours": "k nearest neighbours",
    "support_vector_machine": "Support vector machine",
}
"""Names and titles of the classifiers; the first is the headline."""

REGRESSORS: dict[str, str] = {
    "gradient_boosting": "Gradient boosting",
    "random_forest": "Random forest",
    "linear_regression": "Ridge regression",
    "k_nearest_neighbours": "k nearest neighbours",
    "support_vector_machine": "Support vector machine",
}
"""The same for a numeric target."""

HEADLINE = "gradient_boosting"
MAX_ROWS = 20_000
MAX_KERNEL_ROWS = 4_000
"""Training rows of a kernel machine, whose cost grows with the square."""


@dataclass(frozen=True, eq=False)
class Matrices:
    """One training side against one test side, in the two forms that learners take.

    Attributes:
        trees: (training, test) matrices with NaN for missing.
        nominal: Mask of the unordered columns of `trees`.
        linear: (training, test) matrices, imputed and scaled by the training side.
    """

    trees: tuple[np.ndarray, np.ndarray]
    nominal: np.ndarray
    linear: tuple[np.ndarray, np.ndarray]


def matrices(training: Encoded, test: Encoded) -> Matrices:
    """Both forms of a training and a test side; only the training side is learned from."""
    left, nominal = tree_matrix(training)
    right, _ = tree_matrix(test)
    # Columns never observed in training carry nothing, and some learners refuse them.
    usable = ~np.isnan(left).all(axis=0)
    coding = fit_linear(training)
    linear = (linear_matrix(coding, training), linear_matrix(coding, test))
    return Matrices((left[:, usable], right[:, usable]), nominal[usable], linear)


def class_scores(
    name: str, data: Matrices, target: np.ndarray, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Fit a classifier on the training side and score the test side.

    Args:
        name: One of `LEARNERS`.
        data: The matrices.
        target: Class codes of the training side, 0 to classes - 1.
        classes: Columns of the result; classes without training rows score lowest everywhere.
        rng: For subsampling and the learner's own seed.

    Returns:
        Shape (test rows, classes); constant columns where there was nothing to learn.
    """
    test_rows = data.trees[1].shape[0]
    found = np.zeros((test_rows, classes))
    present = np.unique(target)
    if present.size < 2 or _width(name, data) == 0:
        found[:, np.bincount(target).argmax() if target.size else 0] = 1.0
        return found
    model = _classifier(name, data, target.size, int(rng.integers(2**31)))
    scores = _fit_scores(model, name, data, target, rng)
    if scores.ndim == 1:  # a decision function of two classes
        scores = np.column_stack([-scores, scores])
    found[:] = scores.min() - 1.0
    found[:, present] = scores
    return found


def predictions(
    name: str, data: Matrices, target: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fit a regressor on the training side and predict the test side; shape (test rows,)."""
    if target.size < 2 or np.ptp(target) == 0 or _width(name, data) == 0:
        return np.full(data.trees[1].shape[0], float(target.mean()) if target.size else 0.0)
    model = _regressor(name, data, target.size, int(rng.integers(2**31)))
    return _fit_scores(model, name, data, target, rng)


def _width(name: str, data: Matrices) -> int:
    return (data.trees if _takes_missing(name) else data.linear)[0].shape[1]


def _takes_missing(name: str) -> bool:
    return name in ("gradient_boosting", "random_forest")


def _fit_scores(
    model: Any, name: str, data: Matrices, target: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning

    left, right = data.trees if _takes_missing(name) else data.linear
    limit = MAX_KERNEL_ROWS if name == "support_vector_machine" else MAX_ROWS
    if target.size > limit:
        rows = _subsample(target, limit, rng)
        left, target = left[rows], target[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(left, target)
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(model, method):
            return np.asarray(getattr(model, method)(right), dtype=np.float64)
    raise AssertionError(name)


def _subsample(target: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Rows at random, but every class keeps one, so that the classes stay those of the table."""
    rows = rng.choice(target.size, limit, replace=False)
    if np.issubdtype(target.dtype, np.integer):
        _, first = np.unique(target, return_index=True)
        rows = np.union1d(rows, first)
    return np.sort(rows)


def _leaf(rows: int) -> int:
    return min(20, max(2, rows // 20))


def _classifier(name: str, data: Matrices, rows: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    if name == "gradient_boosting":
        return HistGradientBoostingClassifier(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=_leaf(rows),
            l2_regularization=1.0,
            categorical_features=data.nominal,  # pyright: ignore[reportArgumentType]
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed,
        )
    if name == "random_forest":
        return RandomForestClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=1)
    if name == "logistic_regression":
        return LogisticRegression(C=1.0, max_iter=300)
    if name == "k_nearest_neighbours":
        return KNeighborsClassifier(min(15, rows), n_jobs=1)
    return SVC(C=1.0, gamma="scale", break_ties=True)


def _regressor(name: str, data: Matrices, rows: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.svm import SVR

    if name == "gradient_boosting":
        return HistGradientBoostingRegressor(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=_leaf(rows),
            l2_regularization=1.0,
            categorical_features=data.nominal,  # pyright: ignore[reportArgumentType]
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed,
        )
    if name == "random_forest":
        return RandomForestRegressor(
            100, min_samples_leaf=3, max_features=0.5, random_state=seed, n_jobs=1
        )
    if name == "linear_regression":
        return Ridge(alpha=1.0)
    if name == "k_nearest_neighbours":
        return KNeighborsRegressor(min(15, rows), n_jobs=1)
    return SVR(C=1.0, gamma="scale")
