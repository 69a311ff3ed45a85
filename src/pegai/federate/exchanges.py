"""Questions that sites are asked, one after another, and the sums of their answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pegai.errors import FederationError
from pegai.federate.journal import write_whole
from pegai.federate.secagg import unmask_sum
from pegai.federate.transport import Failure, Result
from pegai.federate.wire import Message, digest
from pegai.privacy.mechanisms import GaussianMechanism
from pegai.privacy.noise_shares import GaussianShareMechanism

if TYPE_CHECKING:
    from pegai.federate.coordinator import Coordinator

MAX_ATTEMPTS = 3
"""How often a secure sum is begun with the same sites before those that fail are left out."""

LEAVING_SOME = 0.95
"""The part of what is left that a sum made again may take: what follows needs some, too."""


@dataclass(frozen=True)
class Seen:
    """One exchange, as the coordinator saw it: all that has left the sites.

    Attributes:
        number: Of the exchange.
        what: In words.
        numbers: How many a site sent.
        budget: Squared mu that each site spent on it.
        deviation: Of the noise in the sum, in patients, in its first table.
        participants: Names.
        calls: Messages to each site.
        sent: Bytes to each site.
        received: Bytes from each site.
        seconds: Of wall time.
    """

    number: int
    what: str
    numbers: int
    budget: float
    deviation: float
    participants: tuple[str, ...]
    calls: int
    sent: int
    received: int
    seconds: float

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Seen:
        """The inverse of `dataclasses.asdict`, after JSON."""
        content: dict[str, Any] = {**plain, "participants": tuple(plain["participants"])}
        return cls(**content)


def seen_in(folder: Path) -> tuple[Seen, ...]:
    """The exchanges of a run, from its coordinator's folder."""
    paths = sorted((folder / "exchanges").glob("??????.npz"))
    bodies = [Message.from_bytes(path.read_bytes()).body for path in paths]
    return tuple(Seen.from_dict(dict(body["seen"])) for body in bodies)


