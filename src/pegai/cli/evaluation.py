"""`pegai evaluate`: the report on synthetic tables that exist already."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption
from pegai.cli.summary import DO_NOT_RELEASE, candidate_rows, print_candidates, print_verdict


def evaluate(
    train: Annotated[Path, typer.Option(help="The rows that the generator learned.")],
    holdout: Annotated[Path, typer.Option(help="Rows that it never saw.")],
    synthetic: Annotated[
        list[Path], typer.Option(help="A synthetic table; repeat it for replicates.")
    ],
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")],
    model: Annotated[Path | None, typer.Option(help="The model folder, for its guarantee.")] = None,
    title: Annotated[str, typer.Option(help="Headline of the report.")] = "Synthetic patients",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the evaluation.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure fidelity, utility and attacks, and write report.html and report.json.

    The report compares with real patients, so it is internal: it is not covered by a guarantee.
    Exit code 1 if the verdict is DO NOT RELEASE.
    """
    from pegai.workflow.steps import evaluate_files

    with show.progress(quiet=quiet) as bar:
        content, files = evaluate_files(
            train,
            holdout,
            synthetic,
            schema,
            out,
            model=model,
            title=title,
            seed=seed,
            progress=bar,
            commands=[_command(train, holdout, synthetic, schema, out, model, title, seed)],
        )

    def text() -> None:
        if not quiet:
            print_candidates(content)
            print_verdict(content)
        show.say(f"wrote {files['report']}", quiet=quiet)

    show.result(
        {
            "report": str(files["report"]),
            "json": str(files["json"]),
            "verdict": content.verdict.decision,
            "candidates": candidate_rows(content),
        },
        as_json=as_json,
        text=text,
    )
    if content.verdict.decision == DO_NOT_RELEASE:
        raise typer.Exit(1)


def _command(
    train: Path,
    holdout: Path,
    synthetic: list[Path],
    schema: Path,
    out: Path,
    model: Path | None,
    title: str,
    seed: int,
) -> str:
    """What reproduces the report."""
    words = ["pegai", "evaluate", "--train", train, "--holdout", holdout]
    for path in synthetic:
        words += ["--synthetic", path]
    words += ["--schema", schema, "--out", out]
    if model is not None:
        words += ["--model", model]
    return shlex.join(str(word) for word in [*words, "--title", title, "--seed", seed])
