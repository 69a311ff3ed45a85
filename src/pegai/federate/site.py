"""The site's side: the only thing that reads its table, and what it refuses.

Whatever engine carries the messages, they all come through `SiteAgent.handle`. It answers the
plan's coordinator only, verbs of the list only, one run for each approval, questions in their
order, and each of them once: the same question again gets the same answer, at no cost. The ledger
is charged with the whole run when it is opened, and an answer is on the site's disk before it
leaves. One process at a time answers for a site. Anything unforeseen is a refusal that tells the
coordinator nothing but that.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pegai.data.table import Table
from pegai.errors import FederationError, PegaiError
from pegai.federate.journal import Journal, runs_of
from pegai.federate.plan import FederationPlan
from pegai.federate.queries import query_from_dict
from pegai.federate.secagg import Advert, Exchange, SiteMask
from pegai.federate.site_lock import hold
from pegai.federate.transport import VERBS
from pegai.federate.wire import Message, digest
from pegai.privacy.events import is_positive
from pegai.privacy.guarantee import Privacy
from pegai.privacy.ledger import Ledger
from pegai.privacy.recorder import Recorder
from pegai.privacy.session import Session
from pegai.synth.base import known_patients, learned_schema, private_rows, table_bytes
from pegai.synth.looks import COUNTS
from pegai.synth.marginals.planning import MARGINALS
from pegai.synth.marginals.source import (
    ExactTables,
    LookQuery,
    PatientsQuery,
    Query,
    TablesQuery,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from pegai.federate.networks import GradientQuery, SiteGradients

COORDINATOR = "coordinator"
"""The caller that a site answers."""

BUDGET_ROUNDING = 1 + 1e-9

Reply = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class SitePolicy:
    """What a site's people have decided.

    Attributes:
        approved: Digests of plans that may be run, each with how often.
        central_noise: Whether exact counts may be given to the coordinator: in simulations only.
    """

    approved: Mapping[str, int] = field(default_factory=dict[str, int])
    central_noise: bool = False


@dataclass(frozen=True, eq=False)
class SiteHome:
    """What a site has.

    Attributes:
        name: As in the plan.
        table: Its rows, read with the plan's schema.
        folder: For journals.
        ledger: Its own.
        dataset: Name of its table in the ledger.
        key: Its private key.
    """

    name: str
    table: Table
    folder: Path
    ledger: Path
    dataset: str
    key: Ed25519PrivateKey


class _Run:
    """An opened run at a site."""

    def __init__(self, journal: Journal, session: Session) -> None:
        self.journal = journal
        self.session = session
        self.masks: dict[int, tuple[Exchange, SiteMask, Mapping[str, Any]]] = {}


class SiteAgent:
    """Answers the coordinator of one plan, for one site.

    Args:
        home: What the site has.
        plan: What it takes part in.
        policy: What its people have decided.
        recorder: Sees what mechanisms are given, for audits; voids the guarantee.

    Raises:
        FederationError: The plan knows no such site, or other keys or another schema.
        PegaiError: The table can't be learned with privacy.
    """

    def __init__(
        self,
        home: SiteHome,
        plan: FederationPlan,
        policy: SitePolicy,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        pinned = plan.pinned
        if home.name not in pinned:
            raise FederationError(
                f"the plan has no site {home.name!r}", hint=f"it has {', '.join(plan.names)}"
            )
        if pinned[home.name] != home.key.public_key().public_bytes_raw():
            raise FederationError(
                f"the plan has another key for site {home.name!r} than this site's",
                hint="send the coordinator the public key anew, by a way that you trust",
            )
        if home.table.schema.digest() != plan.schema_.digest():
            raise FederationError(
                "the table was read with another schema than the plan's",
                hint="read it with the schema in the plan, and approve the plan anew if it changed",
            )
        self._home = home
        self._plan = plan
        self._policy = policy
        self._recorder = recorder
        self._schema = learned_schema(plan.schema_)
        rows = private_rows(home.table)
        self._exact = ExactTables(rows)
        self._arrays: Mapping[str, np.ndarray] = {}
        self._gradients: SiteGradients | None = None
        if plan.by_steps:
            from pegai.federate.networks import SiteGradients

            self._gradients = SiteGradients(plan, rows, audited=recorder is not None)
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._verbs: dict[str, Callable[[Mapping[str, Any]], Reply]] = {
            "hello": self._hello,
            "open": self._open,
            "ask": self._ask,
            "advert": self._advert,
            "share": self._share,
            "close": self._close,
        }

    def handle(self, verb: str, payload: bytes, *, caller: str) -> bytes:
        """Answer a message.

        Args:
            verb: One of `transport.VERBS`.
            payload: A message's bytes.
            caller: Who sent it, as the engine has made sure of.

        Raises:
            FederationError: Refused. Nothing that the site knows of its rows is in the message.
        """
        if caller != COORDINATOR:
            raise FederationError("this site answers the coordinator only")
        if verb not in VERBS:
            raise FederationError(f"this site knows no verb {verb[:20]!r}")
        message = Message.from_bytes(payload)
        with self._lock:
            try:
                self._check_plan(message.body)
                self._arrays = message.arrays
                body, arrays = self._verbs[verb](message.body)
            except FederationError:
                raise
            except Exception as error:
                # What a site's ledger holds, or where it fails, is for its own people.
                said = "refused" if isinstance(error, PegaiError) else "failed"
                raise FederationError(
                    f"the site {said} ({type(error).__name__})", hint="its people know more"
                ) from error
        answer = {"site": self._home.name, "to": digest(dict(message.body)), **body}
        return Message(answer, arrays).to_bytes()

    def _check_plan(self, body: Mapping[str, Any]) -> None:
        if body.get("plan") != self._plan.digest:
            raise FederationError(
                "the coordinator runs another plan than this site has",
                hint="compare the digests; another word makes another plan",
            )
        if self._plan.digest not in self._policy.approved:
            raise FederationError(
                "this site has not approved the plan",
                hint="its people read it and say yes first",
            )
        if self._plan.noise == "central" and not self._policy.central_noise:
            raise FederationError(
                "the plan has the coordinator add the noise, so that it would see exact counts",
                hint="use noise = local or secagg; central is for simulations",
            )

    def _hello(self, body: Mapping[str, Any]) -> Reply:
        from pegai import __version__

        return {"ready": True, "version": __version__}, {}

    def _open(self, body: Mapping[str, Any]) -> Reply:
        run = str(body.get("run"))
        if run in self._runs:
            return {"opened": True}, {}
        hold(self._home.folder)
        journal = Journal(self._home.folder, run, self._plan.digest)
        if journal.is_closed:
            raise FederationError("the run is over", hint="begin a new one, with a new approval")
        privacy = Privacy(
            self._plan.epsilon,
            self._plan.delta,
            self._plan.unit,
            ledger=self._home.ledger,
            dataset=self._home.dataset,
        )
        # With the site's name: in a simulation several sites have one ledger.
        label = f"federation {self._plan.study}, site {self._home.name}, run {run}"
        ledger = Ledger(self._home.ledger)
        ledger.settle()  # a charge that was under way in a process that is gone counts
        charged = [e for e in ledger.entries() if e.label == label]
        session = (
            Session.resume(
                self._plan.privacy,
                privacy,
                charge_hash=charged[0].hash,
                **self._uses(journal),
            )
            if charged and not journal.is_new
            else self._charge(journal, run, privacy, label, lost=bool(charged))
        )
        self._runs[run] = _Run(journal, session)
        return {"opened": True}, {}

    def _uses(self, journal: Journal) -> dict[str, Any]:
        """What the answers of a run have used of its plan."""
        if not self._plan.by_steps:
            return {"spent": {MARGINALS: journal.spent}}
        from pegai.federate.networks import label_of

        return {"used": Counter(label_of(self._plan, number) for number, _ in journal.answers)}

    def _charge(
        self, journal: Journal, run: str, privacy: Privacy, label: str, *, lost: bool
    ) -> Session:
        """Charge the ledger with the whole run; what runs a plan may have is looked at first."""
        if lost or (journal.answers and not journal.is_new):
            raise FederationError(
                "the journal and the ledger of this run do not belong together",
                hint="what was spent stays spent; begin a new run, with a new approval",
            )
        runs = runs_of(self._home.folder, self._plan.digest)
        if run not in runs and len(runs) >= self._policy.approved[self._plan.digest]:
            raise FederationError(
                "the plan was run as often as this site has approved",
                hint="approve it again for one more run: each spends its whole budget",
            )
        if journal.is_new:
            journal.begin()
        return Session.open(
            self._plan.privacy,
            privacy,
            dataset=self._home.dataset,
            fingerprint_chunks=table_bytes(known_patients(self._home.table)),
            label=label,
            recorder=self._recorder,
        )

    def _ask(self, body: Mapping[str, Any]) -> Reply:
        """Noisy tables (`local`), or exact ones (`central`)."""
        if self._plan.noise == "secagg":
            raise FederationError("the plan says secagg: answers leave under masks only")
        run, number, asked = self._question(body)
        kept = run.journal.find(number, asked)
        if kept is None:
            query = self._next(run, number, asked)
            values = self._noisy(run, query, asked["budget"], parts=0)
            kept = run.journal.keep(number, asked, asked["budget"], values)
        return {}, {"values": kept.values}

    def _advert(self, body: Mapping[str, Any]) -> Reply:
        """A key for one exchange; nothing of the table."""
        if self._plan.noise != "secagg":
            raise FederationError("the plan has no secure sums")
        run, number, asked = self._question(body)
        participants = self._participants(body)
        asked = {**asked, "participants": list(participants)}
        if run.journal.find(number, asked) is None:
            self._next(run, number, asked)
        exchange = Exchange(
            self._plan.digest,
            str(body["run"]),
            number,
            _whole(body, "attempt"),
            digest(asked),
            participants,
        )
        mask = SiteMask(exchange, self._home.name, self._home.key)
        run.masks[number] = exchange, mask, asked
        return {"advert": mask.advert.to_dict()}, {}

    def _share(self, body: Mapping[str, Any]) -> Reply:
        """The tables with this site's part of the noise, masked."""
        run = self._opened(body)
        number = _whole(body, "exchange")
        if number not in run.masks:
            raise FederationError("no key of this exchange is waiting: begin it anew")
        exchange, mask, asked = run.masks[number]
        adverts = [Advert.from_dict(plain) for plain in body.get("adverts", [])]
        mask.check(adverts, self._plan.pinned)  # before anything is drawn or spent
        run.journal.refresh()
        kept = run.journal.find(number, asked)
        if kept is None:
            query = self._next(run, number, asked)
            parts = self._plan.parts(len(exchange.participants))
            values = self._noisy(run, query, asked["budget"], parts=parts)
            kept = run.journal.keep(number, asked, asked["budget"], values)
        del run.masks[number]
        return {}, {"values": mask.mask(kept.values, adverts, self._plan.pinned)}

    def _close(self, body: Mapping[str, Any]) -> Reply:
        """End the run; a coordinator that was stopped meanwhile may say so again."""
        name = str(body.get("run"))
        if not Journal(self._home.folder, name, self._plan.digest).is_closed:
            self._opened(body).journal.close()
        self._runs.pop(name, None)
        return {"closed": True}, {}

    def _opened(self, body: Mapping[str, Any]) -> _Run:
        """The run; one that a process which is gone has begun is gone on with."""
        name = str(body.get("run"))
        if name not in self._runs:
            if Journal(self._home.folder, name, self._plan.digest).is_new:
                raise FederationError("the run is not open at this site", hint="open it first")
            self._open(body)
        return self._runs[name]

    def _question(self, body: Mapping[str, Any]) -> tuple[_Run, int, dict[str, Any]]:
        """The run, the number of the exchange, and what is asked with its budget."""
        run, budget = self._opened(body), body.get("budget")
        run.journal.refresh()
        if not is_positive(budget):
            raise FederationError("a question must say what it may spend")
        asked = {"query": body.get("query"), "budget": float(cast("float", budget))}
        return run, _whole(body, "exchange"), asked

    def _participants(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        named = body.get("participants")
        if not isinstance(named, list) or not set(named) <= set(self._plan.names):  # pyright: ignore
            raise FederationError("the participants of a sum must be sites of the plan")
        if len(named) < self._plan.least:  # pyright: ignore[reportUnknownArgumentType]
            raise FederationError(
                f"a sum over {len(named)} sites is below the plan's quorum of {self._plan.least}"  # pyright: ignore
            )
        return tuple(named)  # pyright: ignore[reportUnknownArgumentType]

    def _next(self, run: _Run, number: int, asked: Mapping[str, Any]) -> Query | GradientQuery:
        """A new question: in its order, readable, and within the budget of the run."""
        last = run.journal.last
        same = [n for n, _ in run.journal.answers if n == number]
        again = "participants" in asked and not self._plan.by_steps
        if number > last + 1 or number < last or (same and not again):
            raise FederationError(
                f"exchange {number} was answered already, to another question, or is not the next",
                hint="a run that goes on asks what it asked before, from the start",
            )
        if self._plan.by_steps:
            return self._step(number, asked)
        query = query_from_dict(asked["query"], self._schema)
        spent = sum(run.journal.spent) + asked["budget"]
        if spent > self._plan.site_budget * BUDGET_ROUNDING:
            raise FederationError("the budget of the run is spent")
        return query

    def _step(self, number: int, asked: Mapping[str, Any]) -> Query | GradientQuery:
        """The look that a run by steps begins with, or the gradient that is next."""
        from pegai.federate.networks import expected_exchanges, label_of, read_gradient_query

        if number >= expected_exchanges(self._plan):
            raise FederationError("the plan's steps are all done")
        if asked["budget"] != 1.0:
            raise FederationError("what a step may spend is in the plan")
        if number == 0:
            look = query_from_dict(asked["query"], self._schema)
            if not isinstance(look, LookQuery):
                raise FederationError("a run by steps begins with a look at public grids")
            return look
        query = read_gradient_query(asked["query"], self._schema)
        if query.label != label_of(self._plan, number):
            raise FederationError("the coordinator asked for another network than is next")
        return query

    def _noisy(
        self, run: _Run, query: Query | GradientQuery, budget: float, *, parts: int
    ) -> np.ndarray:
        """The answer as a vector: with this site's part of the noise, all of it, or none."""
        if not isinstance(query, PatientsQuery | LookQuery | TablesQuery):
            assert self._gradients is not None  # noqa: S101 - a plan by steps has them
            bare = None if self._plan.noise == "central" else parts
            return self._gradients.answer(run.session, query, self._arrays, parts=bare)
        label = COUNTS if self._plan.by_steps else MARGINALS
        multiplier = None if self._plan.by_steps else budget**-0.5
        packing = query.packing
        vector = packing.pack(self._exact.answer(query))
        if self._plan.noise == "central":
            return vector
        sensitivity = packing.l2_sensitivity * self._plan.sensitivity_factor
        if not parts:
            return run.session.gaussian(
                label, vector, l2_sensitivity=sensitivity, noise_multiplier=multiplier
            )
        return run.session.gaussian_share(
            label, vector, l2_sensitivity=sensitivity, honest=parts, noise_multiplier=multiplier
        )


def _whole(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FederationError(f"{name} must be a whole number from 0")
    return value
