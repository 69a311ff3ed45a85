"""Privacy events: what a mechanism costs, as frozen values that are composed by the accountant."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar, cast

from pegai.errors import PrivacyError

MAX_CATEGORIES = 2**16
"""The most answers of a randomized response."""


class Event(ABC):
    """One planned use of a mechanism on the private data.

    Every event is under one adjacency: add or remove one patient.

    Attributes:
        label: What is measured; unique in a plan.
        count: How often the mechanism runs.
    """

    kind: ClassVar[str]
    label: str
    count: int

    @abstractmethod
    def to_dp_event(self) -> Any:
        """The same event in the language of `dp_accounting`, which is imported only here."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; `event_from_dict` is the inverse."""
        return {"kind": self.kind, **asdict(cast(Any, self))}

    def _check(self) -> None:
        if not _is_text(self.label):
            raise PrivacyError("an event needs a label, a text that is not empty")
        if not _is_whole(self.count) or self.count < 1:
            raise PrivacyError(
                f"event {self.label!r}: count must be a whole number >= 1, not {self.count!r}"
            )

    def _check_positive(self, name: str, value: float) -> None:
        if not is_positive(value):
            raise PrivacyError(
                f"event {self.label!r}: {name} must be finite and > 0, not {value!r}"
            )


@dataclass(frozen=True)
class GaussianEvent(Event):
    """Gaussian noise on a vector.

    Attributes:
        noise_multiplier: Standard deviation of the noise / L2 sensitivity of the vector.
    """

    kind: ClassVar[str] = "gaussian"
    label: str
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("noise_multiplier", self.noise_multiplier)

    def to_dp_event(self) -> Any:
        """`count` Gaussian events."""
        dpa = import_module("dp_accounting")
        return dpa.SelfComposedDpEvent(dpa.GaussianDpEvent(self.noise_multiplier), self.count)


@dataclass(frozen=True)
class GaussianFilterEvent(Event):
    """A budget of Gaussian differential privacy that is spent step by step, on what is then chosen.

    Any series of Gaussian releases and bounded-range choices, each with a noise and a question that
    may depend on all earlier answers, is mu-GDP as long as the sum of their squared mu never
    exceeds mu^2 (Smith and Thakurta 2022, "Fully adaptive composition for Gaussian differential
    privacy", theorem 1). `Session` refuses what would exceed it.

    Attributes:
        noise_multiplier: 1 / mu: what one Gaussian release of the whole budget would have.
        count: Always 1; how many releases share it is not part of its cost.
    """

    kind: ClassVar[str] = "gaussian_filter"
    label: str
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("noise_multiplier", self.noise_multiplier)
        if self.count != 1:
            raise PrivacyError(f"event {self.label!r}: a filter's count is 1, not {self.count!r}")

    @property
    def mu_squared(self) -> float:
        """The whole budget."""
        return self.noise_multiplier**-2

    def to_dp_event(self) -> Any:
        """One Gaussian event of the whole budget, which dominates every use of it."""
        dpa = import_module("dp_accounting")
        return dpa.GaussianDpEvent(self.noise_multiplier)


@dataclass(frozen=True)
class KeySelectionEvent(Event):
    """A release of those values that many patients share, with noisy counts.

    Its cost is that of a Gaussian beside an event of chance `delta` that tells all: for every
    epsilon, at most delta + (1 - delta) x the Gaussian's own. The proof is in `key_selection`.

    Attributes:
        noise_multiplier: Standard deviation of the noise / the whole weight of a patient.
        delta: Bound on the chance that one use releases a value which one patient alone has.
    """

    kind: ClassVar[str] = "key_selection"
    label: str
    noise_multiplier: float
    delta: float
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("noise_multiplier", self.noise_multiplier)
        self._check_positive("delta", self.delta)
        if self.delta >= 1:
            raise PrivacyError(f"event {self.label!r}: delta must be below 1, not {self.delta!r}")

    @property
    def gaussian_part(self) -> GaussianEvent:
        """What it costs but for `delta`, which each use adds."""
        return GaussianEvent(self.label, self.noise_multiplier, self.count)

    def to_dp_event(self) -> Any:
        """Refused: `dp_accounting` has no event that only adds to delta.

        Raises:
            PrivacyError: Always; nothing must count it as a Gaussian alone.
        """
        raise PrivacyError(
            f"event {self.label!r}: dp_accounting can't state the delta of a key selection",
            hint="account for its gaussian_part, and add count x delta to delta",
        )


@dataclass(frozen=True)
class LaplaceEvent(Event):
    """Laplace noise on a vector; pure (1 / noise_multiplier)-DP.

    Attributes:
        noise_multiplier: Scale of the noise / L1 sensitivity of the vector.
    """

    kind: ClassVar[str] = "laplace"
    label: str
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("noise_multiplier", self.noise_multiplier)

    def to_dp_event(self) -> Any:
        """`count` Laplace events."""
        dpa = import_module("dp_accounting")
        return dpa.SelfComposedDpEvent(dpa.LaplaceDpEvent(self.noise_multiplier), self.count)


