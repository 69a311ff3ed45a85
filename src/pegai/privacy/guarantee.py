"""What is asked for (`Privacy`), what it is spent on (`Plan`), what is given (`Guarantee`)."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pegai.errors import PrivacyError
from pegai.privacy.accountant import attack_bound, check_delta, compute_delta, compute_epsilon
from pegai.privacy.events import Event, GaussianFilterEvent, event_from_dict, is_positive

MAX_EPSILON = 20.0
"""A larger epsilon protects nobody and is refused."""

MAX_DELTA = 1e-2
"""A larger delta allows to publish one patient in a hundred, and is refused."""

LEDGER_VARIABLE = "PEGAI_LEDGER"
DEFAULT_LEDGER = "pegai-ledger.jsonl"
AUDIT_ONLY = "audit only, no guarantee"
ATTACK_FPR = 0.01


@dataclass(frozen=True)
class Privacy:
    """The guarantee that is asked for.

    Attributes:
        epsilon: Finite, > 0, at most `MAX_EPSILON`.
        delta: In (0, 1).
        unit: Who is protected, as a word for people.
        ledger: Where spending is recorded; None is the environment's PEGAI_LEDGER, or else
            pegai-ledger.jsonl in the working directory.
        dataset: The name under which spending adds up; None leaves it to the schema.

    Raises:
        PrivacyError: A figure is out of range.
    """

    epsilon: float
    delta: float
    unit: str = "patient"
    ledger: Path | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        if not is_positive(self.epsilon):
            raise PrivacyError(f"epsilon must be finite and > 0, not {self.epsilon!r}")
        if self.epsilon > MAX_EPSILON:
            raise PrivacyError(
                f"epsilon {self.epsilon:g} is above the ceiling of {MAX_EPSILON:g}",
                hint="such a guarantee protects nobody; 1 to 10 is usual. "
                "Without `privacy` the model says plainly that it has none",
            )
        check_delta(self.delta)
        if self.delta > MAX_DELTA:
            raise PrivacyError(
                f"delta {self.delta:g} is above the ceiling of {MAX_DELTA:g}: with this chance "
                "a patient may be published as they are",
                hint="below 1 / (10 x patients) is usual, such as 1e-5",
            )
        if not self.unit:
            raise PrivacyError("unit is empty: it says who is protected, such as 'patient'")

    @property
    def ledger_path(self) -> Path:
        """The ledger that a fit will charge."""
        if self.ledger is not None:
            return Path(self.ledger)
        return default_ledger()


def default_ledger() -> Path:
    """The ledger where none is named: the environment's, or one in the working directory."""
    return Path(os.environ.get(LEDGER_VARIABLE) or DEFAULT_LEDGER)


@dataclass(frozen=True)
class Plan:
    """Every look at the private data that a fit will take, fixed before the first one.

    Attributes:
        events: The mechanisms, each under its own label.
        epsilon: What they cost together; an upper bound.
        delta: The delta at which epsilon holds.
        public: What is taken as known to everyone, in sentences ("bounds of age: dictionary").

    Raises:
        PrivacyError: No events, a label used twice, or an epsilon below the accountant's.
    """

    events: tuple[Event, ...]
    epsilon: float
    delta: float
    public: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.events:
            raise PrivacyError("a plan needs at least one event")
        labels = [event.label for event in self.events]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise PrivacyError(f"two events of the plan have the label {twice[0]!r}")
        cost = compute_epsilon(self.events, self.delta)
        if not math.isfinite(cost):
            raise PrivacyError(
                f"the plan has no finite epsilon at delta {self.delta:g}",
                hint="more noise, fewer steps, or a larger delta",
            )
        if not self.epsilon >= cost:
            raise PrivacyError(
                f"the plan claims epsilon {self.epsilon:g} but its events cost {cost:g}",
                hint="make it by Plan.make, which asks the accountant",
            )

    @classmethod
    def make(cls, events: Sequence[Event], delta: float, public: Sequence[str] = ()) -> Plan:
        """The plan of these events, with the epsilon that the accountant computes."""
        return cls(tuple(events), compute_epsilon(events, delta), delta, tuple(public))

    def __getitem__(self, label: str) -> Event:
        for event in self.events:
            if event.label == label:
                return event
        raise KeyError(label)


