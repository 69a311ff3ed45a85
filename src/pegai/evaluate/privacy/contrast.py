"""Contrast: an attack's success on training patients, less that on patients never seen.

What an attacker can tell about *any* patient of the population is what the data are for. What it
can tell about training patients beyond that is leakage. The two sides of a random split differ in
nothing else, so their difference is the leak, in shares of patients. It is never divided by the
room that the holdout leaves (1 - holdout rate): where chance alone mostly succeeds, that quotient
is noise.

Patients count, not rows: a patient with several rows has the mean of its rows' successes.
Newcombe's interval takes such shares as if they were yes or no, which makes it longer, never
shorter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import LEVEL, newcombe
from pegai.evaluate.scores import mean_interval

MIN_PATIENTS = 20
"""Patients a side below which no figure is given."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one attack on one synthetic table did to the patients of both sides.

    Attributes:
        member: Success for each training patient, 0 to 1; shape (training patients,).
        holdout: The same for holdout patients.
    """

    member: np.ndarray
    holdout: np.ndarray

    @property
    def member_rate(self) -> float:
        """Mean success on training patients; NaN without any."""
        return float(self.member.mean()) if self.member.size else math.nan

    @property
    def holdout_rate(self) -> float:
        """Mean success on patients never seen; NaN without any."""
        return float(self.holdout.mean()) if self.holdout.size else math.nan

    @property
    def difference(self) -> float:
        """The leak: member rate minus holdout rate."""
        return self.member_rate - self.holdout_rate

    @property
    def enough(self) -> bool:
        """Whether both sides have `MIN_PATIENTS` patients."""
        return min(self.member.size, self.holdout.size) >= MIN_PATIENTS


@dataclass(frozen=True)
class Leak:
    """An attack's difference over synthetic tables.

    Attributes:
        name: Which attack, or which secret and attack.
        value: Mean difference over tables; NaN is not assessed.
        low: Lower end of the interval, which covers patients and, with several tables, seeds.
        high: Upper end.
        values: The difference of each table.
        member_rate: Mean success on training patients.
        holdout_rate: Mean success on holdout patients.
        patients: How many patients were attacked: training, holdout.
    """

    name: str
    value: float
    low: float
    high: float
    values: tuple[float, ...]
    member_rate: float
    holdout_rate: float
    patients: tuple[int, int]

    @property
    def assessed(self) -> bool:
        """Whether there was enough evidence."""
        return not math.isnan(self.value)


def leak(name: str, outcomes: Sequence[Outcome], *, level: float = LEVEL) -> Leak:
    """The mean difference over synthetic tables, Newcombe's interval widened by the seeds'.

    Both sources are put together by the square-and-add rule: Newcombe's limits from the mean rates
    for the patients, Student's for the tables.
    """
    if not outcomes or not all(outcome.enough for outcome in outcomes):
        nan = math.nan
        return Leak(name, nan, nan, nan, (), nan, nan, (0, 0))
    values = [outcome.difference for outcome in outcomes]
    member = float(np.mean([outcome.member_rate for outcome in outcomes]))
    holdout = float(np.mean([outcome.holdout_rate for outcome in outcomes]))
    sizes = outcomes[0].member.size, outcomes[0].holdout.size
    low, high = newcombe(member * sizes[0], sizes[0], holdout * sizes[1], sizes[1], level=level)
    low, high = with_seeds(values, low, high, level=level)
    return Leak(name, member - holdout, low, high, tuple(values), member, holdout, sizes)


def with_seeds(
    values: Sequence[float], low: float, high: float, *, level: float = LEVEL
) -> tuple[float, float]:
    """Widen an interval over patients by Student's over the tables (square and add)."""
    centre, least, most = mean_interval(list(values), level=level)
    if math.isnan(least):
        return low, high
    down, up = math.hypot(centre - low, centre - least), math.hypot(high - centre, most - centre)
    return max(-1.0, centre - down), min(1.0, centre + up)


def worst(attacks: Mapping[str, Sequence[Outcome]], *, level: float = LEVEL) -> Leak | None:
    """The largest of several attacks' leaks, corrected for looking at all of them.

    With m attacks each interval has level 1 - (1 - level) / m, which is Holm's first step and so
    what Holm's procedure gives the most significant one. Together they cover all m differences,
    hence [largest lower end, largest upper end] covers the largest difference. The value is the
    largest difference observed, which overstates a leak that is not there; its interval doesn't.

    Returns:
        None where no attack was assessed; the name is that of the attack with the largest value.
    """
    tried = max(1, len(attacks))
    found = [leak(n, o, level=1 - (1 - level) / tried) for n, o in attacks.items()]
    known = [single for single in found if single.assessed]
    if not known:
        return None
    top = max(known, key=lambda single: single.value)
    low, high = max(single.low for single in known), max(single.high for single in known)
    return dataclasses.replace(top, low=low, high=high)


def by_patient(units: np.ndarray, success: np.ndarray) -> np.ndarray:
    """Mean success of each patient's rows; shape (patients,), in the order of their numbers."""
    found, inverse = np.unique(units, return_inverse=True)
    counts = np.bincount(inverse, minlength=found.size)
    return np.bincount(inverse, success.astype(np.float64), minlength=found.size) / counts


def choose_patients(table: Encoded, limit: int, rng: np.random.Generator) -> Encoded:
    """All rows of at most `limit` patients, drawn at random."""
    found = np.unique(table.units)
    if found.size <= limit:
        return table
    return table.take(np.isin(table.units, rng.choice(found, limit, replace=False)))
