"""The page of a comparison: the curve, the table of techniques, and its JSON and CSV twins."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pegai._version import __version__
from pegai.evaluate.scores import Score
from pegai.report import views
from pegai.report.content import Candidate, Content, plain
from pegai.report.numbers import (
    NONE,
    duration,
    figure,
    is_share,
    score_interval,
    score_text,
    share,
    significant,
)
from pegai.report.plots.curves import Spot, attack_auc_bound, plot_curves
from pegai.report.tables import Grid, Text, facts_grid, rows_grid
from pegai.report.verdict import Verdict

FORMAT = "pegai-compare/1"
NAME = "compare"
TEMPLATES = Path(__file__).parent / "templates"

COLUMNS = (
    ("tstr_auc", "Useful (TSTR AUC)", "real"),
    ("detection_auc", "Told apart (C2ST)", "real"),
    ("pair_trends", "Pair trends", "real"),
    ("equivalent_patients", "Worth real patients", ""),
    ("membership_auc", "Attack AUC", ""),
    ("exact_copies", "Exact copies", "holdout"),
)
"""Scores of the table; one that an evaluation does not have is left out, or found by its start."""


@dataclass(frozen=True)
class Trial:
    """One method at one epsilon, as it was asked for.

    Attributes:
        method: The generator's name in the catalog.
        epsilon: Of each fit; None without privacy.
        delta: Of each fit.
        seconds: Wall seconds of each fit.
        models: Model folders, seen from the folder of the comparison.
    """

    method: str
    epsilon: float | None
    delta: float | None
    seconds: tuple[float, ...]
    models: tuple[str, ...]

    @property
    def mean_seconds(self) -> float:
        """Mean over the fits."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def attack_bound(self) -> float:
        """The largest AUC that epsilon and delta leave a membership attack."""
        if self.epsilon is None or self.delta is None:
            return 1.0
        return attack_auc_bound(self.epsilon, self.delta)


@dataclass(frozen=True)
class Comparison:
    """Everything that the page of a comparison shows.

    Attributes:
        content: The candidates with their verdicts, in the order of the trials.
        trials: What was asked for.
        tier: How much each evaluation did.
        rows: Rows of each synthetic table.
        public: Whether the data were said to be public.
        left_out: What could not be fitted, in words.
    """

    content: Content
    trials: tuple[Trial, ...]
    tier: str
    rows: int
    public: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def charged(self) -> tuple[int, float, float]:
        """Private fits, and the sums of their epsilons and deltas."""
        private = [
            (len(trial.models), candidate.guarantee)
            for trial, candidate in zip(self.trials, self.content.candidates, strict=True)
            if candidate.guarantee is not None
        ]
        return (
            sum(count for count, _ in private),
            math.fsum(count * g.epsilon for count, g in private),
            math.fsum(count * g.delta for count, g in private),
        )


def write_comparison(comparison: Comparison, folder: str | Path) -> dict[str, Path]:
    """Write `compare.html`, `compare.json` and `compare.csv`; each is whole or absent.

    Raises:
        DataError: A file can't be written.
    """
    from pegai.data.atomic import atomic_write_text

    # All are rendered before one is written: an error leaves the old ones.
    texts = {
        "html": render_page(comparison),
        "json": render_json(comparison),
        "csv": render_csv(comparison),
    }
    paths = {kind: Path(folder) / f"{NAME}.{kind}" for kind in texts}
    for kind, text in texts.items():
        atomic_write_text(paths[kind], text)
    return paths


