"""Training of the conditional tabular GAN without privacy.

The non-saturating game of Goodfellow et al. 2014; the critic has a zero-centred gradient penalty
between real and fake rows (Thanh-Tung et al. 2019), and the generator of the step that explains
held-back rows best is kept.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pegai.synth.blocks import torch_generator
from pegai.synth.ctgan_game import Game, Outcome, Players, average, log_likelihood
from pegai.synth.ctgan_nets import ConditionalGenerator
from pegai.synth.running import Progress

MAX_HELD_BACK = 2000


@dataclass(frozen=True)
class Schedule:
    """Steps of the non-private game.

    Attributes:
        batch: Rows a step.
        max_steps: Generator steps at most.
        critic_steps: Critic steps for each generator step.
        check_every: Steps between two looks at the held-back rows.
        patience: Looks without improvement before stopping.
        penalty: Weight of the gradient penalty.
    """

    batch: int
    max_steps: int
    critic_steps: int = 2
    check_every: int = 20
    patience: int = 8
    penalty: float = 0.1

    def is_over(self, step: int, best_step: int) -> bool:
        """Whether nothing has improved for long enough; never in the first eighth of the steps."""
        waited = step - best_step >= self.patience * self.check_every
        return waited and step >= self.max_steps // 8


def train(
    generator: ConditionalGenerator,
    game: Game,
    schedule: Schedule,
    *,
    learned: np.ndarray,
    held_back: np.ndarray,
    rng: np.random.Generator,
    progress: Progress,
) -> Outcome:
    """Train without privacy.

    Args:
        generator: Starts from class-conditional shares.
        game: The layout and settings.
        schedule: Steps.
        learned: Codes of the rows to learn, shape (rows, columns); made one-hot a batch at a time,
            so that memory does not grow with rows times levels.
        held_back: Codes of rows kept out of training to choose the step by; the first
            `MAX_HELD_BACK` are looked at.
        rng: Batches and latents.
        progress: Told after each look.
    """
    judged = game.one_hot(held_back[:MAX_HELD_BACK])
    players = Players.start(generator, game, torch_generator(rng))
    kept = copy.deepcopy(generator)
    best, best_step = copy.deepcopy(kept), 0
    looks = [log_likelihood(kept, game, *judged)]
    for step in range(1, schedule.max_steps + 1):
        for _ in range(schedule.critic_steps):
            rows, classes = game.one_hot(_batch(players, schedule, learned))
            _critic_step(players, game, schedule.penalty, rows, classes)
        _, classes = game.one_hot(_batch(players, schedule, learned))
        _generator_step(players, game, classes)
        average(kept, generator, game.ema)
        if step % schedule.check_every:
            continue
        looks.append(log_likelihood(kept, game, *judged))
        if looks[-1] >= max(looks):
            best, best_step = copy.deepcopy(kept), step
        progress("training the generator", step / schedule.max_steps)
        if schedule.is_over(step, best_step):
            break
    return Outcome(best, best_step, tuple(looks))


def _batch(players: Players, schedule: Schedule, codes: np.ndarray) -> np.ndarray:
    chosen = torch.randint(len(codes), (schedule.batch,), generator=players.draws)
    return codes[chosen.numpy()]


def _critic_step(
    players: Players, game: Game, weight: float, real_rows: Tensor, classes: Tensor
) -> None:
    judge = players.critic
    with torch.no_grad():
        fake = game.blocks.features(game.fake(players.generator, classes, players.draws))
    real = game.blocks.features(real_rows)
    mix = torch.rand(len(real), 1, generator=players.draws)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    slope = torch.autograd.grad(judge(between).sum(), between, create_graph=True)[0]
    penalty = slope.square().sum(1).mean()
    loss = F.softplus(judge(fake)).mean() + F.softplus(-judge(real)).mean()
    players.critic_optimizer.zero_grad()
    (loss + weight * penalty).backward()
    players.critic_optimizer.step()


def _generator_step(players: Players, game: Game, classes: Tensor) -> None:
    fake = game.blocks.features(game.fake(players.generator, classes, players.draws))
    loss = F.softplus(-players.critic(fake)).mean()
    players.generator_optimizer.zero_grad()
    loss.backward()
    players.generator_optimizer.step()
