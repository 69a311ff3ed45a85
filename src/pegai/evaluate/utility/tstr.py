"""Utility: train on synthetic, test on real (TSTR), beside train on real, test on real (TRTR).

Eight learners (a quick tier: two) predict the schema's target for the holdout's patients (Esteban
et al. 2017). Training on the real training table with the same learners and seeds gives the
baseline. Imputation and scaling are learned on the training side only, since an analyst has nothing
else. The other two ways round: real models tested on synthetic rows (TRTS), and what an analyst who
has synthetic rows only would measure on some that were kept back (TSTS).

Rows without a target are dropped. A synthetic table with one class only predicts that class for
everybody: an area of 0.5, and a note.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import patient_weights
from pegai.evaluate.tiers import STANDARD, Tier
from pegai.evaluate.utility.calibration import Calibration, calibration
from pegai.evaluate.utility.importance import permutation_importance
from pegai.evaluate.utility.learners import (
    HEADLINE,
    LEARNERS,
    LINEAR,
    REGRESSORS,
    Coding,
    Fitted,
    Side,
    fit_classifier,
    fit_coding,
    fit_regressor,
    subsample,
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
RESAMPLES = 200
"""Patient resamples of learners other than the headline."""

MAX_SYNTHETIC_ROWS = 4_000
"""Synthetic rows that a model is tested on."""

OWN_SHARE = 0.25
"""Share of a table's patients that its own models are tested on (TSTS)."""


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
        """Names and titles of all models of this kind."""
        return LEARNERS if self.is_class else REGRESSORS

    @property
    def main(self) -> str:
        """The metric of the headline."""
        return "auc" if self.is_class else "r2"

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
        tier: Row limits, and whether every learner is trained.
    """

    target: Target
    test: Encoded
    truth: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    streams: Streams
    tier: Tier = STANDARD

    @property
    def learners(self) -> dict[str, str]:
        """Names and titles of the models that are trained."""
        every = self.target.learners
        if self.tier.full:
            return every
        return {name: title for name, title in every.items() if name in (HEADLINE, *LINEAR)}


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure, and the same figure on resamples of the patients it was tested on.

    Attributes:
        value: NaN where there were too few rows.
        resampled: Shape (resamples,).
    """

    value: float
    resampled: np.ndarray


@dataclass(frozen=True, eq=False)
class Utility:
    """How models trained on one table did on real patients.

    Attributes:
        values: Learner to metric to figure.
        resampled: Learner to metric to the figure on resamples of the patients; learners other
            than the headline have the first 200.
        confusions: Learner to confusion matrix, truth by prediction; empty for numbers.
        note: What is to be known of the training table; empty if nothing.
        scores: Learner to the holdout's scores (rows, classes) or predictions (rows,).
        calibration: Learner to the calibration of its risks; the headline and the linear model.
        importance: Permutation importance of the columns for the headline, on the holdout and
            without each group of its patients; shape (1 + groups, columns), see `importance.py`;
            None in a quick tier.
        own: The headline, trained on one part of the table and tested on the other (TSTS).
        on_synthetic: Learner to the figure of the *real* models on this table (TRTS); empty where
            the real models were not given.
        coding: How rows are coded for `models`.
        models: The models; empty where real ones were given, to save memory.
    """

    values: dict[str, dict[str, float]]
    resampled: dict[str, dict[str, np.ndarray]]
    confusions: dict[str, np.ndarray]
    note: str = ""
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    calibration: dict[str, Calibration] = field(default_factory=dict)
    importance: np.ndarray | None = None
    own: Figure | None = None
    on_synthetic: dict[str, Figure] = field(default_factory=dict)
    coding: Coding | None = None
    models: dict[str, Fitted] = field(default_factory=dict)


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
    target: Target, holdout: Encoded, weights: np.ndarray, streams: Streams, tier: Tier = STANDARD
) -> tuple[Task | None, str]:
    """The prediction task, or None and the reason why there is too little to test on.

    Args:
        target: From `find_target`.
        holdout: The coded holdout.
        weights: Patient resamples of the holdout's rows; shape (resamples, rows).
        streams: Seeds.
        tier: Row limits and how many learners.
    """
    values = target_values(holdout, target)
    rows = _with_target(values, target)
    if rows.size < MIN_ROWS:
        return None, f"not assessed: {rows.size} holdout rows have a target, {MIN_ROWS} are needed"
    if rows.size > tier.max_test_rows:
        rng = streams.child("utility/test").get("split")
        rows = np.sort(rng.choice(rows, tier.max_test_rows, replace=False))
    test = holdout.take(rows).without(target.name)
    return Task(target, test, values[rows], rows, weights[:, rows], streams, tier), ""


