"""What a site refuses, whoever asks; and that nothing is spent twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pegai.data.table import Table
from pegai.errors import FederationError
from pegai.federate import site_lock
from pegai.federate.plan import plan_from_dict
from pegai.federate.queries import query_to_dict
from pegai.federate.secagg import new_run
from pegai.federate.site import COORDINATOR, SiteAgent, SitePolicy
from pegai.federate.wire import Message
from pegai.privacy import Ledger
from pegai.synth.base import learned_schema
from pegai.synth.grids import grid_encoder
from pegai.synth.marginals.source import LookQuery, PatientsQuery, TablesQuery

from .sites import NAMES, Federation, Make

RUN = "0123456789abcdef" * 2
A = NAMES[0]


def call(agent: SiteAgent, plan_digest: str, verb: str, *, caller: str = COORDINATOR, **body: Any):
    payload = Message({"plan": plan_digest, "run": RUN} | body).to_bytes()
    return Message.from_bytes(agent.handle(verb, payload, caller=caller))


class Caller:
    """Asks one agent of one plan."""

    def __init__(self, made: Federation, name: str = A) -> None:
        self.made, self.agent = made, made.agent(name)
        self.ledger = made.home(name).ledger

    def __call__(self, verb: str, **body: Any) -> Message:
        return call(self.agent, self.made.plan.digest, verb, **body)

    def ask(self, number: int, query: Any = None, budget: float = 0.01) -> np.ndarray:
        query = query or PatientsQuery(self.made.plan.schema_)
        plain = query if isinstance(query, dict) else query_to_dict(query)
        return self("ask", exchange=number, budget=budget, query=plain).arrays["values"]

    @property
    def charges(self) -> int:
        return [e.kind for e in Ledger(self.ledger).entries()].count("charge")


@pytest.fixture
def site(federation: Make) -> Caller:
    return Caller(federation())


def test_only_the_coordinator_is_answered(site: Caller) -> None:
    for caller in ("", NAMES[1], "Coordinator", "admin"):
        with pytest.raises(FederationError, match="coordinator only"):
            call(site.agent, site.made.plan.digest, "hello", caller=caller)


@pytest.mark.parametrize("verb", ["", "train", "__init__", "_open", "handle", "Ask"])
def test_only_verbs_of_the_list_are_done(site: Caller, verb: str) -> None:
    with pytest.raises(FederationError, match="no verb"):
        site(verb)


@pytest.mark.parametrize("verb", ["hello", "open", "ask", "advert", "share", "close"])
def test_only_the_approved_plan_is_run(site: Caller, verb: str) -> None:
    other = plan_from_dict(site.made.plan.to_dict() | {"rows": 7})
    with pytest.raises(FederationError, match="another plan"):
        call(site.agent, other.digest, verb)
    bare = SiteAgent(site.made.home(A), site.made.plan, SitePolicy())
    with pytest.raises(FederationError, match="not approved"):
        call(bare, site.made.plan.digest, verb)
    assert not site.ledger.exists()


def test_another_schema_is_refused(site: Caller) -> None:
    home = site.made.home(A)
    field = home.table.schema["age"]
    wider = field.model_copy(
        update={"constraints": field.constraints.model_copy(update={"maximum": 101})}
    )
    columns = (wider, *home.table.schema.columns[1:])
    table = Table(home.table.frame, home.table.schema.replace_columns(columns))
    with pytest.raises(FederationError, match="another schema"):
        SiteAgent(replace(home, table=table), site.made.plan, site.made.policy)


def test_a_site_that_the_plan_does_not_know_is_refused(site: Caller) -> None:
    with pytest.raises(FederationError, match="no site 'oslo'"):
        SiteAgent(replace(site.made.home(A), name="oslo"), site.made.plan, site.made.policy)
    with pytest.raises(FederationError, match="another key"):
        SiteAgent(
            replace(site.made.home(A), key=Ed25519PrivateKey.generate()),
            site.made.plan,
            site.made.policy,
        )


def test_exact_counts_leave_in_simulations_only(federation: Make) -> None:
    made = federation(noise="central")
    made.policy = SitePolicy(made.policy.approved)
    site = Caller(made)
    with pytest.raises(FederationError, match="exact counts"):
        site("open")


def test_the_ledger_is_charged_with_the_whole_run_before_anything_leaves(site: Caller) -> None:
    with pytest.raises(FederationError, match="not open"):
        site.ask(0)
    assert not site.ledger.exists()
    site("open")
    (charge,) = [e for e in Ledger(site.ledger).entries() if e.kind == "charge"]
    assert charge.epsilon == site.made.plan.privacy.epsilon
    assert RUN in charge.label


def test_a_budget_that_is_spent_is_refused(site: Caller) -> None:
    Ledger(site.ledger).set_budget("heart", 2.9, 1e-3)
    with pytest.raises(FederationError, match="BudgetExceededError"):
        site("open")
    assert site.charges == 0
    with pytest.raises(FederationError):
        site.ask(0)


def test_one_run_for_each_approval(site: Caller) -> None:
    site("open")
    site("open")
    with pytest.raises(FederationError, match="as often as"):
        site("open", run=new_run())
    assert site.charges == 1
    site.made.policy = SitePolicy({site.made.plan.digest: 2})
    again = Caller(site.made)
    again("open", run=new_run())
    assert site.charges == 2


@pytest.mark.parametrize("run", ["", "../../etc", "A" * 32, 5, None, "0" * 31])
def test_a_run_has_an_id_that_names_no_path(site: Caller, run: Any) -> None:
    with pytest.raises(FederationError):
        site("open", run=run)
    assert site.charges == 0 if site.ledger.exists() else True


def test_the_same_question_has_the_same_answer_at_no_cost(site: Caller) -> None:
    site("open")
    first = site.ask(0)
    assert (site.ask(0) == first).all()
    later = Caller(site.made)  # another process: all that it knows is on the disk
    assert (later.ask(0) == first).all()
    assert later.charges == 1
    assert len(later.agent._runs[RUN].journal.answers) == 1


@pytest.mark.parametrize(
    "changed", [{"budget": 0.02}, {"query": {"kind": "look", "bins": 4, "single_values": False}}]
)
def test_another_question_in_the_same_place_is_refused(
    site: Caller, changed: dict[str, Any]
) -> None:
    site("open")
    site.ask(0)
    with pytest.raises(FederationError, match="answered already"):
        site("ask", **({"exchange": 0, "budget": 0.01, "query": {"kind": "patients"}} | changed))


def test_questions_come_in_order(site: Caller) -> None:
    site("open")
    with pytest.raises(FederationError, match="not the next"):
        site.ask(1)
    site.ask(0)
    site.ask(1)
    with pytest.raises(FederationError, match="not the next"):
        site.ask(3)


def test_a_run_spends_no_more_than_its_plan(site: Caller) -> None:
    site("open")
    whole = site.made.plan.site_budget
    site.ask(0, budget=0.6 * whole)
    with pytest.raises(FederationError, match="budget of the run is spent"):
        site.ask(1, budget=0.5 * whole)
    later = Caller(site.made)
    with pytest.raises(FederationError, match="budget of the run is spent"):
        later.ask(1, budget=0.5 * whole)
    later.ask(1, budget=0.4 * whole)


def test_a_patient_at_two_sites_leaves_half_to_each(federation: Make) -> None:
    site = Caller(federation(sites_a_patient=2))
    site("open")
    event = site.made.plan.privacy["marginals"]
    with pytest.raises(FederationError, match="budget of the run"):
        site.ask(0, budget=0.51 * event.mu_squared)  # pyright: ignore
    site.ask(0, budget=0.49 * event.mu_squared)  # pyright: ignore


def test_a_closed_run_is_over(site: Caller) -> None:
    site("open")
    site.ask(0)
    site("close")
    site("close")
    for verb, body in (("open", {}), ("ask", {"exchange": 0, "budget": 0.01, "query": None})):
        with pytest.raises(FederationError, match="over"):
            site(verb, **body)


def test_without_its_journal_a_run_is_not_gone_on_with(site: Caller) -> None:
    """What it has spent is not known any more."""
    site("open")
    site.ask(0)
    folder = site.made.home(A).folder / "runs" / RUN
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FederationError, match="do not belong together"):
        Caller(site.made)("open")


def test_a_stop_between_journal_and_charge_is_gone_on_with(
    site: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pegai.federate import site as module

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Session, "open", stopped)
        with pytest.raises(KeyboardInterrupt):
            site("open")
    later = Caller(site.made)
    later("open")
    later.ask(0)
    assert later.charges == 1


@pytest.mark.parametrize("write", range(2, 6))
def test_a_stop_while_the_ledger_is_written_charges_once(
    site: Caller, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """The line may be in the head alone: it is finished, and found, before it is charged again."""
    heads, lines = Ledger._write_head, Ledger._write_line
    seen: list[str] = []

    def stopping(real: Any) -> Any:
        def write_or_stop(*rest: Any) -> None:
            seen.append("")
            if len(seen) == 3 + write:  # after the line that starts the ledger
                raise KeyboardInterrupt
            real(*rest)

        return write_or_stop

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_write_head", stopping(heads))
        patch.setattr(Ledger, "_write_line", stopping(lines))
        with contextlib.suppress(KeyboardInterrupt):
            site("open")
    later = Caller(site.made)
    later("open")
    later.ask(0)
    assert later.charges == 1
    assert Ledger(later.ledger).verify() == []


def test_a_damaged_journal_is_refused(site: Caller) -> None:
    site("open")
    site.ask(0)
    (answer,) = (site.made.home(A).folder / "runs" / RUN / "answers").glob("*.npz")
    answer.write_bytes(answer.read_bytes()[:-40])
    with pytest.raises(FederationError, match="journal"):
        Caller(site.made).ask(0)


def bad_queries(site: Caller) -> list[Any]:
    schema = learned_schema(site.made.plan.schema_)
    encoder = grid_encoder(schema, bins=4)
    good = query_to_dict(TablesQuery(schema, encoder, 3, ((0, 1),), True))
    columns = good["encoder"]["columns"]

    def with_column(place: int, **changes: Any) -> dict[str, Any]:
        changed = [dict(c) for c in columns]
        changed[place] |= changes
        return good | {"encoder": {"columns": changed}}

    return [
        None,
        "patients",
        {"kind": "rows"},
        {"kind": "look", "bins": 10**9, "single_values": False},
        {"kind": "look", "bins": True, "single_values": False},
        {"kind": "look", "bins": 4, "single_values": 1},
        good | {"tables": [[0, 1, 2]]},
        good | {"tables": [[0, 0]]},
        good | {"tables": [[0, 9]]},
        good | {"tables": [[-1]]},
        good | {"tables": []},
        good | {"class_index": 0},
        good | {"by_class": "yes"},
        good | {"encoder": {"columns": columns[:2]}},
        with_column(0, edges=[1.0]),
        with_column(0, edges=[float(i) for i in range(3)], knots=[[float("1e999")] * 9] * 4),
        with_column(1, common=["0"]),
        with_column(1, common=["0", "1", "2"]),
        with_column(1, missing=not columns[1]["missing"]),
        with_column(1, kind="numeric"),
    ]


@pytest.mark.parametrize("number", range(20))
def test_questions_that_no_coordinator_asks_are_refused(site: Caller, number: int) -> None:
    """Before anything is drawn: the budget stays whole."""
    site("open")
    query = bad_queries(site)[number]
    with pytest.raises((FederationError, ValueError)):
        site("ask", exchange=0, budget=0.01, query=query)
    assert not site.agent._runs[RUN].journal.answers
    site.ask(0)


@pytest.mark.parametrize("budget", [0, -1.0, "much", None, True, 1e9])
def test_budgets_that_are_none_are_refused(site: Caller, budget: Any) -> None:
    site("open")
    with pytest.raises(FederationError):
        site("ask", exchange=0, budget=budget, query={"kind": "patients"})


def test_too_many_counts_are_refused(site: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from pegai.federate import queries

    site("open")
    monkeypatch.setattr(queries, "MAX_CELLS", 10)
    with pytest.raises(FederationError, match="at most 10"):
        site.ask(0, LookQuery(site.made.plan.schema_, 8, single_values=False))


def test_a_failure_inside_tells_its_kind_only(
    site: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    site("open")

    def failing(*_: object) -> None:
        raise ZeroDivisionError("patient 17 is 63 years old")

    monkeypatch.setattr(site.agent._exact, "answer", failing)
    with pytest.raises(FederationError) as caught:
        site.ask(0)
    assert "63" not in str(caught.value)
    assert "ZeroDivisionError" in str(caught.value)


def test_a_full_disk_lets_nothing_leave(site: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from pegai.federate import journal

    site("open")

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_whole", full)
        with pytest.raises(FederationError, match="OSError"):
            site.ask(0)
    assert not site.agent._runs[RUN].journal.answers


def secure(site: Caller, made: Federation, number: int = 0, **changes: Any) -> list[Any]:
    """The adverts of all sites for an exchange, the first one's from `site`."""
    body = {
        "exchange": number,
        "attempt": 0,
        "budget": 0.01,
        "query": {"kind": "patients"},
        "participants": list(NAMES),
    } | changes
    others = [Caller(made, name) for name in NAMES[1:]]
    for other in others:
        other("open")
    return [caller("advert", **body).body["advert"] for caller in (site, *others)]


