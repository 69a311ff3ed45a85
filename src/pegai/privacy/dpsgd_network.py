"""Networks whose per-patient gradients can be had: by the closed form, or one patient at a time."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from pegai.errors import PrivacyError
from pegai.privacy.dpsgd_gradients import DirectGradient, LayerGradient
from pegai.privacy.dpsgd_layers import TAPS, Tap, flat_layers

_MIXING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)

Loss = Callable[..., Tensor]
"""Outputs (rows, ...), and targets (rows, ...) where there are any, to one loss a row (rows,). Each
loss may depend on its own row only."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A block of rows, the same number for each patient.

    Attributes:
        inputs: Shape (patients x rows_each, ...), the rows of a patient one after another.
        targets: What `loss` gets beside the outputs, shape (patients x rows_each, ...), or None.
        shares: Weight of each row in its patient's loss, shape (patients x rows_each,); None is 1.
        patients: How many.
    """

    inputs: Tensor
    targets: Tensor | None
    shares: Tensor | None
    patients: int


class Network(ABC):
    """A model, its loss, and how per-patient gradients come out of them.

    Attributes:
        layers: Weights by layer, in the order of `model.parameters()`.
    """

    layers: list[list[Tensor]]

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        self.model = model
        self.loss = loss

    @property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates of each layer."""
        return tuple(sum(weight.numel() for weight in layer) for layer in self.layers)

    @property
    def vocabulary(self) -> int:
        """Indices below it are valid for every embedding."""
        tables = [m.num_embeddings for m in self.model.modules() if isinstance(m, nn.Embedding)]
        return min(tables, default=2)

    @abstractmethod
    def gradients(self, rows: Rows) -> list[LayerGradient]:
        """Gradients of each patient's loss, one entry a layer."""

    @abstractmethod
    def with_weights(self, weights: Sequence[Tensor]) -> Network:
        """The same network on other weights, in the order of `model.parameters()`."""

    def _check_weights(self) -> None:
        dtypes = {weight.dtype for layer in self.layers for weight in layer}
        if len(dtypes) != 1 or dtypes & {torch.float16, torch.bfloat16}:
            raise PrivacyError(
                "a privately trained network has float32 or float64 parameters, all of one type"
            )


