"""Which table is best? The equivalent sample beside the quality score of SDMetrics.

Tables whose order is known: fresh real rows (which no generator can beat), sequential trees, a
Gaussian copula, pegai's own generators, independent columns (which keep nothing but marginals), and
the training rows themselves, which fidelity can't fault and which nobody may release. Heart disease
comes with pegai; Adult (doi:10.24432/C5XW20, on the public bins of `private_tables.py`) and
SUPPORT2 (doi:10.3886/ICPSR02957) must be fetched.

Each table is split into thirds by patient: training, holdout and fresh rows. pegai compares with
the holdout; SDMetrics is given the training rows, as its documentation asks for. It runs in an
environment of its own, made the first time in `.bench/sdmetrics`; without it its column is empty.

    python benchmarks/ranking.py [--seeds 3] [--adult FOLDER] [--support2 FOLDER]
        [--only heart|adult|support2] [--no-sdmetrics]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from plain_generators import gaussian_copula, independent, sequential_trees
from private_tables import load_adult

import pegai
from pegai.data.conform import table_from
from pegai.data.splits import split
from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.score_realism import measure_realism, prepare_realism
from pegai.evaluate.tiers import STANDARD
from pegai.schema import infer
from pegai.streams import Streams
from pegai.synth.catalog import make

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".bench" / "sdmetrics"
PACKAGES = ("sdmetrics==0.32.0",)
QUESTIONS = ("1way", "2way", "3way", "conditionals")

PEER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from sdmetrics.reports.single_table import QualityReport
folder, names = sys.argv[1], sys.argv[2].split(",")
types = json.loads(sys.argv[3])
def read(name):
    frame = pd.read_csv(f"{folder}/{name}.csv")
    for column, kind in types.items():
        if kind == "categorical":
            frame[column] = frame[column].astype("object")
    return frame
train = read("train")
metadata = {"columns": {column: {"sdtype": kind} for column, kind in types.items()}}
for name in names:
    report = QualityReport()
    report.generate(train, read(name), metadata, verbose=False)
    print(json.dumps([name, report.get_score()]), flush=True)
"""


@dataclass(frozen=True)
class Case:
    """A table, and the delta of a private fit; None where its bounds are not public."""

    name: str
    table: Table
    delta: float | None


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """What is measured."""
    if arguments.only in (None, "heart"):
        yield Case("heart", pegai.datasets.load_heart_disease(), 1e-3)
    if arguments.only in (None, "adult") and arguments.adult:
        yield Case("adult", load_adult(arguments.adult), 1e-5)
    if arguments.only in (None, "support2") and arguments.support2:
        yield Case("support2", load_support2(arguments.support2), None)


def load_support2(folder: Path) -> Table:
    """9,105 seriously ill patients, 47 columns."""
    frame = pl.read_csv(folder / "support2.csv", infer_schema_length=None).drop("sno")
    return table_from(frame, infer(frame))


def thirds(table: Table, seed: int) -> tuple[Table, Table, Table]:
    """Training, holdout and fresh rows; no patient is in two of them."""
    first = split(table, holdout=1 / 3, rng=Streams(seed).get("split"))
    second = split(first.train, holdout=0.5, rng=Streams(seed).get("split", 1))
    return second.train, first.holdout, second.holdout


def tables(case: Case, train: Table, fresh: Table, seed: int, folder: Path) -> dict[str, Table]:
    """The tables to rank, by name."""
    rng = np.random.default_rng(seed)
    found = {
        "fresh real rows": fresh,
        "sequential trees": sequential_trees(train, 15, rng),
        "Gaussian copula": gaussian_copula(train, rng),
    }
    if case.name == "heart":
        fitted = make("ctgan", {}).fit(train, rng=seed)
        found["pegai ctgan"] = fitted.sample(len(train), rng=seed)
    if case.delta is not None:
        privacy = pegai.Privacy(1.0, case.delta, ledger=str(folder / "ledger.jsonl"))
        fitted = make("aim", {}).fit(train, privacy=privacy)
        found["pegai aim, epsilon 1"] = fitted.sample(len(train), rng=seed)
    found["independent columns"] = independent(train, rng)
    found["copy of training rows"] = train
    return found


