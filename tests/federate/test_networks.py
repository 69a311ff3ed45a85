"""Networks trained over several sites: sums of clipped gradients, what a site refuses, stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import FederationError, UsageError
from pegai.federate import exchanges as exchanges_module
from pegai.federate.networks import (
    SiteGradients,
    gradient_query,
    label_of,
    method_of,
    read_gradient_query,
)
from pegai.federate.site import COORDINATOR, SiteAgent
from pegai.federate.wire import Message
from pegai.privacy.dpsgd import GRADIENT_GRID, share_sensitivity, sum_sensitivity
from pegai.privacy.ledger import Ledger
from pegai.privacy.noise_shares import GaussianShareMechanism
from pegai.synth.base import learned_schema
from pegai.synth.grids import class_shares, grid_encoder
from pegai.synth.running import Run

from .sites import NAMES, Federation, Make

RUN = "0" * 32
FEW = {"privacy": {"steps": 3, "hidden": 8}}
METHODS = ("gan", "ctgan", "tvae", "vaegan")


def charges(made: Federation, name: str) -> int:
    return len([e for e in Ledger(made.home(name).ledger).entries() if e.kind == "charge"])


def arrays_for(made: Federation, label: str) -> tuple[Any, dict[str, np.ndarray]]:
    """An encoder with public shares, and the first weights of a network."""
    schema = learned_schema(made.plan.schema_)
    method = method_of(made.plan)
    encoder = grid_encoder(schema, bins=8)
    classes = 1 if schema.target is None else encoder.sizes[encoder.index(schema.target.name)]
    shares = class_shares([np.ones((classes, size)) for size in encoder.sizes], smoothing=0.5)
    begun = method.begin_at(encoder, shares, 100.0, np.random.default_rng(3), Run(device="cpu"))
    (part,) = [p for p in method.parts(begun.start) if p.label == label]
    weights = np.concatenate([p.detach().numpy().ravel() for p in part.model.parameters()])
    return encoder, {"shares": np.concatenate([s.ravel() for s in shares]), "weights": weights}


def question(made: Federation, exchange: int, /, **changes: Any) -> tuple[dict[str, Any], Any]:
    label = changes.pop("label", label_of(made.plan, exchange))
    encoder, arrays = arrays_for(made, label_of(made.plan, exchange))
    arrays |= changes.pop("arrays", {})
    body = {
        "plan": made.plan.digest,
        "run": RUN,
        "exchange": exchange,
        "query": gradient_query(label, encoder, arrays),
        "budget": 1.0,
    }
    return body | changes, arrays


def look(made: Federation) -> dict[str, Any]:
    query = {"kind": "look", "bins": 8, "single_values": True, "split_by": "num"}
    return {"plan": made.plan.digest, "run": RUN, "exchange": 0, "query": query, "budget": 1.0}


def asked(agent: SiteAgent, body: Any, arrays: Any = None) -> np.ndarray:
    raw = agent.handle("ask", Message(body, arrays or {}).to_bytes(), caller=COORDINATOR)
    return Message.from_bytes(raw).arrays["values"]


def opened(made: Federation) -> SiteAgent:
    """A site that has answered the look."""
    agent = made.agent("aarhus")
    payload = Message({"plan": made.plan.digest, "run": RUN}).to_bytes()
    agent.handle("open", payload, caller=COORDINATOR)
    asked(agent, look(made))
    return agent


@pytest.mark.parametrize("noise", ["local", "secagg", "central"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_gives_a_model(federation: Make, method: str, noise: str) -> None:
    made = federation(method=method, noise=noise, settings=FEW)
    fit = made.coordinator().fit()
    assert len(fit.seen) == 1 + 3 * len(method_of(made.plan).looks)
    assert fit.model.guarantee is not None
    assert fit.model.guarantee.epsilon <= made.plan.epsilon
    assert len(fit.model.sample(20, rng=0)) == 20
    assert [charges(made, name) for name in NAMES] == [1, 1, 1]


class Everybody:
    """Samples all patients; there is no noise."""

    def poisson_sample(self, label: str, population: int) -> np.ndarray:
        return np.ones(population, bool)


@pytest.mark.parametrize("method", ["ctgan", "gan"])
def test_gradients_of_sites_add_up_to_those_of_all_patients(federation: Make, method: str) -> None:
    made = federation(method=method, settings=FEW)
    label = label_of(made.plan, 1)
    encoder, arrays = arrays_for(made, label)
    plain = gradient_query(label, encoder, arrays)
    query = read_gradient_query(plain, learned_schema(made.plan.schema_))
    whole = Table(pl.concat([t.frame for t in made.tables.values()]), made.tables["aarhus"].schema)

    def gradient(table: Table) -> np.ndarray:
        site = SiteGradients(made.plan, table, audited=True)
        return site.answer(Everybody(), query, arrays, parts=None)  # pyright: ignore

    together = np.sum([gradient(table) for table in made.tables.values()], axis=0)
    assert np.abs(together).max() > 0.1
    np.testing.assert_allclose(together, gradient(whole), atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_the_noise_is_the_planned_one(federation: Make, masked: bool) -> None:
    """With nobody in the sample an answer is noise alone."""
    settings = {"privacy": {"steps": 1, "hidden": 64, "sampling_probability": 1e-9}}
    made = federation(method="ctgan", settings=settings)
    label = label_of(made.plan, 1)
    encoder, arrays = arrays_for(made, label)
    query = read_gradient_query(
        gradient_query(label, encoder, arrays), learned_schema(made.plan.schema_)
    )
    agent = opened(made)
    (run,) = agent._runs.values()
    site = SiteGradients(made.plan, made.tables["aarhus"], audited=False)
    values = site.answer(run.session, query, arrays, parts=2 if masked else 0)
    multiplier = made.plan.privacy[label].noise_multiplier  # pyright: ignore
    if masked:
        mechanism = GaussianShareMechanism(share_sensitivity(1.0, values.size), multiplier, 2)
        values = values / mechanism.scale / GRADIENT_GRID
        multiplier /= 2**0.5
    spread = float(np.std(values)) / sum_sensitivity(1.0)
    assert values.size > 2000
    assert abs(spread / multiplier - 1) < 6 / (2 * values.size) ** 0.5


def test_rounding_is_within_the_declared_sensitivity() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 10, 5000):
        for _ in range(50):
            total = rng.normal(0, 30, size)
            one = rng.normal(size=size)
            one *= sum_sensitivity(1.0) / np.linalg.norm(one)
            far = np.rint((total + one) * GRADIENT_GRID) - np.rint(total * GRADIENT_GRID)
            assert np.linalg.norm(far) <= share_sensitivity(1.0, size)


def test_a_question_is_answered_once_and_given_again(federation: Make) -> None:
    made = federation(method="vaegan", settings=FEW)
    agent = opened(made)
    body, arrays = question(made, 1)
    first = asked(agent, body, arrays)
    assert (asked(agent, body, arrays) == first).all()
    other, more = question(made, 1, arrays={"weights": arrays["weights"] + 1})
    with pytest.raises(FederationError, match="was answered already"):
        asked(agent, other, more)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "critic, DP-SGD"}, "another network than is next"),
        ({"budget": 0.5}, "in the plan"),
        ({"exchange": 3}, "is not the next"),
        ({"query": {"kind": "patients"}}, "can't be read"),
        ({"query": {"kind": "gradient", "label": 3}}, "can't be read"),
    ],
)
def test_questions_that_are_refused(federation: Make, changes: Any, said: str) -> None:
    made = federation(method="vaegan", settings=FEW)
    agent = opened(made)
    body, arrays = question(made, 1, **changes)
    with pytest.raises(FederationError, match=said):
        asked(agent, body, arrays)


@pytest.mark.parametrize(
    "broken",
    [
        {"weights": np.zeros(3, np.float32)},
        {"weights": np.zeros(3, np.float64)},
        {"shares": np.zeros(3)},
        {"shares": np.array([np.nan])},
    ],
)
def test_arrays_that_do_not_fit(federation: Make, broken: dict[str, np.ndarray]) -> None:
    made = federation(method="ctgan", settings=FEW)
    agent = opened(made)
    body, arrays = question(made, 1, arrays=broken)
    with pytest.raises(FederationError, match="does not fit the plan"):
        asked(agent, body, arrays)


def test_other_arrays_than_were_asked_about(federation: Make) -> None:
    made = federation(method="ctgan", settings=FEW)
    agent = opened(made)
    body, arrays = question(made, 1)
    with pytest.raises(FederationError, match="not those that were asked about"):
        asked(agent, body, arrays | {"weights": arrays["weights"] + 1})
    with pytest.raises(FederationError, match="not those that were asked about"):
        asked(agent, body, {})


def test_weights_without_bounds_bring_nothing_but_noise(federation: Make) -> None:
    """A patient whose gradient is not finite adds nothing."""
    made = federation(method="ctgan", settings=FEW)
    agent = opened(made)
    weights = arrays_for(made, label_of(made.plan, 1))[1]["weights"]
    for number, bad in enumerate((np.nan, np.inf, 1e38), start=1):
        body, arrays = question(made, number, arrays={"weights": np.full_like(weights, bad)})
        answer = asked(agent, body, arrays)
        assert np.isfinite(answer).all()
        multiplier = made.plan.privacy[label_of(made.plan, 1)].noise_multiplier  # pyright: ignore
        assert np.linalg.norm(answer) < 100 + 2 * multiplier * answer.size**0.5


def test_no_more_steps_than_planned(federation: Make) -> None:
    made = federation(method="ctgan", settings=FEW)
    agent = opened(made)
    for number in (1, 2, 3):
        body, arrays = question(made, number)
        asked(agent, body, arrays)
    body, arrays = question(made, 4)
    with pytest.raises(FederationError, match="steps are all done"):
        asked(agent, body, arrays)
    (run,) = agent._runs.values()
    assert run.session.remaining(label_of(made.plan, 1)) == 0


def test_a_site_that_was_started_anew_counts_on(federation: Make) -> None:
    """Its journal says what was used: no step is admitted twice."""
    made = federation(method="ctgan", settings=FEW)
    agent, answers = opened(made), []
    for number in (1, 2, 3):
        body, arrays = question(made, number)
        answers.append(asked(agent, body, arrays))
        agent = made.agent("aarhus")
        again = asked(agent, body, arrays)
        assert (again == answers[-1]).all()
    with pytest.raises(FederationError, match="steps are all done"):
        asked(agent, *question(made, 4))
    with pytest.raises(FederationError, match="was answered already"):
        asked(agent, look(made) | {"query": look(made)["query"] | {"bins": 9}})
    assert charges(made, "aarhus") == 1


@pytest.mark.parametrize("noise", ["local", "secagg"])
def test_a_coordinator_that_was_stopped_goes_on(
    federation: Make, noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = federation(method="vaegan", noise=noise, settings=FEW)
    real, written = exchanges_module.write_whole, []

    def stopping(path: Path, content: bytes) -> None:
        if "begun" not in path.name:
            written.append(path)
            if len(written) == 4:
                raise KeyboardInterrupt
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(exchanges_module, "write_whole", stopping)
        with pytest.raises(KeyboardInterrupt):
            made.coordinator().fit()
    fit = made.coordinator().fit()
    assert [charges(made, name) for name in NAMES] == [1, 1, 1]
    for name in NAMES:
        kept = made.home(name).folder / "runs" / fit.run / "answers"
        assert len(list(kept.glob("*.npz"))) == len(fit.seen) == 7


def test_plans_that_steps_can_t_follow(federation: Make) -> None:
    with pytest.raises(UsageError, match="leave the quorum out"):
        federation(method="ctgan", quorum=2)
    with pytest.raises(UsageError, match="use aim or mst"):
        federation(method="ctgan", sites_a_patient=2)