def train_and_test(
    task: Task, training: Encoded, tier: Tier | None = None, *, real: Utility | None = None
) -> Utility:
    """Train every learner on a table and test it on the holdout.

    Args:
        task: The prediction task.
        training: A coded table, synthetic (TSTR) or the real training table (TRTR).
        tier: Other row limits and learners than those of the task.
        real: For a synthetic table: what this function gave for the real training table. Its
            models are tested on the synthetic rows (TRTS), and those of this table are not kept.
    """
    if tier is not None and tier != task.tier:
        task = dataclasses.replace(task, tier=tier)
    # One thread: on small tables several cost far more than they give, above all on a busy machine.
    with threadpool_limits(1):
        return _train_and_test(task, training, real)


def _train_and_test(task: Task, training: Encoded, real: Utility | None) -> Utility:
    target = task.target
    values = target_values(training, target)
    rows = _with_target(values, target)
    if rows.size == 0:
        return _nothing(task, "the training table has no row with a target")
    note = ""
    if target.is_class and np.unique(values[rows]).size < 2:
        note = "the training table has one class only: nothing to learn, area 0.5"
    rows = _limited(task, values, rows)
    coded = training.take(rows).without(target.name)
    coding = fit_coding(coded)
    models = _fit_all(task, coding, coding.side(coded), values[rows])
    test = coding.side(task.test)
    scores = {name: model.scores(test) for name, model in models.items()}
    figures, confusions = _figures(task, scores)
    kept = [name for name in (HEADLINE, *LINEAR) if name in scores]
    return Utility(
        {n: {m: float(v[0]) for m, v in found.items()} for n, found in figures.items()},
        {n: {m: v[1:] for m, v in found.items()} for n, found in figures.items()},
        confusions,
        note,
        {name: scores[name] for name in kept},
        {
            name: calibration(scores[name], task.truth, task.weights)
            for name in kept
            if models[name].gives_risks
        },
        _importance(task, models[HEADLINE], coding, test) if task.tier.full else None,
        own_test(task, coded, values[rows]),
        real_on_synthetic(task, real, training) if real is not None else {},
        coding,
        models if real is None else {},
    )


