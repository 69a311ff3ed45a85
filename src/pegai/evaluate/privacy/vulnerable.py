"""Vulnerable records: which training patients an attacker would recognise first.

For the data owner only: a list of the patients at risk is itself about patients and is never part
of a release, nor of a report that leaves. What it is for: removing or coarsening a few outliers
before fitting again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.privacy.attacks import ATTACKS, Attacked
from pegai.evaluate.privacy.targets import Targets


@dataclass(frozen=True)
class VulnerableRecord:
    """A training patient that stands out.

    Attributes:
        row: Position of its first row in the training table.
        false_positive_rate: Share of holdout patients with at least its score, at the attack that
            sees it best: 0.01 means that one in a hundred strangers looks as much like a member.
        attack: That attack.
        isolation: Mean distance to its nearest real patients, against the median patient's
            (the Achilles score of Meeus et al. 2023): above 1 is more isolated than usual.
    """

    row: int
    false_positive_rate: float
    attack: str
    isolation: float


def vulnerable_records(
    targets: Targets, attacked: Sequence[Attacked], *, limit: int = 20
) -> tuple[VulnerableRecord, ...]:
    """The training patients that the panel tells apart best, over all synthetic tables.

    With hundreds of patients some stand out by chance: of k attacks on n holdout patients the best
    rate of an unremarkable patient is about 1 / (k n).

    Args:
        targets: The attacked patients.
        attacked: What the panel said, one a synthetic table.
        limit: How many, the most exposed first.
    """
    member = targets.member
    rates = np.stack([_rates(_mean(attacked, name), member) for name in ATTACKS])
    best = rates.argmin(axis=0)
    lowest = rates.min(axis=0)
    far = np.full(member.size, 0.0)
    np.maximum.at(far, targets.patient, targets.real.mean(axis=1))
    isolation = far / max(float(np.median(far)), 1e-12)
    first = np.full(member.size, np.iinfo(np.int64).max)
    np.minimum.at(first, targets.patient, targets.table.source)
    chosen = np.flatnonzero(member)
    order = chosen[np.lexsort((-isolation[chosen], lowest[chosen]))][:limit]
    names = list(ATTACKS)
    return tuple(
        VulnerableRecord(
            int(first[i]), float(lowest[i]), names[int(best[i])], round(float(isolation[i]), 3)
        )
        for i in order
    )


def _mean(attacked: Sequence[Attacked], name: str) -> np.ndarray:
    return np.mean([a.scores[name] for a in attacked], axis=0)


def _rates(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Share of non-members with at least the score of each patient, never 0; shape (patients,)."""
    others = np.sort(scores[~member])
    at_least = others.size - np.searchsorted(others, scores, side="left")
    return (at_least + 1) / (others.size + 1)
