"""A table larger than memory: Parquet files, read block by block as often as they are asked for.

A `TableStream` offers what a generator asks of a `Table`: its schema, its length, its modelled
columns, who is whose row, and its rows chunk by chunk. Only a block of rows, or a column where one
is asked for by name, is held at a time; of what is read, each cell is typed as `conform` types it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from pegai.data.conform import _check_columns, _typed  # pyright: ignore[reportPrivateUsage]
from pegai.data.files import _parquet_errors, _plain  # pyright: ignore[reportPrivateUsage]
from pegai.data.table import Table
from pegai.errors import DataError
from pegai.schema import Column, Schema
from pegai.schema.parse import Mark, decimal_mark, merge_marks

BLOCK_ROWS = 65_536
"""Rows that are read at a time, about. A row group may hold more: its pages are read in part."""

SUFFIXES = (".parquet", ".pq")

Change = Callable[[Table], Table]
"""Makes of some rows the same rows in another form."""


@dataclass(frozen=True, eq=False)
class Source:
    """Parquet files that are one table, one below the other.

    Attributes:
        name: What errors call them.
        files: In order.
        schema: Of the columns that are read; files may have more.
        rows: How many there are in all.
        marks: How columns that hold numbers as text write decimals.
        cell_by_cell: As of `conform`: a cell that can't be read is missing.
    """

    name: str
    files: tuple[Path, ...]
    schema: Schema
    rows: int
    marks: dict[str, Mark]
    cell_by_cell: bool

    @classmethod
    def of(cls, path: str | Path, schema: Schema, *, cell_by_cell: bool) -> Source:
        """A Parquet file or a folder of them.

        Raises:
            DataError: As `open_stream`.
        """
        name, files = str(path), parquet_files(path)
        heads = [_head(file) for file in files]
        if any(head.schema != heads[0].schema for head in heads):
            raise DataError(
                f"{name}: the {len(files)} files differ in their columns or types",
                hint="give files of one table, written alike",
            )
        _check_columns(heads[0], schema, name, "drop")
        with _parquet_errors(Path(name)):
            rows = int(_scan(files).select(pl.len()).collect().item())
        source = cls(name, files, schema, rows, {}, cell_by_cell)
        if cell_by_cell:
            return replace(source, marks=dict.fromkeys(schema.names, "."))
        if rows == 0:
            raise DataError(f"{name}: has no rows", hint="check that it is the right file")
        numbers = (c.name for c in schema.columns if c.type in ("integer", "number"))
        kinds = (pl.String, pl.Categorical, pl.Enum)
        texts = [c for c in numbers if isinstance(heads[0].schema[c], kinds)]
        return replace(source, marks=source._marks(texts))

    def _marks(self, names: Sequence[str]) -> dict[str, Mark]:
        """Whether a column writes decimal commas is a question about the whole column."""
        marks: dict[str, Mark] = dict.fromkeys(names, "")
        for frame in self._frames(names, BLOCK_ROWS) if names else ():
            for name in names:
                here = decimal_mark(frame[name].cast(pl.String))
                marks[name] = merge_marks(marks[name], here)
        return marks

    def _frames(self, names: Sequence[str], block_rows: int) -> Iterator[pl.DataFrame]:
        """The cells as they stand; one empty frame where there are no rows."""
        with _parquet_errors(Path(self.name)):
            lazy = _scan(self.files).select(names)
            for start in range(0, max(self.rows, 1), block_rows):
                yield _plain(Path(self.name), lazy.slice(start, block_rows).collect())

    def tables(self, names: Sequence[str], block_rows: int) -> Iterator[Table]:
        """Some columns, typed, block by block.

        Raises:
            DataError: The file is damaged, or, but for `cell_by_cell`, a cell can't be read.
        """
        schema = self.schema.replace_columns(tuple(self.schema[name] for name in names))
        for frame in self._frames(names, block_rows):
            yield _typed(frame, schema, self.name, self.marks, lenient=self.cell_by_cell)


@dataclass(frozen=True, eq=False)
class TableStream:
    """Rows of a source, some of its columns, perhaps in another form; see the module.

    Attributes:
        source: Where they are read.
        names: The columns of the source that are read.
        known_only: Whether rows without a patient id are left out.
        change: What is made of the rows that were read; None leaves them.
        schema: Of the rows that come.

    Example:
        >>> import tempfile
        >>> from pegai.data import write_table
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease("cleveland")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_table(table, Path(folder, "heart.parquet"))
        ...     stream = open_stream(Path(folder, "heart.parquet"), table.schema)
        ...     [len(chunk) for chunk in stream.chunks(200)]
        [200, 103]
    """

    source: Source
    names: tuple[str, ...]
    known_only: bool
    change: Change | None
    schema: Schema

    @cached_property
    def _rows(self) -> int:
        return sum(len(t) for t in self._of_unit()) if self.known_only else self.source.rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> pl.Series:
        """A column, which is read whole."""
        return self.select([name]).frame[name]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The schema's columns, in order."""
        return self.schema.columns

    @property
    def frame(self) -> pl.DataFrame:
        """All rows at once, in memory: what a stream is there to avoid."""
        return pl.concat([table.frame for table in self._blocks(BLOCK_ROWS)], rechunk=True)

    def chunks(self, rows: int) -> Iterator[Table]:
        """The rows in order, in tables of at most so many; an empty stream gives an empty one.

        Each but the last has that many, unless rows without a patient id are left out.
        """
        for block in self._blocks(rows * max(1, BLOCK_ROWS // rows)):
            for start in range(0, max(len(block), 1), rows):
                yield Table(block.frame.slice(start, rows), block.schema)

    def select(self, names: Sequence[str]) -> TableStream:
        """The stream over some of its columns, in the order given; others are not even read."""
        schema = self.schema.replace_columns(tuple(self.schema[name] for name in names))
        if self.change is None:
            return replace(self, names=tuple(names), schema=schema)
        kept, before = list(names), self.change
        return replace(self, change=lambda table: before(table).select(kept), schema=schema)

    def take(self, rows: np.ndarray) -> Table:
        """The rows at integer positions, or where a boolean mask is true, in memory."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        order = np.argsort(index, kind="stable")
        parts: list[pl.DataFrame] = []
        start = 0
        for block in self._blocks(BLOCK_ROWS):
            ends = np.searchsorted(index, [start, start + len(block)], sorter=order)
            parts.append(block.frame[index[order[slice(*ends)]] - start])
            start += len(block)
        return Table(pl.concat(parts)[np.argsort(order, kind="stable")], self.schema)

    def modelled(self) -> TableStream:
        """The columns a generator learns: no identifiers, no patient id."""
        return self.select([column.name for column in self.schema.modelled])

    def known_patients(self) -> TableStream:
        """Without the rows whose patient id is missing; the same where the schema names none."""
        return self if self.source.schema.unit is None else replace(self, known_only=True)

    def changed(self, change: Change, schema: Schema) -> TableStream:
        """The stream with each row in another form.

        Args:
            change: Of some rows; what it makes of a row may depend on that row alone.
            schema: Of what it makes.
        """
        before = self.change
        whole = change if before is None else lambda table: change(before(table))
        return replace(self, change=whole, schema=schema)

    def unit_codes(self) -> np.ndarray:
        """As `Table.unit_codes`, from the column of patient ids alone; shape (rows,)."""
        if self.schema.unit is None:
            return np.arange(len(self))
        parts = list(self._of_unit())
        return Table(pl.concat([part.frame for part in parts]), parts[0].schema).unit_codes()

    def numbers(self, name: str) -> np.ndarray:
        """As `Table.numbers`; the column is read whole."""
        return self._column(name).numbers(name)

    def texts(self, name: str) -> pl.Series:
        """As `Table.texts`; the column is read whole."""
        return self._column(name).texts(name)

    def missing_patterns(self, names: Sequence[str]) -> Table:
        """One row of each pattern of missing cells among some columns, over those columns."""
        found: pl.DataFrame | None = None
        part = self.select(names)
        absent = [pl.col(name).is_null().alias(f"\0{name}") for name in names]
        for table in part.chunks(BLOCK_ROWS):
            frame = table.frame if found is None else pl.concat([found, table.frame])
            found = frame.group_by(absent, maintain_order=True).first().select(names)
        return Table(pl.DataFrame() if found is None else found, part.schema)

    def _column(self, name: str) -> Table:
        part = self.select([name])
        return Table(part.frame, part.schema)

    def _of_unit(self) -> Iterator[Table]:
        """The column of patient ids of the rows that come, block by block."""
        unit = str(self.source.schema.unit)
        return self._read([unit], BLOCK_ROWS)

    def _blocks(self, block_rows: int) -> Iterator[Table]:
        for table in self._read(self.names, block_rows):
            yield table if self.change is None else self.change(table)

    def _read(self, names: Sequence[str], block_rows: int) -> Iterator[Table]:
        unit = self.source.schema.unit
        if not self.known_only or unit is None:
            yield from self.source.tables(names, block_rows)
            return
        read = [*names, *(() if unit in names else (unit,))]
        for table in self.source.tables(read, block_rows):
            known = Table(table.frame.filter(pl.col(unit).is_not_null()), table.schema)
            yield known if len(read) == len(names) else known.select(list(names))


def open_stream(path: str | Path, schema: Schema, *, cell_by_cell: bool = False) -> TableStream:
    """A Parquet file, or a folder of them, as a stream; other columns than the schema's are left.

    Args:
        path: A `.parquet` file, or a folder whose `.parquet` files are one table, in the order of
            their names.
        schema: The columns wanted.
        cell_by_cell: As of `conform`; set it before a private fit.

    Raises:
        DataError: There is no such file, it is not Parquet or damaged, lacks a column, or, without
            `cell_by_cell`, has no rows.
    """
    source = Source.of(path, schema, cell_by_cell=cell_by_cell)
    return TableStream(source, tuple(schema.names), False, None, schema)


def parquet_files(path: str | Path) -> tuple[Path, ...]:
    """The Parquet files that a path stands for: itself, or those in a folder by their names.

    Raises:
        DataError: There is none.
    """
    path = Path(path)
    if path.is_dir():
        files = tuple(sorted(f for f in path.iterdir() if is_parquet(f) and f.is_file()))
        if not files:
            raise DataError(f"{path}: holds no .parquet file", hint="name another folder")
        return files
    if not path.exists():
        raise DataError(f"{path}: no such file", hint="check the path")
    if not is_parquet(path):
        raise DataError(
            f"{path}: only Parquet is read as a stream",
            hint="write it as Parquet first; docs/howto/large-tables says how",
        )
    return (path,)


def is_parquet(path: Path) -> bool:
    """Whether a name is that of a Parquet file; a hidden one is none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def cells(path: str | Path, schema: Schema) -> int:
    """Rows times columns of the schema, by what Parquet files say of themselves.

    Raises:
        DataError: There is no such file, or it is damaged.
    """
    files = parquet_files(path)
    with _parquet_errors(Path(path)):
        return int(_scan(files).select(pl.len()).collect().item()) * len(schema.columns)


def _scan(files: Sequence[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(list(files), glob=False, hive_partitioning=False)


def _head(file: Path) -> pl.DataFrame:
    with _parquet_errors(file):
        return pl.DataFrame(schema=pl.read_parquet_schema(file))
