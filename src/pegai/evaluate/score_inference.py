"""Scores beyond prediction: what an analyst would conclude from synthetic patients.

| score | better | value |
|---|---|---|
| `coefficient_overlap` | higher | mean overlap of confidence intervals |
| `coefficient_bias` | lower | mean difference of coefficients, in standard errors |
| `coefficient_sign_flips` | lower | share of clear coefficients turned round |
| `coefficient_agreement` | higher | share with the same sign and significance |
| `coefficient_coverage` | higher | share of intervals that cover the holdout's estimate |
| `survival_distance` | lower | mean distance of Kaplan-Meier curves |
| `rmst_difference` | lower | difference of restricted means, share of the horizon |
| `hazard_overlap`, `hazard_sign_flips` | | the same for Cox's log hazard ratios |
| `importance_agreement` | higher | rank correlation of permutation importances |
| `subgroup_gap` | lower | largest loss of AUC (TRTR minus TSTR) of a subgroup |
| `subgroup_gap/<column>=<level>` | lower | the loss of each subgroup |
| `subgroup_share/<column>=<level>` | higher | its share among synthetic over real patients |

Baselines are those of the training table in place of the synthetic one. There are three others: of
`importance_agreement` two halves of the training table against each other, of `subgroup_gap` what
chance gives the worst subgroup, of each subgroup's loss 0.

The reference is always the holdout. `prepare_inference` does once for a split what real tables
decide, `measure_inference` looks at one synthetic table, the rest makes scores and data of plots.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.data.table import Table
from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import jackknife_groups, patient_weights
from pegai.evaluate.score_coefficients import (
    Reference,
    coefficient_scores,
    fit_reference,
    forest_plot,
    jackknife_score,
)
from pegai.evaluate.score_subgroups import (
    MeasuredSubgroups,
    RealSubgroups,
    fit_subgroups,
    measure_subgroups,
    subgroup_plot,
    subgroup_scores,
)
from pegai.evaluate.score_survival import (
    RealSurvival,
    fit_survival,
    measure_survival,
    survival_plot,
    survival_scores,
)
from pegai.evaluate.scores import Score
from pegai.evaluate.tiers import STANDARD, Tier
from pegai.evaluate.utility.importance import rank_agreement
from pegai.evaluate.utility.models import FollowUp, Model, find_follow_up, prescribe
from pegai.evaluate.utility.regression import Estimates
from pegai.evaluate.utility.survival import Curve
from pegai.evaluate.utility.tstr import (
    Task,
    Utility,
    find_target,
    headline_importance,
    make_task,
    train_and_test,
)
from pegai.streams import Streams

RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Inference:
    """What the real tables decide, once for a split.

    Attributes:
        task: The prediction task, or None.
        real: Models of real patients, or None.
        note: Why there is no task.
        coefficients: The prescribed regression of the target, fitted to real tables.
        hazards: The same of time and event by Cox's model.
        survival: Curves of real patients.
        subgroups: Subgroups of real patients.
        real_importance: Importances of the real headline; None if not assessed.
        halves: Agreement on importance of two halves of the training table; NaN if not assessed.
        titles: Names of the columns for people.
        full: Whether everything is assessed.
    """

    task: Task | None
    real: Utility | None
    note: str
    coefficients: Reference
    hazards: Reference
    survival: RealSurvival
    subgroups: RealSubgroups
    real_importance: np.ndarray | None
    halves: float
    titles: dict[str, str]
    full: bool


@dataclass(frozen=True, eq=False)
class MeasuredInference:
    """One synthetic table.

    Attributes:
        coefficients: The regression's coefficients, or None.
        hazards: Log hazard ratios, or None.
        curve: The Kaplan-Meier curve, or None.
        subgroups: Counts and figures of subgroups.
        importance: Permutation importances, see `Utility`; None if not assessed.
    """

    coefficients: Estimates | None
    hazards: Estimates | None
    curve: Curve | None
    subgroups: MeasuredSubgroups
    importance: np.ndarray | None


def prepare_inference(
    train_table: Table,
    holdout_table: Table,
    train: Encoded,
    holdout: Encoded,
    streams: Streams,
    *,
    tier: Tier = STANDARD,
    task: Task | None = None,
    real: Utility | None = None,
    private: bool = False,
) -> Inference:
    """Fit everything that real tables decide.

    Args:
        train_table: The real training table.
        holdout_table: The holdout; only its schema is looked at.
        train: The coded training table.
        holdout: The coded holdout.
        streams: The seeds of the evaluation.
        tier: Row limits, and whether importances are assessed.
        task: The prediction task, if the caller has it already.
        real: `train_and_test(task, train)`, if the caller has it already.
        private: Whether the synthetic tables come from fits with a guarantee: their noise widens
            standard errors, and one table alone gets a warning.
    """
    schema, note = train_table.schema, ""
    target, reason = find_target(schema, train, holdout)
    if task is None:
        task, note = _task(train_table, train, holdout, streams, tier)
    if task is not None and real is None:
        real = train_and_test(task, train)
    groups = jackknife_groups(holdout.units, streams.child("inference"))
    follow_up, missing = find_follow_up(schema, train)
    survival = fit_survival(follow_up, missing, train, holdout, groups)
    settings: dict[str, Any] = {
        "leave_out": _outcomes(train_table, follow_up),
        "max_rows": tier.max_model_rows,
        "streams": streams,
    }
    sides = (train, holdout)
    prescribed = (
        (None, reason) if target is None else prescribe(target, None, *sides, **settings),
        (None, missing) if follow_up is None else prescribe(None, follow_up, *sides, **settings),
    )
    coefficients, hazards = _references(prescribed, *sides, groups, private=private)
    return Inference(
        task,
        real,
        note,
        coefficients,
        hazards,
        survival,
        fit_subgroups(schema, train, holdout, streams, task=task, real=real, note=note),
        _importance_of(task, real, train) if tier.full else None,
        _halves(task, train, streams) if task is not None and tier.full else math.nan,
        {c.name: c.title or c.name for c in schema.columns},
        tier.full,
    )


def _references(
    prescribed: Iterable[tuple[Model | None, str]],
    train: Encoded,
    holdout: Encoded,
    groups: np.ndarray,
    *,
    private: bool,
) -> list[Reference]:
    """The prescribed models, or why there is none, fitted to real patients."""
    with threadpool_limits(1):
        return [
            fit_reference(model, why, train, holdout, groups, private=private)
            for model, why in prescribed
        ]


def _outcomes(train_table: Table, follow_up: FollowUp | None) -> tuple[str, ...]:
    """Columns that are no covariate of any model."""
    roles = ("target", "time", "event")
    found = [c.name for role in roles for c in train_table.schema.with_role(role)]
    return (*found, *((follow_up.event,) if follow_up is not None else ()))


def _task(
    train_table: Table, train: Encoded, holdout: Encoded, streams: Streams, tier: Tier
) -> tuple[Task | None, str]:
    """A task of the caller's kind with the headline and the plain model only."""
    target, note = find_target(train_table.schema, train, holdout)
    if target is None:
        return None, note
    rng = streams.child("bootstrap").get("split")
    weights = patient_weights(holdout.units, rng, resamples=RESAMPLES)
    task, note = make_task(target, holdout, weights, streams, dataclasses.replace(tier, full=False))
    return task, note


