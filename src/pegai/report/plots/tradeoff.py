"""Privacy against usefulness over epsilon, and what each epsilon leaves an attacker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from pegai.evaluate.scores import Score
from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import shorten, significant
from pegai.report.plots.picture import (
    INK,
    LINE,
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

MARKERS = "DosP^vXh"


@dataclass(frozen=True)
class Point:
    """One candidate on the plot.

    Attributes:
        label: Its name.
        method: Its generator; one marker each.
        epsilon: Infinity where there is no guarantee.
        subject: Whether the page is about it.
        utility: Its TSTR AUC.
        attack: Its membership AUC.
    """

    label: str
    method: str
    epsilon: float
    subject: bool
    utility: Score | None
    attack: Score | None


def plot_tradeoff(points: Sequence[Point]) -> tuple[Picture, ...]:
    """Two panels over epsilon: usefulness, and the attack. Non-private at the right edge."""
    places = _places(points)
    panels = (
        ("utility", "Usefulness: AUC on real patients", "real", None),
        ("attack", "Attack: AUC of membership inference", "chance", 0.5),
    )
    with Style():
        found = (
            _panel(points, places, name=key, heading=heading, line=line, level=level)
            for key, heading, line, level in panels
        )
        return tuple(picture for picture in found if picture is not None)


def _places(points: Sequence[Point]) -> list[float]:
    """Places on a log axis, with candidates of the same epsilon side by side."""
    finite = [math.log10(p.epsilon) for p in points if 0 < p.epsilon < math.inf]
    width = max(max(finite) - min(finite), 1.0) if finite else 1.0
    edge = (max(finite) if finite else 0.0) + 0.35 * width
    ideal = [edge if math.isinf(p.epsilon) else math.log10(max(p.epsilon, 1e-6)) for p in points]
    placed: list[float] = []
    for i, x in enumerate(ideal):
        same = [j for j, other in enumerate(ideal) if abs(other - x) < 0.02 * width]
        shift = (same.index(i) - (len(same) - 1) / 2) * 0.055 * width
        placed.append(x + shift)
    return placed


def _panel(
    points: Sequence[Point],
    places: Sequence[float],
    *,
    name: str,
    heading: str,
    line: str,
    level: float | None,
) -> Picture | None:
    scores = [p.utility if name == "utility" else p.attack for p in points]
    shown = [(p, x, s) for p, x, s in zip(points, places, scores, strict=True) if s and s.assessed]
    if not shown:
        return None
    if level is None:
        known = [s.baseline for _, _, s in shown if not math.isnan(s.baseline)]
        level = sum(known) / len(known) if known else math.nan
    figure = new_figure(430.0, 300.0)
    axes = figure.subplots()
    set_heading(figure, heading)
    methods = list(dict.fromkeys(p.method for p in points))
    for point, x, score in shown:
        _mark(axes, point, x, score, MARKERS[methods.index(point.method) % len(MARKERS)])
    _reference(axes, level, line, colour=REAL if name == "utility" else MUTED)
    _frame(axes, points, places, [s for _, _, s in shown], level)
    if len(methods) > 1:
        _legend(axes, methods)
    seen = "; ".join(f"{p.label}: {figure_text(s.value)}" for p, _, s in shown)
    return draw(figure, name=f"tradeoff-{name}", title=f"{heading}, by epsilon",
                description=f"{seen}; {' '.join(line.split())}: {figure_text(level)}.")  # fmt: skip


def _mark(axes: Axes, point: Point, x: float, score: Score, marker: str) -> None:
    if not math.isnan(score.low + score.high):
        axes.plot([x, x], [score.low, score.high], color=SYNTHETIC, linewidth=2.2, zorder=2)
    axes.plot(
        x, score.value, marker=marker, markersize=9 if point.subject else 7.5, color=SYNTHETIC,
        markerfacecolor=SYNTHETIC if point.subject else "white", markeredgewidth=1.8, zorder=3,
    )  # fmt: skip


def _reference(axes: Axes, level: float, label: str, *, colour: str) -> None:
    if math.isnan(level):
        return
    axes.axhline(level, color=colour, linewidth=1.4, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"{label}\n{level:.2f}", (1.01, level), xycoords=("axes fraction", "data"), va="center",
        fontsize=10, color=colour, annotation_clip=False,
    )  # fmt: skip


def _frame(
    axes: Axes,
    points: Sequence[Point],
    places: Sequence[float],
    scores: Sequence[Score],
    level: float,
) -> None:
    ends = [v for s in scores for v in (s.value, s.low, s.high) if not math.isnan(v)]
    ends += [] if math.isnan(level) else [level]
    span = max(max(ends) - min(ends), 0.1)
    axes.set_ylim(min(ends) - 0.1 * span, max(ends) + 0.16 * span)
    ticks = _epsilon_ticks(points, places)
    axes.set_xticks(list(ticks.values()), list(ticks))
    width = max(max(places) - min(places), 0.5)
    axes.set_xlim(min(places) - 0.12 * width, max(places) + 0.12 * width)
    edge = [x for p, x in zip(points, places, strict=True) if math.isinf(p.epsilon)]
    inside = [x for p, x in zip(points, places, strict=True) if not math.isinf(p.epsilon)]
    if edge and inside:
        axes.axvline((min(edge) + max(inside)) / 2, color=LINE, linewidth=1)
    axes.set_xlabel("ε (smaller protects more)", fontsize=9.5)
    quiet_axes(axes, grid="y")


def _epsilon_ticks(points: Sequence[Point], places: Sequence[float]) -> dict[str, float]:
    """One tick for budgets that are the same to a fiftieth: calibration stops short of the goal."""
    found: dict[str, float] = {}
    left = sorted(zip(points, places, strict=True), key=lambda pair: -pair[0].epsilon)
    while left:
        largest = left[0][0].epsilon
        near = [x for p, x in left if p.epsilon == largest or p.epsilon > 0.98 * largest]
        name = "no DP" if math.isinf(largest) else significant(largest)
        found[name] = sum(near) / len(near)
        left = left[len(near) :]
    return found


def _legend(axes: Axes, methods: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=MARKERS[i % len(MARKERS)], color=INK,
               markerfacecolor="none", markersize=7, label=shorten(method, 18))
        for i, method in enumerate(methods)
    ]  # fmt: skip
    axes.legend(handles=handles, loc="best", ncols=1, fontsize=10, handletextpad=0.3)


def plot_bounds(rows: Sequence[tuple[str, float | None, bool]]) -> Picture:
    """Bars: the most patients an attacker can recognise at 1 % false alarms, by candidate.

    Args:
        rows: Label, largest hit rate (None where nothing is promised), and whether the page is
            about it.
    """
    everything = [("just guessing", 0.01, False), *rows]
    with Style():
        figure = new_figure(430.0, 62.0 + 27.0 * len(everything))
        axes = figure.subplots()
        for place, (_, rate, subject) in enumerate(everything):
            _bound(axes, place, rate, subject=subject)
        axes.set_yticks(range(len(everything)), [shorten(label, 24) for label, _, _ in everything])
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_ylim(len(everything) - 0.5, -0.5)
        quiet_axes(axes, grid="x")
        axes.spines[:].set_visible(False)
        seen = "; ".join(f"{label}: {_at_most(rate)}" for label, rate, _ in everything)
        return draw(
            figure, name="bounds", description=f"{seen}.",
            title="Most patients an attacker can recognise with 1 % false alarms",
        )  # fmt: skip


def _bound(axes: Axes, place: int, rate: float | None, *, subject: bool) -> None:
    colour = MUTED if place == 0 else SYNTHETIC
    length = 1.0 if rate is None else rate
    strong = subject or place == 0
    axes.barh(
        place, length, height=0.56, color="none" if rate is None else colour,
        edgecolor=colour, linewidth=1 if rate is None else 0, alpha=1.0 if strong else 0.5,
        linestyle=(0, (4, 3)) if rate is None else "solid",
    )  # fmt: skip
    inside = length > 0.8
    axes.text(
        length + (-0.015 if inside else 0.012), place, _at_most(rate), va="center", fontsize=10,
        ha="right" if inside else "left", fontweight="bold" if subject else "normal",
        color="white" if inside and subject and rate is not None else INK,
    )  # fmt: skip


def _at_most(rate: float | None) -> str:
    if rate is None:
        return "no promise: up to 100 %"
    # Rounded up, as it is a bound.
    return f"{math.ceil(1000 * rate - 1e-6) / 10:g} %"
