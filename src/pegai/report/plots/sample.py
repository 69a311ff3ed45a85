"""The equivalent real sample: at which size a real sample errs as much as the synthetic table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

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


def plot_sample(data: Mapping[str, Any]) -> tuple[Picture, ...]:
    """One panel a question: errors of real samples by size, and that of the synthetic tables.

    Args:
        data: `Evaluation.plots["equivalent_sample"]`: `patients`, the sizes, and `questions`, each
            with name, title, the errors `real` by size, and `synthetic` and `equivalent` by table.
    """
    sizes = [number(n) for n in data.get("patients") or ()]
    questions = [
        q
        for q in data.get("questions") or ()
        if len(q.get("real") or ()) == len(sizes) and q.get("synthetic")
    ]
    if len(sizes) < 2:
        return ()
    with Style():
        return tuple(_panel(sizes, question) for question in questions)


def _panel(sizes: list[float], question: Mapping[str, Any]) -> Picture:
    figure = new_figure(340.0, 270.0)
    axes = figure.subplots()
    title = str(question.get("title") or question["name"])
    set_heading(figure, shorten(title[:1].upper() + title[1:], 44))
    errors = [number(e) for e in question["real"]]
    mean = float(np.mean([number(e) for e in question["synthetic"]]))
    meets = _mean(question.get("equivalent") or ())
    axes.plot(sizes, errors, color=REAL, marker="o", markersize=5, linewidth=1.8)
    axes.axhline(mean, color=SYNTHETIC, linewidth=2)
    top = 1.15 * max(*errors, mean, 1e-9)
    if not math.isnan(meets):
        axes.plot([meets, meets], [0, mean], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        right = meets > math.sqrt(sizes[0] * sizes[-1])
        axes.annotate(
            f"{meets:,.0f} patients", (meets, 0), xytext=(-5 if right else 5, 6), fontsize=10,
            textcoords="offset points", ha="right" if right else "left",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, top)
    axes.set_xlabel("Real patients in the sample", fontsize=9.5)
    axes.set_ylabel("Error", fontsize=9.5)
    ticks = [m * 10**k for k in range(7) for m in (1, 3) if sizes[0] <= m * 10**k <= sizes[-1]]
    if ticks:
        axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
        axes.set_xticks([], minor=True)
    quiet_axes(axes, grid="both")
    as_many = "" if math.isnan(meets) else f", as a real sample of {meets:,.0f} patients does"
    return draw(
        figure, name=f"sample-{''.join(c for c in str(question['name']) if c.isalnum())}",
        title=f"Equivalent real sample by {title}",
        description=f"The synthetic data err by {figure_text(mean)}{as_many}.",
    )  # fmt: skip


def _mean(values: Any) -> float:
    known = [number(v) for v in values if v is not None and not math.isnan(number(v))]
    return float(np.mean(known)) if known else math.nan
