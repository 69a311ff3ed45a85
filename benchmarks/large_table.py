"""Three million rows, privately: seconds and memory of fitting and of sampling as many.

The table is made up: 12 columns that depend on each other through a hidden class, 8 of them
categorical (one of 700 levels) and 4 numeric with public bounds. Each method runs in a process of
its own, on one thread for matrix products, and reads the table from a file. Memory is the most that
is resident: above the interpreter with pegai imported, and above that and the table's own buffers.
Linux only.

    python benchmarks/large_table.py [--rows 3000000] [--methods aim mst] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

import pegai
from pegai.data.files import read_frame
from pegai.data.table import Table
from pegai.privacy import Privacy
from pegai.schema import Schema, schema_from_dict
from pegai.synth.catalog import make

EPSILON, DELTA, SEED = 1.0, 1e-7, 0
CLASSES = 6
SAMPLED_ROWS = 250_000
"""A chunk of the synthetic table; each is written before the next is drawn."""

LEVELS = {
    "sex": ["f", "m"],
    "smoker": ["never", "former", "current"],
    "stage": ["1", "2", "3", "4"],
    "insurance": [f"i{i}" for i in range(6)],
    "region": [f"r{i:02d}" for i in range(16)],
    "ward": [f"w{i:02d}" for i in range(40)],
    "outcome": ["home", "transfer", "died"],
    "diagnosis": [f"D{i:03d}" for i in range(700)],
}
BOUNDS = {"age": (0, 110, 0), "pressure": (60, 260, 0), "bmi": (10, 70, 1), "lactate": (0, 30, 1)}
"""Minimum, maximum and decimals."""

TARGET_SECONDS, TARGET_MB = 60.0, 1000.0


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


def bytes_of(column: pl.Series) -> int:
    """A column's buffers; of short texts Polars counts the letters, but holds 16 bytes each."""
    return 16 * len(column) if column.dtype == pl.String else int(column.estimated_size())


def forget_peak() -> None:
    """Start `VmHWM` again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def one(method: str, folder: Path) -> dict[str, Any]:
    """Fit and sample once, in this process."""
    synthesizer, privacy = make(method), Privacy(EPSILON, DELTA, ledger=folder / "ledger.jsonl")
    interpreter = megabytes("VmRSS")
    table = Table(read_frame(folder / "table.parquet").select(schema().names), schema())
    buffers, rows = sum(map(bytes_of, table.frame)) / 1e6, len(table)
    held = megabytes("VmRSS")
    forget_peak()
    start, used = time.perf_counter(), time.process_time()
    fitted = synthesizer.fit(table, privacy=privacy)
    fit, fit_cpu = time.perf_counter() - start, time.process_time() - used
    fit_peak = megabytes("VmHWM")
    del table
    forget_peak()
    start = time.perf_counter()
    rng = np.random.default_rng(SEED)
    with (folder / f"{method}.csv").open("wb") as file:
        for first in range(0, rows, SAMPLED_ROWS):
            made = fitted.sample(min(SAMPLED_ROWS, rows - first), rng=rng)
            made.frame.write_csv(file, include_header=first == 0)
    return {
        "method": method,
        "fit_seconds": fit,
        "fit_cpu_seconds": fit_cpu,
        "fit_mb": fit_peak - interpreter,
        "fit_mb_without_table": fit_peak - interpreter - buffers,
        "table_mb": buffers,
        "reading_mb": held - interpreter - buffers,
        "sample_seconds": time.perf_counter() - start,
        "sample_mb": megabytes("VmHWM") - interpreter,
        "csv_mb": (folder / f"{method}.csv").stat().st_size / 1e6,
        "interpreter_mb": interpreter,
    }


def show(found: dict[str, Any]) -> None:
    """A method's figures, and the targets beside them."""
    print(
        f"{found['method']}: fit {found['fit_seconds']:.1f} s (target: at most "
        f"{TARGET_SECONDS:.0f}), {found['fit_cpu_seconds']:.1f} CPU-s; as many rows sampled to a "
        f"CSV of {found['csv_mb']:.0f} MB in {found['sample_seconds']:.1f} s"
    )
    print(
        f"  most memory in the fit, MB: {found['fit_mb']:.0f} above the interpreter (target: at "
        f"most {TARGET_MB:.0f}), of which the table is {found['table_mb']:.0f} and the rest "
        f"{found['fit_mb_without_table']:.0f}; {found['sample_mb']:.0f} while sampling, the "
        f"table let go; the interpreter has {found['interpreter_mb']:.0f}",
        flush=True,
    )


def main() -> None:
    """Make up the table, then run each method in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--methods", nargs="+", default=["aim", "mst"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(one(arguments.one[0], Path(arguments.one[1]))))
        return
    print(
        f"{arguments.rows:,} rows x {len(LEVELS) + len(BOUNDS)} columns, epsilon {EPSILON:g}, "
        f"delta {DELTA:g}, pegai {pegai.__version__}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}, others' load {os.getloadavg()[0]:.1f}"
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        make_up(arguments.rows, Path(folder) / "table.parquet")
        for method in arguments.methods:
            command = [sys.executable, __file__, "--one", method, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.strip().splitlines()[-1]))
            show(results[-1])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
