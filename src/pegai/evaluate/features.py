"""Features: from tables to the matrices that distances and classifiers work on.

Everything is fitted on *real patients*, training and holdout alike, and their schema, so that two
tables of the same schema always give matrices of the same width, whatever values they hold. Four
things must not change a result, and the coding is built so that they can't:

* **Row order**: rows are put into a canonical order (by content) before anything random happens.
* **Names of categories**: levels are numbered by how often they occur among real patients
  (ordinal ones by the order of the schema), never by their text.
* **Units**: numbers are centred by the median and scaled by the interquartile range, then rounded
  to nine decimals, so that cm and inches give the same bits.
* **Missing values**: a missing category is a level, a missing number is a flag; NaN never meets a
  distance.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.schema import Column

MAX_LEVELS = 250
"""Levels kept of a discrete column; gradient boosting takes at most 255 codes."""

_DECIMALS = 9
_FAR = 1e6  # interquartile ranges; keeps infinities and typing errors from breaking arithmetic
_HALF = float(np.sqrt(0.5))
_KNEE = 5.0  # interquartile ranges, beyond which distances grow by the logarithm
_SIGNS = 48
_CONSTANT = 1e-6

MAX_ONE_HOT = 64
"""Levels of a column (missing included) that have a coordinate each in `distance_matrix`."""


@dataclass(frozen=True)
class NumberScale:
    """How a numeric column is centred and scaled.

    Attributes:
        name: The column.
        centre: Median of the real patients, in the column's unit (days, seconds for dates).
        scale: Interquartile range of the real patients, or the next best spread where it is 0.
        spread: Standard deviation of the scaled numbers, far values drawn in; the unit of
            distances between patients.
    """

    name: str
    centre: float
    scale: float
    spread: float = 1.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Numbers in interquartile ranges from the median; NaN stays NaN."""
        with np.errstate(over="ignore"):
            scaled = (values - self.centre) / self.scale
        # + 0.0 turns -0.0 into 0.0, which hashes differently.
        return np.round(np.clip(scaled, -_FAR, _FAR), _DECIMALS) + 0.0


@dataclass(frozen=True)
class LevelCodes:
    """How a discrete column is numbered.

    Attributes:
        name: The column.
        levels: Texts in the order of their codes; the code after the last is "any other value".
        ordered: Whether the order of the codes means something.
    """

    name: str
    levels: tuple[str, ...]
    ordered: bool

    @property
    def size(self) -> int:
        """Codes in use, "any other value" included, missing (-1) not."""
        return len(self.levels) + 1

    def apply(self, texts: pl.Series) -> np.ndarray:
        """Codes of a column as int32, -1 for missing; shape (rows,)."""
        mapping = {level: code for code, level in enumerate(self.levels)}
        codes = texts.replace_strict(mapping, default=len(self.levels), return_dtype=pl.Int32)
        found = codes.fill_null(-1).to_numpy().astype(np.int32)
        found[texts.is_null().to_numpy()] = -1
        return found


@dataclass(frozen=True)
class Features:
    """The coding of a table, fitted on real patients.

    Attributes:
        numbers: Numeric and date columns, in the order of the schema.
        discrete: Categorical, ordinal and boolean columns, in the order of the schema.
        texts: Free-text columns; only the search for copied texts looks at them.
    """

    numbers: tuple[NumberScale, ...]
    discrete: tuple[LevelCodes, ...]
    texts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are coded: numeric ones first."""
        return tuple(c.name for c in self.numbers) + tuple(c.name for c in self.discrete)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A coded table in canonical row order.

    Attributes:
        features: The coding.
        numbers: Scaled numbers, NaN for missing; shape (rows, numeric columns).
        codes: Level codes, -1 for missing; shape (rows, discrete columns), int32.
        units: Which patient each row belongs to, from 0; shape (rows,).
        keys: A hash of the row's coded values (no free text), equal for equal rows; shape (rows,),
            uint64.
        source: Position of each row in the table as it was given; shape (rows,).
    """

    features: Features
    numbers: np.ndarray
    codes: np.ndarray
    units: np.ndarray
    keys: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return self.keys.size

    def take(self, rows: np.ndarray | slice) -> Encoded:
        """The rows at positions, or where a mask is true; patients keep their numbers."""
        return dataclasses.replace(
            self,
            numbers=self.numbers[rows],
            codes=self.codes[rows],
            units=self.units[rows],
            keys=self.keys[rows],
            source=self.source[rows],
        )

    def without(self, name: str) -> Encoded:
        """The same rows without a column (the target of a classifier)."""
        spec = self.features
        keep_numbers = [i for i, c in enumerate(spec.numbers) if c.name != name]
        keep_codes = [i for i, c in enumerate(spec.discrete) if c.name != name]
        features = Features(
            tuple(spec.numbers[i] for i in keep_numbers),
            tuple(spec.discrete[i] for i in keep_codes),
            spec.texts,
        )
        return dataclasses.replace(
            self,
            features=features,
            numbers=self.numbers[:, keep_numbers],
            codes=self.codes[:, keep_codes],
        )


