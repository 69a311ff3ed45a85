"""The coordinator's side: asks, sums, writes down, and fits the method to what came.

It holds no row and adds no noise (but in simulations with central noise). Each exchange is on its
disk before the next begins, so that a run that was stopped goes on: what was summed is read, and
what was asked is asked again, to which sites give the answer that they have kept, at no cost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pegai.errors import FederationError
from pegai.federate.journal import write_whole
from pegai.federate.plan import FederationPlan
from pegai.federate.queries import query_to_dict
from pegai.federate.secagg import new_run, unmask_sum
from pegai.federate.transport import Failure, Result, Transport, Verb
from pegai.federate.wire import Message, digest
from pegai.privacy.guarantee import Guarantee
from pegai.privacy.mechanisms import GaussianMechanism
from pegai.privacy.noise_shares import GaussianShareMechanism
from pegai.schema import Schema
from pegai.synth.base import Fitted, in_users_form, learned_schema
from pegai.synth.marginals.measurements import Array
from pegai.synth.marginals.source import Expected, PatientsQuery, Query, Source, TablesQuery
from pegai.synth.running import Run

RUN_FILE = "run.npz"
OPENED_FILE = "opened.npz"
RETRY_SECONDS = 0.5
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


@dataclass(frozen=True, eq=False)
class FederatedFit:
    """What a run gave.

    Attributes:
        model: The model.
        seen: Every exchange.
        participants: The sites whose rows the last exchange counted.
        lost: Sites that the run went on without, with the reason.
        run: Its id.
    """

    model: Fitted
    seen: tuple[Seen, ...]
    participants: tuple[str, ...]
    lost: Mapping[str, str]
    run: str


class Coordinator:
    """Runs a plan.

    Args:
        plan: What to run.
        transport: Reaches the sites.
        folder: For what came; a run begun in it is gone on with.

    Raises:
        FederationError: The folder holds a run of another plan.
    """

    def __init__(self, plan: FederationPlan, transport: Transport, folder: Path) -> None:
        self.plan = plan
        self.transport = transport
        self.folder = folder
        self.lost: dict[str, str] = {}
        self.participants: tuple[str, ...] = plan.names
        self.seen: list[Seen] = []
        (folder / "exchanges").mkdir(parents=True, exist_ok=True)
        self.run, self.seed = self._begun()

    def _begun(self) -> tuple[str, int]:
        """The run's id, and the seed of what is not noise; written down at first."""
        path = self.folder / RUN_FILE
        if not path.exists():
            seed = int(np.random.SeedSequence().entropy % 2**63)  # pyright: ignore
            begun = {"plan": self.plan.digest, "run": new_run(), "seed": seed}
            write_whole(path, Message(begun).to_bytes())
        begun = Message.from_bytes(path.read_bytes()).body
        if begun.get("plan") != self.plan.digest:
            raise FederationError(
                f"{self.folder}: holds a run of another plan", hint="name a new folder"
            )
        return str(begun["run"]), int(begun["seed"])

    def fit(self, run: Run | None = None) -> FederatedFit:
        """Ask the sites, and fit the method to their sums.

        Raises:
            FederationError: A site refused, or fewer are left than the plan's quorum. What was
                asked stays spent, and is given again when the run goes on.
        """
        run = run or Run()
        run.progress("opening the sites", 0.0)
        self.open()
        source = FederatedSource(self)
        learned = self.plan.synthesizer.fit_source(source, np.random.default_rng(self.seed), run)
        model = in_users_form(learned, self.plan.schema_)
        self.ask("close", {}, self.participants)
        return FederatedFit(model, tuple(self.seen), self.participants, dict(self.lost), self.run)

    def ask(
        self, verb: Verb, body: Mapping[str, Any], sites: Sequence[str]
    ) -> dict[str, Result | Failure]:
        """One message to some sites, and their answers, which are to this very message.

        Raises:
            FederationError: A site refused.
        """
        content = {"plan": self.plan.digest, "run": self.run, **body}
        payload = Message(content).to_bytes()
        timeout = self.plan.timeout_seconds
        answers = dict(self.transport.call_all(verb, payload, sites, timeout_seconds=timeout))
        due = digest(content)
        for site in sites:
            answer = answers.setdefault(site, Failure("gone", "the engine said nothing of it"))
            if isinstance(answer, Failure):
                if answer.kind == "refused":
                    raise FederationError(f"site {site!r} refused {verb}: {answer.reason}")
            elif answer.message.body.get("to") != due or answer.message.body.get("site") != site:
                answers[site] = Failure("malformed", "its answer is to something else")
        return answers

    def reach_all(
        self, verb: Verb, body: Mapping[str, Any], sites: Sequence[str]
    ) -> dict[str, Result | Failure]:
        """As `ask`, asking those again that do not answer until the plan's patience ends."""
        answers = self.ask(verb, body, sites)
        end = time.monotonic() + self.plan.wait_seconds
        while gone := [s for s in sites if isinstance(answers[s], Failure)]:
            if time.monotonic() >= end:
                break
            time.sleep(RETRY_SECONDS)
            answers |= self.ask(verb, body, gone)
        return answers

    def open(self) -> None:
        """Open the run at every site; who is there then is written down, for a run gone on with."""
        path = self.folder / OPENED_FILE
        if not path.exists():
            for verb in ("hello", "open"):
                answers = self.reach_all(verb, {}, self.participants)
                self.drop({s: a.reason for s, a in answers.items() if isinstance(a, Failure)})
            write_whole(path, Message(self._state()).to_bytes())
        self.restore(Message.from_bytes(path.read_bytes()).body)

    def _state(self) -> dict[str, Any]:
        return {"participants": list(self.participants), "lost": dict(self.lost)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Who takes part, as it was written down."""
        self.participants = tuple(state["participants"])
        self.lost = dict(state["lost"])

    def drop(self, gone: Mapping[str, str]) -> None:
        """Go on without some sites.

        Raises:
            FederationError: Too few are left.
        """
        if not gone:
            return
        left = tuple(site for site in self.participants if site not in gone)
        reasons = "; ".join(f"{site}: {reason}" for site, reason in sorted(gone.items()))
        if len(left) < self.plan.least:
            raise FederationError(
                f"{len(left)} of {len(self.plan.sites)} sites are left, the plan's quorum is "
                f"{self.plan.least} ({reasons})",
                hint="when they are back, the same command goes on; nothing is spent twice",
            )
        self.lost |= gone
        self.participants = left


class FederatedSource(Source):
    """The sums of all sites' tables, with noise."""

    can_choose = False

    def __init__(self, coordinator: Coordinator) -> None:
        self._to = coordinator
        self._plan = coordinator.plan
        self.schema: Schema = learned_schema(self._plan.schema_)
        self._number = 0
        self._spent = 0.0
        self._first: tuple[float, tuple[str, ...]] | None = None

    @property
    def left(self) -> float:
        """What may still be spent, in squared mu of one full noise on the sum."""
        left = max(self._plan.site_budget - self._spent, 0.0)
        return left / self._plan.noise_variance(len(self._to.participants))

    @property
    def guarantee(self) -> Guarantee:
        """That of the plan, which names what it rests on."""
        return Guarantee.of(self._plan.privacy, unit=self._plan.unit)

    def ask(self, query: Query, budget: float) -> tuple[list[Array], list[float]]:
        """As `Source.ask`.

        Where a site was lost on the way, the others' tables are drawn up to the number of patients
        that there were at first, so that tables of different moments fit together.
        """
        tables, deviations = self._sum(query, budget)
        patients = max(float(np.median([t.sum() for t in tables])), 1.0)
        if self._first is None:
            self._first = patients, self._to.participants
        first, all_of_them = self._first
        ratio = 1.0 if self._to.participants == all_of_them else first / patients
        return [t * ratio for t in tables], [d * ratio for d in deviations]

    def choose(self, query: TablesQuery, expected: Sequence[Expected], *, epsilon: float) -> int:
        """No one sees the exact counts that a choice needs.

        Raises:
            FederationError: Always.
        """
        raise FederationError("several sites can't choose by counts that none of them has")

    def _sum(self, query: Query, budget: float) -> tuple[list[Array], list[float]]:
        """The noisy sum over all that take part, as tables in patients."""
        site_budget = budget * self._plan.noise_variance(len(self._to.participants))
        asked = {"query": query_to_dict(query), "budget": site_budget}
        path = self._to.folder / "exchanges" / f"{self._number:06d}.npz"
        kept = _kept(path, asked)
        if kept is None:
            kept = self._exchange(query, asked)
            write_whole(path, kept.to_bytes())
        self._to.restore(kept.body)
        self._to.seen.append(Seen.from_dict(kept.body["seen"]))
        self._number += 1
        self._spent += float(kept.body["spent"])
        multiplier = float(kept.body["multiplier"])
        return query.packing.unpack(kept.arrays["sum"]), query.packing.deviations(multiplier)

    def _exchange(self, query: Query, asked: Mapping[str, Any]) -> Message:
        """Ask until all that are left have answered; what each site has spent on the way counts."""
        begun, calls = time.perf_counter(), _Calls()
        if self._plan.noise == "secagg":
            summed, spent = self._secure_sum(query, asked, calls)
        else:
            summed, spent = self._plain_sum(query, asked, calls), asked["budget"]
        variance = self._plan.noise_variance(len(self._to.participants))
        multiplier = (variance / asked["budget"]) ** 0.5
        if self._plan.noise == "central":
            mechanism = GaussianMechanism(query.packing.l2_sensitivity, multiplier)
            summed = mechanism.release(summed)
        seen = Seen(
            self._number,
            _in_words(query),
            query.packing.size,
            asked["budget"],
            query.packing.deviations(multiplier)[0],
            self._to.participants,
            calls.messages,
            calls.sent,
            calls.received,
            time.perf_counter() - begun,
        )
        body = {
            "asked": digest(dict(asked)),
            "seen": asdict(seen),
            "spent": spent,
            "multiplier": multiplier,
            "participants": list(self._to.participants),
            "lost": dict(self._to.lost),
        }
        return Message(body, {"sum": np.asarray(summed, np.float64)})

    def _plain_sum(self, query: Query, asked: Mapping[str, Any], calls: _Calls) -> np.ndarray:
        """What came is summed without the others: with local noise each answer is its own."""
        sites = self._to.participants
        answers = self._to.reach_all("ask", {"exchange": self._number, **asked}, sites)
        calls.add(answers)
        parts, gone = _vectors(answers, query.packing.size, np.dtype(np.int64))
        self._to.drop(gone)
        return np.sum(list(parts.values()), axis=0)

    def _secure_sum(
        self, query: Query, asked: Mapping[str, Any], calls: _Calls
    ) -> tuple[np.ndarray, float]:
        """The sum, and what each of its sites has spent on it.

        A site that fails is waited for, and the sum begun anew with fresh masks: with the same
        sites that is free, since each gives the same noise again. Without it, the others' noise
        must be fresh, too, and is spent once more: two sums over different sites tell the
        difference between them.
        """
        budget, failures = float(asked["budget"]), 0
        released = self._released()
        for attempt in count():
            sites = self._to.participants
            adverts, gone = self._adverts(asked, attempt, calls)
            if not gone:
                if sites not in released:
                    released.append(sites)
                    write_whole(self._begun_path, Message({"released": released}).to_bytes())
                summed, gone = self._shares(query, asked, adverts, calls)
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
        self, query: Query, asked: Mapping[str, Any], adverts: list[Any], calls: _Calls
    ) -> tuple[np.ndarray | None, dict[str, str]]:
        """The sum, unless a site's part is missing; then who is gone."""
        sites = self._to.participants
        answers = self._to.ask("share", {"exchange": self._number, "adverts": adverts}, sites)
        calls.add(answers)
        parts, gone = _vectors(answers, query.packing.size, np.dtype(np.uint64))
        if gone:
            return None, gone
        sensitivity = query.packing.l2_sensitivity * self._plan.sensitivity_factor
        honest = self._plan.parts(len(sites))
        mechanism = GaussianShareMechanism(sensitivity, asked["budget"] ** -0.5, honest)
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


def _in_words(query: Query) -> str:
    if isinstance(query, PatientsQuery):
        return "the number of patients"
    if not isinstance(query, TablesQuery):
        return f"{len(query.tables.shapes)} tables of one column, on public grids"
    most = max(len(columns) for columns in query.tables)
    by_class = ", by class" if query.classes > 1 else ""
    return f"{len(query.tables)} tables of {'one column' if most < 2 else 'two columns'}{by_class}"
