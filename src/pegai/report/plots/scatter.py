"""A map of patients: real and synthetic rows on the first two principal components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pegai.report.numbers import share
from pegai.report.plots.picture import (
    REAL,
    SYNTHETIC,
    Picture,
    Style,
    draw,
    new_figure,
    quiet_axes,
    set_heading,
)

MAX_POINTS = 400


def plot_scatter(data: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Two maps of equal scale side by side, at most 400 points each.

    Args:
        data: `Evaluation.plots["scatter"]`: points real and synthetic, and the explained shares.
    """
    real, synthetic = _points(data["real"]), _points(data["synthetic"])
    if not len(real) or not len(synthetic):
        return ()
    both = np.vstack([real, synthetic])
    # A few far points would squeeze all others into a corner; the frame holds 99 % of each axis.
    low, high = np.quantile(both, 0.005, axis=0), np.quantile(both, 0.995, axis=0)
    pad = 0.06 * np.maximum(high - low, 1e-9)
    frame = (low - pad, high + pad)
    explained = [float(e) for e in data.get("explained") or (math.nan, math.nan)]
    panels = (
        ("real", "Real", real, REAL, "o"),
        ("synthetic", "Synthetic", synthetic, SYNTHETIC, "D"),
    )
    with Style():
        return tuple(
            _panel(points, frame, explained, name=f"scatter-{key}", heading=heading,
                   colour=colour, marker=marker)
            for key, heading, points, colour, marker in panels
        )  # fmt: skip


def _points(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    pairs = [row for row in rows if len(row) == 2 and None not in row]
    points = np.asarray(pairs, dtype=float).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    # Evenly spaced, so that equal content gives equal bytes and order means nothing.
    step = np.linspace(0, max(len(points) - 1, 0), min(len(points), MAX_POINTS)).astype(int)
    return points[step]


def _panel(
    points: np.ndarray,
    frame: tuple[np.ndarray, np.ndarray],
    explained: Sequence[float],
    *,
    name: str,
    heading: str,
    colour: str,
    marker: str,
) -> Picture:
    figure = new_figure(340.0, 290.0)
    axes = figure.subplots()
    set_heading(figure, f"{heading} ({len(points)} shown)")
    axes.plot(
        points[:, 0], points[:, 1], linestyle="none", marker=marker, markersize=4.2,
        markeredgewidth=0, color=colour, alpha=0.45,
    )  # fmt: skip
    axes.set_xlim(frame[0][0], frame[1][0])
    axes.set_ylim(frame[0][1], frame[1][1])
    for index, set_label in enumerate((axes.set_xlabel, axes.set_ylabel)):
        known = index < len(explained) and math.isfinite(explained[index])
        part = f" ({share(explained[index])} of variance)" if known else ""
        set_label(f"Component {index + 1}{part}", fontsize=9.5)
    axes.set_xticks([])
    axes.set_yticks([])
    quiet_axes(axes)
    seen = "Each point is one row; the two maps have the same axes, so the clouds should agree."
    return draw(
        figure, name=name, title=f"{heading} patients on two principal components",
        description=seen,
    )  # fmt: skip
