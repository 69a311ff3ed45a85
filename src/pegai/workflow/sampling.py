"""Sampling to disk: any number of rows, chunk by chunk, on as many processes as are asked for.

Rows are drawn in chunks of `CHUNK_ROWS`, each with a random stream of its own that follows from the
seed and the number of the chunk. So the file is the same to the byte however many processes drew
it, and up to one chunk it holds what `Fitted.sample` gives for that seed. A worker is told of the
model's folder and of the chunk's number, reads the one and writes the other into a hidden folder
beside the file; at the end the chunks are joined, and the file takes its name. Memory stays near a
chunk or two a process; the disk needs room for the rows twice.

Where `joblib.parallel_config` names a backend (`threading`, `dask`, `ray`), chunks are drawn there.
Its machines must see the model's folder and the file's under the same names.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import polars as pl
from threadpoolctl import threadpool_limits

from pegai.data.atomic import MODEL_MARKER, atomic_path
from pegai.data.files import check_output, write_table
from pegai.data.stream import is_parquet
from pegai.data.table import Table
from pegai.errors import DataError, ModelError, UsageError
from pegai.privacy.file_lock import try_lock, unlock
from pegai.streams import Streams
from pegai.synth.base import MAX_ROWS, Fitted
from pegai.synth.catalog import load
from pegai.synth.conditions import Given, check_given
from pegai.synth.running import Progress, silent
from pegai.workflow.parallel import Tell, on_backend

CHUNK_ROWS = 65_536
"""Rows drawn at a time, each time by a stream of their own: another number gives other rows."""

GZIP_LEVEL = 6
"""Of 9, which would take three times as long for a file hardly smaller."""

CLEANING_TRIES = 50
"""A tenth of a second apart."""

LOCK, STOP = ".lock", ".stop"
_SHARE = 0.95
"""Of the progress, for drawing; the rest is for joining."""


@dataclass(frozen=True)
class Sampled:
    """What was written.

    Attributes:
        file: Where.
        rows: How many.
        columns: Their names, in order.
    """

    file: Path
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Order:
    """What each worker is told: nothing but text and numbers.

    Attributes:
        model: The model's folder.
        digest: SHA-256 of its description, so that all chunks are of one model.
        rows: In all.
        given: Values that every row has.
        seed: Of all chunks.
        folder: Where chunks go.
        suffix: Of their files, which names the format.
    """

    model: str
    digest: str
    rows: int
    given: Mapping[str, str | int | float | None]
    seed: int
    folder: str
    suffix: str

    @property
    def chunks(self) -> int:
        return -(-self.rows // CHUNK_ROWS)

    @property
    def is_stopped(self) -> bool:
        return (Path(self.folder) / STOP).exists()

    def stop(self) -> None:
        (Path(self.folder) / STOP).touch()

    def part(self, number: int) -> Path:
        return Path(self.folder) / f"{number:08d}{self.suffix}"

    def draw(self, number: int) -> Table:
        rows = min(CHUNK_ROWS, self.rows - number * CHUNK_ROWS)
        rng = Streams(self.seed).get("sample", number)
        # Sums in another order could move a draw: one thread, whoever draws.
        with threadpool_limits(1):
            return _model(self.model, self.digest).sample(rows, given=self.given, rng=rng)


def sample_to_file(
    model: str | Path,
    rows: int,
    out: str | Path,
    *,
    given: Given | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
) -> Sampled:
    """Draw rows from a model folder into a file; the file is complete or absent.

    Args:
        model: A model folder.
        rows: How many; chosen by the caller, never the private row count.
        out: CSV, TSV, each also with `.gz`, or Parquet; replaced where it is there.
        given: Values that every row must have, as `{"sex": "1", "age": 63}`.
        seed: The same seed gives the same bytes, whatever `jobs` is. None draws a secret one.
        jobs: Processes; 1 where it is None, or what `joblib.parallel_config` says; below 1 is one a
            core.
        progress: Told of the stage and the share of it that is done.

    Raises:
        UsageError: `rows` is not positive, or `given` does not fit the model's schema.
        ModelError: There is no such model, or it changed while it was sampled.
        DataError: The file can't be written, or the disk is full.
    """
    model, out = Path(model), Path(out)
    if not 1 <= rows <= MAX_ROWS:
        raise UsageError(f"rows must lie between 1 and {MAX_ROWS:,}, not {rows}")
    if out.resolve() == model.resolve():
        raise UsageError(f"{out}: would be written over, it is read", hint="name a new file")
    check_output(out)
    digest = _digest(model)
    schema = _model(str(model.resolve()), digest).schema
    check_given(given or {}, schema)
    progress("sampling", 0.0)
    with _parts_folder(out) as folder, threadpool_limits(1):
        order = _Order(
            model=str(model.resolve()),
            digest=digest,
            rows=int(rows),
            given=dict(given or {}),
            seed=Streams.fresh().seed if seed is None else int(seed),
            folder=str(folder),
            suffix=".parquet" if is_parquet(out) else _csv_suffix(out),
        )
        if order.chunks == 1:
            table = order.draw(0)
            progress("writing", _SHARE)
            _write(table, out)
        else:
            _draw(order, jobs, progress)
            progress("writing", _SHARE)
            _join(order, out)
    _model.cache_clear()
    progress("writing", 1.0)
    return Sampled(out, int(rows), tuple(schema.names))


def _draw(order: _Order, jobs: int | None, progress: Progress) -> None:
    """Every chunk into its file."""
    drawn = 0
    calls = [(order, number) for number in range(order.chunks)]
    # Closed by hand: an error here must end the workers before their folder goes.
    with closing(on_backend(write_chunk, calls, jobs=jobs, stop=order.stop)) as inside:
        for _, rows in inside:
            drawn += rows
            progress("sampling", _SHARE * drawn / order.rows)


def write_chunk(order: _Order, number: int, tell: Tell) -> int:
    """Draw one chunk into its file; runs in a worker. Returns its rows."""
    if order.is_stopped:
        return 0
    table, path = order.draw(number), order.part(number)
    if order.suffix == ".parquet":
        _write(table, path)
        return len(table)
    packed = order.suffix.endswith(".gz")
    plain = path.with_suffix("") if packed else path
    # A header for the first alone. Its bytes are known by writing a table without rows.
    _write(table.head(0), plain)
    header = 0 if number == 0 else plain.stat().st_size
    _write(table, plain)
    if packed:
        # Members one after the other are one gzip file. No time in them: the same bytes each time.
        path.write_bytes(gzip.compress(plain.read_bytes()[header:], GZIP_LEVEL, mtime=0))
        plain.unlink()
    elif header:
        plain.write_bytes(plain.read_bytes()[header:])
    return len(table)


def _join(order: _Order, out: Path) -> None:
    """The chunks, one below the other, under the file's name."""
    parts = [order.part(number) for number in range(order.chunks)]
    with atomic_path(out) as temporary:
        if order.suffix == ".parquet":
            _join_parquet(parts, temporary, out)
            return
        with temporary.open("wb") as file:
            for part in parts:
                with part.open("rb") as chunk:
                    shutil.copyfileobj(chunk, file, 2**20)
                part.unlink()


