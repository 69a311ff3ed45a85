"""A trained generator with a latent vector: what is sampled and saved, however it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema
from pegai.synth.base import Fitted
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.files import ModelFile
from pegai.synth.heuristic import HeuristicNoise

if TYPE_CHECKING:
    from pegai.synth.networks.nets import ConditionalGenerator
    from pegai.synth.networks.priors import LatentMixture

CHUNK_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class FittedLatent(Fitted):
    """A generator of codes from a latent vector and a class.

    Attributes:
        encoder: Codes of the table.
        condition: The column that the generator is conditioned on, or None.
        class_shares: How often each of its classes is drawn, shape (classes,).
        weights: The generator's arrays by name.
        prior: Of the latents, by class; None is standard normal.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
        steps: Steps of the kept generator.
        held_back: What each look at held-back rows said; empty with privacy.
    """

    encoder: TableEncoder
    condition: str | None
    class_shares: np.ndarray
    weights: dict[str, np.ndarray]
    prior: LatentMixture | None
    settings: dict[str, Any]
    guarantee: Guarantee | None
    steps: int
    held_back: tuple[float, ...] = ()

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    @cached_property
    def generator(self) -> ConditionalGenerator:
        """The network that is sampled."""
        from pegai.synth.networks.nets import ConditionalGenerator

        noise = HeuristicNoise.of_settings(self.settings)
        return ConditionalGenerator.from_arrays(self.weights, latent_scale=noise.latent_scale)

    @property
    def heuristic(self) -> str:
        """Noise by a chosen scale, in words with their label; empty without."""
        return HeuristicNoise.of_settings(self.settings).label

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        from pegai.synth.networks.blocks import one_thread

        parts: list[pl.DataFrame] = []
        with one_thread():
            for start in range(0, n, CHUNK_ROWS):
                rows = min(CHUNK_ROWS, n - start)
                parts.append(self.encoder.decode(self._codes(rows, given, rng), rng).frame)
        return fix_given(Table(pl.concat(parts), self.schema), given)

    def _codes(self, n: int, given: Given, rng: np.random.Generator) -> np.ndarray:
        """Codes of n rows, each with what is given.

        A pool of latents is weighted by the probability of what is given, and n are drawn from it
        (sampling-importance-resampling, Rubin 1987): the cost is fixed, however rare the condition.
        """
        from pegai.synth.networks.blocks import Blocks, torch_generator
        from pegai.synth.networks.sampling import Source, draw_codes

        index = None if self.condition is None else self.encoder.index(self.condition)
        source = Source(
            self.generator, Blocks.of(self.encoder), index, self.class_shares, self.prior
        )
        wanted = known_codes(self.encoder, given)
        return draw_codes(source, wanted=wanted, n=n, rng=torch_generator(rng))

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {
            "encoder": self.encoder.to_dict(),
            "condition": self.condition,
            "steps": self.steps,
            "held_back": list(self.held_back),
        }
        prior = {} if self.prior is None else self.prior.to_arrays()
        arrays = {
            **{f"generator/{name}": array for name, array in self.weights.items()},
            **{f"prior/{name}": array for name, array in prior.items()},
            "class_shares": self.class_shares,
        }
        return ModelFile(
            self.method,
            self.schema,
            self.settings,
            state,
            arrays,
            self.guarantee,
            heuristic=self.heuristic,
        )

    @classmethod
    def from_file(cls, model: ModelFile) -> Self:
        """The model that a folder holds."""
        from pegai.synth.networks.priors import LatentMixture

        prior = _under("prior/", model.weights)
        return cls(
            TableEncoder.from_dict(model.state["encoder"], model.schema),
            model.state["condition"],
            model.weights["class_shares"],
            _under("generator/", model.weights),
            prior=LatentMixture(**prior) if prior else None,
            settings=model.settings,
            guarantee=model.guarantee,
            steps=int(model.state["steps"]),
            held_back=tuple(model.state["held_back"]),
        )


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
