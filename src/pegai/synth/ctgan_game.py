"""The game that both ways of training a conditional GAN play: layout, players, likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.encode.table import TableEncoder
from pegai.schema import Column
from pegai.synth.blocks import Blocks, torch_generator
from pegai.synth.ctgan_config import CTGANConfig
from pegai.synth.ctgan_nets import ConditionalGenerator, critic


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


@torch.no_grad()
def average(kept: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged network a step towards the trained one."""
    for old, new in zip(kept.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


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
