"""What every way of training a generator of codes shares: the layout of rows, and their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pegai.encode.table import TableEncoder
from pegai.schema import Column
from pegai.synth.networks.blocks import Blocks, torch_generator
from pegai.synth.networks.nets import ConditionalGenerator


@dataclass(frozen=True)
class Layout:
    """The blocks of a row, and the class that its generator is given.

    Attributes:
        blocks: The layout of rows.
        class_block: Position of the class column, or None where there is one class for all.
        class_shares: Shares of the classes, shape (classes,).
        temperature: Of the relaxed draws.
    """

    blocks: Blocks
    class_block: int | None
    class_shares: Tensor
    temperature: float

    @property
    def device(self) -> torch.device:
        """Where tensors are."""
        return self.blocks.device

    def one_hot(self, codes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows (rows, width) and their classes (rows, classes) from codes."""
        rows = self.blocks.one_hot(codes)
        return rows, self.classes_of(rows)

    def classes_of(self, rows: Tensor) -> Tensor:
        """The classes (rows, classes) of rows (rows, width)."""
        if self.class_block is None:
            return torch.ones(len(rows), 1, device=self.device)
        return rows[:, self.blocks.span(self.class_block)]

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

    def latents(self, n: int, model: ConditionalGenerator, rng: torch.Generator) -> Tensor:
        """Standard normal latents, shape (n, latent)."""
        return torch.randn(n, model.latent, generator=rng, device=self.device)

    def relaxed(self, logits: Tensor, classes: Tensor, rng: torch.Generator) -> Tensor:
        """Relaxed rows (rows, width) from logits (rows, width) of given classes."""
        return self.with_class(self.blocks.gumbel_softmax(logits, self.temperature, rng), classes)

    def fake(self, model: ConditionalGenerator, classes: Tensor, rng: torch.Generator) -> Tensor:
        """Relaxed synthetic rows of given classes, shape (rows, width)."""
        return self.relaxed(model(self.latents(len(classes), model, rng), classes), classes, rng)

    def free_log_shares(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Log-probabilities by block, that of the class block 0: it is given, not drawn."""
        return self.with_class(self.blocks.log_softmax(logits), torch.zeros_like(classes))


@dataclass(frozen=True, eq=False)
class Start:
    """Where training starts: a layout, and a generator that draws each column by its share.

    Attributes:
        layout: Of the rows.
        generator: Starts at the class-conditional shares.
        hidden: Width of the networks beside it.
        draws: The stream of all that is drawn in training, on the layout's device.
    """

    layout: Layout
    generator: ConditionalGenerator
    hidden: int
    draws: torch.Generator


@dataclass(frozen=True)
class Shape:
    """Sizes that are chosen.

    Attributes:
        latent: Length of the latent vector.
        hidden: Width of the networks.
        temperature: Of relaxed draws.
    """

    latent: int
    hidden: int
    temperature: float


def start(
    encoder: TableEncoder,
    condition: Column | None,
    shares: list[np.ndarray],
    shape: Shape,
    *,
    device: torch.device,
    rng: np.random.Generator,
) -> Start:
    """A layout and its first generator.

    Args:
        encoder: The codes.
        condition: The class column, or None.
        shares: Joint shares of class and code, one array (classes, size) a column.
        shape: Sizes.
        device: Where to train.
        rng: Initial weights, and the seed of what is drawn in training.
    """
    by_class = shares[0].sum(axis=1)
    inside = [part / by_class[:, None] for part in shares]
    base = torch.tensor(np.log(np.concatenate(inside, axis=1)), dtype=torch.float32)
    layout = Layout(
        Blocks.of(encoder, device),
        None if condition is None else encoder.index(condition.name),
        torch.tensor(by_class, dtype=torch.float32, device=device),
        shape.temperature,
    )
    weights = torch_generator(rng)
    generator = ConditionalGenerator(base, latent=shape.latent, hidden=shape.hidden, rng=weights)
    return Start(layout, generator.to(device), shape.hidden, torch_generator(rng, device))


@torch.no_grad()
def log_likelihood(
    generator: ConditionalGenerator, layout: Layout, rows: Tensor, *, draws: int = 512
) -> float:
    """Mean log-likelihood of rows given their class, by Monte Carlo over the latent.

    Given the latent vector the columns are independent, so p(row) is the mean over latents of the
    product of block probabilities (Wu et al. 2017, without their annealing).

    Args:
        generator: The model.
        layout: Of the rows.
        rows: One-hot, shape (rows, width).
        draws: Latents a class; always the same ones, so that steps can be compared.
    """
    fixed = torch.Generator().manual_seed(0)
    latent = torch.randn(draws, generator.latent, generator=fixed).to(layout.device)
    classes = layout.classes_of(rows)
    total = 0.0
    for label in range(classes.shape[1]):
        mine = rows[classes[:, label] > 0]
        if len(mine) == 0:
            continue
        wanted = F.one_hot(torch.full((draws,), label), classes.shape[1]).float().to(layout.device)
        shares = layout.free_log_shares(generator(latent, wanted), wanted)
        mixed = torch.logsumexp(mine @ shares.T, dim=1) - float(np.log(draws))
        total += float(mixed.sum())
    return total / max(len(rows), 1)


@torch.no_grad()
def pair_distance(
    generator: ConditionalGenerator, layout: Layout, rows: Tensor, *, draws: int = 8192
) -> float:
    """Mean total variation distance of all two-way tables, of generated rows from real ones.

    Args:
        generator: The model.
        layout: Of the rows.
        rows: One-hot, shape (rows, width).
        draws: Generated rows; always from the same stream, so that steps can be compared.
    """
    fixed = torch.Generator(layout.device).manual_seed(0)
    blocks = layout.blocks
    together = torch.zeros(blocks.width, blocks.width, device=layout.device)
    for _ in range(max(draws // 2048, 1)):
        classes = layout.draw_classes(2048, fixed)
        logits = generator(layout.latents(2048, generator, fixed), classes)
        made = layout.with_class(blocks.one_hot(blocks.draw(logits, fixed)), classes)
        together += made.T @ made
    away = together / max(draws // 2048, 1) / 2048 - rows.T @ rows / len(rows)
    pairs = len(blocks.sizes) * (len(blocks.sizes) - 1)
    return float(away.abs().masked_fill(blocks.same_column, 0.0).sum() / 2 / max(pairs, 1))
