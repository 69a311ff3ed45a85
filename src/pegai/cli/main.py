"""The command line: one verb each, thin; errors become exit codes here.

Whatever goes wrong, a user sees the rule, the value and the way out. A traceback is shown on
request only (`PEGAI_TRACEBACK=1`): messages of libraries may hold cells of the table.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from pegai._version import __version__
from pegai.cli import (
    audit,
    compare,
    data,
    evaluation,
    federate,
    federation,
    ledger,
    models,
    privacy,
    release,
    runs,
    schema,
    show,
    site,
    tune,
)
from pegai.errors import DataError, PegaiError, UsageError

INTERRUPTED, TERMINATED, INTERNAL = 130, 143, 70

TRACEBACK_VARIABLE = "PEGAI_TRACEBACK"

app = typer.Typer(
    name="pegai",
    help="Private synthetic patients from a hospital table, with the evidence.\n\n"
    "Start with [bold]pegai demo[/bold]. For your own table: [bold]schema infer[/bold], edit "
    "the schema, [bold]run[/bold].\n\n"
    "Exit codes: 0 done, 1 a check or gate failed, 2 wrong usage, schema or data, 3 refused for "
    "privacy or budget, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        show.say(f"pegai {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _add(function: Callable[..., None], panel: str) -> None:
    app.command(help=paragraphs(function), rich_help_panel=panel)(function)


def paragraphs(function: Callable[..., None]) -> str:
    """A docstring with its lines joined to paragraphs, to be wrapped by the terminal's width."""
    text = inspect.getdoc(function) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


_add(runs.demo, "The main job")
_add(runs.run, "The main job")
app.add_typer(schema.app, name="schema", rich_help_panel="Prepare")
_add(data.deidentify, "Prepare")
_add(data.split, "Prepare")
_add(tune.tune, "Step by step")
_add(models.fit, "Step by step")
_add(models.sample, "Step by step")
_add(evaluation.evaluate, "Step by step")
_add(compare.compare, "Step by step")
app.add_typer(federate.app, name="federate", rich_help_panel="Together")
app.add_typer(federation.app, name="federation", rich_help_panel="Together")
app.add_typer(site.app, name="site", rich_help_panel="Together")
_add(release.release, "Release")
_add(release.verify, "Release")
_add(release.keygen, "Release")
app.add_typer(release.policy, name="policy", rich_help_panel="Release")
_add(models.methods, "Look up")
_add(audit.audit, "Look up")
app.add_typer(privacy.app, name="privacy", rich_help_panel="Look up")
app.add_typer(ledger.app, name="ledger", rich_help_panel="Look up")
for group in (
    schema.app,
    privacy.app,
    ledger.app,
    release.policy,
    federate.app,
    federation.app,
    site.app,
):
    for command in group.registered_commands:
        if command.callback is not None:
            command.help = paragraphs(command.callback)


def main() -> None:
    """Entry point of the `pegai` command."""
    signal.signal(signal.SIGTERM, _terminate)
    _open_streams()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has left: nothing to be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


def _open_streams() -> None:
    """Where stdout or stderr were closed (`>&-`, some schedulers), write into nothing."""
    # Open for as long as the process runs, like the streams they stand for.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # So that a `kill` cleans up like Ctrl-C does: work folders go, workers end.
    raise SystemExit(TERMINATED)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code."""
    try:
        code = app(args=list(arguments), prog_name="pegai", standalone_mode=False)
        if code != INTERRUPTED:
            return code if isinstance(code, int) else 0
        raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError):
            return 0
        shown, code = _described(error)
        if shown is not None:
            show.failure(shown, as_json="--json" in arguments, exit_code=code)
        return code


def _described(error: BaseException) -> tuple[PegaiError | None, int]:
    """What is said about an error, and the exit code."""
    if isinstance(error, PegaiError):
        return error, error.exit_code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        said = "interrupted; nothing half-written was left behind"
        return UsageError(said), INTERRUPTED
    if isinstance(error, MemoryError):
        return DataError("out of memory", hint="try fewer rows, or jobs = 1 in a run file"), 2
    if isinstance(error, OSError):
        said = error.strerror or type(error).__name__
        return DataError(f"{error.filename}: {said}" if error.filename else said), 2
    if hasattr(error, "format_message"):
        return _usage(error)
    return _internal(error), INTERNAL


def _usage(error: Any) -> tuple[PegaiError | None, int]:
    """A click error; without arguments it is the help, which was asked for in a way."""
    path = "pegai" if error.ctx is None else str(error.ctx.command_path)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return None, int(error.exit_code)
    message = re.sub(r"\s+", " ", str(error.format_message())).rstrip(".")
    return UsageError(message, hint=f"{path} --help"), int(error.exit_code)


def _internal(error: BaseException) -> PegaiError:
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {part.filename.rpartition('pegai/')[2]}:{part.lineno}" for part in last)
    return PegaiError(
        f"pegai failed in a way it should not ({type(error).__name__}{place}); please report it",
        hint=f"{TRACEBACK_VARIABLE}=1 shows the whole traceback, which may hold private values",
    )


if __name__ == "__main__":
    main()
