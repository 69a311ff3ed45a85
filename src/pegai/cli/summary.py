"""The short tables that a run and an evaluation print."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pegai.cli import show

if TYPE_CHECKING:
    from pegai.evaluate.scores import Score
    from pegai.report import Content

DO_NOT_RELEASE = "DO NOT RELEASE"


def candidate_rows(content: Content) -> list[dict[str, Any]]:
    """The headline figures of every candidate, JSON types."""
    return [
        {
            "name": candidate.name,
            "epsilon": None if math.isinf(candidate.epsilon) else candidate.epsilon,
            "heuristic": candidate.heuristic or None,
            "released": candidate.released,
            "verdict": verdict.decision,
            **{
                name: _plain(candidate.evaluation.get(name))
                for name in ("tstr_auc", "detection_auc", "membership_auc", "exact_copies")
            },
        }
        for candidate, verdict in zip(content.candidates, content.verdicts, strict=True)
    ]


def _plain(score: Score | None) -> dict[str, float | None] | None:
    if score is None or not score.assessed:
        return None
    figures = {"value": score.value, "low": score.low, "high": score.high, "real": score.baseline}
    return {k: None if math.isnan(v) else round(v, 6) for k, v in figures.items()}


def print_candidates(content: Content) -> None:
    """One line a candidate, and one of real patients; fits a terminal of 80 columns."""
    found = candidate_rows(content)
    rows = [
        [
            row["name"] + (" *" if row["released"] and len(found) > 1 else ""),
            _epsilon(row["epsilon"]),
            *(_shown(row[name]) for name in ("tstr_auc", "detection_auc", "membership_auc")),
        ]
        for row in found
    ]
    real = next((row["tstr_auc"]["real"] for row in found if row["tstr_auc"]), None)
    if real is not None:
        rows.append(["real patients", "", f"{real:.3f}", "", ""])
    show.grid(("generator", "epsilon", "useful (TSTR)", "told apart", "attack"), rows)
    for row in found:
        if row["heuristic"]:
            show.say(f"{row['name']}: {row['heuristic']}")
    star = "" if len(found) == 1 else " * is what was written out."
    show.say(
        "All figures are AUCs, with the 95 % interval. useful: a model trained on synthetic, "
        f"tested on real patients; 1 is best. told apart, attack: 0.5 is best.{star}"
    )


def _epsilon(value: float | None) -> str:
    """Rounded up to two places: a guarantee must not be said better than it is."""
    if value is None:
        return "none"
    return f"{math.ceil(value * 100 - 1e-9) / 100:g}" if value >= 0.1 else f"{value:.2g}"


def _shown(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    text = f"{figure['value']:.3f}"
    if figure["low"] is not None and figure["high"] is not None:
        text += f" {figure['low']:.2f}-{figure['high']:.2f}"
    return text


def print_verdict(content: Content) -> None:
    """The decision and why, in words."""
    show.say(f"\nverdict by policy {content.policy.name}: {content.verdict.decision}", style="bold")
    show.say(content.verdict.summary)
