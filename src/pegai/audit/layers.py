"""GDP audits of every mechanism by itself, and of the measurement layers of whole methods."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pegai.audit.gdp import Audited, Claim, judge
from pegai.audit.neighbours import base_table, with_patient
from pegai.audit.replay import SAMPLED, Call, Tape
from pegai.audit.rerun import Use, layer_scores
from pegai.errors import UsageError
from pegai.privacy.bounded_range import bounded_range_mu
from pegai.privacy.events import Event, GaussianFilterEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.mechanisms import (
    BoundedRangeMechanism,
    ExponentialMechanism,
    GaussianMechanism,
    LaplaceMechanism,
)
from pegai.privacy.randomized_response import RandomizedResponseMechanism
from pegai.schema import Schema
from pegai.synth.base import Synthesizer, learned_schema

PARTS_MU = 1.0
"""Mechanisms by themselves are audited where an audit sees best, whatever a method asks for."""


def audit_layer(method: Synthesizer, schema: Schema, privacy: Privacy, *, runs: int) -> Audited:
    """Audit the measurement layer of a whole method on a worst-case pair.

    The patient who is added has one row, and so changes every table by all of its sensitivity; in
    steps of DP-SGD their gradient is taken to be clipped. The claim is that of the whole plan.

    Args:
        method: Ready to fit.
        schema: With a public domain.
        privacy: The budget; its ledger is not used.
        runs: In each of the two worlds.
    """
    base = base_table(schema)
    tape = Tape()
    _fit(method, base, privacy, tape)
    other = Tape(source=tape)
    table = with_patient(base, base, 1, {})
    _fit(method, table, privacy, other)
    plan = method.plan(learned_schema(schema), privacy)
    uses = _uses(plan, tape.calls, other.calls)
    return audit_uses(method.name, uses, plan.events, runs=runs)


def audit_uses(where: str, uses: list[Use], events: Sequence[Event], *, runs: int) -> Audited:
    """Run uses of mechanisms again and hold them against what was charged.

    Args:
        where: For the finding.
        uses: In both worlds.
        events: Charged for them together.
        runs: In each world.
    """
    return judge(where, Claim.of(events), *layer_scores(uses, runs))


def _fit(method: Synthesizer, table: Any, privacy: Privacy, tape: Tape) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.jsonl"
        method.fit(table, privacy=replace(privacy, ledger=ledger), recorder=tape)


def _uses(plan: Plan, first: list[Call], second: list[Call]) -> list[Use]:
    if len(first) != len(second):
        raise UsageError(
            "the method takes another way with one patient more, so there is nothing to compare",
            hint="see what record and replay finds",
        )
    pairs = [pair for pair in zip(first, second, strict=True) if pair[0].kind != SAMPLED]
    return [Use(a, b, _probability(plan[a.label])) for a, b in pairs]


def _probability(event: Event) -> float:
    return event.sampling_probability if isinstance(event, SubsampledGaussianEvent) else 1.0


@dataclass(frozen=True, eq=False)
class Part:
    """A mechanism on two inputs as far apart as it was declared.

    Attributes:
        name: For people.
        kind: The method of `Session`.
        mechanism: Releases.
        inputs: Without and with the patient.
        event: What is charged for one use.
        uses: How many.
    """

    name: str
    kind: str
    mechanism: Any
    inputs: tuple[np.ndarray, np.ndarray]
    event: Event
    uses: int = 1

    def audit(self, runs: int) -> Audited:
        """Hold it against what is charged."""
        calls = [Call(self.name, self.kind, v, 1.0, v, self.mechanism) for v in self.inputs]
        use = Use(calls[0], calls[1], _probability(self.event))
        return audit_uses(self.name, [use] * self.uses, [self.event], runs=runs)


def audit_parts(*, runs: int, told: Callable[[str], None] = lambda what: None) -> Iterator[Audited]:
    """Every mechanism by itself.

    Args:
        runs: In each of the two worlds.
        told: Told what is being audited.
    """
    for part in parts(PARTS_MU):
        told(part.name)
        yield part.audit(runs)


def parts(mu: float) -> list[Part]:
    """Every mechanism on its worst pair.

    Args:
        mu: Of the Gaussians; others get a similar price.
    """
    found = [_gaussian(*case) for case in _gaussian_cases(mu)]
    found += [_laplace(*case) for case in _laplace_cases(mu)]
    scores = (np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    steep = BoundedRangeMechanism(1.0, 1.6 * mu)
    flip = ExponentialMechanism(1.0, 1.6 * mu)
    answer = RandomizedResponseMechanism(mu, 3)
    cost = GaussianFilterEvent("choice", 1 / bounded_range_mu(steep.epsilon))
    codes = (np.array([0]), np.array([2]))
    found += [
        Part("exponential choice", "choose", steep, scores, cost),
        Part("permute and flip", "choose", flip, scores, flip.event("flip")),
        Part("randomized response", "randomized_response", answer, codes, answer.event("answer")),
        _sampled("Gaussian of a sample", 1 / mu, 0.5, 1),
        _sampled("20 Gaussians of samples", 1.5 / mu, 0.15, 20),
    ]
    return found


def _gaussian_cases(mu: float) -> list[tuple[str, float, float, np.ndarray]]:
    whole, half = np.array([5]), np.array([0.5])
    return [
        ("Gaussian, whole numbers", 1.0, 1 / mu, whole),
        ("Gaussian, wide", 65536.0, 1 / mu, whole),
        ("Gaussian, little noise", 1.0, 0.5 / mu, whole),
        ("Gaussian, fractions", 0.25, 1 / mu, half),
    ]


def _laplace_cases(mu: float) -> list[tuple[str, float, float, np.ndarray]]:
    return [
        ("Laplace, whole numbers", 1.0, 1 / mu, np.array([5])),
        ("Laplace, fractions", 0.25, 1 / mu, np.array([0.5])),
    ]


def _gaussian(name: str, sensitivity: float, multiplier: float, values: np.ndarray) -> Part:
    mechanism = GaussianMechanism(sensitivity, multiplier)
    moved = (values + sensitivity).astype(values.dtype)
    return Part(name, "gaussian", mechanism, (values, moved), mechanism.event(name))


def _laplace(name: str, sensitivity: float, multiplier: float, values: np.ndarray) -> Part:
    mechanism = LaplaceMechanism(sensitivity, multiplier)
    moved = (values + sensitivity).astype(values.dtype)
    return Part(name, "laplace", mechanism, (values, moved), mechanism.event(name))


def _sampled(name: str, multiplier: float, q: float, steps: int) -> Part:
    mechanism = GaussianMechanism(1.0, multiplier)
    event = SubsampledGaussianEvent(name, multiplier, q, steps)
    inputs = (np.zeros(1), np.ones(1))
    return Part(name, "gaussian", mechanism, inputs, event, uses=steps)
