"""What `pegai privacy plan` says of the noise is what a fit then draws."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import pegai
from pegai.audit.suite import QUICK
from pegai.synth.catalog import make
from pegai.synth.grids import gaussian_multiplier, look_deviation

LATENT = ("gan", "ctgan", "tvae", "vaegan", "pategan")


@pytest.mark.parametrize(
    ("name", "place"),
    [("independent", "independent"), ("arm", "arm"), *((name, "latent") for name in LATENT)],
)
def test_the_noise_that_is_planned_is_the_noise_of_the_look(name, place, tmp_path, monkeypatch):
    module = import_module(f"pegai.synth.{place}")
    looks = []

    def spy(*args, **kwargs):
        looks.append(real(*args, **kwargs))
        return looks[-1]

    real = module.noisy_look
    monkeypatch.setattr(module, "noisy_look", spy)
    table = pegai.datasets.load_heart_disease("cleveland")
    privacy = pegai.Privacy(2.0, 1e-3, ledger=tmp_path / "ledger.jsonl")
    method = make(name, QUICK.get(name))
    plan = method.plan(table.schema, privacy)
    method.fit(table, privacy=privacy)
    (label,) = method.expected_noise(table.schema, plan)
    assert label in {event.label for event in plan.events}
    assert method.expected_noise(table.schema, plan)[label] == pytest.approx(looks[0].deviation)


@pytest.mark.parametrize("name", ["mst", "aim"])
def test_the_noise_of_marginals_is_about_what_is_drawn(name, tmp_path):
    """The first release is the number of patients; tables of pairs come within a factor of two."""
    released = []

    class Watcher:
        def record_mechanism(self, label, mechanism):
            released.append(mechanism)

        def record(self, label, kind, values, sensitivity):
            return None

    table = pegai.datasets.load_heart_disease("cleveland")
    privacy = pegai.Privacy(2.0, 1e-3, ledger=tmp_path / "ledger.jsonl")
    method = make(name, {"steps": 2} if name == "aim" else {})
    plan = method.plan(table.schema, privacy)
    method.fit(table, privacy=privacy, recorder=Watcher())
    patients, pair = method.expected_noise(table.schema, plan).values()
    count, last = released[0], released[-1]
    assert patients == pytest.approx(count.l2_sensitivity * count.noise_multiplier)
    tables = 13 if name == "mst" else 13 * 14 / 2
    drawn = last.noise_multiplier * tables**0.5
    assert drawn / 2 < pair < drawn * 2


def test_the_noise_that_is_drawn_has_the_stated_width(tmp_path):
    """Over the cells of an empty table's look; six standard errors: false alarms below 1e-8."""
    from pegai.privacy import GaussianEvent, Plan, Privacy, Session
    from pegai.synth.grids import noisy_look

    schema = pegai.datasets.heart_disease_schema()
    plan = Plan.make([GaussianEvent("look", 3.0)], 1e-3)
    privacy = Privacy(plan.epsilon, 1e-3, ledger=tmp_path / "ledger.jsonl")
    session = Session.open(plan, privacy, dataset="d", fingerprint_chunks=[b""], label="t")
    table = pegai.datasets.load_heart_disease("cleveland").head(0)
    look = noisy_look(session, "look", table, bins=400, split_by=None)
    due = look_deviation(schema, gaussian_multiplier(plan, "look"))
    drawn = np.concatenate([t.ravel() for t in look.tables])
    margin = 6 * (2 / drawn.size) ** 0.5
    assert abs((drawn.std() / due) ** 2 - 1) < margin < 0.3
    for wrong in (2 / 3, 3 / 2):
        assert abs((drawn.std() / due / wrong) ** 2 - 1) > margin
