"""DP-SGD for networks of linear layers: per-patient clipping in closed form, then noise.

The gradient of example i with respect to the weights of a linear layer is the outer product of the
gradient at the layer's output, g_i, and the layer's input, a_i, so its squared norm is
||g_i||^2 ||a_i||^2 and, with the bias, ||g_i||^2 (||a_i||^2 + 1) (Goodfellow 2015,
arXiv:1510.01799). One forward pass, one backward pass and one more product a layer give the clipped
sum of Abadi et al. 2016 (arXiv:1607.00133, algorithm 1), with no per-example gradient in memory.

What is guaranteed: adding or removing one patient changes the clipped sum by at most
`clipping_norm` in L2, because each patient gives at most one row to a step. Noise and sampling
come from `Session`, at the multiplier and probability that were charged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pegai.errors import PrivacyError
from pegai.privacy.session import Session

ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.SiLU,
    nn.GELU,
    nn.Softplus,
    nn.Identity,
)
"""Layers without parameters that treat each example, and each unit, by itself."""

FLOAT_SLACK = 1e-3
"""Part of the clipping norm set aside for rounding: a patient more may change how the other
patients' float64 products are rounded, each by far less than 1e-10 of its clipped gradient."""


def check_supported(model: nn.Sequential) -> None:
    """Refuse layers for which the closed form, or the guarantee, does not hold.

    Raises:
        PrivacyError: A layer mixes examples (batch normalisation), draws at random, has
            parameters other than a linear layer's, or stands in the network twice.
    """
    seen: set[int] = set()
    for layer in model:
        if isinstance(layer, nn.Linear):
            if id(layer) in seen:
                raise PrivacyError(
                    "a linear layer stands in the private network twice, so that its gradient is "
                    "not one outer product",
                    hint="use a layer of its own in each place",
                )
            seen.add(id(layer))
        elif not isinstance(layer, ELEMENTWISE):
            raise PrivacyError(
                f"{type(layer).__name__} can't be in a privately trained network: only linear "
                "layers and elementwise activations have a closed-form clipping here",
                hint="batch normalisation mixes patients; use none, or a fixed scale",
            )


@dataclass(frozen=True)
class ClippedSum:
    """The sum over a batch of per-example gradients, each clipped.

    Attributes:
        gradients: Float64, one a parameter in the order of `model.parameters()`.
        norms: Gradient norms before clipping, shape (batch,). Private: never log them.
    """

    gradients: list[Tensor]
    norms: Tensor


def clipped_gradient_sum(
    model: nn.Sequential,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    clipping_norm: float,
) -> ClippedSum:
    """Sum of the clipped per-example gradients.

    Args:
        model: Linear layers and elementwise activations.
        inputs: Shape (batch, features); an empty batch gives zeros.
        loss: Outputs (batch, outputs) to one loss an example (batch,). Each loss may depend on
            its own example only.
        clipping_norm: L2 bound C of one example over all layers together (flat clipping).

    Examples whose gradient is not finite add nothing: their norm can't be bounded, and dropping
    one example changes the sum by less than C.
    """
    check_supported(model)
    activations: list[Tensor] = []
    outputs: list[Tensor] = []
    layers: list[nn.Linear] = []
    # Float64: how float32 rounds one row depends on the batch around it, and thereby on others.
    hidden = inputs.double()
    for layer in model:
        if isinstance(layer, nn.Linear):
            activations.append(hidden.detach())
            layers.append(layer)
            hidden = _in_double(layer, hidden)
            outputs.append(hidden)
        else:
            hidden = layer(hidden)
    at_outputs = torch.autograd.grad(loss(hidden).sum(), outputs)
    norms = _norms(activations, at_outputs, layers)
    finite = torch.isfinite(norms)
    scale = torch.where(
        finite, clipping_norm / norms.clamp(min=clipping_norm), torch.zeros((), dtype=torch.float64)
    )
    gradients: list[Tensor] = []
    for layer, a, g in zip(layers, activations, at_outputs, strict=True):
        kept = torch.where(finite[:, None], g, 0.0) * scale[:, None]
        known = torch.where(finite[:, None], a, 0.0)
        gradients.append(kept.T @ known)
        if _has_bias(layer):
            gradients.append(kept.sum(dim=0))
    return ClippedSum(gradients, norms.detach())


def _in_double(layer: nn.Linear, inputs: Tensor) -> Tensor:
    # The graph starts at the outputs: gradients with respect to weights are built by hand.
    weight = layer.weight.detach().double().requires_grad_()
    bias = layer.bias.detach().double() if _has_bias(layer) else None
    return nn.functional.linear(inputs, weight, bias)


def _has_bias(layer: nn.Linear) -> bool:
    return "bias" in dict(layer.named_parameters(recurse=False))


def _norms(
    activations: list[Tensor], at_outputs: tuple[Tensor, ...], layers: list[nn.Linear]
) -> Tensor:
    """Per-example gradient norms over all layers; shape (batch,)."""
    squares = torch.zeros(len(activations[0]), dtype=torch.float64)
    for layer, a, g in zip(layers, activations, at_outputs, strict=True):
        has_bias = float(_has_bias(layer))
        squares = squares + g.square().sum(1) * (a.square().sum(1) + has_bias)
    return squares.sqrt()


def private_gradient(
    model: nn.Sequential,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    session: Session,
    label: str,
    clipping_norm: float,
    divisor: float,
) -> list[Tensor]:
    """The noisy mean gradient of one Poisson batch of patients.

    Call `session.poisson_sample(label, ...)` first: it decides who is in the batch and is what
    the accountant counted. Noise is added to every coordinate, also for an empty batch.

    Args:
        model: As in `clipped_gradient_sum`.
        inputs: One row a sampled patient, shape (batch, features).
        loss: As in `clipped_gradient_sum`.
        session: Draws the noise under `label`.
        label: The planned event.
        clipping_norm: L2 bound of one patient.
        divisor: Public expected batch size; never the size of the batch.

    Returns:
        One float32 tensor a parameter, in the order of `model.parameters()`.
    """
    total = clipped_gradient_sum(model, inputs, loss, clipping_norm=clipping_norm)
    flat = torch.cat([g.reshape(-1) for g in total.gradients]).numpy()
    noisy = session.gaussian(label, flat, l2_sensitivity=clipping_norm * (1 + FLOAT_SLACK))
    parts: list[Tensor] = []
    start = 0
    for gradient in total.gradients:
        stop = start + gradient.numel()
        part = torch.as_tensor(noisy[start:stop] / divisor)
        parts.append(part.reshape(gradient.shape).float())
        start = stop
    return parts


def one_row_per_patient(
    chosen: np.ndarray, units: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pick one row, evenly at random, of each chosen patient.

    Args:
        chosen: Which patients are in the batch, shape (patients,), boolean.
        units: The patient of each row, codes 0..patients-1, shape (rows,).
        rng: Which of a patient's rows is taken need not be secret.

    Returns:
        Row positions, one a chosen patient.
    """
    order = np.argsort(units, kind="stable")
    counts = np.bincount(units, minlength=len(chosen))
    starts = np.cumsum(counts) - counts
    patients = np.flatnonzero(chosen & (counts > 0))
    return order[starts[patients] + rng.integers(0, counts[patients])]