def stack(*tables: Encoded) -> Encoded:
    """Coded tables one below the other; patients of different tables stay different ones."""
    offsets = np.cumsum([0, *(int(t.units.max(initial=-1)) + 1 for t in tables[:-1])])
    return Encoded(
        tables[0].features,
        np.vstack([t.numbers for t in tables]),
        np.vstack([t.codes for t in tables]),
        np.concatenate([t.units + start for t, start in zip(tables, offsets, strict=True)]),
        np.concatenate([t.keys for t in tables]),
        np.concatenate([t.source for t in tables]),
    )


def fit_features(real: Table) -> Features:
    """Learn scales and level orders from real patients.

    Columns with the role `identifier` and the patient id are left out.

    Args:
        real: Real patients: for attacks on membership those of both sides of the split.
    """
    # By name, so that the order of the columns can't change a result.
    modelled = sorted(real.schema.modelled, key=lambda column: column.name)
    numbers = tuple(_fit_number(c, real.numbers(c.name)) for c in modelled if c.is_numeric)
    discrete = tuple(_fit_levels(c, real.texts(c.name)) for c in modelled if c.is_discrete)
    texts = tuple(c.name for c in modelled if c.kind == "text")
    return Features(numbers, discrete, texts)


def _fit_number(column: Column, values: np.ndarray) -> NumberScale:
    observed = values[np.isfinite(values)]
    if observed.size == 0:
        return NumberScale(column.name, 0.0, 1.0)
    quantiles = np.quantile(observed, [0.05, 0.25, 0.5, 0.75, 0.95])
    with np.errstate(over="ignore", invalid="ignore"):
        spreads = [quantiles[3] - quantiles[1], (quantiles[4] - quantiles[0]) / 2, observed.std()]
    if column.minimum is not None and column.maximum is not None:
        spreads.append(column.maximum - column.minimum)
    # A spread far below the size of the numbers is rounding of a constant, not a spread.
    floor = 1e-12 * max(1e-300, float(np.abs(observed).max()))
    scale = next((float(s) for s in spreads if np.isfinite(s) and s > floor), 0.0)
    centre = float(quantiles[2])
    found = NumberScale(column.name, centre, scale or abs(centre) or 1.0)
    # Sorted and rounded, so that neither the order of rows nor the unit decides the last bit.
    spread = round(float(np.sort(_drawn_in(found.apply(observed))).std()), 6)
    return dataclasses.replace(found, spread=spread if spread > _CONSTANT else 1.0)


def _fit_levels(column: Column, texts: pl.Series) -> LevelCodes:
    counts = dict(texts.drop_nulls().value_counts().iter_rows())
    levels = list(column.levels) + sorted(set(counts) - set(column.levels))
    if column.kind == "ordinal":
        return LevelCodes(column.name, tuple(levels[:MAX_LEVELS]), ordered=True)
    levels.sort(key=lambda level: -counts.get(level, 0))  # stable: ties keep the schema's order
    return LevelCodes(column.name, tuple(levels[:MAX_LEVELS]), ordered=False)


def encode(features: Features, table: Table) -> Encoded:
    """Code a table; never fails on values that the training table did not have.

    Raises:
        DataError: A column of the coding is not in the table.
    """
    rows = len(table)
    numbers = np.empty((rows, len(features.numbers)))
    for i, number in enumerate(features.numbers):
        numbers[:, i] = number.apply(table.numbers(number.name))
    codes = np.empty((rows, len(features.discrete)), dtype=np.int32)
    for i, level_codes in enumerate(features.discrete):
        codes[:, i] = level_codes.apply(table.texts(level_codes.name))
    keys = _row_keys(numbers, codes)
    filled = np.where(np.isnan(numbers), -2 * _FAR, numbers)
    order = np.lexsort([*filled.T, *codes.T]) if rows else np.arange(0)
    if order.size != rows:  # no coded column at all
        order = np.arange(rows)
    return Encoded(
        features,
        numbers[order],
        codes[order],
        _renumber(table.unit_codes()[order]),
        keys[order],
        order,
    )


def _renumber(units: np.ndarray) -> np.ndarray:
    """Patient numbers by first appearance, so that they don't depend on the ids."""
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[inverse]


