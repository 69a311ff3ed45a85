"""Training and holdout patients.

Patients are drawn, not rows, so nobody is on both sides. The draw is systematic: patients are
ordered by stratum and at random within it, and every k-th is taken. So each stratum, however small,
gives its share to within one patient, without rules for the ones that are too small, and every
patient has the same chance (Cochran, Sampling Techniques, 1977, chapter 8).

Both parts stay private: the holdout serves evaluation inside the trusted zone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.errors import DataError, UsageError
from pegai.schema.parse import null_where

TARGET_BANDS = 4
"""A numeric target is stratified by its quartiles."""


@dataclass(frozen=True, eq=False)
class Split:
    """Two tables that share no patient, each with its rows in the order they came."""

    train: Table
    holdout: Table


def split(
    table: Table, *, holdout: float = 0.3, rng: np.random.Generator, stratify: bool = True
) -> Split:
    """Draw holdout patients.

    Args:
        table: At least two patients.
        holdout: Share of the patients, above 0 and below 1; both sides get at least one.
        rng: The `split` stream of the run. Equal generators give equal splits.
        stratify: Keep the shares of the target and, within them, of the sites. A patient with
            several rows counts by the most frequent value; missing is a value.

    Raises:
        UsageError: `holdout` is out of range.
        DataError: There are fewer than two patients.
    """
    if not 0 < holdout < 1:
        raise UsageError(f"holdout is {holdout}, it must be above 0 and below 1", hint="try 0.3")
    codes = table.unit_codes()
    patients = int(codes.max(initial=-1)) + 1
    if patients < 2:
        raise DataError("a split needs at least two patients", hint="bring more patients")
    strata = _strata(table, codes, patients) if stratify else np.zeros(patients, dtype=np.int64)
    chosen = min(max(round(patients * holdout), 1), patients - 1)
    order = np.lexsort((rng.permutation(patients), strata))
    # Position i is taken where the running share steps over a whole number.
    steps = np.floor(np.arange(patients + 1) * chosen / patients + rng.random())
    taken = np.zeros(patients, dtype=bool)
    taken[order[_exactly(np.diff(steps) > 0, chosen)]] = True
    held = taken[codes]
    return Split(table.take(~held), table.take(held))


def _exactly(taken: np.ndarray, chosen: int) -> np.ndarray:
    """Guard against the rounding of the shares: the number taken does not depend on it."""
    at = np.flatnonzero(taken)
    spare = np.flatnonzero(~taken)
    return np.concatenate([at, spare[: max(chosen - at.size, 0)]])[:chosen]


def _strata(table: Table, codes: np.ndarray, patients: int) -> np.ndarray:
    """A number for each patient, ordered by target first and site second; shape (patients,)."""
    strata = np.zeros(patients, dtype=np.int64)
    for column in (table.schema.target, table.schema.site):
        if column is None:
            continue
        levels = _banded(table, column.name) if column.is_numeric else table.texts(column.name)
        majority = _majority(levels, codes)
        strata = strata * (int(majority.max()) + 1) + majority
    return strata


def _majority(levels: pl.Series, codes: np.ndarray) -> np.ndarray:
    """The most frequent level of each patient, as a number; the first in order wins a tie."""
    # Numbered by the text's order, not by the row's: equal tables in any row order agree.
    ranks = levels.rank("dense").fill_null(0).cast(pl.Int64)
    counts = pl.DataFrame({"patient": codes, "level": ranks}).group_by("patient", "level").len()
    ordered = counts.sort(["patient", "len", "level"], descending=[False, True, False])
    return ordered.group_by("patient", maintain_order=True).first()["level"].to_numpy()


def _banded(table: Table, name: str) -> pl.Series:
    values = table.numbers(name)
    present = values[~np.isnan(values)]
    if not present.size:
        return pl.Series([None] * len(values), dtype=pl.Int64)
    cuts = np.quantile(present, np.arange(1, TARGET_BANDS) / TARGET_BANDS)
    bands = pl.Series(np.searchsorted(cuts, values, side="left"))
    return null_where(bands, pl.Series(np.isnan(values)))
