"""`pegai audit`: attacks on pegai's own private paths, and a scan of a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pegai.audit.findings import Finding
    from pegai.audit.suite import AuditReport


def audit(
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="A method; repeat it for several. Default: all."),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema",
            "-s",
            help="Audit fits of this schema's columns. Default: every kind of column.",
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="parts, replay, gdp, canaries or artefacts; repeat it. Default: all of them."
        ),
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Of each fit that is attacked.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Of each fit that is attacked.")] = 1e-5,
    runs: Annotated[
        int, typer.Option(help="Runs of each mechanism: more find smaller breaches.")
    ] = 10_000,
    model: Annotated[
        Path | None,
        typer.Option(help="Scan this model folder instead, for what must not be in it."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With --model and --schema: the private table, whose values to look for."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Attack the guarantee: what is claimed must survive.

    No real data are used: tables are made up, with patients as odd as can be (a new category,
    missing everything, out of range, many rows), and every method is fitted with and without them.
    It checks the mechanisms, replays whole fits with their noise frozen (nothing else may differ),
    bounds from below how well an attacker can tell the two tables apart, plants canaries in DP-SGD
    and scans model folders. Exit code 1 if anything is found.

    With --model it scans a folder before it is handed over.

    Examples: pegai audit

    pegai audit -m aim -s schema.json --runs 100000

    pegai audit --model model --data train.csv -s schema.json
    """
    if model is not None:
        _scan(model, data, schema, as_json=as_json, quiet=quiet)
        return
    from pegai.audit.suite import CHECKS, AuditRequest, run_audit
    from pegai.errors import UsageError
    from pegai.schema import read_schema

    if data is not None:
        raise UsageError(
            "an audit makes its own tables; --data goes with --model",
            hint="--model FOLDER --data TABLE --schema SCHEMA scans a model folder",
        )
    request = AuditRequest(
        tuple(method or ()),
        () if schema is None else (read_schema(schema),),
        tuple(check or CHECKS),
        epsilon,
        delta,
        runs,
    )
    with show.progress(quiet=quiet) as bar:
        report = run_audit(request, told=bar)
    show.result(report.to_dict(), as_json=as_json, text=lambda: _print(report, quiet=quiet))
    if report.findings:
        raise typer.Exit(1)


def _scan(
    model: Path, data: Path | None, schema: Path | None, *, as_json: bool, quiet: bool
) -> None:
    from pegai.workflow.steps import scan_model

    findings = scan_model(model, data=data, schema=schema)
    content: dict[str, Any] = {"model": str(model), "findings": [f.to_dict() for f in findings]}
    show.result(content, as_json=as_json, text=lambda: _print_findings(findings, quiet=quiet))
    if findings:
        raise typer.Exit(1)


def _print(report: AuditReport, *, quiet: bool) -> None:
    if report.replayed and not quiet:
        methods = list(dict.fromkeys(r.method for r in report.replayed))
        lines: list[tuple[object, ...]] = []
        for name in methods:
            mine = [r for r in report.replayed if r.method == name]
            broken = sum(bool(r.findings) for r in mine)
            lines.append((name, len(mine), broken, max(r.moved for r in mine)))
        heads = ("method", "odd patients", "breaches", "moved / declared")
        show.grid(heads, lines, title="record and replay")
    if report.audited and not quiet:
        rows = [
            (a.where, a.mu, a.mu_seen, f"{a.mu_low:.3f} to {a.mu_high:.3f}", f"{a.runs:,}")
            for a in report.audited
        ]
        heads = ("what", "mu claimed", "mu seen", "95 %", "runs")
        show.grid(heads, rows, title="how far two tables can be told apart (mu)")
    if report.canaries is not None:
        one = report.canaries
        show.say(
            f"canaries in one training: {one.correct} of {one.guesses} guesses right; epsilon at "
            f"least {one.epsilon_low:.2f}, claimed {one.epsilon:g}",
            quiet=quiet,
        )
    _print_findings(report.findings, quiet=quiet)


def _print_findings(findings: Sequence[Finding], *, quiet: bool) -> None:
    if findings:
        rows = [(f.check, f.where, f.what) for f in findings]
        show.grid(("check", "where", "what"), rows, title="BREACHES")
        return
    show.say("nothing was found; an audit can refute a guarantee, never prove it", quiet=quiet)
