"""Dates and datetimes as numbers, and back: days or seconds since 1970-01-01."""

from __future__ import annotations

import numpy as np
import polars as pl

from pegai.data.table import DTYPES
from pegai.schema import Column


def to_series(numbers: np.ndarray, column: Column) -> pl.Series:
    """A typed series from floats with NaN for missing.

    Args:
        numbers: Days (date), seconds (datetime) or the value itself; shape (rows,).
        column: Gives the name and the type.
    """
    series = pl.Series(column.name, numbers, dtype=pl.Float64).fill_nan(None)
    if column.type == "date":
        return series.round().cast(pl.Int32).cast(pl.Date)
    if column.type == "datetime":
        return (series.round() * 1_000_000).cast(pl.Int64).cast(pl.Datetime("us"))
    if column.type == "integer":
        series = series.round()
    return series.cast(DTYPES[column.type])
