"""Federated marginals beside one place: use, error, cost, over sites, epsilon and ways of noise.

Parts, each printed with means, 95 % intervals over seeds and the machine:

- `heart`: the four hospitals. Area under the ROC curve of a model trained on synthetic rows, tested
  on each hospital's held-out patients: federated, all rows in one place at the same epsilon, each
  hospital alone, and real rows.
- `epsilon`: the same for several epsilons, at all four holdouts together.
- `networks`: the same for networks at epsilon 3, whose gradients are summed step by step.
- `averaging`: the same for networks averaged over rounds without privacy, beside one place.
- `sites`: Adult split over 2 to 10 sites that differ much (shares of each education drawn from a
  Dirichlet distribution): TSTR AUC and mean distance of 2-way tables.
- `noise`: error of 2-way tables of Adult at five sites, by way of noise: of all tables asked at
  once, as they come, and of models.
- `sum`: a million numbers, noise and masks, at each of five sites.
- `steps`: exchanges, bytes and seconds of networks, on made-up tables.
- `growth`: exchanges, bytes and seconds, by method, sites, columns and rows; made-up tables.

The split of patients and of Adult over sites is drawn by the seed; the noise is not, and never is.

    python benchmarks/federated.py [PART ...] [--seeds 5] [--fits 3] [--adult FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from private_tables import cells, distance, features, load_adult
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import pegai
from pegai.data.datasets import SITES, load_heart_disease
from pegai.data.splits import Split, split
from pegai.data.table import Table
from pegai.evaluate.scores import mean_interval
from pegai.federate.averaging import fit_averaged
from pegai.federate.coordinator import FederatedFit
from pegai.federate.plan import plan_from_dict
from pegai.federate.secagg import Exchange, SiteMask, unmask_sum
from pegai.federate.simulate import SiteData, simulate, simulated
from pegai.federate.source import FederatedSource
from pegai.privacy.noise_shares import GaussianShareMechanism
from pegai.schema import schema_from_dict
from pegai.synth.base import Fitted, learned_schema
from pegai.synth.catalog import make
from pegai.synth.grids import grid_encoder
from pegai.synth.marginals.source import TablesQuery

Figures = dict[str, float]
HEART_DELTA = 1e-3
ADULT_DELTA = 1e-5
SAMPLES = 3
SKEW = 0.5
PARTS = ("heart", "epsilon", "networks", "averaging", "sites", "noise", "sum", "steps", "growth")
NETWORKS = ("gan", "ctgan", "tvae", "vaegan")


def together(tables: list[Table]) -> Table:
    """All rows in one place."""
    return Table(pl.concat([t.frame for t in tables]), tables[0].schema)


def federated(
    tables: Mapping[str, Table], method: str, epsilon: float, delta: float, noise: str
) -> FederatedFit:
    """A run in a folder that is thrown away."""
    draft = {
        "study": "benchmark",
        "schema": next(iter(tables.values())).schema.to_dict(),
        "method": method,
        "epsilon": epsilon,
        "delta": delta,
        "noise": noise,
        "sites": [{"name": name} for name in tables],
        "timeout_seconds": 600,
    }
    with tempfile.TemporaryDirectory() as folder:
        sites = {
            name: SiteData(table, Path(folder) / f"{name}.jsonl", name)
            for name, table in tables.items()
        }
        return simulate(plan_from_dict(draft), sites, Path(folder) / "run")


def in_one_place(table: Table, method: str, epsilon: float, delta: float) -> Fitted:
    """The same method on rows that are all here."""
    with tempfile.TemporaryDirectory() as folder:
        privacy = pegai.Privacy(epsilon, delta, ledger=Path(folder) / "ledger.jsonl")
        return make(method).fit(table, privacy=privacy)


def areas(made: Table, places: Mapping[str, Table], target: str) -> Figures:
    """AUC at each place of one model trained on `made`; few patients of a class make it rough."""
    x, y = features(made, target)
    told = ~np.isnan(x).all(axis=0)
    if len(set(y)) < 2:
        return dict.fromkeys(places, 0.5)
    model = HistGradientBoostingClassifier(random_state=0).fit(x[:, told], y)
    found: Figures = {}
    for name, place in places.items():
        rows, truth = features(place, target)
        found[name] = float(roc_auc_score(truth, model.predict_proba(rows[:, told])[:, 1]))
    return found


def hospitals(seed: int) -> dict[str, Split]:
    """Each of the four, split 70/30."""
    return {
        name: split(load_heart_disease(name), holdout=0.3, rng=np.random.default_rng([seed, i]))
        for i, name in enumerate(SITES)
    }


def shown(name: str, rows: list[Figures], found: dict[str, Any]) -> None:
    """One line a figure: mean, interval, every seed."""
    found[name] = rows
    for figure in rows[0]:
        values = [row[figure] for row in rows if math.isfinite(row[figure])]
        mean, low, high = mean_interval(values)
        seeds = " ".join(f"{row[figure]:.4f}" for row in rows)
        print(f"{name:34} {figure:20} {mean:8.4f} [{low:.4f}, {high:.4f}]  {seeds}", flush=True)


def less(first: Figures, second: Figures) -> Figures:
    """The difference, figure by figure."""
    return {name: first[name] - second[name] for name in first}


def mean_of(rows: list[Figures]) -> Figures:
    """Figure by figure."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def heart(seeds: range, fits: int, found: dict[str, Any], epsilon: float = 3.0) -> None:
    """Federated, in one place, alone and real, at each hospital's holdout."""
    rows: dict[str, list[Figures]] = {}
    for seed in seeds:
        for name, figures in _heart(seed, fits, epsilon).items():
            rows.setdefault(name, []).append(figures)
    for name, figures in rows.items():
        shown(f"heart eps {epsilon:g} {name}", figures, found)
    for method in ("aim", "mst"):
        for noise in ("secagg", "local"):
            one, other = rows[f"{method} federated {noise}"], rows[f"{method} in one place"]
            gaps = [less(a, b) for a, b in zip(one, other, strict=True)]
            shown(f"heart eps {epsilon:g} {method} {noise} - one place", gaps, found)
        own = [
            {h: f[h] - a[h] for h in SITES}
            for f, a in zip(
                rows[f"{method} federated secagg"], rows[f"{method} alone"], strict=True
            )
        ]
        shown(f"heart eps {epsilon:g} {method} secagg - alone", own, found)


