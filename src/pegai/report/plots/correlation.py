"""How the columns hang together: heatmaps of real, synthetic, and their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import shorten
from pegai.report.plots.picture import (
    DIVERGING,
    SEQUENTIAL,
    Picture,
    Style,
    draw,
    new_figure,
    set_heading,
)

MAX_COLUMNS = 24
WIDE = 16


@dataclass(frozen=True)
class Correlations:
    """The three heatmaps, the worst pairs, columns left out, and whether they need more room."""

    pictures: tuple[Picture, ...]
    worst: tuple[tuple[str, str, float, float], ...]
    left_out: int
    wide: bool = False


def plot_correlations(data: Mapping[str, Any]) -> Correlations:
    """Three heatmaps; of more than 24 columns, the 24 with the largest differences.

    Args:
        data: `Evaluation.plots["correlation"]`: columns, and the matrices real and synthetic.
    """
    names = [str(c) for c in data["columns"]]
    real, synthetic = _matrix(data["real"]), _matrix(data["synthetic"])
    if not names or real.shape != (len(names), len(names)) or real.shape != synthetic.shape:
        return Correlations((), (), 0)
    difference = synthetic - real
    keep = _largest(difference)
    labels = [shorten(names[i], 12) for i in keep]
    chosen = np.ix_(keep, keep)
    largest = float(np.nanmax(np.abs(difference), initial=0.0))
    limit = float(max(0.1, np.ceil(largest * 10) / 10))
    # Associations of mixed columns have no sign; then white is "none", not "half".
    least = (
        0.0 if min(np.nanmin(real, initial=0.0), np.nanmin(synthetic, initial=0.0)) >= 0 else -1.0
    )
    seen = f"{len(keep)} columns; the largest difference of any pair is {figure_text(largest, 2)}."
    panels = (
        ("real", "Real", real, (least, 1.0)),
        ("synthetic", "Synthetic", synthetic, (least, 1.0)),
        ("difference", "Synthetic minus real", difference, (-limit, limit)),
    )
    with Style():
        pictures = tuple(
            _heatmap(matrix[chosen], labels, span=span, name=key, heading=heading, seen=seen)
            for key, heading, matrix, span in panels
        )
    worst = _worst_pairs(names, real, synthetic)
    return Correlations(pictures, worst, len(names) - len(keep), len(keep) > WIDE)


def _matrix(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    filled = [[np.nan if v is None else float(v) for v in row] for row in rows]
    try:
        return np.asarray(filled, dtype=float)
    except ValueError:  # ragged
        return np.empty((0, 0))


def _largest(difference: np.ndarray) -> list[int]:
    size = len(difference)
    if size <= MAX_COLUMNS:
        return list(range(size))
    worst = np.nan_to_num(np.abs(difference)).max(axis=1)
    return sorted(int(i) for i in np.argsort(-worst, kind="stable")[:MAX_COLUMNS])


def _worst_pairs(
    names: Sequence[str], real: np.ndarray, synthetic: np.ndarray
) -> tuple[tuple[str, str, float, float], ...]:
    rows, columns = np.triu_indices(len(names), k=1)
    gap = np.nan_to_num(np.abs(synthetic - real)[rows, columns])
    order = np.argsort(-gap, kind="stable")[:10]
    pairs = ((int(rows[i]), int(columns[i])) for i in order if gap[i] > 0)
    return tuple((names[i], names[j], float(real[i, j]), float(synthetic[i, j])) for i, j in pairs)


def _heatmap(
    matrix: np.ndarray,
    labels: Sequence[str],
    *,
    span: tuple[float, float],
    name: str,
    heading: str,
    seen: str,
) -> Picture:
    size = len(labels)
    many = size > WIDE
    figure = new_figure(460.0 if many else 340.0, 490.0 if many else 370.0)
    axes = figure.subplots()
    set_heading(figure, heading)
    scale = Normalize(*span)
    colours = DIVERGING if span[0] < 0 else SEQUENTIAL
    axes.pcolormesh(
        np.ma.masked_invalid(matrix), cmap=colours, norm=scale, edgecolors="white",
        linewidth=0.6 if size > 8 else 1.2,
    )  # fmt: skip
    axes.set_aspect("equal")
    axes.invert_yaxis()
    places = np.arange(size) + 0.5
    axes.set_xticks(places, labels, rotation=90, fontsize=9.5)
    axes.set_yticks(places, labels, fontsize=9.5)
    axes.tick_params(length=0, pad=3, left=False, bottom=False)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    _colour_bar(figure, axes, ScalarMappable(scale, colours.resampled(21)), span=span)
    return draw(
        figure, name=f"correlation-{name}", title=f"Associations of columns: {heading.lower()}",
        description=seen,
    )  # fmt: skip


def _colour_bar(
    figure: Figure, axes: Axes, colours: ScalarMappable, *, span: tuple[float, float]
) -> None:
    """A colour bar of 21 steps: matplotlib's own has 256 rectangles."""
    middle = (span[0] + span[1]) / 2
    bar = figure.colorbar(
        colours, ax=axes, orientation="horizontal", ticks=[span[0], middle, span[1]], shrink=0.6,
        aspect=24, pad=0.02,
    )  # fmt: skip
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=9.5, bottom=False)
    sign = "+" if span[0] < 0 else ""
    names = [figure_text(span[0], 1), figure_text(middle, 1), f"{sign}{span[1]:.1f}"]
    bar.ax.set_xticklabels(names)
