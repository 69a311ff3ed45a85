"""Learners: the classifiers and regressors that stand for "an analyst's model".

Each is fitted to a training side and scores any other rows; none ever fails on a training
side that is small, has one class only, or lacks a class that the holdout has.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.evaluate.features import (
    Encoded,
    LinearCoding,
    fit_linear,
    linear_matrix,
    tree_matrix,
)

LEARNERS: dict[str, str] = {
    "gradient_boosting": "Gradient boosting",
    "random_forest": "Random forest",
    "logistic_regression": "Logistic regression",
    "k_nearest_neighbours": "k nearest neighbours",
    "support_vector_machine": "Support vector machine",
    "decision_tree": "Decision tree",
    "naive_bayes": "Naive Bayes",
    "multilayer_perceptron": "Multilayer perceptron",
}
"""Names and titles of the classifiers; the first is the headline."""

REGRESSORS: dict[str, str] = {
    "gradient_boosting": "Gradient boosting",
    "random_forest": "Random forest",
    "linear_regression": "Ridge regression",
    "k_nearest_neighbours": "k nearest neighbours",
    "support_vector_machine": "Support vector machine",
    "decision_tree": "Decision tree",
    "elastic_net": "Elastic net",
    "multilayer_perceptron": "Multilayer perceptron",
}
"""The same for a numeric target."""

HEADLINE = "gradient_boosting"
LINEAR = ("logistic_regression", "linear_regression")
"""The plainest model of either kind; with the headline it is all that a quick tier trains."""

MAX_ROWS = 20_000
MAX_KERNEL_ROWS = 2_000
"""Training rows of a kernel machine, whose cost grows with the square."""

_LIMITS = {
    "random_forest": 10_000,
    "k_nearest_neighbours": 10_000,
    "support_vector_machine": MAX_KERNEL_ROWS,
    "multilayer_perceptron": 8_000,
}
"""Training rows of learners that are slow to fit or to ask."""


@dataclass(frozen=True, eq=False)
class Side:
    """Rows in the two forms that learners take.

    Attributes:
        trees: Matrix with NaN for missing; shape (rows, columns).
        linear: Matrix imputed and scaled by the training side; shape (rows, coordinates).
    """

    trees: np.ndarray
    linear: np.ndarray


@dataclass(frozen=True, eq=False)
class Coding:
    """What a training side decides about the matrices of any other side.

    Attributes:
        usable: Mask of the columns that training rows have values of; shape (columns,).
        nominal: Mask of the unordered ones among the usable columns.
        linear: Imputation and scaling.
    """

    usable: np.ndarray
    nominal: np.ndarray
    linear: LinearCoding

    def side(self, rows: Encoded) -> Side:
        """Rows in both forms."""
        return Side(tree_matrix(rows)[0][:, self.usable], linear_matrix(self.linear, rows))


def fit_coding(training: Encoded) -> Coding:
    """Learn the coding from a training side, and from nothing else."""
    matrix, nominal = tree_matrix(training)
    # Columns never observed in training carry nothing, and some learners refuse them.
    usable = np.asarray(~np.isnan(matrix).all(axis=0))
    return Coding(usable, nominal[usable], fit_linear(training))


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

    @property
    def training(self) -> Side:
        """The training side."""
        return Side(self.trees[0], self.linear[0])

    @property
    def test(self) -> Side:
        """The test side."""
        return Side(self.trees[1], self.linear[1])


def matrices(training: Encoded, test: Encoded) -> Matrices:
    """Both forms of a training and a test side; only the training side is learned from."""
    coding = fit_coding(training)
    left, right = coding.side(training), coding.side(test)
    return Matrices((left.trees, right.trees), coding.nominal, (left.linear, right.linear))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A learner that was fitted to a training side.

    Attributes:
        name: One of `LEARNERS` or `REGRESSORS`.
        model: The model of scikit-learn; None where there was nothing to learn.
        present: Classes that the training side has; None for a regressor.
        classes: Columns of the scores; 0 for a regressor.
        constant: What is said of everybody without a model: a class or a number.
    """

    name: str
    model: Any
    present: np.ndarray | None
    classes: int
    constant: float

    def scores(self, side: Side) -> np.ndarray:
        """Scores of each class, shape (rows, classes), or predictions, shape (rows,).

        Classes without training rows score lowest everywhere; columns are constant where there was
        nothing to learn.
        """
        matrix = side.trees if _takes_missing(self.name) else side.linear
        if self.present is None:
            if self.model is None:
                return np.full(matrix.shape[0], self.constant)
            return np.asarray(self.model.predict(matrix), dtype=np.float64)
        found = np.zeros((matrix.shape[0], self.classes))
        if self.model is None:
            found[:, int(self.constant)] = 1.0
        elif matrix.shape[0]:
            raw = _raw_scores(self.model, matrix)
            found[:] = raw.min() - 1.0
            found[:, self.present] = raw
        return found

    @property
    def gives_risks(self) -> bool:
        """Whether the scores are probabilities of every class."""
        known = self.present is not None and self.present.size == self.classes
        return known and self.model is not None and hasattr(self.model, "predict_proba")


def _raw_scores(model: Any, matrix: np.ndarray) -> np.ndarray:
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(matrix), dtype=np.float64)
    scores = np.asarray(model.decision_function(matrix), dtype=np.float64)
    # A decision function of two classes is one column.
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores


