"""Canaries for DP-SGD: patients made to be recognised, against the engine that methods train with.

- **Gradient canary** (Nasr et al. 2023, arXiv:2302.07956, section 4): a patient whose clipped
  gradient has the full norm in a direction of its own. Every step is one release of a sub-sampled
  Gaussian, judged by its exact likelihood ratio, so a few thousand steps are as many runs.
- **One run** (Steinke, Nasr and Jagielski 2023, arXiv:2305.08846): many canaries, each in the data
  by a coin of its own, and guesses of the clearest after a single training. It needs no second
  world and sees a whole training with all its steps, but is loose.

Both use a linear model without a bias, in which a patient's gradient is their row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pegai.audit.findings import Finding
from pegai.audit.gdp import FALSE_ALARM, INTERVAL, Array, Audited, Claim, judge
from pegai.evaluate.privacy.one_run import one_run_epsilon, right_guesses
from pegai.privacy.calibrate import calibrate
from pegai.privacy.events import Event, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from pegai.privacy.dpsgd import PrivateGradient

CHECK = "canaries"
STEPS = "canary steps"
OTHERS = 15
BIG = 1e3
"""Every canary's gradient is far above the clipping norm."""

STEPS_A_SESSION = 8


@dataclass(frozen=True)
class CanarySettings:
    """Training of the gradient canary.

    Attributes:
        noise_multiplier: Of a step.
        sampling_probability: Of a patient in a step.
        clipping_norm: L2 bound of a patient.
        divisor: Public expected batch.
    """

    noise_multiplier: float = 1.0
    sampling_probability: float = 0.5
    clipping_norm: float = 0.7
    divisor: float = 8.0


def gradient_canary(*, runs: int, settings: CanarySettings | None = None) -> Audited:
    """Steps of DP-SGD with and without a patient of the largest gradient.

    Args:
        runs: Steps in each of the two worlds.
        settings: Of the training.
    """
    settings = settings or CanarySettings()
    z, q = settings.noise_multiplier, settings.sampling_probability
    one = SubsampledGaussianEvent(STEPS, z, q, 1)
    y = [_canary_steps(settings, runs, with_one=bool(world)) for world in (0, 1)]
    ratios = [np.log1p(q * np.expm1((x - 0.5) / z**2)) for x in y]
    return judge("gradient canary", Claim.of([one]), *ratios)


def _canary_steps(settings: CanarySettings, runs: int, *, with_one: bool) -> Array:
    """The noisy sum along the canary's direction, in clipping norms, of each step."""
    torch = import_module("torch")
    rows = torch.randn(OTHERS, 8)
    rows[:, 0] = 0.0
    if with_one:
        canary = torch.zeros(1, 8)
        canary[0, 0] = BIG
        rows = torch.cat([rows, canary])
    planned = STEPS_A_SESSION
    event = SubsampledGaussianEvent(
        STEPS, settings.noise_multiplier, settings.sampling_probability, planned
    )
    scale = settings.divisor / settings.clipping_norm
    found: list[float] = []
    for session in _sessions(event, -(-runs // planned)):
        engine = _engine(session, rows.shape[1], settings.clipping_norm, settings.divisor)
        found += [scale * float(g[0]) for g in _steps(engine, session, rows, planned)]
    return np.array(found[:runs])


def _engine(session: Session, width: int, norm: float, divisor: float) -> PrivateGradient:
    torch = import_module("torch")
    dpsgd = import_module("pegai.privacy.dpsgd")
    return dpsgd.PrivateGradient(
        torch.nn.Sequential(torch.nn.Linear(width, 1, bias=False)),
        lambda out: out.squeeze(1),
        session=session,
        label=STEPS,
        divisor=divisor,
        clipping=dpsgd.Clipping(norm),
    )


def _steps(engine: PrivateGradient, session: Session, rows: Tensor, count: int) -> Iterator[Array]:
    """The noisy mean gradient of each step, shape (width,)."""
    dpsgd = import_module("pegai.privacy.dpsgd")
    torch = import_module("torch")
    for _ in range(count):
        chosen = session.poisson_sample(STEPS, len(rows))
        batch = dpsgd.Batch(rows[torch.from_numpy(np.flatnonzero(chosen))])
        yield engine.step(batch)[0].double().numpy().ravel()


def _sessions(event: Event, count: int) -> Iterator[Session]:
    """Sessions of one plan; all but the first reuse its charge, as only an audit may."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan.make([event], delta=1e-3)
        privacy = Privacy(20.0, 1e-3, ledger=Path(folder) / "ledger.jsonl")
        first = Session.open(
            plan, privacy, dataset="audit", fingerprint_chunks=[b""], label="canaries"
        )
        yield first
        for _ in range(count - 1):
            yield Session(plan, privacy, first.charge)


@dataclass(frozen=True)
class OneRun:
    """What one training with many canaries gave.

    Attributes:
        epsilon: Claimed.
        delta: Claimed.
        canaries: Each in the data with chance 1/2.
        guesses: The clearest, half "in" and half "out".
        correct: Guesses.
        epsilon_low: 95 % lower bound on epsilon.
        alarm: Lower bound that is wrong with a chance of `FALSE_ALARM` only.
    """

    epsilon: float
    delta: float
    canaries: int
    guesses: int
    correct: int
    epsilon_low: float
    alarm: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A breach, if there is one."""
        if self.alarm <= self.epsilon:
            return ()
        text = (
            f"{self.correct} of {self.guesses} guesses are right: epsilon is at least "
            f"{self.alarm:.3f}, {self.epsilon:.3f} was claimed"
        )
        return (Finding(CHECK, "one run", text),)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


def one_run(
    *,
    epsilon: float = 8.0,
    delta: float = 1e-5,
    canaries: int = 1000,
    guesses: int = 100,
    steps: int = 20,
) -> OneRun:
    """Train once and guess which canaries were in the data.

    Args:
        epsilon: What the training is planned for; where it is small nothing can be guessed.
        delta: As planned.
        canaries: How many.
        guesses: How many of them are guessed; even, fixed in advance.
        steps: Of the training.
    """
    torch = import_module("torch")
    q, norm = 0.5, 1.0

    def events(noise_multiplier: float) -> tuple[Event, ...]:
        return (SubsampledGaussianEvent(STEPS, noise_multiplier, q, steps),)

    planned = events(calibrate(events, epsilon=epsilon, delta=delta))[0]
    there = np.random.default_rng().random(canaries) < 0.5
    rows = BIG * torch.eye(canaries)[torch.from_numpy(np.flatnonzero(there))]
    (session,) = _sessions(planned, 1)
    engine = _engine(session, canaries, norm, divisor=q * canaries / 2)
    scores = np.sum(list(_steps(engine, session, rows, steps)), axis=0)
    half = guesses // 2
    correct = right_guesses(np.asarray(scores), there, 2 * half)
    low, alarm = (
        one_run_epsilon(correct, 2 * half, canaries=canaries, delta=delta, level=level)
        for level in (1 - INTERVAL, FALSE_ALARM)
    )
    return OneRun(epsilon, delta, canaries, 2 * half, correct, low, alarm)
