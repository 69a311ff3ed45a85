"""How the coordinator reaches the sites: one method, and failures that are said, not dropped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pegai.federate.wire import Message

Verb = Literal["hello", "open", "ask", "advert", "share", "close"]

VERBS: tuple[Verb, ...] = ("hello", "open", "ask", "advert", "share", "close")

FailureKind = Literal["refused", "gone", "malformed"]


@dataclass(frozen=True, eq=False)
class Result:
    """What a site answered.

    Attributes:
        message: Its answer.
        sent: Bytes of the question.
        received: Bytes of the answer.
        seconds: Until it came.
    """

    message: Message
    sent: int
    received: int
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why a site has not answered.

    Attributes:
        kind: `refused`: the site said no, and will again. `gone`: no answer in time; it may be
            asked again. `malformed`: its answer can't be read.
        reason: For people.
    """

    kind: FailureKind
    reason: str


class Transport(ABC):
    """Carries messages between the coordinator and the sites."""

    @abstractmethod
    def call_all(
        self, verb: Verb, payload: bytes, sites: Sequence[str], *, timeout_seconds: float
    ) -> Mapping[str, Result | Failure]:
        """Send every site the same bytes, and wait for all answers.

        Args:
            verb: What is asked.
            payload: A message's bytes, the same for all.
            sites: Whom.
            timeout_seconds: After which a site counts as gone.

        Returns:
            An entry for each of the sites: none is left out.
        """