def _importance_of(task: Task | None, utility: Utility | None, table: Encoded) -> np.ndarray | None:
    """What the caller's models say already, or else the headline fitted once more."""
    if task is None or (utility is not None and utility.importance is not None):
        return utility.importance if utility is not None else None
    return headline_importance(task, table)


def _halves(task: Task, train: Encoded, streams: Streams) -> float:
    """Whether two halves of the training patients agree on what is important."""
    units = np.unique(train.units)
    order = streams.child("inference/halves").get("split").permutation(units.size)
    first = np.isin(train.units, units[order[: units.size // 2]])
    left, right = (
        headline_importance(task, train.take(np.flatnonzero(side))) for side in (first, ~first)
    )
    return math.nan if left is None or right is None else rank_agreement(left[0], right[0])


def of_private_tables(prepared: Inference, private: bool) -> Inference:
    """The same for tables of private fits, whose standard errors must carry the fits' noise."""
    return dataclasses.replace(
        prepared,
        coefficients=dataclasses.replace(prepared.coefficients, private=private),
        hazards=dataclasses.replace(prepared.hazards, private=private),
    )


def measure_inference(
    prepared: Inference,
    synthetic_table: Table,
    synthetic: Encoded,
    *,
    utility: Utility | None = None,
) -> MeasuredInference:
    """Everything about one synthetic table.

    Args:
        prepared: From `prepare_inference`.
        synthetic_table: The table; what is needed of it is in its coding.
        synthetic: The coded table.
        utility: `train_and_test(task, synthetic)`, if the caller has it already.
    """
    del synthetic_table
    if utility is None and prepared.task is not None:
        utility = train_and_test(prepared.task, synthetic, real=prepared.real)
    importance = _importance_of(prepared.task, utility, synthetic) if prepared.full else None
    coefficients, hazards = prepared.coefficients.model, prepared.hazards.model
    with threadpool_limits(1):
        return MeasuredInference(
            coefficients.fit(synthetic) if coefficients is not None else None,
            hazards.fit(synthetic) if hazards is not None else None,
            measure_survival(prepared.survival, synthetic),
            measure_subgroups(prepared.subgroups, synthetic, utility),
            importance,
        )


def inference_scores(
    prepared: Inference, measured: Sequence[MeasuredInference]
) -> tuple[Score, ...]:
    """Every score of the module's table.

    Without time and event there is one score of survival, with the reason; the Cox model is left
    out.
    """
    hazards: tuple[Score, ...] = ()
    if prepared.survival.follow_up is not None:
        hazards = coefficient_scores(prepared.hazards, _found(measured, "hazards"), hazards=True)
    return (
        *coefficient_scores(prepared.coefficients, _found(measured, "coefficients")),
        *survival_scores(prepared.survival, [m.curve for m in measured]),
        *hazards,
        _importance_score(prepared, measured),
        *subgroup_scores(prepared.subgroups, [m.subgroups for m in measured]),
    )


def _found(measured: Sequence[MeasuredInference], name: str) -> list[Estimates]:
    return [found for m in measured if (found := getattr(m, name)) is not None]


def _importance_score(prepared: Inference, measured: Sequence[MeasuredInference]) -> Score:
    real = prepared.real_importance
    tables = [m.importance for m in measured if m.importance is not None]
    note = "" if prepared.full else "not assessed: a quick evaluation leaves it out"
    values, left_out = [math.nan], np.zeros((1, 0))
    if real is not None and tables:
        values = [rank_agreement(real[0], table[0]) for table in tables]
        left_out = np.array(
            [[rank_agreement(a, b) for a, b in zip(real[1:], t[1:], strict=True)] for t in tables]
        )
        if all(math.isnan(v) for v in values):
            note = "not assessed: fewer than three columns, or no column matters to a model"
    elif not note:
        note = prepared.note or "not assessed: no model could be trained"
    return jackknife_score(
        "importance_agreement",
        "Agreement on which columns matter (rank correlation of permutation importances)",
        values,
        left_out,
        baseline=prepared.halves,
        better="higher",
        note=note,
        bounds=(-1.0, 1.0),
    )


def inference_plots(prepared: Inference, measured: Sequence[MeasuredInference]) -> dict[str, Any]:
    """`coefficients`, `hazards`, `survival`, `importance` and `subgroups`; None or [] without.

    `importance` is a list of `column`, `title`, `real` and `synthetic` (loss of AUC or R squared
    when the column is shuffled), the most important for real patients first.
    """
    return {
        "coefficients": forest_plot(prepared.coefficients, _found(measured, "coefficients")),
        "hazards": forest_plot(prepared.hazards, _found(measured, "hazards")),
        "survival": survival_plot(prepared.survival, [m.curve for m in measured]),
        "importance": _importance_plot(prepared, measured),
        "subgroups": subgroup_plot(prepared.subgroups, [m.subgroups for m in measured]),
    }


def _importance_plot(
    prepared: Inference, measured: Sequence[MeasuredInference]
) -> list[dict[str, Any]]:
    real = prepared.real_importance
    tables = [m.importance[0] for m in measured if m.importance is not None]
    if real is None or prepared.task is None or not tables:
        return []
    synthetic, names = np.mean(tables, axis=0), prepared.task.test.features.names
    return [
        {
            "column": names[i],
            "title": prepared.titles[names[i]],
            "real": float(real[0, i]),
            "synthetic": float(synthetic[i]),
        }
        for i in np.argsort(-np.round(real[0], 9), kind="stable")
    ]
