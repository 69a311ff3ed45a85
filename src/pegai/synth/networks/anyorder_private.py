"""Private training of the any-order network: its gradients are clipped by patient and noised."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pegai.privacy.dpsgd import Batch, Clipping, PrivateGradient, one_row_per_patient
from pegai.privacy.session import Session
from pegai.synth.networks.anyorder import AnyOrder, Shown, hidden_loss
from pegai.synth.networks.blocks import Blocks
from pegai.synth.networks.private import PrivateRows, PrivateSchedule, RowDraws
from pegai.synth.networks.training import arrays_of, average
from pegai.synth.running import Progress


@dataclass(frozen=True)
class _Loss:
    """Cross-entropy of the hidden columns; targets are the mixture's logits and what is wanted."""

    blocks: Blocks

    def __call__(self, added: Tensor, targets: Tensor) -> Tensor:
        base, wanted = targets.split(self.blocks.width, dim=-1)
        return hidden_loss(self.blocks, added + base, wanted)


def train_any_order(
    model: AnyOrder,
    blocks: Blocks,
    rows: PrivateRows,
    *,
    schedule: PrivateSchedule,
    learning_rate: float,
    ema: float,
    session: Session,
    label: str,
    rng: np.random.Generator,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Train with DP-SGD; gives the averaged weights by name.

    The naive Bayes mixture comes from charged tables and is not trained.

    Args:
        model: Starts near the mixture.
        blocks: The layout.
        rows: The rows.
        schedule: Steps; public.
        learning_rate: Of Adam.
        ema: Decay of the averaged network.
        session: Draws batches and noise under `label`.
        label: The planned event.
        rng: What is shown of each row; need not be secret.
        progress: Told of the steps; never of a loss.
    """
    engine = PrivateGradient(
        model.net,
        _Loss(blocks),
        session=session,
        label=label,
        divisor=schedule.divisor,
        clipping=Clipping(schedule.clipping_norm),
    )
    optimizer = torch.optim.Adam(model.net.parameters(), lr=learning_rate)
    kept = copy.deepcopy(model)
    visits, masks = (RowDraws(int(seed)) for seed in rng.integers(2**62, size=2))
    patients = rows.patients
    for step in range(1, schedule.steps + 1):
        chosen = session.poisson_sample(label, patients)
        batch = blocks.one_hot(rows.codes[one_row_per_patient(chosen, rows.units, visits.step())])
        drawn = masks.step().random((len(batch), len(blocks.sizes) + 1), dtype=np.float32)
        shown = Shown.of(blocks, batch, torch.from_numpy(drawn).to(batch))
        base = model.base_logits(shown.inputs[:, : blocks.width])
        noisy = engine.step(Batch(shown.inputs, torch.cat([base, shown.wanted], dim=1)))
        for parameter, gradient in zip(model.net.parameters(), noisy, strict=True):
            parameter.grad = gradient
        optimizer.step()
        average(kept, model, ema)
        if step % 10 == 0 or step == schedule.steps:
            progress("training the network with DP-SGD", step / schedule.steps)
    return arrays_of(kept)
