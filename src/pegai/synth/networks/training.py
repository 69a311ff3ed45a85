"""Training without privacy: steps, looks at held-back rows, the best one kept, and a way back.

What is trained is a `Trainee`; this module knows when to look, when to stop, what to log and how to
go on after a stop. The averaged generator (exponential moving average) of the step that explains
held-back rows best is kept. Private training has no such looks: they would have to be charged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pegai.privacy.precision import rough_products
from pegai.synth.networks.checkpoint import Checkpoint, Saved
from pegai.synth.networks.priors import LatentMixture
from pegai.synth.running import Run

MAX_HELD_BACK = 5000
MANY_ROWS = 1000
"""To judge by: so many make the distance of two-way tables a better judge than likelihood."""


@dataclass(frozen=True)
class Schedule:
    """Steps of training without privacy.

    Attributes:
        batch: Rows a step.
        max_steps: At most.
        check_every: Steps between two looks at the held-back rows.
        patience: Looks without improvement before stopping.
        least_steps: Steps before which nothing stops, unless `max_steps` are fewer.
    """

    batch: int
    max_steps: int
    check_every: int = 20
    patience: int = 8
    least_steps: int = 400

    @classmethod
    def of(cls, learned: int, judged: int, max_steps: int) -> Schedule:
        """For so many rows to learn and to judge by: with many, looks are rarer and waits longer.

        What is learned from many rows gets better over thousands of steps, after a while in which
        it gets worse.
        """
        batch = batch_size(learned)
        if judged < MANY_ROWS:
            return cls(batch, max_steps)
        return cls(batch, max_steps, check_every=50, patience=30)

    def is_over(self, step: int, best_step: int) -> bool:
        """Whether nothing has improved for long enough."""
        waited = step - best_step >= self.patience * self.check_every
        return step >= self.max_steps or (waited and step >= self.least_steps)


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The rows to learn; codes are made one-hot a batch at a time, so that memory stays small.

    Attributes:
        codes: Of all rows, shape (rows, columns).
        learned: Positions of those to learn.
        held_back: Positions of those to judge by, at most `MAX_HELD_BACK` of them.
    """

    codes: np.ndarray
    learned: np.ndarray
    held_back: np.ndarray

    def draw(self, batch: int, draws: torch.Generator) -> np.ndarray:
        """Codes of rows drawn with replacement, shape (batch, columns)."""
        places = torch.randint(
            len(self.learned), (batch,), generator=draws, device=draws.device
        ).cpu()
        return self.codes[self.learned[places.numpy()]]

    @property
    def judged(self) -> np.ndarray:
        """Codes of the rows to judge by."""
        return self.codes[self.held_back]


class Trainee(ABC):
    """Networks that learn step by step.

    Attributes:
        networks: By name; all that a checkpoint must hold. `kept` is what is sampled in the end.
        optimizers: By name.
        draws: The stream of everything drawn.
        counters: Numbers that steps depend on.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    draws: torch.Generator
    counters: dict[str, float]

    @abstractmethod
    def step(self, codes: np.ndarray) -> Mapping[str, Tensor | float]:
        """Learn from a batch of codes (rows, columns); gives the losses by name."""

    @abstractmethod
    def judge(self, codes: np.ndarray) -> float:
        """How well the averaged network explains held-back codes (rows, columns)."""

    def finish(
        self, weights: dict[str, np.ndarray], rows: TrainingRows, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], LatentMixture | None]:
        """The generator's weights, and its prior where that is no standard normal.

        Args:
            weights: Of `kept`, at its best look.
            rows: What was learned.
            rng: Of the fit.
        """
        return weights, None


@dataclass(frozen=True)
class TrainingOutcome:
    """A trained network and how it got there.

    Attributes:
        weights: Of the network that was kept, by name.
        steps: Until it.
        held_back: What `judge` said at each look.
    """

    weights: dict[str, np.ndarray]
    steps: int
    held_back: tuple[float, ...] = ()


def train(
    trainee: Trainee,
    schedule: Schedule,
    rows: TrainingRows,
    *,
    run: Run,
    checkpoint: Checkpoint | None = None,
) -> TrainingOutcome:
    """Train until nothing improves.

    Args:
        trainee: What learns.
        schedule: Steps.
        rows: What to learn, and what to judge by.
        run: Told of progress and losses.
        checkpoint: Where the state is kept, or None; training goes on from what it holds.
    """
    judged = rows.judged
    state = None if checkpoint is None else checkpoint.restored(trainee)
    if state is None:
        state = Saved(0, 0, (trainee.judge(judged),), arrays_of(trainee.networks["kept"]))
    while not schedule.is_over(state.step, state.best_step):
        losses: Mapping[str, Tensor | float] = {}
        ahead = min(schedule.check_every, schedule.max_steps - state.step)
        slow_down(trainee.optimizers.values(), state.step / schedule.max_steps)
        with rough_products(schedule.batch):
            for _ in range(ahead):
                losses = trainee.step(rows.draw(schedule.batch, trainee.draws))
        state = _looked(trainee, state, state.step + ahead, trainee.judge(judged))
        figures = {name: float(value) for name, value in losses.items()}
        run.log({"step": state.step, **figures, "held_back": state.looks[-1]})
        run.progress("training the generator", state.step / schedule.max_steps)
        if checkpoint is not None:
            checkpoint.keep(trainee, state)
    return TrainingOutcome(state.best, state.best_step, state.looks)


def slow_down(optimizers: Iterable[torch.optim.Optimizer], done: float) -> None:
    """From half of the steps on, lower learning rates evenly to a hundredth.

    Args:
        optimizers: Of all players. What they start from is kept under `initial_lr`.
        done: Share of the steps that are done.
    """
    share = min(1.0, max(2 * (1 - done), 0.01))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * group.setdefault("initial_lr", group["lr"])


def _looked(trainee: Trainee, state: Saved, step: int, look: float) -> Saved:
    """The state after a look; the best network is replaced where this one is as good."""
    looks = (*state.looks, look)
    if look >= max(looks):
        return Saved(step, step, looks, arrays_of(trainee.networks["kept"]))
    return Saved(step, state.best_step, looks, state.best)


def arrays_of(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights as arrays of their own."""
    return {k: v.detach().cpu().numpy().copy() for k, v in network.state_dict().items()}


@torch.no_grad()
def average(kept: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged network a step towards the trained one."""
    for old, new in zip(kept.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


def batch_size(rows: int, *, most: int = 512) -> int:
    """A power of two, a fifth to two fifths of the rows, from 32 to `most`."""
    return int(np.clip(2 ** int(np.log2(max(rows, 4) / 2.5)), 32, most))
