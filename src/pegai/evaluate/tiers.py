"""Tiers: how much an evaluation does, from a minute to an audit.

Limits on rows bound the cost of what is *attacked*, *trained* and *tested*. Reference rows of a
nearest-neighbour search are never subsampled: a copy whose source was left out can't be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pegai.errors import UsageError

TierName = Literal["quick", "standard", "audit"]


@dataclass(frozen=True)
class Tier:
    """The limits of one tier.

    Attributes:
        name: quick, standard or audit.
        max_targets: Patients a side that are attacked.
        max_model_rows: Training rows of a learner.
        max_test_rows: Rows that a learner is tested on.
        max_detection_rows: Rows a side of the detection test.
        full: Whether every learner is trained and the positive controls run.
        shadow_fits: Generators refitted for the stacked attack; 0 is none.
        canary_fits: Generators refitted with made-up patients; 0 is none.
    """

    name: TierName
    max_targets: int
    max_model_rows: int
    max_test_rows: int
    max_detection_rows: int
    full: bool
    shadow_fits: int = 0
    canary_fits: int = 0


QUICK = Tier("quick", 2_000, 5_000, 5_000, 5_000, full=False)
STANDARD = Tier("standard", 10_000, 20_000, 20_000, 20_000, full=True)
AUDIT = Tier("audit", 10_000, 20_000, 20_000, 20_000, full=True, shadow_fits=4, canary_fits=4)

TIERS: dict[str, Tier] = {tier.name: tier for tier in (QUICK, STANDARD, AUDIT)}
"""The tiers by name."""


def tier_named(name: str) -> Tier:
    """The tier of a name.

    Raises:
        UsageError: There is no such tier.
    """
    if name not in TIERS:
        raise UsageError(f"there is no tier {name!r}", hint=f"one of {', '.join(TIERS)}")
    return TIERS[name]
