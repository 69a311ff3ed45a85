"""`pegai federate`: several hospitals train together, rehearsed in one place."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.workflow.federation import Simulation

app = typer.Typer(
    name="federate",
    help="Several hospitals train together; only protected counts leave a site.",
    no_args_is_help=True,
)


class NoiseMode(StrEnum):
    """Who adds the noise."""

    local = "local"
    secagg = "secagg"
    central = "central"


class Engine(StrEnum):
    """What carries the messages."""

    process = "process"
    flare = "flare"


@app.command()
def template(
    out: Annotated[Path, typer.Option("--out", "-o", help="The draft to write.")] = Path(
        "plan.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace a file.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a draft of a plan, with a comment on each line.

    Example: pegai federate template -o plan.toml
    """
    from pegai.data.atomic import atomic_write_text
    from pegai.errors import UsageError
    from pegai.workflow.federation import TEMPLATE

    if out.exists() and not force:
        raise UsageError(f"{out} exists", hint="--force replaces it")
    atomic_write_text(out, TEMPLATE)
    show.say(f"written: {out}; edit it, then: pegai federate plan {out}", quiet=quiet)


@app.command()
def plan(
    draft: Annotated[Path, typer.Argument(help="The plan: a draft in TOML, or frozen, in JSON.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a plan asks of each site, in words and in patients, before any data are read.

    Example: pegai federate plan plan.toml
    """
    from pegai.workflow.federation import plan_in_words

    told = plan_in_words(draft)

    def text() -> None:
        show.say(f"{told['study']}: {told['method']}, noise {told['noise']}")
        show.say(f"sites: {', '.join(told['sites'])}; at least {told['quorum']} must take part")
        show.say(f"each site is charged epsilon {told['epsilon']:.4g} at {told['delta']:.3g}")
        rows = [
            (label, round(width, 1), round(told["in_one_place"][label], 1))
            for label, width in told["noise_in_patients"].items()
        ]
        show.grid(("noise, in patients", "in the sum", "were all in one place"), rows)
        for sentence in (*told["in_words"], "It takes as public:", *told["rests_on"]):
            show.say(f"  {sentence}")
        show.say(f"digest: {told['digest']}")

    show.result(told, as_json=as_json, text=text)


@app.command()
def rehearse(
    plan: Annotated[Path, typer.Argument(help="The plan: a draft in TOML, or frozen, in JSON.")],
    patients: Annotated[int, typer.Option(min=1, help="Made-up patients of each site.")] = 200,
    site: Annotated[
        list[str] | None,
        typer.Option("--site", help="NAME=FILE: compare the names of its columns, no more."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a plan on patients made up from its schema, to see what it will ask of each site.

    No row is read and no ledger is charged. With --site the names of a real file's columns are
    compared with the schema, and nothing else of it.

    Example: pegai federate rehearse plan.toml --site aarhus=aarhus.csv
    """
    from pegai.federate.plan import read_plan
    from pegai.workflow.federation import sites_from
    from pegai.workflow.rehearsal import rehearse as run

    with show.progress(quiet=quiet) as bar:
        found = run(read_plan(plan), bar, patients=patients, files=sites_from(site or []))
    content = {
        "questions": [dict(question) for question in found.questions],
        "disagreements": {name: list(said) for name, said in found.disagreements.items()},
        "seconds": round(found.seconds, 2),
    }

    def text() -> None:
        questions(content["questions"])
        for name, said in found.disagreements.items():
            show.say(f"{name}: {'; '.join(said) or 'has all columns of the schema'}")

    show.result(content, as_json=as_json, text=text)
    if any("no column" in said for each in found.disagreements.values() for said in each):
        raise typer.Exit(1)


def questions(rows: list[dict[str, Any]]) -> None:
    """What is asked in each exchange, for people."""
    show.grid(
        ("exchange", "what a site is asked", "numbers", "epsilon alone", "noise, patients"),
        [
            (
                row["exchange"],
                row["what"],
                row["numbers"],
                round(row["epsilon_alone"], 3),
                round(row["noise_in_patients"], 1),
            )
            for row in rows
        ],
    )


@app.command()
def simulate(
    plan: Annotated[Path, typer.Argument(help="The draft of the plan, TOML.")],
    site: Annotated[list[str], typer.Option("--site", help="NAME=FILE, once for each site.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for all results; goes on from there.")
    ] = Path("federated"),
    noise: Annotated[NoiseMode | None, typer.Option(help="In place of the plan's.")] = None,
    holdout: Annotated[
        float, typer.Option(help="Share of each site's patients that are kept for the test.")
    ] = 0.3,
    seed: Annotated[
        int, typer.Option(min=0, help="Of splits, sampling and tests; never of noise.")
    ] = 0,
    ledger: Annotated[
        Path | None, typer.Option(help="Where charges are recorded; else as for pegai fit.")
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Fit each site alone, and all in one place, too; charged."),
    ] = False,
    without_privacy: Annotated[
        bool,
        typer.Option(
            "--without-privacy", help="Average networks, with no formal guarantee; to compare."
        ),
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="This process, or NVIDIA FLARE's simulator.")
    ] = Engine.process,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a plan on files that are all here, message by message as between hospitals.

    Every site charges its own name in the ledger with the whole plan before anything leaves it,
    and refuses what the plan does not say. The report, federation.md, says what the coordinator
    saw, what it cost, and how well the synthetic rows serve at each site.

    A run that was stopped goes on with the same command, at no further cost.

    Example: pegai federate simulate plan.toml --site aarhus=a.csv --site bergen=b.csv -o federated
    """
    from pegai.workflow.federation import SimulationRequest, simulate_files, sites_from

    request = SimulationRequest(
        plan=plan,
        sites=sites_from(site),
        out=out,
        noise=None if noise is None else noise.value,
        holdout=holdout,
        seed=seed,
        ledger=ledger,
        compare=compare,
        private=not without_privacy,
        engine=engine.value,
    )
    with show.progress(quiet=quiet) as bar:
        done = simulate_files(request, bar)
    content = {
        "files": {kind: str(path) for kind, path in done.files.items()},
        "epsilon": done.plan.privacy.epsilon if done.is_private else None,
        "delta": done.plan.privacy.delta if done.is_private else None,
        "noise": done.plan.noise if done.is_private else None,
        "participants": list(done.fit.participants),
        "lost": dict(done.fit.lost),
        "exchanges": len(done.fit.seen),
        "figures": done.figures,
        "real": done.real,
        "seconds": round(done.seconds, 2),
    }
    show.result(content, as_json=as_json, text=lambda: None if quiet else _print(done))


def _print(done: Simulation) -> None:
    from pegai.federate.exchanges import together

    seen = done.fit.seen
    rows = [
        (s.numbered, s.what, s.numbers, f"{s.deviation:.3g}", s.received) for s in together(seen)
    ]
    if done.is_private:
        show.grid(("exchange", "what", "numbers", "noise, patients", "bytes a site"), rows)
    places = list(done.real)
    table = [
        (name, *(_shown(found[place]) for place in places))
        for name, found in [*done.figures.items(), ("real patients", done.real)]
    ]
    show.grid(("trained on; AUC at", *places), table)
    if not done.is_private:
        show.say(f"no formal guarantee: nothing was protected; report: {done.files['report']}")
        return
    show.say(
        f"each site charged epsilon {done.plan.privacy.epsilon:.4g}; {len(seen)} exchanges in "
        f"{done.seconds:.1f} s; report: {done.files['report']}"
    )


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
