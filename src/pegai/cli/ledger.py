"""`pegai ledger`: what was spent on which data set, and whether the record is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.privacy.ledger import Ledger
    from pegai.privacy.ledger_account import Composition

app = typer.Typer(
    no_args_is_help=True,
    help="What was spent, what is left, and whether the record was edited.",
)

LedgerArgument = Annotated[
    Path | None,
    typer.Argument(help="The ledger; default: $PEGAI_LEDGER or ./pegai-ledger.jsonl."),
]


def _path(given: Path | None) -> Path:
    from pegai.errors import UsageError
    from pegai.privacy.guarantee import default_ledger

    path = given or default_ledger()
    if not path.exists():
        raise UsageError(f"{path}: there is no ledger", hint="a private fit makes one")
    return path


@app.command("show")
def show_(
    ledger: LedgerArgument = None,
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List every charge, and for each data set what is spent and left."""
    from pegai.privacy.ledger import Ledger
    from pegai.workflow.facts import ledger_row

    book = Ledger(_path(ledger))
    entries = [e for e in book.entries() if e.kind != "start"]
    chosen = [e for e in entries if dataset in (None, e.dataset)]
    rows = [ledger_row(e) for e in chosen]
    names = sorted({e.dataset for e in chosen})
    totals = [{"data set": n, **_total(book, n)} for n in names]

    def text() -> None:
        if not rows:
            show.say("nothing is recorded", quiet=quiet)
            return
        show.grid(list(rows[0]), [list(row.values()) for row in rows], title="charges and budgets")
        lines = [
            (
                row["data set"],
                f"{row['epsilon spent']:.4g} of {row['epsilon budget']:.4g}",
                f"{row['epsilon left']:.4g}",
                f"{row['delta spent']:.4g} of {row['delta budget']:.4g}",
                f"{row['delta left']:.4g}",
                str(row["adds up by"]),
            )
            for row in totals
        ]
        heads = ("data set", "epsilon spent", "left", "delta spent", "left", "adds up by")
        show.grid(heads, lines, title="data sets")

    content = {"ledger": str(book.path), "lines": rows, "datasets": totals}
    show.result(content, as_json=as_json, text=text)


def _total(book: Ledger, name: str) -> dict[str, float | str]:
    account = book.account(name)
    epsilon, delta = account.spent()
    return {
        "epsilon spent": epsilon,
        "epsilon budget": account.epsilon,
        "epsilon left": max(account.epsilon - epsilon, 0.0),
        "delta spent": delta,
        "delta budget": account.delta,
        "delta left": max(account.delta - delta, 0.0),
        "adds up by": account.composition,
    }


@app.command()
def verify(
    ledger: LedgerArgument = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Check the hash chain; exit code 1 if any byte was edited, removed or moved."""
    from pegai.privacy.ledger import Ledger

    path = _path(ledger)
    problems = Ledger(path).verify()

    def text() -> None:
        if problems:
            show.grid(("line", "problem"), [(p.line, p.message) for p in problems])
        else:
            show.say(f"{path} is whole", quiet=quiet)

    listed = [{"line": p.line, "message": p.message} for p in problems]
    show.result({"whole": not problems, "problems": listed}, as_json=as_json, text=text)
    if problems:
        raise typer.Exit(1)


@app.command()
def budget(
    dataset: Annotated[str, typer.Argument(help="The data set's name, as in its schema.")],
    epsilon: Annotated[float, typer.Option(help="What may be spent in all.")],
    delta: Annotated[float, typer.Option(help="What may be spent in all.")],
    ledger: Annotated[Path | None, typer.Option(help="The ledger.")] = None,
    composition: Annotated[
        str | None,
        typer.Option(
            help="How charges add up: sums, or gaussian, by which many cost less. Chosen before "
            "the first charge; default: as it is, at first sums."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set what may be spent on a data set in all. The change is recorded for good."""
    from pegai.privacy.guarantee import default_ledger
    from pegai.privacy.ledger import Ledger

    path = ledger or default_ledger()
    book = Ledger(path)
    book.set_budget(dataset, epsilon, delta, composition=_composition(composition))
    rule = book.account(dataset).composition
    content = {
        "ledger": str(path),
        "dataset": dataset,
        "epsilon": epsilon,
        "delta": delta,
        "composition": rule,
    }
    show.result(
        content,
        as_json=as_json,
        text=lambda: show.say(
            f"{dataset}: epsilon {epsilon:g} and delta {delta:g} in all, adding up by {rule}, "
            f"in {path}",
            quiet=quiet,
        ),
    )


def _composition(given: str | None) -> Composition | None:
    from pegai.errors import UsageError
    from pegai.privacy.ledger_account import COMPOSITIONS

    for known in COMPOSITIONS:
        if given == known:
            return known
    if given is None:
        return None
    raise UsageError(
        f"charges can't add up by {given!r}", hint=f"there are: {', '.join(COMPOSITIONS)}"
    )
