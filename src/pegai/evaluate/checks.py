"""Checks of what is given to an evaluation, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.errors import DataError
from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import newcombe
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


MOST_SHARED = 0.02
"""Share of holdout rows that may stand in the training table beyond what its own repeats foretell,
as the lower end of an interval."""


def check_apart(train: Table, holdout: Table, first: Encoded, second: Encoded) -> None:
    """Refuse a holdout that holds training patients: every comparison with it would be void.

    Args:
        train: The training table.
        holdout: The holdout.
        first: The training table, coded.
        second: The holdout, coded by the same features.

    Raises:
        DataError: A patient id stands in both, or more rows do than chance explains.
    """
    unit = train.schema.unit
    if unit is not None and unit == holdout.schema.unit:
        sides = [t.frame[unit].cast(pl.String).drop_nulls().unique() for t in (train, holdout)]
        both = int(sides[1].is_in(sides[0].implode()).sum())
        if both:
            raise DataError(
                f"{both} of {len(sides[1])} holdout patients are in the training table too",
                hint="split by patient: pegai split",
            )
    _, place, counts = np.unique(first.keys, return_inverse=True, return_counts=True)
    repeated = int((counts[place] > 1).sum())
    shared = int(np.isin(second.keys, first.keys).sum())
    low, _ = newcombe(shared, len(second), repeated, len(first))
    if low > MOST_SHARED:
        raise DataError(
            f"{shared} of {len(second)} holdout rows stand in the training table, where "
            f"{repeated} of {len(first)} rows repeat another: the holdout is no holdout",
            hint="draw it at random by patient before training: pegai split",
        )


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
