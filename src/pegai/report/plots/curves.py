"""The privacy-utility curve: what each method gives at each epsilon, with bands.

One panel a figure, the same epsilons below each, a colour and a marker for each method. Bands and
bars are 95 % intervals. What has no guarantee stands apart, at the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from pegai.evaluate.scores import Score
from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import shorten, significant
from pegai.report.plots.picture import (
    LINE,
    MUTED,
    REAL,
    Picture,
    Style,
    draw,
    new_figure,
    quiet_axes,
    set_heading,
)

COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#8a6d00", "#3a9ad9", "#111111")
"""Of the methods: Okabe and Ito's, without the blue of real patients, and a darker yellow."""

MARKERS = "osD^vP"
WIDTH, HEIGHT = 345.0, 300.0
SHARED = 0.18
"""Free space between the last epsilon and what has none, in parts of the axis."""


@dataclass(frozen=True)
class Spot:
    """One method at one epsilon.

    Attributes:
        method: The generator.
        epsilon: As it was asked for; infinity where there is no guarantee.
        delta: NaN where there is no guarantee.
        scores: By name of the score.
    """

    method: str
    epsilon: float
    delta: float
    scores: dict[str, Score | None]

    def get(self, name: str) -> Score | None:
        """An assessed score, or None."""
        score = self.scores.get(name)
        return score if score is not None and score.assessed else None


@dataclass(frozen=True)
class _Panel:
    """One figure: its score, its heading, its reference line and whether epsilon bounds it."""

    score: str
    heading: str
    line: str
    level: float = math.nan
    colour: str = MUTED
    bounded: bool = False


PANELS = (
    _Panel("tstr_auc", "Useful: TSTR AUC", "real patients", colour=REAL),
    _Panel("detection_auc", "Told apart: C2ST AUC", "ideal", 0.5),
    _Panel("membership_auc", "Attacked: membership AUC", "chance", 0.5, bounded=True),
)


def attack_auc_bound(epsilon: float, delta: float) -> float:
    """The largest AUC that any membership attack can have under (epsilon, delta).

    The area under the region of Kairouz, Oh and Viswanath 2015, "The composition theorem for
    differential privacy", theorem 2.1: hits <= e^epsilon x false alarms + delta, and the same with
    both exchanged for their complements.
    """
    if not math.isfinite(epsilon):
        return 1.0
    return 1.0 - (1.0 - delta) ** 2 * math.exp(-epsilon) / (1.0 + math.exp(-epsilon))


def plot_curves(spots: Sequence[Spot]) -> tuple[Picture, ...]:
    """Usefulness, detection and attack over epsilon; a panel without any figure is left out."""
    axis = _Axis.of(spots)
    with Style():
        found = [_panel(panel, spots, axis) for panel in PANELS]
    return tuple(picture for picture in found if picture is not None)