def sdmetrics(train: Table, made: dict[str, Table], folder: Path) -> dict[str, float]:
    """The quality score of every table, from the peer's own environment."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
    types = {c.name: "numerical" if c.is_numeric else "categorical" for c in train.schema.modelled}
    train.modelled().frame.write_csv(folder / "train.csv")
    files = {f"made{i}": name for i, name in enumerate(made)}
    for file, name in files.items():
        made[name].modelled().frame.write_csv(folder / f"{file}.csv")
    done = subprocess.run(
        [str(python), "-c", PEER, str(folder), ",".join(files), json.dumps(types)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    scores = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {files[file]: score for file, score in scores}


def one(case: Case, seed: int, with_peer: bool) -> dict[str, dict[str, float]]:
    """Everything about one split: table name to figures."""
    train, holdout, fresh = thirds(case.table, seed)
    features = fit_features(train)
    prepared = prepare_realism(
        train,
        holdout,
        encode(features, train),
        encode(features, holdout),
        Streams(seed),
        tier=STANDARD,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = tables(case, train, fresh, seed, folder)
        peer = sdmetrics(train, made, folder) if with_peer else {}
    found = {}
    for label, table in made.items():
        worth = measure_realism(prepared, table, encode(features, table)).equivalent
        assert worth is not None
        share = float(worth.headline[0]) / len(train)
        single = {q: float(worth.patients[q][0]) / len(train) for q in QUESTIONS}
        found[label] = {"worth": share, **single, "peer": peer.get(label, np.nan)}
    return found


def show(case: Case, results: list[dict[str, dict[str, float]]]) -> None:
    """One table: means over the splits, in the order of the equivalent sample."""
    labels = list(results[0])
    mean = {
        label: {key: float(np.mean([r[label][key] for r in results])) for key in results[0][label]}
        for label in labels
    }
    rows = len(thirds(case.table, 0)[0])
    print(f"\n{case.name}: {rows} training rows, {len(results)} splits; shares of training rows")
    head = " ".join(f"{q:>12}" for q in QUESTIONS)
    print(f"{'':24}{'equivalent':>11} {head} {'SDMetrics':>11} {'its rank':>9}")
    order = sorted(labels, key=lambda label: -mean[label]["peer"])
    for label in sorted(labels, key=lambda label: -mean[label]["worth"]):
        figures = mean[label]
        single = " ".join(f"{figures[q]:12.3f}" for q in QUESTIONS)
        rank = order.index(label) + 1 if not np.isnan(figures["peer"]) else "-"
        print(f"{label:24}{figures['worth']:11.3f} {single} {figures['peer']:11.3f} {rank:>9}")
    first = [
        max((x for x in labels if x != "copy of training rows"), key=lambda x: r[x]["worth"])
        == "fresh real rows"
        for r in results
    ]
    last = [min(labels, key=lambda x: r[x]["worth"]) == "independent columns" for r in results]
    print(f"fresh rows first (copy aside) in {sum(first)}/{len(first)} splits,", end=" ")
    print(f"independent columns last in {sum(last)}/{len(last)}", flush=True)


def main() -> None:
    """Rank, and print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--adult", type=Path)
    parser.add_argument("--support2", type=Path)
    parser.add_argument("--only", choices=["heart", "adult", "support2"])
    parser.add_argument("--no-sdmetrics", action="store_true")
    arguments = parser.parse_args()
    for case in cases(arguments):
        start = time.perf_counter()
        results = [one(case, s, not arguments.no_sdmetrics) for s in range(arguments.seeds)]
        show(case, results)
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
