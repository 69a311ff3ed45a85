"""Scores by subgroup: who is served worse by models of synthetic patients, and who is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import combine
from pegai.evaluate.scores import Score, mean, values_note
from pegai.evaluate.utility.learners import HEADLINE
from pegai.evaluate.utility.subgroups import (
    MIN_PATIENTS,
    Subgroups,
    find_subgroups,
    share_ratio,
)
from pegai.evaluate.utility.tstr import Task, Utility, main_metric
from pegai.schema import Schema
from pegai.streams import Streams

RESAMPLES = 200
_WORST = "Largest loss of a subgroup from training on synthetic rather than real patients"


@dataclass(frozen=True, eq=False)
class Group:
    """One subgroup of real patients.

    Attributes:
        name: `column=level`.
        title: For people.
        count: Rows of the holdout in it.
        train_count: Rows of the training table in it.
        tested: Positions in the task's test rows; empty without a task.
        real: The real headline's figure in it, then its resamples; shape (1 + resamples,).
    """

    name: str
    title: str
    count: int
    train_count: int
    tested: np.ndarray
    real: np.ndarray


@dataclass(frozen=True, eq=False)
class RealSubgroups:
    """Everything about the subgroups that real tables decide.

    Attributes:
        columns: How each column parts patients.
        groups: The subgroups that real patients have, column by column.
        places: (column, subgroup) of each group.
        rows: Rows of the holdout and of the training table.
        task: The prediction task, or None.
        note: Why there is no task.
        streams: Seeds.
    """

    columns: tuple[Subgroups, ...]
    groups: tuple[Group, ...]
    places: tuple[tuple[int, int], ...]
    rows: tuple[int, int]
    task: Task | None
    note: str
    streams: Streams


@dataclass(frozen=True, eq=False)
class MeasuredSubgroups:
    """The subgroups by one synthetic table.

    Attributes:
        counts: Synthetic rows in each group; shape (groups,).
        rows: Synthetic rows.
        figures: The headline's figure in each group, then its resamples; shape
            (groups, 1 + resamples), NaN where not assessed.
    """

    counts: np.ndarray
    rows: int
    figures: np.ndarray


def fit_subgroups(
    schema: Schema,
    train: Encoded,
    holdout: Encoded,
    streams: Streams,
    *,
    task: Task | None,
    real: Utility | None,
    note: str,
) -> RealSubgroups:
    """Part the real patients, and test the real headline in each part.

    Args:
        schema: Whose roles and names choose the columns.
        train: The coded training table.
        holdout: The coded holdout.
        streams: Seeds.
        task: The prediction task, or None.
        real: The models of real patients.
        note: Why there is no task.
    """
    columns = [
        c for c in find_subgroups(schema, train) if task is None or c.column != task.target.name
    ]
    groups: list[Group] = []
    places: list[tuple[int, int]] = []
    for i, column in enumerate(columns):
        members, in_train = column.members(holdout), column.members(train)
        for j, label in enumerate(column.labels):
            if not members[j].any() and not in_train[j].any():
                continue
            tested = np.zeros(0, dtype=np.int64)
            if task is not None:
                tested = np.flatnonzero(members[j][task.rows])
            groups.append(
                Group(
                    f"{column.column}={label}",
                    f"{column.title}: {label}",
                    int(members[j].sum()),
                    int(in_train[j].sum()),
                    tested,
                    _figures(task, real, tested),
                )
            )
            places.append((i, j))
    rows = (len(holdout), len(train))
    return RealSubgroups(tuple(columns), tuple(groups), tuple(places), rows, task, note, streams)


def _figures(task: Task | None, utility: Utility | None, tested: np.ndarray) -> np.ndarray:
    if task is None or utility is None:
        return np.full(1, np.nan)
    resamples = min(RESAMPLES, task.weights.shape[0])
    if tested.size < MIN_PATIENTS or HEADLINE not in utility.scores:
        return np.full(1 + resamples, np.nan)
    weights = np.vstack([np.ones((1, tested.size)), task.weights[:resamples, tested]])
    return main_metric(task.target, utility.scores[HEADLINE][tested], task.truth[tested], weights)


def measure_subgroups(
    real: RealSubgroups, synthetic: Encoded, utility: Utility | None
) -> MeasuredSubgroups:
    """Count a synthetic table's subgroups, and test its headline in each."""
    members = [column.members(synthetic) for column in real.columns]
    counts = np.array([members[i][j].sum() for i, j in real.places], dtype=np.int64)
    figures = [_figures(real.task, utility, group.tested) for group in real.groups]
    return MeasuredSubgroups(counts, len(synthetic), np.array(figures))


def subgroup_scores(real: RealSubgroups, found: Sequence[MeasuredSubgroups]) -> tuple[Score, ...]:
    """`subgroup_gap`, `subgroup_gap/<column>=<level>`, `subgroup_share/<column>=<level>`."""
    if not real.groups:
        note = "not assessed: no column has the role quasi-identifier or site"
        return (_worst_missing(note),)
    shares = [_share(real, i, found) for i in range(len(real.groups))]
    if real.task is None:
        return (_worst_missing(real.note), *shares)
    gaps = [_gap(real, i, found, 0.95) for i in range(len(real.groups))]
    return (_worst(real, gaps, found), *gaps, *shares)


