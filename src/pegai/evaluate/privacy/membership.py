"""Membership inference: what the panel of attacks (`pegai.evaluate.privacy.attacks`) amounts to.

`nn_ratio` is the headline, fixed beforehand. Taking the best of seven attacks would raise a false
alarm on safe data, so that the best is used in two ways only:

* The permutation test. If the holdout was drawn at random by patient before training, the labels
  are exchangeable for a generator without memory. The p-value of the *largest* statistic of the
  whole panel, by permuted labels of patients, is exact.
* The best attack, chosen on one half of the patients and measured on the other, both ways round.

True positive rates are held strictly: no threshold inside of a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.intervals import clopper_pearson, patient_weights, rank_statistics
from pegai.evaluate.privacy.attacks import ATTACKS
from pegai.evaluate.privacy.targets import Targets
from pegai.streams import Streams

FPRS = (0.01, 0.001)
PERMUTATIONS = 999
_CELLS = 4_000_000

Scores = Mapping[str, np.ndarray]
"""Attack name to a score a patient; shape (patients,) each."""


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
        critical: The 95 % quantile of the largest statistic under permuted labels.
        found_by: The attack whose statistic was the largest.
    """

    p_value: float
    null_means: dict[tuple[str, str], float]
    critical: float
    found_by: str


def panel_test(
    scores: Sequence[Scores],
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
        name: np.stack([permuted_statistics(table[name], labels) for table in scores])
        for name in scores[0]
    }
    standard = {name: _standardised(per_table) for name, per_table in found.items()}
    largest = np.max([s.max(axis=0) for s in standard.values()], axis=0)
    names = ("auc", *(f"tpr_{fpr:g}" for fpr in FPRS))
    keys = [(attack, i) for attack in found for i in range(len(names))]
    return PanelTest(
        float((largest >= largest[0] - 1e-9).mean()),
        {(a, names[i]): float(found[a][:, i].mean()) for a, i in keys},
        float(np.quantile(largest[1:], 0.95)) if permutations else float("nan"),
        max(standard, key=lambda name: float(standard[name][:, 0].max())),
    )


