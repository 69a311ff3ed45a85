"""`pegai evaluate`: the report on synthetic tables that exist already."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.release import PolicyOption
from pegai.cli.show import JsonOption, QuietOption
from pegai.cli.summary import DO_NOT_RELEASE, candidate_rows, print_candidates, print_verdict

if TYPE_CHECKING:
    from pegai.workflow.evaluation import EvaluationRequest


def evaluate(
    train: Annotated[Path, typer.Option(help="The rows that the generator learned.")],
    holdout: Annotated[Path, typer.Option(help="Rows that it never saw.")],
    synthetic: Annotated[
        list[Path], typer.Option(help="A synthetic table; repeat it for replicates.")
    ],
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")],
    model: Annotated[
        Path | None,
        typer.Option(help="The model folder: its guarantee, and attacks on the model itself."),
    ] = None,
    tier: Annotated[
        str,
        typer.Option(
            help="quick (a minute), standard, or audit (refits the model on the reference)."
        ),
    ] = "standard",
    reference: Annotated[
        Path | None,
        typer.Option(help="Other real patients, in neither table: what an attacker may know."),
    ] = None,
    population: Annotated[
        int | None,
        typer.Option(min=1, help="Patients that the training rows were drawn from."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="Settings (TOML) for the audit's refits; default: the model's own."),
    ] = None,
    vulnerable: Annotated[
        Path | None,
        typer.Option(
            help="CSV for the training patients that stand out most, for you alone to read."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Headline of the report.")] = "Synthetic patients",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the evaluation.")] = 0,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure fidelity, utility and attacks, and write report.html and report.json.

    The report compares with real patients, so it is internal: it is not covered by a guarantee.
    Exit code 1 if the verdict by the policy is DO NOT RELEASE, 0 if it is RELEASE, RELEASE WITH
    CONTROLS or NOT ASSESSED: no evidence is no failure here, but `pegai release` refuses it.
    Everything is written all the same.
    """
    from pegai.evaluate.tiers import tier_named
    from pegai.report import DEFAULT_POLICY, find_policy
    from pegai.workflow.evaluation import EvaluationRequest, evaluate_files

    # Read before the work: a mistyped name must not cost ten minutes.
    request = EvaluationRequest(
        train,
        holdout,
        synthetic,
        schema,
        out,
        model=model,
        reference=reference,
        population=population,
        tier=tier_named(tier).name,
        policy=DEFAULT_POLICY if policy is None else find_policy(policy),
        vulnerable=vulnerable,
        settings=settings,
        title=title,
        seed=seed,
    )
    command = _command(request, policy)
    with show.progress(quiet=quiet) as bar:
        content, files = evaluate_files(request, progress=bar, commands=[command])

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


def _command(request: EvaluationRequest, policy: str | None) -> str:
    """What reproduces the report."""
    words: list[object] = ["pegai", "evaluate", "--train", request.train]
    words += ["--holdout", request.holdout]
    for path in request.synthetic:
        words += ["--synthetic", path]
    words += ["--schema", request.schema, "--out", request.out, "--tier", request.tier]
    optional = {
        "--model": request.model,
        "--reference": request.reference,
        "--population": request.population,
        "--settings": request.settings,
        "--policy": policy,
    }
    for option, value in optional.items():
        words += [] if value is None else [option, value]
    words += ["--title", request.title, "--seed", request.seed]
    return shlex.join(str(word) for word in words)
