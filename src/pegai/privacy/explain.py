"""What an (epsilon, delta) means, in words and figures for people who decide.

Nothing here looks at data or spends anything. Every bound is an upper bound and is rounded up.

- **Odds.** For a given pair of neighbours an (epsilon, delta)-DP release is post-processing of one
  that tells the truth with chance delta and else changes no odds by more than e^epsilon (Kairouz,
  Oh and Viswanath 2015, "The composition theorem for differential privacy", section 3). So, but for
  a chance of delta, whoever sees the release moves from odds o to at most o e^epsilon, whatever
  they know besides.
- **Attacks.** At a false-positive rate f no test finds more than `attack_bound` of the members. If
  all noise is Gaussian and takes exactly this (epsilon, delta), the bound is that of mu-GDP:
  Phi(Phi^-1(f) + mu) (Dong, Roth and Su 2022, definition 2.6), which is smaller.
- **Guesses.** Who must say "in" or "out" at even odds is right with chance at most
  (e^epsilon + delta) / (e^epsilon + 1), or Phi(mu / 2) where all noise is Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pegai.errors import PrivacyError
from pegai.privacy.accountant import attack_bound
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.guarantee import ATTACK_FPR, Privacy

PRIORS = (0.5, 0.1, 0.01)
FALSE_ALARMS = (0.1, ATTACK_FPR, 0.001)
SCALE = (0.1, 0.5, 1.0, 3.0, 10.0)
"""What an epsilon is compared with."""

_FAMILY = 3


@dataclass(frozen=True)
class Attack:
    """The most that an attacker finds.

    Attributes:
        false_alarms: Share of the outsiders that are wrongly accused.
        any_mechanism: Share of the members that are found, whatever the mechanism.
        gaussian: The same where all noise is Gaussian.
    """

    false_alarms: float
    any_mechanism: float
    gaussian: float


@dataclass(frozen=True)
class Belief:
    """What someone may come to believe, but for a chance of delta.

    Attributes:
        before: How likely it seemed that the patient was in the data.
        most: How likely it can seem afterwards.
        least: How unlikely it can seem afterwards.
    """

    before: float
    most: float
    least: float


@dataclass(frozen=True)
class Explanation:
    """An (epsilon, delta) explained; make it by `explain`.

    Attributes:
        epsilon: The promise.
        delta: The chance left out of it.
        unit: Who is protected.
        patients: How many there are, if known to everyone.
        mu: Of the Gaussian noise that costs exactly this.
        beliefs: By what was believed before.
        attacks: By false alarms.
        guess: Chance of a right guess at even odds, any mechanism.
        gaussian_guess: The same where all noise is Gaussian.
    """

    epsilon: float
    delta: float
    unit: str
    patients: int | None
    mu: float
    beliefs: tuple[Belief, ...]
    attacks: tuple[Attack, ...]
    guess: float
    gaussian_guess: float

    @property
    def odds_factor(self) -> float:
        """The most by which odds change."""
        return math.exp(self.epsilon)

    @property
    def expected_failures(self) -> float | None:
        """Delta times the number of patients, if that is known."""
        return None if self.patients is None else self.delta * self.patients

    def in_words(self) -> list[str]:
        """Sentences, the main one first."""
        return [*self._odds(), *self._attack(), *self._delta(), *_comparisons(self), *LIMITS]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
            "patients": self.patients,
            "odds_factor": self.odds_factor,
            "gaussian_mu": self.mu,
            "beliefs": [vars(belief) for belief in self.beliefs],
            "attacks": [vars(attack) for attack in self.attacks],
            "right_guess": {"any_mechanism": self.guess, "gaussian": self.gaussian_guess},
            "expected_failures": self.expected_failures,
            "in_words": self.in_words(),
        }

    def _odds(self) -> list[str]:
        one = self.unit
        first = (
            f"Odds: whatever is published, and whatever someone knows besides, the odds that a "
            f"given {one} was in the data change by a factor of {up(self.odds_factor)} at most, "
            f"up or down, but for a chance of {up(self.delta)} (delta)."
        )
        moves = ", ".join(f"from {percent(b.before)} to {percent(b.most)}" for b in self.beliefs)
        return [first, f"So a belief that this {one} is in the data can rise at most {moves}."]

    def _attack(self) -> list[str]:
        (at_one,) = [a for a in self.attacks if a.false_alarms == ATTACK_FPR]
        return [
            f"Attack: who may wrongly accuse 1 in 100 outsiders recognises at most "
            f"{percent(at_one.any_mechanism)} of the {self.unit}s (guessing finds 1 %). Where all "
            f"noise is Gaussian, it is at most {percent(at_one.gaussian)}.",
            f"Guess: who must say of a {self.unit} 'in' or 'out', and finds both as likely, is "
            f"right at most {percent(self.guess)} of the time ({percent(self.gaussian_guess)} "
            f"where all noise is Gaussian; tossing a coin: 50 %).",
        ]

    def _delta(self) -> list[str]:
        first = (
            f"Delta: with a chance of 1 in {math.floor(1 / self.delta * (1 + 1e-9)):,} the "
            f"promise may fail for a {self.unit}, and then anything may be learned about them. "
            "It must be far below one over the number of patients."
        )
        if self.patients is None:
            return [first]
        expected = self.delta * self.patients
        verdict = "far below 1, as it should be"
        if expected >= 1:
            verdict = "TOO LARGE: publishing a patient at random would be allowed"
        elif expected > 0.1:
            verdict = "larger than the 0.1 that is usual; take a smaller delta"
        return [
            first,
            f"With {self.patients:,} patients, delta x patients is {up(expected)}: {verdict}.",
        ]


LIMITS = (
    "It does not say that nothing is learned: what the data teach about people in general (smokers "
    "fall ill more often) is learned about every smoker, in the data or not.",
    "It does not cover other releases of the same data: their epsilons and deltas add up, in the "
    "ledger. Nor does it cover what is taken as public, such as bounds and categories.",
    "It says nothing about quality, and does not decide whether a release is lawful.",
)


def explain(
    epsilon: float, delta: float, *, unit: str = "patient", patients: int | None = None
) -> Explanation:
    """What an (epsilon, delta) means.

    Args:
        epsilon: Finite, > 0, at most that of `Privacy`.
        delta: In (0, 1), at most that of `Privacy`.
        unit: Who is protected.
        patients: How many there are, if that is known to everyone.

    Raises:
        PrivacyError: A figure is out of range.
    """
    Privacy(epsilon, delta, unit=unit)
    if patients is not None and patients < 1:
        raise PrivacyError(f"the number of patients must be at least 1, not {patients!r}")
    # Sound also with the rounding up of the multiplier: that of the noise which is really drawn.
    mu = 1 / gaussian_noise_multiplier(epsilon, delta)
    factor = math.exp(epsilon)
    return Explanation(
        epsilon,
        delta,
        unit,
        patients,
        mu,
        tuple(Belief(p, _posterior(p, factor), _posterior(p, 1 / factor)) for p in PRIORS),
        tuple(
            Attack(f, attack_bound(epsilon, delta, f), gaussian_attack(mu, f)) for f in FALSE_ALARMS
        ),
        guess=(factor + delta) / (factor + 1),
        gaussian_guess=_normal("ndtr")(mu / 2),
    )


def gaussian_attack(mu: float, false_alarms: float) -> float:
    """The largest share of members that a test of mu-GDP finds at a false-alarm rate."""
    return float(_normal("ndtr")(_normal("ndtri")(false_alarms) + mu))


def _posterior(prior: float, factor: float) -> float:
    return prior * factor / (prior * factor + 1 - prior)


def _normal(name: str) -> Callable[[float], float]:
    return getattr(import_module("scipy.special"), name)


def _comparisons(this: Explanation) -> Sequence[str]:
    truthful = 1 / (1 + math.exp(-this.epsilon))
    return (
        f"Comparison: it is the promise of a survey in which everybody answers a yes-or-no "
        f"question truthfully with a chance of {100 * truthful:.4g} % and else says the opposite. "
        "(In the classic one, heads: the truth, tails: yes or no by another toss, epsilon is 1.1.)",
        f"Together: two such releases are at most epsilon {2 * this.epsilon:g} with delta "
        f"{2 * this.delta:g}; a family of {_FAMILY} in the data is covered as a whole at epsilon "
        f"{_FAMILY * this.epsilon:g} only, and at a larger delta.",
    )


def up(value: float) -> str:
    """Three digits, rounded up: a bound must not be said better than it is."""
    if value <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    rounded = math.ceil(value / unit - 1e-9) * unit
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:.3g}"


def percent(share: float) -> str:
    """A share in per cent with one digit, rounded up."""
    return f"{min(math.ceil(share * 1000 - 1e-9) / 10, 100.0):g} %"
