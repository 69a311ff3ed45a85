"""Settings that the generators with a latent vector share; those of the guarantee stand apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pegai.errors import UsageError
from pegai.synth.heuristic import HeuristicNoise


@dataclass(frozen=True)
class DPSGDPrivacy:
    """Settings that the guarantee depends on; all public, none read from the data.

    Attributes:
        sampling_probability: Chance of a patient to be in a step's batch.
        steps: DP-SGD steps.
        clipping_norm: L2 bound of one patient's gradient.
        counts_share: Share of the budget (in mu^2 of Gaussian DP) for the one-way tables.
        grid_bins: Cells of the public grid of a numeric column.
        max_bins: At most about this many bins, made by joining cells of the grid.
        hidden: Width of the networks; noise falls on every weight that sees real rows.
    """

    sampling_probability: float = 0.15
    steps: int = 200
    clipping_norm: float = 1.0
    counts_share: float = 0.6
    grid_bins: int = 24
    max_bins: int = 8
    hidden: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability < 1 or not 0 < self.counts_share < 1:
            raise UsageError("sampling_probability and counts_share must lie between 0 and 1")
        smallest = min(self.grid_bins, self.max_bins, self.hidden)
        if self.steps < 1 or not 0 < self.clipping_norm < math.inf or smallest < 2:
            raise UsageError(
                "steps, clipping_norm and grid_bins must be positive, bins and hidden at least 2"
            )


FEW_BINS, ROWS_A_BIN = 10, 250


@dataclass(frozen=True)
class LatentConfig:
    """Settings that these generators share.

    Attributes:
        max_bins: At most about this many bins a numeric column (without privacy). Small tables get
            fewer: one for `ROWS_A_BIN` rows, but `FEW_BINS` if that is less.
        min_count: Levels of fewer rows share a code (without privacy).
        max_levels: Levels of a column that have a code of their own, the most common ones; the
            rest share one (without privacy).
        latent: Length of the latent vector.
        hidden: Width of the networks.
        learning_rate: Of all networks.
        temperature: Of the Gumbel-softmax heads.
        ema: Decay of the averaged generator.
        max_steps: Steps at most (without privacy); early stopping ends sooner.
        held_back: Share of the patients kept from training to choose the step by.
        privacy: What the guarantee depends on.
        heuristic: Noise by a chosen scale, without privacy: no formal guarantee.
    """

    max_bins: int = 20
    min_count: int = 3
    max_levels: int = 500
    latent: int = 8
    hidden: int = 128
    learning_rate: float = 1e-3
    temperature: float = 0.3
    ema: float = 0.99
    max_steps: int = 6000
    held_back: float = 0.2
    privacy: DPSGDPrivacy = field(default_factory=DPSGDPrivacy)
    heuristic: HeuristicNoise = field(default_factory=HeuristicNoise)

    def __post_init__(self) -> None:
        smallest = min(self.max_bins, self.max_levels, self.hidden)
        if min(self.latent, self.max_steps) < 1 or smallest < 2:
            raise UsageError(
                "latent and max_steps must be at least 1, max_bins, max_levels and hidden at least "
                "2"
            )
        if self.min_count < 0 or not (self.learning_rate > 0 and self.temperature > 0):
            raise UsageError("learning_rate and temperature must be positive, min_count at least 0")
        if not 0 <= self.ema < 1 or not 0 <= self.held_back < 1:
            raise UsageError("ema and held_back must be at least 0 and below 1")

    def bins(self, rows: int) -> int:
        """Bins of a numeric column of a table of so many rows, at most."""
        return min(self.max_bins, max(FEW_BINS, rows // ROWS_A_BIN))


@dataclass(frozen=True)
class ConditionedConfig(LatentConfig):
    """Settings of those that are given a class.

    Attributes:
        condition: The discrete column that the generator is conditioned on; None is the target.
    """

    condition: str | None = None


@dataclass(frozen=True)
class AdversarialConfig(LatentConfig):
    """Settings of those that are trained against a critic alone.

    Attributes:
        critic_steps: Steps of the critic for one of the generator, without privacy; None follows
            the lead of the critic.
    """

    critic_steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_steps is not None and self.critic_steps < 1:
            raise UsageError("critic_steps must be at least 1")
