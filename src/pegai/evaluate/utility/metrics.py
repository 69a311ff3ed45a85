"""Metrics of predictions on the holdout, for many resamples of its patients at once.

Computed from weighted confusion matrices and ranks, not by scikit-learn, so that a class without
predictions is a zero and not a warning, and five hundred resamples cost one matrix product.
"""

from __future__ import annotations

import numpy as np

from pegai.evaluate.intervals import weighted_auc

METRICS: dict[str, str] = {
    "auc": "area under the ROC curve",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
REGRESSION_METRICS: dict[str, str] = {
    "r2": "R squared",
    "mae": "mean absolute error, in interquartile ranges",
}
MIN_CLASS_ROWS = 5
"""Holdout rows that a class needs for its area under the curve."""


def confusion(
    truth: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray
) -> np.ndarray:
    """Weighted confusion matrices.

    Args:
        truth: Class codes; shape (rows,).
        predicted: Class codes; shape (rows,).
        classes: How many.
        weights: Shape (resamples, rows).

    Returns:
        Shape (resamples, classes, classes): truth by prediction.
    """
    cells, column = np.unique(truth * classes + predicted, return_inverse=True)
    hot = np.zeros((truth.size, cells.size))
    hot[np.arange(truth.size), column] = 1.0
    table = np.zeros((weights.shape[0], classes * classes))
    table[:, cells] = weights @ hot
    return table.reshape(-1, classes, classes)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros_like(top, dtype=np.float64), where=bottom > 0)


def by_class(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall, F1 and support of each class; shapes (resamples, classes).

    A class that was never predicted has precision 0.
    """
    hit = np.diagonal(table, axis1=1, axis2=2)
    support, claimed = table.sum(axis=2), table.sum(axis=1)
    precision, recall = _ratio(hit, claimed), _ratio(hit, support)
    return precision, recall, _ratio(2 * hit, support + claimed), support


def label_metrics(table: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of predicted labels; each of shape (resamples,).

    With two classes precision, recall and F1 are those of the second one; with more they are means
    over the classes that the holdout has.
    """
    precision, recall, f1, support = by_class(table)
    present = (support > 0).astype(np.float64)
    total = table.sum(axis=(1, 2))

    def mean(values: np.ndarray) -> np.ndarray:
        return _ratio((values * present).sum(axis=1), present.sum(axis=1))

    hits = np.diagonal(table, axis1=1, axis2=2).sum(axis=1)
    found = {"accuracy": _ratio(hits, total), "balanced_accuracy": mean(recall)}
    if table.shape[1] == 2:
        return found | {"precision": precision[:, 1], "recall": recall[:, 1], "f1": f1[:, 1]}
    return found | {"precision": mean(precision), "recall": mean(recall), "f1": mean(f1)}


def class_auc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve; with more than two classes the mean of one against the rest.

    Args:
        scores: Shape (rows, classes).
        truth: Class codes; shape (rows,).
        weights: Shape (resamples, rows).

    Returns:
        Shape (resamples,); NaN where no class has `MIN_CLASS_ROWS` rows on both sides.
    """
    classes = scores.shape[1]
    counts = np.bincount(truth, minlength=classes)
    usable = (counts >= MIN_CLASS_ROWS) & (truth.size - counts >= MIN_CLASS_ROWS)
    if classes == 2:
        usable &= np.array([False, True])
    areas = []
    for k in np.flatnonzero(usable):
        is_class = (truth == k).astype(np.float64)
        score = scores[:, 1] - scores[:, 0] if classes == 2 else scores[:, k]
        areas.append(weighted_auc(score, weights * is_class, weights * (1.0 - is_class)))
    return np.mean(areas, axis=0) if areas else np.full(weights.shape[0], np.nan)


def regression_metrics(
    truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """R squared and mean absolute error; each of shape (resamples,).

    R squared is NaN where the holdout has one value only.
    """
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = weights @ truth / total
        spread = weights @ truth**2 - total * mean**2
        error = weights @ (truth - predicted) ** 2
        r2 = np.where(spread > 1e-12, 1.0 - error / np.maximum(spread, 1e-12), np.nan)
        return {"r2": r2, "mae": weights @ np.abs(truth - predicted) / total}
