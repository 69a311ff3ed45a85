"""What noise a budget means, and the error to expect from it, before any data are looked at.

One patient changes one cell of a table by 1, so that a count under the Gaussian mechanism has a
standard deviation of the noise multiplier, in patients; k tables released together have sqrt(k)
times that in every cell. A share is a count over the number of patients. The mean of a column with
public bounds is a sum over it; taken from the middle of the bounds, one patient changes the sum by
half the range at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pegai.errors import PrivacyError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent, GaussianFilterEvent
from pegai.privacy.guarantee import Guarantee, Plan, Privacy

DEVIATIONS_95 = 1.959964
"""A Gaussian lies within so many standard deviations with a chance of 95 %."""

ONE_POINT = 0.01


@dataclass(frozen=True)
class Expected:
    """The noise to expect in one kind of figure.

    Attributes:
        what: The figure, in words.
        deviation: Standard deviation of its noise, in patients.
    """

    what: str
    deviation: float

    @property
    def range_95(self) -> float:
        """Half the width of the interval that the noise lies in with a chance of 95 %."""
        return DEVIATIONS_95 * self.deviation

    @property
    def patients_for_one_point(self) -> int:
        """From how many patients on a share is met within one percentage point (95 %)."""
        return math.ceil(self.range_95 / ONE_POINT - 1e-9)

    def share_range_95(self, patients: int) -> float:
        """The same range in a share of so many patients."""
        return self.range_95 / patients

    def to_dict(self, patients: int | None) -> dict[str, Any]:
        """JSON-ready content."""
        found: dict[str, Any] = {
            "what": self.what,
            "deviation_patients": self.deviation,
            "range_95_patients": self.range_95,
            "patients_for_one_point": self.patients_for_one_point,
        }
        if patients is not None:
            found["share_range_95"] = self.share_range_95(patients)
            found["share_mean_absolute_error"] = math.sqrt(2 / math.pi) * self.deviation / patients
        return found


@dataclass(frozen=True)
class Outlook:
    """What a budget buys.

    Attributes:
        plan: Every look, with its cost.
        asked: The epsilon that was asked for.
        expected: The noise in what is counted.
        attack_tpr: The most that an attacker finds at 1 % false alarms.
    """

    plan: Plan
    asked: float
    expected: tuple[Expected, ...]
    attack_tpr: float

    @classmethod
    def of_tables(cls, privacy: Privacy, tables: int) -> Outlook:
        """One Gaussian release: a count, a table, or so many tables together.

        Raises:
            PrivacyError: The number of tables is not positive.
        """
        if tables < 1:
            raise PrivacyError(f"the number of tables must be at least 1, not {tables!r}")
        multiplier = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
        plan = Plan.make([GaussianEvent("one release", multiplier)], privacy.delta)
        expected = [
            Expected("count, or cell of one table", multiplier),
            Expected(f"cell of {tables} tables", multiplier * tables**0.5),
            Expected("mean, in parts of its range", multiplier / 2),
        ]
        return cls._of(plan, privacy, expected if tables > 1 else [expected[0], expected[2]])

    @classmethod
    def of_plan(cls, plan: Plan, privacy: Privacy, deviations: Mapping[str, float]) -> Outlook:
        """The plan of a method.

        Args:
            plan: As the method made it.
            privacy: What was asked for.
            deviations: Standard deviation of what is counted, in patients, by its label. Where
                it is empty, and the plan is one Gaussian budget, a count that took all of it
                stands in: nothing the method counts can have less noise.
        """
        expected = [Expected(what, deviation) for what, deviation in deviations.items()]
        if not expected and len(plan.events) == 1:
            (event,) = plan.events
            if isinstance(event, (GaussianEvent, GaussianFilterEvent)):
                least = event.noise_multiplier / event.count**0.5
                expected = [Expected("a count with all of the budget", least)]
        return cls._of(plan, privacy, expected)

    @classmethod
    def _of(cls, plan: Plan, privacy: Privacy, expected: list[Expected]) -> Outlook:
        tpr = Guarantee.of(plan, unit=privacy.unit).attack_tpr
        return cls(plan, privacy.epsilon, tuple(expected), tpr)

    def to_dict(self, patients: int | None = None) -> dict[str, Any]:
        """JSON-ready content.

        Args:
            patients: How many there are, if known to everyone.
        """
        return {
            "epsilon": self.asked,
            "epsilon_spent": self.plan.epsilon,
            "delta": self.plan.delta,
            "events": [event.to_dict() for event in self.plan.events],
            "expected": [e.to_dict(patients) for e in self.expected],
            "attack_tpr_at_fpr_0.01": self.attack_tpr,
        }


def event_in_words(event: Event) -> str:
    """One planned look: how often, with what noise."""
    fields = event.to_dict()
    known = {
        "noise_multiplier": "noise multiplier {:.4g}",
        "epsilon": "epsilon {:.4g} each",
        "delta": "a value of one patient alone gets through with chance {:.3g} each",
        "sampling_probability": "each patient in a step with chance {:.4g}",
    }
    said = [text.format(fields[name]) for name, text in known.items() if name in fields]
    times = "once" if event.count == 1 else f"{event.count:,} times"
    if isinstance(event, GaussianFilterEvent):
        times = "a series, each look chosen after the last, together"
    return ", ".join([times, *said])


def chance_range_95(patients: int) -> float:
    """How far a share of 50 % moves by which patients came, within 95 %; for comparison."""
    return DEVIATIONS_95 * math.sqrt(0.25 / patients)
