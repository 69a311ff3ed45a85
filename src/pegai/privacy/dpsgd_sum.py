"""The sum over a batch of per-patient gradients, each clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pegai.privacy.dpsgd_clipping import Clipping
from pegai.privacy.dpsgd_gradients import Kept, LayerGradient
from pegai.privacy.dpsgd_network import Network
from pegai.privacy.dpsgd_slots import Batch, Layout
from pegai.privacy.precision import full_precision


@dataclass(frozen=True, eq=False)
class ClippedSum:
    """The sum over a batch of per-patient gradients, each clipped. Private: never log any of it.

    Attributes:
        gradients: Float64, one a parameter in the order of `model.parameters()`; views of `flat`.
        norms: Gradient norms before clipping, shape (patients, groups), or (patients,) from
            `clipped_gradient_sum`; in the order of rows or, where patients were given, of their
            sorted codes.
        counts: Unclipped patients minus half of the finite ones, one a group, shape (groups,).
        flat: The gradients one after another, shape (coordinates,).
    """

    gradients: list[Tensor]
    norms: Tensor
    counts: Tensor
    flat: Tensor


@full_precision()
def sum_clipped(
    network: Network, batch: Batch, *, clipping: Clipping, norms: Sequence[float], layout: Layout
) -> ClippedSum:
    """Sum of the clipped per-patient gradients.

    Args:
        network: Its weights are taken as they are.
        batch: An empty one gives zeros.
        clipping: Which layers share a norm.
        norms: One for each such group.
        layout: Blocks.
    """
    groups = clipping.groups(network.sizes)
    device = network.layers[0][0].device
    flat = torch.zeros(sum(network.sizes), dtype=torch.float64, device=device)
    sums = in_shapes(flat, network.layers)
    bounds = torch.tensor(norms, dtype=torch.float64, device=device)
    counts = torch.zeros(len(groups), dtype=torch.float64, device=device)
    before: list[Tensor] = []
    who: list[NDArray[np.int64]] = []
    for block in layout.blocks(network, batch):
        layers = network.gradients(block.rows)
        squares = [layer.squares(layout.scratch) for layer in layers]
        found = torch.stack([_total(squares, group) for group in groups], dim=1).sqrt()
        counted = torch.isfinite(found).all(1)
        counted[block.patients.size :] = False
        weights = (bounds / found).clamp_(max=1.0).masked_fill_(~counted[:, None], 0.0)
        dropped = torch.nonzero(~counted)[:, 0]
        for place, group in enumerate(groups):
            kept = Kept(weights[:, place], dropped, layout.scratch)
            _add(layers, group, sums, kept)
        counts += ((found <= bounds).double() - 0.5)[counted].sum(0)
        before.append(found[: block.patients.size])
        who.append(block.patients)
    return ClippedSum(
        [part for layer in sums for part in layer],
        _in_order(before, who, len(groups)),
        counts,
        flat,
    )


def in_shapes(flat: Tensor, layers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Parts of a vector in the shapes of weights, layer by layer; views."""
    start = 0
    shaped: list[list[Tensor]] = []
    for layer in layers:
        shaped.append([])
        for weight in layer:
            shaped[-1].append(flat[start : start + weight.numel()].view(weight.shape))
            start += weight.numel()
    return shaped


def _total(squares: Sequence[Tensor], group: Sequence[int]) -> Tensor:
    return torch.stack([squares[layer] for layer in group]).sum(0)


def _add(
    gradients: Sequence[LayerGradient],
    group: Sequence[int],
    sums: Sequence[Sequence[Tensor]],
    kept: Kept,
) -> None:
    for layer in group:
        gradients[layer].add_to(sums[layer], kept)


def _in_order(before: list[Tensor], who: list[NDArray[np.int64]], groups: int) -> Tensor:
    """Norms in the order of patients, out of their secret slots."""
    if not before:
        return torch.zeros((0, groups), dtype=torch.float64)
    norms = torch.cat(before)
    ordered = torch.empty_like(norms)
    ordered[torch.as_tensor(np.concatenate(who))] = norms
    return ordered
