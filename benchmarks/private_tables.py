"""Private tables from noisy marginals: error, usefulness and time, on Adult and heart disease.

For each method and epsilon, over split seeds: TSTR AUC (scikit-learn's histogram gradient boosting
with its defaults, trained on synthetic rows, tested on held-out real ones), mean total variation
distance of all 1- and 2-way tables and of 60 random 3-way ones from the training table, and the
seconds of the fit alone, charge included.

Heart disease comes with pegai; beside our methods stands a private naive Bayes (8 public bins, one
noisy table of each column by class, no pairs), the bar that generators must clear on small tables.
Adult must be fetched from UCI (doi:10.24432/C5XW20) into a folder that holds adult.data and
adult.test: 14 columns on public bins (age 17, the wide numerics 20), 80/20 splits.

    python benchmarks/private_tables.py [--seeds 5] [--fits 1] [--first-seed 100] [--adult FOLDER]
        [--only heart|cleveland|adult] [--methods aim mst independent] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import pegai
from pegai.data.splits import split
from pegai.data.table import Table
from pegai.evaluate.scores import mean_interval
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.schema import schema_from_dict
from pegai.synth.catalog import make
from pegai.synth.grids import Grid

ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
]
ADULT_BINS = {
    "age": (15, 100, 17),
    "fnlwgt": (0, 1.5e6, 20),
    "capital_gain": (0, 1e5, 20),
    "capital_loss": (0, 4500, 20),
    "hours_per_week": (0, 100, 20),
}
FIGURES = ("tstr_auc", "tvd_1", "tvd_2", "tvd_3", "seconds")
PUBLIC_BINS = 8


@dataclass(frozen=True)
class Case:
    """A table, its target and what is asked of it."""

    name: str
    table: Table
    target: str
    delta: float
    epsilons: tuple[float, ...]
    holdout: float


def cases(only: str | None, adult: Path | None) -> Iterator[Case]:
    """What is measured."""
    small = (0.1, 1.0, 3.0)
    if only in (None, "heart"):
        yield Case("heart", pegai.datasets.load_heart_disease(), "num", 1e-3, small, 0.3)
    if only in (None, "cleveland"):
        table = pegai.datasets.load_heart_disease("cleveland")
        yield Case("cleveland", table, "num", 1e-3, small, 0.3)
    if only in (None, "adult") and adult is not None:
        yield Case("adult", load_adult(adult), "income", 1e-5, (0.1, 1.0), 0.2)


def load_adult(folder: Path) -> Table:
    """48,842 rows of 14 columns, each a public category."""
    lines = [
        line.strip().rstrip(".").split(", ")
        for name in ("adult.data", "adult.test")
        for line in (folder / name).read_text().splitlines()
        if line.count(",") == len(ADULT) - 1
    ]
    raw = {name: np.array([row[i] for row in lines]) for i, name in enumerate(ADULT)}
    del raw["education"]
    codes, fields = {}, []
    for name, values in raw.items():
        codes[name], size = _adult_codes(name, values)
        role = {"role": "target"} if name == "income" else {}
        fields.append(
            {
                "name": name,
                "type": "integer",
                "categories": list(range(size)),
                "constraints": {"required": True},
                "pegai": {"source": "dictionary", **role},
            }
        )
    schema = schema_from_dict({"fields": fields, "pegai": {"dataset": "uci-adult"}})
    return Table(pl.DataFrame(codes), schema)


def _adult_codes(name: str, values: np.ndarray) -> tuple[np.ndarray, int]:
    if name in ADULT_BINS:
        low, high, bins = ADULT_BINS[name]
        places = (values.astype(float) - low) / (high - low) * bins
        return np.clip(places.astype(np.int64), 0, bins - 1), bins
    if name == "education_num":
        return values.astype(np.int64) - 1, 16
    levels, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), len(levels)


def cells(table: Table) -> tuple[np.ndarray, list[int]]:
    """Public cells of every column, with one for missing: what distances are measured on."""
    grids = [Grid.of(column, PUBLIC_BINS) for column in table.columns]
    return np.column_stack([g.codes(table) for g in grids]), [g.size for g in grids]


def distance(first: np.ndarray, second: np.ndarray, sizes: list[int], columns: list) -> float:
    """Mean total variation distance over sets of columns."""
    found = []
    for chosen in columns:
        shape = tuple(sizes[i] for i in chosen)
        shares = []
        for codes in (first, second):
            flat = np.ravel_multi_index([codes[:, i] for i in chosen], shape)
            shares.append(np.bincount(flat, minlength=int(np.prod(shape))) / len(codes))
        found.append(0.5 * np.abs(shares[0] - shares[1]).sum())
    return float(np.mean(found))


def features(table: Table, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as they are, categories as codes, NaN for missing; rows without a target dropped."""
    parts = {}
    for column in table.columns:
        if column.is_discrete:
            codes = Grid.of(column, PUBLIC_BINS).codes(table).astype(float)
            parts[column.name] = np.where(codes == len(column.levels), np.nan, codes)
        else:
            parts[column.name] = table.numbers(column.name)
    truth = parts.pop(target)
    known = ~np.isnan(truth)
    return np.column_stack(list(parts.values()))[known], truth[known]