def _limited(task: Task, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """At most the tier's training rows; every class keeps one."""
    if rows.size <= task.tier.max_model_rows:
        return rows
    rng = task.streams.child("utility/rows").get("split")
    return rows[subsample(values[rows], task.tier.max_model_rows, rng)]


def _fit(task: Task, name: str, coding: Coding, side: Side, values: np.ndarray) -> Fitted:
    rng = task.streams.child(f"utility/{name}").get("model")
    if not task.target.is_class:
        return fit_regressor(name, side, coding.nominal, values, rng=rng)
    classes = len(task.target.levels)
    return fit_classifier(name, side, coding.nominal, values, classes=classes, rng=rng)


def _fit_all(task: Task, coding: Coding, side: Side, values: np.ndarray) -> dict[str, Fitted]:
    return {name: _fit(task, name, coding, side, values) for name in task.learners}


def _figures(
    task: Task, scores: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Every metric of every learner, first on the holdout as it is, and confusion matrices."""
    figures: dict[str, dict[str, np.ndarray]] = {}
    confusions: dict[str, np.ndarray] = {}
    every = np.vstack([np.ones((1, task.truth.size)), task.weights])
    for name, found in scores.items():
        weights = every if name == HEADLINE else every[: 1 + RESAMPLES]
        if task.target.is_class:
            guess, classes = found.argmax(axis=1), len(task.target.levels)
            table = confusion(task.truth, guess, classes, weights)
            confusions[name] = table[0]
            figures[name] = {"auc": class_auc(found, task.truth, weights), **label_metrics(table)}
        else:
            figures[name] = regression_metrics(task.truth, found, weights)
    return figures, confusions


def main_metric(
    target: Target, scores: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """AUC or R squared of scores under each weighting; shape (weightings,)."""
    if target.is_class:
        return class_auc(scores, truth, weights)
    return regression_metrics(truth, scores, weights)["r2"]


def _importance(task: Task, model: Fitted, coding: Coding, test: Side) -> np.ndarray:
    def worth(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return main_metric(task.target, scores, truth, weights)

    found = permutation_importance(
        model.scores, test, task.truth, task.test.units, worth, task.streams
    )
    every = np.zeros((found.shape[0], coding.usable.size))
    every[:, coding.usable] = found
    return every


def headline_importance(task: Task, training: Encoded) -> np.ndarray | None:
    """Importance of the columns for the headline trained on a table; None without a target."""
    values = target_values(training, task.target)
    rows = _limited(task, values, _with_target(values, task.target))
    if rows.size == 0:
        return None
    coded = training.take(rows).without(task.target.name)
    with threadpool_limits(1):
        coding = fit_coding(coded)
        model = _fit(task, HEADLINE, coding, coding.side(coded), values[rows])
        return _importance(task, model, coding, coding.side(task.test))


def own_test(task: Task, rows: Encoded, values: np.ndarray) -> Figure:
    """The headline on patients of its own table that it was not trained on (TSTS).

    Args:
        task: The prediction task.
        rows: The table, without the target's column.
        values: The target.
    """
    units = np.unique(rows.units)
    streams = task.streams.child("utility/own")
    picked = streams.get("split").permutation(units.size)[: int(units.size * OWN_SHARE)]
    tested = np.isin(rows.units, units[picked])
    if tested.sum() < MIN_ROWS:
        return Figure(float("nan"), np.full(task.weights.shape[0], np.nan))
    training = rows.take(~tested)
    coding = fit_coding(training)
    model = _fit(task, HEADLINE, coding, coding.side(training), values[~tested])
    rows, values = rows.take(tested), values[tested]
    return _tested(task, model.scores(coding.side(rows)), values, rows.units, streams)


def real_on_synthetic(task: Task, real: Utility, synthetic: Encoded) -> dict[str, Figure]:
    """The real models' figures on synthetic rows (TRTS), by learner; empty without models."""
    values = target_values(synthetic, task.target)
    rows = _with_target(values, task.target)
    if rows.size < MIN_ROWS or real.coding is None:
        return {}
    streams = task.streams.child("utility/trts")
    if rows.size > MAX_SYNTHETIC_ROWS:
        drawn = streams.get("split").choice(rows, MAX_SYNTHETIC_ROWS, replace=False)
        rows = np.sort(drawn)
    test = synthetic.take(rows).without(task.target.name)
    side = real.coding.side(test)
    return {
        name: _tested(task, model.scores(side), values[rows], test.units, streams)
        for name, model in real.models.items()
    }


def _tested(
    task: Task, scores: np.ndarray, values: np.ndarray, units: np.ndarray, streams: Streams
) -> Figure:
    resamples = task.weights.shape[0]
    drawn = patient_weights(units, streams.child("weights").get("split"), resamples=resamples)
    weights = np.vstack([np.ones((1, values.size)), drawn])
    found = main_metric(task.target, scores, values, weights)
    return Figure(float(found[0]), found[1:])


def _nothing(task: Task, note: str) -> Utility:
    target, resamples = task.target, task.weights.shape[0]
    sizes = {n: resamples if n == HEADLINE else min(resamples, RESAMPLES) for n in task.learners}
    return Utility(
        {n: dict.fromkeys(target.metrics, float("nan")) for n in sizes},
        {n: dict.fromkeys(target.metrics, np.full(k, np.nan)) for n, k in sizes.items()},
        {n: np.zeros((len(target.levels),) * 2) for n in sizes if target.is_class},
        note,
    )
