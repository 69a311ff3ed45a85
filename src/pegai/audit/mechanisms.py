"""Checks of the parts of every private path: noise, failure, sampling, sessions, clipping.

Each is a claim that a careless change breaks silently: noise that is fresh, on a grid and never
skipped; a sample of patients at the rate that was charged; a budget that can't be spent twice; a
patient's gradient that weighs no more than its norm.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from pegai.audit.findings import Finding
from pegai.errors import PegaiError
from pegai.privacy.events import GaussianEvent, GaussianFilterEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.mechanisms import GaussianMechanism, LaplaceMechanism
from pegai.privacy.session import Session

CHECK = "mechanisms"
SAMPLES = 200_000
FALSE_ALARM = 1e-6
MECHANISMS = {"Gaussian": GaussianMechanism(1.0, 3.0), "Laplace": LaplaceMechanism(1.0, 3.0)}


def check_parts() -> Iterator[Finding]:
    """All checks."""
    for check in (fresh_noise, noise_on_a_grid, failing_closed, sampling_rate, spending):
        yield from check()
    yield from clipping()


def fresh_noise() -> Iterator[Finding]:
    """Two releases of the same values differ, whatever `numpy` was seeded with."""
    values = np.zeros(64)
    for name, mechanism in MECHANISMS.items():
        released = []
        for _ in range(2):
            np.random.seed(0)  # noqa: NPY002 - a release must not hang on it
            released.append(mechanism.release(values))
        if np.array_equal(*released):
            yield Finding(CHECK, name, "two releases have the same noise: it comes from a seed")


def noise_on_a_grid() -> Iterator[Finding]:
    """Released floats lie on a grid of a power of two: none tells where a value was.

    All noise in a release of different values is a multiple of one step that is at least 2^-30 of
    the sensitivity; noise that is drawn as floats is not.
    """
    values = np.array([0.1, 1 / 3, 2.5e-7, 123.456] * 64)
    for name, mechanism in MECHANISMS.items():
        steps = mechanism.release(values) * 2.0**30
        if not np.array_equal(steps, np.rint(steps)):
            yield Finding(
                CHECK, name, "released numbers are not on a grid: noise is floating-point"
            )


def failing_closed() -> Iterator[Finding]:
    """Values that can't be released raise; they never come out as they are."""
    for name, mechanism in MECHANISMS.items():
        for bad in (float("nan"), float("inf")):
            try:
                mechanism.release(np.array([1.0, bad]))
            except PegaiError:
                continue
            yield Finding(
                CHECK, name, f"a value of {bad} did not fail: noise may have been skipped"
            )


def sampling_rate() -> Iterator[Finding]:
    """Patients are sampled one by one at the probability that was charged."""
    binom = import_module("scipy.stats").binom
    for q in (0.01, 0.15, 0.5):
        event = SubsampledGaussianEvent("steps", 2.0, q, 1)
        with _session(event) as session:
            found = int(session.poisson_sample("steps", SAMPLES).sum())
        low, high = binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], SAMPLES, q)
        if not low <= found <= high:
            text = f"{found / SAMPLES:.4f} of the patients were sampled, {q} was charged"
            yield Finding(CHECK, "Poisson sample", text)


def spending() -> Iterator[Finding]:
    """A planned use works once, a filter not beyond its end, a step not without a sample."""
    values = np.zeros(3)

    def twice(session: Session) -> None:
        for _ in range(2):
            session.gaussian("event", values, l2_sensitivity=1.0)

    def beyond(session: Session) -> None:
        for _ in range(2):
            session.gaussian("event", values, l2_sensitivity=1.0, noise_multiplier=2.5)

    def unsampled(session: Session) -> None:
        session.gaussian("event", values, l2_sensitivity=1.0)

    cases: tuple[tuple[str, object, Callable[[Session], None]], ...] = (
        ("planned event", GaussianEvent("event", 2.0), twice),
        ("filter", GaussianFilterEvent("event", 2.0), beyond),
        ("sub-sampled step", SubsampledGaussianEvent("event", 2.0, 0.1, 1), unsampled),
    )
    for name, event, spend in cases:
        with _session(event) as session:
            try:
                spend(session)
            except PegaiError:
                continue
        yield Finding(CHECK, name, "more was released than was charged")


def clipping() -> Iterator[Finding]:
    """One patient more moves the clipped sum of DP-SGD by no more than the norm."""
    torch = import_module("torch")
    dpsgd = import_module("pegai.privacy.dpsgd")
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = torch.randn(20, 6)
    limit = 0.5

    def clipped(rows: object) -> np.ndarray:
        total = dpsgd.clipped_gradient_sum(
            model, rows, lambda out: nn.functional.softplus(-out).squeeze(1), clipping_norm=limit
        )
        return np.concatenate([g.numpy().ravel() for g in total.gradients])

    for size in (0.01, 1.0, 1e4):
        for n in (0, 1, 20):
            row = size * torch.randn(1, 6)
            change = clipped(torch.cat([inputs[:n], row])) - clipped(inputs[:n])
            far = float(np.linalg.norm(change))
            if not far <= limit * (1 + dpsgd.FLOAT_SLACK):
                text = f"a patient moves the sum by {far:.4g}, the clipping norm is {limit}"
                yield Finding(CHECK, "DP-SGD", text)
                return


class _session:  # noqa: N801 - used as a function
    """A session over a ledger that is thrown away."""

    def __init__(self, event: object) -> None:
        self.event = event

    def __enter__(self) -> Session:
        self.folder = tempfile.TemporaryDirectory()
        plan = Plan.make((self.event,), delta=1e-3)  # pyright: ignore[reportArgumentType]
        privacy = Privacy(20.0, 1e-3, ledger=Path(self.folder.name) / "ledger.jsonl")
        return Session.open(
            plan, privacy, dataset="audit", fingerprint_chunks=[b""], label="audit of the parts"
        )

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()