def render_json(comparison: Comparison) -> str:
    """The JSON twin: sorted keys, no NaN; equal results give equal text but for times."""
    content = comparison.content
    fits, epsilon, delta = comparison.charged
    whole = {
        "format": FORMAT,
        "audience": "internal",
        "title": content.title,
        "dataset": content.dataset,
        "created": content.created,
        "tier": comparison.tier,
        "rows": comparison.rows,
        "public_data": comparison.public,
        "policy": content.policy.name,
        "charged": {"private_fits": fits, "epsilon": epsilon, "delta": delta},
        "left_out": comparison.left_out,
        "cells": [_cell(*parts) for parts in _parts(comparison)],
        "split": content.split,
        "seeds": content.seeds,
        "versions": content.versions,
        "machine": content.machine,
        "commands": content.commands,
    }
    text = json.dumps(plain(whole), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _parts(comparison: Comparison) -> list[tuple[Trial, Candidate, Verdict]]:
    content = comparison.content
    return list(zip(comparison.trials, content.candidates, content.verdicts, strict=True))


def _cell(trial: Trial, candidate: Candidate, verdict: Verdict) -> dict[str, Any]:
    guarantee = candidate.guarantee
    return {
        "name": candidate.name,
        "method": trial.method,
        "epsilon": trial.epsilon,
        "delta": trial.delta,
        "guaranteed_epsilon": None if guarantee is None else guarantee.epsilon,
        "heuristic": candidate.heuristic or None,
        "replicates": len(trial.models),
        "settings": candidate.settings,
        "models": trial.models,
        "fit_seconds": trial.seconds,
        "attack_auc_bound": trial.attack_bound,
        "verdict": verdict.decision,
        "verdict_summary": verdict.summary,
        "scores": {
            score.name: {
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "real": score.baseline,
                "values": score.values,
                "note": score.note,
            }
            for score in candidate.evaluation.scores
        },
    }


def render_csv(comparison: Comparison) -> str:
    """One row a cell; an empty field is "not assessed"."""
    columns = _columns(comparison)
    heads = ["method", "epsilon", "delta", "replicates", "fit_seconds"]
    for name, _, _ in columns:
        heads += [name, f"{name}_low", f"{name}_high", f"{name}_real"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*heads, "verdict"])
    for trial, candidate, verdict in _parts(comparison):
        row: list[Any] = [trial.method, trial.epsilon, trial.delta, len(trial.models)]
        row.append(round(trial.mean_seconds, 3))
        for name, _, _ in columns:
            row += _figures(candidate.evaluation.get(name))
        writer.writerow([*row, verdict.decision])
    return file.getvalue()


def _figures(score: Score | None) -> list[float | None]:
    if score is None or not score.assessed:
        return [None] * 4
    found = (score.value, score.low, score.high, score.baseline)
    return [None if math.isnan(v) else round(v, 6) for v in found]


