"""Per-patient gradients of one layer: their norms and their weighted sum, by the cheapest way.

With respect to the weights of a linear map, a patient's gradient is the sum over positions p of the
outer products of g_p, the gradient at the layer's output, and a_p, its input. A patient of one row
in a network without a sequence has one position; rows of one patient, places of an image and words
of a text are further ones.

- One position (`OuterGradient`): ||g a^T||^2 = ||g||^2 ||a||^2 (Goodfellow 2015, arXiv:1510.01799).
- Few positions (`GramGradient`): sum over p, q of (g_p . g_q) (a_p . a_q) ("ghost norm": Li et al.
  2022, arXiv:2110.05679; chosen as in Bu et al. 2022, arXiv:2205.10683).
- Many (`DirectGradient`): the gradient itself, one a patient. Also for scales, and for networks
  that have no closed form.

**Rounding.** What is summed is exactly what was measured: norms are float64 sums over the same
float32 numbers whose products are added up. Where terms of either sign cancel, the norm is raised
by `CANCELLATION` of the terms' magnitude, so that rounding can't hide a large gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SUM_ROWS = 64
"""Rows whose products are added up in float32; such sums are then added in float64."""

CANCELLATION = 2.0**-30
"""Part of the magnitude of all terms by which a squared norm is raised."""

LARGEST_INPUT = 1e18
"""Rows whose input to a layer is longer count as not finite: float32 products would vanish."""


class Scratch:
    """Memory that is used again block after block: asking the system for it costs more than using.

    What it holds is private; it is overwritten, never given out.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], Tensor] = {}

    def take(self, use: str, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """An array with any content, on the device of `like`.

        Args:
            use: Arrays of different uses don't share memory.
            shape: Of the array.
            dtype: Of its numbers.
            like: For the device.
        """
        key = (use, tuple(shape), dtype, like.device)
        if key not in self._held:
            self._held[key] = torch.empty(tuple(shape), dtype=dtype, device=like.device)
        return self._held[key]

    def double(self, values: Tensor) -> Tensor:
        """The values in float64."""
        return self.take("double", values.shape, torch.float64, values).copy_(values)


@dataclass(frozen=True, eq=False)
class Kept:
    """How much of each patient's gradient is kept.

    Attributes:
        weights: Float64, shape (patients,); 0 for those dropped.
        dropped: Positions of patients that count as zero, whatever they hold (0 x NaN is NaN).
        scratch: Memory to work in.
    """

    weights: Tensor
    dropped: Tensor
    scratch: Scratch


class LayerGradient(ABC):
    """Gradients of a block of patients with respect to one layer's parameters."""

    @abstractmethod
    def squares(self, scratch: Scratch) -> Tensor:
        """Upper bounds of the squared norms, float64, shape (patients,); not finite means drop."""

    @abstractmethod
    def add_to(self, sums: Sequence[Tensor], kept: Kept) -> None:
        """Add the weighted sum over patients; may overwrite what the gradient is made of.

        Args:
            sums: Float64, one a parameter of the layer.
            kept: The weights.
        """

    @abstractmethod
    def evidence(self) -> list[Tensor]:
        """What the gradient is made of, patients first, for the check of slots."""

    @property
    @abstractmethod
    def floats(self) -> int:
        """Numbers a patient takes in memory."""


class OuterGradient(LayerGradient):
    """A linear map at one position.

    Args:
        a: Inputs, shape (patients, inputs).
        g: Gradients at outputs, shape (patients, outputs).
        has_bias: Whether the second parameter is a bias.
    """

    def __init__(self, a: Tensor, g: Tensor, *, has_bias: bool) -> None:
        self.a = a
        self.g = g
        self.has_bias = has_bias

    def squares(self, scratch: Scratch) -> Tensor:
        """||g||^2 (||a||^2 + 1)."""
        of_a = scratch.double(self.a).square_().sum(1)
        of_g = scratch.double(self.g).square_().sum(1)
        squares = of_g * (of_a + float(self.has_bias))
        return squares.masked_fill(~(of_a <= LARGEST_INPUT**2), torch.inf)

    def add_to(self, sums: Sequence[Tensor], kept: Kept) -> None:
        """Products of `SUM_ROWS` rows at a time; see `dpsgd` for what their rounding costs."""
        take = kept.scratch.take
        g = take("kept", self.g.shape, self.g.dtype, self.g)
        torch.mul(self.g, kept.weights.to(self.g.dtype)[:, None], out=g)
        g.index_fill_(0, kept.dropped, 0.0)
        self.a.index_fill_(0, kept.dropped, 0.0)
        product = take("product", sums[0].shape, g.dtype, g)
        for start in range(0, len(g), SUM_ROWS):
            part = slice(start, start + SUM_ROWS)
            torch.mm(g[part].T, self.a[part], out=product)
            sums[0].add_(product)
        if self.has_bias:
            sums[1].add_(g.sum(0, dtype=torch.float64))

    def evidence(self) -> list[Tensor]:
        """Inputs and gradients at outputs."""
        return [self.a, self.g]

    @property
    def floats(self) -> int:
        """Two vectors."""
        return self.a.shape[1] + self.g.shape[1]


class GramGradient(LayerGradient):
    """A linear map at a few positions, by inner products.

    Args:
        a: Inputs, shape (patients, positions, inputs).
        g: Gradients at outputs, shape (patients, positions, outputs).
        has_bias: Whether the second parameter is a bias.
    """

    def __init__(self, a: Tensor, g: Tensor, *, has_bias: bool) -> None:
        self.a = a.double()
        self.g = g.double()
        self.has_bias = has_bias

    def squares(self, scratch: Scratch) -> Tensor:
        """The sum over pairs of positions, raised against cancellation."""
        ones = float(self.has_bias)
        pairs = (self.g @ self.g.mT) * (self.a @ self.a.mT + ones)
        lengths = self.g.square().sum(2) * (self.a.square().sum(2) + ones)
        return raised(pairs.sum((1, 2)), lengths.sqrt().sum(1))

    def add_to(self, sums: Sequence[Tensor], kept: Kept) -> None:
        """In float64: a patient's terms may be far longer than their sum."""
        self.a.index_fill_(0, kept.dropped, 0.0)
        g = _weighted(self.g, kept)
        sums[0].add_((g.T @ self.a.flatten(0, 1)).view_as(sums[0]))
        if self.has_bias:
            sums[1].add_(g.sum(0))

    def evidence(self) -> list[Tensor]:
        """Inputs and gradients at outputs."""
        return [self.a, self.g]

    @property
    def floats(self) -> int:
        """The vectors of every position and two tables of pairs, in float64."""
        positions = self.a.shape[1]
        return 2 * positions * (self.a.shape[2] + self.g.shape[2] + 2 * positions)


class LookupGradient(LayerGradient):
    """An embedding: the gradients of equal indices add up in one row of the table.

    Args:
        indices: Shape (patients, positions).
        g: Gradients at outputs, shape (patients, positions, features); 0 where padded.
    """

    def __init__(self, indices: Tensor, g: Tensor) -> None:
        self.indices = indices
        self.g = g.double()

    def squares(self, scratch: Scratch) -> Tensor:
        """The sum over pairs of positions with the same index, raised against cancellation."""
        same = self.indices[:, :, None] == self.indices[:, None, :]
        pairs = (self.g @ self.g.mT).masked_fill(~same, 0.0)
        # What is masked is dropped by the second term if it isn't finite.
        return raised(pairs.sum((1, 2)), self.g.square().sum(2).sqrt().sum(1))

    def add_to(self, sums: Sequence[Tensor], kept: Kept) -> None:
        """In float64, row by row."""
        sums[0].index_add_(0, self.indices.flatten(), _weighted(self.g, kept))

    def evidence(self) -> list[Tensor]:
        """Gradients at outputs."""
        return [self.g]

    @property
    def floats(self) -> int:
        """The vectors of every position and a table of pairs, in float64."""
        positions = self.g.shape[1]
        return 2 * positions * (self.g.shape[2] + positions)


class DirectGradient(LayerGradient):
    """Gradients in full, one a patient.

    Args:
        parts: One a parameter of the layer, shape (patients, ...).
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts = [part.flatten(1) for part in parts]

    def squares(self, scratch: Scratch) -> Tensor:
        """Of the very numbers that are added up."""
        return torch.stack([part.double().square().sum(1) for part in self.parts]).sum(0)

    def add_to(self, sums: Sequence[Tensor], kept: Kept) -> None:
        """In float64."""
        for total, part in zip(sums, self.parts, strict=True):
            whole = part.double().index_fill(0, kept.dropped, 0.0)
            total.add_((kept.weights @ whole).view_as(total))

    def evidence(self) -> list[Tensor]:
        """The gradients."""
        return list(self.parts)

    @property
    def floats(self) -> int:
        """Every coordinate, in float32 and float64."""
        return 3 * sum(part.shape[1] for part in self.parts)


def _weighted(g: Tensor, kept: Kept) -> Tensor:
    """Gradients at outputs times weights, positions of all patients one after another."""
    weighted = (g * kept.weights[:, None, None]).index_fill_(0, kept.dropped, 0.0)
    return weighted.flatten(0, 1)


def linear_gradient(a: Tensor, g: Tensor, *, has_bias: bool) -> LayerGradient:
    """The cheapest form for a linear map.

    Args:
        a: Inputs, shape (patients, positions, inputs).
        g: Gradients at outputs, shape (patients, positions, outputs).
        has_bias: Whether the second parameter is a bias.
    """
    positions = a.shape[1]
    if positions == 1:
        return OuterGradient(a[:, 0], g[:, 0], has_bias=has_bias)
    if 2 * positions**2 <= a.shape[2] * g.shape[2]:
        return GramGradient(a, g, has_bias=has_bias)
    return DirectGradient([g.mT @ a, *([g.sum(1)] if has_bias else [])])


def raised(squares: Tensor, reach: Tensor) -> Tensor:
    """A squared norm from terms that cancel, as an upper bound.

    Float64 rounds the sum by less than 2^-40 of reach^2 below a thousand terms, and summing a
    clipped patient's terms by as little. With `CANCELLATION` reach^2 added neither can matter: a
    weight of at most C / norm makes the terms at most 2^15 C long.

    Args:
        squares: As summed, shape (patients,).
        reach: Sum of the lengths of the terms, shape (patients,).
    """
    return squares.clamp(min=0.0) + CANCELLATION * reach.square()
