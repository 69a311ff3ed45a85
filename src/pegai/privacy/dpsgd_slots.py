"""Where a sampled patient stands in a batch, and why it matters for float32.

A matrix product rounds, and how it rounds a row may depend on the number of rows and on where the
row stands. A patient more in the batch could then change the gradients of others by rounding alone,
and at the kink of a ReLU by more than rounding. So a batch is laid out such that it can't:

1. Rows go through the network in **blocks of a fixed size**, the last filled with zeros. The
   operations of a product of fixed shape do not depend on its numbers, so a row's results depend
   on the row and its slot only.
2. That they don't depend on the slot either is **checked** (`check_slots`), before the first
   block of each shape, on made-up rows: moved to other slots, among other neighbours, they must
   give the same bits. Where they don't, a block is one patient. Rows that differ by more than
   rounding mean that the network or the loss mixes patients, which is refused.
3. Slots are dealt out by a **secret random permutation**. One more patient then amounts to this:
   they take a slot drawn at random, and the patient who was there moves to the end. (Draw a
   permutation of n patients, then the slot: that is a permutation of n + 1, uniformly drawn.) Two
   blocks change by one patient each, and all others stay the same to the bit. The output's law is
   the mean over permutations on both sides, and mixing pairs that can't be told apart gives a pair
   that can't (the divergence of (epsilon, delta) is jointly convex).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pegai.errors import PrivacyError, UsageError
from pegai.privacy.dpsgd_gradients import LayerGradient, Scratch
from pegai.privacy.dpsgd_network import Network, Rows
from pegai.privacy.samplers import SecureRandom

Positions = NDArray[np.int64]

MOST_FLOATS = 2**23
"""Numbers that the gradients of one block may take."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of the sampled patients.

    Attributes:
        inputs: Shape (rows, ...).
        targets: Shape (rows, ...), or None.
        patients: Which patient each row is of, shape (rows,); None means a patient each.
    """

    inputs: Tensor
    targets: Tensor | None = None
    patients: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        rows = len(self.inputs)
        if (self.targets is not None and len(self.targets) != rows) or (
            self.patients is not None and np.shape(self.patients) != (rows,)
        ):
            raise PrivacyError("inputs, targets and patients of a batch must be of the same rows")


@dataclass(frozen=True, eq=False)
class Block:
    """Patients with about as many rows, in slots.

    Attributes:
        rows: The block; filled up with zeros.
        patients: Who stands in the first slots, as places in the batch's list of patients.
    """

    rows: Rows
    patients: Positions


@dataclass(frozen=True, eq=False)
class Seating:
    """Rows of a batch by patient.

    Attributes:
        order: Row positions, those of a patient one after another in random order.
        starts: Where each patient's rows begin in `order`, shape (patients,).
        counts: How many rows each patient has, at most the bound, shape (patients,).
    """

    order: Positions
    starts: Positions
    counts: Positions

    @classmethod
    def of(cls, batch: Batch, max_rows: int) -> Seating:
        """At most `max_rows` rows of each patient, drawn at random."""
        rows = len(batch.inputs)
        if batch.patients is None:
            one = np.ones(rows, np.int64)
            return cls(np.arange(rows), np.arange(rows), one)
        shuffled = secret_permutation(rows)
        order = shuffled[np.argsort(batch.patients[shuffled], kind="stable")]
        _, starts, counts = np.unique(batch.patients[order], return_index=True, return_counts=True)
        return cls(order, starts, np.minimum(counts, max_rows))

    def by_length(self, max_rows: int) -> Iterator[tuple[int, Positions]]:
        """Patients of 1, of 2, of 3 or 4, of 5 to 8 rows and so on, each group in secret order."""
        length = 1
        while True:
            here = np.flatnonzero((self.counts <= length) & (self.counts > length // 2))
            if here.size:
                yield length, here[secret_permutation(here.size)]
            if length >= max_rows:
                return
            length *= 2

    def blocks(self, batch: Batch, patients: Positions, length: int, slots: int) -> Iterator[Block]:
        """Blocks of `slots` patients, `length` rows each.

        A patient's own rows fill up those that are missing, with a share of 0.
        """
        places = np.arange(length)
        for first in range(0, patients.size, slots):
            here = patients[first : first + slots]
            counts = self.counts[here][:, None]
            rows = self.order[self.starts[here][:, None] + places % counts].reshape(-1)
            index = torch.as_tensor(rows).to(batch.inputs.device)
            shares = None
            if length > 1:
                kept = np.zeros((slots, length))
                kept[: here.size] = (places < counts) / counts
                shares = torch.as_tensor(kept.reshape(-1)).to(batch.inputs.device)
            total = slots * length
            yield Block(
                Rows(
                    _filled(batch.inputs, index, total),
                    None if batch.targets is None else _filled(batch.targets, index, total),
                    shares if shares is None else shares.float(),
                    slots,
                ),
                here,
            )


def secret_permutation(count: int) -> Positions:
    """A uniform permutation from the operating system's randomness."""
    while True:
        words = SecureRandom().words(count)
        order = np.argsort(words)
        ordered = words[order]
        # Ranks of distinct words are exactly uniform.
        if not (ordered[1:] == ordered[:-1]).any():
            return order


