"""The membership attack: its ROC curve on a linear and on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pegai.report.numbers import figure as figure_text
from pegai.report.plots.picture import (
    MUTED,
    SYNTHETIC,
    Picture,
    Style,
    draw,
    new_figure,
    quiet_axes,
    set_heading,
)

MAX_POINTS = 300


def plot_roc(data: Mapping[str, Any], auc: float = math.nan) -> tuple[Picture, ...]:
    """Two panels: all of it, and its left end, where an attacker who must be sure works.

    Args:
        data: `Evaluation.plots["roc"]`: fpr and tpr.
        auc: The area under it.
    """
    fpr, tpr = _curve(data["fpr"], data["tpr"])
    if len(fpr) < 2:
        return ()
    seen = f"The curve runs along the chance line where the attack fails; AUC {figure_text(auc)}."
    with Style():
        return (
            _panel(fpr, tpr, name="roc", heading="Whole curve", seen=seen),
            _panel(fpr, tpr, name="roc-log", heading="Few false alarms", seen=seen, log=True),
        )


def _curve(fpr: Sequence[Any], tpr: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    if len(fpr) != len(tpr):
        return np.empty(0), np.empty(0)
    points = np.asarray([fpr, tpr], dtype=float)
    points = points[:, np.isfinite(points).all(axis=0)]
    size = points.shape[1]
    if size > MAX_POINTS:
        # Dense at the left, where single false alarms count.
        even = np.linspace(0, size - 1, MAX_POINTS // 2)
        early = np.geomspace(1, size, MAX_POINTS // 2) - 1
        points = points[:, np.unique(np.concatenate([even, early]).astype(int))]
    return points[0], points[1]


def _panel(
    fpr: np.ndarray, tpr: np.ndarray, *, name: str, heading: str, seen: str, log: bool = False
) -> Picture:
    figure = new_figure(340.0, 320.0)
    axes = figure.subplots()
    set_heading(figure, heading)
    seen_rates = fpr[fpr > 0]
    # A log axis starts at the lowest rate that was measured.
    least = float(max(1e-4, seen_rates.min(initial=0.01))) if log else 0.0
    ends = [least, 1.0]
    axes.plot(ends, ends, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.step(np.maximum(fpr, least), np.maximum(tpr, least), where="post", color=SYNTHETIC,
              linewidth=2)  # fmt: skip
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [t for t in (0.001, 0.01, 0.1, 1.0) if t >= least]
        names = [f"{100 * t:g} %" for t in ticks]
    else:
        ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
        names = ["0", "25 %", "50 %", "75 %", "100 %"]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, names)
        axis.set_ticks([], minor=True)
    axes.set_xlim(least, 1.0)
    axes.set_ylim(least, 1.0)
    axes.set_xlabel("False alarms (outsiders taken for patients)", fontsize=9.5)
    axes.set_ylabel("Hits (patients recognised)", fontsize=9.5)
    axes.text(
        0.97, 0.04, "dashed: chance", transform=axes.transAxes, color=MUTED, fontsize=9.5,
        ha="right", va="bottom",
    )  # fmt: skip
    quiet_axes(axes, grid="both")
    axes.tick_params(pad=6)
    return draw(figure, name=name, title=f"ROC of the membership attack: {heading.lower()}",
                description=seen)  # fmt: skip
