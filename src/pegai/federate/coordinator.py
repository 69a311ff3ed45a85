"""The coordinator's side: asks, sums, writes down, and fits the method to what came.

It holds no row and adds no noise (but in simulations with central noise). Each exchange is on its
disk before the next begins, so that a run that was stopped goes on: what was summed is read, and
what was asked is asked again, to which sites give the answer that they have kept, at no cost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pegai.errors import FederationError
from pegai.federate.exchanges import Seen
from pegai.federate.journal import write_whole
from pegai.federate.plan import FederationPlan
from pegai.federate.secagg import new_run
from pegai.federate.source import FederatedSource
from pegai.federate.transport import Failure, Result, Transport, Verb
from pegai.federate.wire import Message, digest
from pegai.synth.aim import AIM
from pegai.synth.base import Fitted, in_users_form
from pegai.synth.mst import MST
from pegai.synth.running import Run

RUN_FILE = "run.npz"
OPENED_FILE = "opened.npz"
RETRY_SECONDS = 0.5


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
        learned = self._learned(np.random.default_rng(self.seed), run)
        model = in_users_form(learned, self.plan.schema_)
        self.ask("close", {}, self.participants)
        return FederatedFit(model, tuple(self.seen), self.participants, dict(self.lost), self.run)

    def _learned(self, rng: np.random.Generator, run: Run) -> Fitted:
        method = self.plan.synthesizer
        if isinstance(method, AIM | MST):
            return method.fit_source(FederatedSource(self), rng, run)
        from pegai.federate.networks import fit_by_steps

        return fit_by_steps(self, rng, run)

    def ask(
        self,
        verb: Verb,
        body: Mapping[str, Any],
        sites: Sequence[str],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Result | Failure]:
        """One message to some sites, and their answers, which are to this very message.

        Raises:
            FederationError: A site refused.
        """
        content = {"plan": self.plan.digest, "run": self.run, **body}
        payload = Message(content, arrays or {}).to_bytes()
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
        self,
        verb: Verb,
        body: Mapping[str, Any],
        sites: Sequence[str],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Result | Failure]:
        """As `ask`, asking those again that do not answer until the plan's patience ends."""
        answers = self.ask(verb, body, sites, arrays)
        end = time.monotonic() + self.plan.wait_seconds
        while gone := [s for s in sites if isinstance(answers[s], Failure)]:
            if time.monotonic() >= end:
                break
            time.sleep(RETRY_SECONDS)
            answers |= self.ask(verb, body, gone, arrays)
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
