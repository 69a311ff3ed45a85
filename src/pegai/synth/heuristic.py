"""Noise by a chosen scale on a generator without a guarantee: a heuristic, labelled as one.

Noise on weights or latents may make a generator repeat less of what it learned. How much less
nobody can say: the scale is chosen, not derived from what one patient can change, so there is no
epsilon. Wherever it shows, it is called what it is: no formal guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.errors import UsageError

NO_GUARANTEE = "no formal guarantee"


@dataclass(frozen=True)
class HeuristicNoise:
    """Noise by a chosen scale; carries no formal guarantee, and is refused with privacy.

    Attributes:
        weight_noise: Standard deviation of the noise on every trained weight, in standard
            deviations of its array; added once, at the end of the fit.
        latent_noise: Standard deviation of the noise on every latent that is sampled, in standard
            deviations of the latents.
    """

    weight_noise: float = 0.0
    latent_noise: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (
            ("weight_noise", self.weight_noise),
            ("latent_noise", self.latent_noise),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"heuristic.{name} must be finite and at least 0, not {value!r}")

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> HeuristicNoise:
        """The noise that a model's settings name; none where they don't."""
        return cls(**settings.get("heuristic", {}))

    @property
    def is_on(self) -> bool:
        """Whether there is any noise."""
        return self.weight_noise > 0 or self.latent_noise > 0

    @property
    def label(self) -> str:
        """What was done, with what it is worth; empty without noise."""
        parts = {"weights": self.weight_noise, "latents": self.latent_noise}
        said = [f"{scale:g} on {what}" for what, scale in parts.items() if scale > 0]
        return f"heuristic noise ({', '.join(said)}): {NO_GUARANTEE}" if said else ""

    def refuse_with_privacy(self) -> None:
        """Refuse to be combined with a budget.

        Raises:
            UsageError: There is noise.
        """
        if self.is_on:
            raise UsageError(
                f"heuristic noise has {NO_GUARANTEE} and can't be combined with epsilon and delta: "
                "it would be taken for a part of the guarantee",
                hint="leave out heuristic.weight_noise and heuristic.latent_noise, or the budget",
            )

    def on_weights(
        self, weights: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """The arrays with noise, in their types; the same objects without."""
        if self.weight_noise == 0:
            return weights
        return {
            name: (
                array + self.weight_noise * array.std() * rng.standard_normal(array.shape)
            ).astype(array.dtype)
            for name, array in weights.items()
        }

    @property
    def latent_scale(self) -> float:
        """What latents are multiplied by: N(0, 1) + N(0, s^2) is N(0, 1 + s^2)."""
        return math.sqrt(1.0 + self.latent_noise**2)
