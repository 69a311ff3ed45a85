"""CTGAN under differential privacy on the four hospitals (920 rows): utility and attack together.

For epsilon 1, 3 and 10 (delta 1e-3), and without privacy: TSTR AUC by gradient boosting, C2ST AUC
and membership AUC, over split seeds; one fit a split, so that the interval covers patients, noise
and training. Public data: the ledger is a temporary one.

    python benchmarks/private_heart.py [--seeds 5] [--site cleveland] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pegai
from pegai.data.splits import split_independently
from pegai.evaluate.scores import mean_interval
from pegai.evaluate.suite import evaluate
from pegai.streams import Streams
from pegai.synth.catalog import make

DELTA = 1e-3
EPSILONS: tuple[float | None, ...] = (1.0, 3.0, 10.0, None)
FIGURES = ("tstr_auc", "detection_auc", "membership_auc")


def one(seed: int, epsilon: float | None, site: str | None, method: str) -> dict[str, float]:
    """Split, fit, sample and evaluate once."""
    parts = split_independently(pegai.datasets.load_heart_disease(site), seed=seed)
    streams = Streams(seed)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if epsilon is None:
            model = make(method).fit(parts.train, rng=streams.get("model"))
        else:
            privacy = pegai.Privacy(epsilon, DELTA, ledger=Path(folder) / "ledger.jsonl")
            model = make(method).fit(parts.train, privacy=privacy)
    cpu = time.process_time() - start
    tables = [model.sample(len(parts.train), rng=streams.get("sample", i)) for i in range(3)]
    found = evaluate(parts.train, parts.holdout, tables, seed=seed, tier="quick")
    figures = {name: found[name].value for name in FIGURES}
    return {**figures, "tstr_auc_real": found["tstr_auc"].baseline, "fit_cpu_seconds": cpu}


def main() -> None:
    """Run every epsilon and seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--site")
    parser.add_argument("--method", default="ctgan")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    make(arguments.method)
    where = f"{arguments.site or 'four hospitals'}, delta {DELTA:g}, {platform.machine()}"
    print(
        f"pegai {pegai.__version__}, {arguments.method}, {where}, {os.cpu_count()} cores, ", end=""
    )
    print(f"seeds 0-{arguments.seeds - 1}")
    found: dict[str, list[dict[str, float]]] = {}
    for epsilon in EPSILONS:
        name = "none" if epsilon is None else f"{epsilon:g}"
        found[name] = [
            one(seed, epsilon, arguments.site, arguments.method) for seed in range(arguments.seeds)
        ]
        for figure in found[name][0]:
            mean, low, high = mean_interval([row[figure] for row in found[name]])
            values = "  ".join(f"{row[figure]:.3f}" for row in found[name])
            print(
                f"epsilon {name:5} {figure:16} {mean:6.3f}  [{low:.3f}, {high:.3f}]   {values}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
