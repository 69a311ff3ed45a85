"""How a fit runs: what it tells, where it computes, how it survives being stopped.

Nothing here changes what a model promises, and nothing but the device may change its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pegai.errors import UsageError

Progress = Callable[[str, float], None]
"""Called with the stage and the share of it that is done, from 0 to 1."""

Log = Callable[[Mapping[str, float | int | str]], None]
"""Called with one line of figures, each under its name."""

Device = Literal["auto", "cpu", "cuda"]


def silent(stage: str, share: float) -> None:
    """A progress callback that shows nothing."""


def unlogged(figures: Mapping[str, float | int | str]) -> None:
    """A log that keeps nothing."""


@dataclass(frozen=True)
class Run:
    """How a fit runs.

    Attributes:
        progress: Told of the stage and the share of it that is done.
        log: Told of the losses as they come. A private fit tells of steps only: a loss on private
            rows is a look that nobody charged.
        device: Where networks train; `auto` is a CUDA device where there is one. Only the CPU gives
            the same bytes for the same seed.
        checkpoint: A folder that the state of training is kept in, so that a fit that was stopped
            goes on; removed when the fit is done. None keeps nothing.
        checkpoint_seconds: At least as long between two writings.
        seeded: Whether the fit was given a seed; set by `fit`.
    """

    progress: Progress = silent
    log: Log = unlogged
    device: Device = "auto"
    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    seeded: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device {self.device!r} is none of auto, cpu, cuda")
        if not self.checkpoint_seconds >= 0:
            raise UsageError(
                f"checkpoint_seconds must be at least 0, not {self.checkpoint_seconds}"
            )

    def without_losses(self) -> Run:
        """The same without what a private fit may not tell."""
        return replace(self, log=unlogged)
