"""Noise that several sites add together, each a part, to a sum that only all of them make.

K sites hold integer vectors. Each adds its part of the noise, and only the sum is seen (by secure
summation). Where at most t sites may leave out their noise, or tell it to whoever sees the sum, the
K - t others must have enough of it among them: parts of variance sigma^2 / (K - t).

**Why the sum costs what one Gaussian release costs.** A part is a discrete Gaussian on the
integers of variance s^2, at least 16 steps squared (`SMOOTH_PART` is wider). Let m = K - t.

1. The sum of i parts and one more: completing the square as in the module `samplers`, with s1 =
   s sqrt(i) and s2 = s, the law of the sum is the discrete Gaussian of variance (i + 1) s^2 times
   a sum of a Gaussian of width tau over a shifted lattice, tau^2 = s^2 i / (i + 1) >= s^2 / 2 >= 8.
   By Poisson's formula that is constant up to a factor 1 +- e, e = 2 exp(-2 pi^2 tau^2) + ... <
   2^-226. After m - 1 additions all ratios of probabilities are those of the discrete Gaussian of
   variance m s^2 up to (1 + 2 e)^m, less than 1 + 2^-200 for any m below 2^20.
2. m s^2 = sigma^2 + 4, and by `samplers` adding the discrete Gaussian of that variance to integers
   is N(0, sigma^2), randomly rounded, up to a factor 1 +- 2^-112: post-processing of the Gaussian
   mechanism.
3. The noise of further sites is independent of all this: adding it is post-processing again.

So the sum is sigma-Gaussian, up to the total variation that the accountant adds for sampled values:
each part is drawn within 2^-108 of its law, and m parts a value count as m draws (`MAX_DRAWS`).

Balle, Bell, Gascon and Nissim 2020 ("Private summation in the multi-message shuffle model") and
Kairouz, Liu and Steinke 2021 (arXiv:2102.06387) treat sums of discrete noise with coarse grids,
where the slack must be charged; here grids are fine enough for it to vanish.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError
from pegai.privacy.events import is_positive
from pegai.privacy.samplers import SecureRandom

SMOOTH_PART = 64.0
"""Standard deviation of a part, at least, in steps: 4 would do for the proof; with 64, the noise
that rounding adds is 0.1 % of the variance at most."""

MAX_SITES = 32
LARGEST = 2**56
"""Values are clamped to so many steps, so that sums of `MAX_SITES` sites and their noise fit."""

_ROUND_UP = 1.0 + 2.0**-30
_ROUNDING_VARIANCE = 4.0  # of the random rounding in `samplers`, in steps squared


@dataclass(frozen=True)
class GaussianShareMechanism:
    """Adds one site's part of Gaussian noise to a vector of integers.

    Guarantee: of one site's release alone, none that is stated. Of the sum of all sites' releases:
    1 / noise_multiplier-GDP, if adding or removing one patient changes the values of one site by
    at most `l2_sensitivity` in L2 norm, at least `honest` sites add their parts, none of these
    tells its part to anyone, and the sum is all that is seen.

    Attributes:
        l2_sensitivity: Bound on the change of the integers.
        noise_multiplier: Standard deviation of what `honest` parts add up to / l2_sensitivity.
        honest: At least so many sites add their parts and keep them to themselves.
    """

    l2_sensitivity: float
    noise_multiplier: float
    honest: int

    def __post_init__(self) -> None:
        if not is_positive(self.l2_sensitivity) or not 1 <= self.l2_sensitivity <= 2.0**48:
            raise PrivacyError(
                f"l2_sensitivity must lie between 1 and 2^48, not {self.l2_sensitivity!r}"
            )
        if not is_positive(self.noise_multiplier):
            raise PrivacyError(
                f"noise_multiplier must be finite and > 0, not {self.noise_multiplier!r}"
            )
        if isinstance(self.honest, bool) or not 1 <= self.honest <= MAX_SITES:
            raise PrivacyError(
                f"honest must be a number of sites from 1 to {MAX_SITES}, not {self.honest!r}"
            )

    @cached_property
    def scale(self) -> int:
        """Steps of the released grid for one of the values: a power of two, 1 where noise is wide.

        Public, and the same at every site of a plan, so that their releases add up.
        """
        part = self._sigma / math.sqrt(self.honest)
        return 2 ** max(0, math.ceil(math.log2(SMOOTH_PART / part)))

    @property
    def _sigma(self) -> float:
        """Of `honest` parts together, in units of the values."""
        return self.noise_multiplier * self.l2_sensitivity * _ROUND_UP

    @property
    def part_deviation(self) -> float:
        """Standard deviation of one part, in units of the values."""
        steps = (self.scale * self._sigma) ** 2 + _ROUNDING_VARIANCE
        return math.sqrt(steps / self.honest) * _ROUND_UP / self.scale

    def release(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """`scale` times the values, plus this site's part of the noise; same shape.

        Raises:
            PrivacyError: The values are not integers by their type.
        """
        values = np.asarray(values)
        if values.dtype.kind not in "iu":
            raise PrivacyError(f"parts of noise go on integers, not on values of {values.dtype}")
        most = LARGEST // self.scale
        points = np.clip(values, -most, most).astype(np.int64) * self.scale
        noise = SecureRandom().discrete_gaussian(self.part_deviation * self.scale, points.shape)
        return points + noise
