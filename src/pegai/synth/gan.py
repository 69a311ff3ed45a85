"""The plain tabular GAN: a generator against a discriminator, on whole rows, without a condition.

Goodfellow et al. 2014 (arXiv:1406.2661) on a table, as in the projects that made synthetic heart
disease data first. The generator knows no class: the target is a column like the others. It still
starts from the columns' own shares, and relaxed draws (Jang et al. 2017) let it learn codes.

The private form does know the class: a warm start from charged class-conditional tables is worth
more than all that a critic learns under noise (see docs/explanation/comparison.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from pegai.schema import Column, Schema
from pegai.synth.grids import class_column
from pegai.synth.latent import LatentSynthesizer
from pegai.synth.latent_config import AdversarialConfig
from pegai.synth.latent_fitted import FittedLatent

if TYPE_CHECKING:
    from pegai.synth.networks.layout import Start
    from pegai.synth.networks.private import PrivatePart
    from pegai.synth.networks.training import Trainee

DISCRIMINATOR = "critic, DP-SGD"


@final
@dataclass(frozen=True)
class GANConfig(AdversarialConfig):
    """Settings of the plain GAN; those of `AdversarialConfig`."""


@final
@dataclass(frozen=True, eq=False)
class FittedGAN(FittedLatent):
    """A trained plain GAN."""

    method: ClassVar[str] = "gan"


@final
class GAN(LatentSynthesizer[GANConfig]):
    """Generator against discriminator.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> len(GAN(GANConfig(max_steps=20)).fit(table, rng=0).sample(5, rng=0))
        5
    """

    name = "gan"
    title = "Tabular GAN"
    fitted = FittedGAN
    looks = (DISCRIMINATOR,)

    def __init__(self, config: GANConfig | None = None) -> None:
        self.config = config or GANConfig()

    def condition(self, schema: Schema, *, private: bool) -> Column | None:
        """None without privacy; see the module."""
        return class_column(schema, None) if private else None

    def trainee(self, start: Start) -> Trainee:
        """Generator against discriminator."""
        from pegai.synth.networks.adversarial import Adversarial

        return Adversarial(start, self.rates(), self.config.critic_steps)

    def parts(self, start: Start) -> Sequence[PrivatePart]:
        """The discriminator sees real rows; the generator sees the discriminator."""
        from pegai.synth.networks.private import Critic

        return (Critic(start, self.rates()),)