def _heart(seed: int, fits: int, epsilon: float) -> dict[str, Figures]:
    parts = hospitals(seed)
    train = {name: part.train for name, part in parts.items()}
    whole = together(list(train.values()))
    places = {"all": together([p.holdout for p in parts.values()])}
    places |= {name: part.holdout for name, part in parts.items()}

    def tested(model: Fitted) -> Figures:
        made = [model.sample(len(whole), rng=1000 * seed + i) for i in range(SAMPLES)]
        return mean_of([areas(table, places, "num") for table in made])

    found = {"real": areas(whole, places, "num")}
    for method in ("aim", "mst"):
        for noise in ("secagg", "local"):
            found[f"{method} federated {noise}"] = mean_of(
                [
                    tested(federated(train, method, epsilon, HEART_DELTA, noise).model)
                    for _ in range(fits)
                ]
            )
        found[f"{method} in one place"] = mean_of(
            [tested(in_one_place(whole, method, epsilon, HEART_DELTA)) for _ in range(fits)]
        )
        alone: list[Figures] = []
        for _ in range(fits):
            each = {
                n: tested(in_one_place(t, method, epsilon, HEART_DELTA)) for n, t in train.items()
            }
            own = {name: figures[name] for name, figures in each.items()}
            alone.append({"all": float(np.mean([f["all"] for f in each.values()])), **own})
        found[f"{method} alone"] = mean_of(alone)
    return found


def by_epsilon(seeds: range, fits: int, found: dict[str, Any]) -> None:
    """At all four holdouts together."""
    for epsilon in (0.3, 1.0, 3.0, 10.0):
        rows: dict[str, list[Figures]] = {}
        for seed in seeds:
            for name, figures in _at(seed, fits, epsilon).items():
                rows.setdefault(name, []).append({"auc": figures})
        for name, figures in rows.items():
            shown(f"heart eps {epsilon:g} aim {name}", figures, found)


def _at(seed: int, fits: int, epsilon: float) -> dict[str, float]:
    parts = hospitals(seed)
    train = {name: part.train for name, part in parts.items()}
    whole = together(list(train.values()))
    places = {"all": together([p.holdout for p in parts.values()])}
    ways: dict[str, Callable[[], Fitted]] = {
        "secagg": lambda: federated(train, "aim", epsilon, HEART_DELTA, "secagg").model,
        "local": lambda: federated(train, "aim", epsilon, HEART_DELTA, "local").model,
        "in one place": lambda: in_one_place(whole, "aim", epsilon, HEART_DELTA),
    }
    found: dict[str, float] = {}
    for name, fitted in ways.items():
        each: list[Figures] = []
        for _ in range(fits):
            model = fitted()
            made = [model.sample(len(whole), rng=1000 * seed + i) for i in range(SAMPLES)]
            each += [areas(table, places, "num") for table in made]
        found[name] = mean_of(each)["all"]
    return found


