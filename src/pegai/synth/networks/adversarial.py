"""The adversarial game: a generator against a critic.

The non-saturating game of Goodfellow et al. 2014 (arXiv:1406.2661); the critic has a zero-centred
gradient penalty between real and fake rows (Thanh-Tung et al. 2019).

**Adaptive steps.** How many steps the critic takes for one of the generator follows its lead: the
share of rows, real and fake, that it tells right. Where it hardly tells them apart it gets more
steps, where it wins by far the generator gets to catch up.

**Mode collapse.** A generator that collapses gives rows that are alike. `variety` compares how
often two fake rows of a class agree in a column with how often two real ones do,
(1 - fake) / (1 - real), averaged over columns: 1 is as varied as the data, 0 is one row again and
again. Below `COLLAPSED` the generator goes back to its average, whose past steps were varied, and
its rate is halved.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.synth.networks.blocks import Blocks
from pegai.synth.networks.layout import Layout, Start, log_likelihood
from pegai.synth.networks.nets import critic
from pegai.synth.networks.training import Trainee, average

COLLAPSED = 0.5
LEAD_LOW, LEAD_HIGH = 0.6, 0.85
MAX_CRITIC_STEPS = 4
SMOOTHING = 0.9


@dataclass(frozen=True)
class Rates:
    """How players learn.

    Attributes:
        learning_rate: Of both.
        ema: Decay of the averaged generator.
        penalty: Weight of the critic's gradient penalty.
    """

    learning_rate: float
    ema: float
    penalty: float = 0.1


class Adversarial(Trainee):
    """A generator against a critic, on real rows."""

    def __init__(self, start: Start, rates: Rates) -> None:
        self.layout, self.rates, self.draws = start.layout, rates, start.draws
        self.generator = start.generator
        self.critic = new_critic(start)
        self.kept = copy.deepcopy(start.generator)
        self.networks = {"generator": self.generator, "critic": self.critic, "kept": self.kept}
        self.optimizers = {
            "generator": optimizer(self.generator, rates.learning_rate),
            "critic": optimizer(self.critic, rates.learning_rate),
        }
        self.counters = {"lead": 0.5, "critic_steps": 2.0, "variety": 1.0, "collapses": 0.0}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """As many critic steps as its lead asks for, on parts of the batch, then the generator's.

        The batch serves all of them: the critic's steps differ by the fake rows.
        """
        rows, classes = self.layout.one_hot(codes)
        critic_loss = torch.zeros(())
        for _ in range(round(self.counters["critic_steps"])):
            critic_loss = self._critic_step(rows, classes)
        fake, loss = self._generator_step(classes)
        average(self.kept, self.generator, self.rates.ema)
        self._adapt()
        self._watch(rows, fake)
        return {"critic": critic_loss.detach(), "generator": loss.detach(), **self.counters}

    def judge(self, codes: np.ndarray) -> float:
        """Mean log-likelihood of the rows under the averaged generator."""
        return log_likelihood(self.kept, self.layout, self.layout.blocks.one_hot(codes))

    def _critic_step(self, real_rows: Tensor, classes: Tensor) -> Tensor:
        blocks = self.layout.blocks
        with torch.no_grad():
            fake = blocks.features(self.layout.fake(self.generator, classes, self.draws))
        real = blocks.features(real_rows)
        scores, loss = critic_loss(self.critic, real, fake, self.draws, self.rates.penalty)
        right = float(((scores[0] > 0).float().mean() + (scores[1] < 0).float().mean()) / 2)
        self.counters["lead"] = SMOOTHING * self.counters["lead"] + (1 - SMOOTHING) * right
        self.optimizers["critic"].zero_grad()
        loss.backward()
        self.optimizers["critic"].step()
        return loss

    def _generator_step(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.layout.fake(self.generator, classes, self.draws)
        loss = F.softplus(-self.critic(self.layout.blocks.features(rows))).mean()
        self.optimizers["generator"].zero_grad()
        loss.backward()
        self.optimizers["generator"].step()
        return rows.detach(), loss

    def _adapt(self) -> None:
        lead, steps = self.counters["lead"], self.counters["critic_steps"]
        if lead < LEAD_LOW:
            steps = min(steps + 0.1, MAX_CRITIC_STEPS)
        elif lead > LEAD_HIGH:
            steps = max(steps - 0.1, 1.0)
        self.counters["critic_steps"] = steps

    def _watch(self, real: Tensor, fake: Tensor) -> None:
        now = variety(self.layout, real, fake)
        self.counters["variety"] = SMOOTHING * self.counters["variety"] + (1 - SMOOTHING) * now
        if self.counters["variety"] < COLLAPSED:
            self.generator.load_state_dict(self.kept.state_dict())
            for group in self.optimizers["generator"].param_groups:
                group["lr"] /= 2
            self.counters["collapses"] += 1
            self.counters["variety"] = 1.0


def new_critic(start: Start) -> nn.Sequential:
    """A new critic for a layout, on its device."""
    weights = torch.Generator().manual_seed(torch_seed(start.draws))
    width = start.layout.blocks.feature_width
    return critic(width, start.hidden, weights).to(start.layout.device)


def torch_seed(draws: torch.Generator) -> int:
    """A seed from a stream."""
    drawn = torch.randint(2**62, (1,), generator=draws, device=draws.device)
    return int(drawn)


def optimizer(network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Adam with the short memory that adversarial training wants."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.5, 0.9))


def critic_loss(
    judge: nn.Module, real: Tensor, fake: Tensor, draws: torch.Generator, penalty: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Scores of real and fake features (rows, width), and the critic's loss with its penalty."""
    mix = torch.rand(len(real), 1, generator=draws, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    slope = torch.autograd.grad(judge(between).sum(), between, create_graph=True)[0]
    scores = judge(real), judge(fake)
    loss = F.softplus(scores[1]).mean() + F.softplus(-scores[0]).mean()
    return scores, loss + penalty * slope.square().sum(1).mean()


@torch.no_grad()
def variety(layout: Layout, real: Tensor, fake: Tensor) -> float:
    """How varied fake rows are, 1 as the real ones; see the module. Both (rows, width)."""
    rest = [1 - agreement(layout.blocks, rows, layout.classes_of(rows)) for rows in (fake, real)]
    varied = rest[1] > 1e-3
    return float((rest[0][varied] / rest[1][varied]).mean()) if bool(varied.any()) else 1.0


def agreement(blocks: Blocks, rows: Tensor, classes: Tensor) -> Tensor:
    """The chance that two different rows of a class agree, by column; shape (columns,).

    Args:
        blocks: The layout.
        rows: Shape (rows, width).
        classes: One-hot, shape (rows, classes).
    """
    n = classes.sum(0)
    same = (classes.T @ rows).square() - classes.T @ rows.square()
    sums = same.sum(0) / (n * (n - 1)).sum().clamp(min=1.0)
    return torch.stack([part.sum() for part in sums.split(blocks.sizes)])
