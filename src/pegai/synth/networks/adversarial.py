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
from pegai.synth.networks.layout import Layout, Start, log_likelihood, pair_distance
from pegai.synth.networks.nets import ConditionalGenerator, critic
from pegai.synth.networks.training import MANY_ROWS, Trainee, average

COLLAPSED = 0.5
LEAD_LOW, LEAD_HIGH = 0.75, 0.9
MAX_CRITIC_STEPS = 4
SMOOTHING = 0.9
WATCH_EVERY = 5
LAZY = 4
"""The penalty is taken every so many critic steps, with as much more weight (Karras et al. 2020,
arXiv:1912.04958, section 3.1): it is most of what a step costs."""


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
    """A generator against a critic, on real rows.

    Args:
        start: The first generator.
        rates: Of both players.
        critic_steps: Of the critic for one of the generator; None adapts them.
    """

    def __init__(self, start: Start, rates: Rates, critic_steps: int | None = None) -> None:
        self.layout, self.rates, self.draws = start.layout, rates, start.draws
        self.is_adaptive = critic_steps is None
        self.generator = start.generator
        self.critic = new_critic(start)
        self.kept = copy.deepcopy(start.generator)
        self.networks = {"generator": self.generator, "critic": self.critic, "kept": self.kept}
        self.optimizers = {
            "generator": optimizer(self.generator, rates.learning_rate),
            "critic": optimizer(self.critic, rates.learning_rate),
        }
        self.counters = {"lead": 0.5, "critic_steps": float(critic_steps or 2), "judgements": 0.0}
        self.counters |= {"steps": 0.0, "variety": 1.0, "collapses": 0.0}

    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """As many critic steps as its lead asks for, then the generator's.

        The first critic step and the generator's share the fake rows, which are most of the cost.
        """
        rows, classes = self.layout.one_hot(codes)
        real = self.layout.blocks.features(rows)
        made = self.layout.fake(self.generator, classes, self.draws)
        fake = self.layout.blocks.features(made)
        judged = self._critic_step(real, fake.detach())
        for _ in range(round(self.counters["critic_steps"]) - 1):
            with torch.no_grad():
                other = self.layout.fake(self.generator, classes, self.draws)
                other = self.layout.blocks.features(other)
            judged = self._critic_step(real, other)
        fooled = self._generator_step(fake)
        average(self.kept, self.generator, self.rates.ema)
        if self.is_adaptive:
            self._adapt()
        self._watch(rows, made.detach())
        return {"critic": judged.detach(), "generator": fooled.detach(), **self.counters}

    def judge(self, codes: np.ndarray) -> float:
        """How well the averaged generator explains the rows; see `explained`."""
        return explained(self.kept, self.layout, codes)

    def _critic_step(self, real: Tensor, fake: Tensor) -> Tensor:
        scores, loss = critic_loss(self.critic, real, fake)
        right = float(((scores[0] > 0).float().mean() + (scores[1] < 0).float().mean()) / 2)
        self.counters["lead"] = SMOOTHING * self.counters["lead"] + (1 - SMOOTHING) * right
        self.counters["judgements"] += 1
        whole = loss
        if self.counters["judgements"] % LAZY == 0:
            whole = loss + LAZY * self.rates.penalty * slope(self.critic, real, fake, self.draws)
        self.optimizers["critic"].zero_grad()
        whole.backward()
        self.optimizers["critic"].step()
        return loss

    def _generator_step(self, fake: Tensor) -> Tensor:
        loss = F.softplus(-self.critic(fake)).mean()
        learn(self.generator, self.optimizers["generator"], loss)
        return loss

    def _adapt(self) -> None:
        lead, steps = self.counters["lead"], self.counters["critic_steps"]
        if lead < LEAD_LOW:
            steps = min(steps + 0.1, MAX_CRITIC_STEPS)
        elif lead > LEAD_HIGH:
            steps = max(steps - 0.1, 1.0)
        self.counters["critic_steps"] = steps

    def _watch(self, real: Tensor, fake: Tensor) -> None:
        self.counters["steps"] += 1
        if self.counters["steps"] % WATCH_EVERY:
            return
        now = variety(self.layout, real, fake)
        self.counters["variety"] = SMOOTHING * self.counters["variety"] + (1 - SMOOTHING) * now
        if self.counters["variety"] < COLLAPSED:
            self.generator.load_state_dict(self.kept.state_dict())
            for group in self.optimizers["generator"].param_groups:
                group["initial_lr"] = group.setdefault("initial_lr", group["lr"]) / 2
                group["lr"] /= 2
            self.counters["collapses"] += 1
            self.counters["variety"] = 1.0


def explained(generator: ConditionalGenerator, layout: Layout, codes: np.ndarray) -> float:
    """How well a generator explains held-back codes (rows, columns); more is better.

    Of few rows: their mean log-likelihood, by Monte Carlo. Of `MANY_ROWS` or more: minus the mean
    distance of two-way tables, which then has little noise, while the likelihood's estimate gets
    worse with what the latent says.
    """
    rows = layout.blocks.one_hot(codes)
    if len(rows) < MANY_ROWS:
        return log_likelihood(generator, layout, rows)
    return -pair_distance(generator, layout, rows)


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
    judge: nn.Module, real: Tensor, fake: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Scores of real and fake features (rows, features), and the critic's loss."""
    both = judge(torch.cat([real, fake]))
    scores = both[: len(real)], both[len(real) :]
    return scores, F.softplus(scores[1]).mean() + F.softplus(-scores[0]).mean()


def slope(judge: nn.Module, real: Tensor, fake: Tensor, draws: torch.Generator) -> Tensor:
    """Mean squared slope of the critic between real and fake features: the penalty."""
    mix = torch.rand(len(real), 1, generator=draws, device=real.device)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    found = torch.autograd.grad(judge(between).sum(), between, create_graph=True)[0]
    return found.square().sum(1).mean()


def learn(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of one network on a loss that goes through others: theirs get no gradients."""
    weights = list(network.parameters())
    found = torch.autograd.grad(loss, weights)
    for weight, gradient in zip(weights, found, strict=True):
        weight.grad = gradient
    optimizer.step()


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