def fit_classifier(
    name: str,
    side: Side,
    nominal: np.ndarray,
    target: np.ndarray,
    *,
    classes: int,
    rng: np.random.Generator,
) -> Fitted:
    """Fit a classifier.

    Args:
        name: One of `LEARNERS`.
        side: The training side.
        nominal: Mask of the unordered columns of `side.trees`.
        target: Class codes of the training side, 0 to classes - 1.
        classes: How many classes there are.
        rng: For subsampling and the learner's own seed.
    """
    present = np.unique(target)
    constant = float(np.bincount(target).argmax()) if target.size else 0.0
    if present.size < 2 or _width(name, side) == 0:
        return Fitted(name, None, present, classes, constant)
    model = _classifier(name, nominal, target.size, int(rng.integers(2**31)))
    return Fitted(name, _fit(model, name, side, target, rng), present, classes, constant)


def fit_regressor(
    name: str, side: Side, nominal: np.ndarray, target: np.ndarray, *, rng: np.random.Generator
) -> Fitted:
    """Fit a regressor; arguments as of `fit_classifier`, with numbers as the target."""
    constant = float(target.mean()) if target.size else 0.0
    if target.size < 2 or np.ptp(target) == 0 or _width(name, side) == 0:
        return Fitted(name, None, None, 0, constant)
    model = _regressor(name, nominal, target.size, int(rng.integers(2**31)))
    return Fitted(name, _fit(model, name, side, target, rng), None, 0, constant)


def class_scores(
    name: str, data: Matrices, target: np.ndarray, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Fit a classifier on the training side and score the test side; shape (rows, classes)."""
    fitted = fit_classifier(name, data.training, data.nominal, target, classes=classes, rng=rng)
    return fitted.scores(data.test)


def predictions(
    name: str, data: Matrices, target: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fit a regressor on the training side and predict the test side; shape (test rows,)."""
    return fit_regressor(name, data.training, data.nominal, target, rng=rng).scores(data.test)


def _width(name: str, side: Side) -> int:
    return (side.trees if _takes_missing(name) else side.linear).shape[1]


def _takes_missing(name: str) -> bool:
    return name in ("gradient_boosting", "random_forest", "decision_tree")


def _fit(model: Any, name: str, side: Side, target: np.ndarray, rng: np.random.Generator) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    matrix = side.trees if _takes_missing(name) else side.linear
    limit = _LIMITS.get(name, MAX_ROWS)
    if target.size > limit:
        rows = subsample(target, limit, rng)
        matrix, target = matrix[rows], target[rows]
    if name == "multilayer_perceptron" and not np.issubdtype(target.dtype, np.integer):
        # Ten interquartile ranges: one typing error must not drive the weights to infinity.
        target = np.clip(target, -10.0, 10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, target)
    return model


def subsample(target: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Rows at random, but every class keeps one, so that the classes stay those of the table."""
    rows = rng.choice(target.size, limit, replace=False)
    if np.issubdtype(target.dtype, np.integer):
        _, first = np.unique(target, return_index=True)
        rows = np.union1d(rows, first)
    return np.sort(rows)


def _leaf(rows: int) -> int:
    return min(20, max(2, rows // 20))


def _classifier(name: str, nominal: np.ndarray, rows: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    if name == "gradient_boosting":
        return HistGradientBoostingClassifier(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=_leaf(rows),
            l2_regularization=1.0,
            categorical_features=nominal,  # pyright: ignore[reportArgumentType]
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed,
        )
    if name == "random_forest":
        return RandomForestClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=1)
    if name == "logistic_regression":
        return LogisticRegression(C=1.0, max_iter=300)
    if name == "k_nearest_neighbours":
        return KNeighborsClassifier(min(15, rows), n_jobs=1)
    if name == "support_vector_machine":
        return SVC(C=1.0, gamma="scale", break_ties=True)
    if name == "decision_tree":
        return DecisionTreeClassifier(min_samples_leaf=_leaf(rows), random_state=seed)
    if name == "naive_bayes":
        # The smoothing keeps a column that is constant in a class from deciding alone.
        return GaussianNB(var_smoothing=1e-2)
    return MLPClassifier(hidden_layer_sizes=(32,), **_network(rows, seed))


def _regressor(name: str, nominal: np.ndarray, rows: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import ElasticNet, Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVR
    from sklearn.tree import DecisionTreeRegressor

    if name == "gradient_boosting":
        return HistGradientBoostingRegressor(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=_leaf(rows),
            l2_regularization=1.0,
            categorical_features=nominal,  # pyright: ignore[reportArgumentType]
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
    if name == "support_vector_machine":
        return SVR(C=1.0, gamma="scale")
    if name == "decision_tree":
        return DecisionTreeRegressor(min_samples_leaf=_leaf(rows), random_state=seed)
    if name == "elastic_net":
        return ElasticNet(alpha=0.01, l1_ratio=0.5)
    return MLPRegressor(hidden_layer_sizes=(32,), **_network(rows, seed))


def _network(rows: int, seed: int) -> dict[str, Any]:
    """Settings of a perceptron: about 600 steps, whatever the number of rows."""
    batch = int(min(200, max(8, rows // 8)))
    steps = -(-min(rows, _LIMITS["multilayer_perceptron"]) // batch)
    return {
        "alpha": 0.1,
        "learning_rate_init": 5e-3,
        "batch_size": min(batch, rows),
        "max_iter": max(10, 600 // steps),
        "random_state": seed,
    }
