"""What the membership panel finds on flchain: leaks, jitter, overfitted generators, nothing.

Members, non-members and fresh patients are disjoint random thirds-or-less of the 7,874 residents.
TPR is of the best attack of the panel, held strictly; p is the panel's exact permutation test.

    pip download scikit-survival --no-deps -d FOLDER
    python benchmarks/attack_power.py FOLDER [--seeds 3] [--repeats 20] [--null 500] [--private 20]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import flchain
import numpy as np
import plain_generators as plain

from pegai.data.datasets import load_heart_disease
from pegai.data.splits import split
from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.attacks import ATTACKS, attack
from pegai.evaluate.privacy.membership import (
    epsilon_lower_bound,
    observed_statistics,
    panel_test,
)
from pegai.evaluate.privacy.neighbours import nearest_neighbours
from pegai.evaluate.privacy.targets import Targets, fit_targets
from pegai.privacy.guarantee import Privacy
from pegai.streams import Streams
from pegai.synth.catalog import make


class Setting:
    """One random partition of the table, and what the attacks found on a synthetic table."""

    def __init__(self, table: Table, rows: tuple[int, int, int], seed: int) -> None:
        order = np.random.default_rng([seed, *rows]).permutation(len(table))
        ends = np.cumsum(rows)
        parts = np.split(order[: ends[-1]], ends[:-1])
        self.train, self.holdout, self.fresh = (
            Table(table.frame[part.tolist()], table.schema) for part in parts
        )
        self.rng = np.random.default_rng([seed, 1])
        self.streams = Streams(seed)
        self.features = fit_features(self.train)
        found = fit_targets(
            encode(self.features, self.train), encode(self.features, self.holdout), self.streams
        )
        assert found is not None
        self.targets: Targets = found

    def scores(self, synthetic: Table) -> dict[str, np.ndarray]:
        """The panel's scores."""
        return attack(self.targets, encode(self.features, synthetic)).scores

    def p_value(self, synthetic: Table) -> float:
        """The panel's p-value."""
        return panel_test([self.scores(synthetic)], self.targets.member, self.streams).p_value

    def statistics(self, synthetic: Table) -> np.ndarray:
        """AUC, TPR at 1 % and TPR at 0.1 % of every attack; shape (attacks, 3)."""
        scores = self.scores(synthetic)
        return np.array([observed_statistics(scores[n], self.targets.member) for n in ATTACKS])


GENERATORS: dict[str, tuple[Callable[[Setting], Table], str]] = {
    "fresh patients": (lambda s: s.fresh, "nothing to find"),
    "independent columns": (lambda s: plain.independent(s.train, s.rng), "values of one person"),
    "leak 1 %": (lambda s: _leak(s, 0.01), "TPR at 0.1 % >= .0095"),
    "leak 5 %": (lambda s: _leak(s, 0.05), "TPR at 0.1 % >= .0475"),
    "leak 20 %": (lambda s: _leak(s, 0.20), "TPR at 0.1 % >= .19"),
    "verbatim copy": (lambda s: s.train, "TPR at 0.1 % >= .99"),
    "jitter .05 sd": (lambda s: plain.jittered(s.train, 0.05, s.rng), "TPR at 1 % >= .75"),
    "jitter .3 sd": (lambda s: plain.jittered(s.train, 0.3, s.rng), "AUC >= .65"),
    "trees, leaf 5": (lambda s: plain.sequential_trees(s.train, 5, s.rng), "AUC >= .65"),
    "trees, leaf 20": (lambda s: plain.sequential_trees(s.train, 20, s.rng), "AUC; published .62"),
    "Gaussian copula": (lambda s: plain.gaussian_copula(s.train, s.rng), "p below, 80 % of runs"),
}


def _leak(setting: Setting, share: float) -> Table:
    rows = round(share * len(setting.train))
    return plain.leaked(setting.fresh, setting.train, rows, setting.rng)


