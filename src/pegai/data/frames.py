"""Frames of other libraries at the edge: pandas, Arrow and Polars come in and go out as they came.

Neither pandas nor PyArrow is needed: what a frame is is asked of narwhals, which imports nothing,
and pandas columns are taken and given through NumPy, so pandas users need no PyArrow.
The index of a pandas frame is not data and is left behind.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any, TypeVar, cast

import narwhals as nw
import numpy as np
import polars as pl

from pegai.errors import DataError
from pegai.schema import Column, Schema
from pegai.schema.parse import null_where

FrameT = TypeVar("FrameT")


def to_polars(native: Any, *, schema: Schema | None = None) -> pl.DataFrame:
    """A frame of any supported library as a Polars frame.

    Args:
        native: pandas, Polars (eager or lazy), PyArrow, or another eager frame narwhals knows.
        schema: Before a private fit: Python objects of pandas become texts one by one, as a file of
            this schema would write them, and what no file could hold is missing. Otherwise all
            values of a column decide together what type it has. (What type a frame's column has
            is the caller's to know: it is taken as public.)

    Returns:
        Shape (rows, columns). Categories are text; missing is null, and so is NaN of pandas,
        which means the same there; datetimes of pandas with a time zone become UTC.

    Raises:
        DataError: It is no frame, two columns have one name, or a column holds what is no value.
    """
    if isinstance(native, pl.DataFrame):
        return native
    if isinstance(native, pl.LazyFrame):
        return cast("pl.DataFrame", native.collect())
    if nw.dependencies.is_pandas_dataframe(native):
        return _from_pandas(native, schema)
    if nw.dependencies.is_pyarrow_table(native):
        _check_names([str(name) for name in native.column_names])
        return pl.DataFrame(pl.from_arrow(native))
    try:
        frame = nw.from_native(native)
    except TypeError:
        raise DataError(
            f"a {type(native).__name__} is not a table",
            hint="pass a pandas, Polars or PyArrow frame, or read a file with pegai.read_frame",
        ) from None
    eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    return eager.to_polars()


def like(frame: pl.DataFrame, native: FrameT) -> FrameT:
    """A Polars frame as the kind of frame that `native` is.

    In pandas, integers with gaps are `Int64`, booleans with gaps `boolean`, dates and datetimes
    `datetime64[us]`, and text is what pandas itself makes of text.

    Args:
        frame: The result.
        native: What the user gave; only its kind is looked at.

    Raises:
        DataError: `native` is not a frame.
    """
    given: Any = native
    made: Any
    if isinstance(given, pl.DataFrame):
        made = frame
    elif isinstance(given, pl.LazyFrame):
        made = frame.lazy()
    elif nw.dependencies.is_pandas_dataframe(given):
        made = _to_pandas(frame)
    elif nw.dependencies.is_pyarrow_table(given):
        made = frame.to_arrow()
    else:
        try:
            backend = nw.get_native_namespace(nw.from_native(given))
        except TypeError:
            raise DataError(f"a {type(native).__name__} is not a table") from None
        columns = {name: frame[name].to_list() for name in frame.columns}
        made = nw.from_dict(columns, backend=cast("Any", backend)).to_native()
    return made


def _from_pandas(native: Any, schema: Schema | None) -> pl.DataFrame:
    if native.columns.nlevels > 1:
        raise DataError("the columns have several levels", hint="flatten them to one name each")
    names = [str(name) for name in native.columns]
    _check_names(names)
    columns = [None if schema is None or n not in schema else schema[n] for n in names]
    return pl.DataFrame(
        [
            _pandas_column(native.iloc[:, i], column).alias(name)
            for i, (name, column) in enumerate(zip(names, columns, strict=True))
        ]
    )


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"two columns are named {twice[0]!r}", hint="give every column its own name"
        )


def _pandas_column(series: Any, column: Column | None) -> pl.Series:
    dtype, missing = series.dtype, series.isna().to_numpy()
    kind = getattr(dtype, "kind", "O")
    if hasattr(dtype, "categories") and hasattr(series, "cat"):
        listed = series.cat.categories.to_numpy(dtype=object)
        levels = _objects(listed, name=series.name) if column is None else _texts(listed, column)
        codes = pl.Series(series.cat.codes.to_numpy().astype(np.int64))
        return levels.cast(pl.String).gather(null_where(codes, pl.Series(missing)))
    if kind == "M":
        return _pandas_datetimes(series, missing)
    if kind in "iufb":
        plain = np.dtype(getattr(dtype, "numpy_dtype", dtype))
        filled = {"na_value": plain.type(0)} if missing.any() and kind != "f" else {}
        if kind == "f":
            return pl.Series(series.to_numpy(dtype=np.float64, na_value=np.nan)).fill_nan(None)
        values = pl.Series(series.to_numpy(dtype=plain, **filled))
        return null_where(values, pl.Series(missing)) if missing.any() else values
    if kind in "mc" or str(dtype).startswith(("period", "interval")):
        raise DataError(
            f"column {series.name!r} is {dtype}", hint="turn it into numbers, dates or text"
        )
    values = series.to_numpy(dtype=object).copy()
    values[missing] = None
    return _objects(values, name=series.name) if column is None else _texts(values, column)


def _pandas_datetimes(series: Any, missing: np.ndarray) -> pl.Series:
    zone = getattr(series.dtype, "tz", None)
    utc = series.dt.tz_convert("UTC").dt.tz_localize(None) if zone is not None else series
    moments = utc.to_numpy(dtype="datetime64[us]").view(np.int64)
    cells = null_where(pl.Series(moments), pl.Series(missing)).cast(pl.Datetime("us"))
    return cells if zone is None else cells.dt.replace_time_zone("UTC")


def _texts(values: np.ndarray, column: Column) -> pl.Series:
    """Python objects as texts, each by itself: one must not change how others are read."""
    return pl.Series([_text(value, column) for value in values], dtype=pl.String)


def _text(value: Any, column: Column) -> str | None:
    """How a file would write a value of the column; None for what no file could hold."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, dt.date):
        return _date_text(value, column)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        number = float(value)
        whole = number.is_integer() and abs(number) < 2**53
        return None if math.isnan(number) else str(int(number)) if whole else repr(number)
    return str(value) if isinstance(value, Decimal) else None


def _date_text(value: dt.date, column: Column) -> str | None:
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    try:
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
        if column.format is not None and column.type in ("date", "datetime"):
            return moment.strftime(column.format)
        timed = column.type == "datetime" or moment.time() != dt.time()
        return moment.isoformat() if timed and column.type != "date" else moment.date().isoformat()
    except (ValueError, OverflowError):
        return None


def _objects(values: np.ndarray, *, name: object) -> pl.Series:
    """Python objects with None for missing, typed by what they are; mixed ones become text."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if any(issubclass(kind, (list, tuple, dict, set, np.ndarray)) for kind in kinds):
        raise DataError(f"column {name!r} holds lists", hint="give each value a column of its own")
    if not kinds or kinds == {str}:
        return pl.Series(values.tolist(), dtype=pl.String)
    if kinds == {bool}:
        return pl.Series(values.tolist(), dtype=pl.Boolean)
    if all(issubclass(kind, (int, float, np.number)) and kind is not bool for kind in kinds):
        return pl.Series([None if v is None else v for v in values.tolist()], strict=False)
    if all(issubclass(kind, dt.datetime) for kind in kinds):
        return _datetimes(values)
    if kinds == {dt.date}:
        return pl.Series(values.tolist(), dtype=pl.Date)
    return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)


def _datetimes(values: np.ndarray) -> pl.Series:
    moments = [
        None if v is None else v.astimezone(dt.UTC).replace(tzinfo=None) if v.tzinfo else v
        for v in values
    ]
    return pl.Series(moments, dtype=pl.Datetime("us"))


def _to_pandas(frame: pl.DataFrame) -> Any:
    # Only reached when the user passed a pandas frame, so pandas is there.
    pandas = cast("Any", nw.dependencies.get_pandas())
    columns = {i: _pandas_values(series, pandas) for i, series in enumerate(frame.get_columns())}
    made = pandas.DataFrame(columns, index=pandas.RangeIndex(frame.height))
    made.columns = frame.columns
    return made


def _pandas_values(series: pl.Series, pandas: Any) -> Any:
    missing = series.is_null().to_numpy()
    dtype = series.dtype
    if dtype.is_integer():
        values = series.fill_null(0).to_numpy().copy()
        if not missing.any():
            return values
        return pandas.arrays.IntegerArray(values.astype(np.int64), missing)
    if dtype.is_float():
        return series.to_numpy().copy()
    if dtype == pl.Boolean:
        values = series.fill_null(False).to_numpy().copy()
        return pandas.arrays.BooleanArray(values, missing) if missing.any() else values
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        zone = getattr(dtype, "time_zone", None)
        moments = series.cast(pl.Datetime("us", zone)).to_physical()
        stamps = moments.fill_null(0).to_numpy().copy().view("datetime64[us]")
        stamps[missing] = np.datetime64("NaT")
        made = pandas.Series(stamps)
        return made if zone is None else made.dt.tz_localize("UTC").dt.tz_convert(zone)
    # pandas 3 has a text type of its own, pandas 2 keeps objects: ask it, don't decide.
    text = pandas.Series(["a"]).dtype
    return pandas.Series(series.cast(pl.String).to_list(), dtype=text)