@dataclass(frozen=True)
class _Axis:
    """Places on a log axis, and where those without a guarantee stand."""

    epsilons: tuple[float, ...]
    methods: tuple[str, ...]
    apart: bool

    @classmethod
    def of(cls, spots: Sequence[Spot]) -> _Axis:
        finite = tuple(sorted({s.epsilon for s in spots if math.isfinite(s.epsilon)}))
        methods = tuple(dict.fromkeys(s.method for s in spots))
        return cls(finite, methods, any(math.isinf(s.epsilon) for s in spots))

    @property
    def span(self) -> float:
        """Width of the epsilons, in decades; never too narrow to see."""
        if not self.epsilons:
            return 0.0
        return max(math.log10(self.epsilons[-1] / self.epsilons[0]), 0.3)

    @property
    def end(self) -> float:
        """Where what has no guarantee stands."""
        if not self.epsilons:
            return 0.0
        return math.log10(self.epsilons[-1]) + max(SHARED * self.span, 0.12) + self.width / 2

    @property
    def width(self) -> float:
        """Of the methods side by side."""
        return 0.07 * max(self.span, 0.6) * (len(self.methods) - 1)

    def place(self, spot: Spot, *, line: bool = False) -> float:
        """Where a spot stands: on its epsilon if it is part of a line, else beside the others."""
        base = self.end if math.isinf(spot.epsilon) else math.log10(spot.epsilon)
        if line and math.isfinite(spot.epsilon):
            return base
        step = self.width / max(len(self.methods) - 1, 1)
        return base + (self.methods.index(spot.method) - (len(self.methods) - 1) / 2) * step

    @property
    def limits(self) -> tuple[float, float]:
        """Of the axis."""
        pad = 0.06 * max(self.span, 0.6) + self.width / 2
        low = math.log10(self.epsilons[0]) if self.epsilons else 0.0
        high = self.end if self.apart else math.log10(self.epsilons[-1])
        return low - pad, high + pad

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places and labels; labels that would touch are left out."""
        places = [math.log10(e) for e in self.epsilons]
        labels = [significant(e) for e in self.epsilons]
        width = self.limits[1] - self.limits[0]
        kept: list[float] = []
        shown: list[str] = []
        for place, label in zip(places, labels, strict=True):
            free = not kept or place - kept[-1] > 0.075 * width
            kept += [place] if free else []
            shown.append(label if free else "")
        if self.apart:
            places.append(self.end)
            shown.append("none")
        return places, shown


def _panel(panel: _Panel, spots: Sequence[Spot], axis: _Axis) -> Picture | None:
    seen = [(spot, score) for spot in spots if (score := spot.get(panel.score)) is not None]
    if not seen:
        return None
    level = panel.level
    if math.isnan(level):
        known = [s.baseline for _, s in seen if not math.isnan(s.baseline)]
        level = sum(known) / len(known) if known else math.nan
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    set_heading(figure, panel.heading)
    limits = _limits(panel, [s for _, s in seen], level, spots)
    axes.set_ylim(*limits)
    axes.set_xlim(*axis.limits)
    ends: list[tuple[float, str, str]] = []
    for i, method in enumerate(axis.methods):
        own = [(spot, score) for spot, score in seen if spot.method == method]
        if own:
            colour = COLOURS[i % len(COLOURS)]
            _method(axes, own, axis, colour, MARKERS[i % len(MARKERS)])
            last = max(own, key=lambda pair: pair[0].epsilon)
            ends.append((last[1].value, shorten(method, 14), colour))
    _level(axes, level, panel.line, panel.colour)
    if panel.bounded:
        _bound(axes, spots, axis, limits)
    _labels(axes, ends, limits)
    _frame(axes, axis)
    told = "; ".join(f"{_title(spot)}: {figure_text(score.value)}" for spot, score in seen)
    return draw(
        figure, name=f"curve-{panel.score.replace('_', '-')}",
        title=f"{panel.heading}, by epsilon",
        description=f"{told}; {panel.line}: {figure_text(level)}.",
    )  # fmt: skip


def _title(spot: Spot) -> str:
    if math.isinf(spot.epsilon):
        return f"{spot.method}, not private"
    return f"{spot.method}, epsilon {significant(spot.epsilon)}"


def _limits(
    panel: _Panel, scores: Sequence[Score], level: float, spots: Sequence[Spot]
) -> tuple[float, float]:
    ends = [v for s in scores for v in (s.value, s.low, s.high) if not math.isnan(v)]
    ends += [] if math.isnan(level) else [level]
    if panel.bounded:
        # At least so far that the bound of the smallest epsilon is seen.
        least = min((_bound_of(s) for s in spots if math.isfinite(s.epsilon)), default=level)
        ends += [least + 0.3 * (least - min(ends))]
    low, high = min(ends), min(max(ends), 1.0)
    pad = 0.09 * max(high - low, 0.1)
    return low - pad, high + pad


def _method(
    axes: Axes, own: Sequence[tuple[Spot, Score]], axis: _Axis, colour: str, marker: str
) -> None:
    """A line with its band over the epsilons; bars where there is one, and without any."""
    line = sorted(((p, s) for p, s in own if math.isfinite(p.epsilon)), key=lambda x: x[0].epsilon)
    joined = len(line) > 1
    if joined:
        places = [axis.place(spot, line=True) for spot, _ in line]
        low, high = ([getattr(s, end) for _, s in line] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.14, linewidth=0, zorder=1)
        axes.plot(places, [s.value for _, s in line], color=colour, linewidth=1.8, zorder=3)
    for spot, score in own:
        alone = math.isinf(spot.epsilon) or not joined
        place = axis.place(spot, line=not alone)
        if alone and not math.isnan(score.low + score.high):
            axes.plot([place, place], [score.low, score.high], color=colour, linewidth=2, zorder=3)
        axes.plot(
            place, score.value, marker=marker, markersize=6.5, color=colour,
            markerfacecolor="white" if math.isinf(spot.epsilon) else colour,
            markeredgewidth=1.5, zorder=4,
        )  # fmt: skip


def _level(axes: Axes, level: float, label: str, colour: str) -> None:
    if math.isnan(level):
        return
    axes.axhline(level, color=colour, linewidth=1.4, linestyle=(0, (4, 3)), zorder=2)
    axes.annotate(
        f"{label} {level:.2f}", (0.012, level), xycoords=("axes fraction", "data"),
        xytext=(0, 2), textcoords="offset points", fontsize=9, color=colour, va="bottom",
        zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
    )  # fmt: skip


def _bound_of(spot: Spot) -> float:
    return attack_auc_bound(spot.epsilon, 0.0 if math.isnan(spot.delta) else spot.delta)


def _bound(axes: Axes, spots: Sequence[Spot], axis: _Axis, limits: tuple[float, float]) -> None:
    """What every attack stays below; shown as far as the panel goes."""
    if not axis.epsilons:
        return
    deltas = [s.delta for s in spots if not math.isnan(s.delta)]
    delta = max(deltas) if deltas else 0.0
    first, last = axis.limits[0], math.log10(axis.epsilons[-1])
    if not axis.apart:
        last = axis.limits[1]
    places = np.linspace(first, last, 60)
    # A single epsilon has one bound, and a slope would ask to be read.
    known = axis.epsilons * 60 if len(axis.epsilons) == 1 else 10**places
    bounds = np.array([attack_auc_bound(epsilon, delta) for epsilon in known])
    axes.plot(places, bounds, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), zorder=2)
    axes.fill_between(
        places, np.minimum(bounds, limits[1]), limits[1], color=LINE, alpha=0.45, linewidth=0,
        zorder=0,
    )  # fmt: skip
    axes.annotate(
        "ruled out by ε", (first, limits[1]), xytext=(4, -4), textcoords="offset points",
        fontsize=9, color=MUTED, va="top", zorder=5,
    )  # fmt: skip


def _labels(axes: Axes, ends: list[tuple[float, str, str]], limits: tuple[float, float]) -> None:
    """The methods' names beside their last figure, pushed apart where they would touch."""
    unit = (limits[1] - limits[0]) / (HEIGHT * 0.74)
    placed = _apart([value for value, _, _ in ends], 13.0 * unit, limits)
    for y, (value, text, colour) in zip(placed, ends, strict=True):
        axes.annotate(
            "", (1.0, value), xytext=(1.045, y), xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0,
                        "shrinkB": 0},
        )  # fmt: skip
        axes.annotate(
            text, (1.055, y), xycoords=("axes fraction", "data"), va="center", fontsize=10,
            color=colour, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _apart(values: Sequence[float], gap: float, limits: tuple[float, float]) -> list[float]:
    """The values moved as little as needed to be `gap` apart, within limits if they fit."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = [values[i] for i in order]
    for _ in range(200):
        moved = False
        for i in range(len(placed) - 1):
            missing = gap - (placed[i + 1] - placed[i])
            if missing > 1e-9:
                placed[i] -= missing / 2
                placed[i + 1] += missing / 2
                moved = True
        shift = max(limits[0] - placed[0], 0.0) or min(limits[1] - placed[-1], 0.0)
        placed = [y + shift for y in placed]
        if not moved:
            break
    back = dict(zip(order, placed, strict=True))
    return [back[i] for i in range(len(values))]


def _frame(axes: Axes, axis: _Axis) -> None:
    places, labels = axis.ticks()
    axes.set_xticks(places, labels)
    if axis.apart and axis.epsilons:
        inside = math.log10(axis.epsilons[-1])
        axes.axvline((inside + axis.end - axis.width / 2) / 2, color=LINE, linewidth=1)
    axes.set_xlabel("ε of each fit (smaller protects more)", fontsize=9.5)
    quiet_axes(axes, grid="y")