def networks(seeds: range, fits: int, found: dict[str, Any], epsilon: float = 3.0) -> None:
    """Gradients summed step by step, at all four holdouts together."""
    for method in NETWORKS:
        rows: dict[str, list[Figures]] = {}
        for seed in seeds:
            train, whole, holdout = _pooled(seed)
            for name in ("secagg", "local", "in one place"):
                each: list[Figures] = []
                for _ in range(fits):
                    if name == "in one place":
                        model = in_one_place(whole, method, epsilon, HEART_DELTA)
                    else:
                        model = federated(train, method, epsilon, HEART_DELTA, name).model
                    each.append(_area(model, whole, holdout, seed))
                rows.setdefault(name, []).append(mean_of(each))
        _with_gaps(f"heart eps {epsilon:g} {method}", rows, found)


def averaging(seeds: range, found: dict[str, Any]) -> None:
    """Weights averaged over rounds, without privacy."""
    for method in NETWORKS:
        rows: dict[str, list[Figures]] = {}
        for seed in seeds:
            train, whole, holdout = _pooled(seed)
            rng = np.random.default_rng(seed)
            models = {
                "averaged": fit_averaged(make(method), train, rng),  # pyright: ignore
                "in one place": make(method).fit(whole, rng=seed),
            }
            for name, model in models.items():
                rows.setdefault(name, []).append(_area(model, whole, holdout, seed))
        _with_gaps(f"heart no privacy {method}", rows, found)


def _pooled(seed: int) -> tuple[dict[str, Table], Table, Table]:
    parts = hospitals(seed)
    train = {name: part.train for name, part in parts.items()}
    return train, together(list(train.values())), together([p.holdout for p in parts.values()])


def _area(model: Fitted, whole: Table, holdout: Table, seed: int) -> Figures:
    made = [model.sample(len(whole), rng=1000 * seed + i) for i in range(SAMPLES)]
    return mean_of([areas(table, {"auc": holdout}, "num") for table in made])


def _with_gaps(title: str, rows: dict[str, list[Figures]], found: dict[str, Any]) -> None:
    """The rows, and how far each is from one place."""
    for name, figures in rows.items():
        shown(f"{title} {name}", figures, found)
    for name in rows.keys() - {"in one place"}:
        gaps = [less(a, b) for a, b in zip(rows[name], rows["in one place"], strict=True)]
        shown(f"{title} {name} - one place", gaps, found)


def skewed(table: Table, sites: int, seed: int) -> dict[str, Table]:
    """A table over sites, each education's rows by shares of its own."""
    rng = np.random.default_rng([seed, sites])
    groups = table.frame["education_num"].to_numpy()
    site = np.empty(len(table), np.int64)
    for level in np.unique(groups):
        rows = np.flatnonzero(groups == level)
        site[rows] = rng.choice(sites, len(rows), p=rng.dirichlet([SKEW] * sites))
    return {
        f"site{i:02d}": Table(table.frame.filter(pl.Series(site == i)), table.schema)
        for i in range(sites)
    }


def by_sites(seeds: range, adult: Table, found: dict[str, Any]) -> None:
    """Adult at epsilon 1."""
    for sites in (2, 3, 5, 10):
        rows: dict[str, list[Figures]] = {}
        for seed in seeds:
            parts = split(adult, holdout=0.2, rng=np.random.default_rng(seed))
            tables = skewed(parts.train, sites, seed)
            largest = max(tables.values(), key=len)
            models = {
                "secagg": federated(tables, "aim", 1.0, ADULT_DELTA, "secagg").model,
                "local": federated(tables, "aim", 1.0, ADULT_DELTA, "local").model,
                "largest alone": in_one_place(largest, "aim", 1.0, ADULT_DELTA),
            }
            if sites == 2:
                models["in one place"] = in_one_place(parts.train, "aim", 1.0, ADULT_DELTA)
            for name, model in models.items():
                rows.setdefault(name, []).append(_adult_figures(model, parts, seed))
        for name, figures in rows.items():
            shown(f"adult eps 1 {sites} sites {name}", figures, found)


