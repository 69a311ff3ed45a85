"""Tables in files: CSV (also TSV and gzipped) and Parquet, whole or as a stream.

CSV cells are read as text, so that nothing is lost before the schema says what they are: decimals
keep their digits and codes their leading zeros. An empty cell, quoted or not, is missing.
What is written is UTF-8 with LF line ends and RFC 4180 quotes, and whole or absent.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

import polars as pl

from pegai.data.atomic import atomic_path, check_file
from pegai.data.csv_dialect import Dialect, sniff_csv
from pegai.data.csv_records import Block, read_blocks
from pegai.data.table import Table
from pegai.errors import DataError, UsageError
from pegai.schema.parse import strptime_pattern

_CSV_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_ISO_DATETIME = "%Y-%m-%dT%H:%M:%S%.f"


def read_frame(
    path: str | Path,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Read a table as it stands: CSV cells as text, Parquet columns with their types.

    Args:
        path: `.csv`, `.tsv`, `.txt`, `.data`, each also with `.gz`, or `.parquet`.
        encoding: Of a CSV; None decides by the rule of `pegai.data.csv_encoding`.
        delimiter: Of a CSV; None decides by the rule of `pegai.data.csv_dialect`.
        header: Names of the columns of a CSV that has no header line.

    Returns:
        Shape (rows, columns); no rows if the file has only a header.

    Raises:
        DataError: The file is missing, empty, damaged, or not a table; with the line number.
    """
    path = _existing(path)
    if _format(path) == "parquet":
        with _parquet_errors(path):
            return _plain(path, pl.read_parquet(path, glob=False))
    dialect = sniff_csv(path, encoding=encoding, delimiter=delimiter, header=header)
    frames = [_parse(path, block, dialect) for block in read_blocks(path, dialect)]
    return pl.concat([_no_rows(dialect), *frames], rechunk=True)


def file_sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal.

    Raises:
        UsageError: It can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None


def column_names(path: str | Path) -> tuple[str, ...]:
    """The names of a file's columns; of its cells nothing is said.

    Raises:
        DataError: The file is missing, empty or damaged.
    """
    path = _existing(path)
    if _format(path) == "parquet":
        with _parquet_errors(path):
            return tuple(pl.read_parquet_schema(path))
    return sniff_csv(path).names