def _filled(column: Tensor, index: Tensor, total: int) -> Tensor:
    """The chosen rows and then zeros, in memory of its own, since alignment can change rounding."""
    block = torch.zeros((total, *column.shape[1:]), dtype=column.dtype, device=column.device)
    block[: len(index)] = column[index]
    return block


class Layout:
    """How many patients a block has, for each shape that turns up.

    Args:
        block_rows: Rows a block at most.
        max_rows: Rows a patient at most; more are left out at random.
    """

    def __init__(self, block_rows: int = 256, max_rows: int = 32) -> None:
        if min(block_rows, max_rows) < 1:
            raise UsageError("block_rows and max_rows must be at least 1")
        self.block_rows = block_rows
        self.max_rows = max_rows
        self.scratch = Scratch()
        self._slots: dict[tuple[object, ...], int] = {}

    def blocks(self, network: Network, batch: Batch) -> Iterator[Block]:
        """The batch in blocks of fixed shapes, each patient in a secret slot of one of them.

        Raises:
            PrivacyError: The network or the loss mixes patients.
        """
        seating = Seating.of(batch, self.max_rows)
        for length, patients in seating.by_length(self.max_rows):
            slots = self._slots_for(network, batch, length)
            yield from seating.blocks(batch, patients, length, slots)

    def _slots_for(self, network: Network, batch: Batch, length: int) -> int:
        """From the shapes of rows and network alone; checked once for each of them."""
        key: tuple[object, ...] = (
            length,
            network.sizes,
            *(
                (c.shape[1:], c.dtype, c.device)
                for c in (batch.inputs, batch.targets)
                if c is not None
            ),
            torch.get_num_threads(),
        )
        if key not in self._slots:
            made_up = _made_up(network, batch, length, 1, torch.Generator())
            floats = max(sum(layer.floats for layer in network.gradients(made_up)), 1)
            most = max(min(self.block_rows // length, MOST_FLOATS // floats), 1)
            slots = 1 << (most.bit_length() - 1)
            fits = slots == 1 or check_slots(network, batch, length, slots)
            self._slots[key] = slots if fits else 1
        return self._slots[key]


def check_slots(network: Network, batch: Batch, length: int, slots: int) -> bool:
    """Whether a patient's gradient is the same to the bit in every slot and company.

    Nothing private is looked at: rows and weights are made up.

    Raises:
        PrivacyError: Gradients differ by more than rounding.
    """
    rng = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(w.shape, generator=rng).to(w) / max(w[0].numel(), 1) ** 0.5
        for layer in network.layers
        for w in layer
    ]
    drawn = network.with_weights(weights)
    first = _made_up(network, batch, length, slots, rng)
    other = _made_up(network, batch, length, slots, rng)
    moved = torch.randperm(slots, generator=rng)
    stays = torch.rand(slots, generator=rng) < 0.5
    inputs = _by_patient(first.inputs, slots)[moved.to(first.inputs.device)]
    inputs[~stays] = _by_patient(other.inputs, slots)[~stays]
    again = Rows(inputs.flatten(0, 1), first.targets, first.shares, slots)
    same = True
    before, after = drawn.gradients(first), drawn.gradients(again)
    for one, two in zip(_evidence(before), _evidence(after), strict=True):
        expected = torch.nan_to_num(one[moved.to(one.device)][stays])
        found = torch.nan_to_num(two[stays])
        same &= torch.equal(expected, found)
        if not torch.allclose(expected, found, rtol=1e-2, atol=1e-2 * float(found.abs().max())):
            raise PrivacyError(
                "a patient's gradient depends on who else is in the batch: the network or the "
                "loss mixes patients",
                hint="give one loss a row, from this row alone, and pass targets as targets",
            )
    return same


def _evidence(layers: list[LayerGradient]) -> list[Tensor]:
    scratch = Scratch()
    return [t.clone() for layer in layers for t in (*layer.evidence(), layer.squares(scratch))]


def _by_patient(rows: Tensor, patients: int) -> Tensor:
    return rows.reshape(patients, -1, *rows.shape[1:]).clone()


def _made_up(network: Network, batch: Batch, length: int, slots: int, rng: torch.Generator) -> Rows:
    """Random rows of the batch's shape; targets are zero, which is a class in every numbering."""
    shape = (slots * length, *batch.inputs.shape[1:])
    if batch.inputs.is_floating_point():
        inputs = torch.randn(shape, generator=rng).to(batch.inputs)
    else:
        inputs = torch.randint(0, network.vocabulary, shape, generator=rng).to(batch.inputs)
    targets = None
    if batch.targets is not None:
        targets = batch.targets.new_zeros((slots * length, *batch.targets.shape[1:]))
    shares = torch.full((slots * length,), 1.0 / length).to(batch.inputs.device)
    return Rows(inputs, targets, None if length == 1 else shares, slots)
