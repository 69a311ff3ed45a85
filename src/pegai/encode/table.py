"""A whole table as integer codes: summarize, merge, fit, encode, decode.

Every column becomes codes 0..size-1. Generators that work on codes handle numbers, categories,
dates and missingness in one way, and missing is a value like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.data.table import DTYPES, Table
from pegai.encode.categorical import CategoricalEncoder, CategoricalSummary, summarize_categorical
from pegai.encode.datetimes import to_series
from pegai.encode.numeric import NumericEncoder, NumericSummary, bounded, summarize_numeric
from pegai.errors import IdentifierError, UsageError
from pegai.schema import Column, Schema

ColumnEncoder = CategoricalEncoder | NumericEncoder
ColumnSummary = CategoricalSummary | NumericSummary


@dataclass(frozen=True)
class TableSummary:
    """Mergeable summaries of all columns, in the schema's order."""

    schema: Schema
    columns: tuple[ColumnSummary, ...]

    def merge(self, other: TableSummary) -> TableSummary:
        """The summary of both tables together."""
        pairs = zip(self.columns, other.columns, strict=True)
        merged = tuple(a.merge(b) for a, b in pairs)  # pyright: ignore[reportArgumentType]
        return TableSummary(self.schema, merged)


def summarize(tables: Iterable[Table]) -> TableSummary:
    """Summarize a table given as one or more chunks of the same schema.

    Raises:
        UsageError: There is no chunk.
        IdentifierError: A column holds free text.
    """
    summary: TableSummary | None = None
    for table in tables:
        part = TableSummary(table.schema, tuple(_summarize(table, c) for c in table.columns))
        summary = part if summary is None else summary.merge(part)
    if summary is None:
        raise UsageError("there is no table to summarize", hint="give at least one chunk")
    return summary


def _summarize(table: Table, column: Column) -> ColumnSummary:
    if column.is_discrete:
        return summarize_categorical(table.texts(column.name), column)
    if column.is_numeric:
        return summarize_numeric(bounded(table.numbers(column.name), column))
    raise IdentifierError(
        f"column {column.name!r} is free text, which may hold anything about a patient",
        hint="list its categories in the schema, give it the role identifier, or drop it",
    )


@dataclass(frozen=True)
class TableEncoder:
    """The codes of a table.

    Attributes:
        schema: The schema of the table that comes back.
        columns: One encoder a column, in the schema's order.
    """

    schema: Schema
    columns: tuple[ColumnEncoder, ...]

    @classmethod
    def fit(
        cls,
        summary: TableSummary,
        *,
        max_bins: int,
        min_count: float,
        max_levels: int | None = None,
    ) -> TableEncoder:
        """Choose the codes.

        Args:
            summary: Exact, or noisy under privacy.
            max_bins: At most about this many bins a numeric column.
            min_count: Levels with fewer rows share one code.
            max_levels: So many levels a column have codes of their own; None is all.
        """
        encoders: list[ColumnEncoder] = []
        for column, part in zip(summary.schema.columns, summary.columns, strict=True):
            if isinstance(part, CategoricalSummary):
                encoders.append(
                    CategoricalEncoder.fit(part, column, min_count=min_count, max_levels=max_levels)
                )
            else:
                encoders.append(NumericEncoder.fit(part, column, max_bins=max_bins))
        return cls(summary.schema, tuple(encoders))

    def smoothed(self, shares: Mapping[int, np.ndarray]) -> TableEncoder:
        """Numeric bins filled as a smooth density would fill them.

        Args:
            shares: Of the codes of some columns, by their position.
        """
        columns = list(self.columns)
        for i, encoder in enumerate(columns):
            if isinstance(encoder, NumericEncoder) and i in shares:
                columns[i] = encoder.smoothed(shares[i])
        return TableEncoder(self.schema, tuple(columns))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes a column."""
        return tuple(encoder.size for encoder in self.columns)

    def index(self, name: str) -> int:
        """Position of a column."""
        return self.schema.names.index(name)

    def encode(self, table: Table) -> np.ndarray:
        """Codes of a table; int32, shape (rows, columns)."""
        parts = [self.encode_column(table, i) for i in range(len(self.columns))]
        return np.column_stack(parts).astype(np.int32) if parts else np.zeros((len(table), 0))

    def encode_column(self, table: Table, index: int) -> np.ndarray:
        """Codes of one column, shape (rows,)."""
        encoder = self.columns[index]
        if isinstance(encoder, CategoricalEncoder):
            return encoder.encode(table.texts(encoder.column.name))
        return encoder.encode(table.numbers(encoder.column.name))

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> Table:
        """A table from codes, shape (rows, columns); in-bin places are drawn from `rng`."""
        series = [self._decode_column(e, codes[:, i], rng) for i, e in enumerate(self.columns)]
        return Table(pl.DataFrame(series), self.schema)

    def _decode_column(
        self, encoder: ColumnEncoder, codes: np.ndarray, rng: np.random.Generator
    ) -> pl.Series:
        column = encoder.column
        if isinstance(encoder, NumericEncoder):
            return to_series(encoder.decode(codes, rng), column)
        texts = encoder.decode(codes, rng)
        if column.type == "boolean":
            return texts == "true"
        return texts.cast(DTYPES[column.type])

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the schema is stored beside it."""
        return {"columns": [encoder.to_dict() for encoder in self.columns]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any], schema: Schema) -> TableEncoder:
        """The inverse of `to_dict`."""
        kinds = {"categorical": CategoricalEncoder, "numeric": NumericEncoder}
        pairs = zip(plain["columns"], schema.columns, strict=True)
        return cls(schema, tuple(kinds[p["kind"]].from_dict(p, c) for p, c in pairs))
