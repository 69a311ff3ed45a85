"""`pegai compare`: generators side by side, with the privacy-utility curve."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.evaluate.scores import Score
    from pegai.workflow.compare import CompareResult
    from pegai.workflow.compare_plan import CompareConfig


class TierChoice(StrEnum):
    """How much each evaluation does."""

    quick = "quick"
    standard = "standard"


def compare(
    data: Annotated[Path, typer.Argument(help="The table: CSV, TSV or Parquet.")],
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    methods: Annotated[
        str, typer.Option("--methods", "-m", help="Generators: aim,ctgan,independent.")
    ],
    epsilons: Annotated[
        str, typer.Option(help="Budgets of each fit: 0.5,1,3,none; none is without privacy.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; goes on from there.")
    ],
    delta: Annotated[
        float | None, typer.Option(help="Of each private fit; at most 1 / (10 x patients).")
    ] = None,
    replicates: Annotated[
        int, typer.Option(help="Fits of each generator at each epsilon; each is charged.")
    ] = 5,
    rows: Annotated[
        int, typer.Option("--rows", "-n", help="Synthetic rows each; never the private row count.")
    ] = 1000,
    holdout: Annotated[float, typer.Option(help="Share of the patients held out.")] = 0.3,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split and of what is not private.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1 is one a core.")] = -1,
    tier: Annotated[TierChoice, typer.Option(help="How much each evaluation does.")] = (
        TierChoice.quick
    ),
    settings: Annotated[
        Path | None, typer.Option(help="TOML file with one table of settings a method.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where spending is recorded; else as for pegai fit.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Name in the ledger.")] = None,
    public_data: Annotated[
        bool,
        typer.Option("--public-data", help="The data are public: raise the budget to the cost."),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare generators: fit each at every epsilon, evaluate all, and draw the curve.

    All private fits are charged, and summed up before the first: over budget is refused with exit
    code 3. Writes compare.html, compare.json and compare.csv, and every finished fit at once: a
    comparison that was stopped goes on with the same command, and charges no finished fit again.
    The results compare with real patients, so they are internal.

    Example: pegai compare heart.csv -s schema.json -m aim,independent --epsilons 1,3,none
    --delta 1e-4 --replicates 3 -o compared
    """
    from pegai.workflow.compare import compare as compare_all
    from pegai.workflow.compare_plan import CompareConfig, parse_epsilons, parse_methods
    from pegai.workflow.steps import read_settings

    config = CompareConfig(
        data=data,
        schema=schema,
        folder=out,
        methods=parse_methods(methods),
        epsilons=parse_epsilons(epsilons),
        delta=delta,
        replicates=replicates,
        rows=rows,
        holdout=holdout,
        seed=seed,
        jobs=jobs,
        tier=tier.value,
        settings=read_settings(settings),
        ledger=ledger,
        dataset=dataset,
        public_data=public_data,
    )
    notes: list[str] = []
    with show.progress(quiet=quiet) as bar:
        done = compare_all(
            config,
            progress=bar,
            notice=_teller(notes, quiet=quiet),
            commands=[_command(config, settings)],
        )
    _tell(done, notes, as_json=as_json, quiet=quiet)


def _teller(notes: list[str], *, quiet: bool) -> Callable[[str], None]:
    """Keeps what is noted for the JSON, and says it on stderr, above the progress."""

    def tell(text: str) -> None:
        notes.append(text)
        if not quiet:
            show.errors.print(Text(text), soft_wrap=not show.errors.is_terminal)

    return tell


def _tell(done: CompareResult, notes: list[str], *, as_json: bool, quiet: bool) -> None:
    from pegai.cli.summary import candidate_rows

    content = done.comparison.content

    def text() -> None:
        if quiet:
            return
        _print_table(done)
        show.say(
            f"\ndone in {done.seconds:.0f} s: {done.fitted} fits and {done.evaluated} evaluations "
            "were made, the others were there. Where to look next:"
        )
        for kind, what in (
            ("html", "the curve and the table; internal"),
            ("csv", "one row a generator and epsilon; internal"),
            ("json", "every figure, and where the models are; internal"),
            ("ledger", f"what was spent: pegai ledger show {shlex.quote(_ledger(done))}"),
        ):
            if kind in done.files:
                show.say(f"  {done.files[kind]}  {what}")

    spending = done.spending
    show.result(
        {
            "folder": str(done.folder),
            "files": {kind: str(path) for kind, path in done.files.items()},
            "cells": candidate_rows(content),
            "fitted": done.fitted,
            "evaluated": done.evaluated,
            "spent": None
            if spending is None
            else {
                "dataset": spending.dataset,
                "private_fits": spending.fits,
                "epsilon": spending.epsilon,
                "delta": spending.delta,
            },
            "notes": notes,
            "seconds": round(done.seconds, 2),
        },
        as_json=as_json,
        text=text,
    )


FIGURES = ("tstr_auc", "detection_auc", "membership_auc")


def _print_table(done: CompareResult) -> None:
    """One line a generator and epsilon, and one of real patients."""
    rows: list[list[str]] = []
    real = ""
    for trial, candidate in zip(
        done.comparison.trials, done.comparison.content.candidates, strict=True
    ):
        scores = [candidate.evaluation.get(name) for name in FIGURES]
        useful = scores[0]
        if useful is not None and not math.isnan(useful.baseline):
            real = f"{useful.baseline:.3f}"
        epsilon = "none" if trial.epsilon is None else f"{trial.epsilon:g}"
        rows.append([trial.method, epsilon, *(_shown(score) for score in scores)])
    if real:
        rows.append(["real patients", "", real, "", ""])
    show.grid(("generator", "epsilon", "useful (TSTR)", "told apart", "attack"), rows)
    show.say(
        "All figures are AUCs, with the 95 % interval. useful: a model trained on synthetic, "
        "tested on real patients; 1 is best. told apart, attack: 0.5 is best."
    )


def _shown(score: Score | None) -> str:
    if score is None or not score.assessed:
        return "-"
    text = f"{score.value:.3f}"
    return text if math.isnan(score.low) else f"{text} {score.low:.2f}-{score.high:.2f}"


def _ledger(done: CompareResult) -> str:
    return str(done.files.get("ledger", ""))


def _command(config: CompareConfig, settings: Path | None) -> str:
    """What makes the comparison again."""
    from pegai.workflow.compare_plan import NO_PRIVACY

    options = (
        ("--delta", None if config.delta is None else f"{config.delta:g}"),
        ("--settings", settings),
        ("--ledger", config.ledger),
        ("--dataset", config.dataset),
    )
    names = [NO_PRIVACY if e is None else f"{e:g}" for e in config.epsilons]
    words: list[object] = ["pegai", "compare", config.data, "--schema", config.schema]
    words += ["--methods", ",".join(config.methods), "--epsilons", ",".join(names)]
    for option, value in options:
        words += [] if value is None else [option, value]
    words += ["--replicates", config.replicates, "--rows", config.rows]
    words += ["--holdout", f"{config.holdout:g}", "--seed", config.seed, "--tier", config.tier]
    words += ["--public-data"] if config.public_data else []
    return shlex.join(str(word) for word in [*words, "--out", config.folder])
