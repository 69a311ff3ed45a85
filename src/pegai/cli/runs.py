"""`pegai demo` and `pegai run`: the whole way at once."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.workflow.run import RunResult


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path(
        "demo"
    ),
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split and of what is not private.")
    ] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show everything on bundled data: four hospitals, 920 patients, about three minutes.

    Fits noisy marginals (aim) and a conditional GAN with differential privacy at epsilon 1, 3 and
    10 and a GAN without, evaluates all of them on held-out patients, and writes the synthetic
    table of aim at epsilon 1 with its model and the report.
    """
    from pegai.workflow.demo import run_demo

    with show.progress(quiet=quiet) as bar:
        done = run_demo(
            out,
            seed=seed,
            progress=bar,
            commands=(f"{_command('demo', None, out)} --seed {seed}",),
        )
    _tell(done, as_json=as_json, quiet=quiet)


def run(
    config: Annotated[Path, typer.Argument(help="The run file, TOML.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the results; else the file's.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go the whole way from one file: de-identify, split, fit, sample, evaluate, report.

    Nothing is written before all of it is ready, but for the ledger: what was charged stays
    charged. Exit code 1 if the verdict is DO NOT RELEASE.
    """
    from pegai.cli.summary import DO_NOT_RELEASE
    from pegai.workflow.config import read_config
    from pegai.workflow.run import run as run_all

    read = read_config(config)
    if out is not None:
        read = read.model_copy(update={"output": read.output.model_copy(update={"folder": out})})
    with show.progress(quiet=quiet) as bar:
        done = run_all(read, progress=bar, commands=(_command("run", config.name, out),))
    _tell(done, as_json=as_json, quiet=quiet)
    if done.content.verdict.decision == DO_NOT_RELEASE:
        raise typer.Exit(1)


def _command(verb: str, config: str | None, out: Path | None) -> str:
    words = ["pegai", verb]
    words += [] if config is None else [config]
    return shlex.join(words if out is None else [*words, "--out", str(out)])


NEXT = (
    ("report", "the evidence, for the data owner; internal"),
    ("synthetic", "the synthetic patients"),
    ("model", "the generator: pegai sample {} -n 1000 -o more.csv"),
    ("ledger", "what was spent: pegai ledger show {}"),
)
"""What to look at after a run: a file of it, and what it is."""


def _tell(done: RunResult, *, as_json: bool, quiet: bool) -> None:
    from pegai.cli.summary import candidate_rows, print_candidates, print_verdict

    def text() -> None:
        if quiet:
            return
        print_candidates(done.content)
        print_verdict(done.content)
        show.say(f"\ndone in {done.seconds:.0f} s. Where to look next:")
        places = {name: str(done.files[name]) for name, _ in NEXT if name in done.files}
        width = max(len(place) for place in places.values())
        for name, what in NEXT:
            if name in places:
                place = places[name]
                show.say(f"  {place:{width}}  {what.format(shlex.quote(place))}")

    show.result(
        {
            "folder": str(done.folder),
            "files": {k: str(v) for k, v in done.files.items()},
            "verdict": done.content.verdict.decision,
            "candidates": candidate_rows(done.content),
            "seconds": round(done.seconds, 2),
        },
        as_json=as_json,
        text=text,
    )
