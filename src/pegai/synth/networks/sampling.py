"""Draws from a conditional generator, also under conditions, at a fixed cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pegai.synth.networks.blocks import Blocks
from pegai.synth.networks.nets import ConditionalGenerator
from pegai.synth.networks.priors import LatentMixture

POOL_FACTOR = 8
MIN_POOL = 4096
MAX_POOL = 65_536


@dataclass(frozen=True, eq=False)
class Source:
    """What is drawn from.

    Attributes:
        generator: Logits from latent and class.
        blocks: The layout.
        class_block: Position of the class column, or None.
        class_shares: Shape (classes,).
        prior: Of the latents; None is standard normal.
    """

    generator: ConditionalGenerator
    blocks: Blocks
    class_block: int | None
    class_shares: np.ndarray
    prior: LatentMixture | None

    def latents(self, classes: Tensor, rng: torch.Generator) -> Tensor:
        """Latents of one-hot classes (rows, classes), shape (rows, latent)."""
        if self.prior is not None:
            return self.prior.draw(classes, rng)
        return torch.randn(len(classes), self.generator.latent, generator=rng)


@torch.no_grad()
def draw_codes(
    source: Source, *, wanted: dict[int, int], n: int, rng: torch.Generator
) -> np.ndarray:
    """Codes of n rows, each with the wanted codes.

    Given latent and class the columns are independent, so the probability of what is wanted is a
    product of head probabilities. Pairs of class and latent are drawn from a pool by that weight
    (sampling-importance-resampling, Rubin 1987): no rejection, whatever is wanted.

    Args:
        source: The generator and what it is given.
        wanted: Code by column position.
        n: Rows.
        rng: Latents, classes and codes.

    Returns:
        int64 codes, shape (n, columns).
    """
    shares = torch.from_numpy(source.class_shares.astype(np.float64))
    heads = {i: code for i, code in wanted.items() if i != source.class_block}
    if source.class_block in wanted:
        shares = F.one_hot(torch.tensor(wanted[source.class_block]), len(shares)).double()
    size = int(np.clip(POOL_FACTOR * n, MIN_POOL, MAX_POOL)) if heads else n
    classes = torch.multinomial(shares, size, replacement=True, generator=rng)
    one_hot = F.one_hot(classes, len(shares)).float()
    logits = source.generator(source.latents(one_hot, rng), one_hot)
    if heads:
        chosen = _resample(source.blocks.log_softmax(logits), source.blocks, heads, n, rng)
        logits, classes = logits[chosen], classes[chosen]
    codes = source.blocks.draw(logits, rng)
    if source.class_block is not None:
        codes[:, source.class_block] = classes.numpy()
    for index, code in heads.items():
        codes[:, index] = code
    return codes


def _resample(
    log_shares: Tensor, blocks: Blocks, heads: dict[int, int], n: int, rng: torch.Generator
) -> Tensor:
    """Positions in the pool, drawn by the probability of what is wanted; shape (n,)."""
    places = torch.tensor([blocks.starts[i] + code for i, code in heads.items()])
    weights = log_shares[:, places].double().sum(1).softmax(0)
    return torch.multinomial(weights, n, replacement=True, generator=rng)