@dataclass(frozen=True)
class ExponentialEvent(Event):
    """A private choice; pure epsilon-DP, with no more known about it.

    Attributes:
        epsilon: The guarantee of one choice.
    """

    kind: ClassVar[str] = "exponential"
    label: str
    epsilon: float
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("epsilon", self.epsilon)

    def to_dp_event(self) -> Any:
        """`count` binary randomized responses, which dominate every pure mechanism.

        Kairouz, Oh and Viswanath (2015), "The composition theorem for differential privacy".
        """
        dpa = import_module("dp_accounting")
        # k = 2 buckets: epsilon = ln((1 - p/2) / (p/2)), so p = 2 / (1 + e^epsilon).
        noise = 2.0 * math.exp(-self.epsilon) / (1.0 + math.exp(-self.epsilon))
        # Not self-composed: its PLD accountant (0.6.0) then counts a randomized response once.
        return dpa.ComposedDpEvent([dpa.RandomizedResponseDpEvent(noise, 2)] * self.count)


@dataclass(frozen=True)
class RandomizedResponseEvent(Event):
    """A noisy answer of everyone on a public list; pure epsilon-DP.

    Under this project's adjacency it needs a list of places that is public, one for each person
    who may be a patient: the place of who is not in the data answers too, by chance alone. Then
    adding or removing a patient changes the law of one answer from or to the uniform one, and
    changing a patient's category changes it from one category to another: each by at most
    e^epsilon. (Answers of those alone who are in the data would tell how many they are.)

    Attributes:
        epsilon: The guarantee of one answer.
        categories: How many answers there are; public.
        count: How often everyone answers.
    """

    kind: ClassVar[str] = "randomized_response"
    label: str
    epsilon: float
    categories: int
    count: int = 1

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("epsilon", self.epsilon)
        if not _is_whole(self.categories) or not 2 <= self.categories <= MAX_CATEGORIES:
            raise PrivacyError(
                f"event {self.label!r}: categories must be a whole number from 2 to "
                f"{MAX_CATEGORIES:,}, not {self.categories!r}"
            )

    def to_dp_event(self) -> Any:
        """`count` randomized responses; `dp_accounting` takes them under replacement only."""
        dpa = import_module("dp_accounting")
        # The chance of an answer that is drawn evenly from all categories.
        decay = math.exp(-self.epsilon)
        noise = self.categories * decay / (1.0 + (self.categories - 1) * decay)
        # Composed one by one for the same reason as choices.
        step = dpa.RandomizedResponseDpEvent(noise, self.categories)
        return dpa.ComposedDpEvent([step] * self.count)


@dataclass(frozen=True)
class SubsampledGaussianEvent(Event):
    """Gaussian noise on a sum over a Poisson sample of the patients, as in DP-SGD.

    Attributes:
        noise_multiplier: Standard deviation of the noise / L2 norm to which a patient is clipped.
        sampling_probability: Chance of each patient to be in a step, independently.
        count: Steps.
    """

    kind: ClassVar[str] = "subsampled_gaussian"
    label: str
    noise_multiplier: float
    sampling_probability: float
    count: int

    def __post_init__(self) -> None:
        self._check()
        self._check_positive("noise_multiplier", self.noise_multiplier)
        self._check_positive("sampling_probability", self.sampling_probability)
        if self.sampling_probability > 1:
            raise PrivacyError(
                f"event {self.label!r}: sampling_probability must be at most 1, "
                f"not {self.sampling_probability!r}"
            )

    def to_dp_event(self) -> Any:
        """`count` Poisson-sampled Gaussian events."""
        dpa = import_module("dp_accounting")
        step = dpa.PoissonSampledDpEvent(
            self.sampling_probability, dpa.GaussianDpEvent(self.noise_multiplier)
        )
        return dpa.SelfComposedDpEvent(step, self.count)


_KINDS: dict[str, type[Event]] = {
    "gaussian": GaussianEvent,
    "gaussian_filter": GaussianFilterEvent,
    "key_selection": KeySelectionEvent,
    "laplace": LaplaceEvent,
    "exponential": ExponentialEvent,
    "randomized_response": RandomizedResponseEvent,
    "subsampled_gaussian": SubsampledGaussianEvent,
}


def event_from_dict(raw: dict[str, Any]) -> Event:
    """The event that `Event.to_dict` wrote.

    Raises:
        PrivacyError: The kind is unknown, or the fields are not those of the kind.
    """
    fields = dict(raw)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise PrivacyError(f"unknown kind of event {kind!r}", hint=f"known: {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](**fields)
    except TypeError:
        raise PrivacyError(
            f"an event of kind {kind!r} can't be made from the fields {sorted(fields)}"
        ) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_positive(value: object) -> bool:
    """Whether a value is a real number, finite and above 0; a bool is not a number here."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value > 0
