"""Training of the conditional tabular GAN with differential privacy.

The critic's gradient on real rows is clipped per patient and noised (DP-SGD). Fake rows, the
generator and everything else see real data only through the critic and through charged shares, so
they are post-processing and cost nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pegai.privacy.dpsgd import one_row_per_patient, private_gradient
from pegai.privacy.session import Session
from pegai.streams import Streams
from pegai.synth.blocks import torch_generator
from pegai.synth.ctgan_game import Game, Outcome, Players, average
from pegai.synth.ctgan_nets import ConditionalGenerator
from pegai.synth.running import Progress


@dataclass(frozen=True)
class PrivateSchedule:
    """Steps of the private game; all of it public.

    Attributes:
        steps: Critic steps, each followed by one generator step.
        clipping_norm: L2 bound of a patient's gradient.
        divisor: Expected patients a batch, from charged counts.
        fake_batch: Synthetic rows a step.
        anchor: Weight that holds the generator to the charged shares.
    """

    steps: int
    clipping_norm: float
    divisor: float
    fake_batch: int = 256
    anchor: float = 1.0


def train_private(
    generator: ConditionalGenerator,
    game: Game,
    schedule: PrivateSchedule,
    *,
    codes: np.ndarray,
    units: np.ndarray,
    session: Session,
    label: str,
    rng: np.random.Generator,
    progress: Progress,
) -> Outcome:
    """Train with DP-SGD on the critic's real batches.

    Args:
        generator: Starts from charged, noisy class-conditional shares.
        game: The layout and settings, from charged or public quantities.
        schedule: Steps.
        codes: Of the real rows, shape (rows, columns); made one-hot a batch at a time.
        units: The patient of each row, shape (rows,).
        session: Draws batches and noise under `label`.
        label: The planned event.
        rng: Everything that is not privacy: weights, latents, fake batches.
        progress: Told of the steps; never of a loss, which would be a look at private data.
    """
    players = Players.start(generator, game, torch_generator(rng))
    shares = game.blocks.log_softmax(generator.base.detach().clone()).exp()
    kept = copy.deepcopy(generator)
    patients = int(units.max()) + 1 if len(units) else 0
    # A stream of its own: how far it runs depends on who was sampled.
    visits = Streams.fresh().get("model")
    for step in range(1, schedule.steps + 1):
        chosen = session.poisson_sample(label, patients)
        batch = game.blocks.one_hot(codes[one_row_per_patient(chosen, units, visits)])
        _free_critic_gradient(players, game, schedule)
        noisy = private_gradient(
            players.critic,
            game.blocks.features(batch),
            _real_loss,
            session=session,
            label=label,
            clipping_norm=schedule.clipping_norm,
            divisor=schedule.divisor,
        )
        _add_and_step(players, noisy)
        _anchored_generator_step(players, game, schedule, shares)
        average(kept, generator, game.ema)
        if step % 10 == 0 or step == schedule.steps:
            progress("training the generator with DP-SGD", step / schedule.steps)
    return Outcome(kept, schedule.steps)


def _real_loss(scores: Tensor) -> Tensor:
    return F.softplus(-scores).squeeze(1)


def _free_critic_gradient(players: Players, game: Game, schedule: PrivateSchedule) -> None:
    """The critic's gradient on fake rows, which no patient is part of."""
    classes = game.draw_classes(schedule.fake_batch, players.draws)
    with torch.no_grad():
        fake = game.blocks.features(game.fake(players.generator, classes, players.draws))
    players.critic_optimizer.zero_grad()
    F.softplus(players.critic(fake)).mean().backward()


def _add_and_step(players: Players, noisy: list[Tensor]) -> None:
    for parameter, gradient in zip(players.critic.parameters(), noisy, strict=True):
        free = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = free + gradient
    players.critic_optimizer.step()


def _anchored_generator_step(
    players: Players, game: Game, schedule: PrivateSchedule, shares: Tensor
) -> None:
    """A generator step that stays near the charged shares, which noise in the critic can't move."""
    generator, draws = players.generator, players.draws
    classes = game.draw_classes(schedule.fake_batch, draws)
    latent = torch.randn(len(classes), generator.latent, generator=draws)
    logits = generator(latent, classes)
    fake = game.with_class(game.blocks.gumbel_softmax(logits, game.temperature, draws), classes)
    loss = F.softplus(-players.critic(game.blocks.features(fake))).mean()
    away = _distance_to(shares, game.blocks.log_softmax(logits), classes)
    loss = loss + schedule.anchor * away / len(game.blocks.sizes)
    players.generator_optimizer.zero_grad()
    loss.backward()
    players.generator_optimizer.step()


def _distance_to(shares: Tensor, log_shares: Tensor, classes: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the batch's mean shares from `shares`, summed over columns."""
    counts = classes.sum(0).clamp(min=1.0)[:, None]
    mean = (classes.T @ log_shares.exp()) / counts
    present = (classes.sum(0) > 0).float()[:, None]
    ratio = shares.clamp(min=1e-8).log() - mean.clamp(min=1e-8).log()
    return (present * shares * ratio).sum() / max(float(present.sum()), 1.0)
