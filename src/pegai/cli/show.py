"""What the command line shows: tables and errors for people, one JSON object for machines.

Data goes to stdout; progress and errors go to stderr, so that output can be piped. What came from
a user (paths, names) is printed as it is: square brackets in it are no markup.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from pegai.errors import PegaiError

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout, for machines.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress and no advice; errors still show.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="Seed of what may be seeded. The same seed gives the same bytes."),
]

LINE_SECONDS = 15.0
"""Without a terminal, a stage that takes longer than this says how far it is, this often."""

errors = Console(stderr=True, highlight=False)
_plain = Console(highlight=False)


def say(text: str, *, quiet: bool = False, style: str = "") -> None:
    """A line for people, on stdout; only a terminal gets it wrapped."""
    if not quiet:
        _plain.print(Text(text, style), soft_wrap=not _plain.is_terminal)


def suggest(*words: object, quiet: bool) -> None:
    """The command that comes next, quoted so that a shell takes it as it is."""
    say(f"next: {shlex.join(str(word) for word in words)}", quiet=quiet)


def result(content: Mapping[str, Any], *, as_json: bool, text: Callable[[], None]) -> None:
    """The outcome of a command: JSON if it was asked for, else what `text` prints."""
    if as_json:
        _write_json({"ok": True, **content})
    else:
        text()


def failure(error: PegaiError, *, as_json: bool, exit_code: int | None = None) -> None:
    """A user's error: the rule, the value, the way out; never a traceback."""
    if as_json:
        described = {
            "code": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code if exit_code is None else exit_code,
        }
        _write_json({"ok": False, "error": described})
        return
    wide = not errors.is_terminal
    errors.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=wide)
    if error.hint:
        errors.print(Text.assemble(("  hint: ", "bold"), error.hint), soft_wrap=wide)


def _write_json(content: Mapping[str, Any]) -> None:
    # ASCII, so that it is valid whatever the terminal's encoding; NaN is no JSON.
    sys.stdout.write(json.dumps(_valid(content), default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def _valid(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _valid(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def grid(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None
) -> None:
    """A table for people; columns that hold only numbers are right-aligned."""
    table = RichTable(
        title=title,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for i, head in enumerate(heads):
        numeric = all(isinstance(row[i], (int, float)) for row in rows) and bool(rows)
        table.add_column(head, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(_cell(value)) for value in row])
    Console(highlight=False).print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


@contextmanager
def progress(*, quiet: bool) -> Generator[Callable[[str, float], None]]:
    """A bar on stderr with the stage, the time taken and the time left.

    Without a terminal it prints a line a stage instead of a moving bar.
    """
    if quiet:
        yield lambda stage, share: None
        return
    if not errors.is_terminal:
        yield lines()
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=1.0)

        def show(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=share)

        yield show


def lines(*, clock: Callable[[], float] = time.monotonic) -> Callable[[str, float], None]:
    """Progress where nothing can move: a line a stage, and one now and then in a long stage."""
    stage_shown, said_at, started = "", clock(), clock()

    def show(stage: str, share: float) -> None:
        nonlocal stage_shown, said_at
        now = clock()
        if stage == stage_shown and now - said_at < LINE_SECONDS:
            return
        # The first per cents say nothing about the rest.
        left = (now - started) * (1 - share) / share if 0.04 < share < 1 else 0.0
        after = f", about {_duration(left)} left" if left >= LINE_SECONDS else ""
        errors.print(Text(f"{share:4.0%}  {stage}{after}"), soft_wrap=True)
        stage_shown, said_at = stage, now

    return show


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
