"""Stable key selection: which values occur, of a column whose values are not known beforehand.

Noise is added to the weight of every value that is present, and only values whose noisy weight is
above a threshold come out (Korolova, Kenthapadi, Mishra and Ntoulas 2009, "Releasing search queries
and clicks privately"; Wilson et al. 2020, "Differentially private SQL with bounded user
contribution", section 3.3).

**Guarantee.** Let D' be D and one patient more, who adds at most `whole` in all to the weights of
at most `max_keys` values. Let M be the mechanism and p the chance that M(D') releases a value that
this patient alone has; below, p <= `delta`. Let M' run on D' as if these values were not there. On
the values that D and D' share, the weights differ by at most `whole` in L1, so in L2, and M(D) and
M'(D') are the same post-processing of a Gaussian release of these weights: for every epsilon they
are (epsilon, g)-indistinguishable, both ways round, with g the Gaussian's delta at epsilon. Noise
is independent from value to value, so M(D') is M'(D') with chance 1 - p, independently of what
else happens. For every set A of outputs, with A0 those of A in which no new value is,

    P(M(D') in A) - e^epsilon P(M(D) in A)
        <= p + (1 - p) [P(M'(D') in A) - e^epsilon P(M(D) in A)]   <= p + (1 - p) g
    P(M(D) in A) - e^epsilon P(M(D') in A)
        <= P(M(D) in A0) - e^epsilon (1 - p) P(M'(D') in A0)
         = p P(M(D) in A0) + (1 - p) [P(M(D) in A0) - e^epsilon P(M'(D') in A0)] <= p + (1 - p) g

which grows in p, as g <= 1. So a Gaussian beside an event of chance `delta` that tells all
dominates the mechanism, and the two add up on their own (`gaussian_cost`).

**The threshold.** A value of weight w comes out with chance at most f(w) = P(N > threshold - w),
where N is a Gaussian of variance sigma^2 + 4: the noise is a rounded Gaussian of deviation sigma,
or a discrete one of variance sigma^2 + 4 (`samplers.grid_gaussian`), and for whole t >= 1 the
discrete one has P(Y >= t) <= P(N > t - 1), since the sum is below the integral and its norm above.
Up to the threshold f is convex, so the sum of f over m values whose weights sum to `whole` is
largest where one has all of it: f(whole) + (m - 1) f(0) <= f(whole) + (max_keys - 1) f(0). The
threshold is the least whole number at which this is at most `delta`. It covers the case of k rows
of equal weight too, m f(whole / m) with m <= k. Values of weight 0 never come out.

How many values there are is private. It is seen in the time that the draws take, which is not
covered, and nowhere else: what is not released leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError
from pegai.privacy.events import KeySelectionEvent
from pegai.privacy.mechanisms import GaussianMechanism

ENTRY = np.dtype([("key", object), ("weight", np.int64)])
"""A value and its weight, or its noisy weight."""

MAX_WHOLE = 2**32
MAX_KEYS = 2**32
_GRID_VARIANCE = 4.0  # of the samplers' wide discrete Gaussian, beyond sigma^2
_ROUNDING = 1.0 + 2.0**-29  # more than the mechanism's own widening of the noise


@dataclass(frozen=True)
class KeySelectionMechanism:
    """Releases the values whose noisy weight is high; costs `KeySelectionEvent`.

    Guarantee: a Gaussian of `noise_multiplier` beside a chance of `delta`, if adding or removing
    one patient adds at most `whole` in all to at most `max_keys` values, and takes nothing away.

    Attributes:
        whole: The weight of a patient, an integer.
        noise_multiplier: Standard deviation of the noise / whole.
        delta: Bound on the chance that a value comes out which one patient alone has.
        max_keys: The most values of one patient; public.
    """

    whole: int
    noise_multiplier: float
    delta: float
    max_keys: int

    def __post_init__(self) -> None:
        for name, value, most in (
            ("whole", self.whole, MAX_WHOLE),
            ("max_keys", self.max_keys, MAX_KEYS),
        ):
            if type(value) is not int or not 1 <= value <= most:
                raise PrivacyError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        if self.event("check").delta >= 0.5:
            raise PrivacyError(f"delta must be below 0.5, not {self.delta!r}")

    @property
    def deviation(self) -> float:
        """Bound on the standard deviation of the noise, in units of weight."""
        sigma = self.noise_multiplier * self.whole * _ROUNDING
        return (sigma**2 + _GRID_VARIANCE) ** 0.5

    @cached_property
    def threshold(self) -> int:
        """What a noisy weight must exceed; public."""
        low, high = self.whole, 2 * self.whole + 1
        while self.chance(high) > self.delta:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.chance(middle) <= self.delta else (middle, high)
        return high

    def chance(self, threshold: int) -> float:
        """Bound on the chance that a value of one patient alone passes; threshold >= whole."""
        ndtr: Any = import_module("scipy.special").ndtr
        one = float(ndtr((self.whole - threshold) / self.deviation))
        rest = float(ndtr(-threshold / self.deviation))
        return (one + (self.max_keys - 1) * rest) * (1 + 1e-9)

    def release(self, values: NDArray[Any]) -> NDArray[Any]:
        """The entries that pass, with noisy weights, sorted by key.

        Args:
            values: Different keys and their weights, of type `ENTRY`; shape (keys,).

        Returns:
            Of type `ENTRY`, shape (released,); in no way the order of what was given.
        """
        present = values[values["weight"] > 0]
        noise = GaussianMechanism(float(self.whole), self.noise_multiplier)
        noisy = noise.release(present["weight"])
        passed = noisy > self.threshold
        return entries(present["key"][passed], noisy[passed], ordered=True)

    def event(self, label: str, count: int = 1) -> KeySelectionEvent:
        """What `count` releases cost."""
        return KeySelectionEvent(label, self.noise_multiplier, self.delta, count)


def entries(keys: Iterable[str], weights: Any, *, ordered: bool = False) -> NDArray[Any]:
    """Keys and weights as one array of type `ENTRY`.

    Args:
        keys: Texts, none twice.
        weights: Integers, as many.
        ordered: Sort by key.

    Raises:
        PrivacyError: Lengths differ, or a key is there twice: its noise would be drawn twice. Both
            are faults of the caller, not of the data.
    """
    listed = list(keys)
    counts = np.asarray(weights)
    if counts.dtype.kind not in "iu" or counts.shape != (len(listed),):
        raise PrivacyError("a key selection needs one integer weight for each key")
    if len(set(listed)) != len(listed):
        raise PrivacyError("a key selection needs keys that differ")
    found = np.empty(len(listed), ENTRY)
    found["key"], found["weight"] = listed, counts
    if ordered:
        found = found[sorted(range(len(listed)), key=listed.__getitem__)]
    return found
