"""The Laplace, Gaussian and exponential mechanisms, on a grid, with exact integer noise.

A mechanism is a frozen value: sensitivity and noise. `release` never looks at a seed and draws from
the operating system. Integer arrays (by their type, never by their values) stay on the integers.
Float arrays are rounded to a grid whose step is a power of two, so that scaling is exact and no
floating-point hole tells where a value was.

**What rounding costs.** Rounding moves each coordinate by at most half a step, so the difference
of two neighbours grows by at most `sqrt(d) x step` in L2 and `d x step` in L1. The step is at most
1 / 1024 of the sensitivity over `sqrt(d)` or `d`, and the noise is scaled to the grown sensitivity:
at most 0.1 % more noise, nothing left out. Values beyond 2^62 steps are clamped, which moves no two
of them apart.

The declared sensitivity must hold for the arrays as they are given, computed in floating point. The
noise is a further 2^-30 wider, for the rounding of float64 sums over up to a million rows; float32
sums need a larger bound declared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError
from pegai.privacy.bounded_range import bounded_range_mu
from pegai.privacy.events import ExponentialEvent, GaussianEvent, LaplaceEvent, is_positive
from pegai.privacy.samplers import SecureRandom

Array = NDArray[Any]

RELATIVE_STEP = 2.0**-10
"""Largest growth of a sensitivity by rounding to the grid."""

_ROUND_UP = 1.0 + 2.0**-30  # covers the rounding of float64 here and in the sums of callers
_LARGEST = 2**62


@dataclass(frozen=True)
class GaussianMechanism:
    """Adds Gaussian noise to a vector; costs `GaussianEvent(noise_multiplier)`.

    Guarantee: 1 / noise_multiplier-GDP, if adding or removing one patient changes the values by at
    most `l2_sensitivity` in L2 norm.

    Attributes:
        l2_sensitivity: Bound on the change, in the unit of the values.
        noise_multiplier: Standard deviation of the noise / l2_sensitivity.

    Example:
        >>> GaussianMechanism(1.0, 2.0).release(np.array([10, 20, 30])).shape
        (3,)
    """

    l2_sensitivity: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_sensitivity("l2_sensitivity", self.l2_sensitivity)
        _check_positive("noise_multiplier", self.noise_multiplier)

    def release(self, values: Array) -> Array:
        """The values with noise; same shape, int64 for integer input and else float64.

        Raises:
            PrivacyError: The array is not numeric, or has a NaN or infinite value.
        """
        grid = _Grid.of(values, self.l2_sensitivity, math.sqrt(max(np.size(values), 1)))
        sigma = self.noise_multiplier * grid.sensitivity * _ROUND_UP
        return grid.back(grid.points + SecureRandom().grid_gaussian(sigma, grid.points.shape))

    def event(self, label: str, count: int = 1) -> GaussianEvent:
        """What `count` releases cost."""
        return GaussianEvent(label, self.noise_multiplier, count)


@dataclass(frozen=True)
class LaplaceMechanism:
    """Adds Laplace noise to a vector; costs `LaplaceEvent(noise_multiplier)`.

    Guarantee: pure (1 / noise_multiplier)-DP, if adding or removing one patient changes the values
    by at most `l1_sensitivity` in L1 norm. Dwork, McSherry, Nissim and Smith 2006.

    Attributes:
        l1_sensitivity: Bound on the change, in the unit of the values.
        noise_multiplier: Scale of the noise / l1_sensitivity.
    """

    l1_sensitivity: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_sensitivity("l1_sensitivity", self.l1_sensitivity)
        _check_positive("noise_multiplier", self.noise_multiplier)

    def release(self, values: Array) -> Array:
        """The values with noise; same shape, int64 for integer input and else float64.

        Raises:
            PrivacyError: The array is not numeric, or has a NaN or infinite value.
        """
        grid = _Grid.of(values, self.l1_sensitivity, float(max(np.size(values), 1)))
        scale = self.noise_multiplier * grid.sensitivity * _ROUND_UP
        return grid.back(grid.points + SecureRandom().rounded_laplace(scale, grid.points.shape))

    def event(self, label: str, count: int = 1) -> LaplaceEvent:
        """What `count` releases cost."""
        return LaplaceEvent(label, self.noise_multiplier, count)


@dataclass(frozen=True)
class BoundedRangeMechanism:
    """Chooses a candidate with probability proportional to exp(epsilon x score / 2 sensitivity).

    Guarantee: epsilon-bounded-range, and so bounded_range_mu(epsilon)-GDP, if adding or removing
    one patient changes every score by at most `sensitivity`: log likelihood ratios are epsilon x
    (difference of scores) / (2 sensitivity) plus a constant, which spans epsilon. The exponential
    mechanism of McSherry and Talwar 2007, drawn exactly. Permute-and-flip chooses better at the
    same pure epsilon but is not of bounded range. The number of candidates must be public.

    Attributes:
        sensitivity: Bound on the change of any one score.
        epsilon: The range of the losses.
    """

    sensitivity: float
    epsilon: float

    def __post_init__(self) -> None:
        _check_sensitivity("sensitivity", self.sensitivity)
        bounded_range_mu(self.epsilon)

    def release(self, values: Array) -> Array:
        """The index of the chosen score, as int64 of shape (1,).

        Args:
            values: Scores, higher is better, shape (candidates,).

        Raises:
            PrivacyError: There is no candidate, or a score is NaN or infinite.
        """
        return self.release_many(values, 1)

    def release_many(self, values: Array, count: int) -> Array:
        """Independent choices among the same scores, shape (count,); each costs as much as one."""
        points, sensitivity = _score_points(values, self.sensitivity)
        rate = self.epsilon / (2.0 * sensitivity * _ROUND_UP)
        return SecureRandom().exponential_choice(points.max() - points, rate, count)


@dataclass(frozen=True)
class ExponentialMechanism:
    """Chooses the candidate with nearly the best score, by permute-and-flip.

    Guarantee: pure epsilon-DP, if adding or removing one patient changes every score by at most
    `sensitivity`. Never worse in expected score than the exponential mechanism of McSherry and
    Talwar 2007 (McKenna and Sheldon 2020, theorem 2). The number of candidates must be public.

    Attributes:
        sensitivity: Bound on the change of any one score.
        epsilon: The guarantee of one choice.
    """

    sensitivity: float
    epsilon: float

    def __post_init__(self) -> None:
        _check_sensitivity("sensitivity", self.sensitivity)
        _check_positive("epsilon", self.epsilon)

    def release(self, values: Array) -> Array:
        """The index of the chosen score, as int64 of shape (1,).

        Args:
            values: Scores, higher is better, shape (candidates,).

        Raises:
            PrivacyError: There is no candidate, or a score is NaN or infinite.
        """
        points, sensitivity = _score_points(values, self.sensitivity)
        rate = self.epsilon / (2.0 * sensitivity * _ROUND_UP)
        chosen = SecureRandom().permute_and_flip(points.max() - points, rate)
        return np.array([chosen], np.int64)

    def event(self, label: str, count: int = 1) -> ExponentialEvent:
        """What `count` choices cost."""
        return ExponentialEvent(label, self.epsilon, count)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Values as integers on a public grid.

    Attributes:
        points: The values in steps, int64.
        step: Width of a step, a power of two; None for values that were integers.
        sensitivity: The sensitivity of the points, in steps, with what rounding added.
    """

    points: NDArray[np.int64]
    step: float | None
    sensitivity: float

    @classmethod
    def of(cls, values: Array, sensitivity: float, growth: float) -> _Grid:
        """Round to the grid on which neighbours drift by at most growth steps more."""
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            raise PrivacyError(f"a mechanism releases numbers, not values of type {values.dtype}")
        if values.dtype.kind != "f":
            return cls(_clamped_integers(values), None, float(sensitivity))
        if not np.isfinite(values).all():
            # Says neither where nor how many: the error itself is seen outside.
            raise PrivacyError(
                "the values to be released are not all finite; the charge stands",
                hint="bound and fill the values before the mechanism, by a public rule",
            )
        step = math.ldexp(1.0, math.floor(math.log2(sensitivity * RELATIVE_STEP / growth)))
        with np.errstate(over="ignore", under="ignore"):
            steps = np.rint(np.clip(values.astype(np.float64) / step, -_LARGEST, _LARGEST))
        return cls(steps.astype(np.int64), step, sensitivity / step + growth)

    def back(self, points: NDArray[np.int64]) -> Array:
        """Points in the unit of the values."""
        return points if self.step is None else points * self.step


def _score_points(values: Array, sensitivity: float) -> tuple[NDArray[np.int64], float]:
    """Scores on the grid, and their sensitivity in its steps."""
    if np.ndim(values) != 1 or np.size(values) == 0:
        raise PrivacyError(f"a choice needs scores of shape (candidates,), not {np.shape(values)}")
    grid = _Grid.of(values, sensitivity, 1.0)
    # Half the range, so that the difference of two points fits 64 bits.
    return np.clip(grid.points, -_LARGEST // 2, _LARGEST // 2), grid.sensitivity


def _clamped_integers(values: Array) -> NDArray[np.int64]:
    if values.dtype == np.uint64:
        return np.minimum(values, np.uint64(_LARGEST)).astype(np.int64)
    return np.clip(values.astype(np.int64), -_LARGEST, _LARGEST)


def _check_positive(name: str, value: float) -> None:
    if not is_positive(value):
        raise PrivacyError(f"{name} must be finite and > 0, not {value!r}")


def _check_sensitivity(name: str, value: float) -> None:
    if not is_positive(value) or not 1e-100 <= value <= 1e100:
        raise PrivacyError(f"{name} must lie between 1e-100 and 1e100, not {value!r}")
