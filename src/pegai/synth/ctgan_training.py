"""Training of the conditional tabular GAN, without and with differential privacy.

Both ways play the non-saturating game of Goodfellow et al. 2014. Without privacy the critic has a
zero-centred gradient penalty between real and fake rows (Thanh-Tung et al. 2019) and the generator
of the step that explains held-back rows best is kept. With privacy the critic's gradient on real
rows is clipped per patient and noised (DP-SGD); fake rows, the generator and everything else see
real data only through the critic, so they are post-processing and cost nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.privacy.dpsgd import one_row_per_patient, private_gradient
from pegai.privacy.session import Session
from pegai.streams import Streams
from pegai.synth.base import Progress
from pegai.synth.blocks import Blocks, torch_generator
from pegai.synth.ctgan_nets import ConditionalGenerator, critic

if TYPE_CHECKING:
    from pegai.encode.table import TableEncoder
    from pegai.schema import Column
    from pegai.synth.ctgan import CTGANConfig


@dataclass(frozen=True)
class Game:
    """What both ways of training share.

    Attributes:
        blocks: The layout of rows.
        class_block: Position of the class column, or None where there is one class for all.
        class_shares: Shares of the classes, shape (classes,).
        hidden: Width of the networks.
        learning_rate: Of both players.
        temperature: Of the relaxed draws.
        ema: Decay of the averaged generator.
    """

    blocks: Blocks
    class_block: int | None
    class_shares: Tensor
    hidden: int
    learning_rate: float
    temperature: float
    ema: float

    def one_hot(self, codes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows (rows, width) and their classes (rows, classes) from codes."""
        rows = self.blocks.one_hot(codes)
        if self.class_block is None:
            return rows, torch.ones(len(rows), 1)
        return rows, rows[:, self.blocks.span(self.class_block)]

    def draw_classes(self, n: int, rng: torch.Generator) -> Tensor:
        """One-hot classes by their shares, shape (n, classes)."""
        drawn = torch.multinomial(self.class_shares, n, replacement=True, generator=rng)
        return F.one_hot(drawn, len(self.class_shares)).float()

    def with_class(self, rows: Tensor, classes: Tensor) -> Tensor:
        """Rows whose class block is the class they were asked for."""
        if self.class_block is None:
            return rows
        span = self.blocks.span(self.class_block)
        return torch.cat([rows[:, : span.start], classes, rows[:, span.stop :]], dim=1)

    def fake(self, model: ConditionalGenerator, classes: Tensor, rng: torch.Generator) -> Tensor:
        """Relaxed synthetic rows of given classes, shape (rows, width)."""
        latent = torch.randn(len(classes), model.latent, generator=rng)
        rows = self.blocks.gumbel_softmax(model(latent, classes), self.temperature, rng)
        return self.with_class(rows, classes)


def start(
    config: CTGANConfig,
    encoder: TableEncoder,
    condition: Column | None,
    shares: list[np.ndarray],
    rng: np.random.Generator,
) -> tuple[Game, ConditionalGenerator]:
    """The game, and a generator that draws each column by its share in the class.

    Args:
        config: Widths, rates.
        encoder: The codes.
        condition: The class column, or None.
        shares: Joint shares of class and code, one array (classes, size) a column.
        rng: Initial weights.
    """
    by_class = shares[0].sum(axis=1)
    inside = [part / by_class[:, None] for part in shares]
    base = torch.tensor(np.log(np.concatenate(inside, axis=1)), dtype=torch.float32)
    game = Game(
        Blocks.of(encoder),
        None if condition is None else encoder.index(condition.name),
        torch.tensor(by_class, dtype=torch.float32),
        config.hidden,
        config.learning_rate,
        config.temperature,
        config.ema,
    )
    generator = ConditionalGenerator(
        base, latent=config.latent, hidden=config.hidden, rng=torch_generator(rng)
    )
    return game, generator


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


@dataclass(frozen=True)
class Outcome:
    """A trained generator and how it got there; losses are of the non-private way only.

    Attributes:
        generator: The averaged generator.
        steps: Generator steps until it.
        held_back: Log-likelihood of the held-back rows at each look.
    """

    generator: ConditionalGenerator
    steps: int
    held_back: tuple[float, ...] = ()


@dataclass(frozen=True)
class Players:
    """The two networks, their optimizers and the stream that both draw from."""

    generator: ConditionalGenerator
    critic: nn.Sequential
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    draws: torch.Generator

    @classmethod
    def start(cls, generator: ConditionalGenerator, game: Game, draws: torch.Generator) -> Players:
        """A new critic against a generator."""
        judge = critic(game.blocks.feature_width, game.hidden, draws)
        optimizers = [
            torch.optim.Adam(network.parameters(), lr=game.learning_rate, betas=(0.5, 0.9))
            for network in (generator, judge)
        ]
        return cls(generator, judge, optimizers[0], optimizers[1], draws)


