"""Cells of any type to the type of their column: the one rule for reading and for checking.

How a cell is read (text is stripped of blanks at both ends first, except in text columns):

| type | accepted |
|---|---|
| integer | `63`, `+63`, `63.0`, `6.3e1`; true and false of a boolean frame |
| number | decimal point or exponent; decimal comma where the whole column has it |
| boolean | `true/false`, `yes/no`, `t/f`, `y/n`, `1/0` in any case |
| date | ISO 8601 or the column's `format`; a datetime at midnight |
| datetime | ISO 8601 with `T` or a blank, with or without seconds and offset; or `format` |
| string with categories | a category as it stands, or after stripping, or `1.0` for `1` |

A missing cell is null, NaN, an empty text, or one of the texts named in `missingValues`. Infinity
is no number. Datetimes with an offset become UTC; those without are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pegai.errors import SchemaError
from pegai.schema.columns import Column

Mark = Literal["", ".", ",", "?", "!"]
"""How a column writes decimals: nothing seen, point, comma, ambiguous (`1,234`), or both."""

TRUE_TEXTS = ("true", "yes", "t", "y", "1")
FALSE_TEXTS = ("false", "no", "f", "n", "0")

ISO_DATETIMES = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)
ISO_DATE = "%Y-%m-%d"
ISO_OFFSETS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")

_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
_COMMA_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
_POINT = r"^[+-]?\d*\.\d*([eE][+-]?\d+)?$"
_NAN_TEXTS = ("nan", "NaN", "NAN", "Nan")
_EXACT = 2.0**53  # above this a float no longer holds every integer


@dataclass(frozen=True, eq=False)
class Reading:
    """A column as its schema wants it.

    Attributes:
        values: Typed by the column; null where missing or unreadable.
        unreadable: True where a cell holds something that is not of the type; same length.
    """

    values: pl.Series
    unreadable: pl.Series

    @property
    def count(self) -> int:
        """Number of cells that can't be read."""
        return int(self.unreadable.sum() or 0)


def read_column(
    cells: pl.Series, column: Column, missing_values: Sequence[str], *, mark: Mark | None = None
) -> Reading:
    """Type the cells of one column.

    Args:
        cells: Text or already typed (integers, floats, dates, categories ...).
        column: What they should be.
        missing_values: The table's texts for "missing"; the column's own are added.
        mark: The decimal mark of the whole column, where `cells` are only a part of it.

    Raises:
        SchemaError: The column's `format` is not a strptime pattern.
    """
    markers = (*missing_values, *(column.missing_values or ()))
    if isinstance(cells.dtype, (pl.Null, pl.Categorical, pl.Enum)):
        cells = cells.cast(pl.String)
    numeric = column.type in ("integer", "number")
    kept = column.type == "string"  # a category may begin with a blank
    cells = blank_missing(
        cells, markers, exact=column.kind == "text", keep_blanks=kept, numeric=numeric
    )
    values = _READERS[column.type](cells, column, mark).alias(column.name)
    unreadable = (values.is_null() & cells.is_not_null()).alias(column.name)
    return Reading(values, unreadable)


def blank_missing(
    cells: pl.Series,
    markers: Sequence[str],
    *,
    exact: bool = False,
    keep_blanks: bool = False,
    numeric: bool = False,
) -> pl.Series:
    """Null out what means missing, and strip the blanks around text.

    Args:
        cells: Text, or typed cells, of which those equal to a numeric marker are missing.
        markers: Texts that mean missing; an empty text always does.
        exact: Compare a text with the blanks at its ends, so that a blank is a value.
        keep_blanks: Leave the blanks of what is not missing.
        numeric: The text holds numbers: `-9.0` is the marker `-9`, and NaN is missing.
    """
    codes = _codes(markers)
    if cells.dtype.is_numeric():
        cells = cells.fill_nan(None) if cells.dtype.is_float() else cells
        coded = cells.cast(pl.Float64, strict=False).is_in(codes)
        return null_where(cells, coded) if codes else cells
    if cells.dtype != pl.String:
        return cells
    texts = cells if exact else cells.str.strip_chars()
    absent = texts.is_in(sorted({"", *markers, *(_NAN_TEXTS if numeric else ())}))
    if numeric and codes:
        absent = absent | texts.cast(pl.Float64, strict=False).is_in(codes)
    return null_where(cells if keep_blanks else texts, absent)