def _standardised(per_table: np.ndarray) -> np.ndarray:
    """Statistics of each table and of their mean, in standard deviations of their permutations.

    Args:
        per_table: Shape (tables, statistics, permutations + 1), the area first.

    Returns:
        Shape (entries, permutations + 1); the area stands in it from both sides.
    """
    tables = per_table.shape[0]
    stacked = per_table if tables == 1 else np.vstack([per_table, per_table.mean(0)[None]])
    values = np.vstack([stacked.reshape(-1, stacked.shape[2]), -stacked[:, 0]])
    spread = values.std(axis=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    return np.where(spread > 1e-12, centred / np.maximum(spread, 1e-12), 0.0)


def permuted_statistics(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC and strict true positive rates under many labellings with equally many members.

    Args:
        scores: Higher means "member"; shape (patients,).
        labels: Whether each patient is a member; shape (labellings, patients).

    Returns:
        Shape (1 + len(FPRS), labellings).
    """
    from scipy.stats import rankdata

    members = int(labels[0].sum())
    others = scores.size - members
    ranks = rankdata(scores) - (scores.size + 1) / 2
    found = np.empty((1 + len(FPRS), labels.shape[0]))
    step = max(1, _CELLS // max(1, scores.size))
    for start in range(0, labels.shape[0], step):
        part = labels[start : start + step].astype(np.float64)
        found[0, start : start + step] = 0.5 + part @ ranks / (members * others)
    order = np.argsort(-scores, kind="stable")
    for i, fpr in enumerate(FPRS, start=1):
        allowed = int(np.floor(fpr * others + 1e-9))
        found[i] = _caught(scores[order], labels, order, allowed) / members
    return found


def _caught(falling: np.ndarray, labels: np.ndarray, order: np.ndarray, allowed: int) -> np.ndarray:
    """Members above the lowest threshold that lets no more than `allowed` others pass."""
    ends = np.append(falling[1:] != falling[:-1], True)
    caught = np.zeros(labels.shape[0], dtype=np.int64)
    left = np.arange(labels.shape[0])
    width = 4 * allowed + 64
    while left.size:
        # Only as much of the ranking as is needed: for permuted labels the top of it.
        top = labels[np.ix_(left, order[:width])]
        members = np.cumsum(top, axis=1, dtype=np.int32)
        false = np.arange(1, top.shape[1] + 1) - members
        usable = (false <= allowed) & ends[:width]
        caught[left] = np.where(usable, members, 0).max(axis=1)
        left = left[false[:, -1] <= allowed] if width < order.size else left[:0]
        width *= 4
    return caught


def roc_curve(scores: np.ndarray, member: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The strict (step) ROC curve at given false positive rates; shape (len(grid),)."""
    label = member[None, :].astype(np.float64)
    return rank_statistics(scores, label, 1.0 - label, tuple(grid))[1:, 0]


@dataclass(frozen=True, eq=False)
class BestAttack:
    """The best attack, chosen on one half of the patients and measured on the other.

    Attributes:
        names: The attack chosen for each half.
        values: The area on each table, the mean of both halves; shape (tables,).
        draws: The same on resamples of patients; shape (tables, resamples).
    """

    names: tuple[str, str]
    values: np.ndarray
    draws: np.ndarray


def best_attack(
    scores: Sequence[Scores],
    member: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    streams: Streams,
) -> BestAttack:
    """The area of the best attack of the panel without the luck of choosing it."""
    halves = _halves(member, streams)
    chosen, values, draws = [], [], []
    for half in (0, 1):
        seen, kept = halves != half, halves == half
        area = {
            name: np.mean([observed_statistics(s[name][seen], member[seen], ())[0] for s in scores])
            for name in ATTACKS
        }
        name = max(ATTACKS, key=lambda a: area[a])
        chosen.append(name)
        values.append([observed_statistics(s[name][kept], member[kept], ())[0] for s in scores])
        sides = (weights[0][:, kept], weights[1][:, kept])
        draws.append([resampled_statistics(s[name][kept], sides, ())[0] for s in scores])
    return BestAttack(
        (chosen[0], chosen[1]), np.mean(values, axis=0), np.mean(np.array(draws), axis=0)
    )


def _halves(member: np.ndarray, streams: Streams) -> np.ndarray:
    """0 or 1 for each patient, members and non-members halved alike."""
    rng = streams.child("membership-halves").get("split")
    halves = np.empty(member.size, dtype=np.int64)
    for side in (member, ~member):
        halves[side] = rng.permutation(int(side.sum())) % 2
    return halves


@dataclass(frozen=True)
class EpsilonBound:
    """The least epsilon that explains what an attack was seen to do.

    Attributes:
        epsilon: Lower end of a one-sided 95 % interval; 0 where nothing was seen.
        attack: The attack that gave it.
        tpr: Members it caught.
        fpr: Non-members it took for members.
    """

    epsilon: float
    attack: str
    tpr: float
    fpr: float


def epsilon_lower_bound(
    scores: Scores, member: np.ndarray, streams: Streams, *, delta: float = 0.0
) -> EpsilonBound:
    """What epsilon must at least be, by the trade-off that differential privacy imposes.

    An (epsilon, delta) generator allows TPR <= e^epsilon FPR + delta, and the same for the rates of
    misses (Kairouz et al. 2015). Attack and threshold are chosen on one half of the patients; on
    the other half the rates are bounded by Clopper and Pearson at 97.5 % each.
    """
    halves = _halves(member, streams)
    seen, kept = halves == 0, halves == 1
    best = (-np.inf, "", 0.0, 1)
    for name in ATTACKS:
        for side in (1, -1):
            inside = member[seen] if side == 1 else ~member[seen]
            value, threshold = _best_threshold(side * scores[name][seen], inside, delta)
            if value > best[0]:
                best = (value, name, threshold, side)
    _, name, threshold, side = best
    # Side -1 tells non-members: a low score is a hit on the others.
    hit = side * scores[name][kept] >= threshold
    inside = member[kept] if side == 1 else ~member[kept]
    hits, alarms = int(hit[inside].sum()), int(hit[~inside].sum())
    sizes = int(inside.sum()), int((~inside).sum())
    low = clopper_pearson(hits, sizes[0])[0]
    high = clopper_pearson(alarms, sizes[1])[1]
    epsilon = float(np.log((low - delta) / high)) if low > delta and high > 0 else 0.0
    return EpsilonBound(max(0.0, epsilon), name, hits / max(1, sizes[0]), alarms / max(1, sizes[1]))


def _best_threshold(scores: np.ndarray, member: np.ndarray, delta: float) -> tuple[float, float]:
    """The largest bound to be expected, and its threshold, by the chosen half alone."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(scores[order][1:] != scores[order][:-1], True)
    plus, minus = np.cumsum(member[order]), np.cumsum(~member[order])
    tpr = plus / max(1, plus[-1])
    # As far as the counts will carry: standard errors off the top and onto the bottom.
    low = tpr - 2 * np.sqrt(tpr * (1 - tpr) / max(1, plus[-1]))
    high = (minus + 2 * np.sqrt(minus + 1) + 1.5) / max(1, minus[-1])
    gain = np.where(ends & (low > delta), np.log(np.maximum(low - delta, 1e-12) / high), -np.inf)
    at = int(gain.argmax())
    return float(gain[at]), float(scores[order][at])
