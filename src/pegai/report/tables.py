"""The tables of the page as plain text cells: scores, classifiers, pairs, and any list of facts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.content import Row, plain
from pegai.report.numbers import (
    cell,
    figure,
    interval,
    is_share,
    score_interval,
    score_text,
    share,
)

BETTER = {"higher": "higher", "lower": "lower", "half": "near 0.5"}
GROUPS = (("privacy", "Privacy"), ("fidelity", "Fidelity"), ("utility", "Utility"))
HEADINGS = {
    "k": "k: smallest group",
    "k_anonymity": "k: smallest group",
    "l": "l: fewest sensitive values",
    "l_distinct": "l, distinct",
    "distinct_l": "l, distinct",
    "l_entropy": "l, entropy",
    "entropy_l": "l, entropy",
    "t": "t: largest distance",
    "t_closeness": "t: largest distance",
    "cells": "Cells changed",
    "class": "Class",
}


@dataclass(frozen=True)
class Text:
    """One cell: its text, a second line, and how it is shown.

    Attributes:
        main: The text.
        below: A smaller second line.
        kind: `number`, `status-...` or nothing; a CSS class.
    """

    main: str
    below: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: caption, column heads, and rows whose first cell heads the row.

    Attributes:
        caption: What the table is.
        heads: Column heads.
        rows: Cells; each row as long as `heads`.
        marked: Index of a row to emphasise; -1 for none.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    marked: int = -1


def score_grids(evaluation: Evaluation) -> tuple[Grid, ...]:
    """All scores, one table a group."""
    heads = ("Score", "Value", "95 % interval", "With real data", "Better", "n", "Note")
    return tuple(
        Grid(title, heads, tuple(_score_row(s) for s in evaluation.group(group)))  # type: ignore[arg-type]
        for group, title in GROUPS
        if evaluation.group(group)  # type: ignore[arg-type]
    )


def _score_row(score: Score) -> tuple[Text, ...]:
    show = share if is_share(score.name) else figure
    baseline = "–" if math.isnan(score.baseline) else show(score.baseline)
    return (
        Text(score.title, score.name),
        Text(score_text(score), kind="number" if score.assessed else "number missing"),
        Text(score_interval(score) or "–", kind="number"),
        Text(baseline, kind="number"),
        Text(BETTER.get(score.better, score.better)),
        Text(str(score.n), kind="number"),
        Text(score.note or "–"),
    )


def tstr_grid(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """Every classifier and metric: synthetic, interval, real."""
    from pegai.report.plots.utility import METRIC_TITLES, number

    metrics = list(dict.fromkeys(str(m) for row in rows for m in row["metrics"]))
    body = []
    for row in rows:
        cells = [Text(str(row.get("title") or row["classifier"]))]
        for metric in metrics:
            found = {k: number(v) for k, v in row["metrics"].get(metric, {}).items()}
            between = interval(found.get("low", math.nan), found.get("high", math.nan))
            real = f"real {figure(found.get('real'))}"
            cells.append(
                Text(figure(found.get("synthetic")), f"{between}\n{real}" if between else real,
                     "number")
            )  # fmt: skip
        body.append(tuple(cells))
    heads = ("Classifier", *(str(METRIC_TITLES.get(m, m)) for m in metrics))
    return Grid("Trained on synthetic, tested on real patients", heads, tuple(body))


def class_grid(report: Mapping[str, Any]) -> Grid:
    """The classification report: synthetic with real below, one row a class."""
    real = {str(row["label"]): row for row in report.get("real", ())}
    synthetic = {str(row["label"]): row for row in report.get("synthetic", ())}
    labels = list(dict.fromkeys((*real, *synthetic)))
    fields = (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    rows = []
    for label in labels:
        ours, theirs = synthetic.get(label, {}), real.get(label, {})
        cells = [
            Text(figure(ours.get(key)), f"real {figure(theirs.get(key))}", "number")
            for key, _ in fields
        ]
        support = ours.get("support", theirs.get("support"))
        rows.append((Text(label), *cells, Text(cell(support), kind="number")))
    heads = ("Class", *(title for _, title in fields), "Patients")
    return Grid("Classification report on holdout patients", heads, tuple(rows))


def pair_grid(pairs: Iterable[tuple[str, str, float, float]]) -> Grid:
    """The pairs of columns whose correlation differs most."""
    rows = tuple(
        (Text(f"{a} × {b}"), *(Text(figure(v, 2), kind="number") for v in (r, s, s - r)))
        for a, b, r, s in pairs
    )
    return Grid("Pairs that differ most", ("Pair", "Real", "Synthetic", "Difference"), rows)


def marginal_grid(distances: Iterable[tuple[str, float]]) -> Grid:
    """The columns whose distribution differs most, first."""
    rows = tuple((Text(name), Text(share(d), kind="number")) for name, d in distances)
    return Grid("Columns, most different first", ("Column", "Rows in the wrong place"), rows)


def rows_grid(rows: Sequence[Row], caption: str) -> Grid:
    """Any list of dicts as a table; the columns are the keys in order of appearance."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    body = tuple(
        tuple(
            Text(cell(plain(row.get(key))), kind="number" if _is_number(row.get(key)) else "")
            for key in keys
        )
        for row in rows
    )
    return Grid(caption, tuple(heading(key) for key in keys), body)