def null_where(values: pl.Series, mask: pl.Series) -> pl.Series:
    """The values with null where the mask is true; a null in the mask counts as false."""
    # Series.set knows no dates in the older Polars that pegai supports.
    return values.zip_with(~mask.fill_null(False), values.clear(len(values)))


def decimal_mark(texts: pl.Series) -> Mark:
    """Say whether a text column writes its decimals with a point or a comma.

    A comma counts only if no cell has a point, and if at least one cell can't be a number with
    thousands separators: `1,234` alone could be either, and is refused rather than guessed.
    """
    if texts.dtype != pl.String:
        return ""
    pointed = texts.str.contains(".", literal=True)
    if not texts.str.contains(",", literal=True).any():
        return "." if pointed.any() else ""
    texts = texts.str.strip_chars()
    comma = texts.str.contains(_COMMA)
    if not comma.any():
        return "." if pointed.any() else ""
    if texts.filter(pointed).str.contains(_POINT).any():
        return "!"
    return "," if (comma & ~texts.str.contains(_COMMA_THOUSANDS)).any() else "?"


def merge_marks(first: Mark, second: Mark) -> Mark:
    """The mark of a column from those of two parts of it."""
    seen = {first, second} - {""}
    if len(seen) < 2:
        return first or second
    # A part with only `1,234` takes the reading that another part made certain.
    return "," if seen == {"?", ","} else "!"


