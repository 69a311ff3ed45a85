"""Randomized response: everyone on a public list answers, truly or by chance.

Warner 1965, "Randomized response: a survey technique for eliminating evasive answer bias"; for more
than two answers Kairouz, Oh and Viswanath 2014, "Extremal mechanisms for local differential
privacy", section 4.1.

**What is protected.** Elsewhere two tables are neighbours if one patient is added or removed, and
then the answers of those who are in the table would tell by their number whether one is missing. So
the list of those who answer is fixed and public, such as all who were invited: the place of one who
is not in the data answers too, evenly by chance. An answer is drawn evenly from all k categories
with chance k / (e^epsilon + k - 1), and is the true one else. So, for one place:

- category a against category b: ratios of e^epsilon and e^-epsilon, and 1 for all others;
- category a against nobody: ratios of k e^epsilon / (e^epsilon + k - 1) <= e^epsilon and of
  k / (e^epsilon + k - 1) >= e^-epsilon.

Both are epsilon-DP. It is even *local*: each answer protects its patient from whoever collects the
answers. That has its price: where the collector is trusted, a noisy count of the same epsilon is
about sqrt(places) times as exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError
from pegai.privacy.events import RandomizedResponseEvent
from pegai.privacy.samplers import SecureRandom

Array = NDArray[Any]

ABSENT = -1
"""The code of a place whose person is not in the data."""

_ROUND_DOWN = 1.0 - 2.0**-48  # covers the rounding of float64 in the chance of a true answer


@dataclass(frozen=True)
class RandomizedResponseMechanism:
    """Answers for every place of a public list; costs `RandomizedResponseEvent(epsilon, ...)`.

    Guarantee: pure epsilon-DP for adding, removing or changing one patient, if each has at most one
    place, which doesn't depend on who else is in the data. The chance of a true answer is rounded
    down, so that it never exceeds what epsilon allows.

    Attributes:
        epsilon: The guarantee of one answer.
        categories: How many answers there are; public.

    Example:
        >>> asked = RandomizedResponseMechanism(1.0, 3)
        >>> asked.release(np.array([0, 2, ABSENT, 1])).shape
        (4,)
    """

    epsilon: float
    categories: int

    def __post_init__(self) -> None:
        self.event("check")

    @property
    def truth(self) -> float:
        """The chance of an answer that is the true one on purpose, not by chance."""
        decay = math.exp(-self.epsilon)
        return -math.expm1(-self.epsilon) / (1.0 + (self.categories - 1) * decay) * _ROUND_DOWN

    def release(self, values: Array) -> Array:
        """Answers, int64 of the same shape.

        Args:
            values: A category from 0 for each place, or `ABSENT`.

        Raises:
            PrivacyError: The array is not whole numbers, or has one that is no category.
        """
        codes = np.asarray(values)
        if codes.dtype.kind not in "iu":
            raise PrivacyError(f"answers are whole numbers, not of type {codes.dtype}")
        if codes.size and not ABSENT <= int(codes.min()) <= int(codes.max()) < self.categories:
            # Says neither where nor which: the error itself is seen outside.
            raise PrivacyError(
                f"an answer is none of the {self.categories} categories; the charge stands",
                hint=f"code them from 0, and {ABSENT} for a place whose person is not in the data",
            )
        random = SecureRandom()
        evenly = random.uniform(self.categories, codes.shape)
        kept = random.bernoulli(self.truth, codes.shape) & (codes != ABSENT)
        return np.where(kept, codes, evenly).astype(np.int64)

    def estimate_counts(self, answers: Array, *, present: float) -> Array:
        """How many of those present are in each category: unbiased, and costs nothing more.

        Counts may come out negative; their sum is `present`. The standard deviation of one is at
        most sqrt(places) / (2 truth).

        Args:
            answers: As released.
            present: How many of the places are of patients in the data, if public; the answers
                themselves don't tell. Where it is private, give absence a category of its own.

        Returns:
            Shape (categories,).
        """
        counts = np.bincount(np.ravel(answers), minlength=self.categories)
        even = (np.size(answers) - self.truth * present) / self.categories
        return (counts - even) / self.truth

    def event(self, label: str, count: int = 1) -> RandomizedResponseEvent:
        """What `count` rounds of answers cost."""
        return RandomizedResponseEvent(label, self.epsilon, self.categories, count)
