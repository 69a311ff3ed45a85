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
    """One line a candidate: model quality against the attack."""
    rows: list[list[str]] = []
    for row in candidate_rows(content):
        epsilon = "none" if row["epsilon"] is None else f"{row['epsilon']:.3g}"
        mark = " *" if row["released"] else ""
        rows.append(
            [
                row["name"] + mark,
                epsilon,
                _shown(row["tstr_auc"], with_real=True),
                _shown(row["detection_auc"]),
                _shown(row["membership_auc"]),
            ]
        )
    show.grid(("generator", "epsilon", "TSTR AUC (real)", "told apart, AUC", "attack AUC"), rows)
    show.say(
        "  TSTR: a model trained on synthetic, tested on real patients. Told apart and attack: "
        "0.5 is best.\n  In brackets the 95 % interval. * is what was written out."
    )


def _shown(figure: dict[str, float | None] | None, *, with_real: bool = False) -> str:
    if figure is None or figure["value"] is None:
        return "not assessed"
    text = f"{figure['value']:.3f}"
    if figure["low"] is not None and figure["high"] is not None:
        text += f" [{figure['low']:.2f}, {figure['high']:.2f}]"
    if with_real and figure["real"] is not None:
        text += f" ({figure['real']:.3f})"
    return text


def print_verdict(content: Content) -> None:
    """The decision and why, in words."""
    show.say(f"verdict by policy {content.policy.name}: [bold]{content.verdict.decision}[/bold]")
    show.say(f"  {content.verdict.summary}")