def _row_keys(numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    columns = {f"n{i}": pl.Series(numbers[:, i]).fill_nan(None) for i in range(numbers.shape[1])}
    columns |= {f"c{i}": pl.Series(codes[:, i]) for i in range(codes.shape[1])}
    if not columns:
        return np.zeros(numbers.shape[0], dtype=np.uint64)
    return pl.DataFrame(columns).hash_rows(seed=0).to_numpy().astype(np.uint64)


def distance_matrix(encoded: Encoded) -> np.ndarray:
    """Coordinates in which Euclidean distance is the distance between patients.

    A number counts in standard deviations, beyond five interquartile ranges in their logarithm, so
    that one typing error does not decide who is near whom; two different
    categories, or missing against present, are 1 apart (one-hot over the square root of two; a
    missing number sits at the median with its flag raised). A column of more than
    `MAX_ONE_HOT` levels has a fixed random sign vector a level instead, whose distances are 1 on
    average and within about a fifth of it; equal levels are 0 apart.

    Returns:
        Shape (rows, `distance_width(features)`), float64, no NaN.
    """
    absent = np.isnan(encoded.numbers)
    spreads = np.array([number.spread for number in encoded.features.numbers])
    near = _drawn_in(encoded.numbers) / spreads
    blocks = [np.where(absent, 0.0, near), absent.astype(np.float64)]
    for i, column in enumerate(encoded.features.discrete):
        blocks.append(_level_points(column.size + 1)[encoded.codes[:, i] + 1])
    return np.hstack(blocks)


def distance_width(features: Features) -> int:
    """Coordinates a row of `distance_matrix`."""
    return 2 * len(features.numbers) + sum(
        _level_points(column.size + 1).shape[1] for column in features.discrete
    )


def _drawn_in(numbers: np.ndarray) -> np.ndarray:
    """Far values nearer: beyond the knee a number grows by its logarithm."""
    beyond = np.log1p(np.maximum(np.abs(numbers) - _KNEE, 0.0))
    return np.clip(numbers, -_KNEE, _KNEE) + np.sign(numbers) * beyond


@functools.cache
def _level_points(levels: int) -> np.ndarray:
    """A point for each level; shape (levels, dimensions)."""
    if levels <= MAX_ONE_HOT:
        return np.eye(levels) * _HALF
    signs = np.random.default_rng(_SIGNS).integers(0, 2, size=(levels, _SIGNS)) * 2 - 1
    return signs / np.sqrt(2 * _SIGNS)


def one_hot_matrix(
    codes: np.ndarray, sizes: Sequence[int], dtype: type[np.floating[Any]] = np.float64
) -> np.ndarray:
    """Indicator columns of several code columns side by side; shape (rows, sum of sizes)."""
    starts = np.cumsum([0, *sizes])
    found = np.zeros((codes.shape[0], int(starts[-1])), dtype=dtype)
    for i in range(len(sizes)):
        found[np.arange(codes.shape[0]), codes[:, i] + starts[i]] = 1.0
    return found


def tree_matrix(encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """What trees take: scaled numbers and level codes, NaN for missing.

    Returns:
        (matrix of shape (rows, columns), mask of the columns whose codes have no order).
    """
    codes = encoded.codes.astype(np.float64)
    codes[codes < 0] = np.nan
    nominal = [not column.ordered for column in encoded.features.discrete]
    mask = np.array([False] * encoded.numbers.shape[1] + nominal, dtype=bool)
    return np.hstack([encoded.numbers, codes]), mask


@dataclass(frozen=True, eq=False)
class LinearCoding:
    """Imputation and scaling for linear, nearest-neighbour and kernel models.

    It is fitted on the training side only: whoever is given synthetic data has nothing else.

    Attributes:
        medians: Fill for missing numbers; shape (numeric columns,).
        means: Mean of the filled numbers.
        deviations: Standard deviation of the filled numbers, 1 where it is 0.
        modes: Fill for missing categories, shape (discrete columns,).
    """

    medians: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    modes: np.ndarray


def fit_linear(training_side: Encoded) -> LinearCoding:
    """Learn medians, most frequent levels and scales from the training side."""
    numbers, codes = training_side.numbers, training_side.codes
    if len(training_side) == 0:
        width = np.zeros(numbers.shape[1])
        return LinearCoding(width, width, width + 1.0, np.zeros(codes.shape[1], dtype=np.int32))
    medians = np.zeros(numbers.shape[1])
    for i in range(numbers.shape[1]):
        observed = numbers[~np.isnan(numbers[:, i]), i]
        medians[i] = np.median(observed) if observed.size else 0.0
    filled = np.where(np.isnan(numbers), medians, numbers)
    deviations = filled.std(axis=0)
    modes = np.zeros(codes.shape[1], dtype=np.int32)
    for i in range(codes.shape[1]):
        observed = codes[codes[:, i] >= 0, i]
        modes[i] = np.bincount(observed).argmax() if observed.size else 0
    means = filled.mean(axis=0)
    return LinearCoding(medians, means, np.where(deviations > 1e-9, deviations, 1.0), modes)


def linear_matrix(coding: LinearCoding, encoded: Encoded) -> np.ndarray:
    """Standardised numbers, one-hot levels and missing flags.

    Returns:
        Shape (rows, 2 x numeric columns + sum of levels + discrete columns), float64, no NaN.
    """
    absent = np.isnan(encoded.numbers)
    filled = np.where(absent, coding.medians, encoded.numbers)
    # Ten standard deviations: real rows may lie far outside a collapsed synthetic column.
    scaled = np.clip((filled - coding.means) / coding.deviations, -10.0, 10.0)
    unknown = encoded.codes < 0
    levels = np.where(unknown, coding.modes, encoded.codes)
    sizes = [column.size for column in encoded.features.discrete]
    hot = one_hot_matrix(levels, sizes) * _HALF
    return np.hstack([scaled, absent.astype(float), hot, unknown.astype(float)])
