"""Conditional tabular GAN for small clinical tables, and its differentially private form.

After Xu et al. 2019 (arXiv:1907.00503).

What differs from the published one, and why: numeric columns are quantile bins with shared values
kept as spikes (clinical numbers are heaped); the generator starts from class-conditional shares, so
that adversarial training has only the dependence left to learn; the step that explains held-back
rows best is kept; conditioning draws latents by how well they explain what is given, so it needs no
rejection. Published defaults take one step an epoch on 213 rows and learn nothing.

The private form spends its budget twice: once on noisy class-conditional one-way tables on public
grids (they give bins, starting shares and the conditional vector), once on DP-SGD for the critic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from pegai.synth.latent import LatentSynthesizer
from pegai.synth.latent_config import AdversarialConfig, ConditionedConfig, DPSGDPrivacy
from pegai.synth.latent_fitted import FittedLatent

if TYPE_CHECKING:
    from pegai.synth.networks.layout import Start
    from pegai.synth.networks.private import PrivatePart
    from pegai.synth.networks.training import Trainee

__all__ = ["CTGAN", "CTGANConfig", "DPSGDPrivacy", "FittedCTGAN"]

CRITIC = "critic, DP-SGD"


@final
@dataclass(frozen=True)
class CTGANConfig(ConditionedConfig, AdversarialConfig):
    """Settings of the conditional tabular GAN; those of its bases."""


@final
@dataclass(frozen=True, eq=False)
class FittedCTGAN(FittedLatent):
    """A trained conditional tabular GAN."""

    method: ClassVar[str] = "ctgan"


@final
class CTGAN(LatentSynthesizer[CTGANConfig]):
    """Conditional tabular GAN; see the module for what it does.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> model = CTGAN(CTGANConfig(max_steps=20)).fit(table, rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "ctgan"
    title = "Conditional tabular GAN"
    fitted = FittedCTGAN
    looks = (CRITIC,)

    def __init__(self, config: CTGANConfig | None = None) -> None:
        self.config = config or CTGANConfig()

    def trainee(self, start: Start) -> Trainee:
        """Generator against critic."""
        from pegai.synth.networks.adversarial import Adversarial

        return Adversarial(start, self.rates(), self.config.critic_steps)

    def parts(self, start: Start) -> Sequence[PrivatePart]:
        """The critic sees real rows; the generator sees the critic."""
        from pegai.synth.networks.private import Critic

        return (Critic(start, self.rates()),)
