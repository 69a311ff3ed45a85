"""A lint of a schema against HIPAA Safe Harbor: which of the 18 classes it leaves open.

It reads the public schema only, never the data, and it is a lint, not a legal finding: Safe Harbor
also asks that nobody who releases the data knows how to re-identify a patient, and it says nothing
about synthetic data that a model made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pegai.data.deidentify import names
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.patterns import sharp_cells
from pegai.schema import Column, Schema

DISCLAIMER = (
    "This is a lint of the schema, not a legal finding: it reads names, types, bounds and "
    "categories, no data, and can miss an identifier or name a harmless column."
)
"""What has to stand beside every result of the lint."""

_C = IdentifierClass


@dataclass(frozen=True)
class OpenClass:
    """A class of identifiers that the schema lets pass.

    Attributes:
        identifier_class: Which of the 18; None for free text, which may hold any.
        column: The column's name.
        reason: What in the schema leaves it open.
        hint: How to close it.
    """

    identifier_class: IdentifierClass | None
    column: str
    reason: str
    hint: str


def lint(schema: Schema) -> list[OpenClass]:
    """The Safe Harbor classes that the modelled columns of a schema leave open.

    Columns with the role `identifier` and the patient id never reach a model and are not looked
    at. Read `DISCLAIMER` with the result.

    Example:
        >>> from pegai.schema import schema_from_dict
        >>> schema = schema_from_dict({"fields": [{"name": "admitted", "type": "date"}]})
        >>> [(found.identifier_class.letter, found.column) for found in lint(schema)]
        [('C', 'admitted')]
    """
    return [found for column in schema.modelled if (found := _open(column)) is not None]


def _open(column: Column) -> OpenClass | None:
    if column.type in ("date", "datetime"):
        return _found(column, _C.DATE, "a date finer than a year", "keep the year only")
    if names.is_age(column.name):
        return _open_age(column)
    kind = names.class_by_name(column.name)
    if kind == _C.GEOGRAPHY:
        return _open_place(column)
    if kind == _C.DATE:
        return _open_named_date(column)
    if column.categories is not None:
        return _open_categories(column)
    if kind is not None and column.type in ("string", "integer"):
        return _found(
            column, kind, f"its name is one of {kind.title}", "give it the role identifier"
        )
    if column.kind == "text":
        return OpenClass(None, column.name, "free text may hold any of the 18 classes", "drop it")
    return None


def _found(column: Column, kind: IdentifierClass, reason: str, hint: str) -> OpenClass:
    return OpenClass(kind, column.name, reason, hint)


def _open_age(column: Column) -> OpenClass | None:
    if column.categories is not None:
        old = any(level.isdigit() and int(level) > 90 for level in column.levels)
    elif column.type in ("integer", "number"):
        old = column.maximum is None or column.maximum > 90
    else:
        return None
    if not old:
        return None
    reason = "ages above 89 must be joined as 90 or older"
    return _found(column, _C.DATE, reason, "set the maximum to 90 and top-code")


def _open_place(column: Column) -> OpenClass | None:
    levels = column.levels
    is_zip = names.is_us_zip(column.name)
    if is_zip and levels and all(len(level) <= 3 for level in levels):
        return None
    reason = "a ZIP code finer than three digits" if is_zip else "a place smaller than a state"
    hint = "cut it to three digits (action zip3)" if is_zip else "drop it or name the state only"
    return _found(column, _C.GEOGRAPHY, reason, hint)


def _open_named_date(column: Column) -> OpenClass | None:
    """A year is no date: numbers bounded within the years are left."""
    low, high = column.minimum, column.maximum
    is_year = low is not None and high is not None and high < 3_000
    if (column.type in ("integer", "number") and is_year) or column.is_discrete:
        return None
    return _found(column, _C.DATE, "its name is one of dates", "declare a year with bounds")


def _open_categories(column: Column) -> OpenClass | None:

    texts = [*column.levels, *column.labels.values()]
    hits = int(sharp_cells(pl.Series(texts, dtype=pl.String)).sum())
    if not hits:
        return None
    reason = "some categories or labels have the form of an identifier"
    return _found(column, _C.UNIQUE_CODE, reason, "take them out of the schema")