@dataclass(frozen=True)
class Guarantee:
    """What a release carries: the guarantee, and everything it rests on.

    Attributes:
        epsilon: Upper bound.
        delta: The delta at which it holds.
        events: What was charged.
        public: What was taken as known to everyone.
        unit: Who is protected.
        adjacency: Which two data sets look alike.
        attack_tpr: No attack that wrongly accuses at most 1 % of outsiders finds a larger share of
            the members.
        versions: Of the libraries that made it.
        created: When, ISO 8601 in UTC.
        audit_only: Made by a run whose noise was recorded or replayed: no guarantee at all.
    """

    epsilon: float
    delta: float
    events: tuple[Event, ...]
    public: tuple[str, ...] = ()
    unit: str = "patient"
    adjacency: str = "add or remove one patient"
    attack_tpr: float = 1.0
    versions: dict[str, str] = field(default_factory=dict[str, str])
    created: str = ""
    audit_only: bool = False

    @classmethod
    def of(cls, plan: Plan, *, unit: str = "patient", audit_only: bool = False) -> Guarantee:
        """The guarantee of a plan that was charged."""
        return cls(
            epsilon=plan.epsilon,
            delta=plan.delta,
            events=plan.events,
            public=plan.public,
            unit=unit,
            adjacency=f"add or remove one {unit}",
            attack_tpr=_attack_tpr(plan),
            versions=_versions(),
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            audit_only=audit_only,
        )

    def require_releasable(self) -> None:
        """Refuse what may not leave: an audit's run, or a guarantee that is none.

        It is none without events, above the ceilings of epsilon and delta, and where it claims less
        than the accountant computes from its events.

        Raises:
            PrivacyError: As said.
        """
        if self.audit_only:
            raise PrivacyError(
                f"this run was made for an audit ({AUDIT_ONLY}) and can't be released",
                hint="fit again without a recorder",
            )
        if not self.events:
            raise PrivacyError(
                "the guarantee has no events: nothing says what it was spent on",
                hint="fit again; a model without privacy has no guarantee at all",
            )
        Privacy(self.epsilon, self.delta, self.unit)  # refuses what nobody may ask for
        cost = compute_epsilon(self.events, self.delta)
        if not self.epsilon >= cost * (1 - 1e-6):
            raise PrivacyError(
                f"the guarantee claims epsilon {self.epsilon:g} but its events cost {cost:g}"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; `from_dict` is the inverse."""
        return {
            "status": AUDIT_ONLY if self.audit_only else "differentially private",
            "adjacency": self.adjacency,
            "unit": self.unit,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "attack_tpr_at_fpr_0.01": self.attack_tpr,
            "events": [event.to_dict() for event in self.events],
            "public": list(self.public),
            "versions": dict(self.versions),
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Guarantee:
        """Read what `to_dict` wrote.

        Raises:
            PrivacyError: A field is missing or has the wrong type.
        """
        try:
            return cls(
                epsilon=float(raw["epsilon"]),
                delta=float(raw["delta"]),
                events=tuple(event_from_dict(event) for event in raw["events"]),
                public=tuple(str(text) for text in raw["public"]),
                unit=str(raw["unit"]),
                adjacency=str(raw["adjacency"]),
                attack_tpr=float(raw["attack_tpr_at_fpr_0.01"]),
                versions={str(k): str(v) for k, v in raw["versions"].items()},
                created=str(raw["created"]),
                audit_only=raw["status"] != "differentially private",
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PrivacyError(
                f"the guarantee can't be read: {type(error).__name__} at {error}"
            ) from None

    def in_words(self) -> list[str]:
        """Plain sentences for someone who decides about a release."""
        if self.audit_only:
            return [
                "This run was made for an audit: its noise was recorded or replayed. It carries "
                "no privacy guarantee and must not be released."
            ]
        one = self.unit
        sentences = [
            f"Differential privacy with epsilon {_up(self.epsilon)} and delta {_up(self.delta)}: "
            f"whatever is released would have been almost as likely had any one {one} not been "
            f"in the data.",
            f"An attacker who knows everything but whether one {one} was in the data, and who may "
            f"wrongly accuse 1 in 100 outsiders, recognises at most "
            f"{_percent(self.attack_tpr)} of those who were in it (guessing finds 1 %).",
            f"The guarantee counts {_looks(self.events)} at the data and holds for all of "
            f"them together, against every attack, known or not.",
            "It says nothing about what the data teach about people in general, nor about other "
            "releases of the same data: those add up in the ledger.",
        ]
        if self.public:
            sentences.append(
                "It takes as public, and counts nothing for: " + "; ".join(self.public) + "."
            )
        return sentences


def _up(value: float) -> str:
    """Three digits, rounded up: a guarantee must not be said better than it is."""
    if value <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / unit - 1e-9) * unit:.3g}"


def _percent(share: float) -> str:
    # Rounded up: the sentence says "at most".
    return f"{math.ceil(share * 1000 - 1e-9) / 10:g} %"


def _looks(events: Sequence[Event]) -> str:
    series = sum(isinstance(event, GaussianFilterEvent) for event in events)
    total = sum(event.count for event in events) - series
    parts: list[str] = []
    if total:
        parts.append("1 noisy look" if total == 1 else f"{total:,} noisy looks")
    if series:
        parts.append(
            "a series of noisy looks, each chosen after the last,"
            if series == 1
            else f"{series} series of noisy looks, each look chosen after the last,"
        )
    return " and ".join(parts)


def _attack_tpr(plan: Plan) -> float:
    """The best of the bounds along the privacy profile, which beat that of (epsilon, delta)."""
    steps = [plan.epsilon * i / 16 for i in range(1, 21)]
    bounds = [attack_bound(e, compute_delta(plan.events, e), ATTACK_FPR) for e in steps]
    return min([attack_bound(plan.epsilon, plan.delta, ATTACK_FPR), *bounds])


def _versions() -> dict[str, str]:
    names = ("pegai", "numpy", "scipy", "dp-accounting", "mpmath")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
