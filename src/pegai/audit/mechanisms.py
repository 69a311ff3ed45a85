"""Checks of the parts of every private path: noise, failure, sampling, sessions, clipping.

Each is a claim that a careless change breaks silently: noise that is fresh, on a grid and never
skipped; a sample of patients at the rate that was charged; a budget that can't be spent twice; a
patient's gradient that weighs no more than its norm.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np

from pegai.audit.findings import Finding
from pegai.errors import PegaiError
from pegai.privacy.events import GaussianEvent, GaussianFilterEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.mechanisms import GaussianMechanism, LaplaceMechanism
from pegai.privacy.recorder import Recorder
from pegai.privacy.session import Session

CHECK = "mechanisms"
SAMPLES = 200_000
FALSE_ALARM = 1e-6
MECHANISMS = {"Gaussian": GaussianMechanism(1.0, 3.0), "Laplace": LaplaceMechanism(1.0, 3.0)}


def check_parts() -> Iterator[Finding]:
    """All checks."""
    checks = (
        fresh_noise,
        noise_on_a_grid,
        failing_closed,
        sampling_rate,
        spending,
        clipping,
        divisor,
    )
    for check in checks:
        yield from check()


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
    """One patient more moves what DP-SGD releases by no more than was declared.

    For every allocation, flat and by layer, small and huge gradients, and patients of many rows.
    """
    torch = import_module("torch")
    dpsgd = import_module("pegai.privacy.dpsgd")
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = torch.randn(20, 6)

    def released(clip: object, rows: object, who: np.ndarray) -> tuple[np.ndarray, float]:
        watcher = _Watcher()
        event = SubsampledGaussianEvent("steps", 2.0, 0.5, 1)
        with _session(event, watcher) as session:
            engine = dpsgd.PrivateGradient(
                model,
                lambda out: nn.functional.softplus(-out).squeeze(1),
                session=session,
                label="steps",
                divisor=10.0,
                clipping=clip,
            )
            session.poisson_sample("steps", 20)
            engine.step(dpsgd.Batch(rows, None, who))
        return watcher.values, watcher.sensitivity

    for allocation in ("flat", "proportional", "min_variance", "equal_snr"):
        clip = dpsgd.Clipping(0.5, allocation)
        for size, rows, n in product((0.01, 1.0, 1e4), (1, 7), (0, 1, 20)):
            more = size * torch.randn(rows, 6)
            who = np.arange(n)
            first, limit = released(clip, inputs[:n], who)
            second, _ = released(
                clip, torch.cat([inputs[:n], more]), np.append(who, np.full(rows, n))
            )
            far = float(np.linalg.norm(second - first))
            if not far <= limit:
                text = f"a patient moves the sum by {far:.4g}, declared was {limit:.4g}"
                yield Finding(CHECK, f"DP-SGD, {allocation}", text)
                break


def divisor() -> Iterator[Finding]:
    """What DP-SGD divides its sum by is public: noise alone has the same spread in any batch."""
    torch = import_module("torch")
    dpsgd = import_module("pegai.privacy.dpsgd")
    nn = torch.nn
    model = nn.Sequential(nn.Linear(400, 1, bias=False))
    spreads = []
    for rows in (0, 1, 64):
        with _session(SubsampledGaussianEvent("steps", 2.0, 0.5, 1)) as session:
            engine = dpsgd.PrivateGradient(
                model, lambda out: 0.0 * out.squeeze(1), session=session, label="steps", divisor=8.0
            )
            session.poisson_sample("steps", rows)
            noise = engine.step(dpsgd.Batch(torch.ones(rows, 400)))[0]
        spreads.append(float(noise.std()))
    # Of 400 draws the spread is within 36 % of the truth but with a chance of 1e-6 or less.
    if not max(spreads) < 2 * min(spreads):
        yield Finding(CHECK, "DP-SGD", "the noise of a step depends on how many are in its batch")


class _Watcher:
    """Keeps what a mechanism was given, and lets it run."""

    values = np.zeros(0)
    sensitivity = 0.0

    def record(self, label: str, kind: str, values: np.ndarray, sensitivity: float) -> None:
        if kind == "gaussian":
            self.values, self.sensitivity = values, sensitivity


class _session:  # noqa: N801 - used as a function
    """A session over a ledger that is thrown away."""

    def __init__(self, event: object, recorder: Recorder | None = None) -> None:
        self.event = event
        self.recorder = recorder

    def __enter__(self) -> Session:
        self.folder = tempfile.TemporaryDirectory()
        plan = Plan.make((self.event,), delta=1e-3)  # pyright: ignore[reportArgumentType]
        privacy = Privacy(20.0, 1e-3, ledger=Path(self.folder.name) / "ledger.jsonl")
        return Session.open(
            plan,
            privacy,
            dataset="audit",
            fingerprint_chunks=[b""],
            label="audit of the parts",
            recorder=self.recorder,
        )

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()
