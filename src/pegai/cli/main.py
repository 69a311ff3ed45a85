"""The command line: one verb each, thin; errors become exit codes here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pegai._version import __version__
from pegai.cli import data, evaluation, ledger, models, runs, schema, show
from pegai.errors import PegaiError

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


app.command(rich_help_panel="The main job")(runs.demo)
app.command(rich_help_panel="The main job")(runs.run)
app.add_typer(schema.app, name="schema", rich_help_panel="Prepare")
app.command(rich_help_panel="Prepare")(data.deidentify)
app.command(rich_help_panel="Prepare")(data.split)
app.command(rich_help_panel="Step by step")(models.fit)
app.command(rich_help_panel="Step by step")(models.sample)
app.command(rich_help_panel="Step by step")(evaluation.evaluate)
app.command(rich_help_panel="Look up")(models.methods)
app.add_typer(ledger.app, name="ledger", rich_help_panel="Look up")


def main() -> None:
    """Entry point of the `pegai` command."""
    try:
        app()
    except PegaiError as error:
        show.failure(error, as_json="--json" in sys.argv[1:])
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        show.errors.print("interrupted; nothing half-written was left behind")
        raise SystemExit(130) from None
    except MemoryError:
        show.errors.print("error: out of memory; try fewer rows or columns at a time")
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
