"""Targets: the patients that membership attacks are tried on, and what the attacker compares with.

Members are the training patients, non-members the holdout's. What an attacker knows of the
population is all real patients there are, members and non-members alike, and a reference table of
others where one is given; a patient's own rows are left out of what it is compared with. Both sides
are treated equally, so that permuting the labels stays exact, and the more patients, the stronger
the attack: pooling sees more than a third of the patients set aside would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, stack
from pegai.evaluate.fidelity.pair_trends import PairBins, fit_pair_bins
from pegai.evaluate.privacy.neighbours import CodedPoints, nearest_distances
from pegai.evaluate.tiers import STANDARD, Tier
from pegai.streams import Streams

SUPPORTED_FPRS = (0.001, 0.01, 0.05, 0.1)
MIN_PATIENTS = 20
NEIGHBOURS = 10
OFFSET = 0.05


@dataclass(frozen=True, eq=False)
class Targets:
    """The patients to attack, with all that does not depend on the synthetic table.

    Attributes:
        table: Their rows.
        patient: The patient of each row, from 0; shape (rows,).
        member: Whether each patient was trained on; shape (patients,).
        population: Rows of real patients that the attacker compares with.
        own: Which target each population row belongs to, below 0 for others; shape
            (population rows,).
        real: Distances to the nearest population rows of others; shape (rows, neighbours).
        offset: Distances below about this count as nothing: a twentieth of the median distance
            between real patients.
        bins: Cuts of the marginal attack.
        streams: Seeds.
        tier: Limits.
    """

    table: Encoded
    patient: np.ndarray
    member: np.ndarray
    population: Encoded
    own: np.ndarray
    real: np.ndarray
    offset: float
    bins: PairBins
    streams: Streams
    tier: Tier

    @property
    def members(self) -> int:
        """How many training patients are attacked."""
        return int(self.member.sum())

    @property
    def non_members(self) -> int:
        """How many holdout patients are attacked."""
        return int((~self.member).sum())

    def supported_fpr(self) -> float | None:
        """The smallest false positive rate with ten expected false positives, or None."""
        usable = [fpr for fpr in SUPPORTED_FPRS if self.non_members >= 10 / fpr]
        return usable[0] if usable else None

    def by_patient(self, scores: np.ndarray) -> np.ndarray:
        """The score of each patient's most exposed row; shape (patients,)."""
        worst = np.full(self.member.size, -np.inf)
        np.maximum.at(worst, self.patient, scores)
        # Distances of one table differ from another's in the last bit only; ties must stay ties.
        return np.round(worst, 9)


def fit_targets(
    train: Encoded,
    holdout: Encoded,
    streams: Streams,
    *,
    reference: Encoded | None = None,
    tier: Tier = STANDARD,
    fewest: int = MIN_PATIENTS,
) -> Targets | None:
    """Choose the patients to attack and measure their neighbourhoods among real patients.

    Args:
        train: The coded training table.
        holdout: The coded holdout.
        streams: Seeds.
        reference: Coded rows of other real patients, in neither table.
        tier: Limits; what targets are compared with is never subsampled.
        fewest: Patients that either side must have.

    Returns:
        None where either side has fewer than `fewest` patients.
    """
    streams = streams.child("membership")
    pool = stack(train, holdout)
    sides = (
        np.unique(train.units),
        np.unique(holdout.units) + int(train.units.max(initial=-1)) + 1,
    )
    rng = streams.get("split")
    chosen = [_choose(side, tier.max_targets, rng) for side in sides]
    if min(c.size for c in chosen) < fewest:
        return None
    rows = np.flatnonzero(np.isin(pool.units, np.concatenate(chosen)))
    table = pool.take(rows)
    found, patient = np.unique(table.units, return_inverse=True)
    population = pool if reference is None else stack(pool, reference)
    own = np.full(int(population.units.max()) + 1, -1, dtype=np.int64)
    own[found] = np.arange(found.size)
    own = own[population.units]
    real = _neighbourhoods(table, patient, population, own)
    positive = real[:, 0][real[:, 0] > 0]
    typical = float(np.median(positive)) if positive.size else 1.0
    return Targets(
        table, patient, np.isin(found, chosen[0]), population, own, real, OFFSET * typical,
        fit_pair_bins(pool), streams, tier,
    )  # fmt: skip


def _neighbourhoods(
    table: Encoded, patient: np.ndarray, population: Encoded, own: np.ndarray
) -> np.ndarray:
    """Distances to the nearest rows of others, finite; shape (rows, neighbours)."""
    real = nearest_distances(
        CodedPoints(table),
        CodedPoints(population),
        NEIGHBOURS,
        target_units=patient,
        reference_units=own,
    )
    finite = real[np.isfinite(real)]
    return np.where(np.isfinite(real), real, finite.max(initial=1.0))


def _choose(units: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    if units.size <= limit:
        return units
    return np.sort(rng.choice(units, limit, replace=False))
