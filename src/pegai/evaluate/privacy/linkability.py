"""Linkability: do two halves of one patient's record meet in the same synthetic rows?

One data holder has half of a patient's columns, another one the other half. Each looks for the
nearest synthetic rows in its own columns. If the two searches share a row, the synthetic table has
linked the halves. For patients never seen that happens by chance and by what the columns have to do
with each other; what training patients are linked more often is the leak (`contrast`).

A row belongs to a search if it is no farther than the k-th nearest row: rows that are equally far
all belong, since taking some of them would be taking by position. The shared row is looked for
among the k nearest of either half.

The halves are the quasi-identifiers and all other columns, or, without quasi-identifiers, every
second column in the order of a hash of the names: fixed, and blind to the data. k = 1 is the
headline, fixed beforehand.

The idea of linking through common neighbours is that of record linkage between masked files:
Domingo-Ferrer and Torra (2003), "Disclosure risk assessment in statistical microdata protection via
advanced record linkage".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded, distance_matrix, stack
from pegai.evaluate.privacy.contrast import Outcome, by_patient, choose_patients
from pegai.evaluate.privacy.neighbours import CodedPoints, Neighbours, nearest_neighbours
from pegai.evaluate.privacy.scenario import Scenario, by_hash, restrict
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

KS = (1, 2, 3, 4, 5)
"""Neighbours a half; the first is the headline."""

MAX_PATIENTS = 5_000
_EQUAL = 1e-9
_CELLS = 4_000_000


@dataclass(frozen=True, eq=False)
class LinkTargets:
    """The patients to link, drawn once for all synthetic tables.

    Attributes:
        rows: Coded rows of both sides, members first.
        member: Whether each row is a training patient's; shape (rows,).
        halves: Columns of the two halves.
    """

    rows: Encoded
    member: np.ndarray
    halves: tuple[tuple[str, ...], tuple[str, ...]]


def column_halves(scenario: Scenario) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two disjoint halves of the columns; see the module. One is empty with fewer than two."""
    rest = tuple(c for c in scenario.columns if c not in scenario.quasi_identifiers)
    if scenario.quasi_identifiers and rest:
        return scenario.quasi_identifiers, rest
    ordered = by_hash(scenario.columns)
    return tuple(sorted(ordered[::2])), tuple(sorted(ordered[1::2]))


def fit_links(
    train: Encoded, holdout: Encoded, scenario: Scenario, streams: Streams, *, tier: Tier
) -> LinkTargets | None:
    """Choose the patients to link; None with fewer than two columns."""
    halves = column_halves(scenario)
    if not all(halves):
        return None
    rng = streams.child("linkability").get("split")
    limit = min(tier.max_targets // 2, MAX_PATIENTS)
    members, others = choose_patients(train, limit, rng), choose_patients(holdout, limit, rng)
    member = np.arange(len(members) + len(others)) < len(members)
    return LinkTargets(stack(members, others), member, halves)


def link(targets: LinkTargets, synthetic: Encoded) -> dict[int, Outcome]:
    """Link the halves through one synthetic table; k to success."""
    sides = [(restrict(targets.rows, half), restrict(synthetic, half)) for half in targets.halves]
    near = [nearest_neighbours(CodedPoints(a), CodedPoints(b), max(KS)) for a, b in sides]
    # How far the candidates of one half are in the other half's columns.
    crossed = [
        _distances(*sides[1], near[0].index),
        _distances(*sides[0], near[1].index),
    ]
    return {k: _outcome(targets, _linked(near, crossed, k)) for k in KS}


def _linked(near: list[Neighbours], crossed: list[np.ndarray], k: int) -> np.ndarray:
    """Whether a row is among the nearest by both halves; shape (targets,)."""
    use = min(k, near[0].distances.shape[1])
    radius = [half.distances[:, use - 1 : use] + _EQUAL for half in near]
    first = (near[0].distances <= radius[0]) & (crossed[0] <= radius[1])
    second = (near[1].distances <= radius[1]) & (crossed[1] <= radius[0])
    return np.asarray((first | second).any(axis=1))


def _distances(targets: Encoded, reference: Encoded, index: np.ndarray) -> np.ndarray:
    """Distance of each target to given reference rows; shape as `index`."""
    found = np.empty(index.shape)
    width = max(1, distance_matrix(targets.take(np.arange(0))).shape[1])
    step = max(1, _CELLS // (width * max(1, index.shape[1])))
    for start in range(0, index.shape[0], step):
        part = np.arange(start, min(start + step, index.shape[0]))
        points = distance_matrix(targets.take(part))
        others = distance_matrix(reference.take(index[part].ravel()))
        gap = others.reshape(part.size, index.shape[1], -1) - points[:, None, :]
        found[part] = np.sqrt((gap**2).sum(axis=2))
    return found


def _outcome(targets: LinkTargets, success: np.ndarray) -> Outcome:
    units, member = targets.rows.units, targets.member
    return Outcome(
        by_patient(units[member], success[member]), by_patient(units[~member], success[~member])
    )
