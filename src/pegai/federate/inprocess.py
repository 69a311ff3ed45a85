"""All sites in this process: for simulations and tests. Every message is bytes, as on a wire."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from pegai.errors import FederationError
from pegai.federate.site import COORDINATOR, SiteAgent
from pegai.federate.transport import Failure, Result, Transport, Verb
from pegai.federate.wire import Message


class InProcess(Transport):
    """Calls agents in threads.

    Args:
        agents: By site.
    """

    def __init__(self, agents: Mapping[str, SiteAgent]) -> None:
        self._agents = dict(agents)
        self._pool = ThreadPoolExecutor(max_workers=max(len(agents), 1))

    def call_all(
        self, verb: Verb, payload: bytes, sites: Sequence[str], *, timeout_seconds: float
    ) -> Mapping[str, Result | Failure]:
        """As `Transport.call_all`."""
        futures = {site: self._pool.submit(self._call, site, verb, payload) for site in sites}
        wait(futures.values(), timeout=timeout_seconds)
        late = Failure("gone", f"no answer in {timeout_seconds:g} s")
        return {
            site: future.result() if future.done() else late for site, future in futures.items()
        }

    def _call(self, site: str, verb: Verb, payload: bytes) -> Result | Failure:
        if site not in self._agents:
            return Failure("gone", "there is no such site")
        start = time.perf_counter()
        try:
            raw = self._agents[site].handle(verb, payload, caller=COORDINATOR)
        except FederationError as error:
            return Failure("refused", str(error))
        seconds = time.perf_counter() - start
        try:
            return Result(Message.from_bytes(raw), len(payload), len(raw), seconds)
        except FederationError as error:
            return Failure("malformed", str(error))
