"""The two classes that FLARE runs, one on each side. They carry bytes, and decide nothing.

A job names them by their path in the installed package and brings no code. Where a side's files are
it learns from its own environment, never from the job.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvflare.collab import collab

from pegai.errors import FederationError
from pegai.federate.flare_process import (
    SIMULATED_SITES_VARIABLE,
    SITE_VARIABLE,
    STUDY_VARIABLE,
)
from pegai.federate.membership import Membership, read_membership
from pegai.federate.site import COORDINATOR, SiteAgent
from pegai.federate.study import read_study, run_plan
from pegai.federate.transport import Failure, Result, Transport, Verb
from pegai.federate.wire import Message

SERVER_NAME = "server"
"""What FLARE calls the server, once it has made sure of its certificate."""

_log = logging.getLogger("pegai.federate")


class SiteApp:
    """Hands what the server asks to the site's agent, and its answer back."""

    def __init__(self) -> None:
        self._agents: dict[str, SiteAgent] = {}

    @collab.publish
    def call(self, verb: str, payload: bytes) -> dict[str, Any]:
        """An answer, or why there is none; never an exception, whose traces FLARE would send."""
        try:
            return {"answer": self._answer(verb, payload)}
        except FederationError as error:
            _log.warning("refused %s: %s", verb[:20], error)
            return {"refused": str(error)}
        except Exception as error:
            _log.exception("failed at %s", verb[:20])
            said = f"the site can't take part ({type(error).__name__}); its people know more"
            return {"refused": said}

    def _answer(self, verb: str, payload: bytes) -> bytes:
        caller = COORDINATOR if collab.caller == SERVER_NAME else str(collab.caller)
        if caller != COORDINATOR:
            raise FederationError("this site answers the coordinator only")
        digest = str(Message.from_bytes(payload).body.get("plan"))
        member = _member(str(collab.site_name))
        member.approval(digest)  # asked at each message: an approval can be revoked meanwhile
        if digest not in self._agents:
            self._agents[digest] = member.agent(digest)
        return self._agents[digest].handle(verb, payload, caller=caller)


def _member(site: str) -> Membership:
    homes = os.environ.get(SIMULATED_SITES_VARIABLE)
    member = read_membership(Path(homes) / site if homes else Path(os.environ[SITE_VARIABLE]))
    if member.site != site:
        raise FederationError("the engine runs this site under another name than its folder says")
    return member


class CoordinatorApp:
    """Runs a frozen plan over the sites of the job.

    Args:
        digest: Of the plan, which must be in the coordinator's own folder.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest

    @collab.main
    def run(self) -> None:
        """Run it, or go on with its run."""
        run_plan(read_study(Path(os.environ[STUDY_VARIABLE])), self._digest, FlareTransport())


class FlareTransport(Transport):
    """Calls the sites of the job that this thread runs in."""

    def call_all(
        self, verb: Verb, payload: bytes, sites: Sequence[str], *, timeout_seconds: float
    ) -> Mapping[str, Result | Failure]:
        """As `Transport.call_all`."""
        there = {str(client.name) for client in collab.clients}
        found: dict[str, Result | Failure] = {
            site: Failure("gone", "not connected when the job began")
            for site in sites
            if site not in there
        }
        asked = [site for site in sites if site in there]
        if not asked:
            return found
        start = time.perf_counter()
        group: Any = collab.get_clients(asked)(timeout=timeout_seconds)
        answers = group.call(verb=verb, payload=payload)
        seconds = time.perf_counter() - start
        found |= {site: _read(reply, len(payload), seconds) for site, reply in answers}
        for site in asked:
            if site not in found:
                why = answers.failures.get(site)
                found[site] = Failure("gone", f"no answer ({why})"[:300])
        return found


def _read(reply: Any, sent: int, seconds: float) -> Result | Failure:
    if isinstance(reply, dict) and isinstance(reply.get("refused"), str):  # pyright: ignore
        return Failure("refused", reply["refused"])  # pyright: ignore
    raw = reply.get("answer") if isinstance(reply, dict) else None  # pyright: ignore
    if not isinstance(raw, bytes):
        return Failure("malformed", "its answer is of no known form")
    try:
        return Result(Message.from_bytes(raw), sent, len(raw), seconds)
    except FederationError as error:
        return Failure("malformed", str(error))
