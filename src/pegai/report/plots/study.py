"""What a study would print: a forest plot of coefficients, and survival curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pegai.report.numbers import figure as figure_text
from pegai.report.numbers import share, shorten
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

MAX_TERMS = 30
FAMILIES = {
    "logistic": ("Logistic regression", "Log odds ratio"),
    "linear": ("Linear regression", "Coefficient"),
    "cox": ("Cox regression", "Log hazard ratio"),
}
"""Family to what it is called, and what its coefficients are."""


def plot_coefficients(data: Mapping[str, Any], name: str = "coefficients") -> tuple[Picture, ...]:
    """A forest plot: each coefficient from real and from synthetic rows, with 95 % intervals.

    Args:
        data: `Evaluation.plots["coefficients"]` or `["hazards"]`: family, outcome, and `terms`,
            each with label, real, real_low, real_high, synthetic, low and high.
        name: The name of the picture.
    """
    rows = [r for r in data.get("terms") or () if not math.isnan(number(r.get("real")))]
    shown = sorted(rows, key=_distance, reverse=True)[:MAX_TERMS]
    if not shown:
        return ()
    family = str(data.get("family") or "")
    kind, scale = FAMILIES.get(family, (family.capitalize() or "Regression", "Coefficient"))
    title = f"{kind} of {data['outcome']}" if data.get("outcome") else kind
    more = f" (first {len(shown)} of {len(rows)})" if len(rows) > len(shown) else ""
    with Style():
        figure = new_figure(520.0, 84.0 + 27.0 * len(shown))
        axes = figure.subplots()
        set_heading(figure, shorten(title, 52) + more)
        for place, row in enumerate(shown):
            _bar(axes, row, place - 0.17, keys=("real_low", "real", "real_high"), colour=REAL)
            _bar(axes, row, place + 0.17, keys=("low", "synthetic", "high"), colour=SYNTHETIC)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(shown)), [shorten(str(r.get("label")), 30) for r in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(f"{scale}; numbers by one standard deviation", fontsize=9.5)
        quiet_axes(axes, grid="x")
        axes.spines[:].set_visible(False)
        _limits(axes, shown)
        seen = "; ".join(
            f"{r.get('label')}: real {figure_text(number(r['real']))}, synthetic "
            f"{figure_text(number(r.get('synthetic')))}"
            for r in shown
        )
        return (draw(figure, name=name, title=title, description=f"{seen}."),)


def _limits(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Cut intervals that would press all others together."""
    ends = [number(r.get(k)) for r in rows for k in ("real_low", "real_high")]
    middles = [number(r.get(k)) for r in rows for k in ("real", "synthetic")]
    known = [v for v in (*ends, *middles) if math.isfinite(v)]
    if known:
        room = 0.15 * ((max(known) - min(known)) or 1.0)
        axes.set_xlim(min(*known, 0.0) - room, max(*known, 0.0) + room)


def _distance(row: Mapping[str, Any]) -> float:
    gap = abs(number(row.get("synthetic")) - number(row["real"]))
    return 0.0 if math.isnan(gap) else gap


def _bar(axes: Any, row: Mapping[str, Any], place: float, *, keys: Sequence[str], colour: str
         ) -> None:  # fmt: skip
    low, middle, high = (number(row.get(key)) for key in keys)
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2)
    face = "white" if colour == REAL else colour
    axes.plot(middle, place, marker="o" if colour == REAL else "D", markersize=6, color=colour,
              markerfacecolor=face, markeredgewidth=1.6)  # fmt: skip


def plot_survival(data: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Kaplan-Meier curves of real and synthetic patients with their 95 % bands.

    Args:
        data: `Evaluation.plots["survival"]`: title, times, and of `real` and `synthetic` the
            survival, low and high at each time.
    """
    times = [number(t) for t in data.get("times") or ()]
    sides = {side: data.get(side) or {} for side in ("real", "synthetic")}
    if len(times) < 2 or any(len(s.get("survival") or ()) != len(times) for s in sides.values()):
        return ()
    with Style():
        figure = new_figure(460.0, 330.0)
        axes = figure.subplots()
        title = str(data.get("title") or "Survival")
        set_heading(figure, shorten(title, 48))
        for (side, curve), colour in zip(sides.items(), (REAL, SYNTHETIC), strict=True):
            alive, low, high = (
                [number(v) for v in curve.get(key) or curve["survival"]]
                for key in ("survival", "low", "high")
            )
            axes.fill_between(times, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
            axes.step(times, alive, where="post", color=colour, linewidth=2,
                      linestyle="-" if side == "real" else (0, (6, 2)))  # fmt: skip
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(times[0], times[-1])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel(str(data.get("time") or "Time"), fontsize=9.5)
        axes.set_ylabel("Without the event", fontsize=9.5)
        quiet_axes(axes, grid="both")
        ends = {side: share(number(curve["survival"][-1])) for side, curve in sides.items()}
        seen = f"At the end real {ends['real']}, synthetic {ends['synthetic']}."
        return (draw(figure, name="survival", title=title, description=seen),)
