"""A fit that was stopped goes on as if it had not been; a private one has nothing to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pegai.data.datasets import load_heart_disease
from pegai.errors import ModelError, PrivacyError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.synth.base import Fitted
from pegai.synth.catalog import make
from pegai.synth.networks.checkpoint import FILE
from pegai.synth.running import Run

METHODS = ("gan", "ctgan", "tvae", "vaegan", "arm")
SMALL = {"max_steps": 200, "hidden": 16}


class Stopped(KeyboardInterrupt):
    """What Ctrl-C raises."""


def fit(method: str, run: Run, *, rng: int | None = 3, **settings: Any) -> Fitted:
    table = load_heart_disease("cleveland")
    return make(method, {**SMALL, **settings}).fit(table, rng=rng, run=run)


def stopped(method: str, folder: Path, *, at: int, rng: int | None = 3) -> None:
    def log(figures: Mapping[str, float | int | str]) -> None:
        if figures["step"] == at:
            raise Stopped

    with pytest.raises(Stopped):
        fit(method, Run(log=log, checkpoint=folder, checkpoint_seconds=0.0), rng=rng)


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_fit_goes_on_to_the_same_bytes(method: str, tmp_path: Path) -> None:
    whole = fit(method, Run())
    stopped(method, tmp_path / "c", at=100)
    assert (tmp_path / "c" / FILE).exists()
    steps: list[float] = []
    run = Run(log=lambda figures: steps.append(float(figures["step"])), checkpoint=tmp_path / "c")
    again = fit(method, run)
    assert steps[0] == 100 or steps[0] == 150  # of what was not written any more, or after it
    assert not (tmp_path / "c").exists()
    for name, array in whole.to_file().weights.items():
        assert (again.to_file().weights[name] == array).all(), name
    assert whole.to_file().state == again.to_file().state


def test_without_a_seed_the_stopped_fit_is_the_one_that_goes_on(tmp_path: Path) -> None:
    stopped("ctgan", tmp_path, at=60, rng=None)
    assert fit("ctgan", Run(checkpoint=tmp_path), rng=None)
    assert not (tmp_path / FILE).exists()


def test_the_checkpoint_of_another_fit_is_refused_and_kept(tmp_path: Path) -> None:
    stopped("ctgan", tmp_path, at=60)
    with pytest.raises(UsageError, match="another seed"):
        fit("ctgan", Run(checkpoint=tmp_path), rng=4)
    with pytest.raises(UsageError, match="settings differ"):
        fit("ctgan", Run(checkpoint=tmp_path), latent=4)
    with pytest.raises(UsageError, match="method and settings differ"):
        fit("gan", Run(checkpoint=tmp_path))
    other = load_heart_disease("va")
    with pytest.raises(UsageError, match="rows differ"):
        make("ctgan", SMALL).fit(other, rng=3, run=Run(checkpoint=tmp_path))
    assert (tmp_path / FILE).exists()


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    stopped("ctgan", tmp_path, at=60)
    whole = (tmp_path / FILE).read_bytes()
    for broken in (b"", whole[:100], b"\0" * 64):
        (tmp_path / FILE).write_bytes(broken)
        with pytest.raises(ModelError, match="damaged"):
            fit("ctgan", Run(checkpoint=tmp_path))


@pytest.mark.parametrize("method", [*METHODS, "independent", "aim"])
def test_a_private_fit_keeps_no_checkpoint_and_is_not_charged(method: str, tmp_path: Path) -> None:
    privacy = Privacy(1.0, 1e-4, ledger=tmp_path / "ledger.jsonl")
    table = load_heart_disease("cleveland")
    with pytest.raises(PrivacyError, match="keeps no checkpoint"):
        make(method).fit(table, privacy=privacy, run=Run(checkpoint=tmp_path / "c"))
    assert not (tmp_path / "ledger.jsonl").exists()


def test_a_private_fit_logs_no_losses(tmp_path: Path) -> None:
    privacy = Privacy(1.0, 1e-4, ledger=tmp_path / "ledger.jsonl")
    told: list[object] = []
    settings = {"hidden": 16, "privacy": {"steps": 12, "hidden": 16}}
    table = load_heart_disease("cleveland")
    make("vaegan", settings).fit(table, privacy=privacy, run=Run(log=told.append))
    assert told == []


def test_losses_come_as_they_are(tmp_path: Path) -> None:
    told: list[Mapping[str, float | int | str]] = []
    fit("vaegan", Run(log=told.append))
    assert {"step", "critic", "generator", "reconstruction", "divergence", "held_back"} <= set(
        told[0]
    )
    assert [line["step"] for line in told] == sorted({line["step"] for line in told})


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        fit("ctgan", Run(device="cuda"))
    with pytest.raises(UsageError, match="none of auto"):
        Run(device="tpu")  # pyright: ignore[reportArgumentType]