def _join_parquet(parts: list[Path], temporary: Path, out: Path) -> None:
    with _writing(out):
        lazy = pl.scan_parquet(parts, glob=False, hive_partitioning=False)
        lazy.sink_parquet(temporary, row_group_size=CHUNK_ROWS, maintain_order=True)


def _write(table: Table, path: Path) -> None:
    with _writing(path):
        write_table(table, path)


@contextmanager
def _writing(path: Path) -> Generator[None]:
    """What Polars raises where it can't write, as an error for users."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        full = "No space left" in str(error)
        raise DataError(
            f"{path.parent}: {'the disk is full' if full else type(error).__name__}",
            hint="make room: while rows are drawn, the disk holds them twice" if full else "",
        ) from None


def _csv_suffix(out: Path) -> str:
    name = out.name.lower()
    packed = ".gz" if name.endswith(".gz") else ""
    tab = name.removesuffix(".gz").endswith((".tsv", ".tab"))
    return (".tsv" if tab else ".csv") + packed


# ---------------------------------------------------------------- the model


def _digest(model: Path) -> str:
    """SHA-256 of a model's description, which itself holds that of the weights."""
    try:
        return hashlib.sha256((model / MODEL_MARKER).read_bytes()).hexdigest()
    except OSError:
        load(model)  # says what is wrong
        raise


@lru_cache(maxsize=1)
def _model(folder: str, digest: str) -> Fitted:
    """The model, read once a process.

    Raises:
        ModelError: It is another one than when sampling began.
    """
    model = load(folder)
    if _digest(Path(folder)) != digest:
        raise ModelError(
            f"{folder}: the model changed while it was sampled", hint="sample it again"
        )
    return model


# ---------------------------------------------------------------- the folder of chunks


@contextmanager
def _parts_folder(out: Path) -> Generator[Path]:
    """A hidden folder beside the file; removed at the end, and what killed runs left of theirs."""
    final = Path(os.path.realpath(out))
    prefix = f".{final.name[:100]}."
    for old in final.parent.glob(f"{glob.escape(prefix)}*.chunks.part"):
        _remove_left(old)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=".chunks.part", dir=final.parent))
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise DataError(f"{out}: can't be written ({error.strerror})") from None
    try:
        with lock:
            try_lock(lock.fileno())
            yield folder
    finally:
        # A thread that can't be ended may still be writing its last chunk.
        for _ in range(CLEANING_TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def _remove_left(folder: Path) -> None:
    """Remove a folder in which nobody works any more."""
    try:
        lock: IO[bytes] = (folder / LOCK).open("r+b")
    except OSError:
        return
    with lock:
        if try_lock(lock.fileno()):
            unlock(lock.fileno())
            shutil.rmtree(folder, ignore_errors=True)