def test_with_secure_sums_nothing_leaves_bare(federation: Make) -> None:
    site = Caller(federation(noise="secagg"))
    site("open")
    with pytest.raises(FederationError, match="under masks only"):
        site.ask(0)
    with pytest.raises(FederationError, match="no key of this exchange"):
        site("share", exchange=0, adverts=[])


def test_the_same_noise_under_other_masks(federation: Make) -> None:
    """A sum that is begun again with the same sites costs nothing, and tells nothing new."""
    made = federation(noise="secagg")
    site = Caller(made)
    site("open")
    first = site("share", exchange=0, adverts=secure(site, made)).arrays["values"]
    again = site("share", exchange=0, adverts=secure(site, made, attempt=1)).arrays["values"]
    assert not np.array_equal(first, again)
    (answer,) = site.agent._runs[RUN].journal.answers.values()
    assert answer.budget == 0.01


def test_other_sites_need_other_noise(federation: Make) -> None:
    """Else the difference of the two sums would be one site's table with its own part alone."""
    made = federation(noise="secagg", quorum=2)
    site = Caller(made)
    site("open")
    site("share", exchange=0, adverts=secure(site, made))
    two = list(NAMES[:2])
    body = {"exchange": 0, "attempt": 1, "budget": 0.01, "query": {"kind": "patients"}}
    other = Caller(made, NAMES[1])
    other("open")
    adverts = [c("advert", **body, participants=two).body["advert"] for c in (site, other)]
    site("share", exchange=0, adverts=adverts)
    answers = list(site.agent._runs[RUN].journal.answers.values())
    assert len(answers) == 2
    assert not np.array_equal(answers[0].values, answers[1].values)
    assert sum(site.agent._runs[RUN].journal.spent) == pytest.approx(0.02)


