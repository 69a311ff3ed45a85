"""What may watch the mechanisms of a session: record-and-replay audits, nothing else."""

from __future__ import annotations

from typing import Any, Protocol, cast

from numpy.typing import NDArray

Array = NDArray[Any]


class Mechanism(Protocol):
    """What releases values with noise."""

    def release(self, values: Array) -> Array:
        """The values with noise, or a choice among them."""
        ...


class Recorder(Protocol):
    """Watches what mechanisms are given, for record-and-replay audits; voids the guarantee."""

    def record(self, label: str, kind: str, values: Array, sensitivity: float) -> Array | None:
        """Note a call; an array returned is released in place of fresh noise."""
        ...


class MechanismRecorder(Recorder, Protocol):
    """A recorder that is also shown the mechanism of each release, just before it."""

    def record_mechanism(self, label: str, mechanism: Mechanism) -> None:
        """Note what will release the next values of `label`."""
        ...


def show_mechanism(recorder: Recorder, label: str, mechanism: Mechanism) -> None:
    """Show a recorder what will release the next values, if it wants to see that."""
    if hasattr(recorder, "record_mechanism"):
        cast("MechanismRecorder", recorder).record_mechanism(label, mechanism)
