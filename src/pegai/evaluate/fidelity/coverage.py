"""Density and coverage: is what is synthesised where patients are, and are all of them reached?

Naeem et al. (2020), "Reliable fidelity and diversity metrics for generative models", equations 4
and 5. Around each holdout patient lies a ball that reaches to the fifth nearest other patient.

* *Density*: in how many balls a synthetic row lies, over five and averaged. Rows in the midst of
  patients count more than once, so it may exceed 1; near the baseline is right.
* *Coverage*: the share of holdout patients in whose ball any synthetic row lies. Low where a group
  of patients has no synthetic counterpart.

Both sides have as many rows, drawn at random where one has more: coverage grows with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, distance_matrix

NEIGHBOURS = 5
MIN_ROWS = 20
_CELLS = 2_000_000  # distances held at once: 16 MB
_SAME = 1e-9  # squared distances nearer than this are equal


@dataclass(frozen=True, eq=False)
class Balls:
    """The neighbourhoods of the holdout's patients.

    Attributes:
        rows: Positions in the holdout of those used.
        points: Their coordinates; shape (rows, width).
        radii: Squared radius of each ball.
    """

    rows: np.ndarray
    points: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True, eq=False)
class Coverage:
    """How the balls are filled by one table.

    Attributes:
        inside: Share of the table's rows inside of each ball, over the share expected of patients;
            the mean is the density. NaN for holdout rows that were not used.
        covered: Whether any row is inside, as 0 or 1; likewise.
    """

    inside: np.ndarray
    covered: np.ndarray


def fit_balls(holdout: Encoded, rng: np.random.Generator, *, max_rows: int) -> Balls | None:
    """Measure the neighbourhoods; None with too few patients.

    Rows of one patient are not each other's neighbours.
    """
    rows = np.sort(rng.choice(len(holdout), min(len(holdout), max_rows), replace=False))
    units = holdout.units[rows]
    if np.unique(units).size < max(MIN_ROWS, NEIGHBOURS + 1):
        return None
    points = distance_matrix(holdout.take(rows))
    radii = np.empty(rows.size)
    step = max(1, _CELLS // rows.size)
    for start in range(0, rows.size, step):
        part = slice(start, start + step)
        near = _squares(points[part], points)
        near[units[part, None] == units[None, :]] = np.inf
        radii[part] = np.partition(near, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    return Balls(rows, points, radii)


def coverage(
    balls: Balls, holdout_rows: int, table: Encoded, rng: np.random.Generator
) -> Coverage | None:
    """Count a table's rows inside of the balls; None with fewer than `MIN_ROWS` rows.

    Args:
        balls: Of the holdout.
        holdout_rows: All rows of the holdout.
        table: The synthetic table.
        rng: Draws as many of its rows as there are balls.
    """
    if len(table) < MIN_ROWS:
        return None
    size = min(len(table), balls.rows.size)
    chosen = np.sort(rng.choice(len(table), size, replace=False))
    points = distance_matrix(table.take(chosen))
    count = np.zeros(balls.rows.size)
    step = max(1, _CELLS // size)
    for start in range(0, balls.rows.size, step):
        part = slice(start, start + step)
        near = _squares(balls.points[part], points)
        count[part] = (near <= balls.radii[part, None] + _SAME).sum(axis=1)
    inside, covered = np.full((2, holdout_rows), np.nan)
    inside[balls.rows] = count * balls.rows.size / (NEIGHBOURS * size)
    covered[balls.rows] = count > 0
    return Coverage(inside, covered)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = a @ b.T
    found *= -2.0
    found += np.einsum("ij,ij->i", a, a)[:, None]
    found += np.einsum("ij,ij->i", b, b)
    return found


def means_left_out(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The mean over holdout rows, then without each jackknife group; shape (1 + groups,)."""
    used = ~np.isnan(values)
    kept = [used] + [used & (group != g) for g in range(int(group.max(initial=0)) + 1)]
    return np.array([values[rows].mean() if rows.any() else np.nan for rows in kept])
