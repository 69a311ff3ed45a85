"""`pegai deidentify` and `pegai split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption, SeedOption


def deidentify(
    data: Annotated[Path, typer.Argument(help="CSV, TSV, gzip or Parquet.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the cleaned table goes.")],
    schema: Annotated[
        Path | None, typer.Option("--schema", "-s", help="Roles and dates, if there is one.")
    ] = None,
    schema_out: Annotated[
        Path | None, typer.Option(help="Where the schema of the cleaned table goes.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="JSON list of what was done.")] = None,
    drop_free_text: Annotated[
        bool, typer.Option("--drop-free-text", help="Drop free text; it is refused otherwise.")
    ] = False,
    dates: Annotated[
        str, typer.Option(help="What is done to dates: offset (kept apart), year or drop.")
    ] = "offset",
    action: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=ACTION: drop, replace, offset, year, zip3, topcode; repeat it."),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to drop; repeat it.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="COLUMN=REASON to leave as it is; repeat it.")
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find direct identifiers and remove them: the 18 HIPAA Safe Harbor classes.

    Found by name, pattern, check digit and uniqueness. Dates are moved by one secret offset a
    patient, ages over 89 joined, ZIP codes cut to three digits, patient ids replaced. What stays is
    written as it was, digit for digit.

    Example: pegai deidentify raw.csv -o clean.csv --drop-free-text --keep ward="needed, 4 levels"
    """
    from pegai.workflow.steps import deidentify_file

    cleaned = deidentify_file(
        data,
        out,
        schema=schema,
        schema_out=schema_out,
        report=report,
        drop_free_text=drop_free_text,
        dates=dates,
        actions=[*(action or []), *(f"{name}=drop" for name in drop or [])],
        keep=keep or [],
        seed=seed,
    )

    def text() -> None:
        if cleaned.actions:
            heads = list(cleaned.actions[0])
            if not quiet:
                show.grid(heads, [[row[h] for h in heads] for row in cleaned.actions])
        else:
            show.say("no identifier was found", quiet=quiet)
        still = [row for row in cleaned.lint or [] if row["status"] == "open"]
        for row in still:
            show.say(f"Safe Harbor lint, {row['column']}: {row['why']}", quiet=quiet)
        show.say(f"wrote {out}", quiet=quiet)
        if schema_out is not None:
            show.suggest(
                *("pegai", "split", out, "-s", schema_out),
                *("--train", "train.csv", "--holdout", "holdout.csv"),
                quiet=quiet,
            )

    content = {
        "file": str(out),
        "actions": cleaned.actions,
        "lint": cleaned.lint,
        "anonymity": {"before": cleaned.anonymity_before, "after": cleaned.anonymity_after},
    }
    show.result(content, as_json=as_json, text=text)


def split(
    data: Annotated[Path, typer.Argument(help="CSV, TSV, gzip or Parquet.")],
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    train: Annotated[Path, typer.Option(help="Where the rows to learn go.")],
    holdout: Annotated[Path, typer.Option(help="Where the rows for the evaluation go.")],
    share: Annotated[float, typer.Option(help="Share of the patients held out.")] = 0.3,
    stratify: Annotated[
        bool, typer.Option("--stratify", help="Keep shares of target and site exact; see above.")
    ] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Split a table by patient, before anything is trained.

    No patient is on both sides. Each patient is held out or not by a coin of its own, so that the
    guarantee of a private fit on the training file holds for the whole table. --stratify keeps the
    shares of target and site exact instead: one patient more may then move others, so use it only
    for fits without privacy. An evaluation without a holdout that was split off first can't say
    anything about privacy.
    """
    from pegai.workflow.steps import split_file

    sizes = split_file(data, schema, train, holdout, share=share, stratify=stratify, seed=seed)
    content = {"train": str(train), "holdout": str(holdout), "rows": sizes}

    def text() -> None:
        show.say(
            f"wrote {train} ({sizes['train']} rows) and {holdout} ({sizes['holdout']} rows)",
            quiet=quiet,
        )
        show.suggest("pegai", "fit", train, "-s", schema, "-o", "model", quiet=quiet)

    show.result(
        content,
        as_json=as_json,
        text=text,
    )
