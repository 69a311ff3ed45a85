"""`pegai tune`: settings for a method, by trials that are free, or charged."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.workflow.tune import TuneConfig, TuneResult

SHOWN = 5
"""Trials that are shown, the best first."""


class PrivateMode(StrEnum):
    """What private settings are tried on."""

    simulate = "simulate"
    charge = "charge"


def tune(
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    method: Annotated[str, typer.Option("--method", "-m", help="A name of pegai methods.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; goes on from there.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(help="The training table; not needed, and not read, by simulate."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Trials in all; default 50, or 8 where each is charged."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Begin no trial after so many minutes; not with charge.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Inner splits, or simulated tables, of each trial.")
    ] = 3,
    epsilon: Annotated[
        float | None, typer.Option(help="Budget of the fit to be tuned for; needs --delta.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="At most 1 / (10 x patients) is usual.")
    ] = None,
    private_mode: Annotated[
        PrivateMode, typer.Option(help="With --epsilon: try on simulated tables, or charge.")
    ] = PrivateMode.simulate,
    patients: Annotated[
        int | None,
        typer.Option("--patients", "-n", help="For simulate: about how many, a public guess."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file with settings that stay as they are.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of what is tried and on which splits; never of noise.")
    ] = 0,
    ledger: Annotated[
        Path | None, typer.Option(help="For charge: where it is recorded; else as for pegai fit.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name in the ledger; default: the schema's.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV; as for pegai fit.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a CSV; as for pegai fit.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find settings of a method for pegai fit --settings.

    Without a budget the trials are on inner splits of the table, by patient: give the training
    table, and keep the holdout for the end. Settings found that way are for fits without privacy.

    With --epsilon and --delta the trials are private fits. [bold]simulate[/bold] makes up tables
    from the schema alone: no data are read, nothing is charged. [bold]charge[/bold] tries on the
    data themselves: all trials are charged together before the first, and refused with exit code 3
    if the budget does not cover them and the fit that follows.

    The method's own settings are the first trial, and stay unless another is clearly better. A
    tuning that was stopped goes on with the same command; a larger --trials adds more.

    Example: pegai tune train.csv -s schema.json -m ctgan --max-minutes 30 -o tuned

    Example: pegai tune -s schema.json -m aim --epsilon 1 --delta 1e-4 --patients 600 -o tuned
    """
    from pegai.workflow.steps import read_settings
    from pegai.workflow.tune import TuneConfig
    from pegai.workflow.tune import tune as tune_method

    config = TuneConfig(
        schema=schema,
        folder=out,
        method=method,
        data=data,
        trials=trials,
        max_minutes=max_minutes,
        repeats=repeats,
        epsilon=epsilon,
        delta=delta,
        private_mode=private_mode.value,
        patients=patients,
        fixed=read_settings(settings),
        seed=seed,
        ledger=ledger,
        dataset=dataset,
        encoding=encoding,
        delimiter=delimiter,
    )
    notes: list[str] = []
    with show.progress(quiet=quiet) as bar:
        done = tune_method(config, progress=bar, notice=_teller(notes, quiet=quiet))
    _tell(done, config, notes, as_json=as_json, quiet=quiet)


def _teller(notes: list[str], *, quiet: bool) -> Callable[[str], None]:
    """Keeps what is noted for the JSON, and says it on stderr, above the progress."""

    def tell(text: str) -> None:
        notes.append(text)
        if not quiet:
            show.errors.print(Text(text), soft_wrap=not show.errors.is_terminal)

    return tell


def _tell(
    done: TuneResult, config: TuneConfig, notes: list[str], *, as_json: bool, quiet: bool
) -> None:
    chosen = done.chosen
    content: dict[str, Any] = {
        "folder": str(done.folder),
        "files": {kind: str(path) for kind, path in done.files.items()},
        "method": config.method,
        "private_mode": config.mode,
        "trials": len(done.record.trials),
        "made": done.made,
        "chosen": None
        if chosen is None
        else {
            "trial": chosen.trial.number,
            "score": chosen.trial.score,
            "settings": done.record.settings,
            "why": chosen.why,
        },
        "spent": list(done.record.spent),
        "notes": notes,
        "seconds": round(done.seconds, 2),
    }

    def text() -> None:
        if not quiet:
            _print(done, config)

    show.result(content, as_json=as_json, text=text)


def _print(done: TuneResult, config: TuneConfig) -> None:
    chosen = done.chosen
    scored = [t for t in done.record.trials if t.state == "done"]
    shown = sorted(scored, key=lambda t: (-t.score, t.number))[:SHOWN]
    rows = [
        (t.number, round(t.score, 4), ", ".join(f"{k}={v}" for k, v in t.values.items()))
        for t in shown
    ]
    show.grid(("trial", "score", "settings"), rows)
    if chosen is None:
        show.say("no trial has ended with a score; the same command goes on")
        return
    if config.mode == "charge":
        noise = max(t.noise for t in scored)
        show.say(f"scores are in patients, with noise of {noise:.3g} patients")
    else:
        show.say("scores: 1 is best, the mean of realism, utility and secrecy")
    show.say(f"chosen: {chosen.why}")
    show.say(f"{done.made} trials in {done.seconds:.0f} s; all of them: {done.files['record']}")
    words: list[object] = ["pegai", "fit", config.data or "TRAIN", "-s", config.schema]
    words += ["-m", config.method, "--settings", done.files["settings"]]
    if config.epsilon is not None:
        words += ["--epsilon", f"{config.epsilon:g}", "--delta", f"{config.delta:g}"]
    show.suggest(*words, "-o", "model", quiet=False)
