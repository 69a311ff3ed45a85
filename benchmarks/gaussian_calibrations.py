"""The four Gaussian calibrations side by side: noise, its ratio to the exact one, and validity.

Prints the tables of docs/explanation/gaussian-calibrations.md, and draws its picture. No data and
no chance: the figures are the same everywhere.

    python benchmarks/gaussian_calibrations.py [--plot FILE.png] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

from pegai.errors import PrivacyError
from pegai.privacy import gaussian_noise_multiplier
from pegai.privacy.accountant import gaussian_delta
from pegai.privacy.gaussian_calibrations import CALIBRATIONS, Calibration

EPSILONS = (0.1, 0.5, 1.0, 3.0, 10.0)
DELTAS = (1e-3, 1e-5, 1e-9)
UNPROVEN = ((2.0, 1e-3), (3.0, 1e-3), (8.0, 1e-3), (8.0, 1e-5), (10.0, 1e-5), (20.0, 1e-9))


def noise(calibration: Calibration, epsilon: float, delta: float) -> float:
    """The noise multiplier, or NaN where it is refused."""
    try:
        return gaussian_noise_multiplier(epsilon, delta, calibration)
    except PrivacyError:
        return math.nan


def rows() -> Iterator[dict[str, float]]:
    """One row for each epsilon and delta: the noise multipliers."""
    for delta in DELTAS:
        for epsilon in EPSILONS:
            found = {name: noise(name, epsilon, delta) for name in CALIBRATIONS}
            yield {"epsilon": epsilon, "delta": delta, **found}


def classic_beyond() -> Iterator[dict[str, float]]:
    """What the classic formula would claim, and what it would give, where it is refused."""
    for epsilon, delta in UNPROVEN:
        multiplier = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
        true = gaussian_delta(1 / multiplier, epsilon)
        yield {"epsilon": epsilon, "claimed": delta, "true": true, "ratio": true / delta}


def print_tables(found: list[dict[str, float]], beyond: list[dict[str, float]]) -> None:
    """Both tables, in the form that the page has them."""
    print("| epsilon | delta | analytic | classic | zhao1 | zhao2 |")
    print("|---|---|---|---|---|---|")
    for row in found:
        cells = [f"{row['epsilon']:g}", f"{row['delta']:g}", f"{row['analytic']:.3f}"]
        for name in CALIBRATIONS[1:]:
            ratio = row[name] / row["analytic"]
            cells.append("refused" if math.isnan(ratio) else f"{row[name]:.3f} ({ratio:.3f}x)")
        print("| " + " | ".join(cells) + " |")
    print("\n| epsilon | delta that `classic` claims | delta that it gives | too large by |")
    print("|---|---|---|---|")
    for row in beyond:
        verdict = f"{row['ratio']:.3g} times" if row["ratio"] > 1 else "not, but unproven"
        print(f"| {row['epsilon']:g} | {row['claimed']:g} | {row['true']:.2g} | {verdict} |")


def draw(path: Path) -> None:
    """Noise over the exact one, by epsilon, at delta 1e-5."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grid = [10 ** (x / 40) for x in range(-80, 53)]
    colours = {"classic": "#b3541e", "zhao1": "#1f6f8b", "zhao2": "#7a5195"}
    figure, axes = plt.subplots(figsize=(6.4, 3.4), dpi=150, layout="constrained")
    axes.axhline(1.0, color="#444444", linewidth=1.2)
    axes.text(0.0105, 1.012, "analytic: the least noise that will do", color="#444444", fontsize=8)
    for name in CALIBRATIONS[1:]:
        ratios = [noise(name, e, 1e-5) / noise("analytic", e, 1e-5) for e in grid]
        axes.plot(grid, ratios, label=name, color=colours[name], linewidth=1.8)
    axes.plot([1.0], [noise("classic", 1.0, 1e-5) / noise("analytic", 1.0, 1e-5)],
              marker="o", markersize=4, color=colours["classic"])  # fmt: skip
    axes.annotate("refused above\nepsilon 1", (1.0, 1.30), (1.25, 1.42), fontsize=8,
                  color=colours["classic"])  # fmt: skip
    axes.set(xscale="log", xlabel="epsilon", ylabel="noise / least noise", ylim=(0.97, 2.1))
    axes.set_title("Noise of the closed formulas, delta 1e-5", fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Print, and where asked draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found, beyond = list(rows()), list(classic_beyond())
    print_tables(found, beyond)
    if arguments.plot is not None:
        draw(arguments.plot)
    if arguments.json is not None:
        plain = [{k: None if math.isnan(v) else v for k, v in row.items()} for row in found]
        content = {"calibrations": plain, "classic_beyond_1": beyond}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
