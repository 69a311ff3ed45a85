"""Five million rows: seconds and memory of a fit, from memory and as a stream, and of sampling.

The table is made up: 20 columns that depend on each other through a hidden class, 12 of them
categorical (one of 700 levels) and 8 numeric with public bounds, in a Parquet file. Each fit runs
in a process of its own, on one thread for matrix products. Memory of a fit is the most that is
resident above the interpreter with pegai imported, reading included. The model then samples as many
rows to Parquet by `sample_to_file`; its memory is the most that the process and its workers hold
together, shared pages counted once (PSS), interpreters included. Linux only.

    python benchmarks/large_table.py [--rows 5000000] [--methods independent mst] [--plain]
        [--ways memory stream] [--jobs 1 2] [--json FILE]

With `--plain` fits are without privacy. What aim and mst were built against is a private fit of
three million rows (then of 12 columns) in at most 60 s and 1,000 MB, table included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

import pegai
from pegai.data.conform import load_table
from pegai.data.stream import open_stream
from pegai.privacy import Privacy
from pegai.schema import Schema, schema_from_dict
from pegai.synth.catalog import make
from pegai.workflow.sampling import sample_to_file

EPSILON, DELTA, SEED = 1.0, 1e-7, 0
CLASSES = 6
WAYS = ("memory", "stream")

LEVELS = {
    "sex": ["f", "m"],
    "smoker": ["never", "former", "current"],
    "stage": ["1", "2", "3", "4"],
    "insurance": [f"i{i}" for i in range(6)],
    "region": [f"r{i:02d}" for i in range(16)],
    "ward": [f"w{i:02d}" for i in range(40)],
    "outcome": ["home", "transfer", "died"],
    "diagnosis": [f"D{i:03d}" for i in range(700)],
    "diabetes": ["no", "1", "2"],
    "admission": ["planned", "urgent", "emergency"],
    "drug": [f"d{i:02d}" for i in range(30)],
    "unit": [f"u{i}" for i in range(8)],
}
BOUNDS = {
    "age": (0, 110, 0),
    "pressure": (60, 260, 0),
    "bmi": (10, 70, 1),
    "lactate": (0, 30, 1),
    "stay": (0, 120, 0),
    "pulse": (20, 240, 0),
    "crp": (0, 400, 1),
    "creatinine": (0, 15, 2),
}
"""Minimum, maximum and decimals."""


def schema() -> Schema:
    """The public domain."""
    discrete = [
        {"name": name, "type": "string", "categories": levels, "pegai": {"source": "expert"}}
        for name, levels in LEVELS.items()
    ]
    numeric = [
        {
            "name": name,
            "type": "number" if decimals else "integer",
            "constraints": {"minimum": low, "maximum": high},
            "pegai": {"source": "expert", **({"decimals": decimals} if decimals else {})},
        }
        for name, (low, high, decimals) in BOUNDS.items()
    ]
    return schema_from_dict({"fields": discrete + numeric, "pegai": {"dataset": "large"}})


def make_up(rows: int, path: Path) -> None:
    """Draw the table and write it."""
    rng = np.random.default_rng(SEED)
    hidden = rng.choice(CLASSES, rows, p=rng.dirichlet(np.full(CLASSES, 5.0)))
    columns: dict[str, pl.Series] = {}
    for name, levels in LEVELS.items():
        shares = rng.dirichlet(np.full(len(levels), 0.5), CLASSES)
        codes = np.empty(rows, np.int64)
        for k in range(CLASSES):
            here = hidden == k
            codes[here] = rng.choice(len(levels), int(here.sum()), p=shares[k])
        columns[name] = pl.Series(levels).gather(codes)
    for name, (low, high, decimals) in BOUNDS.items():
        middles = low + (high - low) * rng.uniform(0.2, 0.7, CLASSES)
        drawn = rng.normal(middles[hidden], 0.1 * (high - low)).clip(low, high)
        absent = rng.random(rows) < 0.03
        series = pl.Series(np.where(absent, np.nan, drawn)).fill_nan(None).round(decimals)
        columns[name] = series if decimals else series.cast(pl.Int64)
    pl.DataFrame(columns).write_parquet(path)


def megabytes(what: str) -> float:
    """Resident memory now (`VmRSS`) or the most there was (`VmHWM`)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6


