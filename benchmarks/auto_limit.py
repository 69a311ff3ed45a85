"""From how many rows on `auto` should take trees: both methods on parts of two tables.

    python benchmarks/auto_limit.py --adult FOLDER --support2 FOLDER

Parts are drawn from the training half of Adult's own split, and from SUPPORT2; other rows of the
same side are the holdout. Neither the test half of Adult nor any split of `tabular.py` is used.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabular_cases import adult, support2
from tabular_scores import real, scores

from pegai.data.table import Table
from pegai.synth.catalog import make

SIZES = (300, 500, 1000, 1500, 2000)
METHODS = ("tvae", "trees")
HOLDOUT = 4000


def parts(table: Table, rows: int, seed: int) -> tuple[Table, Table]:
    """Rows to learn, and as many others as a holdout as there are, at most `HOLDOUT`."""
    order = np.random.default_rng(seed).permutation(len(table))
    return table.take(order[:rows]), table.take(order[rows:][:HOLDOUT])


def figures(table: Table, rows: int, method: str, seeds: int) -> Iterator[tuple[float, ...]]:
    """C2ST, TSTR and the attack by the nearest synthetic row, a seed each."""
    for seed in range(1000, 1000 + seeds):
        train, holdout = parts(table, rows, seed)
        made = make(method).fit(train, rng=seed).sample(rows, rng=seed)
        found = scores(made, real(train, holdout, seed), seed)
        yield found["c2st"], found["tstr"], found["membership_distance"]


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adult", type=Path, required=True)
    parser.add_argument("--support2", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    asked = parser.parse_args()
    tables = {
        "Adult": adult({"adult": asked.adult}).train,
        "SUPPORT2": support2({"support2": asked.support2}),
    }
    print("table      rows  method   C2ST   TSTR   attack (medians)")
    for rows in asked.rows:
        for name, table in tables.items():
            for method in asked.methods:
                c2st, tstr, attack = np.median([*figures(table, rows, method, asked.seeds)], 0)
                print(
                    f"{name:9} {rows:5}  {method:6} {c2st:6.3f} {tstr:6.3f} {attack:6.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
