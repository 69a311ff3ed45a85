"""The demonstration, small; the whole of it is marked slow."""

from __future__ import annotations

import json

import pytest

from pegai.privacy.ledger import Ledger
from pegai.workflow.demo import DELTA, EPSILONS, ROWS, DemoSize, demo_config, run_demo
from pegai.workflow.workplace import FILES

SMALL = DemoSize(
    replicates=1,
    aim={"steps": 20, "components": 4},
    ctgan={"max_steps": 20, "privacy": {"steps": 5, "hidden": 8}},
    jobs=1,
    tier="quick",
)


def test_a_small_demonstration(tmp_path):
    out = tmp_path / "demo"
    done = run_demo(out, size=SMALL, commands=("pegai demo",))
    assert {*FILES, "model", "input", "ledger.jsonl"} <= {p.name for p in out.iterdir()}
    assert not list(out.glob(".*"))
    epsilons = [c.epsilon for c in done.content.candidates]
    assert epsilons[:3] == pytest.approx(EPSILONS, rel=0.02)
    assert done.content.subject.guarantee.delta == DELTA
    assert len((out / "synthetic.csv").read_text().splitlines()) == ROWS + 1
    ledger = Ledger(done.files["ledger"])
    assert ledger.spent("uci-heart-disease")[0] <= 2 * sum(EPSILONS)
    twin = json.loads((out / "report.json").read_text())
    assert twin["subject"] == "aim, epsilon 1"
    # A second demonstration into the same folder adds up in its ledger, and is allowed to.
    config = demo_config(out, seed=0, size=SMALL)
    assert config.output.ledger == out / "ledger.jsonl"


@pytest.mark.slow
def test_the_whole_demonstration(tmp_path):
    done = run_demo(tmp_path / "demo")
    assert {*FILES, "model", "ledger.jsonl"} <= {p.name for p in done.folder.iterdir()}
    assert all(path.exists() for path in done.files.values())
    assert len(done.content.candidates) == 8
    best = done.content.candidates[2].evaluation["tstr_auc"]
    assert best.value > 0.8
    assert best.n == 5