def forget_peak() -> None:
    """Start `VmHWM` again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def held_together() -> float:
    """Memory of this process and all below it in MB, shared pages counted once."""
    total, waiting = 0, [str(os.getpid())]
    while waiting:
        process = Path("/proc", waiting.pop())
        try:
            rollup = (process / "smaps_rollup").read_text(encoding="ascii")
            total += int(next(x for x in rollup.splitlines() if x.startswith("Pss:")).split()[1])
            for task in (process / "task").iterdir():
                waiting += (task / "children").read_text(encoding="ascii").split()
        except OSError:
            continue  # it has just ended
    return total * 1024 / 1e6


class Watch:
    """The most that is held together while a block runs."""

    def __enter__(self) -> Watch:
        """Begin to look, five times a second."""
        self.most, self._over = held_together(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.most = max(self.most, held_together())

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()


def fit(method: str, way: str, folder: Path, plain: bool) -> dict[str, Any]:
    """Read and fit once, in this process, and save the model."""
    synthesizer, declared = make(method), schema()
    privacy = None if plain else Privacy(EPSILON, DELTA, ledger=folder / f"{method}-{way}.jsonl")
    interpreter = megabytes("VmRSS")
    forget_peak()
    start, used = time.perf_counter(), time.process_time()
    read = open_stream if way == "stream" else load_table
    table = read(folder / "table.parquet", declared, cell_by_cell=not plain)
    held, reading = megabytes("VmRSS") - interpreter, time.perf_counter() - start
    fitted = synthesizer.fit(table, privacy=privacy, rng=SEED if plain else None)
    found = {
        "method": method,
        "way": way,
        "seconds": time.perf_counter() - start,
        "reading_seconds": reading,
        "cpu_seconds": time.process_time() - used,
        "mb": megabytes("VmHWM") - interpreter,
        "table_mb": held,
        "interpreter_mb": interpreter,
    }
    fitted.save(folder / method, overwrite=True)
    return found


def sample(method: str, jobs: int, folder: Path, rows: int) -> dict[str, Any]:
    """Sample as many rows to Parquet, in this process and its workers."""
    out = folder / f"{method}.parquet"
    interpreter, start = held_together(), time.perf_counter()
    with Watch() as watch:
        sample_to_file(folder / method, rows, out, seed=SEED, jobs=jobs)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    return {
        "method": method,
        "jobs": jobs,
        "seconds": seconds,
        "mb": watch.most,
        "interpreter_mb": interpreter,
        "file_mb": out.stat().st_size / 1e6,
        "sha256": digest,
    }


def show(found: dict[str, Any]) -> None:
    """One line of figures."""
    if "jobs" in found:
        print(
            f"  sampled, jobs {found['jobs']}: {found['seconds']:.0f} s, at most "
            f"{found['mb']:.0f} MB in all processes (one that does nothing: "
            f"{found['interpreter_mb']:.0f}); {found['file_mb']:.0f} MB, "
            f"SHA-256 {found['sha256'][:12]}",
            flush=True,
        )
        return
    print(
        f"{found['method']}, {found['way']}: {found['seconds']:.0f} s "
        f"({found['cpu_seconds']:.0f} CPU-s), at most {found['mb']:.0f} MB above the interpreter's "
        f"{found['interpreter_mb']:.0f}; of it the table {found['table_mb']:.0f}",
        flush=True,
    )


def alone(*what: object) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--one", *map(str, what)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Make up the table, then run each step in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--methods", nargs="+", default=["independent", "mst"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--jobs", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        method, how, folder, more = arguments.one
        if how in WAYS:
            print(json.dumps(fit(method, how, Path(folder), more == "plain")))
        else:
            print(json.dumps(sample(method, int(how), Path(folder), int(more))))
        return
    promise = "no privacy" if arguments.plain else f"epsilon {EPSILON:g}, delta {DELTA:g}"
    print(
        f"{arguments.rows:,} rows x {len(LEVELS) + len(BOUNDS)} columns, {promise}, "
        f"pegai {pegai.__version__}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}, others' load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        make_up(arguments.rows, Path(folder) / "table.parquet")
        for method in arguments.methods:
            steps = [(way, "plain" if arguments.plain else "private") for way in arguments.ways]
            steps += [(str(jobs), str(arguments.rows)) for jobs in arguments.jobs]
            for how, more in steps:
                results.append(alone(method, how, folder, more))
                show(results[-1])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
