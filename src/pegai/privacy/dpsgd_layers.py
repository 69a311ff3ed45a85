"""The layers that a privately trained network may have, and what their gradients are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.errors import PrivacyError
from pegai.privacy.dpsgd_gradients import (
    DirectGradient,
    LayerGradient,
    LookupGradient,
    linear_gradient,
)

ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.Tanh,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.SiLU,
    nn.Mish,
    nn.GELU,
    nn.Softplus,
    nn.Softsign,
    nn.Identity,
)
"""Layers without parameters that treat each example, and each unit, by itself."""

POOLING = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.Upsample,
)
"""Layers without parameters that treat each example by itself."""


class RowLayer(nn.Module):
    """A layer without parameters or draws that treats each example by itself: its author's word.

    Subclass it for what no layer of torch does; inputs and outputs are (examples, units).
    """


class OnFirst(nn.Module):
    """A layer on the first units of each example; the other units pass by it.

    So a sequence can carry what only a later layer or the loss needs: noise, a class, a mean.

    Shape:
        Input (examples, width + others), output (examples, output of the layer + others).

    Args:
        layer: `nn.Linear`, or a layer that treats each unit by itself.
        width: How many units the layer gets.
    """

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        written_over = getattr(layer, "inplace", False)
        if not isinstance(layer, (nn.Linear, *ELEMENTWISE)) or written_over:
            raise PrivacyError(
                f"{type(layer).__name__} can't be given a part of the units",
                hint="nn.Linear can, and layers that treat each unit by itself, not in place",
            )
        self.layer, self.width = layer, width

    def forward(self, hidden: Tensor) -> Tensor:
        """See the class."""
        done = self.layer(hidden[..., : self.width])
        return torch.cat([done, hidden[..., self.width :]], dim=-1)


Layer = TypeVar("Layer", bound=nn.Module)


class Tap(ABC, Generic[Layer]):
    """A layer with parameters: runs it on fixed weights and keeps what its gradient needs.

    Args:
        layer: The layer, for its settings.
        weights: In the order of its parameters; used in place of them.
    """

    def __init__(self, layer: Layer, weights: Sequence[Tensor]) -> None:
        self.layer = layer
        self.weights = list(weights)

    @property
    def bias(self) -> Tensor | None:
        """The second parameter, where there is one."""
        return self.weights[1] if len(self.weights) > 1 else None

    @abstractmethod
    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and what `gradient` needs besides the gradient at it.

        Args:
            hidden: The input, examples first.
        """

    @abstractmethod
    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """The gradients with respect to the weights.

        Args:
            saved: From `run`, examples first.
            g: The gradient at the output, examples first.
            patients: How many patients the examples are of: equally many each, one after another.
        """


class LinearTap(Tap[nn.Linear]):
    """`nn.Linear`, on vectors or on sequences of them."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs are kept."""
        return F.linear(hidden, self.weights[0], self.bias), hidden.detach()

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """One position a row and place of a sequence."""
        a = saved.reshape(patients, -1, saved.shape[-1])
        return linear_gradient(
            a, g.reshape(patients, -1, g.shape[-1]), has_bias=self.bias is not None
        )


class OnFirstTap(Tap[OnFirst]):
    """`OnFirst` of `nn.Linear`."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the linear layer are kept."""
        own, others = hidden[..., : self.layer.width], hidden[..., self.layer.width :]
        done = F.linear(own, self.weights[0], self.bias)
        return torch.cat([done, others], dim=-1), own.detach()

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """As of `LinearTap`, at the units that the layer made."""
        made = g[..., : self.weights[0].shape[0]]
        a = saved.reshape(patients, -1, saved.shape[-1])
        return linear_gradient(
            a, made.reshape(patients, -1, made.shape[-1]), has_bias=self.bias is not None
        )


class EmbeddingTap(Tap[nn.Embedding]):
    """`nn.Embedding`."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Indices are kept."""
        return F.embedding(hidden, self.weights[0]), hidden

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """The padding index learns nothing, as in torch."""
        if self.layer.padding_idx is not None:
            is_padding = torch.eq(saved, self.layer.padding_idx)
            g = g.masked_fill(is_padding[..., None], 0.0)
        return LookupGradient(
            saved.reshape(patients, -1), g.reshape(patients, -1, self.weights[0].shape[1])
        )


class LayerNormTap(Tap[nn.LayerNorm]):
    """`nn.LayerNorm`: a scale and a shift of what was normalised within each example."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised inputs are kept."""
        shape = list(self.weights[0].shape)
        normalised = F.layer_norm(hidden, shape, eps=self.layer.eps)
        out = normalised * self.weights[0]
        return (out if self.bias is None else out + self.bias), normalised.detach()

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """Diagonal: g times the normalised input, summed over positions."""
        shape = (patients, -1, self.weights[0].numel())
        a, g = saved.reshape(shape).double(), g.reshape(shape).double()
        return DirectGradient([(a * g).sum(1), *([g.sum(1)] if self.bias is not None else [])])


