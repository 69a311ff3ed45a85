"""Training with differential privacy: every gradient that sees a real row is clipped and noised.

A `PrivatePart` holds the weights that learn from real rows under one planned event: the critic, or
encoder and decoder together. Fake rows, and a generator that learns from a critic, see real data
only through such weights and through charged shares, so they are post-processing and cost nothing.

The generator is held to the charged class-conditional shares by an anchor, so that noise can't move
it away from what is known better. Nothing here looks at a loss on real rows, so there is no early
stopping.
"""

from __future__ import annotations

import copy
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.privacy.dpsgd import Batch, Clipping, PrivateGradient, one_row_per_patient
from pegai.privacy.dpsgd_layers import OnFirst, RowLayer
from pegai.privacy.dpsgd_network import Loss
from pegai.privacy.session import Session
from pegai.synth.latent_config import DPSGDPrivacy
from pegai.synth.networks.adversarial import Rates, new_critic, optimizer
from pegai.synth.networks.layout import Layout, Start
from pegai.synth.networks.nets import ConditionalGenerator
from pegai.synth.networks.training import TrainingOutcome, arrays_of, average
from pegai.synth.networks.variational import (
    Encoder,
    bounded_log,
    divergence,
    new_encoder,
    reconstruction,
)
from pegai.synth.running import Progress

FAKE_BATCH = 256


@dataclass(frozen=True)
class PrivateSchedule:
    """Steps of private training; all of it public.

    Attributes:
        steps: Of every part.
        clipping_norm: L2 bound of a patient's gradient.
        divisor: Expected patients a batch, from charged counts.
        anchor: Weight that holds the generator to the charged shares.
    """

    steps: int
    clipping_norm: float
    divisor: float
    anchor: float = 1.0

    @classmethod
    def of(cls, settings: DPSGDPrivacy, patients: float) -> PrivateSchedule:
        """The schedule of some settings, for a charged number of patients."""
        divisor = max(settings.sampling_probability * patients, 1.0)
        return cls(settings.steps, settings.clipping_norm, divisor)


@dataclass(frozen=True, eq=False)
class PrivateRows:
    """The rows to learn.

    Attributes:
        codes: Shape (rows, columns).
        units: The patient of each row, codes 0..patients-1, shape (rows,).
    """

    codes: np.ndarray
    units: np.ndarray

    @property
    def patients(self) -> int:
        """How many there are; private."""
        return int(self.units.max()) + 1 if len(self.units) else 0