def _columns(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The columns that any candidate has a score for, under the score's full name."""
    names = [s.name for c in comparison.content.candidates for s in c.evaluation.scores]
    found: list[tuple[str, str, str]] = []
    for start, title, word in COLUMNS:
        name = start if start in names else next((n for n in names if n.startswith(start)), None)
        if name is not None:
            found.append((name, title, word))
    return found


def technique_grid(comparison: Comparison) -> Grid:
    """The techniques side by side: one row a cell."""
    columns = _columns(comparison)
    heads = ("Technique", "ε", *(title for _, title, _ in columns), "Policy")
    rows = []
    for trial, candidate, verdict in _parts(comparison):
        scores = [_figure(candidate.evaluation.get(name), word, trial) for name, _, word in columns]
        slug = verdict.decision.replace(" ", "-").lower()
        fits, seconds = len(trial.models), duration(trial.mean_seconds)
        rows.append(
            (
                Text(trial.method, f"{fits} fit{'s' if fits > 1 else ''}, {seconds} each"),
                _promise(trial, candidate),
                *scores,
                Text(verdict.decision.lower(), kind=f"decision-{slug}"),
            )
        )
    return Grid("Techniques side by side", heads, tuple(rows))


def _promise(trial: Trial, candidate: Candidate) -> Text:
    if trial.epsilon is not None and trial.delta is not None:
        return Text(significant(trial.epsilon), f"δ = {significant(trial.delta)}", "number")
    said = "heuristic noise,\nno formal guarantee" if candidate.heuristic else "no guarantee"
    return Text("none", said, "number")


def _figure(score: Score | None, word: str, trial: Trial) -> Text:
    if score is None or not score.assessed:
        return Text(NONE, kind="number missing")
    if abs(score.value) >= 10:  # patients, not an area
        return Text(f"{score.value:.0f}", _whole_interval(score), "number")
    lines = [score_interval(score)]
    if word and not math.isnan(score.baseline):
        show = share if is_share(score.name) else figure
        lines.append(f"{word} {show(score.baseline)}")
    if score.name == "membership_auc" and trial.epsilon is not None:
        lines.append(f"ε allows {math.ceil(trial.attack_bound * 100 - 1e-9) / 100:.2f}")
    return Text(score_text(score), "\n".join(line for line in lines if line), "number")


def _whole_interval(score: Score) -> str:
    if math.isnan(score.low + score.high):
        return ""
    return f"{score.low:.0f} to {score.high:.0f}"


def render_page(comparison: Comparison) -> str:
    """The page as text: one self-contained file; equal content gives equal text."""
    content = comparison.content
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only what pegai.report.plots made is trusted markup; every text in it is escaped there.
    environment.filters["svg"] = lambda picture: Markup(picture.svg)  # noqa: S704
    environment.globals["css"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704
    fits, epsilon, delta = comparison.charged
    template = environment.get_template("compare.html.j2")
    return template.render(
        content=content,
        comparison=comparison,
        version=__version__,
        created=views.when(content.created),
        curves=plot_curves(_spots(comparison)),
        techniques=technique_grid(comparison),
        replicates=max(len(trial.models) for trial in comparison.trials),
        methods=len({trial.method for trial in comparison.trials}),
        charged=f"{fits} private fit{'s' if fits != 1 else ''}" if fits else "",
        charged_epsilon=significant(epsilon, 4),
        charged_delta=significant(delta, 4),
        details=_details(comparison),
    )


def _unbroken(value: Any) -> Any:
    """Keeps `95 %` and `ε = 1` on one line; markup is left as it is."""
    if type(value) is not str:
        return value
    return value.replace("\x00", "").replace(" %", "\u00a0%").replace("ε = ", "ε\u00a0=\u00a0")


def _spots(comparison: Comparison) -> list[Spot]:
    names = ("tstr_auc", "detection_auc", "membership_auc")
    return [
        Spot(
            method=trial.method,
            epsilon=math.inf if trial.epsilon is None else trial.epsilon,
            delta=math.nan if trial.delta is None else trial.delta,
            scores={name: candidate.evaluation.get(name) for name in names},
        )
        for trial, candidate, _ in _parts(comparison)
    ]


def _details(comparison: Comparison) -> list[tuple[str, Grid]]:
    """What stands in folds: title and table."""
    content = comparison.content
    models = [
        {"technique": candidate.title, "models": ", ".join(trial.models)}
        for trial, candidate, _ in _parts(comparison)
    ]
    seen: dict[str, Any] = {}
    for trial, candidate, _ in _parts(comparison):
        told = {k: v for k, v in candidate.settings.items() if k != "replicates"}
        seen[trial.method] = told or "the defaults"
    verdicts = [
        {"technique": candidate.title, "decision": verdict.decision.lower(), "why": verdict.summary}
        for _, candidate, verdict in _parts(comparison)
    ]
    found = [
        ("Why the policy says so", rows_grid(verdicts, f"Policy {content.policy.name}")),
        ("Where the models are", rows_grid(models, "Model folders, in this folder")),
        ("Settings", facts_grid(seen, "Settings that differ from the defaults", raw=True)),
        ("Split", facts_grid(content.split, "Split")),
        ("Versions", facts_grid(content.versions, "Versions", head="Version", raw=True)),
        ("Seeds", facts_grid(content.seeds, "Seeds", head="Seed")),
        ("Machine", facts_grid(content.machine, "Machine")),
    ]
    if content.ledger:
        charges = rows_grid(content.ledger, "Charges to the privacy budget")
        found.insert(1, ("Ledger of this data set", charges))
    return found
