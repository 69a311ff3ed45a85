"""The hybrid of autoencoder and adversarial game: one network decodes and generates.

Larsen et al. 2016 (arXiv:1512.09300): an encoder and a decoder learn to give rows back, a critic
tells real rows from what the decoder makes of the prior, and the decoder learns from both. Other
than there, the distance of rows is their likelihood, not one of the critic's features: codes have a
likelihood. The critic sees rows from the prior, so the prior needs no mixture afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.synth.networks.adversarial import (
    LAZY,
    Rates,
    critic_loss,
    explained,
    learn,
    new_critic,
    optimizer,
    slope,
)
from pegai.synth.networks.layout import Start
from pegai.synth.networks.training import Trainee, average
from pegai.synth.networks.variational import divergence, new_encoder, reconstruction, warm


class Hybrid(Trainee):
    """Encoder, decoder (the generator) and critic."""

    def __init__(self, start: Start, rates: Rates, *, kl_weight: float, critic_weight: float):
        self.layout, self.rates, self.draws = start.layout, rates, start.draws
        self.kl_weight, self.critic_weight = kl_weight, critic_weight
        self.generator, self.encoder = start.generator, new_encoder(start)
        self.critic = new_critic(start)
        self.kept = copy.deepcopy(start.generator)
        self.networks = {
            "generator": self.generator,
            "encoder": self.encoder,
            "critic": self.critic,
            "kept": self.kept,
        }
        self.both = nn.ModuleList([self.generator, self.encoder])
        self.optimizers = {
            "both": optimizer(self.both, rates.learning_rate),
            "critic": optimizer(self.critic, rates.learning_rate),
        }
        self.counters = {"steps": 0.0, "judgements": 0.0}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """A step of the critic, then one of encoder and decoder together."""
        rows, classes = self.layout.one_hot(codes)
        fake = self.layout.blocks.features(self.layout.fake(self.generator, classes, self.draws))
        judged = self._critic_step(rows, fake.detach())
        mean, log_variance = self.encoder(self.layout.blocks.features(rows))
        noise = torch.randn(mean.shape, generator=self.draws, device=mean.device)
        latent = mean + noise * (log_variance / 2).exp()
        given_back = reconstruction(self.layout, self.generator(latent, classes), rows, classes)
        away = divergence(mean, log_variance)
        fooled = F.softplus(-self.critic(fake)).mean()
        divergent = self.kl_weight * warm(self.counters) * away
        loss = (given_back + divergent).mean() + self.critic_weight * fooled
        learn(self.both, self.optimizers["both"], loss)
        average(self.kept, self.generator, self.rates.ema)
        return {
            "critic": judged.detach(),
            "generator": fooled.detach(),
            "reconstruction": given_back.mean().detach(),
            "divergence": away.mean().detach(),
        }

    def judge(self, codes: np.ndarray) -> float:
        """How well the averaged generator explains the rows; see `explained`."""
        return explained(self.kept, self.layout, codes)

    def _critic_step(self, rows: Tensor, fake: Tensor) -> Tensor:
        real = self.layout.blocks.features(rows)
        _, loss = critic_loss(self.critic, real, fake)
        self.counters["judgements"] += 1
        whole = loss
        if self.counters["judgements"] % LAZY == 0:
            whole = loss + LAZY * self.rates.penalty * slope(self.critic, real, fake, self.draws)
        self.optimizers["critic"].zero_grad()
        whole.backward()
        self.optimizers["critic"].step()
        return loss
