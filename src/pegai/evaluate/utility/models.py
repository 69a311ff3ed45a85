"""Models of inference: one prescribed regression, fitted in the same way to every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.utility.design import (
    MAX_TERMS,
    Term,
    choose_terms,
    design_matrix,
    fit_terms,
)
from pegai.evaluate.utility.regression import Estimates, fit_cox, fit_regression
from pegai.evaluate.utility.tstr import Target, target_values
from pegai.schema import Schema
from pegai.streams import Streams

MIN_ROWS = 20
EVENTS_PER_TERM = 5
"""Patients of the rarer outcome that the smaller real table needs for each coefficient."""

ROWS_PER_TERM = 10
"""The same for a numeric outcome."""


@dataclass(frozen=True)
class FollowUp:
    """Where time and event stand in the coding.

    Attributes:
        time: The column of the time.
        event: The column of the event.
        title: Name of the event for people.
        centre: What is 0 in the coding, in the time's unit.
        scale: The coding's unit in the time's unit.
        time_place: Position among the coded numbers.
        event_place: Position among the discrete columns.
        codes: Code of the level without and of the level with the event.
    """

    time: str
    event: str
    title: str
    centre: float
    scale: float
    time_place: int
    event_place: int
    codes: tuple[int, int]

    def of(self, table: Encoded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of usable rows, their follow-up in the coding's units, and 0 or 1."""
        # The coding rounds to nine decimals: rounding again keeps times that were equal equal.
        time = np.round(table.numbers[:, self.time_place] + self.centre / self.scale, 8)
        codes = table.codes[:, self.event_place]
        rows = np.flatnonzero((time >= 0) & np.isin(codes, self.codes))
        return rows, time[rows], (codes[rows] == self.codes[1]).astype(np.float64)


def find_follow_up(schema: Schema, train: Encoded) -> tuple[FollowUp | None, str]:
    """Time and event of the schema, or None and the reason.

    A binary target is the event where the schema names a time and no event.
    """
    time = next(iter(schema.with_role("time")), None)
    event = next(iter(schema.with_role("event")), None)
    if time is None:
        return None, "not assessed: the schema names no time (role `time`)"
    if event is None and schema.target is not None and len(schema.target.levels) == 2:
        event = schema.target
    if event is None:
        return None, "not assessed: the schema names no event (role `event`)"
    spec = train.features
    time_place = [c.name for c in spec.numbers].index(time.name)
    event_place = [c.name for c in spec.discrete].index(event.name)
    number, levels = spec.numbers[time_place], spec.discrete[event_place].levels
    first, second = (levels.index(level) for level in event.levels)
    found = FollowUp(
        time.name,
        event.name,
        event.title or event.name,
        number.centre,
        number.scale,
        time_place,
        event_place,
        (first, second),
    )
    return found, ""


@dataclass(frozen=True, eq=False)
class Model:
    """A prescribed regression.

    Attributes:
        family: linear, logistic or cox.
        terms: The design, without the intercept.
        target: The outcome of a linear or logistic model.
        follow_up: The outcome of a Cox model.
        max_rows: Rows a table is fitted on.
        streams: Seeds of the choice of rows.
    """

    family: Literal["linear", "logistic", "cox"]
    terms: tuple[Term, ...]
    target: Target | None
    follow_up: FollowUp | None
    max_rows: int
    streams: Streams

    def fit(self, table: Encoded) -> Estimates:
        """The coefficients of a table."""
        rows, outcome, time = _outcome(self.target, self.follow_up, table)
        if rows.size > self.max_rows:
            rng = self.streams.child("inference/rows").get("split")
            picked = np.sort(rng.choice(rows.size, self.max_rows, replace=False))
            rows, outcome = rows[picked], outcome[picked]
            time = None if time is None else time[picked]
        matrix = design_matrix(self.terms, table.take(rows))
        if time is not None:
            return fit_cox(matrix, time, outcome)
        family = "linear" if self.family == "linear" else "logistic"
        return fit_regression(matrix, outcome, table.units[rows], family)


def _outcome(
    target: Target | None, follow_up: FollowUp | None, table: Encoded
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows with an outcome, the outcome (a number, or 0 and 1), and the time of a Cox model."""
    if follow_up is not None:
        rows, time, event = follow_up.of(table)
        return rows, event, time
    assert target is not None  # noqa: S101
    values = target_values(table, target)
    if target.is_class:
        rows = np.flatnonzero(values >= 0)
        return rows, (values[rows] == 1).astype(np.float64), None
    rows = np.flatnonzero(~np.isnan(values))
    return rows, np.clip(values[rows], -10.0, 10.0), None


def prescribe(
    target: Target | None,
    follow_up: FollowUp | None,
    train: Encoded,
    holdout: Encoded,
    *,
    leave_out: tuple[str, ...],
    max_rows: int,
    streams: Streams,
) -> tuple[Model | None, str]:
    """The model of an outcome on all other columns, or None and the reason.

    Args:
        target: A binary or numeric target; None for survival.
        follow_up: Time and event; None for a target.
        train: The coded training table, which decides the terms.
        holdout: The coded holdout, which decides how many it can carry.
        leave_out: Columns that are outcomes.
        max_rows: Rows a table is fitted on.
        streams: Seeds.
    """
    if target is not None and target.is_class and len(target.levels) > 2:
        classes = len(target.levels)
        return None, f"not assessed: the target has {classes} classes, a regression takes two"
    family = "cox" if follow_up is not None else "linear"
    if target is not None and target.is_class:
        family = "logistic"
    sides = [_outcome(target, follow_up, side) for side in (train, holdout)]
    smallest = min(_carries(outcome, family) for _, outcome, _ in sides)
    if min(rows.size for rows, _, _ in sides) < MIN_ROWS or smallest < 1:
        return None, "not assessed: too few real patients with the outcome for one coefficient"
    rows, outcome, _ = sides[0]
    part = train.take(rows)
    terms = choose_terms(
        fit_terms(part, leave_out=leave_out),
        outcome,
        part,
        holdout.take(sides[1][0]),
        min(MAX_TERMS, smallest),
    )
    if not terms:
        return None, "not assessed: no column varies enough to be in a regression"
    return Model(family, tuple(terms), target, follow_up, max_rows, streams), ""


def _carries(outcome: np.ndarray, family: str) -> int:
    if family == "linear":
        return outcome.size // ROWS_PER_TERM if np.ptp(outcome) > 0 else 0
    events = outcome.sum()
    return int(events if family == "cox" else min(events, outcome.size - events)) // EVENTS_PER_TERM