@dataclass(frozen=True)
class SeenTogether:
    """Exchanges that asked the same kind of thing, for people: steps of training are many.

    Attributes:
        first: Number of the first.
        last: Of the last.
        what: In words.
        numbers: Of one.
        budget: Of one.
        deviation: Of one.
        received: Bytes from each site, all of them.
        seconds: All of them.
    """

    first: int
    last: int
    what: str
    numbers: int
    budget: float
    deviation: float
    received: int
    seconds: float

    @property
    def numbered(self) -> str:
        """The numbers of the exchanges."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def together(seen: Sequence[Seen], *, few: int = 20) -> list[SeenTogether]:
    """Exchanges one by one where they are few; else those of one kind together."""
    kinds: dict[object, list[Seen]] = {}
    for one in seen:
        kinds.setdefault(one.number if len(seen) <= few else one.what, []).append(one)
    return [
        SeenTogether(
            part[0].number,
            part[-1].number,
            part[0].what,
            part[0].numbers,
            part[0].budget,
            part[0].deviation,
            sum(s.received for s in part),
            sum(s.seconds for s in part),
        )
        for part in kinds.values()
    ]


@dataclass(frozen=True, eq=False)
class Question:
    """What sites are asked in one exchange; their answers are summed.

    Attributes:
        query: JSON types.
        arrays: That belong to it, named in it by their digest.
        budget: Squared mu that an answer spends of the run's filter; 1 where noise is planned by
            exchange.
        multiplier: Of one full noise.
        sensitivity: L2, of one site's answer: of integers where sums are secure.
        size: Numbers of an answer.
        kind: Of the numbers, where they are not masked.
        what: In words.
        unit: What the sum is divided by, to tell of its noise.
    """

    query: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    budget: float
    multiplier: float
    sensitivity: float
    size: int
    kind: str
    what: str
    unit: float

    @property
    def asked(self) -> dict[str, Any]:
        """What the answer is bound to."""
        return {"query": dict(self.query), "budget": self.budget}


@dataclass(frozen=True, eq=False)
class Summed:
    """The sum over all that take part.

    Attributes:
        values: With noise, float64.
        multiplier: Of the noise in it: its standard deviation over the question's sensitivity.
        spent: What each of the sites has spent on it, also on the way, of the run's filter.
    """

    values: np.ndarray
    multiplier: float
    spent: float


class Exchanges:
    """Asks questions one after another, each until all that are left have answered.

    Every sum is on the disk before the next question. A run that is gone on with asks from the
    start, and is answered from there.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._to = coordinator
        self._plan = coordinator.plan
        self._number = 0
        self._spent = 0.0

    @property
    def left(self) -> float:
        """What a site may still spend of the run's filter, in squared mu."""
        return max(self._plan.site_budget - self._spent, 0.0)

    @property
    def number(self) -> int:
        """Of the next exchange."""
        return self._number

    def ask(self, question: Question) -> Summed:
        """The noisy sum of the answers.

        Raises:
            FederationError: A site refused, or too few are left.
        """
        path = self._to.folder / "exchanges" / f"{self._number:06d}.npz"
        kept = _kept(path, question.asked)
        if kept is None:
            kept = self._exchange(question)
            write_whole(path, kept.to_bytes())
        self._to.restore(kept.body)
        self._to.seen.append(Seen.from_dict(kept.body["seen"]))
        self._number += 1
        spent = float(kept.body["spent"])
        self._spent += spent
        return Summed(kept.arrays["sum"], float(kept.body["multiplier"]), spent)

    def _exchange(self, question: Question) -> Message:
        begun, calls = time.perf_counter(), _Calls()
        if self._plan.noise == "secagg":
            summed, spent = self._secure_sum(question, calls)
        else:
            summed, spent = self._plain_sum(question, calls), question.budget
        variance = self._plan.noise_variance(len(self._to.participants))
        multiplier = question.multiplier * variance**0.5
        if self._plan.noise == "central":
            summed = GaussianMechanism(question.sensitivity, multiplier).release(summed)
        seen = Seen(
            self._number,
            question.what,
            question.size,
            question.budget,
            question.sensitivity * multiplier / question.unit,
            self._to.participants,
            calls.messages,
            calls.sent,
            calls.received,
            time.perf_counter() - begun,
        )
        body = {
            "asked": digest(question.asked),
            "seen": asdict(seen),
            "spent": spent,
            "multiplier": multiplier,
            "participants": list(self._to.participants),
            "lost": dict(self._to.lost),
        }
        return Message(body, {"sum": np.asarray(summed, np.float64)})

    def _plain_sum(self, question: Question, calls: _Calls) -> np.ndarray:
        """What came is summed without the others: with local noise each answer is its own."""
        sites = self._to.participants
        body = {"exchange": self._number, **question.asked}
        answers = self._to.reach_all("ask", body, sites, question.arrays)
        calls.add(answers)
        parts, gone = _vectors(answers, question.size, np.dtype(question.kind))
        self._to.drop(gone)
        return np.sum(list(parts.values()), axis=0)

    def _secure_sum(self, question: Question, calls: _Calls) -> tuple[np.ndarray, float]:
        """The sum, and what each of its sites has spent on it.

        A site that fails is waited for, and the sum begun anew with fresh masks: with the same
        sites that is free, since each gives the same noise again. Without it, the others' noise
        must be fresh, too, and is spent once more: two sums over different sites tell the
        difference between them.
        """
        budget, failures = question.budget, 0
        released = self._released()
        for attempt in count():
            sites = self._to.participants
            adverts, gone = self._adverts(question.asked, attempt, calls)
            if not gone:
                if sites not in released:
                    released.append(sites)
                    write_whole(self._begun_path, Message({"released": released}).to_bytes())
                summed, gone = self._shares(question, adverts, calls)
                if summed is not None:
                    return summed, len(released) * budget
                failures += 1
                if failures < MAX_ATTEMPTS:
                    continue
            failures = 0
            self._to.drop(gone)
            room = LEAVING_SOME * (self._plan.site_budget - self._spent)
            if released and (len(released) + 1) * budget > room:
                raise FederationError(
                    f"site {', '.join(gone)} was lost while a sum was under way, and the budget "
                    "has no room for the sum to be made again without it",
                    hint="when it is back, the same command goes on at no cost",
                )
        raise AssertionError("attempts do not end")

    @property
    def _begun_path(self) -> Path:
        return self._to.folder / "exchanges" / f"{self._number:06d}.begun.npz"

    def _released(self) -> list[tuple[str, ...]]:
        """The sets of sites that this exchange's sum was begun with, also before a stop."""
        if not self._begun_path.exists():
            return []
        begun = Message.from_bytes(self._begun_path.read_bytes()).body
        return [tuple(sites) for sites in begun["released"]]

    def _adverts(
        self, asked: Mapping[str, Any], attempt: int, calls: _Calls
    ) -> tuple[list[Any], dict[str, str]]:
        """The keys of all participants, and who sent none."""
        sites = self._to.participants
        question = {"exchange": self._number, "participants": list(sites), **asked}
        answers = self._to.reach_all("advert", {"attempt": attempt, **question}, sites)
        calls.add(answers)
        gone = {s: a.reason for s, a in answers.items() if isinstance(a, Failure)}
        found = [a.message.body.get("advert") for a in answers.values() if isinstance(a, Result)]
        return found, gone

    def _shares(
        self, question: Question, adverts: list[Any], calls: _Calls
    ) -> tuple[np.ndarray | None, dict[str, str]]:
        """The sum, unless a site's part is missing; then who is gone."""
        sites = self._to.participants
        body = {"exchange": self._number, "adverts": adverts}
        answers = self._to.ask("share", body, sites, question.arrays)
        calls.add(answers)
        parts, gone = _vectors(answers, question.size, np.dtype(np.uint64))
        if gone:
            return None, gone
        honest = self._plan.parts(len(sites))
        # A patient at several sites moves the sum by a part at each.
        sensitivity = question.sensitivity * self._plan.sensitivity_factor
        mechanism = GaussianShareMechanism(sensitivity, question.multiplier, honest)
        return unmask_sum(parts, sites) / mechanism.scale, {}


