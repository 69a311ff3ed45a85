"""Killed at random moments: the ledgers are sound, nothing is charged twice, the run ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as s

from pegai.federate.wire import Message
from pegai.privacy import Ledger
from pegai.synth.catalog import load

from .sites import NAMES, Make

ROOT = Path(__file__).parents[2]
SECONDS = 0.6
"""About how long a run takes once it is ready."""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.federate.crash", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def killed_and_finished(
    federation: Make, folder: Path, noise: str, kills: int, rng: np.random.Generator
) -> int:
    """How often the run was killed before it was done; it is finished then."""
    made = federation(noise=noise)
    (folder / "plan.json").write_bytes(made.plan.to_bytes())
    for name, key in made.keys.items():
        pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
    stopped = 0
    for _ in range(kills):
        process = start(folder)
        time.sleep(rng.uniform(0, SECONDS / 2))
        process.kill()
        stopped += "done" not in process.communicate()[0]
        if (folder / "model").exists():
            break
        for name in NAMES:
            ledger = Ledger(folder / name / "ledger")
            assert ledger.verify() == []
            answers = list((folder / name).rglob("answers/*.npz"))
            charged = [e for e in ledger.entries() if e.kind == "charge"]
            assert len(charged) <= 1
            assert charged or not answers  # nothing has left that was not charged
            budgets = [float(Message.from_bytes(p.read_bytes()).body["budget"]) for p in answers]
            assert sum(budgets) <= made.plan.site_budget * (1 + 1e-9)
    if not (folder / "model").exists():
        assert start(folder).communicate(timeout=120)[0] == "done\n"
    model = load(folder / "model")
    assert model.guarantee is not None
    assert json.loads((folder / "plan.json").read_text())["study"] == "heart"
    for name in NAMES:
        entries = Ledger(folder / name / "ledger").entries()
        assert [e.kind for e in entries].count("charge") == 1
        exchanges = [
            p for p in (folder / "coordinator" / "exchanges").glob("*.npz") if "begun" not in p.name
        ]
        assert len(list((folder / name).rglob("answers/*.npz"))) == len(exchanges)

    return stopped


@pytest.mark.parametrize("noise", ["local", "secagg"])
def test_killed_at_random_moments(federation: Make, tmp_path: Path, noise: str) -> None:
    rng = np.random.default_rng(1)
    assert killed_and_finished(federation, tmp_path, noise, 3, rng) > 0


@pytest.mark.slow
def test_killed_at_twenty_random_moments(federation: Make, tmp_path: Path) -> None:
    """As many runs as it takes, by turns with local noise and with secure sums."""
    rng, stopped, run = np.random.default_rng(2), 0, 0
    while stopped < 20:
        folder = tmp_path / str(run)
        folder.mkdir()
        stopped += killed_and_finished(federation, folder, ("local", "secagg")[run % 2], 5, rng)
        run += 1
        assert run < 30
