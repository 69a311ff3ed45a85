"""Variational autoencoder for tables, and its differentially private form.

After the TVAE of Xu et al. 2019 (arXiv:1907.00503); see `pegai.synth.networks.variational` for what
differs: bins instead of mixtures, a decoder that starts at class-conditional shares, and a prior
that is fitted to the encoded rows.

The private form trains encoder and decoder together with DP-SGD, keeps the standard normal prior,
and holds the decoder to charged shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from pegai.errors import UsageError
from pegai.synth.latent import LatentSynthesizer
from pegai.synth.latent_config import ConditionedConfig
from pegai.synth.latent_fitted import FittedLatent

if TYPE_CHECKING:
    from pegai.synth.networks.layout import Start
    from pegai.synth.networks.private import PrivatePart
    from pegai.synth.networks.training import Trainee

AUTOENCODER = "encoder and decoder, DP-SGD"


@final
@dataclass(frozen=True)
class TVAEConfig(ConditionedConfig):
    """Settings of the variational autoencoder, besides those of `ConditionedConfig`.

    Attributes:
        kl_weight: Weight of the divergence from the prior; 1 is the evidence lower bound.
    """

    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kl_weight > 0:
            raise UsageError(f"kl_weight must be positive, not {self.kl_weight!r}")


@final
@dataclass(frozen=True, eq=False)
class FittedTVAE(FittedLatent):
    """A trained variational autoencoder."""

    method: ClassVar[str] = "tvae"


@final
class TVAE(LatentSynthesizer[TVAEConfig]):
    """Variational autoencoder.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> len(TVAE(TVAEConfig(max_steps=20)).fit(table, rng=0).sample(5, rng=0))
        5
    """

    name = "tvae"
    title = "Variational autoencoder"
    fitted = FittedTVAE
    looks = (AUTOENCODER,)

    def __init__(self, config: TVAEConfig | None = None) -> None:
        self.config = config or TVAEConfig()

    def trainee(self, start: Start) -> Trainee:
        """Encoder and decoder."""
        from pegai.synth.networks.variational import Variational

        return Variational(start, self.rates(), kl_weight=self.config.kl_weight)

    def parts(self, start: Start) -> Sequence[PrivatePart]:
        """Encoder and decoder both see real rows."""
        from pegai.synth.networks.private import Autoencoder

        weight = self.config.kl_weight
        return (Autoencoder(start, self.rates(), kl_weight=weight),)