def facts_grid(
    facts: Mapping[str, Any], caption: str, *, head: str = "Value", raw: bool = False
) -> Grid:
    """A mapping as a table of two columns; nested ones are flattened; `raw` keeps the keys."""
    show = str if raw else heading
    rows = tuple((Text(show(key)), Text(cell(value))) for key, value in _flat(facts))
    return Grid(caption, ("", head), rows)


def anonymity_grid(before: Mapping[str, Any], after: Mapping[str, Any]) -> Grid:
    """k, l and t of the source before and after de-identification."""
    first, second = dict(_flat(before)), dict(_flat(after))
    rows = tuple(
        (
            Text(heading(key)),
            Text(cell(first.get(key)), kind="number"),
            Text(cell(second.get(key)), kind="number"),
        )
        for key in dict.fromkeys((*first, *second))
    )
    return Grid("Quasi-identifiers of the source table", ("", "Before", "After"), rows)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in plain(facts).items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key} / ")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def heading(key: str) -> str:
    """A key as a heading: `learning_rate` becomes `Learning rate`."""
    if key in HEADINGS:
        return HEADINGS[key]
    words = str(key).replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def subgroup_grid(data: Sequence[Mapping[str, Any]]) -> Grid | None:
    """Every subgroup: patients, the figure from real and synthetic rows, and the loss."""
    from pegai.report.plots.models import subgroup_name
    from pegai.report.plots.utility import number

    rows = tuple(
        (
            Text(subgroup_name(row)),
            Text(cell(row.get("n")), kind="number"),
            Text(share(number(row.get("share_real"))), kind="number"),
            Text(share(number(row.get("share_synthetic"))), kind="number"),
            Text(figure(number(row.get("real"))), kind="number"),
            Text(figure(number(row.get("synthetic"))), kind="number"),
            Text(
                figure(number(row.get("gap"))),
                interval(number(row.get("low")), number(row.get("high"))),
                "number",
            ),
        )
        for row in data
    )
    heads = ("Subgroup", "Patients", "Share, real", "Share, synthetic", "Real", "Synthetic", "Loss")
    return Grid("Models in each subgroup", heads, rows) if rows else None


WORST = {
    "worst_1way": "Single columns",
    "worst_2way": "Pairs of columns",
    "worst_3way": "Triples of columns",
    "worst_missing": "Missing values",
}


def worst_grids(plots: Mapping[str, Any]) -> tuple[Grid, ...]:
    """The columns, pairs and triples that are furthest from real patients, with the real figure."""
    grids = []
    for name, title in WORST.items():
        rows = tuple(
            (
                Text(" × ".join(str(column) for column in row.get("columns") or ())),
                Text(share(row.get("distance")), kind="number"),
                Text(share(row.get("baseline")), kind="number"),
            )
            for row in plots.get(name) or ()
        )
        heads = ("Columns", "Rows in the wrong place", "Real sample")
        if rows:
            grids.append(Grid(f"{title}, worst first", heads, rows))
    return tuple(grids)
