"""Events added up by kind, and the privacy-loss distribution of all of them.

What `accountant` asks when it turns events into epsilon and delta. Distributions are those of
`dp_accounting`, discretized pessimistically: every figure taken from them is an upper bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from pegai.errors import PrivacyError
from pegai.privacy.events import (
    Event,
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    KeySelectionEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
)

_MAX_POINTS = 1e5


@dataclass(frozen=True)
class Composition:
    """Events without labels, added up by kind, so that equal costs hit the same cache.

    Attributes:
        mu_squared: Of all Gaussians together.
        laplace: Noise multipliers, and how often each.
        pure: The same by epsilon.
        subsampled: The same by noise multiplier and sampling probability.
        lost: What is added to every delta; no bound holds without it.
    """

    mu_squared: float
    laplace: tuple[tuple[float, int], ...]
    pure: tuple[tuple[float, int], ...]
    subsampled: tuple[tuple[float, float, int], ...]
    lost: float

    @classmethod
    def of(cls, events: Sequence[Event]) -> Composition:
        """The sum of events.

        Raises:
            PrivacyError: One is of a type that isn't known here.
        """
        mu_squared: list[float] = []
        laplace: Counter[float] = Counter()
        pure: Counter[float] = Counter()
        subsampled: Counter[tuple[float, float]] = Counter()
        lost: list[float] = []
        for event in events:
            if isinstance(event, (GaussianEvent, GaussianFilterEvent)):
                mu_squared.append(event.count / event.noise_multiplier**2)
            elif isinstance(event, KeySelectionEvent):
                mu_squared.append(event.count / event.noise_multiplier**2)
                lost.append(event.count * event.delta)
            elif isinstance(event, LaplaceEvent):
                laplace[event.noise_multiplier] += event.count
            elif isinstance(event, (ExponentialEvent, RandomizedResponseEvent)):
                pure[event.epsilon] += event.count
            elif isinstance(event, SubsampledGaussianEvent):
                if event.sampling_probability == 1:
                    mu_squared.append(event.count / event.noise_multiplier**2)
                else:
                    key = (event.noise_multiplier, event.sampling_probability)
                    subsampled[key] += event.count
            else:
                raise PrivacyError(f"the accountant doesn't know events of {type(event).__name__}")
        return cls(
            math.fsum(mu_squared),
            tuple(sorted(laplace.items())),
            tuple(sorted(pure.items())),
            tuple(sorted((*key, count) for key, count in subsampled.items())),
            math.fsum(lost) * (1 + 1e-12),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing but `lost` is left of them."""
        return not (self.mu_squared or self.laplace or self.pure or self.subsampled)

    @property
    def pure_sum(self) -> float:
        """Basic composition of the pure events."""
        return math.fsum([c / m for m, c in self.laplace] + [e * c for e, c in self.pure])

    @property
    def uses(self) -> int:
        """How many distributions are convolved; the Gaussians count as one."""
        counts = [item[-1] for item in (*self.laplace, *self.pure, *self.subsampled)]
        return int(sum(counts)) + bool(self.mu_squared)

    @property
    def rough_mu(self) -> float:
        """Mu of the central limit (Bu, Dong, Long and Su 2020, for the subsampled part)."""
        variance = self.mu_squared
        variance += sum(count / m**2 for m, count in self.laplace)
        variance += sum(count * e**2 for e, count in self.pure)
        variance += sum(count * _step_variance(m, q) for m, q, count in self.subsampled)
        return math.sqrt(variance)

    @property
    def largest_loss(self) -> float:
        """About the widest single loss, for the size of the arrays."""
        gaussians = [(1 / math.sqrt(self.mu_squared), 1.0)] if self.mu_squared else []
        multipliers = gaussians + [(m, q) for m, q, _ in self.subsampled]
        losses = [math.log1p(q * math.expm1(min(0.5 / m**2 + 10 / m, 700))) for m, q in multipliers]
        return max(losses + [1 / m for m, _ in self.laplace] + [e for e, _ in self.pure])


def _step_variance(noise_multiplier: float, q: float) -> float:
    inverse = 1.0 / noise_multiplier**2
    return min(q**2 * math.expm1(min(inverse, 700.0)), inverse)


def _interval(whole: Composition, resolution: float) -> float:
    """Width of a loss bin: a fraction of the standard deviation of the loss of one use.

    Discretizing adds about (interval^2 x uses) / 10 to the variance of the composed loss, so the
    relative error of epsilon is about 1 / (10 resolution^2).
    """
    width = whole.rough_mu / math.sqrt(whole.uses) / resolution
    width = max(width, whole.largest_loss / _MAX_POINTS)
    if whole.pure:
        # Let the loss of the first pure event fall on the grid, where rounding costs nothing.
        smallest = whole.pure[0][0]
        width = smallest / math.ceil(smallest / width)
    return width


@lru_cache(maxsize=16)
def loss_distribution(whole: Composition, resolution: float) -> Any:
    """The PLD of everything, composed."""
    pld = import_module("dp_accounting.pld.privacy_loss_distribution")
    width = _interval(whole, resolution)
    parts: list[Any] = []
    if whole.mu_squared:
        parts.append(
            pld.from_gaussian_mechanism(
                1 / math.sqrt(whole.mu_squared), value_discretization_interval=width
            )
        )
    for multiplier, count in whole.laplace:
        one = pld.from_laplace_mechanism(multiplier, value_discretization_interval=width)
        parts.append(_repeat(one, count))
    for epsilon, count in whole.pure:
        parts.append(_repeat(_pure_loss(epsilon, width), count))
    for multiplier, q, count in whole.subsampled:
        one = pld.from_gaussian_mechanism(
            multiplier, sampling_prob=q, value_discretization_interval=width
        )
        parts.append(_repeat(one, count))
    composed = parts[0]
    for part in parts[1:]:
        composed = composed.compose(part)
    return composed


def _repeat(loss: Any, count: int) -> Any:
    return loss if count == 1 else loss.self_compose(count)


def _pure_loss(epsilon: float, width: float) -> Any:
    """Binary randomized response at epsilon rounded up to the grid; dominates pure DP."""
    pld = import_module("dp_accounting.pld.privacy_loss_distribution")
    bins = math.ceil(epsilon / width * (1 - 1e-12))
    rounded = bins * width
    mass = {bins: 1 / (1 + math.exp(-rounded)), -bins: 1 / (1 + math.exp(rounded))}
    return pld.PrivacyLossDistribution.create_from_rounded_probability(mass, 0.0, width)
