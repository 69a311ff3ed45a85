"""Small multiples of the single columns: one panel a column, real against synthetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pegai.report.numbers import share, short_number, shorten
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

MAX_PANELS = 24
MAX_LEVELS = 6
WIDTH, HEIGHT = 300.0, 178.0


@dataclass(frozen=True)
class Marginals:
    """The panels, and how many columns they leave out."""

    pictures: tuple[Picture, ...]
    distances: tuple[tuple[str, float], ...]
    left_out: int


def plot_marginals(columns: Sequence[Mapping[str, Any]]) -> Marginals:
    """One panel a column; of more than 24 columns, the 24 that differ most.

    Args:
        columns: `Evaluation.plots["marginals"]`: column, title, kind, labels, edges, and the
            shares of real and synthetic rows.
    """
    usable = [c for c in columns if len(c["real"]) == len(c["synthetic"]) > 0]
    ranked = sorted(usable, key=lambda c: -variation_distance(c))
    shown = ranked[:MAX_PANELS] if len(usable) > MAX_PANELS else usable
    with Style():
        pictures = tuple(_panel(column, f"marginal{i}") for i, column in enumerate(shown))
    distances = tuple((str(c["column"]), variation_distance(c)) for c in ranked)
    return Marginals(pictures, distances, len(columns) - len(shown))


def variation_distance(column: Mapping[str, Any]) -> float:
    """Half the summed difference of the shares: the share of rows in the wrong place."""
    real, synthetic = _shares(column)
    return float(np.abs(real - synthetic).sum() / 2)


def _shares(column: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    def clean(values: Sequence[Any]) -> np.ndarray:
        return np.asarray([0.0 if v is None else float(v) for v in values])

    return clean(column["real"]), clean(column["synthetic"])


def _panel(column: Mapping[str, Any], name: str) -> Picture:
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    title = str(column.get("title") or column["column"])
    set_heading(figure, shorten(title, 36))
    edges = column.get("edges")
    if edges is not None and len(edges) >= 2:
        _histogram(axes, column)
    else:
        _bars(axes, column)
    distance = variation_distance(column)
    seen = f"{title}: {share(distance)} of the rows would have to move to make the two equal."
    return draw(figure, name=name, title=f"Distribution of {title}", description=seen)


def _histogram(axes: Axes, column: Mapping[str, Any]) -> None:
    real, synthetic = _shares(column)
    edges = np.asarray(column["edges"], dtype=float)
    bins = len(edges) - 1
    axes.stairs(real[:bins], edges, fill=True, color=REAL, alpha=0.30, linewidth=0)
    axes.stairs(real[:bins], edges, color=REAL, linewidth=1.3)
    axes.stairs(synthetic[:bins], edges, color=SYNTHETIC, linewidth=2.0)
    ticks, names = _histogram_ticks(column, edges)
    width = (edges[-1] - edges[0]) or 1.0
    right = edges[-1]
    if _extra_labels(column, bins):
        inside = [i for i, tick in enumerate(ticks) if tick < edges[-1] - 0.1 * width]
        ticks, names = [ticks[i] for i in inside], [names[i] for i in inside]
    for i, label in enumerate(_extra_labels(column, bins)):
        # What has no place on the axis (missing, mostly) stands apart, to its right.
        left = edges[-1] + width * (0.10 + 0.18 * i)
        for part, (values, colour) in enumerate(((real, REAL), (synthetic, SYNTHETIC))):
            at = left + width * 0.055 * part
            axes.bar(at, values[bins + i], width=width * 0.05, color=colour, align="edge")
        ticks.append(left + width * 0.05)
        names.append(shorten(label, 9))
        right = left + width * 0.14
    axes.set_xlim(edges[0] - 0.02 * width, right + 0.02 * width)
    axes.set_xticks(ticks, names)
    _percent_axis(axes.yaxis, max(real.max(), synthetic.max()), axes.set_ylim)
    quiet_axes(axes, grid="y")
    axes.spines["left"].set_visible(False)


def _extra_labels(column: Mapping[str, Any], bins: int) -> list[str]:
    extra = len(column["real"]) - bins
    labels = [str(label) for label in column.get("labels") or ()]
    return (labels[-extra:] if len(labels) >= extra else ["missing"] * extra) if extra > 0 else []


def _histogram_ticks(column: Mapping[str, Any], edges: np.ndarray) -> tuple[list[float], list[str]]:
    if column.get("kind") in ("date", "datetime"):
        unit = "D" if column["kind"] == "date" else "s"
        ends = [float(edges[0]), float(edges[-1])]
        days = [str(np.datetime64(int(e), unit).astype("datetime64[D]")) for e in ends]
        return ends, days
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(4, integer=column.get("kind") == "integer").tick_values(edges[0], edges[-1])
    ticks = [float(t) for t in found if edges[0] <= t <= edges[-1]] or [float(edges[0])]
    return ticks, [short_number(t) for t in ticks]


def _bars(axes: Axes, column: Mapping[str, Any]) -> None:
    real, synthetic = _shares(column)
    labels = [str(label) for label in column.get("labels") or ()]
    labels += [f"level {i + 1}" for i in range(len(labels), len(real))]
    labels, real, synthetic = _grouped(labels[: len(real)], real, synthetic)
    places = np.arange(len(labels), dtype=float)
    axes.barh(places - 0.19, real, height=0.34, color=REAL)
    axes.barh(places + 0.19, synthetic, height=0.34, color=SYNTHETIC)
    axes.set_yticks(places, [shorten(label, 20) for label in labels])
    # Few levels keep bars of a common thickness, in the middle of the panel.
    half, middle = max(len(labels), 3) / 2, (len(labels) - 1) / 2
    axes.set_ylim(middle + half + 0.05, middle - half - 0.05)
    _percent_axis(axes.xaxis, max(real.max(), synthetic.max()), axes.set_xlim)
    quiet_axes(axes, grid="x")
    axes.spines["bottom"].set_visible(False)


def _grouped(
    labels: list[str], real: np.ndarray, synthetic: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keeps the most frequent levels in their order and adds up the others."""
    if len(labels) <= MAX_LEVELS:
        return labels, real, synthetic
    largest = np.argsort(-(real + synthetic), kind="stable")[: MAX_LEVELS - 1]
    keep = np.zeros(len(labels), dtype=bool)
    keep[largest] = True
    names = [label for label, kept in zip(labels, keep, strict=True) if kept]
    names.append(f"{int((~keep).sum())} others")
    return (
        names,
        np.append(real[keep], real[~keep].sum()),
        np.append(synthetic[keep], synthetic[~keep].sum()),
    )


def _percent_axis(axis: Any, largest: float, set_limits: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    set_limits(0, max(largest, 1e-6) * 1.06)
    axis.set_major_locator(MaxNLocator(3))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