class _Calls:
    """Bytes and messages of an exchange, of the site that had most."""

    def __init__(self) -> None:
        self.messages = self.sent = self.received = 0

    def add(self, answers: Mapping[str, Result | Failure]) -> None:
        results = [a for a in answers.values() if isinstance(a, Result)]
        self.messages += 1
        self.sent += max((r.sent for r in results), default=0)
        self.received += max((r.received for r in results), default=0)


def _vectors(
    answers: Mapping[str, Result | Failure], size: int, kind: np.dtype[Any]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The vectors that came, and why others did not."""
    parts: dict[str, np.ndarray] = {}
    gone: dict[str, str] = {}
    for site, answer in answers.items():
        if isinstance(answer, Failure):
            gone[site] = answer.reason
            continue
        values = answer.message.arrays.get("values")
        if values is None or values.dtype != kind or values.shape != (size,):
            gone[site] = "its answer has another shape than was asked for"
        else:
            parts[site] = values
    return parts, gone


def _kept(path: Path, asked: Mapping[str, Any]) -> Message | None:
    """What an exchange gave before, if it asked the same."""
    if not path.exists():
        return None
    kept = Message.from_bytes(path.read_bytes())
    if kept.body.get("asked") != digest(dict(asked)):
        raise FederationError(
            f"{path}: the run asked something else in this exchange before",
            hint="go on with the version of pegai that began it, or begin a new run",
        )
    return kept
