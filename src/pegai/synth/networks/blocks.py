"""Blocks of one-hot columns: helpers for networks whose outputs are codes of a table.

A row of codes becomes one vector of concatenated one-hot blocks, one block a column; a generator
gives logits in the same layout. Torch is imported here, so this module is imported on use only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pegai.encode.table import TableEncoder
from pegai.errors import UsageError


@dataclass(frozen=True, eq=False)
class Blocks:
    """The layout of a table's one-hot blocks.

    Attributes:
        sizes: Codes a column, shape (columns,).
        scores: A number a code in [-1, 1] for models that use order; shape (width,).
    """

    sizes: tuple[int, ...]
    scores: Tensor

    @classmethod
    def of(cls, encoder: TableEncoder, device: torch.device | None = None) -> Blocks:
        """The layout of an encoder, with tensors on a device."""
        values = [v for column in encoder.columns for v in column.values]
        scores = torch.tensor(values, dtype=torch.float32, device=device) * 2 - 1
        return cls(encoder.sizes, scores)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.scores.device

    @property
    def width(self) -> int:
        """Length of a row vector."""
        return sum(self.sizes)

    @property
    def feature_width(self) -> int:
        """Length of what a critic sees of a row."""
        return self.width + len(self.sizes)

    @cached_property
    def starts(self) -> list[int]:
        """Where each block starts."""
        return [sum(self.sizes[:i]) for i in range(len(self.sizes))]

    def span(self, index: int) -> slice:
        """Where a column's block lies."""
        start = self.starts[index]
        return slice(start, start + self.sizes[index])

    @cached_property
    def column_of(self) -> Tensor:
        """The column of each place in a row vector, shape (width,)."""
        sizes = torch.tensor(self.sizes, device=self.device)
        return torch.repeat_interleave(torch.arange(len(sizes), device=self.device), sizes)

    @cached_property
    def same_column(self) -> Tensor:
        """Which pairs of places belong to one column, shape (width, width)."""
        return self.column_of[:, None] == self.column_of[None, :]

    def one_hot(self, codes: np.ndarray) -> Tensor:
        """Codes (rows, columns) as float32 vectors (rows, width)."""
        out = torch.zeros(len(codes), self.width, device=self.device)
        places = torch.from_numpy(codes.astype(np.int64)).to(self.device) + self._offsets
        return out.scatter_(1, places, 1.0)

    @cached_property
    def _offsets(self) -> Tensor:
        return torch.tensor(self.starts, device=self.device)

    @cached_property
    def _square(self) -> tuple[Tensor, Tensor] | None:
        """Where each code stands in a (columns, largest size) square, and which cell has no code.

        One softmax over the square is much faster than one a column, unless a few long columns
        make the square mostly empty.
        """
        longest = max(self.sizes)
        if longest * len(self.sizes) > 6 * self.width:
            return None
        column = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        cells = column * longest + torch.arange(self.width) - torch.tensor(self.starts)[column]
        empty = torch.full((len(self.sizes) * longest,), float("-inf"))
        return cells.to(self.device), empty.index_fill(0, cells, 0.0).to(self.device)

    def _by_block(self, values: Tensor, function: Callable[..., Tensor]) -> Tensor:
        """Apply a softmax to every block; shape of `values`, (rows, width)."""
        if self._square is None:
            parts = [function(part, dim=-1) for part in values.split(self.sizes, dim=1)]
            return torch.cat(parts, dim=1)
        cells, empty = self._square
        square = empty.expand(len(values), -1).index_copy(1, cells, values)
        shaped = function(square.view(len(values), len(self.sizes), -1), dim=-1)
        return shaped.reshape(len(values), -1)[:, cells]

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Log-probabilities by block; shape of `logits`, (rows, width)."""
        return self._by_block(logits, torch.log_softmax)

    def gumbel_softmax(self, logits: Tensor, temperature: float, rng: torch.Generator) -> Tensor:
        """A relaxed draw from each block (Jang et al. 2017); shape (rows, width)."""
        uniform = torch.rand(logits.shape, generator=rng, device=logits.device)
        uniform = uniform.clamp_(1e-9, 1 - 1e-7)
        noisy = (logits - torch.log(-torch.log(uniform))) / temperature
        return self._by_block(noisy, torch.softmax)

    def draw(self, logits: Tensor, rng: torch.Generator) -> np.ndarray:
        """Codes drawn from each block; int64, shape (rows, columns)."""
        noise = torch.empty_like(logits).exponential_(generator=rng)
        noisy = logits - noise.clamp_(min=1e-30).log_()
        parts = [part.argmax(1) for part in noisy.split(self.sizes, dim=1)]
        return torch.stack(parts, dim=1).cpu().numpy()

    def features(self, rows: Tensor) -> Tensor:
        """What a critic sees: the blocks, and for each column the mean score of its block.

        Shape (rows, width + columns), scaled so that a row's norm does not grow with its columns.
        """
        return torch.cat([rows, rows @ self._score_matrix], dim=1) / len(self.sizes) ** 0.5

    @cached_property
    def _score_matrix(self) -> Tensor:
        """The scores, each in the line of its code and the column of its block."""
        matrix = torch.zeros(self.width, len(self.sizes))
        column = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        matrix[torch.arange(self.width), column] = self.scores.cpu()
        return matrix.to(self.device)


def torch_generator(
    rng: np.random.Generator, device: torch.device | None = None
) -> torch.Generator:
    """A torch generator on a device, seeded from a numpy one."""
    return torch.Generator(device or "cpu").manual_seed(int(rng.integers(2**63 - 1)))


def device_of(name: str) -> torch.device:
    """The device that a run asks for.

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device cuda was asked for, and torch sees no CUDA device",
            hint="device auto takes one where there is one; see docs/howto/offline-install.md",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small layers gain nothing from more, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
