"""How far two worlds can be told apart by what is released: a lower bound on mu, with an interval.

An audit runs a mechanism many times on a table and on its neighbour and judges each release by one
number against a threshold that was fixed in advance. The two rates of error are bounded by Clopper
and Pearson's exact intervals, and mu-GDP implies

    mu >= z(1 - false positive rate) - z(false negative rate),

so upper bounds on both rates give a lower bound on mu (Nasr et al. 2023, "Tight auditing of
differentially private machine learning", arXiv:2302.07956). A bound above what is claimed is a
breach; one far below says only that the audit was weak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.audit.findings import Finding
from pegai.privacy.accountant import compute_epsilon, delta_curve, exact_mu_squared
from pegai.privacy.events import Event

CHECK = "GDP audit"
INTERVAL = 0.95
FALSE_ALARM = 2e-5
"""Chance that one honest mechanism is reported: 50 audits together stay at 1e-3."""

CURVE_POINTS = 400
TAIL = 1e-9
"""Delta at the end of the grid of epsilons on which a claim is held."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Claim:
    """The trade-off that planned events claim: which rates of error every test must have.

    Attributes:
        mu: Where the events are Gaussian in all; else None.
        epsilons: Else a grid, shape (points,).
        deltas: The delta at each.
    """

    mu: float | None
    epsilons: Array = field(default_factory=lambda: np.zeros(0))
    deltas: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, events: Sequence[Event]) -> Claim:
        """What the accountant says of the events."""
        exact = exact_mu_squared(events)
        if exact is not None:
            return cls(math.sqrt(exact))
        end = compute_epsilon(events, TAIL)
        epsilons = np.linspace(0.0, min(end, 60.0), CURVE_POINTS)
        return cls(None, epsilons, np.array(delta_curve(events, epsilons.tolist())))

    def false_negatives(self, false_positives: float) -> float:
        """The least rate of false negatives that the claim leaves a test; a lower bound."""
        if self.mu is not None:
            normal = import_module("scipy.special")
            return float(normal.ndtr(-float(normal.ndtri(false_positives)) - self.mu))
        # Dong, Roth and Su 2022, proposition 2.5: the supremum over (epsilon, delta).
        grown = 1.0 - self.deltas - np.exp(self.epsilons) * false_positives
        shrunk = np.exp(-self.epsilons) * (1.0 - self.deltas - false_positives)
        return float(max(grown.max(), shrunk.max(), 0.0))

    def mu_at(self, false_positives: float) -> float:
        """The mu that the claim allows a test with this rate of false positives."""
        if self.mu is not None:
            return self.mu
        return _mu(false_positives, self.false_negatives(false_positives))


@dataclass(frozen=True)
class Audited:
    """What an audit gave.

    Attributes:
        where: Method or mechanism.
        mu: Claimed; for what is not Gaussian, at this test's rate of false positives.
        mu_seen: The best guess of the mu that was seen.
        mu_low: Lower end of its 95 % interval.
        mu_high: Upper end.
        alarm: Lower bound that is wrong with a chance of `FALSE_ALARM` only.
        allowed: What the claim allows there; an `alarm` above it is a breach.
        runs: In each of the two worlds.
    """

    where: str
    mu: float
    mu_seen: float
    mu_low: float
    mu_high: float
    alarm: float
    allowed: float
    runs: int

    @property
    def share(self) -> float:
        """The lower end as a share of what is claimed: how tight the audit is."""
        return self.mu_low / self.mu

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A breach, if there is one."""
        if self.alarm <= self.allowed:
            return ()
        text = (
            f"mu is at least {self.alarm:.4f}, {self.allowed:.4f} was claimed "
            f"({self.runs:,} runs of each world)"
        )
        return (Finding(CHECK, self.where, text),)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; an end that is infinite becomes None."""
        content = {**asdict(self), "share": self.share}
        return {k: None if v in (math.inf, -math.inf) else v for k, v in content.items()}


def judge(where: str, claim: Claim, without: Array, with_one: Array) -> Audited:
    """Bound mu from a number of each run, where above 0 is taken for the world with the patient.

    Args:
        where: For the finding.
        claim: What is to be refuted.
        without: Log likelihood ratios, or any other score, of runs without the patient, (runs,).
        with_one: The same with them, shape (runs,).
    """
    runs = min(len(without), len(with_one))
    false_positives = int((without[:runs] > 0).sum())
    false_negatives = int((with_one[:runs] <= 0).sum())
    shown = rate_bounds(false_positives, false_negatives, runs, level=1 - INTERVAL)
    alarm = rate_bounds(false_positives, false_negatives, runs, level=2 * FALSE_ALARM)
    # Half a count off either end, so that the guess is finite.
    guess = [(count + 0.5) / (runs + 1) for count in (false_positives, false_negatives)]
    return Audited(
        where,
        claim.mu_at(guess[0]),
        mu_seen=_mu(*guess),
        mu_low=shown.mu_low,
        mu_high=shown.mu_high,
        alarm=alarm.mu_low,
        allowed=claim.mu_at(alarm.false_positives[1]),
        runs=runs,
    )


@dataclass(frozen=True)
class RateBounds:
    """Bounds on both rates of error, as (low, high)."""

    false_positives: tuple[float, float]
    false_negatives: tuple[float, float]

    @property
    def mu_low(self) -> float:
        """The least mu that explains the rates."""
        return max(_mu(self.false_positives[1], self.false_negatives[1]), 0.0)

    @property
    def mu_high(self) -> float:
        """The largest mu that this test would have seen; another test may see more."""
        return _mu(self.false_positives[0], self.false_negatives[0])


def rate_bounds(
    false_positives: int, false_negatives: int, runs: int, *, level: float
) -> RateBounds:
    """Clopper and Pearson's bounds on two rates.

    Args:
        false_positives: Among `runs`.
        false_negatives: Among as many others.
        runs: In each world.
        level: Chance that any of the four bounds fails; half for the two upper ones.
    """
    beta = import_module("scipy.stats").beta

    def bounds(count: int) -> tuple[float, float]:
        low = 0.0 if count == 0 else float(beta.ppf(level / 4, count, runs - count + 1))
        high = 1.0 if count == runs else float(beta.ppf(1 - level / 4, count + 1, runs - count))
        return low, high

    return RateBounds(bounds(false_positives), bounds(false_negatives))


def _mu(false_positives: float, false_negatives: float) -> float:
    quantile = import_module("scipy.special").ndtri
    return -float(quantile(false_positives)) - float(quantile(false_negatives))
