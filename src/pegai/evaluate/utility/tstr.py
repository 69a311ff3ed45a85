"""Utility: train on synthetic, test on real (TSTR), beside train on real, test on real (TRTR).

Five learners predict the schema's target for the holdout's patients (Esteban et al. 2017). Training
on the real training table with the same learners and seeds gives the baseline. Imputation and
scaling are learned on the training side only, since an analyst has nothing else.

Rows without a target are dropped. A synthetic table with one class only predicts that class for
everybody: an area of 0.5, and a note.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.utility.learners import (
    LEARNERS,
    REGRESSORS,
    class_scores,
    matrices,
    predictions,
)
from pegai.evaluate.utility.metrics import (
    METRICS,
    REGRESSION_METRICS,
    class_auc,
    confusion,
    label_metrics,
    regression_metrics,
)
from pegai.schema import Schema
from pegai.streams import Streams

MIN_ROWS = 20
MAX_TEST_ROWS = 20_000


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Attributes:
        name: The column.
        title: Its name for people.
        levels: Class values in the schema's order, those that real patients have; empty for a
            numeric target. With two, the second is the positive class.
        labels: The classes' names for people.
    """

    name: str
    title: str
    levels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def is_class(self) -> bool:
        """Whether the target has classes, not numbers."""
        return bool(self.levels)

    @property
    def learners(self) -> dict[str, str]:
        """Names and titles of the models that are trained."""
        return LEARNERS if self.is_class else REGRESSORS

    @property
    def metrics(self) -> dict[str, str]:
        """Names and titles of the figures."""
        return METRICS if self.is_class else REGRESSION_METRICS


@dataclass(frozen=True, eq=False)
class Task:
    """The prediction task on the holdout.

    Attributes:
        target: What is predicted.
        test: The holdout's rows that have a target, without the target's column.
        truth: Class codes or scaled numbers; shape (rows,).
        rows: Positions of these rows in the coded holdout.
        weights: Patient resamples of these rows; shape (resamples, rows).
        streams: Seeds of the learners, the same for every training table.
    """

    target: Target
    test: Encoded
    truth: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    streams: Streams


@dataclass(frozen=True, eq=False)
class Utility:
    """How models trained on one table did on real patients.

    Attributes:
        values: Learner to metric to figure.
        resampled: Learner to metric to the figure on resamples of the patients.
        confusions: Learner to confusion matrix, truth by prediction; empty for numbers.
        note: What is to be known of the training table; empty if nothing.
    """

    values: dict[str, dict[str, float]]
    resampled: dict[str, dict[str, np.ndarray]]
    confusions: dict[str, np.ndarray]
    note: str = ""


def find_target(schema: Schema, train: Encoded, holdout: Encoded) -> tuple[Target | None, str]:
    """The schema's target, or None and the reason why utility can't be assessed."""
    column = schema.target
    if column is None:
        return None, "not assessed: the schema names no target (role `target`)"
    title = column.title or column.name
    if column.is_numeric:
        return Target(column.name, title), ""
    if not column.is_discrete:
        return None, f"not assessed: the target {column.name!r} is free text"
    codes = np.concatenate([_class_codes(side, column.name) for side in (train, holdout)])
    index = [c.name for c in train.features.discrete].index(column.name)
    known = train.features.discrete[index].levels
    seen = {known[code] for code in np.unique(codes) if 0 <= code < len(known)}
    extra = sorted(seen - set(column.levels))
    levels = tuple(level for level in (*column.levels, *extra) if level in seen)
    if len(levels) < 2:
        return None, f"not assessed: real patients have {len(levels)} class of {column.name!r}"
    labels = tuple(column.labels.get(level, level) for level in levels)
    return Target(column.name, title, levels, labels), ""


def _class_codes(table: Encoded, name: str) -> np.ndarray:
    index = [c.name for c in table.features.discrete].index(name)
    return table.codes[:, index]


def target_values(table: Encoded, target: Target) -> np.ndarray:
    """Class codes (-1 for missing, int64) or scaled numbers (NaN for missing); shape (rows,)."""
    if not target.is_class:
        index = [c.name for c in table.features.numbers].index(target.name)
        return table.numbers[:, index]
    index = [c.name for c in table.features.discrete].index(target.name)
    levels = table.features.discrete[index].levels
    place = {level: code for code, level in enumerate(target.levels)}
    # The last two entries stand for "any other value" and, by index -1, for missing.
    lookup = np.array([place.get(level, -1) for level in levels] + [-1, -1], dtype=np.int64)
    return lookup[table.codes[:, index]]


def _with_target(values: np.ndarray, target: Target) -> np.ndarray:
    return np.flatnonzero(values >= 0 if target.is_class else ~np.isnan(values))


def make_task(
    target: Target, holdout: Encoded, weights: np.ndarray, streams: Streams
) -> tuple[Task | None, str]:
    """The prediction task, or None and the reason why there is too little to test on.

    Args:
        target: From `find_target`.
        holdout: The coded holdout.
        weights: Patient resamples of the holdout's rows; shape (resamples, rows).
        streams: Seeds.
    """
    values = target_values(holdout, target)
    rows = _with_target(values, target)
    if rows.size < MIN_ROWS:
        return None, f"not assessed: {rows.size} holdout rows have a target, {MIN_ROWS} are needed"
    if rows.size > MAX_TEST_ROWS:
        rng = streams.child("utility/test").get("split")
        rows = np.sort(rng.choice(rows, MAX_TEST_ROWS, replace=False))
    test = holdout.take(rows).without(target.name)
    return Task(target, test, values[rows], rows, weights[:, rows], streams), ""


def train_and_test(task: Task, training: Encoded) -> Utility:
    """Train every learner on a table and test it on the holdout.

    Args:
        task: The prediction task.
        training: A coded table, synthetic (TSTR) or the real training table (TRTR).
    """
    target = task.target
    values = target_values(training, target)
    rows = _with_target(values, target)
    if rows.size == 0:
        return _nothing(task, "the training table has no row with a target")
    note = ""
    if target.is_class and np.unique(values[rows]).size < 2:
        note = "the training table has one class only: nothing to learn, area 0.5"
    data = matrices(training.take(rows).without(target.name), task.test)
    figures: dict[str, dict[str, np.ndarray]] = {}
    confusions: dict[str, np.ndarray] = {}
    # The first weighting is the holdout as it is.
    weights = np.vstack([np.ones((1, task.truth.size)), task.weights])
    for name in target.learners:
        rng = task.streams.child(f"utility/{name}").get("model")
        if target.is_class:
            scores = class_scores(name, data, values[rows], len(target.levels), rng)
            table = confusion(task.truth, scores.argmax(axis=1), len(target.levels), weights)
            confusions[name] = table[0]
            figures[name] = {"auc": class_auc(scores, task.truth, weights), **label_metrics(table)}
        else:
            guess = predictions(name, data, values[rows], rng)
            figures[name] = regression_metrics(task.truth, guess, weights)
    return Utility(
        {n: {m: float(v[0]) for m, v in found.items()} for n, found in figures.items()},
        {n: {m: v[1:] for m, v in found.items()} for n, found in figures.items()},
        confusions,
        note,
    )


def _nothing(task: Task, note: str) -> Utility:
    resamples = task.weights.shape[0]
    target = task.target
    return Utility(
        {n: dict.fromkeys(target.metrics, float("nan")) for n in target.learners},
        {n: dict.fromkeys(target.metrics, np.full(resamples, np.nan)) for n in target.learners},
        {n: np.zeros((len(target.levels),) * 2) for n in target.learners if target.is_class},
        note,
    )
