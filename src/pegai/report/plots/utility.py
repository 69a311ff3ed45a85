"""Train on synthetic, test on real: dot plots by classifier and confusion heatmaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import shorten
from pegai.report.plots.picture import (
    REAL,
    SEQUENTIAL,
    SYNTHETIC,
    Picture,
    Style,
    draw,
    new_figure,
    quiet_axes,
    set_heading,
)

METRIC_TITLES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
PLOTTED = ("auc", "accuracy", "f1")
MAX_NUMBERED = 8


def number(value: Any) -> float:
    """A JSON figure as a float; None is NaN."""
    return math.nan if value is None else float(value)


def plot_classifiers(rows: Sequence[Mapping[str, Any]]) -> tuple[Picture, ...]:
    """One dot plot a metric: real as open circles, synthetic as diamonds with intervals.

    Args:
        rows: `Evaluation.plots["tstr"]`: classifier, title, and metrics, each with
            synthetic, low, high and real.
    """
    with Style():
        found = (_dots(rows, metric) for metric in PLOTTED)
        return tuple(picture for picture in found if picture is not None)


def _dots(rows: Sequence[Mapping[str, Any]], metric: str) -> Picture | None:
    chosen = [row for row in rows if metric in row["metrics"]]
    cells = [{k: number(v) for k, v in row["metrics"][metric].items()} for row in chosen]
    values = [v for cell in cells for v in cell.values() if math.isfinite(v)]
    if not values:
        return None
    figure = new_figure(340.0, 74.0 + 30.0 * len(chosen))
    axes = figure.subplots()
    title = METRIC_TITLES[metric]
    set_heading(figure, title)
    for place, cell in enumerate(cells):
        low, high = cell.get("low", math.nan), cell.get("high", math.nan)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [place, place], color=SYNTHETIC, linewidth=2.2)
        axes.plot(
            cell.get("synthetic", math.nan), place, marker="D", markersize=6.5, color=SYNTHETIC
        )
        axes.plot(
            cell.get("real", math.nan), place, marker="o", markersize=8, markerfacecolor="none",
            markeredgecolor=REAL, markeredgewidth=2, linestyle="none",
        )  # fmt: skip
    titles = [shorten(str(row.get("title") or row["classifier"]), 22) for row in chosen]
    axes.set_yticks(range(len(cells)), titles)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    span = max(max(values) - min(values), 0.08)
    axes.set_xlim(max(min(values) - 0.12 * span, 0.0), min(max(values) + 0.12 * span, 1.03))
    quiet_axes(axes, grid="both")
    axes.spines[:].set_visible(False)
    seen = "; ".join(
        f"{row.get('title') or row['classifier']}: synthetic {figure_text(cell.get('synthetic'))}, "
        f"real {figure_text(cell.get('real'))}"
        for row, cell in zip(chosen, cells, strict=True)
    )
    return draw(
        figure, name=f"tstr-{metric}", title=f"{title} by classifier, tested on real patients",
        description=f"{seen}.",
    )  # fmt: skip


def plot_confusion(data: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Two heatmaps of true against predicted class, shaded by the share of the true class.

    Args:
        data: `Evaluation.plots["confusion"]`: labels, and the counts real and synthetic.
    """
    labels = [shorten(str(label), 16) for label in data["labels"]]
    panels = (("real", "Trained on real"), ("synthetic", "Trained on synthetic"))
    with Style():
        return tuple(
            _confusion(np.asarray(data[key], dtype=float), labels, key, heading)
            for key, heading in panels
            if np.asarray(data[key], dtype=float).shape == (len(labels), len(labels))
        )


def _confusion(counts: np.ndarray, labels: list[str], key: str, heading: str) -> Picture:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = new_figure(320.0, 290.0)
    axes = figure.subplots()
    set_heading(figure, heading)
    axes.pcolormesh(shares, cmap=SEQUENTIAL, vmin=0, vmax=1, edgecolors="white", linewidth=2)
    places = np.arange(len(labels)) + 0.5
    many = len(labels) > MAX_NUMBERED
    size = 8 if many else 10
    axes.set_xticks(places, labels, rotation=90 if len(labels) > 3 else 0, fontsize=size)
    axes.set_yticks(places, labels, fontsize=size)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    for (row, column), part in np.ndenumerate(shares):
        if many:
            break
        axes.text(
            column + 0.5, row + 0.5, f"{counts[row, column]:.4g}\n{100 * part:.0f} %",
            ha="center", va="center", fontsize=11 if len(labels) <= 4 else 8,
            color="white" if part > 0.75 else "#1d2a35",
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.tick_params(length=0, left=False, bottom=False)
    axes.spines[:].set_visible(False)
    right = float(np.trace(counts) / counts.sum()) if counts.sum() > 0 else math.nan
    seen = f"{heading}: share classified correctly {figure_text(right)}."
    return draw(
        figure, name=f"confusion-{key}", title=f"Confusion matrix, {heading.lower()}",
        description=seen,
    )  # fmt: skip
