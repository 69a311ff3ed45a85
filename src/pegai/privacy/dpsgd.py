"""DP-SGD: each patient's gradient clipped, summed over a Poisson sample, and noised.

The algorithm is that of Abadi et al. 2016 (arXiv:1607.00133, algorithm 1), by patient: a patient's
rows are averaged to one gradient, which is then clipped once. `dpsgd_gradients` has the closed
forms that make this cost little more than a step without privacy, `dpsgd_clipping` the norms and
how noise is shared out to layers, `dpsgd_slots` why rounding can't give anyone away.

**What is guaranteed.** Adding or removing one patient changes the clipped sum of a group of layers
by at most C_l (1 + `FLOAT_SLACK`) in L2, and the groups together by as much times their C_l. Noise
and sampling come from `Session`, at the multiplier and probability that were charged, whatever is
in the batch: also for an empty one. A patient whose gradient is not finite adds nothing.

**`FLOAT_SLACK`, added up.** Let u = 2^-24. A patient more changes two blocks (`dpsgd_slots`). Of
the products of each, `SUM_ROWS` = 64 rows at a time are added up in float32, which errs by at most
gamma_64 = 64 u / (1 - 64 u) times the sum of their magnitudes (Higham 2002, section 3.1), hence by
64 gamma_64 C for one such sum, and there are two before and two after: 4 x 64 gamma_64 = 9.77e-4.
Clipping factors are rounded to float32: 2^-22. Sums over blocks are float64: 4e-6 for a million
patients in one batch. Together less than 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pegai.errors import PrivacyError
from pegai.privacy.dpsgd_clipping import AdaptiveNorm, Allocation, Clipping, LayerNoise
from pegai.privacy.dpsgd_layers import flat_layers
from pegai.privacy.dpsgd_network import ClosedForm, Loss, Network, PerExample
from pegai.privacy.dpsgd_slots import Batch, Layout
from pegai.privacy.dpsgd_sum import ClippedSum, in_shapes, sum_clipped
from pegai.privacy.events import GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.session import Session

__all__ = [
    "FLOAT_SLACK",
    "GRADIENT_GRID",
    "AdaptiveNorm",
    "Allocation",
    "Batch",
    "ClippedSum",
    "Clipping",
    "LayerNoise",
    "Layout",
    "PrivateGradient",
    "PrivateSum",
    "all_rows",
    "check_supported",
    "clipped_gradient_sum",
    "network_of",
    "one_row_per_patient",
    "private_gradient",
    "share_sensitivity",
    "sum_sensitivity",
]

FLOAT_SLACK = 1e-3
"""Part of the clipping norm set aside for rounding; see the module."""

GRADIENT_GRID = 2**24
"""Steps of a gradient of 1, where gradients of several sites are summed as integers."""


def check_supported(model: nn.Sequential) -> None:
    """Refuse layers for which the closed form, or the guarantee, does not hold.

    Raises:
        PrivacyError: A layer mixes examples (batch normalisation), draws at random, has
            parameters without a closed form, or stands in the network twice.
    """
    flat_layers(model)


def network_of(model: nn.Module, loss: Loss, *, per_example: bool = False) -> Network:
    """The network with what its gradients need.

    Args:
        model: A sequence of supported layers, or any module with `per_example`.
        loss: Outputs (rows, ...), and targets where there are any, to one loss a row (rows,), each
            from its own row only.
        per_example: Write out every patient's gradient, for modules without a closed form.

    Raises:
        PrivacyError: The model has a layer that can't be trained so.
    """
    if per_example:
        return PerExample(model, loss)
    if not isinstance(model, nn.Sequential):
        raise PrivacyError(
            f"clipping has a closed form for nn.Sequential, not for {type(model).__name__}",
            hint="per_example=True takes any module, slower",
        )
    return ClosedForm(model, loss)


def clipped_gradient_sum(
    model: nn.Sequential,
    inputs: Tensor,
    loss: Loss,
    *,
    clipping_norm: float,
    targets: Tensor | None = None,
    patients: NDArray[np.integer] | None = None,
) -> ClippedSum:
    """Sum of the clipped per-patient gradients, with one norm over all layers.

    Args:
        model: Supported layers.
        inputs: Shape (rows, ...); an empty batch gives zeros.
        loss: Outputs, and targets where given, to one loss a row (rows,), each from its own row.
        clipping_norm: L2 bound C of one patient over all layers together.
        targets: Shape (rows, ...), or None.
        patients: Which patient each row is of, shape (rows,): their rows are averaged, then
            clipped once. None means a patient each.

    Patients whose gradient is not finite add nothing: their norm can't be bounded, and dropping
    one changes the sum by less than C.
    """
    clipping = Clipping(clipping_norm)
    network = network_of(model, loss)
    total = sum_clipped(
        network,
        Batch(inputs, targets, patients),
        clipping=clipping,
        norms=clipping.norms(network.sizes),
        layout=Layout(),
    )
    return replace(total, norms=total.norms[:, 0])


class PrivateGradient:
    """The noisy mean gradients of one network, step after step, under one planned event.

    Before each `step` call `session.poisson_sample(label, ...)`: it decides who is in the batch and
    is what the accountant counted.

    Args:
        model: A sequence of supported layers, or any module with `per_example`.
        loss: Of one row each; see `network_of`.
        session: Draws the noise under `label`.
        label: The planned event.
        divisor: Public expected patients a batch; never the size of the batch.
        clipping: Norms and allocation.
        per_example: Write out every patient's gradient.

    Example:
        engine = PrivateGradient(model, loss, session=session, label="critic", divisor=96.0)
        chosen = session.poisson_sample("critic", patients)
        gradients = engine.step(Batch(inputs[one_row_per_patient(chosen, units, rng)]))
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        session: Session,
        label: str,
        divisor: float,
        clipping: Clipping | None = None,
        per_example: bool = False,
    ) -> None:
        if not divisor > 0:
            raise PrivacyError(f"the divisor must be > 0, not {divisor!r}")
        self.clipping = clipping or Clipping()
        self.divisor = float(divisor)
        self._parts = (model, loss, per_example)
        self._session = session
        self._label = label
        self._layout = Layout(_block_rows(divisor))
        self.norms = self.clipping.norms(self._network().sizes)

    def step(self, batch: Batch) -> list[Tensor]:
        """The noisy mean gradient of one Poisson batch of patients.

        Noise is added to every coordinate, also for an empty batch. With adaptive norms the next
        step's `norms` follow from the counts that are released with it.

        Returns:
            One tensor a parameter, in the order of `model.parameters()`, of its type and device.

        Raises:
            PlanError: No sample was drawn for this step, or all planned ones are used.
        """
        network = self._network()
        noise = self.clipping.noise(self.norms, network.sizes, self._planned_multiplier())
        total = sum_clipped(
            network, batch, clipping=self.clipping, norms=self.norms, layout=self._layout
        )
        flat, counts = self._release(network, total, noise)
        if self.clipping.adaptive is not None:
            self.norms = self.clipping.adaptive.following(self.norms, counts.tolist(), self.divisor)
        first = network.layers[0][0]
        mean = torch.as_tensor(flat / self.divisor).to(first)
        return [view for layer in in_shapes(mean, network.layers) for view in layer]

    def _release(
        self, network: Network, total: ClippedSum, noise: LayerNoise
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums and counts as one vector, all with the same noise, then back.

        With norms that move the unit is the noise itself, so that the mechanism is the same in
        every step: tables of noise take a while to make.
        """
        unit = noise.deviations[0] if noise.count_deviation is None else 1.0
        scales = _scales(noise, network.sizes, unit)
        values = total.flat.cpu().numpy()
        if noise.count_deviation is not None:
            values = np.concatenate([values, total.counts.cpu().numpy()])
        noisy = self._session.gaussian(
            self._label,
            values if scales is None else values / scales,
            l2_sensitivity=unit * noise.sensitivity * (1 + FLOAT_SLACK),
        )
        noisy = noisy if scales is None else noisy * scales
        return noisy[: len(total.flat)], noisy[len(total.flat) :]

    def _network(self) -> Network:
        model, loss, per_example = self._parts
        return network_of(model, loss, per_example=per_example)

    def _planned_multiplier(self) -> float:
        event = self._session.plan[self._label]
        if not isinstance(event, SubsampledGaussianEvent | GaussianEvent):
            raise PrivacyError(f"event {self._label!r} was planned as {event.kind}, not for DP-SGD")
        return event.noise_multiplier


class PrivateSum:
    """The noisy clipped sum of one site's gradients, of which several sites' are added up.

    One norm over all layers. Before each release call `session.poisson_sample(label, ...)`.

    Args:
        model: A sequence of supported layers; its weights are taken as they are at each release.
        loss: Of one row each.
        session: Draws the noise under `label`.
        label: The planned sub-sampled event.
        clipping_norm: L2 bound C of one patient.
        layout: Of blocks; given to all sums of one kind, it checks shapes once and not each time.
    """

    def __init__(
        self,
        model: nn.Sequential,
        loss: Loss,
        *,
        session: Session,
        label: str,
        clipping_norm: float,
        layout: Layout,
    ) -> None:
        self._parts = (model, loss)
        self._layout = layout
        self._clipping = Clipping(clipping_norm)
        self._session = session
        self._label = label

    def exact(self, batch: Batch) -> NDArray[np.float64]:
        """The sum without noise: private; shape (coordinates,)."""
        network = network_of(*self._parts)
        norms, clipping = self._clipping.norms(network.sizes), self._clipping
        total = sum_clipped(network, batch, clipping=clipping, norms=norms, layout=self._layout)
        return total.flat.cpu().numpy()

    def release(self, batch: Batch) -> NDArray[np.float64]:
        """The sum with all of the noise."""
        return self._session.gaussian(
            self._label, self.exact(batch), l2_sensitivity=sum_sensitivity(self._clipping.norm)
        )

    def release_share(self, batch: Batch, *, honest: int) -> NDArray[np.int64]:
        """`GRADIENT_GRID` times the sum, rounded, with one site's part of the noise.

        It is multiplied by `GaussianShareMechanism.scale`, too; see `Session.gaussian_share`.
        """
        exact = self.exact(batch)
        return self._session.gaussian_share(
            self._label,
            np.rint(exact * GRADIENT_GRID).astype(np.int64),
            l2_sensitivity=share_sensitivity(self._clipping.norm, exact.size),
            honest=honest,
        )


def sum_sensitivity(clipping_norm: float) -> float:
    """How far one patient moves a clipped sum, in L2, rounding included."""
    return clipping_norm * (1 + FLOAT_SLACK)


def share_sensitivity(clipping_norm: float, coordinates: int) -> float:
    """How far one patient moves the rounded integers, in L2: each may be rounded by 1/2 twice."""
    return GRADIENT_GRID * sum_sensitivity(clipping_norm) + math.sqrt(coordinates)


def private_gradient(
    model: nn.Sequential,
    inputs: Tensor,
    loss: Loss,
    *,
    session: Session,
    label: str,
    clipping_norm: float,
    divisor: float,
) -> list[Tensor]:
    """One step of `PrivateGradient` with one row a patient and one norm over all layers.

    Args:
        model: Supported layers.
        inputs: One row a sampled patient, shape (batch, ...).
        loss: Of one row each.
        session: Draws the noise under `label`, once after each `session.poisson_sample`.
        label: The planned event.
        clipping_norm: L2 bound of one patient.
        divisor: Public expected batch size; never the size of the batch.

    Returns:
        One tensor a parameter, in the order of `model.parameters()`.
    """
    engine = PrivateGradient(
        model,
        loss,
        session=session,
        label=label,
        divisor=divisor,
        clipping=Clipping(clipping_norm),
    )
    return engine.step(Batch(inputs))


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


def all_rows(chosen: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Every row of each chosen patient; give `units[rows]` to `Batch` as `patients`.

    Args:
        chosen: Which patients are in the batch, shape (patients,), boolean.
        units: The patient of each row, codes 0..patients-1, shape (rows,).

    Returns:
        Row positions.
    """
    return np.flatnonzero(chosen[units])


def _block_rows(divisor: float) -> int:
    """Few rows where few are expected, so that few zeros fill up the last block."""
    return 64 if divisor < 256 else 256 if divisor < 1024 else 512


def _scales(noise: LayerNoise, sizes: Sequence[int], unit: float) -> NDArray[np.float64] | None:
    """Noise of each coordinate and count, in a unit; None where it is one everywhere."""
    if len(noise.deviations) == 1 and noise.count_deviation is None:
        return None
    widths = [sum(sizes)] if len(noise.deviations) == 1 else list(sizes)
    deviations = list(noise.deviations)
    if noise.count_deviation is not None:
        widths.append(len(noise.deviations))
        deviations.append(noise.count_deviation)
    return np.repeat(np.array(deviations) / unit, widths)
