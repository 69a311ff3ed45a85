"""How much of a patient's gradient is kept, and how the noise of one account goes to the layers.

**Norms.** With `flat` the gradient over all layers is clipped to C. With the other allocations each
layer l is clipped to C_l of its own, with sum C_l^2 = C^2 (McMahan et al. 2018, arXiv:1710.06963,
section 2.3), so that a patient moves the whole by at most C either way.

**Noise.** Layer l gets noise of standard deviation s_l on each coordinate. Divided by s_l, layer
by layer, the sum is one vector with noise of deviation 1 that a patient moves by at most
(sum (C_l / s_l)^2)^(1/2) in L2: one Gaussian mechanism of noise multiplier

    z = (sum (C_l / s_l)^2)^(-1/2)

(McMahan et al. 2018, arXiv:1812.06210, section 3; He et al. 2022, arXiv:2212.01539, section 4).
z is what was charged; an allocation chooses the s_l that give it. With d_l coordinates in layer l:

- `flat` and one norm: s = z C on every coordinate.
- `proportional`, s_l proportional to C_l: every layer spends the same part of the account,
  (C_l / s_l)^2 = 1 / (L z^2).
- `min_variance`: the least total noise sum d_l s_l^2. Setting the derivative of
  sum d_l s_l^2 + lambda sum C_l^2 / s_l^2 to zero gives s_l^4 proportional to C_l^2 / d_l.
- `equal_snr`: the ratio of a clipped patient to the noise, C_l / (s_l d_l^(1/2)), is the same in
  every layer: s_l proportional to C_l / d_l^(1/2).

**Adaptive norms** (Andrew et al. 2021, arXiv:1905.03871). With each gradient the counts of
patients whose gradient was not clipped are released, one a group: b_l - 1/2 summed, which a patient
moves by 1/2. They are further coordinates of the same vector, with noise of deviation s_b, so

    1 / z^2 = sum (C_l / s_l)^2 + L / (4 s_b^2)

and the norms of the next step are post-processing of what was charged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pegai.errors import UsageError
from pegai.privacy.events import is_positive

Allocation = Literal["flat", "proportional", "min_variance", "equal_snr"]

ALLOCATIONS: tuple[str, ...] = get_args(Allocation)

NORM_RANGE = (2.0**-20, 2.0**20)
"""Clipping norms for which float32 products neither overflow nor vanish."""


@dataclass(frozen=True)
class AdaptiveNorm:
    """Clipping norms that follow a quantile of the patients' gradient norms.

    Attributes:
        quantile: Share of patients whose gradient shall stay unclipped.
        learning_rate: Step of log C for each step of training.
        count_share: Share of the account (of 1 / z^2) that the counts spend; the gradient's noise
            grows by (1 - count_share)^(-1/2).
    """

    quantile: float = 0.5
    learning_rate: float = 0.2
    count_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or not 0 < self.count_share < 1:
            raise UsageError(
                f"quantile and count_share must lie between 0 and 1, not {self.quantile} and "
                f"{self.count_share}"
            )
        if not is_positive(self.learning_rate):
            raise UsageError(f"learning_rate must be finite and > 0, not {self.learning_rate}")

    def following(
        self, norms: Sequence[float], noisy_counts: Sequence[float], divisor: float
    ) -> tuple[float, ...]:
        """The next norms: C exp(-learning_rate (share - quantile)), within `NORM_RANGE`.

        Args:
            norms: Of this step, one a group.
            noisy_counts: Released sums of b - 1/2, one a group.
            divisor: Public expected batch size, for the share count / divisor + 1/2.
        """
        moved: list[float] = []
        for norm, count in zip(norms, noisy_counts, strict=True):
            share = min(max(count / divisor + 0.5, 0.0), 1.0)
            stepped = norm * math.exp(-self.learning_rate * (share - self.quantile))
            moved.append(min(max(stepped, NORM_RANGE[0]), NORM_RANGE[1]))
        return tuple(moved)


@dataclass(frozen=True)
class Clipping:
    """Clipping and allocation; all public, none read from the data.

    Attributes:
        norm: L2 bound C of a patient over all layers.
        allocation: How norms and noise are shared out; see the module.
        layer_weights: Relative sizes of the layers' norms, for all but `flat`; None is equal,
            C_l = C / L^(1/2).
        adaptive: Whether and how the norms move.
    """

    norm: float = 1.0
    allocation: Allocation = "flat"
    layer_weights: tuple[float, ...] | None = None
    adaptive: AdaptiveNorm | None = None

    def __post_init__(self) -> None:
        if self.allocation not in ALLOCATIONS:
            raise UsageError(
                f"unknown allocation {self.allocation!r}", hint=f"one of {', '.join(ALLOCATIONS)}"
            )
        if not is_positive(self.norm) or not NORM_RANGE[0] <= self.norm <= NORM_RANGE[1]:
            raise UsageError(f"the clipping norm must lie in 2^-20..2^20, not {self.norm!r}")
        if self.layer_weights is None:
            return
        if self.allocation == "flat":
            raise UsageError("flat clipping has one norm, and no layer_weights")
        if not all(is_positive(weight) for weight in self.layer_weights):
            raise UsageError("layer_weights must be finite and > 0")

    def groups(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Which layers share a norm, as positions in `sizes`."""
        if self.allocation == "flat":
            return (tuple(range(len(sizes))),)
        return tuple((layer,) for layer in range(len(sizes)))

    def norms(self, sizes: Sequence[int]) -> tuple[float, ...]:
        """The first norms, one a group.

        Args:
            sizes: Coordinates of each layer.

        Raises:
            UsageError: There are not as many weights as layers, or a norm leaves `NORM_RANGE`.
        """
        if self.allocation == "flat":
            return (self.norm,)
        weights = self.layer_weights or (1.0,) * len(sizes)
        if len(weights) != len(sizes):
            raise UsageError(
                f"the network has {len(sizes)} layers with parameters, and there are "
                f"{len(weights)} layer_weights"
            )
        norms = tuple(self.norm * weight / math.hypot(*weights) for weight in weights)
        if not NORM_RANGE[0] <= min(norms) or not max(norms) <= NORM_RANGE[1]:
            raise UsageError("layer_weights give a layer a norm outside of 2^-20..2^20")
        return norms

    def noise(
        self, norms: Sequence[float], sizes: Sequence[int], noise_multiplier: float
    ) -> LayerNoise:
        """The noise of one step under the charged multiplier.

        Args:
            norms: Of this step, one a group.
            sizes: Coordinates of each layer.
            noise_multiplier: z, as charged.
        """
        counts = None
        multiplier = noise_multiplier
        if self.adaptive is not None:
            share = self.adaptive.count_share
            counts = noise_multiplier * math.sqrt(len(norms) / share) / 2
            multiplier = noise_multiplier / math.sqrt(1 - share)
        widths = [sum(sizes[layer] for layer in group) for group in self.groups(sizes)]
        relative = [
            _relative_deviation(self.allocation, norm, width)
            for norm, width in zip(norms, widths, strict=True)
        ]
        spent = math.hypot(*(norm / part for norm, part in zip(norms, relative, strict=True)))
        return LayerNoise(
            tuple(norms), tuple(multiplier * spent * part for part in relative), counts
        )


