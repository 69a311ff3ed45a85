"""What the command line shows: tables and errors for people, one JSON object for machines.

Data goes to stdout; progress and errors go to stderr, so that output can be piped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
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

errors = Console(stderr=True, highlight=False)
_plain = Console(highlight=False, soft_wrap=True)


def say(text: str, *, quiet: bool = False) -> None:
    """A line for people, on stdout; marks such as `[bold]` are markup."""
    if not quiet:
        _plain.print(text)


def result(content: Mapping[str, Any], *, as_json: bool, text: Callable[[], None]) -> None:
    """The outcome of a command: JSON if it was asked for, else what `text` prints."""
    if as_json:
        payload = {"ok": True, **content}
        sys.stdout.write(json.dumps(payload, ensure_ascii=False, default=str) + "\n")
    else:
        text()


def failure(error: PegaiError, *, as_json: bool) -> None:
    """A user's error: the rule, the value, the way out; never a traceback."""
    if as_json:
        payload = {
            "ok": False,
            "error": {
                "code": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "exit_code": error.exit_code,
            },
        }
        sys.stdout.write(json.dumps(payload, ensure_ascii=False) + "\n")
        return
    errors.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        errors.print(Text.assemble(("  try: ", "bold"), error.hint))


def grid(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None
) -> None:
    """A table for people; columns that hold only numbers are right-aligned."""
    table = RichTable(title=title, title_justify="left", header_style="bold")
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

    Without a terminal it prints one line a stage instead of a moving bar.
    """
    if quiet:
        yield lambda stage, share: None
        return
    if not errors.is_terminal:
        yield _lines()
        return
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
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


def _lines() -> Callable[[str, float], None]:
    last = ""

    def show(stage: str, share: float) -> None:
        nonlocal last
        if stage != last:
            errors.print(Text(f"{share:4.0%}  {stage}"))
            last = stage

    return show