class RowDraws:
    """Random numbers for the rows of a step, drawn row by row: a stream of its own for every step.

    How many rows a step has depends on who was sampled. So it moves nothing that is drawn later,
    and a patient who comes last moves no other's numbers, by which an audit compares two fits.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.steps = seed, 0

    @classmethod
    def fresh(cls) -> RowDraws:
        """From a seed that nobody knows."""
        return cls(secrets.randbits(62))

    @classmethod
    def of(cls, start: Start) -> RowDraws:
        """From the stream of the training, which has seen no row."""
        drawn = torch.randint(2**62, (), generator=start.draws, device=start.draws.device)
        return cls(int(drawn))

    def step(self) -> np.random.Generator:
        """The stream of the next step."""
        self.steps += 1
        return np.random.default_rng((self.seed, self.steps))


class PrivatePart(ABC):
    """Weights that learn from real rows under one planned event.

    Attributes:
        label: The event.
        model: The weights.
        loss: Of one row each.
    """

    label: str
    model: nn.Sequential
    loss: Loss

    @abstractmethod
    def batch(self, rows: Tensor, draws: np.random.Generator) -> Batch:
        """What the model is given, from the one-hot rows of sampled patients (patients, width)."""

    @abstractmethod
    def learn(self, noisy: Sequence[Tensor]) -> None:
        """One step along a noisy gradient, one tensor a parameter of the model."""

    @abstractmethod
    def teach(self) -> Tensor:
        """What the generator learns from this part without looking at real rows: a loss."""


class Critic(PrivatePart):
    """The critic: noisy gradients of real rows, free ones of fake rows."""

    label = "critic, DP-SGD"

    def __init__(self, start: Start, rates: Rates) -> None:
        self.layout, self.generator, self.draws = start.layout, start.generator, start.draws
        self.model = new_critic(start)
        self.loss = _real_loss
        self.optimizer = optimizer(self.model, rates.learning_rate)

    def batch(self, rows: Tensor, draws: np.random.Generator) -> Batch:
        """See `PrivatePart`."""
        return Batch(self.layout.blocks.features(rows))

    def learn(self, noisy: Sequence[Tensor]) -> None:
        """See `PrivatePart`; also a step on fake rows, which no patient is part of."""
        classes = self.layout.draw_classes(FAKE_BATCH, self.draws)
        with torch.no_grad():
            fake = self.layout.fake(self.generator, classes, self.draws)
        self.optimizer.zero_grad()
        F.softplus(self.model(self.layout.blocks.features(fake))).mean().backward()
        _add(self.model, noisy)
        self.optimizer.step()

    def teach(self) -> Tensor:
        """How well the critic tells fake rows, which the generator wants to lower."""
        classes = self.layout.draw_classes(FAKE_BATCH, self.draws)
        fake = self.layout.fake(self.generator, classes, self.draws)
        return F.softplus(-self.model(self.layout.blocks.features(fake))).mean()


class Autoencoder(PrivatePart):
    """Encoder and decoder: noisy gradients of the evidence lower bound.

    The generator itself sees real rows here, under this event.
    """

    label = "encoder and decoder, DP-SGD"

    def __init__(self, start: Start, rates: Rates, *, kl_weight: float) -> None:
        self.layout = start.layout
        self.latent = start.generator.latent
        self.base = start.generator.base.detach().clone()
        self.model = bound_of(new_encoder(start), start.generator, start.layout)
        self.loss = _BoundLoss(start.layout, self.latent, kl_weight)
        self.optimizer = optimizer(self.model, rates.learning_rate)

    def batch(self, rows: Tensor, draws: np.random.Generator) -> Batch:
        """See `PrivatePart`; latents are drawn here."""
        noise = draws.standard_normal((len(rows), self.latent), dtype=np.float32)
        features, classes = self.layout.blocks.features(rows), self.layout.classes_of(rows)
        inputs = torch.cat([features, torch.from_numpy(noise).to(rows), classes], dim=1)
        return Batch(inputs, torch.cat([classes @ self.base, rows], dim=1))

    def learn(self, noisy: Sequence[Tensor]) -> None:
        """See `PrivatePart`."""
        self.optimizer.zero_grad()
        _add(self.model, noisy)
        self.optimizer.step()

    def teach(self) -> Tensor:
        """Nothing: the generator has learned from rows itself."""
        return torch.zeros((), device=self.layout.device)


class Reparameterised(RowLayer):
    """Mean, log-variance, noise and class to latent and class, beside mean and log-variance.

    Kingma and Welling 2014, section 2.4; the noise is an input, so that nothing is drawn here.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, units: Tensor) -> Tensor:
        """(rows, 3 latent + classes) to (rows, latent + classes + 2 latent)."""
        mean, log_variance, noise = units[..., : 3 * self.latent].split(self.latent, dim=-1)
        log_variance = bounded_log(log_variance)
        latent = mean + noise * (log_variance / 2).exp()
        return torch.cat([latent, units[..., 3 * self.latent :], mean, log_variance], dim=-1)


def bound_of(encoder: Encoder, generator: ConditionalGenerator, layout: Layout) -> nn.Sequential:
    """Encoder and generator as one sequence without draws, for gradients in closed form.

    Input: features, noise and class side by side, (rows, features + latent + classes). Output: what
    the generator adds to its base, mean and log-variance, (rows, width + 2 latent). The generator's
    base, the charged shares, is not trained here.
    """
    latent = generator.latent
    return nn.Sequential(
        *_on_first(encoder.net, layout.blocks.feature_width),
        Reparameterised(latent),
        *_on_first(generator.net, latent + len(layout.class_shares)),
    )


def _on_first(net: nn.Sequential, width: int) -> list[nn.Module]:
    """The layers of a network, each on the units that the one before it made."""
    layers: list[nn.Module] = []
    for layer in net:
        layers.append(OnFirst(layer, width))
        width = layer.out_features if isinstance(layer, nn.Linear) else width
    return layers


@dataclass(frozen=True)
class _BoundLoss:
    """Minus the evidence lower bound of each row; targets are base logits and the row."""

    layout: Layout
    latent: int
    kl_weight: float

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        width = self.layout.blocks.width
        added, mean, log_variance = outputs.split((width, self.latent, self.latent), dim=-1)
        base, rows = targets.split(width, dim=-1)
        classes = self.layout.classes_of(rows)
        given_back = reconstruction(self.layout, added + base, rows, classes)
        return given_back + self.kl_weight * divergence(mean, log_variance)


