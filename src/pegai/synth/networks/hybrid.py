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
from torch import Tensor

from pegai.synth.networks.adversarial import Rates, critic_loss, new_critic, optimizer
from pegai.synth.networks.layout import Start, log_likelihood
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
        self.optimizers = {
            name: optimizer(self.networks[name], rates.learning_rate)
            for name in ("generator", "encoder", "critic")
        }
        self.counters = {"steps": 0.0}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """A step of the critic, then one of encoder and decoder together."""
        rows, classes = self.layout.one_hot(codes)
        judged = self._critic_step(rows, classes)
        mean, log_variance = self.encoder(self.layout.blocks.features(rows))
        noise = torch.randn(mean.shape, generator=self.draws, device=mean.device)
        latent = mean + noise * (log_variance / 2).exp()
        given_back = reconstruction(self.layout, self.generator(latent, classes), rows, classes)
        away = divergence(mean, log_variance)
        fake = self.layout.blocks.features(self.layout.fake(self.generator, classes, self.draws))
        fooled = F.softplus(-self.critic(fake)).mean()
        divergent = self.kl_weight * warm(self.counters) * away
        loss = (given_back + divergent).mean() + self.critic_weight * fooled
        for name in ("generator", "encoder"):
            self.optimizers[name].zero_grad()
        loss.backward()
        for name in ("generator", "encoder"):
            self.optimizers[name].step()
        average(self.kept, self.generator, self.rates.ema)
        return {
            "critic": judged.detach(),
            "generator": fooled.detach(),
            "reconstruction": given_back.mean().detach(),
            "divergence": away.mean().detach(),
        }

    def judge(self, codes: np.ndarray) -> float:
        """Mean log-likelihood of the rows under the averaged generator."""
        return log_likelihood(self.kept, self.layout, self.layout.blocks.one_hot(codes))

    def _critic_step(self, rows: Tensor, classes: Tensor) -> Tensor:
        blocks = self.layout.blocks
        with torch.no_grad():
            fake = blocks.features(self.layout.fake(self.generator, classes, self.draws))
        _, loss = critic_loss(
            self.critic, blocks.features(rows), fake, self.draws, self.rates.penalty
        )
        self.optimizers["critic"].zero_grad()
        loss.backward()
        self.optimizers["critic"].step()
        return loss
