"""What is known of each column, and from where: the public side of a schema, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pegai.report.numbers import shorten
from pegai.report.tables import Grid, Text
from pegai.schema import Schema
from pegai.schema.columns import Column

SOURCES = {
    "standard": "a standard",
    "dictionary": "the data dictionary",
    "expert": "an expert",
    "public-data": "public data",
    "dp-estimate": "estimated from the data under a charge of its own",
    "private": "READ FROM THE PRIVATE DATA",
}
"""Where bounds or categories came from, in words."""


def public_schema(schema: Schema) -> Schema:
    """The parts of a schema that may leave with synthetic rows.

    Identifiers, the patient's column and the name in the ledger are left out, and so are bounds and
    categories that were read from the private data (possible only without a guarantee).
    """
    columns = tuple(_without_private_domain(column) for column in schema.modelled)
    kept = schema.replace_columns(columns)
    return kept.model_copy(update={"pegai": kept.pegai.model_copy(update={"dataset": None})})


def _without_private_domain(column: Column) -> Column:
    if column.is_public:
        return column
    bare = column.constraints.model_copy(update={"minimum": None, "maximum": None})
    changes = {"constraints": bare, "categories": None, "categories_ordered": False}
    return column.model_copy(update=changes)


def domain_rows(schema: Schema) -> tuple[dict[str, Any], ...]:
    """One row a released column: column, title, kind, role, values, source."""
    return tuple(
        {
            "column": column.name,
            "title": column.title or "",
            "kind": column.kind,
            "role": column.role,
            "values": _values(column),
            "source": column.pegai.source,
        }
        for column in schema.modelled
    )


def _values(column: Column) -> str:
    if column.kind == "boolean":
        return "false, true"
    if column.is_discrete:
        shown = [shorten(level, 20) for level in column.levels[:6]]
        more = len(column.levels) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    low, high = column.constraints.minimum, column.constraints.maximum
    if low is None and high is None:
        return "no bounds"
    if low is None:
        return f"up to {high}"
    return f"from {low}" if high is None else f"{low} to {high}"


def domain_grid(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """The rows as a table for people."""
    heads = ("Column", "Kind", "Values", "Known from")
    body = tuple(
        (
            Text(_of(row, "column"), _of(row, "title")),
            Text(_of(row, "kind"), _of(row, "role").removeprefix("feature")),
            Text(_of(row, "values")),
            Text(*_source(_of(row, "source"))),
        )
        for row in rows
    )
    return Grid("Bounds and categories, column by column", heads, body)


def source_facts(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """How many columns are known from where; what was read from the data comes first."""
    named: dict[str, list[str]] = {}
    for row in rows:
        named.setdefault(_of(row, "source").partition(":")[0], []).append(_of(row, "column"))
    order = sorted(named, key=lambda word: (word != "private", word != "dp-estimate", word))
    return tuple(
        (
            SOURCES.get(word, word)[:1].upper() + SOURCES.get(word, word)[1:],
            f"{len(named[word])} column{'s' if len(named[word]) > 1 else ''}: "
            + ", ".join(shorten(name, 24) for name in named[word][:8])
            + (" and others" if len(named[word]) > 8 else ""),
        )
        for word in order
    )


def _of(row: Mapping[str, Any], key: str) -> str:
    """A cell as text; a row that was read from a report may lack it."""
    return str(row.get(key) or "")


def _source(source: str) -> tuple[str, str]:
    word, _, detail = source.partition(":")
    return SOURCES.get(word, word), detail