def power(table: Table, seeds: int) -> None:
    """Every generator: the panel's best figures, mean and range over seeds, and every AUC."""
    settings = [Setting(table, (2000, 2000, 1874), seed) for seed in range(seeds)]
    areas: dict[str, np.ndarray] = {}
    print("| synthetic table | AUC | TPR at 1 % | TPR at 0.1 % | wanted |\n|---|---|---|---|---|")
    for name, (generate, wanted) in GENERATORS.items():
        every = np.array([s.statistics(generate(s)) for s in settings])
        areas[name] = every[:, :, 0].mean(axis=0)
        found = every.max(axis=1)
        cells = [f"{m:.3f} ({a:.3f}-{b:.3f})" for m, a, b in zip(
            found.mean(0), found.min(0), found.max(0), strict=True)]  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} | {wanted} |", flush=True)
    print(f"\n| AUC by attack | {' | '.join(ATTACKS)} |\n|---|{'---|' * len(ATTACKS)}")
    for name, found in areas.items():
        print(f"| {name} | {' | '.join(f'{a:.3f}' for a in found)} |", flush=True)


def detection(table: Table, repeats: int) -> None:
    """How often the permutation test finds a leak at the 5 % level."""
    cases: dict[str, Callable[[Setting], Table]] = {
        "8 copied rows in 1,500": lambda s: plain.leaked(s.fresh, s.train, 8, s.rng),
        "Gaussian copula, n = 1,500": lambda s: plain.gaussian_copula(s.train, s.rng),
    }
    for name, generate in cases.items():
        found = 0
        for seed in range(repeats):
            setting = Setting(table, (1500, 1500, 1500), 100 + seed)
            found += setting.p_value(generate(setting)) < 0.05
        print(f"{name}: found in {found} of {repeats} runs", flush=True)


def false_alarms(table: Table, runs: int) -> None:
    """The panel on fresh patients: p < 0.05 should come in 5 % of runs."""
    alarms = 0
    for seed in range(runs):
        setting = Setting(table, (400, 400, 400), 1000 + seed)
        alarms += setting.p_value(setting.fresh) < 0.05
    print(f"false alarms: {alarms} of {runs} null runs ({alarms / runs:.1%}, wanted 5 % +- 2)")


def private(fits: int) -> None:
    """AIM at epsilon 1 on the bundled heart table: what epsilon must be, by the attacks."""
    bounds, alarms = [], 0
    for seed in range(fits):
        parts = split(load_heart_disease(), holdout=0.5, rng=Streams(seed).get("split"))
        with tempfile.TemporaryDirectory() as folder:
            budget = Privacy(1.0, 1e-4, ledger=Path(folder) / "ledger.jsonl")
            model = make("aim").fit(parts.train, privacy=budget)
        synthetic = model.sample(len(parts.train), rng=seed)
        features = fit_features(parts.train)
        coded = [encode(features, t) for t in (parts.train, parts.holdout, synthetic)]
        targets = fit_targets(coded[0], coded[1], Streams(seed))
        assert targets is not None
        scores = attack(targets, coded[2]).scores
        bounds.append(
            epsilon_lower_bound(scores, targets.member, Streams(seed), delta=1e-4).epsilon
        )
        alarms += panel_test([scores], targets.member, Streams(seed)).p_value < 0.05
    print(
        f"aim, epsilon 1, {fits} fits: lower bounds of epsilon by attack: largest "
        f"{max(bounds):.3f}, mean {np.mean(bounds):.3f}; p < .05 in {alarms}",
        flush=True,
    )


def speed() -> None:
    """20,000 targets against a million rows of 60 coordinates."""
    import resource

    rng = np.random.default_rng(0)
    reference = rng.normal(size=(1_000_000, 60)).astype(np.float32)
    targets = rng.normal(size=(20_000, 60))
    start = time.perf_counter()
    nearest_neighbours(targets, reference, 5)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"20,000 x 1,000,000 neighbours: {seconds:.0f} s, peak {peak:.1f} GiB")


def main() -> None:
    """Print every part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--null", type=int, default=500)
    parser.add_argument("--private", type=int, default=20)
    arguments = parser.parse_args()
    table = flchain.load(arguments.folder)
    print(f"flchain, {platform.machine()}, {os.cpu_count()} cores, seeds 0-{arguments.seeds - 1}")
    speed()
    private(arguments.private)
    power(table, arguments.seeds)
    detection(table, arguments.repeats)
    false_alarms(table, arguments.null)


if __name__ == "__main__":
    main()
