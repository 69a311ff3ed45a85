"""Seconds and memory of the evaluation's tiers: 100,000 real rows x 50 columns against as many.

70,000 rows to learn, 30,000 held out, a synthetic table of 70,000; 22 numbers (a tenth missing in
some), 20 categories of 2 to 40 levels, one of 200, 6 yes-no columns and a target. One process each.

    python benchmarks/evaluation_speed.py [--rows 100000] [--tier quick] [--tier standard]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.evaluate.suite import evaluate
from pegai.schema import schema_from_dict

NUMBERS, CATEGORIES, FLAGS = 22, 20, 6


def make_table(rows: int, seed: int) -> Table:
    """Columns that hang together through four hidden factors."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(0)
    factors = rng.normal(size=(rows, 4))
    fields: list[dict[str, object]] = []
    columns: list[pl.Series] = []

    def latent() -> np.ndarray:
        return factors @ weights.normal(size=4) + rng.normal(size=rows)

    for i in range(NUMBERS):
        values = np.round(np.exp(latent() / 3) * 10 if i % 3 == 0 else latent(), 3)
        series = pl.Series(f"n{i}", values)
        if i % 4 == 0:
            series = series.set(pl.Series(rng.random(rows) < 0.1), None)
        columns.append(series)
        fields.append({"name": f"n{i}", "type": "number"})
    for i in range(CATEGORIES + 1):
        levels = 200 if i == CATEGORIES else 2 + 2 * i
        place = np.argsort(np.argsort(latent())) / rows
        codes = np.minimum((place**2 * levels).astype(int), levels - 1)
        columns.append(pl.Series(f"c{i}", codes.astype(str)))
        fields.append(
            {"name": f"c{i}", "type": "string", "categories": [str(c) for c in range(levels)]}
        )
    for i in range(FLAGS):
        columns.append(pl.Series(f"b{i}", latent() > 1))
        fields.append({"name": f"b{i}", "type": "boolean"})
    columns.append(pl.Series("outcome", latent() + factors[:, 0] > 1))
    fields.append({"name": "outcome", "type": "boolean", "pegai": {"role": "target"}})
    fields[0]["pegai"] = {"role": "quasi-identifier"}
    fields[NUMBERS]["pegai"] = {"role": "quasi-identifier"}
    fields[NUMBERS + 3]["pegai"] = {"role": "sensitive"}
    return Table(pl.DataFrame(columns), schema_from_dict({"fields": fields}))


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tier", action="append", choices=["quick", "standard"])
    arguments = parser.parse_args()
    held = arguments.rows * 3 // 10
    learned = arguments.rows - held
    train, holdout = make_table(learned, 1), make_table(held, 2)
    synthetic = make_table(learned, 3)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {arguments.rows:,} x {train.frame.width}")
    for tier in arguments.tier or ["quick", "standard"]:
        steps: list[tuple[float, str]] = []
        start = time.perf_counter()
        found = evaluate(
            train,
            holdout,
            [synthetic],
            tier=tier,
            progress=lambda what, _share, steps=steps: steps.append((time.perf_counter(), what)),
        )
        seconds = time.perf_counter() - start
        ends = [at for at, _ in steps[1:]]
        told = ", ".join(
            f"{what} {end - at:.0f}" for (at, what), end in zip(steps, ends, strict=False)
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{tier}: {seconds:.0f} s, {len(found.scores)} scores, peak {peak:.1f} GiB ({told})")


if __name__ == "__main__":
    main()
