"""Record and replay at a site: with its noise frozen, one patient more changes no byte it sends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pegai.audit.neighbours import Neighbours, audit_schema, base_table, neighbours
from pegai.audit.replay import Tape
from pegai.data.table import Table
from pegai.federate.coordinator import Coordinator
from pegai.federate.inprocess import InProcess
from pegai.federate.plan import FederationPlan, plan_from_dict
from pegai.federate.site import COORDINATOR, SiteAgent, SiteHome, SitePolicy
from pegai.federate.transport import Failure, Result, Verb
from pegai.federate.wire import Message

SITE, OTHER = "oslo", "porto"
PAIRS = [(by, pair) for by in (True, False) for pair in neighbours(audit_schema(by_patient=by))]
KEYS = {name: Ed25519PrivateKey.generate() for name in (SITE, OTHER)}


class Noting(InProcess):
    """Keeps what one site was asked."""

    def __init__(self, agents: Mapping[str, SiteAgent]) -> None:
        super().__init__(agents)
        self.asked: list[tuple[Verb, bytes]] = []

    def call_all(
        self, verb: Verb, payload: bytes, *rest: Any, **more: Any
    ) -> Mapping[str, Result | Failure]:
        self.asked.append((verb, payload))
        return super().call_all(verb, payload, *rest, **more)


SETTINGS = {
    "aim": {"steps": 5, "components": 2},
    "vaegan": {"privacy": {"steps": 2, "hidden": 8}},
}


def plan_of(table: Table, noise: str, method: str) -> FederationPlan:
    draft = {
        "study": "audit",
        "schema": table.schema.to_dict(),
        "method": method,
        "settings": SETTINGS[method],
        "epsilon": 4.0,
        "delta": 1e-3,
        "noise": noise,
        "colluders": 0,
        "sites": [{"name": SITE}, {"name": OTHER}],
        "wait_seconds": 0,
    }
    public = {name: key.public_key().public_bytes_raw() for name, key in KEYS.items()}
    return plan_from_dict(draft).with_keys(public)


def agent(plan: FederationPlan, name: str, table: Table, folder: Path, tape: Tape | None = None):
    home = SiteHome(name, table, folder, folder / "ledger.jsonl", "audit", KEYS[name])
    return SiteAgent(home, plan, SitePolicy({plan.digest: 1}), recorder=tape)


def compared(pair: Neighbours, method: str, folder: Path) -> tuple[Tape, Tape]:
    """Both runs of the site; asserts that what it sends is the same."""
    plan, tape = plan_of(pair.without, "local", method), Tape()
    first = agent(plan, SITE, pair.without, folder / "a", tape)
    other = agent(plan, OTHER, base_table(pair.without.schema, seed=5), folder / "b")
    transport = Noting({SITE: first, OTHER: other})
    Coordinator(plan, transport, folder / "c").fit()
    replay = Tape(source=tape)
    again = agent(plan, SITE, pair.with_one, folder / "d", replay)
    for verb, payload in transport.asked:
        if verb in ("advert", "share", "close"):  # fresh keys: what is masked is compared below
            continue
        sent = again.handle(verb, payload, caller=COORDINATOR)
        kept = first.handle(verb, payload, caller=COORDINATOR) if verb == "hello" else None
        if verb == "ask":
            body = Message.from_bytes(payload).body
            answer = next(
                a for a in _answers(folder / "a") if a.body["exchange"] == body["exchange"]
            )
            assert (Message.from_bytes(sent).arrays["values"] == answer.arrays["values"]).all()
        elif kept is not None:
            assert sent == kept
    return tape, replay


def _answers(folder: Path) -> list[Message]:
    return [Message.from_bytes(p.read_bytes()) for p in sorted(folder.rglob("answers/*.npz"))]


@pytest.mark.parametrize("method", sorted(SETTINGS))
@pytest.mark.parametrize(
    ("by_patient", "pair"), PAIRS, ids=[f"{p.name}-{'patient' if by else 'row'}" for by, p in PAIRS]
)
def test_one_patient_more_changes_nothing_but_the_inputs_of_mechanisms(
    by_patient: bool, pair: Neighbours, method: str, tmp_path: Path
) -> None:
    tape, replay = compared(pair, method, tmp_path)
    assert len(tape.calls) == len(replay.calls) > 2
    changed = 0.0
    for one, two in zip(tape.calls, replay.calls, strict=True):
        assert (one.label, one.kind, one.sensitivity) == (two.label, two.kind, two.sensitivity)
        assert one.values.shape == two.values.shape
        far = float(np.linalg.norm(one.values.astype(float) - two.values.astype(float)))
        assert far <= one.sensitivity * (1 + 1e-9)
        changed = max(changed, far)
    if pair.name != "many rows without an id" and by_patient:
        assert changed > 0  # the patient is counted, or the test would prove nothing


@pytest.mark.parametrize("name", ["a duplicate", "many rows", "impossible", "the only patient"])
def test_parts_of_noise_go_on_inputs_as_near(name: str, tmp_path: Path) -> None:
    """The same for secure sums: the input of each part differs by the declared sensitivity."""
    pair = next(p for by, p in PAIRS if by and p.name == name)
    plan = plan_of(pair.without, "secagg", "aim")
    tapes = {"without": Tape(), "with": Tape()}
    other = base_table(pair.without.schema, seed=5)
    tables = {"without": pair.without, "with": pair.with_one}
    for which, table in tables.items():
        folder = tmp_path / which
        tape = tapes[which]
        if which == "with":
            tape.source = tapes["without"]
        agents = {
            SITE: agent(plan, SITE, table, folder / "a", tape),
            OTHER: agent(plan, OTHER, other, folder / "b"),
        }
        main = Coordinator(plan, InProcess(agents), folder / "c")
        if which == "with":
            # The other site's noise is fresh: what is asked differs from the second look on.
            main.open()
            from pegai.federate.source import FederatedSource
            from pegai.synth.marginals.source import PatientsQuery

            source = FederatedSource(main)
            source.ask(PatientsQuery(source.schema), 0.01 * source.left)
            break
        main.fit()
    one, two = tapes["without"].calls[0], tapes["with"].calls[0]
    assert one.kind == two.kind == "gaussian_share"
    far = float(np.linalg.norm((one.values - two.values).astype(float)))
    assert 0 < far <= one.sensitivity
