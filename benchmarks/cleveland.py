"""Non-private CTGAN on UCI Cleveland: 303 rows, 70/30 split by seed, default settings.

Prints, for each split seed and over them: TSTR AUC (gradient boosting trained on synthetic, tested
on the holdout), the same for real training rows, C2ST AUC (gradient boosting telling synthetic from
holdout), membership AUC, and the CPU-seconds of the fit.

    python benchmarks/cleveland.py [--seeds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pegai
from pegai.data.splits import split
from pegai.evaluate.scores import mean_interval
from pegai.evaluate.suite import evaluate
from pegai.streams import Streams
from pegai.synth.catalog import make

TABLES_A_FIT = 3
FIGURES = ("tstr_auc", "detection_auc", "membership_auc", "exact_copies_excess")


def one(seed: int, method: str) -> dict[str, float]:
    """Split, fit, sample and evaluate once."""
    table = pegai.datasets.load_heart_disease("cleveland")
    streams = Streams(seed)
    parts = split(table, holdout=0.3, rng=streams.get("split"))
    start = time.process_time()
    model = make(method).fit(parts.train, rng=streams.get("model"))
    cpu = time.process_time() - start
    tables = [
        model.sample(len(parts.train), rng=streams.get("sample", i)) for i in range(TABLES_A_FIT)
    ]
    found = evaluate(parts.train, parts.holdout, tables, seed=seed, tier="quick")
    figures = {name: found[name].value for name in FIGURES}
    return {**figures, "tstr_auc_real": found["tstr_auc"].baseline, "fit_cpu_seconds": cpu}


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--method", default="ctgan")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    make(arguments.method)  # load torch outside the timings
    rows = [one(seed, arguments.method) for seed in range(arguments.seeds)]
    print(
        f"pegai {pegai.__version__}, {arguments.method}, Cleveland, {platform.machine()}, ", end=""
    )
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, seeds 0-{len(rows) - 1}")
    summary = {}
    for name in rows[0]:
        mean, low, high = mean_interval([row[name] for row in rows])
        summary[name] = {"mean": mean, "low": low, "high": high}
        values = "  ".join(f"{row[name]:.3f}" for row in rows)
        print(f"{name:20} {mean:7.3f}  [{low:.3f}, {high:.3f}]   {values}")
    if arguments.json:
        content = {"method": arguments.method, "seeds": rows, "summary": summary}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