def _read_integer(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if cells.dtype == pl.String:
        quick = cells.cast(pl.Int64, strict=False)
        if quick.null_count() == cells.null_count():
            return quick
        plain = _pointed(cells, column, mark).str.replace(r"\.0*$", "")
        whole = plain.cast(pl.Int64, strict=False)
        return whole.zip_with(whole.is_not_null(), _whole(plain.cast(pl.Float64, strict=False)))
    if cells.dtype.is_integer() or cells.dtype == pl.Boolean:
        return cells.cast(pl.Int64, strict=False)
    if cells.dtype.is_numeric():
        return _whole(cells.cast(pl.Float64))
    return _unreadable(cells, pl.Int64())


def _read_number(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if cells.dtype == pl.String:
        values = _pointed(cells, column, mark).cast(pl.Float64, strict=False)
    elif cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
        values = cells.cast(pl.Float64, strict=False)
    else:
        return _unreadable(cells, pl.Float64())
    return null_where(values, ~values.is_finite())


def _read_boolean(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if cells.dtype == pl.Boolean:
        return cells
    if cells.dtype.is_numeric():
        number = cells.cast(pl.Float64, strict=False)
        return _either(number == 1, number == 0)
    if cells.dtype != pl.String:
        return _unreadable(cells, pl.Boolean())
    texts = cells.str.to_lowercase().str.replace(r"^([01])\.0+$", "$1")
    return _either(texts.is_in(TRUE_TEXTS), texts.is_in(FALSE_TEXTS))


def _read_date(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if cells.dtype == pl.Date:
        return cells
    if cells.dtype == pl.String:
        pattern = strptime_pattern(column)
        dates = parse_dates(cells, pattern or ISO_DATE)
        if dates.null_count() == cells.null_count() or pattern:
            return dates
        rest = _read_datetime(cells, column, mark)
        return dates.zip_with(dates.is_not_null(), _midnights(rest))
    if isinstance(cells.dtype, pl.Datetime):
        return _midnights(_read_datetime(cells, column, mark))
    return _unreadable(cells, pl.Date())


def _read_datetime(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if isinstance(cells.dtype, pl.Datetime):
        zoned = cells if cells.dtype.time_zone is None else cells.dt.convert_time_zone("UTC")
        return zoned.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if cells.dtype == pl.Date:
        return cells.cast(pl.Datetime("us"))
    if cells.dtype != pl.String:
        return _unreadable(cells, pl.Datetime("us"))
    pattern = strptime_pattern(column)
    if pattern:
        return parse_datetimes(cells, pattern)
    return parse_iso_datetimes(cells)


def _read_string(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    if cells.dtype != pl.String:
        return _as_text(cells)
    levels = column.levels
    if not levels or not column.is_discrete:
        return cells
    stripped = cells.str.strip_chars()
    # `1.0` stands for the category `1` where a float frame has been through a CSV.
    shorter = stripped.str.replace(r"^([+-]?\d+)\.0+$", "$1")
    for other in (stripped, shorter):
        swap = ~cells.is_in(levels) & other.is_in(levels)
        cells = other.zip_with(swap.fill_null(False), cells)
    return cells


_READERS = {
    "string": _read_string,
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "date": _read_date,
    "datetime": _read_datetime,
}


def strptime_pattern(column: Column) -> str | None:
    """The column's own pattern, or None where its dates are ISO 8601."""
    return None if column.format in (None, "", "default") else column.format


def parse_dates(texts: pl.Series, pattern: str) -> pl.Series:
    """Text to dates by a strptime pattern, null where it does not fit."""
    try:
        dates = texts.str.to_date(pattern, strict=False)
    except pl.exceptions.PolarsError:
        raise _bad_pattern(pattern) from None
    return _four_digit_years(dates)


def parse_datetimes(texts: pl.Series, pattern: str) -> pl.Series:
    """Text to naive datetimes in microseconds; a pattern with an offset gives UTC."""
    zone = "UTC" if "%z" in pattern or "%#z" in pattern or "%:z" in pattern else None
    try:
        moments = texts.str.to_datetime(pattern, strict=False, time_unit="us", time_zone=zone)
    except pl.exceptions.PolarsError:
        raise _bad_pattern(pattern) from None
    return _four_digit_years(moments.dt.replace_time_zone(None))


def _four_digit_years(moments: pl.Series) -> pl.Series:
    # %Y also takes `20` for the year 20: a silent wrong century.
    return null_where(moments, moments.dt.year() < 1000)


def parse_iso_datetimes(texts: pl.Series) -> pl.Series:
    """ISO 8601 datetimes in any of their usual spellings, null where none fits."""
    found = pl.Series(texts.name, [None] * len(texts), dtype=pl.Datetime("us"))
    rest = texts
    for pattern in (*ISO_DATETIMES, *ISO_OFFSETS):
        if rest.null_count() == len(rest):
            break
        if pattern in ISO_OFFSETS:
            rest = rest.str.replace(" ", "T", literal=True)
        found = found.zip_with(found.is_not_null(), parse_datetimes(rest, pattern))
        rest = null_where(rest, found.is_not_null())
    return found


def _bad_pattern(pattern: str) -> SchemaError:
    return SchemaError(
        f"the format {pattern!r} is not a strptime pattern",
        hint="write dates as %Y-%m-%d and times as %H:%M:%S, see docs/reference/schema",
    )


def _pointed(cells: pl.Series, column: Column, mark: Mark | None) -> pl.Series:
    mark = decimal_mark(cells) if mark is None else mark
    if mark == "?" and column.pegai.decimals == 3:
        mark = ","  # the schema says that three digits after the comma are decimals
    if mark != ",":
        return cells
    return cells.str.replace(",", ".", literal=True)


def _whole(numbers: pl.Series) -> pl.Series:
    fits = numbers.is_finite() & (numbers == numbers.round(0)) & (numbers.abs() <= _EXACT)
    return null_where(numbers, ~fits).cast(pl.Int64)


def _either(true: pl.Series, false: pl.Series) -> pl.Series:
    return null_where(true, ~(true | false))


def _midnights(moments: pl.Series) -> pl.Series:
    dates = moments.cast(pl.Date)
    return null_where(dates, dates.cast(pl.Datetime("us")) != moments)


def _as_text(cells: pl.Series) -> pl.Series:
    if cells.dtype.is_nested() or isinstance(cells.dtype, (pl.Object, pl.Binary, pl.Duration)):
        return _unreadable(cells, pl.String())
    if cells.dtype.is_float():
        # 1.0 for the code 1: pandas makes floats of integers with gaps. Each cell by itself: one
        # patient's 0.5 must not change how the others are read.
        whole = _whole(cells)
        return whole.cast(pl.String).zip_with(whole.is_not_null(), cells.cast(pl.String))
    return cells.cast(pl.String)


def _unreadable(cells: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(cells.name, [None] * len(cells), dtype=dtype)


def _codes(markers: Sequence[str]) -> list[float]:
    codes = pl.Series(list(markers), dtype=pl.String).cast(pl.Float64, strict=False)
    return codes.drop_nulls().drop_nans().to_list()
