"""Singling out: does the synthetic table hold what only one real patient has?

Two attacks. `values`: a value of one column that a single real patient has (an extreme, a rare
diagnosis) stands in the synthetic table. `combinations`: a combination of two or three columns,
numbers in bins, that a single real patient has stands exactly once in the synthetic table, so that
"the one with these values" points at a person (predicate singling out; Cohen and Nissim 2020,
"Towards formalizing the GDPR's notion of singling out").

"Only one patient has it" is judged among all real patients, *training and holdout together*. If the
split was drawn at random by patient, the one who has it is in training with the same chance as any
other patient; whether the value reappears does not depend on it, unless the generator remembers.
This holds for sides of any size (a value unique in a small holdout alone would be a commoner one)
and for integers on a grid that a generator fills anyway: those reappear as often for both.

A patient's success is the share of its unique values, or combinations, that reappear; patients
without any are left out. The leak is the difference of the sides (`contrast`). Independent
marginals drawn from the training values pass every distance test and fail this one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.evaluate.features import Encoded, stack
from pegai.evaluate.privacy.contrast import Outcome
from pegai.evaluate.privacy.guessing import MISSING
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

ATTACKS: dict[str, str] = {"values": "rare values", "combinations": "combinations of columns"}
"""The attacks and their titles."""

COMBINATIONS = 60
QUICK_COMBINATIONS = 20
_BINS = 20
_SIZES = (2, 3)


@dataclass(frozen=True, eq=False)
class Uniques:
    """What only one real patient has, in one column or combination.

    Attributes:
        columns: Positions of the columns.
        keys: The values or cells; shape (uniques,), sorted, distinct.
        patient: Who has each; shape (uniques,).
    """

    columns: tuple[int, ...]
    keys: np.ndarray
    patient: np.ndarray


@dataclass(frozen=True, eq=False)
class SinglingTargets:
    """Everything about the real patients.

    Attributes:
        names: The columns: numbers, then discrete ones.
        members: Training patients, numbered first.
        patients: All patients.
        edges: Cuts of each numeric column for combinations.
        values: Unique values by column.
        cells: Unique combinations, bins for numbers.
    """

    names: tuple[str, ...]
    members: int
    patients: int
    edges: tuple[np.ndarray, ...]
    values: tuple[Uniques, ...]
    cells: tuple[Uniques, ...]


@dataclass(frozen=True, eq=False)
class SinglingOut:
    """What one synthetic table gives away.

    Attributes:
        outcomes: Attack to success.
        by_column: For each column the excess of `values`, NaN without unique values on both sides.
    """

    outcomes: dict[str, Outcome]
    by_column: dict[str, float]


def fit_singling(
    train: Encoded, holdout: Encoded, streams: Streams, *, tier: Tier
) -> SinglingTargets:
    """Find what only one real patient has."""
    real = stack(train, holdout)
    patient = np.unique(real.units, return_inverse=True)[1]
    columns = _columns(real)
    edges = tuple(_cuts(real.numbers[:, i]) for i in range(real.numbers.shape[1]))
    rng = streams.child("singling-out").get("split")
    limit = COMBINATIONS if tier.full else QUICK_COMBINATIONS
    binned = _binned(real, edges)
    return SinglingTargets(
        real.features.names,
        int(np.unique(train.units).size),
        int(patient.max(initial=-1)) + 1,
        edges,
        tuple(_unique_values(columns, i, patient, real) for i in range(columns.shape[1])),
        tuple(_unique_cells(binned, c, patient) for c in _choose(columns.shape[1], limit, rng)),
    )


def _columns(table: Encoded) -> np.ndarray:
    """Numbers and codes side by side, missing as `MISSING`; shape (rows, columns)."""
    numbers = np.where(np.isnan(table.numbers), MISSING, table.numbers)
    codes = np.where(table.codes < 0, MISSING, table.codes)
    return np.hstack([numbers, codes])


def _cuts(values: np.ndarray) -> np.ndarray:
    observed = values[~np.isnan(values)]
    if observed.size == 0:
        return np.zeros(0)
    return np.unique(np.quantile(observed, np.arange(1, _BINS) / _BINS, method="lower"))


def _binned(table: Encoded, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Bins and codes from -1 (missing) on; shape (rows, columns), int32."""
    bins = np.empty(table.numbers.shape, dtype=np.int32)
    for i, cuts in enumerate(edges):
        found = np.searchsorted(cuts, table.numbers[:, i], side="left")
        bins[:, i] = np.where(np.isnan(table.numbers[:, i]), -1, found)
    return np.hstack([bins, table.codes])