def _adult_figures(model: Fitted, parts: Split, seed: int) -> Figures:
    made = model.sample(len(parts.train), rng=seed)
    (real, sizes), (drawn, _) = cells(parts.train), cells(made)
    pairs = list(combinations(range(len(sizes)), 2))
    area = areas(made, {"holdout": parts.holdout}, "income")
    return {"auc": area["holdout"], "tvd_2": distance(drawn, real, sizes, pairs)}


def by_noise(seeds: range, adult: Table, found: dict[str, Any], sites: int = 5) -> None:
    """Error of 2-way tables: all asked at once, negative counts cut; and those of models."""
    rows: dict[str, list[Figures]] = {"central": [], "secagg": [], "local": []}
    for seed in seeds:
        tables = skewed(adult, sites, seed)
        for noise, figures in rows.items():
            error = {"as asked": _released_error(tables, adult, noise)}
            for method in ("mst", "aim"):
                model = federated(tables, method, 1.0, ADULT_DELTA, noise).model
                error[method] = _model_error(model, adult, seed)
            figures.append(error)
    for noise, figures in rows.items():
        shown(f"adult eps 1 {sites} sites {noise}", figures, found)
        ratios = [
            {name: a[name] / b[name] for name in a}
            for a, b in zip(figures, rows["central"], strict=True)
        ]
        shown(f"adult eps 1 {sites} sites {noise} / central", ratios, found)


def _model_error(model: Fitted, whole: Table, seed: int) -> float:
    made = model.sample(len(whole), rng=seed)
    (real, sizes), (drawn, _) = cells(whole), cells(made)
    return distance(drawn, real, sizes, list(combinations(range(len(sizes)), 2)))


def _released_error(tables: Mapping[str, Table], whole: Table, noise: str) -> float:
    draft = {
        "study": "benchmark",
        "schema": whole.schema.to_dict(),
        "method": "mst",
        "epsilon": 1.0,
        "delta": ADULT_DELTA,
        "noise": noise,
        "sites": [{"name": name} for name in tables],
    }
    with tempfile.TemporaryDirectory() as folder:
        sites = {n: SiteData(t, Path(folder) / f"{n}.jsonl", n) for n, t in tables.items()}
        coordinator = simulated(plan_from_dict(draft), sites, Path(folder) / "run")
        coordinator.open()
        source = FederatedSource(coordinator)
        encoder = grid_encoder(learned_schema(whole.schema), bins=20)
        pairs = tuple(combinations(range(len(encoder.sizes)), 2))
        query = TablesQuery(source.schema, encoder, None, pairs, False)
        noisy, _ = source.ask(query, source.left)
    codes = encoder.encode(whole)
    errors: list[float] = []
    for (i, j), table in zip(pairs, noisy, strict=True):
        shape = (encoder.sizes[i], encoder.sizes[j])
        exact = np.bincount(
            np.ravel_multi_index((codes[:, i], codes[:, j]), shape), minlength=shape[0] * shape[1]
        )
        cut = np.maximum(table.ravel(), 0)
        errors.append(0.5 * float(np.abs(cut / cut.sum() - exact / len(codes)).sum()))
    return float(np.mean(errors))


def by_sum(seeds: range, found: dict[str, Any], sites: int = 5, size: int = 10**6) -> None:
    """Noise and masks for a million numbers: seconds at a site, and whether the sum is exact."""
    names = tuple(f"site{i}" for i in range(sites))
    keys = {name: Ed25519PrivateKey.generate() for name in names}
    pinned = {name: key.public_key().public_bytes_raw() for name, key in keys.items()}
    rows: list[Figures] = []
    for seed in seeds:
        values = np.random.default_rng(seed).integers(0, 1000, (sites, size))
        exchange = Exchange("0" * 64, f"{seed:032x}", 0, 0, "0" * 64, names)
        masks = {name: SiteMask(exchange, name, keys[name]) for name in names}
        adverts = [mask.advert for mask in masks.values()]
        mechanism = GaussianShareMechanism(1.0, 10.0, sites - 1)
        parts, plain, noise_seconds, mask_seconds = {}, np.zeros(size, np.int64), 0.0, 0.0
        for name, row in zip(names, values, strict=True):
            start = time.perf_counter()
            noisy = mechanism.release(row)
            middle = time.perf_counter()
            parts[name] = masks[name].mask(noisy, adverts, pinned)
            mask_seconds += (time.perf_counter() - middle) / sites
            noise_seconds += (middle - start) / sites
            plain += noisy
        exact = bool((unmask_sum(parts, names) == plain).all())
        rows.append({"noise_s": noise_seconds, "mask_s": mask_seconds, "exact": float(exact)})
    shown(f"sum of {size:,} at {sites} sites", rows, found)


