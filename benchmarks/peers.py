"""Published CTGAN and TVAE on the Cleveland splits of `cleveland.py`, in their own environment.

Makes `.bench/ctgan` (the first time), fits the package `ctgan` at its defaults (300 epochs) on each
split, and evaluates its rows exactly as pegai's. The package is under the Business Source License:
it is run here for comparison and nothing of it is used.

    python benchmarks/peers.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pegai
from pegai.data.conform import conform
from pegai.data.files import read_frame, write_table
from pegai.data.splits import split
from pegai.evaluate.scores import mean_interval
from pegai.evaluate.suite import evaluate
from pegai.streams import Streams

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".bench" / "ctgan"
PACKAGES = ("torch>=2.6,<2.14", "ctgan==0.12.1")
TABLES_A_FIT = 3

PEER = """
import json, sys, time
import pandas as pd, torch
from ctgan import CTGAN, TVAE
method, source, target, rows, tables, seed, discrete = sys.argv[1:]
torch.manual_seed(int(seed))
frame = pd.read_csv(source)
discrete = discrete.split(",")
for name in frame.columns:
    if name in discrete:
        frame[name] = frame[name].astype("string").fillna("missing").astype(object)
    else:
        frame[name] = frame[name].fillna(frame[name].median())
model = CTGAN() if method == "ctgan" else TVAE()
start = time.process_time()
if method == "ctgan":
    model.set_random_state(int(seed))
model.fit(frame, discrete)
print(json.dumps(time.process_time() - start))
for i in range(int(tables)):
    made = model.sample(int(rows)).replace("missing", None)
    for name in made.columns:
        if name not in discrete and name != "oldpeak":
            made[name] = made[name].round()
    made.to_csv(f"{target}-{i}.csv", index=False)
"""


def environment() -> Path:
    """The peers' Python, made the first time."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def one(seed: int, method: str, python: Path) -> dict[str, float]:
    """Split, fit in the other environment, sample and evaluate once."""
    table = pegai.datasets.load_heart_disease("cleveland")
    parts = split(table, holdout=0.3, rng=Streams(seed).get("split"))
    discrete = ",".join(c.name for c in table.columns if c.is_discrete)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "train.csv", Path(folder) / "made"
        write_table(parts.train, source)
        rows = str(len(parts.train))
        arguments = [method, str(source), str(target), rows, str(TABLES_A_FIT), str(seed), discrete]
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", PEER, *arguments],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        tables = [
            conform(read_frame(f"{target}-{i}.csv"), table.schema) for i in range(TABLES_A_FIT)
        ]
    found = evaluate(parts.train, parts.holdout, tables, seed=seed, tier="quick")
    names = ("tstr_auc", "detection_auc", "membership_auc")
    cpu = float(done.stdout.strip().splitlines()[-1])
    return {**{name: found[name].value for name in names}, "fit_cpu_seconds": cpu}


def main() -> None:
    """Run both peers over all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    python = environment()
    print(f"ctgan 0.12.1 at its defaults, Cleveland, seeds 0-{arguments.seeds - 1}")
    for method in ("ctgan", "tvae"):
        rows = [one(seed, method, python) for seed in range(arguments.seeds)]
        for name in rows[0]:
            mean, low, high = mean_interval([row[name] for row in rows])
            values = "  ".join(f"{row[name]:.3f}" for row in rows)
            print(
                f"{method:6} {name:16} {mean:7.3f}  [{low:.3f}, {high:.3f}]   {values}", flush=True
            )


if __name__ == "__main__":
    main()
