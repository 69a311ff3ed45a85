"""Whole runs: sums that are exact, sites that are lost, coordinators that are stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import FederationError
from pegai.federate.coordinator import Coordinator
from pegai.federate.inprocess import InProcess
from pegai.federate.source import FederatedSource
from pegai.federate.transport import Failure, Result, Transport, Verb
from pegai.federate.wire import Message
from pegai.privacy import Ledger
from pegai.privacy.noise_shares import GaussianShareMechanism
from pegai.synth.base import learned_schema, private_rows
from pegai.synth.grids import grid_encoder
from pegai.synth.marginals.source import ExactTables, LookQuery, PatientsQuery, Query, TablesQuery

from .sites import NAMES, Federation, Make

MODES = ("local", "secagg", "central")


class Unsteady(Transport):
    """In process, with failures as a test says.

    Args:
        inner: Carries what does not fail.
        fails: Says whether a site fails a verb, given how often the verb was called before.
        late: The site does its work, and only its answer is lost.
    """

    def __init__(self, inner: Transport, fails: Any, *, late: bool = False) -> None:
        self.inner, self.fails, self.late = inner, fails, late
        self.calls: dict[str, int] = {}

    def call_all(
        self, verb: Verb, payload: bytes, sites: Sequence[str], *, timeout_seconds: float
    ) -> Mapping[str, Result | Failure]:
        number = self.calls[verb] = self.calls.get(verb, 0) + 1
        lost = [s for s in sites if self.fails(s, verb, number)]
        asked = sites if self.late else [s for s in sites if s not in lost]
        answers = dict(self.inner.call_all(verb, payload, asked, timeout_seconds=timeout_seconds))
        return answers | {s: Failure("gone", "the line is dead") for s in lost}


def coordinator(made: Federation, fails: Any, *, late: bool = False) -> Coordinator:
    transport = Unsteady(InProcess(made.agents()), fails, late=late)
    return Coordinator(made.plan, transport, made.folder / "coordinator")


def charges(made: Federation, name: str) -> int:
    return [e.kind for e in Ledger(made.home(name).ledger).entries()].count("charge")


@pytest.mark.parametrize("noise", MODES)
@pytest.mark.parametrize("method", ["mst", "aim"])
def test_a_run_gives_a_model_with_the_guarantee(federation: Make, noise: str, method: str) -> None:
    settings = {"steps": 60, "components": 8} if method == "aim" else {}
    made = federation(noise=noise, method=method, settings=settings)
    fit = made.coordinator().fit()
    assert fit.participants == NAMES
    assert fit.lost == {}
    sample = fit.model.sample(300, rng=0)
    assert sample.schema.names == made.plan.schema_.names
    guarantee = fit.model.guarantee
    assert guarantee is not None
    assert guarantee.epsilon == made.plan.privacy.epsilon <= 3.0
    assert any("rows at one site only" in text for text in guarantee.public)
    guarantee.require_releasable()
    for name in NAMES:
        assert charges(made, name) == 1
    spent = sum(seen.budget for seen in fit.seen)
    assert spent == pytest.approx(made.plan.site_budget, rel=1e-6)
    assert spent <= made.plan.site_budget * (1 + 1e-9)
    body = Message({"plan": made.plan.digest, "run": fit.run}).to_bytes()
    for agent in made.agents().values():
        with pytest.raises(FederationError, match="over"):  # it is closed at every site
            agent.handle("open", body, caller="coordinator")


def pooled(made: Federation) -> Table:
    frames = [table.frame for table in made.tables.values()]
    return Table(pl.concat(frames), made.plan.schema_)


def queries(made: Federation) -> list[Query]:
    schema = learned_schema(made.plan.schema_)
    encoder = grid_encoder(schema, bins=5)
    return [
        PatientsQuery(schema),
        LookQuery(schema, 16, single_values=True),
        TablesQuery(schema, encoder, 3, ((0,), (1,), (0, 2)), by_class=True),
        TablesQuery(schema, encoder, None, ((0, 1), (2, 3)), by_class=False),
    ]


def without_noise(patch: pytest.MonkeyPatch) -> None:
    """Parts of the noise are drawn as zeros; all else is as always."""

    def release(self: GaussianShareMechanism, values: np.ndarray) -> np.ndarray:
        return values.astype(np.int64) * self.scale

    patch.setattr(GaussianShareMechanism, "release", release)


def test_a_secure_sum_without_noise_is_the_exact_table_of_all(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every query, to the last patient."""
    without_noise(monkeypatch)
    made = federation(noise="secagg")
    main = made.coordinator()
    main.open()
    source, exact = FederatedSource(main), ExactTables(private_rows(pooled(made)))
    for query in queries(made):
        found, _ = source.ask(query, 0.01)
        whole = query.packing.whole
        for table, due in zip(found, exact.answer(query), strict=True):
            assert (table == due / whole).all()


