"""A table: a Polars frame that fits its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.errors import DataError
from pegai.schema import Column, Schema

DTYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}
"""Frictionless type to the Polars type a table stores."""


@dataclass(frozen=True, eq=False)
class Table:
    """A Polars frame with the columns, order and types of its schema.

    Values outside the schema's domain are allowed here: encoders bound them. Use
    `pegai.schema.check` to count them.

    Attributes:
        frame: Shape (rows, columns); missing is null, never NaN and never an empty text.
        schema: The columns and the privacy unit.

    Raises:
        DataError: Columns or types differ from the schema's.
    """

    frame: pl.DataFrame
    schema: Schema

    def __post_init__(self) -> None:
        if self.frame.columns != self.schema.names:
            missing = [n for n in self.schema.names if n not in self.frame.columns]
            extra = [n for n in self.frame.columns if n not in self.schema.names]
            raise DataError(
                f"the table's columns differ from the schema's: missing {missing}, extra {extra}",
                hint="pegai.data.conform(frame, schema) orders and types a frame",
            )
        for column in self.schema.columns:
            found = self.frame.schema[column.name]
            if found != DTYPES[column.type]:
                raise DataError(
                    f"column {column.name!r} is {found}, its schema says {column.type}",
                    hint="pegai.data.conform(frame, schema) orders and types a frame",
                )

    def __len__(self) -> int:
        return self.frame.height

    def __getitem__(self, name: str) -> pl.Series:
        return self.frame[name]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The schema's columns, in order."""
        return self.schema.columns

    def to_native(self, native: Any) -> Any:
        """The frame as the kind of frame that `native` is: pandas for pandas, Arrow for Arrow.

        Args:
            native: Only its kind is looked at.

        Raises:
            DataError: `native` is not a frame.
        """
        from pegai.data.frames import like

        return like(self.frame, native)

    def select(self, names: list[str]) -> Table:
        """The table over some of its columns, in the order given."""
        schema = self.schema.replace_columns(tuple(self.schema[n] for n in names))
        return Table(self.frame.select(names), schema)

    def take(self, rows: np.ndarray) -> Table:
        """The rows at integer positions, or where a boolean mask is true."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Table(self.frame[index], self.schema)

    def head(self, n: int) -> Table:
        """The first n rows."""
        return Table(self.frame.head(n), self.schema)

    def modelled(self) -> Table:
        """The columns a generator learns: no identifiers, no patient id."""
        return self.select([column.name for column in self.schema.modelled])

    def evaluated(self) -> Table:
        """The columns an evaluation looks at: the modelled ones, and who is who."""
        kept = {column.name for column in self.schema.modelled} | {self.schema.unit}
        return self.select([name for name in self.schema.names if name in kept])

    def unit_codes(self) -> np.ndarray:
        """Which patient each row belongs to, as integers from 0; shape (rows,).

        A missing patient id counts as a patient of its own.
        """
        if self.schema.unit is None:
            return np.arange(len(self))
        ids = self.frame[self.schema.unit].cast(pl.String)
        codes = ids.rank("dense").to_numpy().astype(np.float64)
        absent = np.isnan(codes)
        codes[absent] = np.nanmax(codes, initial=0.0) + 1 + np.arange(absent.sum())
        return np.unique(codes, return_inverse=True)[1]

    def numbers(self, name: str) -> np.ndarray:
        """A numeric, date or boolean column as float64 with NaN for missing; shape (rows,).

        Dates are days, datetimes are seconds since 1970-01-01.
        """
        series = self.frame[name]
        kind = self.schema[name].type
        if kind == "date":
            series = series.to_physical()
        elif kind == "datetime":
            series = series.dt.epoch("us").cast(pl.Float64) / 1e6
        return series.cast(pl.Float64).to_numpy().astype(np.float64)

    def texts(self, name: str) -> pl.Series:
        """A discrete column as text with null for missing, matching `Column.levels`."""
        return self.frame[name].cast(pl.String)