class GroupNormTap(Tap[nn.GroupNorm]):
    """`nn.GroupNorm`: as `LayerNormTap`, with a scale and a shift for each channel."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised inputs are kept."""
        normalised = F.group_norm(hidden, self.layer.num_groups, eps=self.layer.eps)
        by_channel = (1, -1, *([1] * (hidden.dim() - 2)))
        out = normalised * self.weights[0].view(by_channel) + self.weights[1].view(by_channel)
        return out, normalised.detach()

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """Diagonal over channels: summed over a patient's rows and places."""
        rows = len(saved) // patients
        shape = (patients, rows, self.weights[0].numel(), -1)
        a, g = saved.reshape(shape).double(), g.reshape(shape).double()
        return DirectGradient([(a * g).sum((1, 3)), g.sum((1, 3))])


class ConvTap(Tap[nn.Conv1d | nn.Conv2d]):
    """`nn.Conv1d` and `nn.Conv2d`: a linear map of the patch around each place."""

    def run(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Padded inputs are kept."""
        layer = self.layer
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(hidden, _padding(layer), mode=mode)
        convolve: Callable[..., Tensor] = F.conv1d if isinstance(layer, nn.Conv1d) else F.conv2d
        out = convolve(padded, self.weights[0], self.bias, layer.stride, 0, layer.dilation)
        return out, padded.detach()

    def gradient(self, saved: Tensor, g: Tensor, patients: int) -> LayerGradient:
        """One position a row and place, with the patch around it as the input."""
        layer = self.layer
        if isinstance(layer, nn.Conv1d):
            patches = F.unfold(
                saved.unsqueeze(2),
                (1, *layer.kernel_size),
                dilation=(1, *layer.dilation),
                stride=(1, *layer.stride),
            )
        else:
            patches = F.unfold(
                saved, layer.kernel_size, dilation=layer.dilation, stride=layer.stride
            )
        a = patches.mT.reshape(patients, -1, patches.shape[1])
        at_places = g.flatten(2).mT.reshape(patients, -1, g.shape[1])
        return linear_gradient(a, at_places, has_bias=self.bias is not None)


TAPS: dict[type[nn.Module], type[Tap[Any]]] = {
    nn.Linear: LinearTap,
    OnFirst: OnFirstTap,
    nn.Embedding: EmbeddingTap,
    nn.LayerNorm: LayerNormTap,
    nn.GroupNorm: GroupNormTap,
    nn.Conv1d: ConvTap,
    nn.Conv2d: ConvTap,
}


def flat_layers(model: nn.Sequential) -> list[nn.Module]:
    """The layers in the order they run, nested sequences unpacked.

    Raises:
        PrivacyError: A layer mixes examples, draws at random, has parameters without a closed
            form, or shares them with another place of the network.
    """
    layers: list[nn.Module] = []
    for layer in model:
        layers.extend(flat_layers(layer) if isinstance(layer, nn.Sequential) else [layer])
    seen: set[int] = set()
    for layer in layers:
        _check_layer(layer)
        own = {id(parameter) for parameter in layer.parameters()}
        if own & seen:
            raise PrivacyError(
                "a layer's parameters stand in the private network twice, so that their gradient "
                "is not one outer product",
                hint="use a layer of its own in each place, or per_example=True, which is slower",
            )
        seen |= own
    return layers


def _check_layer(layer: nn.Module) -> None:
    if isinstance(layer, nn.Flatten | nn.Unflatten):
        first = layer.start_dim if isinstance(layer, nn.Flatten) else layer.dim
        if first == 0 or isinstance(first, str):
            raise PrivacyError(
                f"{type(layer).__name__} of dimension {first!r} would mix patients",
                hint="keep the first dimension, of the examples, as it is",
            )
    elif type(layer) in TAPS:
        _check_settings(layer)
    elif isinstance(layer, RowLayer) and any(True for _ in layer.parameters()):
        raise PrivacyError(
            f"{type(layer).__name__} has parameters, for which clipping has no closed form here",
            hint="a RowLayer has none; give them to a layer of their own",
        )
    elif not isinstance(layer, (*ELEMENTWISE, *POOLING, RowLayer)):
        raise PrivacyError(
            f"{type(layer).__name__} can't be in a privately trained network: clipping has no "
            "closed form for it here, or the guarantee would not hold",
            hint="batch normalisation mixes patients and dropout draws at random: use group "
            "normalisation, or none. For other layers per_example=True works, slower",
        )


def _check_settings(layer: nn.Module) -> None:
    name = type(layer).__name__
    if isinstance(layer, nn.Embedding) and (
        layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse
    ):
        raise PrivacyError(
            f"{name} with max_norm, scale_grad_by_freq or sparse changes with the batch",
            hint="leave them at their defaults",
        )
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups != 1:
        raise PrivacyError(
            f"{name} with groups={layer.groups} has no closed form here",
            hint="use groups=1, or per_example=True, which is slower",
        )


def _padding(layer: nn.Conv1d | nn.Conv2d) -> list[int]:
    """Padding in the order of `F.pad`: last dimension first, before and after."""
    sides: list[int] = []
    for place in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            total = layer.dilation[place] * (layer.kernel_size[place] - 1)
            sides += [total // 2, total - total // 2]
        elif not isinstance(layer.padding, str):
            sides += [layer.padding[place]] * 2
    return sides or [0, 0]
