"""What of a table does not fit its schema: by column and count, never by value.

Cells are read by the rules of `pegai.schema.parse`, the same that `pegai.data.conform` uses, so a
table with no `missing-column`, `extra-column` and `unreadable` finding can be loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from pegai.schema.columns import Column
from pegai.schema.parse import Reading, read_column
from pegai.schema.table_schema import Schema

Rule = Literal[
    "no-rows",
    "missing-column",
    "extra-column",
    "unreadable",
    "below-minimum",
    "above-maximum",
    "not-in-categories",
    "required",
    "not-unique",
    "missing-unit",
    "too-many-rows",
    "impossible",
]

_SENTENCES: dict[Rule, str] = {
    "no-rows": "the table has no rows",
    "missing-column": "is in the schema, not in the table",
    "extra-column": "is in the table, not in the schema",
    "unreadable": "{count} of {rows} cells are not of its type",
    "below-minimum": "{count} of {rows} cells are below the minimum",
    "above-maximum": "{count} of {rows} cells are above the maximum",
    "not-in-categories": "{count} of {rows} cells are not one of the categories",
    "required": "{count} of {rows} cells are missing, and it is required",
    "not-unique": "{count} of {rows} cells repeat an earlier one, and it is unique",
    "missing-unit": "{count} of {rows} rows do not say which patient they belong to",
    "too-many-rows": "{count} patients have more rows than max_rows_per_unit",
    "impossible": "{count} of {rows} rows have a combination that the schema calls impossible",
}


@dataclass(frozen=True)
class Finding:
    """One rule that one column breaks.

    Attributes:
        column: The column's name; empty for the table as a whole. For `impossible` the names of
            the columns of one combination, as `sex, pregnant`.
        rule: Which rule.
        count: How many cells break it; for `too-many-rows` how many patients, for `impossible` how
            many rows, 0 where the rule is about the column and not about its cells.
        rows: How many rows were looked at.
    """

    column: str
    rule: Rule
    count: int
    rows: int

    def __str__(self) -> str:
        sentence = _SENTENCES[self.rule].format(count=self.count, rows=self.rows)
        return f"{self.column!r}: {sentence}" if self.column else sentence


def check(frame: pl.DataFrame, schema: Schema) -> list[Finding]:
    """Compare a frame with a schema.

    Args:
        frame: Raw text as read from a CSV, or typed columns; shape (rows, columns).
        schema: What it should be.

    Returns:
        One finding for each rule that a column breaks, in the order of the schema, then one for
        each impossible combination that occurs; none if the table fits. The counts are facts about
        private data: they are for the data's keepers.
    """
    rows = frame.height
    found = [] if rows else [Finding("", "no-rows", 0, 0)]
    ruled = {name for combination in schema.impossible for name in combination.columns}
    values: list[pl.Series] = []
    for column in schema.columns:
        if column.name not in frame.columns:
            found.append(Finding(column.name, "missing-column", 0, rows))
            continue
        reading = read_column(frame[column.name], column, schema.missing_values)
        counts = _column_counts(reading, column, schema)
        found += [Finding(column.name, rule, n, rows) for rule, n in counts.items() if n]
        if column.name in ruled:
            values.append(reading.values)
    found += _impossible(pl.DataFrame(values), schema, rows)
    extra = [name for name in frame.columns if name not in schema]
    return found + [Finding(name, "extra-column", 0, rows) for name in extra]


def _impossible(frame: pl.DataFrame, schema: Schema, rows: int) -> list[Finding]:
    """One finding for each combination that occurs; `frame` has the columns that are there."""
    known = [rule for rule in schema.impossible if set(rule.columns) <= set(frame.columns)]
    counts = [(rule, _count(frame.select(rule.matches).to_series())) for rule in known]
    return [Finding(", ".join(rule.columns), "impossible", n, rows) for rule, n in counts if n]


def _column_counts(reading: Reading, column: Column, schema: Schema) -> dict[Rule, int]:
    values = reading.values
    missing = values.null_count() - reading.count
    counts: dict[Rule, int] = {"unreadable": reading.count}
    if column.is_numeric:
        counts.update(_bound_counts(values, column))
    elif column.is_discrete and column.type != "boolean":
        known = values.cast(pl.String).is_in(column.levels)
        counts["not-in-categories"] = _count(~known)
    if column.constraints.required:
        counts["required"] = missing
    present = values.drop_nulls()
    if column.constraints.unique:
        counts["not-unique"] = len(present) - present.n_unique()
    if column.name == schema.unit:
        counts["missing-unit"] = missing
        sizes = present.value_counts(name="rows")["rows"]
        counts["too-many-rows"] = _count(sizes > schema.pegai.max_rows_per_unit)
    return counts


def _bound_counts(values: pl.Series, column: Column) -> dict[Rule, int]:
    numbers = _as_numbers(values)
    counts: dict[Rule, int] = {}
    if column.minimum is not None:
        counts["below-minimum"] = _count(numbers < column.minimum)
    if column.maximum is not None:
        counts["above-maximum"] = _count(numbers > column.maximum)
    return counts


def _as_numbers(values: pl.Series) -> pl.Series:
    """Dates as days and datetimes as seconds since 1970-01-01, as `Column.minimum` has them."""
    if values.dtype == pl.Date:
        return values.to_physical().cast(pl.Float64)
    if isinstance(values.dtype, pl.Datetime):
        return values.to_physical().cast(pl.Float64) / 1e6
    return values.cast(pl.Float64)


def _count(broken: pl.Series) -> int:
    return int(broken.sum() or 0)
