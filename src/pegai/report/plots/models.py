"""What models of synthetic patients are like: calibration, importance of columns, subgroups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import shorten
from pegai.report.plots.picture import (
    MUTED,
    REAL,
    SYNTHETIC,
    Picture,
    Style,
    draw,
    new_figure,
    quiet_axes,
    set_heading,
)
from pegai.report.plots.utility import number

MAX_COLUMNS = 15
MAX_SUBGROUPS = 20
SIDES = (("real", REAL, "o"), ("synthetic", SYNTHETIC, "D"))


def plot_calibration(rows: Sequence[Mapping[str, Any]]) -> tuple[Picture, ...]:
    """One reliability diagram a classifier: predicted risk against the share with the event.

    Args:
        rows: `Evaluation.plots["reliability"]`: classifier, title, and points of `real` and
            `synthetic`, each with risk, observed, low and high.
    """
    with Style():
        usable = [row for row in rows if row.get("real") or row.get("synthetic")]
        return tuple(_reliability(row, i) for i, row in enumerate(usable))


def _reliability(row: Mapping[str, Any], place: int) -> Picture:
    figure = new_figure(340.0, 320.0)
    axes = figure.subplots()
    title = str(row.get("title") or row.get("classifier") or "Model")
    set_heading(figure, shorten(title, 40))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    for side, colour, marker in SIDES:
        points = [p for p in row.get(side) or () if not math.isnan(number(p.get("observed")))]
        risk, seen = ([number(p[k]) for p in points] for k in ("risk", "observed"))
        for x, p in zip(risk, points, strict=True):
            axes.plot([x, x], [number(p.get("low")), number(p.get("high"))], color=colour,
                      linewidth=1.1, alpha=0.6)  # fmt: skip
        axes.plot(risk, seen, color=colour, marker=marker, markersize=5, linewidth=1.6,
                  markerfacecolor="white" if side == "real" else colour)  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    ticks, names = [0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_xlabel("Predicted risk", fontsize=9.5)
    axes.set_ylabel("Share that had the event", fontsize=9.5)
    quiet_axes(axes, grid="both")
    off = [
        abs(number(p.get("risk")) - number(p.get("observed"))) for p in row.get("synthetic") or ()
    ]
    seen_text = (
        f"Trained on synthetic: predicted and observed differ by at most {figure_text(max(off))}."
        if off
        else "No points for models trained on synthetic rows."
    )
    return draw(figure, name=f"reliability{place}", title=f"Calibration of {title}",
                description=seen_text)  # fmt: skip


def plot_importance(rows: Sequence[Mapping[str, Any]]) -> tuple[Picture, ...]:
    """A dot plot: how much a model loses when a column is shuffled, real against synthetic.

    Args:
        rows: `Evaluation.plots["importance"]`: column, title, and the losses real and synthetic.
    """
    usable = [r for r in rows if not math.isnan(number(r.get("real")) + number(r.get("synthetic")))]
    if not usable:
        return ()
    names = [str(row.get("title") or row.get("column")) for row in usable]
    real = [number(row["real"]) for row in usable]
    synthetic = [number(row["synthetic"]) for row in usable]
    largest = [max((v for v in pair if not math.isnan(v)), default=0.0)
               for pair in zip(real, synthetic, strict=True)]  # fmt: skip
    order = sorted(range(len(names)), key=lambda i: -largest[i])[:MAX_COLUMNS]
    with Style():
        figure = new_figure(420.0, 78.0 + 23.0 * len(order))
        axes = figure.subplots()
        left = len(names) - len(order)
        set_heading(figure, "Importance of columns" + (f" (first {len(order)})" if left else ""))
        for place, i in enumerate(order):
            axes.plot([real[i], synthetic[i]], [place, place], color=MUTED, linewidth=1)
            axes.plot(real[i], place, marker="o", markersize=8, markerfacecolor="none",
                      markeredgecolor=REAL, markeredgewidth=2)  # fmt: skip
            axes.plot(synthetic[i], place, marker="D", markersize=6, color=SYNTHETIC)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(order)), [shorten(names[i], 24) for i in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel("Loss when the column is shuffled", fontsize=9.5)
        quiet_axes(axes, grid="x")
        axes.spines[:].set_visible(False)
        seen = "; ".join(
            f"{names[i]}: real {figure_text(real[i])}, synthetic {figure_text(synthetic[i])}"
            for i in order
        )
        return (draw(figure, name="importance", title="Importance of columns",
                     description=f"{seen}."),)  # fmt: skip


def plot_subgroups(data: Sequence[Mapping[str, Any]]) -> tuple[Picture, ...]:
    """What a model loses in each subgroup by learning from synthetic patients, worst first.

    Args:
        data: `Evaluation.plots["subgroups"]`: title, group, gap, low and high of each.
    """
    rows = [r for r in data if not math.isnan(number(r.get("gap")))]
    shown = sorted(rows, key=lambda r: -number(r["gap"]))[:MAX_SUBGROUPS]
    if not shown:
        return ()
    with Style():
        figure = new_figure(420.0, 78.0 + 22.0 * len(shown))
        axes = figure.subplots()
        more = f" (first {len(shown)} of {len(rows)})" if len(rows) > len(shown) else ""
        set_heading(figure, f"Loss by subgroup{more}")
        for place, row in enumerate(shown):
            axes.plot([number(row.get("low")), number(row.get("high"))], [place, place],
                      color=SYNTHETIC, linewidth=2.2)  # fmt: skip
            axes.plot(number(row["gap"]), place, marker="D", markersize=6, color=SYNTHETIC)
        axes.axvline(0, color=REAL, linewidth=1.4)
        axes.set_yticks(range(len(shown)), [shorten(subgroup_name(row), 28) for row in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("Loss against a model of real patients", fontsize=9.5)
        quiet_axes(axes, grid="x")
        axes.spines[:].set_visible(False)
        seen = "; ".join(f"{subgroup_name(r)}: {figure_text(number(r['gap']))}" for r in shown)
        return (draw(figure, name="subgroups", title="Loss by subgroup", description=f"{seen}."),)


def subgroup_name(row: Mapping[str, Any]) -> str:
    """`Sex: female`."""
    return f"{row.get('title') or row.get('column', '')}: {row.get('group', '')}"