class Gradients(ABC):
    """Where the noisy gradients of real rows come from."""

    @abstractmethod
    def noisy(self, part: PrivatePart) -> Sequence[Tensor]:
        """The noisy mean gradient of a part's model, on a fresh sample of patients."""


class SessionGradients(Gradients):
    """From rows that are here, under a session.

    Args:
        start: Layout and draws.
        parts: What learns.
        rows: The rows.
        schedule: Clipping and divisor.
        session: Draws batches and noise.
    """

    def __init__(
        self,
        start: Start,
        parts: Sequence[PrivatePart],
        rows: PrivateRows,
        schedule: PrivateSchedule,
        session: Session,
    ) -> None:
        self._blocks, self._rows, self._session = start.layout.blocks, rows, session
        self._patients = rows.patients
        self._visits, self._draws = RowDraws.of(start), RowDraws.of(start)
        self._engines = {
            part.label: PrivateGradient(
                part.model,
                part.loss,
                session=session,
                label=part.label,
                divisor=schedule.divisor,
                clipping=Clipping(schedule.clipping_norm),
            )
            for part in parts
        }

    def noisy(self, part: PrivatePart) -> Sequence[Tensor]:
        """As `Gradients.noisy`."""
        chosen = self._session.poisson_sample(part.label, self._patients)
        places = one_row_per_patient(chosen, self._rows.units, self._visits.step())
        rows = self._blocks.one_hot(self._rows.codes[places])
        return self._engines[part.label].step(part.batch(rows, self._draws.step()))


def _real_loss(scores: Tensor) -> Tensor:
    return F.softplus(-scores).squeeze(1)


def _add(network: nn.Module, noisy: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(network.parameters(), noisy, strict=True):
        free = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = free + gradient


class Anchor:
    """The step of the generator that costs nothing: what parts teach, held to charged shares."""

    def __init__(self, start: Start, rates: Rates, weight: float) -> None:
        self.layout, self.generator, self.draws = start.layout, start.generator, start.draws
        self.optimizer = optimizer(start.generator, rates.learning_rate)
        self.weight = weight
        base = start.generator.base.detach().clone()
        self.shares = self.layout.blocks.log_softmax(base).exp()

    def step(self, taught: Tensor) -> None:
        """One step on what was taught and the distance from the charged shares."""
        classes = self.layout.draw_classes(FAKE_BATCH, self.draws)
        latent = self.layout.latents(FAKE_BATCH, self.generator, self.draws)
        log_shares = self.layout.blocks.log_softmax(self.generator(latent, classes))
        away = distance_to(self.shares, log_shares, classes) / len(self.layout.blocks.sizes)
        self.optimizer.zero_grad()
        (taught + self.weight * away).backward()
        self.optimizer.step()


def train_private(
    start: Start,
    parts: Sequence[PrivatePart],
    gradients: Gradients,
    *,
    rates: Rates,
    schedule: PrivateSchedule,
    progress: Progress,
) -> TrainingOutcome:
    """Train with DP-SGD.

    Args:
        start: From charged, noisy class-conditional shares.
        parts: What learns from real rows, each under its own planned event.
        gradients: Noisy ones of real rows.
        rates: Of all players.
        schedule: Steps.
        progress: Told of the steps; never of a loss, which would be a look at private data.
    """
    anchor = Anchor(start, rates, schedule.anchor)
    kept = copy.deepcopy(start.generator)
    for step in range(1, schedule.steps + 1):
        for part in parts:
            part.learn(gradients.noisy(part))
        taught = torch.stack([part.teach() for part in parts]).sum()
        anchor.step(taught)
        average(kept, start.generator, rates.ema)
        if step % 10 == 0 or step == schedule.steps:
            progress("training the generator with DP-SGD", step / schedule.steps)
    return TrainingOutcome(arrays_of(kept), schedule.steps)


def distance_to(shares: Tensor, log_shares: Tensor, classes: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a batch's mean shares from `shares`, summed over columns.

    Args:
        shares: By class, shape (classes, width).
        log_shares: Of fake rows, shape (rows, width).
        classes: One-hot, shape (rows, classes).
    """
    counts = classes.sum(0).clamp(min=1.0)[:, None]
    mean = (classes.T @ log_shares.exp()) / counts
    present = (classes.sum(0) > 0).float()[:, None]
    ratio = shares.clamp(min=1e-8).log() - mean.clamp(min=1e-8).log()
    return (present * shares * ratio).sum() / present.sum().clamp(min=1.0)
