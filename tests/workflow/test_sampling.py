"""Sampling to disk: the same bytes by any number of processes; a file is whole or absent."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import polars as pl
import pytest

from pegai.data import read_frame, write_table
from pegai.data.datasets import load_heart_disease
from pegai.errors import DataError, ModelError, UsageError
from pegai.streams import Streams
from pegai.synth.catalog import load, make
from pegai.workflow import sampling
from pegai.workflow.sampling import sample_to_file

CHUNK = 100
FORMATS = ("parquet", "csv", "csv.gz", "tsv")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "m"
    make("independent").fit(load_heart_disease("cleveland"), rng=0).save(folder)
    return folder


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only in this process: not for calls that run in others."""
    monkeypatch.setattr(sampling, "CHUNK_ROWS", CHUNK)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_up_to_a_chunk_a_file_is_what_sample_gives(kind, model, tmp_path) -> None:
    done = sample_to_file(model, 60, tmp_path / f"a.{kind}", seed=3)
    write_table(load(model).sample(60, rng=3), tmp_path / f"b.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (done.rows, done.columns) == (60, tuple(load(model).schema.names))


@pytest.mark.parametrize("rows", [CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_chunk_has_a_stream_of_its_own(kind, rows, model, tmp_path, small_chunks) -> None:
    sample_to_file(model, rows, tmp_path / f"a.{kind}", seed=3, given={"sex": "1"})
    fitted, parts = load(model), []
    for number, start in enumerate(range(0, rows, CHUNK)):
        rng = Streams(3).get("sample", number)
        parts.append(fitted.sample(min(CHUNK, rows - start), rng=rng, given={"sex": "1"}))
    write_table(
        type(parts[0])(pl.concat([part.frame for part in parts]), fitted.schema),
        tmp_path / f"b.{kind}",
    )
    found, expected = (read_frame(tmp_path / f"{name}.{kind}") for name in "ab")
    assert found.equals(expected)
    assert left(tmp_path) == [f"a.{kind}", f"b.{kind}"]


@pytest.mark.parametrize("kind", ["parquet", "csv.gz"])
def test_the_bytes_do_not_depend_on_who_draws(kind, model, tmp_path) -> None:
    rows = sampling.CHUNK_ROWS + 20
    for jobs in (1, 2):
        sample_to_file(model, rows, tmp_path / f"{jobs}.{kind}", seed=1, jobs=jobs)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        sample_to_file(model, rows, tmp_path / f"threads.{kind}", seed=1)
    first = (tmp_path / f"1.{kind}").read_bytes()
    assert first == (tmp_path / f"2.{kind}").read_bytes()
    assert first == (tmp_path / f"threads.{kind}").read_bytes()
    sample_to_file(model, rows, tmp_path / f"other.{kind}", seed=2)
    assert first != (tmp_path / f"other.{kind}").read_bytes()


def test_another_backend_is_really_used(model, tmp_path, small_chunks, monkeypatch) -> None:
    used: list[str] = []
    drawn = sampling.write_chunk

    def noted(order, number, tell):
        import threading

        used.append(threading.current_thread().name)
        return drawn(order, number, tell)

    monkeypatch.setattr(sampling, "write_chunk", noted)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        sample_to_file(model, 450, tmp_path / "a.csv", seed=1)
    assert len(used) == 5
    assert "MainThread" not in used


def test_without_a_seed_files_differ(model, tmp_path, small_chunks) -> None:
    for name in "ab":
        sample_to_file(model, 250, tmp_path / f"{name}.csv")
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "b.csv").read_bytes()


def test_a_gzip_of_many_parts_is_read_by_everybody(model, tmp_path, small_chunks) -> None:
    sample_to_file(model, 250, tmp_path / "a.csv.gz", seed=1)
    sample_to_file(model, 250, tmp_path / "a.csv", seed=1)
    plain = (tmp_path / "a.csv").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == plain
    assert pl.read_csv(tmp_path / "a.csv.gz").equals(pl.read_csv(tmp_path / "a.csv"))


def test_parquet_has_a_row_group_a_chunk(model, tmp_path, small_chunks) -> None:
    import pyarrow.parquet

    sample_to_file(model, 250, tmp_path / "a.parquet", seed=1)
    found = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").metadata
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [100, 100, 50]


def test_progress_rises_to_the_end(model, tmp_path, small_chunks) -> None:
    told: list[tuple[str, float]] = []
    sample_to_file(model, 300, tmp_path / "a.csv", progress=lambda *what: told.append(what))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {stage for stage, _ in told} == {"sampling", "writing"}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_failure_leaves_the_old_file_and_nothing_half(
    kind, model, tmp_path, small_chunks, monkeypatch
) -> None:
    out = tmp_path / f"a.{kind}"
    out.write_text("old")
    drawn = sampling.write_chunk

    def full(order, number, tell):
        if number == 2:
            raise OSError(28, "No space left on device", "x")
        return drawn(order, number, tell)

    monkeypatch.setattr(sampling, "write_chunk", full)
    with (
        pytest.raises(DataError, match="No space left"),
        joblib.parallel_config(backend="threading", n_jobs=2),
    ):
        sample_to_file(model, 450, out, seed=1)
    assert out.read_text() == "old"
    assert left(tmp_path) == [out.name]


def test_a_disk_that_is_full_at_the_end_is_said(model, tmp_path, small_chunks, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    with pytest.raises(DataError, match="the disk is full"):
        sample_to_file(model, 250, tmp_path / "a.parquet")
    assert left(tmp_path) == []


def test_a_model_that_changes_meanwhile_is_refused(model, tmp_path, small_chunks) -> None:
    order = sampling._Order(str(model), "0" * 64, 50, {}, 1, str(tmp_path), ".csv")
    with pytest.raises(ModelError, match="changed while it was sampled"):
        sampling.write_chunk(order, 0, lambda *_: None)


@pytest.mark.parametrize(
    ("rows", "out", "given", "error"),
    [
        (0, "a.csv", None, UsageError),
        (5, "a.docx", None, DataError),
        (5, "absent/a.csv", None, DataError),
        (5, "a.csv", {"sex": "7"}, UsageError),
        (5, "a.csv", {"height": 3}, UsageError),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_drawn(
    rows, out, given, error, model, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(sampling._Order, "draw", lambda *_: pytest.fail("drew"))
    with pytest.raises(error):
        sample_to_file(model, rows, tmp_path / out, given=given)
    assert left(tmp_path) == []


def test_no_model(tmp_path) -> None:
    with pytest.raises(ModelError, match="is no model folder"):
        sample_to_file(tmp_path / "absent", 5, tmp_path / "a.csv")


ENDLESS = """
import sys, time
from pegai.workflow import sampling
sampling.CHUNK_ROWS = 50
drawn = sampling._Order.draw
def slow(order, number):
    print("drawing", flush=True)
    time.sleep(0.2 if number < 2 else 60)
    return drawn(order, number)
sampling._Order.draw = slow
sampling.sample_to_file(sys.argv[1], 1000, sys.argv[2], seed=1)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_file(end, model, tmp_path) -> None:
    out = tmp_path / "a.csv"
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(model), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    child.send_signal(end)
    child.wait(timeout=20)
    child.stdout.close()
    assert not out.exists()
    killed = end == signal.SIGKILL
    assert len(left(tmp_path)) == killed
    # What a killed run left is gone with the next one; a folder that is in use is not.
    used = tmp_path / ".a.csv.used.chunks.part"
    used.mkdir()
    with (used / sampling.LOCK).open("ab") as lock:
        assert sampling.try_lock(lock.fileno())
        sample_to_file(model, 50, out, seed=1)
    assert left(tmp_path) == [used.name, "a.csv"]