def _choose(columns: int, limit: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Pairs and triples of columns, all of them or `limit` drawn at random, half of each."""
    chosen: list[tuple[int, ...]] = []
    for size in _SIZES:
        share = limit // len(_SIZES)
        if math.comb(columns, size) <= share:
            chosen += itertools.combinations(range(columns), size)
            continue
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < share:
            picked = rng.choice(columns, size, replace=False)
            drawn.add(tuple(sorted(int(i) for i in picked)))
        chosen += sorted(drawn)
    return chosen


def _unique_values(
    columns: np.ndarray, position: int, patient: np.ndarray, table: Encoded
) -> Uniques:
    """Values that one patient has; missing and "any other level" are no values."""
    values = columns[:, position]
    discrete = position - table.numbers.shape[1]
    known = values != MISSING
    if discrete >= 0:
        known &= values < table.features.discrete[discrete].size - 1
    keys, owner = _held_by_one(values[known], patient[known])
    return Uniques((position,), keys, owner)


def _unique_cells(binned: np.ndarray, columns: tuple[int, ...], patient: np.ndarray) -> Uniques:
    keys, owner = _held_by_one(_cells(binned, columns), patient)
    return Uniques(columns, keys, owner)


def _cells(binned: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """One number for each combination: codes stay below 256, bins below that."""
    found = np.zeros(binned.shape[0], dtype=np.int64)
    for i in columns:
        found = found * 512 + binned[:, i] + 1
    return found


def _held_by_one(values: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values that exactly one patient has, who that is)."""
    pairs = pl.DataFrame({"value": values, "patient": patient}).group_by("value")
    found = pairs.agg(pl.col("patient").min().alias("low"), pl.col("patient").max().alias("high"))
    found = found.filter(pl.col("low") == pl.col("high")).sort("value")
    return found["value"].to_numpy(), found["low"].to_numpy()


def single_out(targets: SinglingTargets, synthetic: Encoded) -> SinglingOut:
    """Look for what only one real patient has in one synthetic table."""
    columns, binned = _columns(synthetic), _binned(synthetic, targets.edges)
    values = [_found(u.keys, columns[:, u.columns[0]]) for u in targets.values]
    cells = [_found_once(u.keys, _cells(binned, u.columns)) for u in targets.cells]
    by_column = {
        targets.names[u.columns[0]]: _excess(u, hit, targets.members)
        for u, hit in zip(targets.values, values, strict=True)
    }
    outcomes = {
        "values": _by_patient(targets, targets.values, values),
        "combinations": _by_patient(targets, targets.cells, cells),
    }
    return SinglingOut(outcomes, by_column)


def _found(keys: np.ndarray, column: np.ndarray) -> np.ndarray:
    return np.isin(keys, column)


def _found_once(keys: np.ndarray, cells: np.ndarray) -> np.ndarray:
    found, counts = np.unique(cells, return_counts=True)
    return np.isin(keys, found[counts == 1])


def _excess(uniques: Uniques, hit: np.ndarray, members: int) -> float:
    ours = uniques.patient < members
    if ours.all() or not ours.any():
        return math.nan
    return float(hit[ours].mean() - hit[~ours].mean())


def _by_patient(
    targets: SinglingTargets, uniques: Sequence[Uniques], hits: Sequence[np.ndarray]
) -> Outcome:
    """The share of each patient's uniques that were found; patients without any are left out."""
    total, found = np.zeros(targets.patients), np.zeros(targets.patients)
    for single, hit in zip(uniques, hits, strict=True):
        total += np.bincount(single.patient, minlength=targets.patients)
        found += np.bincount(single.patient, hit, minlength=targets.patients)
    used = total > 0
    share = found / np.maximum(total, 1)
    member = np.arange(targets.patients) < targets.members
    return Outcome(share[used & member], share[used & ~member])