def growth(seeds: range, found: dict[str, Any]) -> None:
    """One factor after another, from 4 sites of 1,000 rows and 14 columns."""
    cases = {(4, 14, 1000)}
    cases |= {(k, 14, 1000) for k in (2, 8, 16, 32)}
    cases |= {(4, c, 1000) for c in (28, 56, 112)}
    cases |= {(4, 14, n) for n in (10_000, 100_000)}
    for sites, columns, rows in sorted(cases):
        for method in ("aim", "mst"):
            figures = [_cost(seed, method, sites, columns, rows) for seed in seeds]
            shown(f"{method} {sites} sites {columns} columns {rows} rows", figures, found)


def steps(seeds: range, found: dict[str, Any]) -> None:
    """Networks over 4 sites of 1,000 rows and 14 columns."""
    for method in NETWORKS:
        figures = [_cost(seed, method, 4, 14, 1000) for seed in seeds]
        shown(f"{method} 4 sites 14 columns 1000 rows", figures, found)


def _cost(seed: int, method: str, sites: int, columns: int, rows: int) -> Figures:
    tables = {f"site{i:02d}": made_up(columns, rows, [seed, i]) for i in range(sites)}
    start = time.perf_counter()
    fit = federated(tables, method, 1.0, 1e-6, "secagg")
    seconds = time.perf_counter() - start
    return {
        "exchanges": len(fit.seen),
        "calls": sum(s.calls for s in fit.seen),
        "kB_from_a_site": sum(s.received for s in fit.seen) / 1000,
        "kB_to_a_site": sum(s.sent for s in fit.seen) / 1000,
        "exchange_s": sum(s.seconds for s in fit.seen),
        "seconds": seconds,
    }


def made_up(columns: int, rows: int, seed: list[int]) -> Table:
    """Half numbers, half categories of five levels, all of them leaning on one hidden number."""
    rng = np.random.default_rng(seed)
    hidden, fields, values = rng.normal(size=rows), [], {}
    for i in range(columns):
        name, noisy = f"c{i:03d}", 0.7 * hidden + rng.normal(size=rows)
        pegai_part: dict[str, Any] = {"source": "dictionary"}
        field: dict[str, Any] = {"name": name, "constraints": {"required": True}}
        if i % 2:
            values[name] = np.clip(noisy, -5, 5).round(2)
            field |= {"type": "number"}
            field["constraints"] |= {"minimum": -5, "maximum": 5}
            pegai_part |= {"decimals": 2}
        else:
            levels = 2 if i == 0 else 5
            values[name] = np.clip((noisy + 2.5) / 5 * levels, 0, levels - 1).astype(np.int64)
            field |= {"type": "integer", "categories": list(range(levels))}
            pegai_part |= {"role": "target"} if i == 0 else {}
        fields.append({**field, "pegai": pegai_part})
    schema = schema_from_dict({"fields": fields, "pegai": {"dataset": "made-up"}})
    return Table(pl.DataFrame(values), schema)


def main() -> None:
    """Run the parts and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; else all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fits", type=int, default=3, help="fits a split, averaged: noise varies")
    parser.add_argument("--adult", type=Path, help="folder of adult.data and adult.test, from UCI")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    parts = asked.parts or [p for p in PARTS if asked.adult or p not in ("sites", "noise")]
    if asked.adult is None and {"sites", "noise"} & set(parts):
        parser.error("sites and noise need --adult FOLDER")
    seeds, found = range(asked.seeds), {}
    print(
        f"pegai {pegai.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
        f"seeds 0-{asked.seeds - 1}, {asked.fits} fits a split"
    )
    adult = load_adult(asked.adult) if asked.adult else None
    jobs: dict[str, Callable[[], None]] = {
        "heart": lambda: heart(seeds, asked.fits, found),
        "epsilon": lambda: by_epsilon(seeds, asked.fits, found),
        "networks": lambda: networks(seeds, asked.fits, found),
        "averaging": lambda: averaging(seeds, found),
        "sites": lambda: by_sites(seeds, adult, found),  # pyright: ignore[reportArgumentType]
        "noise": lambda: by_noise(seeds, adult, found),  # pyright: ignore[reportArgumentType]
        "sum": lambda: by_sum(seeds, found),
        "steps": lambda: steps(seeds, found),
        "growth": lambda: growth(seeds, found),
    }
    for part in parts:
        jobs[part]()
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
