"""Checkpoints: the state of a fit without privacy, so that one that was stopped goes on.

A checkpoint is one safetensors file with JSON in its header; nothing is pickled. It holds networks,
optimizers, the place in every random stream and the looks so far, so that a fit that went on gives
the same bytes as one that was never stopped. It belongs to one fit: method, settings, rows and
seed. Like the data, it must stay inside; it is removed when the fit is done.

A private fit keeps none: whoever goes on from the same state twice has run its mechanisms twice.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pegai.data.atomic import atomic_path
from pegai.errors import ModelError, UsageError
from pegai.synth.running import Run

if TYPE_CHECKING:
    from pegai.synth.networks.training import Trainee

FILE = "checkpoint.safetensors"
PARTS = {"identity", "begun", "groups", "counters", "step", "best_step", "looks"}


@dataclass(frozen=True)
class Saved:
    """How far training has come.

    Attributes:
        step: Steps done.
        best_step: Step of the best look.
        looks: What every look said.
        best: Weights of the network at the best look.
    """

    step: int
    best_step: int
    looks: tuple[float, ...]
    best: dict[str, np.ndarray]


@dataclass(eq=False)
class Checkpoint:
    """The checkpoint of one fit.

    Attributes:
        path: The file.
        identity: What fit it belongs to, as JSON types.
        seconds: At least as long between two writings.
    """

    path: Path
    identity: dict[str, Any]
    seconds: float
    _written: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, run: Run, identity: dict[str, Any], rng: np.random.Generator) -> Checkpoint | None:
        """The checkpoint of a run; `rng` goes back to where the stopped fit began.

        Args:
            run: Names the folder, or none.
            identity: Method, settings and rows, as JSON types.
            rng: The stream of the fit, before anything is drawn.

        Raises:
            UsageError: The folder holds the checkpoint of another fit.
            ModelError: It is damaged.
        """
        if run.checkpoint is None:
            return None
        path = run.checkpoint / FILE
        begun = _plain(rng.bit_generator.state)
        found = _header(path)
        if found is not None:
            _require_same(path, found["identity"], identity)
            if run.seeded and found["begun"] != begun:
                raise UsageError(
                    f"{path} is of a fit with another seed",
                    hint="give the seed it was begun with, or another checkpoint folder",
                )
            begun = found["begun"]
            rng.bit_generator.state = begun
        return cls(path, {"identity": identity, "begun": begun}, run.checkpoint_seconds)

    def restored(self, trainee: Trainee) -> Saved | None:
        """Put the trainee where the file left it; None where there is no file.

        Raises:
            ModelError: The file does not fit the networks.
        """
        header = _header(self.path)
        if header is None:
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _put_back(trainee, tensors, header["groups"])
        except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{self.path} does not fit this fit ({type(error).__name__})",
                hint="remove it and begin again",
            ) from None
        trainee.counters.update(header["counters"])
        best = {k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")}
        return Saved(
            int(header["step"]),
            int(header["best_step"]),
            tuple(header["looks"]),
            {name: value.numpy().copy() for name, value in best.items()},
        )

    def keep(self, trainee: Trainee, saved: Saved) -> None:
        """Write the state, if the last writing is long enough ago."""
        if time.monotonic() - self._written < self.seconds:
            return
        tensors = {f"best/{k}": torch.from_numpy(v) for k, v in saved.best.items()}
        tensors |= {"draws": trainee.draws.get_state()}
        for name, network in trainee.networks.items():
            tensors |= {f"network/{name}/{k}": v for k, v in network.state_dict().items()}
        groups: dict[str, Any] = {}
        for name, optimizer in trainee.optimizers.items():
            state = optimizer.state_dict()
            groups[name] = state["param_groups"]
            for place, values in state["state"].items():
                tensors |= {f"optimizer/{name}/{place}/{k}": v for k, v in values.items()}
        header = {
            **self.identity,
            "groups": groups,
            "counters": trainee.counters,
            "step": saved.step,
            "best_step": saved.best_step,
            "looks": list(saved.looks),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        with atomic_path(self.path) as building:
            save_file(plain, building, metadata={"pegai": json.dumps(header)})
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file, and its folder where that is empty: the fit is done."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.exists() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _put_back(trainee: Trainee, tensors: dict[str, Tensor], groups: dict[str, Any]) -> None:
    trainee.draws.set_state(tensors["draws"])
    for name, network in trainee.networks.items():
        _load(network, tensors, f"network/{name}/")
    for name, optimizer in trainee.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        prefix = f"optimizer/{name}/"
        for key, value in tensors.items():
            if key.startswith(prefix):
                place, part = key.removeprefix(prefix).split("/")
                state.setdefault(int(place), {})[part] = value
        optimizer.load_state_dict({"state": state, "param_groups": groups[name]})


def _load(network: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network.load_state_dict(own)


def _header(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["pegai"])
        if any(part not in header for part in PARTS):
            raise KeyError
        return header
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{path} is damaged or no checkpoint ({type(error).__name__})",
            hint="remove it and begin again",
        ) from None


def _require_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    other = [key for key, value in wanted.items() if found.get(key) != value]
    if other:
        raise UsageError(
            f"{path} is of another fit: its {' and '.join(other)} differ",
            hint="give another checkpoint folder, or remove this one",
        )


def _plain(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))
