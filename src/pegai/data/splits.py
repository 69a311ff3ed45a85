"""Training and holdout patients.

Patients are drawn, not rows, so nobody is on both sides. The draw is systematic: patients are
ordered by stratum and at random within it, and every k-th is taken. So each stratum, however small,
gives its share to within one patient, without rules for the ones that are too small, and every
patient has the same chance (Cochran, Sampling Techniques, 1977, chapter 8).

Both parts stay private: the holdout serves evaluation inside the trusted zone.
"""

from __future__ import annotations

import hashlib
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
    _check_share(holdout)
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


def split_independently(table: Table, *, holdout: float = 0.3, seed: int) -> Split:
    """Draw holdout patients, each without regard to the others, as a private fit needs it.

    Whether a patient is held out is a keyed hash of the patient's own id (or row, where each row is
    a patient) and the seed. So one patient more or less in the source table is one patient more or
    less on one side, and nobody else moves: the guarantee of a fit on `train` holds for the whole
    source table. `split`, which keeps shares of the target exact, does not have this property.

    Args:
        table: At least one patient a side, as it falls.
        holdout: Chance of each patient to be held out.
        seed: Key of the hash; it need not be secret.

    Raises:
        UsageError: `holdout` is out of range.
        DataError: Everybody fell on one side.
    """
    _check_share(holdout)
    held = _own_coins(table, seed) < holdout
    if held.all() or not held.any():
        raise DataError(
            "with so few patients all fell on one side of the split",
            hint="bring more patients, or choose another seed",
        )
    return Split(table.take(~held), table.take(held))


def _own_coins(table: Table, seed: int) -> np.ndarray:
    """A number in [0, 1) for each row, the same for all rows of a patient; shape (rows,)."""
    frame, unit = table.frame, table.schema.unit
    own = frame if unit is None else frame.select(pl.col(unit).cast(pl.String))
    text = own.select(pl.concat_str(pl.all().cast(pl.String).fill_null("\x00"), separator="\x1f"))
    if unit is None:
        # Equal rows are different patients: the second one has a coin of its own.
        text = text.select(
            pl.first() + "\x1e" + pl.first().cum_count().over(pl.first()).cast(pl.String)
        )
    key = seed.to_bytes(32, "little")
    digests = [
        hashlib.blake2b(value.encode(), key=key, digest_size=8).digest()
        for value in text.to_series()
    ]
    numbers = np.frombuffer(b"".join(digests), dtype="<u8")
    return (numbers >> np.uint64(11)).astype(np.float64) / 2.0**53


def _check_share(holdout: float) -> None:
    if not 0 < holdout < 1:
        raise UsageError(f"holdout is {holdout}, it must be above 0 and below 1", hint="try 0.3")


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
