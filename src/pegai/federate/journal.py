"""What a site has answered in a run, kept on its disk, so that nothing is answered twice anew.

An answer is written down, whole, before it leaves the site. So whatever is not here has never left,
and whatever is here can be given again, the same noise in it, at no cost. What the answers of a run
have spent is the sum over what is here; the ledger was charged with the whole run before the first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pegai.errors import FederationError
from pegai.federate.wire import Message, digest

RUN = re.compile(r"[0-9a-f]{32}")
BEGUN = "run.json"


@dataclass(frozen=True, eq=False)
class Answer:
    """One answer that was released.

    Attributes:
        exchange: Its number in the run, from 0.
        asked: Digest of what was asked, and of whom where that matters.
        budget: What it has spent, in squared mu.
        values: With noise, shape (size,).
    """

    exchange: int
    asked: str
    budget: float
    values: np.ndarray


class Journal:
    """The answers of one run at one site.

    Args:
        folder: Of the site; the run has a folder in it.
        run: The run's id, 32 hexadecimal digits.
        plan_digest: Of the plan that it follows.

    Raises:
        FederationError: The id is none, or the run follows another plan.
    """

    def __init__(self, folder: Path, run: str, plan_digest: str) -> None:
        if not RUN.fullmatch(run):
            raise FederationError("a run's id must be 32 hexadecimal digits")
        self._folder = folder / "runs" / run
        self._plan = plan_digest
        self.is_new = not (self._folder / BEGUN).exists()
        self.answers: dict[tuple[int, str], Answer] = {}
        if not self.is_new:
            self._read()

    @property
    def spent(self) -> list[float]:
        """Of each answer, in squared mu."""
        return [answer.budget for answer in self.answers.values()]

    @property
    def last(self) -> int:
        """The highest number of an exchange that was answered; -1 before the first."""
        return max((number for number, _ in self.answers), default=-1)

    @property
    def is_closed(self) -> bool:
        """Whether the run is over."""
        return (self._folder / "closed").exists()

    def begin(self) -> None:
        """Write down that there is a run, before the ledger is charged with it."""
        (self._folder / "answers").mkdir(parents=True, exist_ok=True)
        _write(self._folder / BEGUN, Message({"plan": self._plan}))
        self.is_new = False

    def close(self) -> None:
        """Nothing more will be answered."""
        _write(self._folder / "closed", Message({}))

    def refresh(self) -> None:
        """Take in what another journal of the same run has written down in this process."""
        if len(list((self._folder / "answers").glob("*.npz"))) != len(self.answers):
            self._read()

    def find(self, exchange: int, asked: Any) -> Answer | None:
        """The answer to the same question in the same exchange."""
        return self.answers.get((exchange, digest(asked)))

    def keep(self, exchange: int, asked: Any, budget: float, values: np.ndarray) -> Answer:
        """Write an answer down; only then may it leave."""
        answer = Answer(exchange, digest(asked), budget, values)
        body = {"exchange": exchange, "asked": answer.asked, "budget": budget}
        name = f"{exchange:06d}-{answer.asked[:16]}.npz"
        _write(self._folder / "answers" / name, Message(body, {"values": values}))
        self.answers[exchange, answer.asked] = answer
        return answer

    def _read(self) -> None:
        begun = _load(self._folder / BEGUN)
        if begun.body.get("plan") != self._plan:
            raise FederationError(
                "the run was begun under another plan",
                hint="a run keeps its plan; begin a new run for another one",
            )
        for path in sorted((self._folder / "answers").glob("*.npz")):
            message = _load(path)
            body: Mapping[str, Any] = message.body
            answer = Answer(
                int(body["exchange"]),
                str(body["asked"]),
                float(body["budget"]),
                message.arrays["values"],
            )
            self.answers[answer.exchange, answer.asked] = answer


def runs_of(folder: Path, plan_digest: str) -> set[str]:
    """The runs that a site has begun under a plan."""
    found: set[str] = set()
    for path in (folder / "runs").glob(f"*/{BEGUN}"):
        if _load(path).body.get("plan") == plan_digest:
            found.add(path.parent.name)
    return found


def _load(path: Path) -> Message:
    try:
        return Message.from_bytes(path.read_bytes())
    except (OSError, FederationError) as error:
        raise FederationError(
            f"{path}: the journal of the run can't be read ({type(error).__name__})",
            hint="restore it from a backup; without it, what the run has spent is not known",
        ) from None


def _write(path: Path, message: Message) -> None:
    """Whole or not at all, and on the disk when this returns."""
    write_whole(path, message.to_bytes())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, wait for the disk, and rename it."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
