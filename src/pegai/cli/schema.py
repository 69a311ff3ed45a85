"""`pegai schema`: draft a schema from a table, estimate what it lacks, check a table against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.schema import Schema
    from pegai.workflow.domain import EstimatedSchema

app = typer.Typer(
    no_args_is_help=True, help="Draft a schema, estimate its domain, check a table against it."
)

DataArgument = Annotated[Path, typer.Argument(help="CSV, TSV, gzip or Parquet.")]


@app.command()
def infer(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the schema.")],
    dataset: Annotated[
        str | None, typer.Option(help="Name under which the ledger adds up; default: file name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draft a schema from a table, for you to correct.

    Everything drafted was read from the data, so every bound and category is marked with the
    source "private". Before a private fit, replace them by public knowledge (a standard, a data
    dictionary, an expert) and change the source.
    """
    from pegai.data.files import read_frame
    from pegai.errors import UsageError
    from pegai.schema import write_schema
    from pegai.schema.infer import infer as draft

    if out.exists() and not force:
        raise UsageError(f"{out} exists", hint="--force replaces it, or choose another --out")
    if out.resolve() == data.resolve():
        raise UsageError(f"{out}: would be written over, it is read", hint="name a new file")
    name = dataset or data.name.split(".")[0]
    schema = draft(read_frame(data), dataset=name)
    write_schema(schema, out)
    columns = [
        {"column": c.name, "kind": c.kind, "role": c.role, "levels": len(c.levels)}
        for c in schema.columns
    ]

    def text() -> None:
        rows = [(c["column"], c["kind"], c["role"], c["levels"] or "") for c in columns]
        if not quiet:
            show.grid(("column", "kind", "role", "levels"), rows)
        show.say(f"wrote {out}: {len(columns)} columns, all sources are 'private'", quiet=quiet)
        show.say(_who(schema), quiet=quiet)
        show.say("edit bounds, categories, roles and sources", quiet=quiet)
        show.suggest("pegai", "schema", "check", data, out, quiet=quiet)

    content = {
        "schema": str(out),
        "unit": schema.unit,
        "max_rows_per_unit": schema.pegai.max_rows_per_unit,
        "columns": columns,
    }
    show.result(content, as_json=as_json, text=text)


def _who(schema: Schema) -> str:
    """Whose privacy the draft protects: the one thing in it that must not be wrong."""
    if schema.unit is None:
        return "patient: one row each; if one can have several, name the id column as pegai.unit"
    most = schema.pegai.max_rows_per_unit
    return f"patient: column {schema.unit!r}, up to {most} row{'s' if most > 1 else ''} each"


@app.command()
def estimate(
    data: DataArgument,
    draft: Annotated[Path, typer.Argument(help="The draft, whose types and roles you checked.")],
    epsilon: Annotated[float, typer.Option(help="What the estimate may spend.")],
    delta: Annotated[float, typer.Option(help="At most 1 / (10 x patients) is usual.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the schema.")],
    ledger: Annotated[
        Path | None, typer.Option(help="Default: $PEGAI_LEDGER or ./pegai-ledger.jsonl.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name in the ledger; default: the draft's.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV; default: UTF-8.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Of a CSV; default: a comma, a tab for .tsv.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate bounds and categories that are missing or private, with differential privacy.

    All else in the draft is taken as public: names, types, which columns have categories, roles,
    decimals, formats, what means missing, rows a patient. schema infer read these from the data
    too: check them first. The ledger is charged before anything is drawn. Public sources stay as
    they are and cost nothing.

    Exit code 1 if a column's values did not stand out of the noise; the rest is written.
    """
    from pegai.privacy.guarantee import Privacy
    from pegai.workflow.domain import estimate_schema_file

    privacy = Privacy(epsilon, delta, ledger=ledger, dataset=dataset)
    with show.progress(quiet=quiet) as bar:
        done = estimate_schema_file(
            data,
            draft,
            out,
            privacy=privacy,
            overwrite=force,
            progress=bar,
            encoding=encoding,
            delimiter=delimiter,
        )
    show.result(
        _estimate_content(done, out),
        as_json=as_json,
        text=lambda: _tell_estimate(done, data, out, quiet=quiet),
    )
    if done.unresolved:
        raise typer.Exit(1)


def _estimate_content(done: EstimatedSchema, out: Path) -> dict[str, object]:
    """What machines get; every bound and category in it is released."""
    columns = [done.schema[name] for name in done.estimated]
    return {
        "schema": str(out),
        "estimated": [
            {
                "column": c.name,
                "kind": c.kind,
                "minimum": c.constraints.minimum,
                "maximum": c.constraints.maximum,
                "categories": list(c.levels) if c.categories is not None else None,
            }
            for c in columns
        ],
        "unresolved": list(done.unresolved),
        "guarantee": None if done.guarantee is None else done.guarantee.to_dict(),
    }


def _tell_estimate(done: EstimatedSchema, data: Path, out: Path, *, quiet: bool) -> None:
    if done.guarantee is None:
        show.say(f"wrote {out}: nothing had to be estimated, nothing is charged", quiet=quiet)
    else:
        names = [c.name for c in done.schema.columns if c.name in done.estimated + done.unresolved]
        if not quiet:
            show.grid(
                ("column", "type", "found"),
                [(name, done.schema[name].type, done.found(name)) for name in names],
            )
        show.say(f"wrote {out}", quiet=quiet)
        for line in done.guarantee.in_words():
            show.say(f"  {line}", quiet=quiet)
    if done.unresolved:
        show.say(done.advice)
        return
    fit = ("--epsilon", "EPSILON", "--delta", "DELTA", "-o", "model")
    show.suggest("pegai", "fit", data, "-s", out, *fit, quiet=quiet)


@app.command()
def check(
    data: DataArgument,
    schema: Annotated[Path, typer.Argument(help="The schema file.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what does not fit the schema, by column and count; never a value.

    Exit code 1 if anything does not fit. The counts are facts about private data: keep them inside.
    """
    from pegai.data.files import read_frame
    from pegai.schema import read_schema
    from pegai.schema.check import check as compare

    findings = compare(read_frame(data), read_schema(schema))
    rows = [(f.column or "(table)", f.rule, f.count, f.rows) for f in findings]

    def text() -> None:
        if rows:
            show.grid(("column", "rule", "cells", "of rows"), rows)
        else:
            show.say(f"{data} fits {schema}", quiet=quiet)
            show.suggest("pegai", "deidentify", data, "-s", schema, "-o", "clean.csv", quiet=quiet)

    listed = [
        {"column": f.column, "rule": f.rule, "count": f.count, "rows": f.rows} for f in findings
    ]
    show.result({"fits": not findings, "findings": listed}, as_json=as_json, text=text)
    if findings:
        raise typer.Exit(1)
