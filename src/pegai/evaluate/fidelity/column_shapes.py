"""Column shapes: how far each column's distribution is from that of real patients.

Discrete columns by total variation distance, with "missing" as a level of its own; numeric ones by
the Kolmogorov-Smirnov distance of what is observed and the difference in missing rates. The
comparison is with the *holdout*: a generator that re-emits its training rows must not win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded


@dataclass(frozen=True)
class ColumnShape:
    """How far one column is from the real one.

    Attributes:
        column: Name.
        metric: `tvd` (discrete) or `ks` (numeric).
        distance: 0 is equal, 1 is disjoint; missing values included.
        observed: The distance among observed values only; 0 where one side has none.
        missing_real: Share missing in the real table.
        missing_synthetic: Share missing in the synthetic table.
    """

    column: str
    metric: str
    distance: float
    observed: float
    missing_real: float
    missing_synthetic: float


@dataclass(frozen=True)
class ColumnShapes:
    """The distances of all columns.

    Attributes:
        details: One a column, numeric columns first.
    """

    details: tuple[ColumnShape, ...]

    @property
    def score(self) -> float:
        """One minus the mean distance: 1 is equal. NaN without columns."""
        distances = [d.distance for d in self.details]
        return 1.0 - float(np.mean(distances)) if distances else float("nan")


def column_shapes(real: Encoded, synthetic: Encoded) -> ColumnShapes:
    """Compare every column of two coded tables.

    Args:
        real: Real patients, coded; the holdout.
        synthetic: The synthetic table, by the same coding.
    """
    details = [
        _numeric(column.name, real.numbers[:, i], synthetic.numbers[:, i])
        for i, column in enumerate(real.features.numbers)
    ]
    details += [
        _discrete(column.name, column.size, real.codes[:, i], synthetic.codes[:, i])
        for i, column in enumerate(real.features.discrete)
    ]
    return ColumnShapes(tuple(details))


def _numeric(name: str, real: np.ndarray, synthetic: np.ndarray) -> ColumnShape:
    absent_real, absent_synthetic = np.isnan(real), np.isnan(synthetic)
    missing_real, missing_synthetic = _share(absent_real), _share(absent_synthetic)
    distance = kolmogorov_smirnov(real[~absent_real], synthetic[~absent_synthetic])
    # Weighted like the total variation distance of a discrete column: what both sides have
    # observed counts by its share, and patients missing on one side only count in full.
    common = 1.0 - max(missing_real, missing_synthetic)
    joint = abs(missing_real - missing_synthetic) + common * distance
    return ColumnShape(name, "ks", joint, distance, missing_real, missing_synthetic)


def _discrete(name: str, size: int, real: np.ndarray, synthetic: np.ndarray) -> ColumnShape:
    p = np.bincount(real + 1, minlength=size + 1) / max(1, real.size)
    q = np.bincount(synthetic + 1, minlength=size + 1) / max(1, synthetic.size)
    observed = 0.0
    if p[0] < 1 and q[0] < 1:
        observed = float(np.abs(p[1:] / (1 - p[0]) - q[1:] / (1 - q[0])).sum() / 2)
    joint = float(np.abs(p - q).sum() / 2)
    return ColumnShape(name, "tvd", joint, observed, float(p[0]), float(q[0]))


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if mask.size else 0.0


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two empirical distribution functions; 0 where one side is empty."""
    if a.size == 0 or b.size == 0:
        return 0.0
    a, b = np.sort(a), np.sort(b)
    grid = np.concatenate([a, b])
    below_a = np.searchsorted(a, grid, side="right") / a.size
    below_b = np.searchsorted(b, grid, side="right") / b.size
    return float(np.abs(below_a - below_b).max())