def tstr(train: Table, test: Table, target: str) -> float:
    """AUC on `test` of a model trained on `train`."""
    (x, y), (test_x, test_y) = features(train, target), features(test, target)
    if len(set(y)) < 2:
        return 0.5
    # Columns that came out all missing tell nothing, and the learner refuses them.
    told = ~np.isnan(x).all(axis=0)
    x, test_x = x[:, told], test_x[:, told]
    model = HistGradientBoostingClassifier(random_state=0).fit(x, y)
    return float(roc_auc_score(test_y, model.predict_proba(test_x)[:, 1]))


def figures(synthetic: Table, train: Table, test: Table, target: str) -> dict[str, float]:
    """All figures but the time."""
    (real, sizes), (made, _) = cells(train), cells(synthetic)
    count = len(sizes)
    draws = [np.random.default_rng(i).choice(count, 3, replace=False) for i in range(60)]
    sets = (
        [(i,) for i in range(count)],
        list(combinations(range(count), 2)),
        [tuple(sorted(int(i) for i in d)) for d in draws],
    )
    found = {f"tvd_{len(s[0])}": distance(made, real, sizes, s) for s in sets}
    return {"tstr_auc": tstr(synthetic, test, target), **found}


def naive_bayes(train: Table, case: Case, epsilon: float, seed: int) -> Table:
    """Noisy one-way tables by class; float noise from a seed: a bar for utility, no release."""
    rng = np.random.default_rng(seed)
    names = [n for n in train.schema.names if n != case.target]
    deviation = gaussian_noise_multiplier(epsilon, case.delta) * len(names) ** 0.5
    (codes, sizes), at = cells(train), train.schema.names.index(case.target)
    classes, levels = codes[:, at], train.schema[case.target].levels
    counts = {}
    for name in names:
        i = train.schema.names.index(name)
        exact = np.bincount(classes * sizes[i] + codes[:, i], minlength=sizes[at] * sizes[i])
        exact = exact.reshape(sizes[at], -1)[: len(levels)]
        counts[name] = exact + rng.normal(0, deviation, exact.shape)
    totals = np.maximum(np.mean([c.sum(axis=1) for c in counts.values()], axis=0), 1.0)
    drawn = {case.target: rng.choice(len(levels), len(train), p=totals / totals.sum())}
    for name, noisy in counts.items():
        shares = np.maximum(noisy, 0) + 1e-9
        cumulated = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
        places = rng.random(len(train))[:, None] > cumulated[drawn[case.target]]
        drawn[name] = np.minimum(places.sum(axis=1), noisy.shape[1] - 1)
    return _decoded(drawn, train, rng)