@pytest.mark.parametrize(
    "participants", [list(NAMES[:2]), [*NAMES, "oslo"], list(reversed(NAMES)), "all", [NAMES[1]]]
)
def test_sums_over_others_than_the_plan_allows_are_refused(
    federation: Make, participants: Any
) -> None:
    site = Caller(federation(noise="secagg"))
    site("open")
    with pytest.raises(FederationError):
        site(
            "advert",
            exchange=0,
            attempt=0,
            budget=0.01,
            query={"kind": "patients"},
            participants=participants,
        )


def test_a_coordinator_that_asks_two_sites_two_things_gets_neither(federation: Make) -> None:
    made = federation(noise="secagg")
    site = Caller(made)
    site("open")
    adverts = secure(site, made)
    lied = secure(Caller(made), made, budget=0.02)
    with pytest.raises(FederationError, match="has not signed this exchange"):
        site("share", exchange=0, adverts=[adverts[0], lied[1], adverts[2]])
    assert not site.agent._runs[RUN].journal.answers


def test_sites_that_share_a_ledger_are_charged_each(federation: Make, tmp_path: Path) -> None:
    """As in a simulation; whoever comes second does not take the first one's charge for its own."""
    made, run = federation(), "0" * 32
    shared = tmp_path / "shared.jsonl"
    payload = Message({"plan": made.plan.digest, "run": run}).to_bytes()
    for _ in range(2):  # the second time as processes that were started anew
        for name in NAMES:
            home = replace(made.home(name), ledger=shared, dataset=f"heart at {name}")
            agent = SiteAgent(home, made.plan, made.policy)
            agent.handle("open", payload, caller=COORDINATOR)
    charged = [e for e in Ledger(shared).entries() if e.kind == "charge"]
    assert [e.dataset for e in charged] == [f"heart at {name}" for name in NAMES]