def train(
    generator: ConditionalGenerator,
    game: Game,
    schedule: Schedule,
    *,
    learned: tuple[Tensor, Tensor],
    held_back: tuple[Tensor, Tensor],
    rng: np.random.Generator,
    progress: Progress,
) -> Outcome:
    """Train without privacy.

    Args:
        generator: Starts from class-conditional shares.
        game: The layout and settings.
        schedule: Steps.
        learned: One-hot rows (rows, width) and their one-hot classes (rows, classes).
        held_back: Rows and classes kept out of training to choose the step by.
        rng: Batches and latents.
        progress: Told after each look.
    """
    rows, classes = learned
    players = Players.start(generator, game, torch_generator(rng))
    average = copy.deepcopy(generator)
    best, best_step = copy.deepcopy(average), 0
    looks = [log_likelihood(average, game, *held_back)]
    for step in range(1, schedule.max_steps + 1):
        for _ in range(schedule.critic_steps):
            chosen = _batch(players, schedule, len(rows))
            _critic_step(players, game, schedule.penalty, rows[chosen], classes[chosen])
        _generator_step(players, game, classes[_batch(players, schedule, len(rows))])
        _average(average, generator, game.ema)
        if step % schedule.check_every:
            continue
        looks.append(log_likelihood(average, game, *held_back))
        if looks[-1] >= max(looks):
            best, best_step = copy.deepcopy(average), step
        progress("training the generator", step / schedule.max_steps)
        if schedule.is_over(step, best_step):
            break
    return Outcome(best, best_step, tuple(looks))


def _batch(players: Players, schedule: Schedule, rows: int) -> Tensor:
    return torch.randint(rows, (schedule.batch,), generator=players.draws)


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


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


@torch.no_grad()
def log_likelihood(
    generator: ConditionalGenerator, game: Game, rows: Tensor, classes: Tensor, *, draws: int = 512
) -> float:
    """Mean log-likelihood of rows given their class, by Monte Carlo over the latent.

    Given the latent vector the columns are independent, so p(row) is the mean over latents of the
    product of block probabilities (Wu et al. 2017, without their annealing).

    Args:
        generator: The model.
        game: The layout.
        rows: One-hot, shape (rows, width).
        classes: One-hot, shape (rows, classes).
        draws: Latents a class; always the same ones, so that steps can be compared.
    """
    latent = torch.randn(draws, generator.latent, generator=torch.Generator().manual_seed(0))
    known = game.with_class(rows, torch.zeros(len(rows), classes.shape[1]))
    total = 0.0
    for label in range(classes.shape[1]):
        mine = known[classes[:, label] > 0]
        if len(mine) == 0:
            continue
        wanted = F.one_hot(torch.full((draws,), label), classes.shape[1]).float()
        shares = game.blocks.log_softmax(generator(latent, wanted))
        mixed = torch.logsumexp(mine @ shares.T, dim=1) - float(np.log(draws))
        total += float(mixed.sum())
    return total / max(len(rows), 1)


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
    rows: Tensor,
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
        rows: Real one-hot rows, shape (rows, width).
        units: The patient of each row, shape (rows,).
        session: Draws batches and noise under `label`.
        label: The planned event.
        rng: Everything that is not privacy: weights, latents, fake batches.
        progress: Told of the steps; never of a loss, which would be a look at private data.
    """
    players = Players.start(generator, game, torch_generator(rng))
    features = game.blocks.features(rows)
    shares = game.blocks.log_softmax(generator.base.detach().clone()).exp()
    average = copy.deepcopy(generator)
    patients = int(units.max()) + 1 if len(units) else 0
    # A stream of its own: how far it runs depends on who was sampled.
    visits = Streams.fresh().get("model")
    for step in range(1, schedule.steps + 1):
        chosen = session.poisson_sample(label, patients)
        batch = features[torch.from_numpy(one_row_per_patient(chosen, units, visits))]
        _free_critic_gradient(players, game, schedule)
        noisy = private_gradient(
            players.critic,
            batch,
            _real_loss,
            session=session,
            label=label,
            clipping_norm=schedule.clipping_norm,
            divisor=schedule.divisor,
        )
        _add_and_step(players, noisy)
        _anchored_generator_step(players, game, schedule, shares)
        _average(average, generator, game.ema)
        if step % 10 == 0 or step == schedule.steps:
            progress("training the generator with DP-SGD", step / schedule.steps)
    return Outcome(average, schedule.steps)


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