class ClosedForm(Network):
    """A sequence of the layers of `dpsgd_layers`: one forward and one backward pass for a block.

    Args:
        model: The sequence.
        loss: Of one row each.
        weights: Used in place of the model's.

    Raises:
        PrivacyError: A layer can't be in such a network.
    """

    def __init__(
        self, model: nn.Sequential, loss: Loss, weights: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__(model, loss)
        left = iter(model.parameters() if weights is None else weights)
        self.steps: list[Tap[Any] | nn.Module] = []
        for layer in flat_layers(model):
            own = [next(left).detach() for _ in layer.parameters()]
            self.steps.append(TAPS[type(layer)](layer, own) if own else layer)
        self.layers = [step.weights for step in self.steps if isinstance(step, Tap)]
        self._check_weights()

    def gradients(self, rows: Rows) -> list[LayerGradient]:
        """By one forward and one backward pass.

        The graph starts at the first layer's output and has no weights in it, so that the backward
        pass makes the gradients at outputs and nothing else.
        """
        taps: list[Tap[Any]] = []
        saved: list[Tensor] = []
        outputs: list[Tensor] = []
        with torch.enable_grad():
            hidden = rows.inputs
            for step in self.steps:
                if not isinstance(step, Tap):
                    # A copy where the layer would write over what the backward pass needs.
                    hidden = step(hidden.clone() if getattr(step, "inplace", False) else hidden)
                    continue
                hidden, known = step.run(hidden)
                if not outputs:
                    hidden.requires_grad_()
                taps.append(step)
                saved.append(known)
                outputs.append(hidden)
            total = weighted_loss(self.loss, hidden, rows)
            at_outputs = torch.autograd.grad(total, outputs)
        return [
            tap.gradient(known, g, rows.patients)
            for tap, known, g in zip(taps, saved, at_outputs, strict=True)
        ]

    def with_weights(self, weights: Sequence[Tensor]) -> ClosedForm:
        """The same layers on other weights."""
        assert isinstance(self.model, nn.Sequential)  # noqa: S101  # by the constructor's type
        return ClosedForm(self.model, self.loss, weights)


class PerExample(Network):
    """Any module, one patient at a time, vectorised by `torch.func.vmap` where that is possible.

    A patient's rows alone go through the module, so that nothing in it can mix patients. Slower
    than the closed form by the number of patients' gradients that have to be written out.

    Args:
        model: The module; its `forward` takes rows (rows, ...) of one patient.
        loss: Of one row each.
        weights: Used in place of the model's.

    Raises:
        PrivacyError: The module draws at random or carries batch statistics.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, weights: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__(model, loss)
        _check_module(model)
        named = list(model.named_parameters())
        values = [p for _, p in named] if weights is None else list(weights)
        self.named = {name: w.detach() for (name, _), w in zip(named, values, strict=True)}
        self.layers = [
            [self.named[name] for name in names]
            for _, names in groupby(self.named, key=lambda name: name.rpartition(".")[0])
        ]
        self._check_weights()

    def gradients(self, rows: Rows) -> list[LayerGradient]:
        """Whole gradients, one a patient."""
        columns = [rows.inputs, rows.targets, rows.shares]
        given = [c is not None for c in columns]
        split = [c.reshape(rows.patients, -1, *c.shape[1:]) for c in columns if c is not None]

        def of_one(weights: dict[str, Tensor], *parts: Tensor) -> Tensor:
            rest = iter(parts)
            inputs, targets, shares = (next(rest) if there else None for there in given)
            assert inputs is not None  # noqa: S101  # it is never left out
            outputs = functional_call(self.model, weights, (inputs,))
            return weighted_loss(self.loss, outputs, Rows(inputs, targets, shares, 1))

        found = iter(_one_by_one(of_one, self.named, split).values())
        return [DirectGradient([next(found) for _ in layer]) for layer in self.layers]

    def with_weights(self, weights: Sequence[Tensor]) -> PerExample:
        """The same module on other weights."""
        return PerExample(self.model, self.loss, weights)


def _one_by_one(
    of_one: Callable[..., Tensor], weights: dict[str, Tensor], columns: list[Tensor]
) -> dict[str, Tensor]:
    """Gradients of `of_one` for each entry of the columns: at once, or in turn for fused layers.

    Some fused recurrent layers can't be vectorised (they write in place), whatever is in them.
    """
    in_dims = (None, *([0] * len(columns)))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return vmap(grad(of_one), in_dims=in_dims)(weights, *columns)
    except RuntimeError as error:
        if "random" in str(error):
            raise PrivacyError(
                "a privately trained network draws at random",
                hint="leave out dropout and other draws: the noise of training regularises already",
            ) from None
    alone = [grad(of_one)(weights, *parts) for parts in zip(*columns, strict=True)]
    return {name: torch.stack([each[name] for each in alone]) for name in weights}


def weighted_loss(loss: Loss, outputs: Tensor, rows: Rows) -> Tensor:
    """The sum over rows of their losses times their shares.

    Raises:
        PrivacyError: The loss isn't one number a row.
    """
    given = (outputs,) if rows.targets is None else (outputs, rows.targets)
    losses = loss(*given)
    if losses.shape != (len(rows.inputs),):
        raise PrivacyError(
            f"a private loss gives one number a row, shape ({len(rows.inputs)},), "
            f"not {tuple(losses.shape)}",
            hint="use reduction='none', and squeeze or sum the other dimensions",
        )
    return losses.sum() if rows.shares is None else (losses * rows.shares).sum()


def _check_module(model: nn.Module) -> None:
    for module in model.modules():
        name = type(module).__name__
        if isinstance(module, _MIXING):
            raise PrivacyError(
                f"{name} can't be in a privately trained network: it mixes patients",
                hint="use group normalisation, or none",
            )
        if isinstance(module, _RANDOM) and module.p > 0:
            raise PrivacyError(
                f"{name} can't be in a privately trained network: it draws at random",
                hint="leave it out: the noise of training regularises already",
            )
        if getattr(module, "track_running_stats", False) or getattr(module, "max_norm", None):
            raise PrivacyError(
                f"{name} can't be in a privately trained network: it carries what it has seen of "
                "patients from step to step",
                hint="leave out track_running_stats and max_norm",
            )