def _worst_missing(note: str) -> Score:
    return Score("subgroup_gap", "utility", _WORST, math.nan, better="lower", n=0, note=note)


def _losses(
    real: RealSubgroups, i: int, found: Sequence[MeasuredSubgroups]
) -> tuple[np.ndarray, np.ndarray]:
    """Loss of each table in a subgroup and on resamples: TRTR minus TSTR, paired over patients."""
    losses = np.array([real.groups[i].real - m.figures[i] for m in found])
    return losses[:, 0], losses[:, 1:]


def _gap(real: RealSubgroups, i: int, found: Sequence[MeasuredSubgroups], level: float) -> Score:
    assert real.task is not None  # noqa: S101
    group = real.groups[i]
    values, resampled = _losses(real, i, found)
    rng = real.streams.child("combine/subgroups").get("split")
    low, high = combine(values, resampled, rng, level=level)
    value = mean(values.tolist())
    note = f"{group.tested.size} patients"
    if math.isnan(value):
        note = f"not assessed: {note}, {MIN_PATIENTS} and 5 of each class are needed"
    metric = "AUC" if real.task.target.is_class else "R squared"
    return Score(
        f"subgroup_gap/{group.name}",
        "utility",
        f"Loss of {metric} from training on synthetic patients; {group.title}",
        value,
        low,
        high,
        math.nan if math.isnan(value) else 0.0,
        "lower",
        len(found),
        tuple(values.tolist()),
        note,
    )


def _worst(real: RealSubgroups, gaps: Sequence[Score], found: Sequence[MeasuredSubgroups]) -> Score:
    """The largest loss; interval by Bonferroni, baseline the largest that chance gives."""
    known = [i for i, gap in enumerate(gaps) if gap.assessed]
    if not known:
        return _worst_missing("not assessed: every subgroup has too few patients")
    worst = max(known, key=lambda i: gaps[i].value)
    interval = _gap(real, worst, found, 1 - 0.05 / len(known))
    draws = [_losses(real, i, found) for i in known]
    noise = np.array([(again - values[:, None]).mean(axis=0) for values, again in draws])
    noise = noise[:, ~np.isnan(noise).any(axis=0)]
    chance = float(noise.max(axis=0).mean()) if noise.size else math.nan
    return Score(
        "subgroup_gap",
        "utility",
        _WORST,
        interval.value,
        interval.low,
        interval.high,
        max(0.0, chance),
        "lower",
        len(found),
        interval.values,
        f"{real.groups[worst].title}, the worst of {len(known)} subgroups; the interval is wider "
        "for that, the baseline is what chance alone gives the worst one",
    )


def _share(real: RealSubgroups, i: int, found: Sequence[MeasuredSubgroups]) -> Score:
    group = real.groups[i]
    holdout_rows, train_rows = real.rows
    ratios = [share_ratio(int(m.counts[i]), m.rows, group.count, holdout_rows) for m in found]
    value = mean([r[0] for r in ratios])
    note = "1 is ideal, below it the subgroup is under-represented"
    if group.count == 0:
        note = "not assessed: no holdout patient is in the subgroup"
    return Score(
        f"subgroup_share/{group.name}",
        "utility",
        f"Share among synthetic over share among real patients; {group.title}",
        value,
        mean([r[1] for r in ratios]),
        mean([r[2] for r in ratios]),
        share_ratio(group.train_count, train_rows, group.count, holdout_rows)[0],
        "higher",
        len(found),
        tuple(r[0] for r in ratios),
        note if math.isnan(value) or len(found) > 1 else f"{note}; {values_note(1)}",
    )


def subgroup_plot(real: RealSubgroups, found: Sequence[MeasuredSubgroups]) -> list[dict[str, Any]]:
    """A dict a subgroup.

    Returns:
        `column`, `group`, `n` (holdout rows), `metric` (auc or r2), `real` and `synthetic` (the
        headline's figure in it), `gap`, `low`, `high`, `share_real`, `share_synthetic`, `ratio`.
    """
    rows: list[dict[str, Any]] = []
    for i, group in enumerate(real.groups):
        gap = _gap(real, i, found, 0.95) if real.task is not None else None
        column = real.columns[real.places[i][0]]
        rows.append(
            {
                "column": column.column,
                "title": column.title,
                "group": column.labels[real.places[i][1]],
                "n": group.count,
                "metric": real.task.target.main if real.task is not None else None,
                "real": float(group.real[0]),
                "synthetic": mean([float(m.figures[i, 0]) for m in found]),
                "gap": gap.value if gap is not None else math.nan,
                "low": gap.low if gap is not None else math.nan,
                "high": gap.high if gap is not None else math.nan,
                "share_real": group.count / real.rows[0],
                "share_synthetic": mean([float(m.counts[i] / m.rows) for m in found]),
                "ratio": _share(real, i, found).value,
            }
        )
    return rows