def scan_frame(
    path: str | Path,
    *,
    batch_rows: int = 100_000,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Read a table of any size in batches; the same cells as `read_frame` gives.

    Memory stays near one batch and a few blocks of 8 MB; for Parquet, near one row group.

    Args:
        path: As in `read_frame`.
        batch_rows: Rows in each batch but the last.
        encoding: As in `read_frame`.
        delimiter: As in `read_frame`.
        header: As in `read_frame`.

    Raises:
        DataError: As `read_frame`, at the latest when the batch at fault is reached.
        UsageError: `batch_rows` is not positive.
    """
    if batch_rows < 1:
        raise UsageError(f"batch_rows is {batch_rows}, it must be at least 1", hint="try 100000")
    path = _existing(path)
    if _format(path) == "parquet":
        return _scan_parquet(path, batch_rows)
    dialect = sniff_csv(path, encoding=encoding, delimiter=delimiter, header=header)
    frames = (_parse(path, block, dialect) for block in read_blocks(path, dialect))
    return _rebatch(frames, batch_rows)


def write_frame(
    frame: pl.DataFrame, path: str | Path, *, decimals: Mapping[str, int] | None = None
) -> None:
    """Write a frame to CSV or Parquet, chosen by the name; the file is the old or the new one.

    Args:
        frame: Nulls become empty cells; NaN counts as null.
        path: As in `read_frame`.
        decimals: Decimal places by column: a value is rounded, and in CSV padded with zeros.

    Raises:
        DataError: The file can't be written, a column is nested, or a text holds a NUL byte.
    """
    path = Path(path)
    kind = _format(path)
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    frame = frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame
    places = {name: d for name, d in (decimals or {}).items() if name in floats}
    if kind == "parquet":
        rounded = frame.with_columns(pl.col(name).round(d) for name, d in places.items())
        with atomic_path(path) as temporary:
            rounded.write_parquet(temporary)
        return
    _write_csv(frame.with_columns(_fixed(name, d) for name, d in places.items()), path)


def write_table(table: Table, path: str | Path) -> None:
    """Write a table with the decimals and date formats of its schema; missing cells are empty.

    Raises:
        DataError: The file can't be written.
    """
    frame = table.frame
    if _format(Path(path)) == "csv":
        patterns = {c.name: strptime_pattern(c) for c in table.columns}
        frame = frame.with_columns(
            pl.col(c.name).dt.strftime(pattern)
            for c in table.columns
            if c.type in ("date", "datetime") and (pattern := patterns[c.name])
        )
    places = {c.name: c.pegai.decimals for c in table.columns if c.pegai.decimals is not None}
    write_frame(frame, path, decimals=places)


def check_output(path: str | Path) -> None:
    """Refuse a path that a table could not be written to, before there is a table.

    Raises:
        DataError: The name says no format, the folder is missing or can't be written.
    """
    _format(Path(path))
    check_file(path)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder", hint="give the name of a file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file", hint="check the path")
    return path


def _format(path: Path) -> Literal["csv", "parquet"]:
    name = path.name.lower()
    if name.endswith(_PARQUET_SUFFIXES):
        return "parquet"
    if name.removesuffix(".gz").endswith(_CSV_SUFFIXES):
        return "csv"
    raise DataError(
        f"{path}: its format can't be told from the name",
        hint="use .csv, .tsv, .csv.gz or .parquet; save a spreadsheet as CSV first",
    )


def _parse(path: Path, block: Block, dialect: Dialect) -> pl.DataFrame:
    """Parse checked records. The header in front keeps Polars from eating a byte order mark."""
    names = [str(i) for i in range(len(dialect.names))]
    head = dialect.delimiter.join(names).encode() + b"\n"
    try:
        frame = pl.read_csv(
            head + block.data,
            separator=dialect.delimiter,
            quote_char='"',
            schema=dict.fromkeys(names, pl.String),
        )
    except pl.exceptions.PolarsError:
        raise DataError(f"{path}: can't be parsed as CSV", hint="export it again") from None
    if frame.height != block.rows:
        raise DataError(f"{path}: {block.rows} records, {frame.height} parsed; please report this")
    frame = frame.select(pl.all().replace("", None)) if b'""' in block.data else frame
    return frame.rename(dict(zip(names, dialect.names, strict=True)))


def _no_rows(dialect: Dialect) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(dialect.names, pl.String))


def _rebatch(frames: Iterator[pl.DataFrame], batch_rows: int) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        held.append(frame)
        rows += frame.height
        if rows < batch_rows:
            continue
        whole = pl.concat(held)
        full = rows - rows % batch_rows
        for start in range(0, full, batch_rows):
            yield whole.slice(start, batch_rows)
        held, rows = [whole.slice(full)], rows - full
    if rows:
        yield pl.concat(held)


def _scan_parquet(path: Path, batch_rows: int) -> Iterator[pl.DataFrame]:
    with _parquet_errors(path):
        lazy = pl.scan_parquet(path, glob=False)
        rows = int(lazy.select(pl.len()).collect().item())
        for start in range(0, rows, batch_rows):
            yield _plain(path, lazy.slice(start, batch_rows).collect())


@contextmanager
def _parquet_errors(path: Path) -> Generator[None]:
    """Turn what Polars raises for a damaged file into a `DataError`."""
    try:
        yield
    except BaseException as error:
        # A panic of Polars' Rust code is a BaseException.
        panic = type(error).__name__ == "PanicException"
        if not panic and not isinstance(error, (pl.exceptions.PolarsError, OSError)):
            raise
        raise DataError(
            f"{path}: can't be read as Parquet; it is truncated or damaged",
            hint="copy or export it again",
        ) from None


def _plain(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if nested:
        raise DataError(
            f"{path}: column {nested[0]!r} holds lists or structures, not single values",
            hint="give each value a column or a row of its own",
        )
    return frame


def _fixed(name: str, places: int) -> pl.Expr:
    """A float column as text with exactly so many decimal places; huge values as they are."""
    rounded = pl.col(name).round(places)
    # Some versions of Polars cut off where others round: a quarter of a unit outwards suits both.
    nudged = rounded + rounded.sign() * (0.25 / 10**places)
    exact = nudged.cast(pl.Decimal(38, places), strict=False).cast(pl.String)
    return pl.coalesce(exact, pl.col(name).cast(pl.String)).alias(name)


def _write_csv(frame: pl.DataFrame, path: Path) -> None:
    _refuse_unwritable(frame, path)
    if frame.width == 1:
        # A missing cell alone in its record would be a blank line, which readers skip.
        frame = frame.select(pl.all().cast(pl.String).fill_null(""))
    name = path.name.lower()
    tab = name.removesuffix(".gz").endswith((".tsv", ".tab"))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # No file name and time in the gzip header: the same table gives the same bytes.
        packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if name.endswith(".gz") else None
        stream = cast("BinaryIO", packed or file)
        frame.write_csv(stream, separator="\t" if tab else ",", datetime_format=_ISO_DATETIME)
        if packed is not None:
            packed.close()


def _refuse_unwritable(frame: pl.DataFrame, path: Path) -> None:
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
            raise DataError(f"{path}: column {name!r} is {dtype}, which CSV can't hold")
        if dtype != pl.String:
            continue
        nul = int(frame[name].str.contains("\0", literal=True).sum() or 0)
        if nul:
            raise DataError(f"{path}: column {name!r} holds a NUL byte in {nul} cells")
