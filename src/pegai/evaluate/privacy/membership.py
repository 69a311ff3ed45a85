"""Membership inference: can an attacker tell training patients from patients never seen?

Members are the training patients, non-members the holdout's. Three attacks need only the synthetic
table and distances (`pegai.evaluate.features.distance_matrix`); a patient with several rows has the
score of the most exposed one:

| attack | score of a patient x | sees |
|---|---|---|
| `nn_ratio` | log(r_1(x) + c) - log(s_1(x) + c) | copies, near copies; best at low FPR |
| `dcr` | -s_1(x) | copies; misled by how crowded the neighbourhood is |
| `knn_density` | mean over k <= 5 of log(r_k + c) - log(s_k + c) | diffuse overfitting |

s_k is the distance to the k-th nearest synthetic row. r_k calibrates it: the distance to the k-th
nearest row of *another* real patient, members and non-members alike. There is no separate reference
table, and this one treats both sides the same, so that permuting the labels stays exact. c is a
twentieth of the median r_1: a common record that many patients share is no evidence. `knn_density`
is a nearest-neighbour form of DOMIAS (van Breugel et al. 2023).

`nn_ratio` is the headline, fixed beforehand; taking the best of three would raise a false alarm on
safe data. What may use the best of three is the permutation test: if the holdout was drawn at
random by patient before training, the labels are exchangeable for a generator without memory. The
p-value of the *largest* statistic of the whole panel, by permuted labels of patients, is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, distance_matrix
from pegai.evaluate.intervals import patient_weights, rank_statistics
from pegai.evaluate.privacy.neighbours import nearest_distances
from pegai.streams import Streams

ATTACKS: dict[str, str] = {
    "nn_ratio": "nearest-neighbour ratio",
    "dcr": "distance to the closest record",
    "knn_density": "neighbourhood density",
}
HEADLINE = "nn_ratio"
FPRS = (0.01, 0.001)
SUPPORTED_FPRS = (0.001, 0.01, 0.05, 0.1)
MIN_PATIENTS = 20
MAX_TARGETS = 10_000
"""Patients a side that are attacked; what they are compared with is never subsampled."""

PERMUTATIONS = 999
_NEIGHBOURS = 5
_OFFSET = 0.05
_CELLS = 4_000_000


@dataclass(frozen=True, eq=False)
class Targets:
    """The patients to attack, with all that does not depend on the synthetic table.

    Attributes:
        rows: Coordinates of their rows; shape (rows, dimensions).
        patient: The patient of each row, from 0; shape (rows,).
        member: Whether each patient was trained on; shape (patients,).
        real: Distances to the nearest rows of other real patients; shape (rows, neighbours).
        offset: The c of the scores.
    """

    rows: np.ndarray
    patient: np.ndarray
    member: np.ndarray
    real: np.ndarray
    offset: float

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


def fit_targets(train: Encoded, holdout: Encoded, streams: Streams) -> Targets | None:
    """Choose the patients to attack and measure their neighbourhoods among real patients.

    Returns:
        None where either side has fewer than `MIN_PATIENTS` patients.
    """
    pool = np.vstack([distance_matrix(train), distance_matrix(holdout)])
    shifted = holdout.units + train.units.max(initial=-1) + 1
    units = np.concatenate([train.units, shifted])
    rng = streams.child("membership").get("split")
    chosen = [_choose(train.units, rng), _choose(shifted, rng)]
    if min(c.size for c in chosen) < MIN_PATIENTS:
        return None
    ids = np.concatenate(chosen)
    rows = np.flatnonzero(np.isin(units, ids))
    real = nearest_distances(
        pool[rows], pool, _NEIGHBOURS, target_units=units[rows], reference_units=units
    )
    finite = real[np.isfinite(real)]
    real = np.where(np.isfinite(real), real, finite.max(initial=1.0))
    positive = real[:, 0][real[:, 0] > 0]
    typical = float(np.median(positive)) if positive.size else 1.0
    found, patient = np.unique(units[rows], return_inverse=True)
    return Targets(pool[rows], patient, np.isin(found, chosen[0]), real, _OFFSET * typical)


def _choose(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = np.unique(units)
    if found.size <= MAX_TARGETS:
        return found
    return np.sort(rng.choice(found, MAX_TARGETS, replace=False))


def attack(targets: Targets, synthetic: Encoded) -> dict[str, np.ndarray]:
    """Run the panel against one synthetic table.

    Returns:
        Attack name to a score a patient, higher meaning "member"; shape (patients,) each.
    """
    near = nearest_distances(targets.rows, distance_matrix(synthetic), _NEIGHBOURS)
    k = min(near.shape[1], targets.real.shape[1])
    ratios = np.log(targets.real[:, :k] + targets.offset) - np.log(near[:, :k] + targets.offset)
    by_row = {"nn_ratio": ratios[:, 0], "dcr": -near[:, 0], "knn_density": ratios.mean(axis=1)}
    return {name: _by_patient(by_row[name], targets) for name in ATTACKS}


def _by_patient(scores: np.ndarray, targets: Targets) -> np.ndarray:
    worst = np.full(targets.member.size, -np.inf)
    np.maximum.at(worst, targets.patient, scores)
    # Distances of one table differ from another's in the last bit only; ties must stay ties.
    return np.round(worst, 9)


def observed_statistics(
    scores: np.ndarray, member: np.ndarray, fprs: Sequence[float] = FPRS
) -> np.ndarray:
    """AUC and strict true positive rates of one attack; shape (1 + len(fprs),)."""
    label = member[None, :].astype(np.float64)
    return rank_statistics(scores, label, 1.0 - label, tuple(fprs))[:, 0]


def resampled_statistics(
    scores: np.ndarray, weights: tuple[np.ndarray, np.ndarray], fprs: Sequence[float] = FPRS
) -> np.ndarray:
    """The same on resamples of patients; shape (1 + len(fprs), resamples)."""
    return rank_statistics(scores, *weights, tuple(fprs))


def target_weights(targets: Targets, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
    """Resampling counts of members and of non-members, drawn apart; two (resamples, patients)."""
    rng = streams.child("membership-bootstrap").get("split")
    ids = np.arange(targets.member.size)
    sides = []
    for side in (targets.member, ~targets.member):
        drawn = patient_weights(ids[side], rng)
        weights = np.zeros((drawn.shape[0], ids.size))
        weights[:, side] = drawn
        sides.append(weights)
    return sides[0], sides[1]


@dataclass(frozen=True, eq=False)
class PanelTest:
    """The exact permutation test of the panel.

    Attributes:
        p_value: Share of permutations (the observed labels included) whose largest standardised
            statistic is at least the observed one.
        null_means: Mean of each (attack, statistic) under permuted labels: what data without
            memory gives. Statistics are `auc`, then one a rate in `FPRS`.
    """

    p_value: float
    null_means: dict[tuple[str, str], float]


def panel_test(
    scores: Sequence[Mapping[str, np.ndarray]],
    member: np.ndarray,
    streams: Streams,
    *,
    permutations: int = PERMUTATIONS,
) -> PanelTest:
    """Test the whole panel against "the generator remembers nobody".

    The statistics are the AUC (from both sides: an area far below one half gives members away just
    as well) and the true positive rates at `FPRS`, of each attack, on each synthetic table and on
    average over tables. Each is standardised by its own permutation distribution; the maximum of
    all is compared with the maximum under each permutation, so no correction is left to do.

    Args:
        scores: For each synthetic table, attack name to scores of shape (patients,).
        member: Whether each patient was trained on.
        streams: Seeds.
        permutations: How many; the smallest p-value is 1 / (permutations + 1).
    """
    rng = streams.child("membership-permutation").get("split")
    labels = np.tile(member, (permutations + 1, 1))
    labels[1:] = rng.permuted(labels[1:], axis=1)
    found = {
        name: np.stack([_permuted(table[name], labels) for table in scores]) for name in ATTACKS
    }
    entries = []
    for per_table in found.values():  # (tables, statistics, permutations + 1)
        stacked = per_table if len(scores) == 1 else np.vstack([per_table, per_table.mean(0)[None]])
        entries += [stacked.reshape(-1, labels.shape[0]), -stacked[:, 0]]
    values = np.vstack(entries)
    spread = values.std(axis=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    largest = np.max(np.where(spread > 1e-12, centred / np.maximum(spread, 1e-12), 0.0), axis=0)
    names = ("auc", *(f"tpr_{fpr:g}" for fpr in FPRS))
    null = {
        (attack_name, statistic): float(per_table[:, i].mean())
        for attack_name, per_table in found.items()
        for i, statistic in enumerate(names)
    }
    return PanelTest(float((largest >= largest[0] - 1e-9).mean()), null)


def _permuted(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    step = max(1, _CELLS // max(1, scores.size))
    parts = []
    for start in range(0, labels.shape[0], step):
        plus = labels[start : start + step].astype(np.float64)
        parts.append(rank_statistics(scores, plus, 1.0 - plus, FPRS))
    return np.hstack(parts)


def roc_curve(scores: np.ndarray, member: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The strict (step) ROC curve at given false positive rates; shape (len(grid),)."""
    label = member[None, :].astype(np.float64)
    return rank_statistics(scores, label, 1.0 - label, tuple(grid))[1:, 0]
