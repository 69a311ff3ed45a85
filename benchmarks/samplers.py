"""Noise by the value: pegai's exact samplers and mechanisms, and OpenDP's side by side.

Prints nanoseconds a value (the fastest of several rounds, one thread) and, for each discrete law,
the chi-square of as many draws as asked for against the exact law, with what it says of 2/3 and 3/2
of the scale and of a scale off by one in a thousand. OpenDP is measured if it is installed:

    pip install 'pegai[oracle]'
    python benchmarks/samplers.py [--draws 1e8] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pegai.privacy import GaussianMechanism, LaplaceMechanism, SecureRandom

RANDOM = SecureRandom()
BLOCK = 1_000_000
SIGMAS = (0.8, 3.7, 50.0, 2000.0)
THIN = 50
"""Neighbouring values are joined until so many draws are expected."""


def nanoseconds(draw: Callable[[int], Any], values: int, rounds: int) -> float:
    """The fastest round, a value."""
    draw(min(values, 1000))  # tables are built once
    best = math.inf
    for _ in range(rounds):
        start = time.perf_counter()
        draw(values)
        best = min(best, time.perf_counter() - start)
    return best / values * 1e9


def opendp() -> Any:
    """OpenDP, or None where it is not installed."""
    try:
        import opendp.prelude as dp
    except ImportError:
        return None
    dp.enable_features("contrib")
    return dp


def timings(dp: Any) -> list[dict[str, Any]]:
    """A row for each law and scale."""
    rows = [
        {
            "what": f"discrete Gaussian, sigma {sigma:g}",
            "pegai": nanoseconds(lambda n, s=sigma: RANDOM.discrete_gaussian(s, n), BLOCK, 7),
            "opendp": _theirs(dp, "gaussian", sigma, integers=True),
        }
        for sigma in SIGMAS
    ]
    rows.append(
        {
            "what": "discrete Laplace, scale 50",
            "pegai": nanoseconds(lambda n: RANDOM.discrete_laplace(50.0, n), BLOCK, 7),
            "opendp": _theirs(dp, "laplace", 50.0, integers=True),
        }
    )
    for name, mechanism in (
        ("gaussian", GaussianMechanism(1.0, 50.0)),
        ("laplace", LaplaceMechanism(1.0, 50.0)),
    ):
        rows.append(
            {
                "what": f"{name.title()} mechanism on floats, noise 50",
                "pegai": nanoseconds(lambda n, m=mechanism: m.release(np.zeros(n)), BLOCK, 5),
                "opendp": _theirs(dp, name, 50.0, integers=False),
            }
        )
    return rows


def _theirs(dp: Any, law: str, scale: float, *, integers: bool) -> float:
    if dp is None:
        return math.nan
    kind = int if integers else float
    atom = dp.atom_domain(T=int) if integers else dp.atom_domain(T=float, nan=False)
    metric = dp.l2_distance(T=float) if law == "gaussian" else dp.l1_distance(T=kind)
    make = dp.m.make_gaussian if law == "gaussian" else dp.m.make_laplace
    released = make(dp.vector_domain(atom), metric, scale=scale)
    return nanoseconds(lambda n: released([kind(0)] * n), 20_000 if integers else 4000, 3)


def discrete_gaussian_shares(sigma: float, reach: int) -> np.ndarray:
    """The exact law on -reach..reach, by its definition."""
    k = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (k / sigma) ** 2)
    return weights / math.fsum(weights)


def p_value(counts: np.ndarray, shares: np.ndarray) -> float:
    """Chi-square of counts against shares, thin cells joined."""
    due = shares * counts.sum()
    group = np.minimum(np.cumsum(due) // THIN, max(counts.sum() // THIN - 1, 0)).astype(int)
    seen, expected = np.bincount(group, counts), np.bincount(group, due)
    kept = expected > 0
    scaled = expected[kept] * seen[kept].sum() / expected[kept].sum()
    return float(stats.chisquare(seen[kept], scaled).pvalue)


def goodness(sigma: float, draws: int) -> dict[str, Any]:
    """Chi-square of the discrete Gaussian on many draws, and of wrong scales on the same."""
    reach = math.ceil(14 * sigma) + 2
    counts = np.zeros(2 * reach + 1)
    start = time.perf_counter()
    for first in range(0, draws, BLOCK):
        drawn = RANDOM.discrete_gaussian(sigma, min(BLOCK, draws - first))
        counts += np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=counts.size)
    return {
        "sigma": sigma,
        "draws": draws,
        "seconds": time.perf_counter() - start,
        "p": p_value(counts, discrete_gaussian_shares(sigma, reach)),
        "p_at": {
            f"{factor:.4g}": p_value(counts, discrete_gaussian_shares(sigma * factor, reach))
            for factor in (2 / 3, 0.999, 1.001, 3 / 2)
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=float, default=1e7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dp = opendp()
    version = "not installed" if dp is None else metadata.version("opendp")
    print(f"ns a value; OpenDP {version}; numpy {np.__version__}; {platform.machine()}, 1 thread")
    print("| noise | pegai | OpenDP | ratio |\n|---|---|---|---|")
    rows = timings(dp)
    for row in rows:
        theirs = "-" if math.isnan(row["opendp"]) else f"{row['opendp']:,.0f}"
        ratio = "-" if math.isnan(row["opendp"]) else f"{row['opendp'] / row['pegai']:,.0f}x"
        print(f"| {row['what']} | {row['pegai']:,.0f} | {theirs} | {ratio} |")
    found = []
    for sigma in SIGMAS[:3]:
        found.append(goodness(sigma, int(arguments.draws)))
        one = found[-1]
        wrong = ", ".join(f"{k}: {v:.1e}" for k, v in one["p_at"].items())
        print(
            f"discrete Gaussian, sigma {sigma:g}, {one['draws']:,} draws in {one['seconds']:.1f} s:"
            f" chi-square p {one['p']:.4f}; with the scale wrong by a factor: {wrong}"
        )
    if arguments.json is not None:
        content = {"opendp": version, "nanoseconds": rows, "goodness": found}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
