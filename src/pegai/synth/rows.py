"""Rows as codes: what every generator that works on codes learns from, in as few bytes as it takes.

Encoding goes chunk by chunk, so that a table is never held twice, and one that is read as a stream
never as a whole: a code takes one byte where the columns have at most 256 codes, else two or four.
Codes of more than `IN_MEMORY_BYTES` go to a temporary file that has no name, and so is gone when
the process is, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar, cast

import numpy as np
import polars as pl

from pegai.data.stream import TableStream
from pegai.data.table import Table
from pegai.encode.table import TableEncoder, summarize
from pegai.errors import DataError

AnyTable = TypeVar("AnyTable", bound="Table | TableStream")

CHUNK_ROWS = 65_536
"""Rows that are encoded at a time."""

DECODED_ROWS = 262_144
"""Rows that are decoded at a time."""

IN_MEMORY_BYTES = 2**28
"""Of codes; more go to a temporary file."""


def chunks(table: Table | TableStream, rows: int = CHUNK_ROWS) -> Iterator[Table]:
    """A table in slices of at most so many rows, in order; an empty one gives itself."""
    if isinstance(table, TableStream):
        yield from table.chunks(rows)
        return
    for start in range(0, max(len(table), 1), rows):
        yield Table(table.frame.slice(start, rows), table.schema)


def fit_encoder(
    table: Table | TableStream, *, max_bins: int, min_count: float, max_levels: int | None = None
) -> TableEncoder:
    """The encoder of a table's modelled columns, without privacy; else as `TableEncoder.fit`."""
    return TableEncoder.fit(
        summarize(chunks(modelled(table))),
        max_bins=max_bins,
        min_count=min_count,
        max_levels=max_levels,
    )


def encode_rows(table: Table | TableStream, encoder: TableEncoder) -> np.ndarray:
    """Codes of the modelled columns, in the smallest type that fits; shape (rows, columns)."""
    kind = _kind(max(encoder.sizes, default=1))
    shape = (len(table), len(encoder.sizes))
    codes = _room(shape, kind, apart=shape[0] * shape[1] * kind.itemsize > IN_MEMORY_BYTES)
    start = 0
    for chunk in chunks(modelled(table)):
        codes[start : start + len(chunk)] = encoder.encode(chunk)
        start += len(chunk)
    return codes


def encode_columns(table: Table | TableStream, encoder: TableEncoder) -> list[np.ndarray]:
    """The same column by column, each of shape (rows,) and in the smallest type that it needs."""
    rows, kinds = len(table), [_kind(size) for size in encoder.sizes]
    apart = rows * sum(kind.itemsize for kind in kinds) > IN_MEMORY_BYTES
    codes = [_room((rows,), kind, apart=apart) for kind in kinds]
    start = 0
    for chunk in chunks(modelled(table)):
        for index, column in enumerate(codes):
            column[start : start + len(chunk)] = encoder.encode_column(chunk, index)
        start += len(chunk)
    return codes


def modelled(table: AnyTable) -> AnyTable:
    """The columns that a generator learns; the same object where there are no others."""
    if len(table.schema.modelled) == len(table.schema.columns):
        return table
    return cast("AnyTable", table.modelled())


def decoded(
    encoder: TableEncoder, n: int, draw: Callable[[int], np.ndarray], rng: np.random.Generator
) -> Table:
    """N rows, drawn and decoded so many at a time that codes and drafts stay small.

    Args:
        encoder: Of the codes.
        n: Rows.
        draw: Gives the codes of as many rows as asked for, shape (rows, columns).
        rng: Draws places inside of bins.
    """
    parts: list[pl.DataFrame] = []
    for start in range(0, n, DECODED_ROWS):
        codes = draw(min(DECODED_ROWS, n - start))
        parts.append(encoder.decode(codes, rng).frame)
    return Table(pl.concat(parts), encoder.schema)


def _kind(size: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned type of so many codes."""
    return np.dtype(np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.uint32)


def _room(shape: tuple[int, ...], kind: np.dtype, *, apart: bool) -> np.ndarray:  # type: ignore[type-arg]
    """An array to be filled; `apart` from memory, in a file without a name.

    Raises:
        DataError: The disk of temporary files has too little room.
    """
    if not apart:
        return np.empty(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="pegai-") as file:
            _reserve(file, int(np.prod(shape)) * kind.itemsize)
            return np.memmap(file, kind, "r+", shape=shape).view(np.ndarray)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise DataError(
            f"the codes of the table can't be written to {tempfile.gettempdir()} ({said})",
            hint="make room there, or name another folder by TMPDIR",
        ) from None


def _reserve(file: BinaryIO, size: int) -> None:
    """Make a file as large, with all of its room on the disk.

    Writing to a mapped file for which there is no room would kill the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(2**20)
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()
