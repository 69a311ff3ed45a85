"""Equivalent sample: how many real patients a synthetic table is worth, in fidelity.

The headline. For growing random subsamples of the *training* patients, the distance to the
*holdout* is measured, which gives a falling curve (near `sqrt(a / m + b)`, b being the holdout's
own noise). The synthetic table's distance is found on this curve: as close as m real patients are.
It is the idea of SDNist's "sub-sample equivalent" (Task, Bhagat and Howarth, NIST 2023), here
against a holdout, by patient, and with four questions in place of one:

| question | distance |
|---|---|
| `1way`, `2way`, `3way` | mean total variation distance of tables of one, two, three columns |
| `conditionals` | error of predicting each column of real patients from the others |

The *smallest* of the four answers counts. A mean would let right marginals buy off lost dependence:
independent columns are worth most training patients by the first question and a handful by the
last.

A table that is as close as all training patients together is worth "at least" these: nothing is
extrapolated. A copy of the training table is so by construction. This is fidelity alone; whether
rows were copied is the question of the privacy scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.fidelity.conditionals import RealConditionals, conditional_errors
from pegai.evaluate.fidelity.marginal_tables import ORDERS, Binned
from pegai.evaluate.fidelity.marginals import MarginalDistances, RealTables, growing_distances

QUESTIONS = ("1way", "2way", "3way", "conditionals")
SIZES = 20
SMALLEST = 5
"""Patients of the smallest subsample."""

MIN_PATIENTS = 20
"""Training patients below which there is no curve."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The distance of real subsamples, by size.

    Attributes:
        sizes: Patients, growing; the last is all of them.
        errors: For each question, shape (sizes, 1 + groups), never growing with the size; NaN where
            a table has too few columns for a question.
    """

    sizes: np.ndarray
    errors: dict[str, np.ndarray]

    @property
    def patients(self) -> int:
        """All training patients."""
        return int(self.sizes[-1])


@dataclass(frozen=True, eq=False)
class EquivalentSample:
    """What one synthetic table is worth.

    Attributes:
        patients: For each question, against the whole holdout and then without each jackknife
            group; shape (1 + groups,). `SMALLEST` stands for that or less, all training patients
            for that or more.
        errors: The distances, likewise.
    """

    patients: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]

    @property
    def headline(self) -> np.ndarray:
        """The smallest answer; shape (1 + groups,), NaN where no question has one."""
        found = np.array(list(self.patients.values()))
        known = ~np.isnan(found).any(axis=1)
        return found[known].min(axis=0) if known.any() else np.full(found.shape[1], np.nan)

    @property
    def limit(self) -> str:
        """The question with the smallest answer."""
        known = {k: v[0] for k, v in self.patients.items() if not np.isnan(v[0])}
        return min(known, key=lambda k: known[k]) if known else ""


def fit_curve(
    real: RealTables,
    conditionals: RealConditionals,
    train: Binned,
    units: np.ndarray,
    rng: np.random.Generator,
    *,
    repeats: int,
) -> Curve | None:
    """Measure growing random subsamples of the training patients, nested within a repeat.

    Args:
        real: The holdout's tables.
        conditionals: The holdout's Gram matrices.
        train: Bins of the training table.
        units: The patient of each training row.
        rng: Draws the subsamples.
        repeats: Orders of the patients to average over.

    Returns:
        The curve; None with fewer than `MIN_PATIENTS`.
    """
    found, inverse = np.unique(units, return_inverse=True)
    if found.size < MIN_PATIENTS:
        return None
    sizes = np.unique(np.round(np.geomspace(SMALLEST, found.size, SIZES)).astype(np.int64))
    total: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        # The place of each patient in the order, and with which size it comes in.
        part = np.searchsorted(sizes, rng.permutation(found.size), side="right")[inverse]
        for name, errors in _grown(real, conditionals, train, part, sizes.size).items():
            total[name] = total.get(name, 0.0) + errors / repeats
    return Curve(sizes, {name: _falling(errors) for name, errors in total.items()})


def _grown(
    real: RealTables,
    conditionals: RealConditionals,
    train: Binned,
    part: np.ndarray,
    parts: int,
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for order in ORDERS:
        distances = growing_distances(real, train, order, part, parts)
        empty = np.full(distances.shape[1:], np.nan)
        found[f"{order}way"] = distances.mean(axis=0) if len(distances) else empty
    return found | {"conditionals": conditional_errors(conditionals, train, part, parts)}


def _falling(errors: np.ndarray) -> np.ndarray:
    """Midway between the largest falling curve below and the smallest one above."""
    below = np.minimum.accumulate(errors, axis=0)
    above = np.maximum.accumulate(errors[::-1], axis=0)[::-1]
    return (below + above) / 2


def equivalent_sample(
    curve: Curve, distances: MarginalDistances, conditionals: np.ndarray
) -> EquivalentSample:
    """Find a synthetic table on the curve.

    Args:
        curve: Of real subsamples.
        distances: The synthetic table's.
        conditionals: What it teaches, from `conditional_errors`; shape (1 + groups,).
    """
    errors = {f"{order}way": distances.means(order) for order in ORDERS}
    errors["conditionals"] = conditionals
    found = {name: invert(curve, name, values) for name, values in errors.items()}
    return EquivalentSample(found, errors)


def invert(curve: Curve, name: str, errors: np.ndarray) -> np.ndarray:
    """The size at which real patients are at a distance, by each column of the curve.

    Between two sizes the squared distance is linear in one over the size, as it is for samples.

    Returns:
        Patients; shape (1 + groups,), NaN without a curve.
    """
    heights = curve.errors[name]
    if np.isnan(heights).any() or np.isnan(errors).any():
        return np.full(errors.shape, np.nan)
    found = np.empty(errors.shape)
    for i, error in enumerate(errors):
        found[i] = _at_height(curve.sizes, heights[:, i], float(error))
    return found


def _at_height(sizes: np.ndarray, heights: np.ndarray, error: float) -> float:
    # Rounding must not turn "as good as all" into "nearly".
    if error <= heights[-1] * (1 + 1e-9) + 1e-12:
        return float(sizes[-1])
    if error >= heights[0]:
        return float(sizes[0])
    after = int(np.flatnonzero(heights <= error)[0])
    high, low = heights[after - 1] ** 2, heights[after] ** 2
    share = (high - error**2) / (high - low)
    return float(1 / (1 / sizes[after - 1] + share * (1 / sizes[after] - 1 / sizes[after - 1])))