def _decoded(drawn: dict[str, np.ndarray], train: Table, rng: np.random.Generator) -> Table:
    series = []
    for column in train.columns:
        grid, codes = Grid.of(column, PUBLIC_BINS), drawn[column.name]
        missing = codes == grid.size - 1
        if grid.edges is None:
            texts = np.array([*column.levels, None], dtype=object)[codes].tolist()
            values = pl.Series(column.name, texts, dtype=pl.String)
        else:
            inside = np.minimum(codes, grid.size - 2)
            numbers = grid.edges[inside] + np.diff(grid.edges)[inside] * rng.random(len(codes))
            numbers = np.clip(numbers, column.minimum, column.maximum)
            numbers = np.round(numbers, column.pegai.decimals or 0)
            values = pl.Series(column.name, numbers).scatter(np.flatnonzero(missing), None)
        series.append(values.cast(train.frame.schema[column.name]))
    return Table(pl.DataFrame(series), train.schema)


def of_fits(case: Case, method: str, epsilon: float, seed: int, fits: int) -> dict[str, float]:
    """The mean of several fits on one split: their noise is secret, and never the same."""
    found = [one(case, method, epsilon, seed, fit) for fit in range(fits)]
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def one(case: Case, method: str, epsilon: float, seed: int, fit: int = 0) -> dict[str, float]:
    """Split, fit, sample and measure once."""
    rng = np.random.default_rng(seed)
    parts = split(case.table, holdout=case.holdout, rng=rng)
    start = time.perf_counter()
    if method == "real":
        made = parts.train
    elif method == "naive bayes":
        made = naive_bayes(parts.train, case, epsilon, seed + 10_000 * fit)
    else:
        with tempfile.TemporaryDirectory() as folder:
            privacy = pegai.Privacy(epsilon, case.delta, ledger=Path(folder) / "ledger.jsonl")
            model = make(method).fit(parts.train, privacy=privacy)
        seconds = time.perf_counter() - start
        made = model.sample(len(parts.train), rng=seed + 10_000 * fit)
        return {**figures(made, parts.train, parts.holdout, case.target), "seconds": seconds}
    seconds = time.perf_counter() - start
    return {**figures(made, parts.train, parts.holdout, case.target), "seconds": seconds}


def report(case: Case, method: str, epsilon: float | None, rows: list[dict[str, float]]) -> None:
    """One line a figure: mean, interval, every seed."""
    asked = "-" if epsilon is None else f"{epsilon:g}"
    for figure in FIGURES:
        mean, low, high = mean_interval([row[figure] for row in rows])
        values = " ".join(f"{row[figure]:.4f}" for row in rows)
        print(
            f"{case.name:10} epsilon {asked:4} {method:12} {figure:9} {mean:7.4f} "
            f"[{low:.4f}, {high:.4f}]  {values}",
            flush=True,
        )


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--fits", type=int, default=1, help="fits a split, averaged")
    parser.add_argument("--adult", type=Path)
    parser.add_argument("--only", choices=("heart", "cleveland", "adult"))
    parser.add_argument("--methods", nargs="+", default=["aim", "mst", "independent"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    print(
        f"pegai {pegai.__version__}, {platform.machine()}, {os.cpu_count()} cores, one thread, "
        f"split seeds {seeds[0]}-{seeds[-1]}, {asked.fits} fits a split"
    )
    found: dict[str, list[dict[str, float]]] = {}
    for case in cases(asked.only, asked.adult):
        rows = [one(case, "real", 0.0, seed) for seed in seeds]
        report(case, "real", None, rows)
        found[f"{case.name} real"] = rows
        bar = [] if case.name == "adult" else ["naive bayes"]
        for epsilon in case.epsilons:
            for method in [*bar, *asked.methods]:
                rows = [of_fits(case, method, epsilon, seed, asked.fits) for seed in seeds]
                report(case, method, epsilon, rows)
                found[f"{case.name} {method} {epsilon:g}"] = rows
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
