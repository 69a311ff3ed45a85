"""The variational autoencoder of rows of codes.

Kingma and Welling 2014 (arXiv:1312.6114), with the likelihood of codes as Xu et al. 2019 use for
their TVAE, but over bins instead of mixtures. The decoder starts at the class-conditional shares,
so that only the dependence is left to learn.

**The prior.** What an encoder makes of the data seldom fills a standard normal, and decoding its
holes gives rows that nobody has. So after training a mixture of normals is fitted to the encoded
rows of each class (ex-post density estimation, Ghosh et al. 2020, arXiv:1903.12436), with at least
`ROWS_A_PART` rows a part. Private training does not: the mixture would be a look of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pegai.synth.networks.adversarial import Rates, torch_seed
from pegai.synth.networks.layout import Layout, Start
from pegai.synth.networks.nets import ConditionalGenerator, linear
from pegai.synth.networks.priors import LatentMixture
from pegai.synth.networks.training import Trainee, TrainingRows, arrays_of, average

MAX_ENCODED = 50_000
WARM_STEPS = 200


class Encoder(nn.Module):
    """Mean and log-variance of the latent of a row.

    Input: features (rows, width). Output: two tensors (rows, latent).
    """

    def __init__(self, width: int, *, latent: int, hidden: int, rng: torch.Generator) -> None:
        super().__init__()
        self.latent = latent
        self.net = nn.Sequential(
            linear(width, hidden, rng),
            nn.LeakyReLU(0.2),
            linear(hidden, hidden, rng),
            nn.LeakyReLU(0.2),
            linear(hidden, 2 * latent, rng, gain=0.1),
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (rows, latent)."""
        mean, log_variance = self.net(features).split(self.latent, dim=1)
        return mean, bounded_log(log_variance)


def bounded_log(log_variance: Tensor) -> Tensor:
    """Log-variances that stay where their exponentials are finite and positive."""
    return log_variance.clamp(-8.0, 4.0)


def new_encoder(start: Start) -> Encoder:
    """A new encoder for a layout, on its device."""
    weights = torch.Generator().manual_seed(torch_seed(start.draws))
    return Encoder(
        start.layout.blocks.feature_width,
        latent=start.generator.latent,
        hidden=start.hidden,
        rng=weights,
    ).to(start.layout.device)


class Variational(Trainee):
    """An encoder and a decoder that learn to give rows back."""

    def __init__(self, start: Start, rates: Rates, *, kl_weight: float) -> None:
        self.layout, self.rates, self.draws = start.layout, rates, start.draws
        self.kl_weight = kl_weight
        self.generator, self.encoder = start.generator, new_encoder(start)
        self.kept = copy.deepcopy(start.generator)
        self.kept_encoder = copy.deepcopy(self.encoder)
        self.networks = {
            "generator": self.generator,
            "encoder": self.encoder,
            "kept": nn.ModuleDict({"generator": self.kept, "encoder": self.kept_encoder}),
        }
        both = [*self.generator.parameters(), *self.encoder.parameters()]
        self.optimizers = {"both": torch.optim.Adam(both, lr=rates.learning_rate)}
        self.counters = {"steps": 0.0}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """One step on the evidence lower bound."""
        rows, classes = self.layout.one_hot(codes)
        mean, log_variance = self.encoder(self.layout.blocks.features(rows))
        noise = torch.randn(mean.shape, generator=self.draws, device=mean.device)
        latent = mean + noise * (log_variance / 2).exp()
        given_back = reconstruction(self.layout, self.generator(latent, classes), rows, classes)
        away = divergence(mean, log_variance)
        loss = (given_back + self.kl_weight * warm(self.counters) * away).mean()
        self.optimizers["both"].zero_grad()
        loss.backward()
        self.optimizers["both"].step()
        average(self.kept, self.generator, self.rates.ema)
        average(self.kept_encoder, self.encoder, self.rates.ema)
        return {"reconstruction": given_back.mean().detach(), "divergence": away.mean().detach()}

    def judge(self, codes: np.ndarray) -> float:
        """The evidence lower bound of rows, mean over a few fixed draws."""
        return lower_bound(self.layout, self.kept_encoder, self.kept, codes)

    def finish(
        self, weights: dict[str, np.ndarray], rows: TrainingRows, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], LatentMixture | None]:
        """The decoder, and a mixture fitted to the encoded rows; see `Trainee.finish`."""
        tensors = {k: torch.from_numpy(v) for k, v in weights.items()}
        self.networks["kept"].load_state_dict(tensors)
        chosen = rng.permutation(rows.learned)[:MAX_ENCODED]
        one_hot, classes = self.layout.one_hot(rows.codes[chosen])
        with torch.no_grad():
            mean, log_variance = self.kept_encoder(self.layout.blocks.features(one_hot))
        prior = LatentMixture.fit(
            mean.cpu().numpy(),
            (log_variance / 2).exp().cpu().numpy(),
            classes.argmax(1).cpu().numpy(),
            count=classes.shape[1],
            rng=rng,
        )
        return arrays_of(self.kept), prior


def warm(counters: dict[str, float]) -> float:
    """The weight of the divergence in this step, rising from 0 to 1, and one step more counted.

    With its full weight from the start the encoder learns to say nothing before the decoder has
    learned to listen (Bowman et al. 2016, arXiv:1511.06349, section 3.1).
    """
    counters["steps"] += 1
    return min(counters["steps"] / WARM_STEPS, 1.0)


def reconstruction(layout: Layout, logits: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
    """Minus the log-likelihood of rows given their latent and class, shape (rows,)."""
    return -(rows * layout.free_log_shares(logits, classes)).sum(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, variance) from N(0, 1), shape (rows,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


@torch.no_grad()
def lower_bound(
    layout: Layout,
    encoder: Encoder,
    generator: ConditionalGenerator,
    codes: np.ndarray,
    *,
    repeats: int = 8,
) -> float:
    """Mean evidence lower bound of codes (rows, columns), always with the same draws."""
    rows, classes = layout.one_hot(codes)
    mean, log_variance = encoder(layout.blocks.features(rows))
    fixed = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(repeats):
        noise = torch.randn(mean.shape, generator=fixed).to(layout.device)
        latent = mean + noise * (log_variance / 2).exp()
        total -= float(reconstruction(layout, generator(latent, classes), rows, classes).mean())
    return total / repeats - float(divergence(mean, log_variance).mean())