@pytest.mark.parametrize("noise", MODES)
def test_the_noise_of_a_sum_is_what_is_said(federation: Make, noise: str) -> None:
    """The width in tables far from the data, six standard errors; 2/3 and 3/2 are told apart."""
    made = federation(noise=noise)
    main = made.coordinator()
    main.open()
    source, exact = FederatedSource(main), ExactTables(private_rows(pooled(made)))
    schema = learned_schema(made.plan.schema_)
    query = LookQuery(schema, 1000, single_values=True)
    drawn: list[float] = []
    for _ in range(40):
        found, deviations = source.ask(query, 0.0005)
        for table, due, deviation in zip(found, exact.answer(query), deviations, strict=True):
            drawn += ((table - due) / deviation).ravel().tolist()
    width, margin = float(np.std(drawn)), 6 / (2 * len(drawn)) ** 0.5
    assert abs(width - 1) < margin
    for wrong in (2 / 3, 3 / 2):
        assert abs(width / wrong - 1) > 3 * margin


def test_what_the_coordinator_sees_of_a_site_is_uniform(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chi-square over the bytes of every masked table of a run, even without any noise."""
    from scipy import stats

    without_noise(monkeypatch)
    made = federation(noise="secagg")
    seen: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}

    class Watching(InProcess):
        def call_all(self, verb: Verb, *rest: Any, **more: Any) -> Mapping[str, Result | Failure]:
            answers = super().call_all(verb, *rest, **more)
            for site, answer in answers.items():
                if verb == "share" and isinstance(answer, Result):
                    seen[site].append(answer.message.arrays["values"])
            return answers

    Coordinator(made.plan, Watching(made.agents()), made.folder / "c").fit()
    exact = ExactTables(private_rows(made.tables[NAMES[0]]))
    bare = np.concatenate([q.packing.pack(exact.answer(q)) for q in queries(made)])

    def p_value(vector: np.ndarray) -> float:
        counts = np.bincount(np.frombuffer(vector.tobytes(), np.uint8), minlength=256)
        return float(stats.chisquare(counts).pvalue)

    assert p_value(bare) < 1e-7
    for vectors in seen.values():
        assert sum(len(v) for v in vectors) > 300
        assert p_value(np.concatenate(vectors)) > 1e-7


@pytest.mark.parametrize("noise", ["local", "secagg"])
@pytest.mark.parametrize("verb", ["hello", "open"])
def test_a_site_that_never_comes_stops_a_run_of_all(
    federation: Make, noise: str, verb: str
) -> None:
    made = federation(noise=noise)
    gone = coordinator(made, lambda site, what, n: site == NAMES[2] and what == verb)
    with pytest.raises(FederationError, match="2 of 3 sites are left"):
        gone.fit()
    assert made.coordinator().fit().participants == NAMES  # it is back: the run goes on
    assert [charges(made, name) for name in NAMES] == [1, 1, 1]


@pytest.mark.parametrize("noise", ["local", "secagg"])
def test_by_the_quorum_a_run_goes_on_without_a_site(federation: Make, noise: str) -> None:
    made = federation(noise=noise, quorum=2)
    fit = coordinator(made, lambda site, what, n: site == NAMES[1] and what == "hello").fit()
    assert fit.participants == (NAMES[0], NAMES[2])
    assert "line is dead" in fit.lost[NAMES[1]]
    assert not made.home(NAMES[1]).ledger.exists()


@pytest.mark.parametrize(("noise", "verb"), [("local", "ask"), ("secagg", "advert")])
def test_a_site_that_is_lost_on_the_way_is_done_without(
    federation: Make, noise: str, verb: str
) -> None:
    """Later tables are drawn up to the number of patients that there were at first."""
    made = federation(noise=noise, quorum=2, epsilon=8.0)
    fit = coordinator(made, lambda site, what, n: site == NAMES[1] and what == verb and n > 2).fit()
    assert fit.participants == (NAMES[0], NAMES[2])
    assert len(fit.model.sample(100, rng=0)) == 100
    assert charges(made, NAMES[0]) == 1


def test_a_site_that_answers_late_is_waited_for(federation: Make) -> None:
    """The answer is lost, the site is asked again and gives the same one."""
    made = federation(noise="local", wait_seconds=5)
    lost: list[int] = []

    def once(site: str, verb: str, number: int) -> bool:
        if site == NAMES[0] and verb == "ask" and number == 2 and not lost:
            lost.append(number)
            return True
        return False

    fit = coordinator(made, once, late=True).fit()
    assert fit.participants == NAMES
    assert lost
    answers = list((made.home(NAMES[0]).folder / "runs" / fit.run / "answers").glob("*.npz"))
    assert len(answers) == len(fit.seen)


def test_a_sum_that_a_part_is_missing_from_is_made_again_at_no_cost(federation: Make) -> None:
    """With the same sites, whose noise is the same again under other masks."""
    made = federation(noise="secagg")
    fit = coordinator(
        made, lambda site, verb, n: site == NAMES[2] and verb == "share" and n == 3, late=True
    ).fit()
    assert fit.participants == NAMES
    spent = sum(seen.budget for seen in fit.seen)
    assert spent == pytest.approx(made.plan.site_budget, rel=1e-6)


def test_a_sum_made_again_without_a_site_is_paid_for_twice(federation: Make) -> None:
    made = federation(noise="secagg", quorum=2)
    gone: list[str] = []

    def fails(site: str, verb: str, number: int) -> bool:
        """Lost at the share of the second exchange, for good."""
        if site == NAMES[2] and verb == "share" and number == 2:
            gone.append(site)
        return site in gone

    fit = coordinator(made, fails).fit()
    assert fit.participants == NAMES[:2]
    journal = made.home(NAMES[0]).folder / "runs" / fit.run / "answers"
    budgets = [float(Message.from_bytes(p.read_bytes()).body["budget"]) for p in journal.glob("*")]
    assert len(budgets) == len(fit.seen) + 1
    assert sum(budgets) <= made.plan.site_budget * (1 + 1e-9)


def test_the_last_sum_can_not_be_paid_for_twice(federation: Make) -> None:
    """All is spent on it: the run stops, and goes on when the site is back."""
    made = federation(noise="secagg", quorum=2)
    whole = made.coordinator
    gone: list[str] = []

    def fails(site: str, verb: str, number: int) -> bool:
        if site == NAMES[2] and verb == "share" and number == 4:
            gone.append(site)
        return site in gone

    with pytest.raises(FederationError, match="no room for the sum to be made again"):
        coordinator(made, fails).fit()
    fit = whole().fit()
    assert fit.participants == NAMES
    assert [charges(made, name) for name in NAMES] == [1, 1, 1]


@pytest.mark.parametrize("noise", ["local", "secagg"])
@pytest.mark.parametrize("stop", range(1, 5))
def test_a_coordinator_that_was_stopped_goes_on_to_the_same_model(
    federation: Make, noise: str, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after some exchange, before or after it was written down."""
    from pegai.federate import exchanges as module

    made = federation(noise=noise)
    agents = made.agents()
    real, written = module.write_whole, []

    def stopping(path: Any, content: bytes) -> None:
        if path.parent.name == "exchanges" and "begun" not in path.name:
            written.append(path)
            if len(written) == stop:
                raise KeyboardInterrupt
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_whole", stopping)
        with pytest.raises(KeyboardInterrupt):
            made.coordinator(agents).fit()
    fit = made.coordinator(made.agents()).fit()  # the sites were started anew, too
    assert [charges(made, name) for name in NAMES] == [1, 1, 1]
    for name in NAMES:
        answers = made.home(name).folder / "runs" / fit.run / "answers"
        assert len(list(answers.glob("*.npz"))) == len(fit.seen)


def test_a_run_that_is_read_again_gives_the_same_model(federation: Make) -> None:
    made = federation()
    first = made.coordinator()
    fit = first.fit()

    class Dead(Transport):
        """Nothing is asked any more."""

        def call_all(self, verb: Verb, *rest: Any, **more: Any) -> Mapping[str, Result | Failure]:
            return {}

    again = Coordinator(made.plan, Dead(), first.folder).fit()
    assert again.run == fit.run
    assert again.seen == fit.seen
    assert again.model.sample(50, rng=0).frame.equals(fit.model.sample(50, rng=0).frame)


def test_a_folder_of_another_plan_is_refused(federation: Make) -> None:
    made = federation()
    made.coordinator()
    other = federation(rows=77)
    with pytest.raises(FederationError, match="another plan"):
        Coordinator(other.plan, InProcess(other.agents()), made.folder / "coordinator")


@pytest.mark.parametrize(
    "forge",
    [
        lambda m: Message(m.body, {}),
        lambda m: Message(m.body, {"values": m.arrays["values"][:-1]}),
        lambda m: Message(m.body, {"values": m.arrays["values"].astype(np.float64)}),
        lambda m: Message({**m.body, "to": "0" * 64}, m.arrays),
        lambda m: Message({**m.body, "site": "oslo"}, m.arrays),
    ],
)
def test_an_answer_to_something_else_counts_as_none(federation: Make, forge: Any) -> None:
    """A replayed or misshapen answer never gets into a sum."""
    made = federation()

    class Forging(InProcess):
        def call_all(self, verb: Verb, *rest: Any, **more: Any) -> Mapping[str, Result | Failure]:
            answers = dict(super().call_all(verb, *rest, **more))
            if verb == "ask":
                result = answers[NAMES[0]]
                assert isinstance(result, Result)
                answers[NAMES[0]] = Result(forge(result.message), 1, 1, 0.0)
            return answers

    main = Coordinator(made.plan, Forging(made.agents()), made.folder / "c")
    with pytest.raises(FederationError, match="2 of 3 sites are left"):
        main.fit()


def test_a_site_that_refuses_stops_the_run_by_name(federation: Make) -> None:
    made = federation()
    Ledger(made.home(NAMES[1]).ledger).set_budget("heart", 1.0, 1e-3)
    with pytest.raises(FederationError, match="site 'bergen' refused open"):
        made.coordinator().fit()


def test_patients_without_an_id_and_rules_are_as_in_a_fit_of_one_table(federation: Make) -> None:
    """The site learns what `fit` learns: known patients, in the form of the rules."""
    made = federation()
    agent = made.agent(NAMES[0])
    query = PatientsQuery(learned_schema(made.plan.schema_))
    assert agent._exact.answer(query)[0].tolist() == [len(made.tables[NAMES[0]])]
