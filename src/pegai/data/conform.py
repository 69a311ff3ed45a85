"""From raw cells to a table: select, order and type the columns as the schema says.

How a cell is read is decided in `pegai.schema.parse`; values outside the schema's bounds or
categories stay as they are (encoders bound them, `pegai.schema.check` counts them). What can't be
read is refused, with the column and the count: a cell is never guessed and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pegai.data.files import read_frame, scan_frame
from pegai.data.frames import to_polars
from pegai.data.table import Table
from pegai.errors import DataError
from pegai.schema import Column, Schema
from pegai.schema.parse import Mark, decimal_mark, merge_marks, read_column

Extra = Literal["refuse", "drop"]


def conform(
    frame: pl.DataFrame,
    schema: Schema,
    *,
    name: str = "table",
    extra: Extra = "refuse",
    cell_by_cell: bool = False,
) -> Table:
    """Make a table of a frame.

    Args:
        frame: Text as read from a CSV, or typed columns; shape (rows, columns). Rows >= 1, but with
            `cell_by_cell`: there, whether anyone is in the table is private.
        schema: The columns wanted.
        name: What errors call the frame, such as its file.
        extra: What to do about columns that the schema does not have.
        cell_by_cell: Before a private fit: decimals are written with a point, and a cell that can't
            be read is missing. Otherwise the whole column decides on the decimal mark, and cells
            that can't be read are refused with their count: both are looks at every patient, so
            that one more could change how the others are read.

    Raises:
        DataError: The frame has no rows, columns are missing or extra, or cells can't be read.
    """
    if frame.height == 0 and not cell_by_cell:
        raise DataError(f"{name}: has no rows", hint="check that it is the right file")
    _check_columns(frame, schema, name, extra)
    marks: dict[str, Mark] = dict.fromkeys(schema.names, ".") if cell_by_cell else {}
    return _typed(frame, schema, name, marks, lenient=cell_by_cell)


def table_from(
    native: Any, schema: Schema, *, extra: Extra = "refuse", cell_by_cell: bool = False
) -> Table:
    """A table from a pandas, Polars or Arrow frame; `Table.to_native` is the way back.

    Args:
        native: The frame; shape (rows, columns), rows >= 1.
        schema: The columns wanted.
        extra: What to do about columns that the schema does not have.
        cell_by_cell: As in `conform`; set it before a private fit.

    Raises:
        DataError: It is no frame, or does not fit the schema.
    """
    frame = to_polars(native, schema=schema if cell_by_cell else None)
    return conform(frame, schema, extra=extra, cell_by_cell=cell_by_cell)


def load_table(
    path: str | Path,
    schema: Schema,
    *,
    extra: Extra = "refuse",
    encoding: str | None = None,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
    cell_by_cell: bool = False,
) -> Table:
    """Read a file as a table: `read_frame`, then `conform`.

    With `cell_by_cell`, encoding and delimiter are not guessed from the content either: they are
    UTF-8 and a comma (a tab for `.tsv`) unless they are given.

    Raises:
        DataError: The file can't be read or does not fit the schema.
    """
    if cell_by_cell:
        encoding, delimiter = encoding or "utf-8", delimiter or usual_delimiter(path)
    frame = read_frame(path, encoding=encoding, delimiter=delimiter, header=header)
    return conform(frame, schema, name=str(path), extra=extra, cell_by_cell=cell_by_cell)


def usual_delimiter(path: str | Path) -> str:
    """A tab for `.tsv` and `.tsv.gz`, else a comma."""
    return "\t" if ".tsv" in Path(path).suffixes else ","


def scan_table(
    path: str | Path,
    schema: Schema,
    *,
    batch_rows: int = 100_000,
    extra: Extra = "refuse",
    encoding: str | None = None,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
) -> Iterator[Table]:
    """Read a file of any size as tables of up to `batch_rows` rows, in order.

    Whether a column writes decimal commas is a question about the whole column: a file in which a
    batch alone can't tell (`1,234`) is read through once more to find out.

    Raises:
        DataError: The file can't be read or does not fit the schema, or has no rows.
    """

    def frames() -> Iterator[pl.DataFrame]:
        return scan_frame(
            path, batch_rows=batch_rows, encoding=encoding, delimiter=delimiter, header=header
        )

    marks: dict[str, Mark] = {}
    empty = True
    for frame in frames():
        if empty:
            _check_columns(frame, schema, str(path), extra)
        empty = False
        _follow_marks(frame, schema, str(path), marks)
        unsure = [name for name, mark in marks.items() if mark == "?"]
        if unsure:
            marks.update(_whole_marks(frames(), unsure))
        yield _typed(frame, schema, str(path), marks)
    if empty:
        raise DataError(f"{path}: has no rows", hint="check that it is the right file")


def _follow_marks(frame: pl.DataFrame, schema: Schema, name: str, marks: dict[str, Mark]) -> None:
    """Add what a batch says about decimal marks, and refuse a change of mark between batches."""
    for column in schema.columns:
        if column.type not in ("integer", "number") or marks.get(column.name) == "!":
            continue
        seen, here = marks.get(column.name, ""), decimal_mark(frame[column.name])
        marks[column.name] = merge_marks(seen, here)
        if marks[column.name] == "!" and here != "!":
            raise DataError(
                f"{name}: column {column.name!r} has decimal points in some rows, commas in others",
                hint="write all its numbers with a point",
            )


def _whole_marks(frames: Iterator[pl.DataFrame], names: list[str]) -> dict[str, Mark]:
    marks: dict[str, Mark] = dict.fromkeys(names, "")
    for frame in frames:
        for name in names:
            marks[name] = merge_marks(marks[name], decimal_mark(frame[name]))
    return marks


def _check_columns(frame: pl.DataFrame, schema: Schema, name: str, extra: Extra) -> None:
    missing = [column for column in schema.names if column not in frame.columns]
    if missing:
        # The header is not shown: in a file without one it is a patient.
        raise DataError(
            f"{name}: {_columns(missing)} of the schema {_is_are(missing)} not among the "
            f"{frame.width} columns of the table",
            hint="check the file's header and its delimiter",
        )
    unknown = [column for column in frame.columns if column not in schema]
    if unknown and extra == "refuse":
        raise DataError(
            f"{name}: {_columns(unknown)} {_is_are(unknown)} not in the schema",
            hint="add them to the schema, or ask to drop extra columns",
        )


def _typed(
    frame: pl.DataFrame,
    schema: Schema,
    name: str,
    marks: dict[str, Mark],
    *,
    lenient: bool = False,
) -> Table:
    read: list[pl.Series] = []
    wrong: list[str] = []
    for column in schema.columns:
        mark = marks.get(column.name)
        reading = read_column(frame[column.name], column, schema.missing_values, mark=mark)
        read.append(reading.values)
        if reading.count:
            wrong.append(f"{column.name!r}: {reading.count} of {frame.height} {_wanted(column)}")
    if wrong and not lenient:
        raise DataError(
            f"{name}: cells can't be read\n    " + "\n    ".join(wrong),
            hint="correct the cells, name their text in missingValues, or change the column's type",
        )
    return Table(pl.DataFrame(read), schema)


def _wanted(column: Column) -> str:
    what = f"are not of type {column.type}"
    dated = column.type in ("date", "datetime")
    return f"{what} in the format {column.format or 'ISO 8601'}" if dated else what


def _columns(names: list[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {_listed(names)}"


def _is_are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