def _relative_deviation(allocation: Allocation, norm: float, width: int) -> float:
    """s_l up to a factor that is common to the layers."""
    if allocation == "min_variance":
        return math.sqrt(norm) / width**0.25
    if allocation == "equal_snr":
        return norm / math.sqrt(width)
    return norm  # one group, or an equal part of the account for each


@dataclass(frozen=True)
class LayerNoise:
    """Norms and noise of one step.

    Attributes:
        norms: C_l, one a group of layers that share a norm.
        deviations: s_l: the standard deviation of the noise on each coordinate of the group.
        count_deviation: s_b: of the noise on each group's count; None without counts.
    """

    norms: tuple[float, ...]
    deviations: tuple[float, ...]
    count_deviation: float | None = None

    @property
    def sensitivity(self) -> float:
        """L2 bound on what a patient moves of the vector in units of its noise: 1 / z."""
        parts = [c / s for c, s in zip(self.norms, self.deviations, strict=True)]
        if self.count_deviation is not None:
            parts += [0.5 / self.count_deviation] * len(self.norms)
        return math.hypot(*parts)

    @property
    def noise_multiplier(self) -> float:
        """Z = (sum (C_l / s_l)^2 + L / (4 s_b^2))^(-1/2)."""
        return 1.0 / self.sensitivity
