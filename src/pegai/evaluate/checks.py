"""Checks of what is given to an evaluation, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from pegai.data.table import Table
from pegai.errors import DataError
from pegai.schema import Schema


def check_real(train: Table, holdout: Table) -> None:
    """Refuse real tables that can't be evaluated against.

    Raises:
        DataError: A table is empty, no column can be compared, or the schemas differ.
    """
    for name, table in (("training", train), ("holdout", holdout)):
        if len(table) == 0:
            raise DataError(
                f"the {name} table has no rows",
                hint="evaluation needs real patients on both sides of the split",
            )
    if not any(c.is_discrete or c.is_numeric for c in train.schema.modelled):
        raise DataError(
            "no column can be evaluated: all are identifiers or free text",
            hint="list categories or bounds in the schema: pegai schema infer data.csv",
        )
    check_same_columns(train.schema, holdout.schema, "the holdout")


def check_synthetic(train: Schema, synthetics: Sequence[Table]) -> None:
    """Refuse synthetic tables that are empty or of another schema.

    Raises:
        DataError: There is no table, one is empty, or its columns differ from the real ones.
    """
    if not synthetics:
        raise DataError("no synthetic table was given", hint="give one or more, one a seed")
    for number, table in enumerate(synthetics, start=1):
        name = "the synthetic table" if len(synthetics) == 1 else f"synthetic table {number}"
        if len(table) == 0:
            raise DataError(f"{name} has no rows", hint="sample as many rows as were trained on")
        check_same_columns(train, table.schema, name)


def check_same_columns(expected: Schema, given: Schema, name: str) -> None:
    """Compare the modelled columns of two schemas: names, types and levels, in any order.

    Raises:
        DataError: They differ; the columns are named.
    """
    wanted = {column.name: column for column in expected.modelled}
    missing = [n for n in wanted if n not in given]
    extra = [c.name for c in given.columns if c.name not in expected]
    if missing or extra:
        raise DataError(
            f"{name} has other columns than the training table: missing {missing}, extra {extra}",
            hint="read all tables with one schema",
        )
    differ = [
        f"{n} ({column.kind}, not {given[n].kind})"
        if given[n].kind != column.kind or given[n].type != column.type
        else f"{n} (other categories)"
        for n, column in wanted.items()
        if given[n].type != column.type
        or given[n].kind != column.kind
        or set(given[n].levels) != set(column.levels)
    ]
    if differ:
        raise DataError(
            f"{name} has columns of another kind than the training table: {', '.join(differ)}",
            hint="read all tables with one schema",
        )