def test_one_process_at_a_time_answers_for_a_site(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would draw noise for the same question twice."""
    made = federation()
    folder = made.home("aarhus").folder
    folder.mkdir(parents=True)
    code = (
        "import os, sys, time; from pegai.privacy.file_lock import lock\n"
        "handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); lock(handle)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(site_lock, "PATIENCE_SECONDS", 0.2)
    payload = Message({"plan": made.plan.digest, "run": "0" * 32}).to_bytes()
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "lock")], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FederationError, match="another process of this site"):
            made.agent("aarhus").handle("open", payload, caller=COORDINATOR)
        assert not made.home("aarhus").ledger.exists()
    finally:
        other.kill()
        other.communicate()
    made.agent("aarhus").handle("open", payload, caller=COORDINATOR)


def test_two_agents_of_one_process_know_each_other_s_answers(federation: Make) -> None:
    made = federation()
    first, second = made.agent("aarhus"), made.agent("aarhus")
    payload = Message({"plan": made.plan.digest, "run": "0" * 32}).to_bytes()
    schema = learned_schema(made.plan.schema_)
    body = {"plan": made.plan.digest, "run": "0" * 32, "exchange": 0, "budget": 0.01}
    asked = Message(body | {"query": query_to_dict(PatientsQuery(schema))}).to_bytes()
    for agent in (first, second):
        agent.handle("open", payload, caller=COORDINATOR)
    one, two = (agent.handle("ask", asked, caller=COORDINATOR) for agent in (first, second))
    assert one == two
