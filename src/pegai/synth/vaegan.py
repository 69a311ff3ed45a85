"""VAE-GAN for tables, and its differentially private form, DP-VAE-GAN.

The decoder of an autoencoder is the generator of an adversarial game (Larsen et al. 2016,
arXiv:1512.09300). The private form trains encoder and decoder, and the critic, with DP-SGD: two
planned events, in one account.
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

AUTOENCODER, CRITIC = "encoder and decoder, DP-SGD", "critic, DP-SGD"


@final
@dataclass(frozen=True)
class VAEGANConfig(ConditionedConfig):
    """Settings of the hybrid, besides those of `ConditionedConfig`.

    Attributes:
        kl_weight: Weight of the divergence from the prior.
        critic_weight: Weight of what the critic teaches the decoder.
    """

    kl_weight: float = 0.5
    critic_weight: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kl_weight > 0 or not self.critic_weight >= 0:
            raise UsageError("kl_weight must be positive, critic_weight at least 0")


@final
@dataclass(frozen=True, eq=False)
class FittedVAEGAN(FittedLatent):
    """A trained hybrid."""

    method: ClassVar[str] = "vaegan"


@final
class VAEGAN(LatentSynthesizer[VAEGANConfig]):
    """Hybrid of autoencoder and adversarial game.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> len(VAEGAN(VAEGANConfig(max_steps=20)).fit(table, rng=0).sample(5, rng=0))
        5
    """

    name = "vaegan"
    title = "VAE-GAN (DP-VAE-GAN with a budget)"
    fitted = FittedVAEGAN
    looks = (AUTOENCODER, CRITIC)

    def __init__(self, config: VAEGANConfig | None = None) -> None:
        self.config = config or VAEGANConfig()

    def trainee(self, start: Start) -> Trainee:
        """Encoder, decoder and critic."""
        from pegai.synth.networks.hybrid import Hybrid

        return Hybrid(
            start,
            self.rates(),
            kl_weight=self.config.kl_weight,
            critic_weight=self.config.critic_weight,
        )

    def parts(self, start: Start) -> Sequence[PrivatePart]:
        """Encoder, decoder and critic all see real rows."""
        from pegai.synth.networks.private import Autoencoder, Critic

        weight = self.config.kl_weight
        return (
            Autoencoder(start, self.rates(), kl_weight=weight),
            Critic(start, self.rates()),
        )
