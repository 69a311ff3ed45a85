"""What a trial of `pegai tune` is worth: one number of three parts, each 1 where nothing is left.

| part | of |
|---|---|
| `realism` | 1 - 2 max(C2ST - 1/2, 0): can boosted trees tell synthetic from held-back patients? |
| `utility` | TSTR above chance, as a share of what the real rows reach (at most 1) |
| `secrecy` | 1 - 2 max(membership AUC - 1/2, 0), by the headline attack `nn_ratio` |

The score is their mean, of those that can be assessed: utility needs a target that real rows
predict. Realism and utility alone would be won by a copy of the training rows; secrecy is what such
a copy loses. Held-back patients are those of an inner split of the table that is tuned on. The
user's own holdout is never read, so that it can judge the outcome.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.data.table import Table
from pegai.evaluate.features import Encoded, encode, fit_features
from pegai.evaluate.fidelity.detection import detection
from pegai.evaluate.intervals import rank_statistics
from pegai.evaluate.privacy.attacks import DENSITY_NEIGHBOURS, nn_ratio
from pegai.evaluate.privacy.neighbours import CodedPoints, nearest_distances
from pegai.evaluate.privacy.targets import Targets, fit_targets
from pegai.evaluate.tiers import QUICK
from pegai.evaluate.utility.learners import (
    HEADLINE,
    fit_classifier,
    fit_coding,
    fit_regressor,
    subsample,
)
from pegai.evaluate.utility.tstr import Task, find_target, main_metric, make_task, target_values
from pegai.streams import Streams

LEAST_SIGNAL = 0.05
"""Real rows must predict the target this much better than chance, or utility says nothing."""


@dataclass(frozen=True)
class Figures:
    """What one fit is worth on one set of held-back patients; NaN is not assessed.

    Attributes:
        realism: See the module.
        utility: See the module.
        secrecy: See the module.
    """

    realism: float
    utility: float
    secrecy: float

    @property
    def score(self) -> float:
        """The mean of the parts that were assessed; NaN where none was."""
        known = [value for value in asdict(self).values() if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready content: None is not assessed."""
        return {k: None if math.isnan(v) else round(v, 6) for k, v in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Judge:
    """Patients that were learnt from and patients held back, coded once for many trials.

    Attributes:
        train: The coded rows that a trial learns.
        held: The coded rows that it never sees.
        task: The prediction task, or None.
        real: What a model of the real rows reaches at it, above chance.
        targets: The patients that the attack is tried on, or None.
        streams: Seeds, the same for every trial.
    """

    train: Encoded
    held: Encoded
    task: Task | None
    real: float
    targets: Targets | None
    streams: Streams

    @classmethod
    def of(cls, train: Table, held: Table, streams: Streams) -> Judge:
        """Code both sides and train a model of the real rows.

        Args:
            train: What a trial learns; the columns that are modelled, and who is who.
            held: The same of other patients.
            streams: Seeds.
        """
        features = fit_features(Table(train.frame.vstack(held.frame), train.schema))
        coded, other = encode(features, train), encode(features, held)
        task = _task(train, coded, other, streams)
        real = math.nan if task is None else _above_chance(task, coded)
        if not real >= LEAST_SIGNAL:
            task, real = None, math.nan
        with threadpool_limits(1):
            targets = fit_targets(coded, other, streams, tier=QUICK)
        return cls(coded, other, task, real, targets, streams)

    def figures(self, synthetic: Table) -> Figures:
        """Judge a synthetic table."""
        coded = encode(self.train.features, synthetic)
        with threadpool_limits(1):
            told = detection(self.held, coded, self.streams, max_rows=QUICK.max_detection_rows).auc
            utility = math.nan
            if self.task is not None:
                utility = min(max(_above_chance(self.task, coded) / self.real, 0.0), 1.0)
            found = math.nan if self.targets is None else _membership_auc(self.targets, coded)
        return Figures(_nothing_left(told), utility, _nothing_left(found))


def _nothing_left(area: float) -> float:
    """1 for an area of one half or less, 0 for an area of 1."""
    return 1.0 - 2.0 * max(area - 0.5, 0.0) if not math.isnan(area) else math.nan


def _task(train: Table, coded: Encoded, held: Encoded, streams: Streams) -> Task | None:
    target, _ = find_target(train.schema, coded, held)
    if target is None:
        return None
    return make_task(target, held, np.ones((1, len(held))), streams, QUICK)[0]


def _above_chance(task: Task, training: Encoded) -> float:
    """Gradient boosting trained on a table, tested on held-back patients; chance is 0, best is 1.

    2 (AUC - 1/2) for classes, R squared for numbers; NaN where it can't be told.
    """
    target = task.target
    values = target_values(training, target)
    rows = np.flatnonzero(values >= 0 if target.is_class else ~np.isnan(values))
    rng = task.streams.child("tune/utility").get("model")
    if rows.size > task.tier.max_model_rows:
        rows = rows[subsample(values[rows], task.tier.max_model_rows, rng)]
    if rows.size == 0:
        return 0.0
    coded = training.take(rows).without(target.name)
    coding = fit_coding(coded)
    side, known = coding.side(coded), values[rows]
    with threadpool_limits(1):
        if target.is_class:
            classes = len(target.levels)
            model = fit_classifier(HEADLINE, side, coding.nominal, known, classes=classes, rng=rng)
        else:
            model = fit_regressor(HEADLINE, side, coding.nominal, known, rng=rng)
        scores = model.scores(coding.side(task.test))
    found = float(main_metric(target, scores, task.truth, np.ones((1, task.truth.size)))[0])
    return 2.0 * (found - 0.5) if target.is_class else found


def _membership_auc(targets: Targets, synthetic: Encoded) -> float:
    """The area of the attack `nn_ratio`; the other attacks of the panel take far longer."""
    near = nearest_distances(CodedPoints(targets.table), CodedPoints(synthetic), DENSITY_NEIGHBOURS)
    fake, real = np.log(near + targets.offset), np.log(targets.real + targets.offset)
    scores = targets.by_patient(nn_ratio(fake, real))
    label = targets.member[None, :].astype(np.float64)
    return float(rank_statistics(scores, label, 1.0 - label, (0.01,))[0, 0])
