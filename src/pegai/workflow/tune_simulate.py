"""Tables simulated from a public schema: what settings of a private fit are tuned on for free.

A random latent-class model over the schema's domain: a few hidden kinds of patients, each with its
own random distribution of most columns, and a target that depends on the kind and on a few other
columns. How many kinds, how different, how skewed, how much is missing: all of it is drawn anew for
each table, so that settings are not tuned to one guess. Nothing is read but the schema and the
number of patients that the user guesses, so nothing is charged.

Impossible combinations of the schema are left out, by drawing such rows again; where a rule leaves
next to nothing, what is left of them is kept. Other rules of the schema are not simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import DTYPES, Table
from pegai.schema import Column, Schema

ROUNDS = 20
"""How often rows that the schema calls impossible are drawn again."""

DEPENDENT = 0.7
"""Share of the columns that depend on the kind of patient, on average."""


@dataclass(frozen=True, eq=False)
class _Shape:
    """How one column is drawn, by kind of patient.

    Attributes:
        shares: Of a discrete column's levels; shape (kinds, levels). Empty for a number.
        beta: Of a number: both parameters of a Beta distribution on its bounds; shape (kinds, 2).
        zeros: Of a number: share of rows at the value nearest to 0, as many clinical columns have.
        missing: Share of missing cells; shape (kinds,).
    """

    shares: np.ndarray
    beta: np.ndarray
    zeros: np.ndarray
    missing: np.ndarray


@dataclass(frozen=True, eq=False)
class Population:
    """A made-up population, from which any number of patients can be drawn.

    Attributes:
        schema: The public schema.
        kinds: Shares of the kinds of patients; shape (kinds,).
        shapes: How each modelled column is drawn.
        slopes: Weight of each modelled column's draw in the target; shape (columns,).
    """

    schema: Schema
    kinds: np.ndarray
    shapes: tuple[_Shape, ...]
    slopes: np.ndarray

    @classmethod
    def random(cls, schema: Schema, rng: np.random.Generator) -> Population:
        """A population made up at random.

        Args:
            schema: With levels or bounds of every modelled column.
            rng: Equal generators make equal populations.
        """
        count = int(rng.integers(2, 9))
        kinds = rng.dirichlet(np.full(count, 2.0))
        shapes = tuple(_shape(column, count, rng) for column in schema.modelled)
        others = np.array([column.role != "target" for column in schema.modelled])
        chosen = (rng.random(len(shapes)) < 0.3) & others
        return cls(schema, kinds, shapes, rng.normal(0, 1.2, len(shapes)) * chosen)

    def patients(self, count: int, rng: np.random.Generator) -> Table:
        """Patients of the population, a row each.

        Args:
            count: How many.
            rng: Equal generators draw equal patients.
        """
        frame = self._rows(count, rng)
        for _ in range(ROUNDS if self.schema.impossible else 0):
            broken = pl.any_horizontal([r.matches for r in self.schema.impossible])
            kept = frame.filter(~broken.fill_null(False))
            if kept.height == count:
                break
            frame = pl.concat([kept, self._rows(count - kept.height, rng)])
        return Table(_with_ids(frame, self.schema), self.schema)

    def _rows(self, count: int, rng: np.random.Generator) -> pl.DataFrame:
        kind = rng.choice(self.kinds.size, count, p=self.kinds)
        columns = self.schema.modelled
        # A place in [0, 1) for each cell: the rank of its value within its kind.
        places = rng.random((count, len(columns)))
        pull = (places - 0.5) @ self.slopes
        drawn: dict[str, pl.Series] = {}
        for i, (column, shape) in enumerate(zip(columns, self.shapes, strict=True)):
            place = places[:, i]
            if column.role == "target":
                place = _pulled(place, pull)
            gone = rng.random(count) < shape.missing[kind]
            drawn[column.name] = _values(column, shape, kind, place, gone, rng)
        return pl.DataFrame(drawn)


def _shape(column: Column, kinds: int, rng: np.random.Generator) -> _Shape:
    """How a column is drawn; the target depends on the kind of patient in any case."""
    depends = column.role == "target" or rng.random() < DEPENDENT
    distinct = kinds if depends else 1
    levels = max(len(column.levels), 1)
    whole = rng.dirichlet(np.full(levels, rng.uniform(0.5, 3.0)))
    spread = 10 ** rng.uniform(-0.3, 1.0)
    shares = np.array([rng.dirichlet(0.05 + spread * levels * whole) for _ in range(distinct)])
    middle = np.clip(rng.beta(2, 2) + rng.normal(0, 0.15, distinct), 0.05, 0.95)
    width = 10 ** rng.uniform(0.5, 1.5)
    beta = np.column_stack([middle, 1 - middle]) * width
    zeros = (rng.random() < 0.25) * rng.beta(1, 2, distinct)
    missing = (rng.random() < 0.5) * rng.beta(0.5, 5.0, distinct)
    if column.constraints.required:
        missing = np.zeros(distinct)
    if not depends:
        shares, beta = shares.repeat(kinds, axis=0), beta.repeat(kinds, axis=0)
        zeros, missing = zeros.repeat(kinds), missing.repeat(kinds)
    return _Shape(shares, beta, zeros, missing)


def _pulled(place: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """Places that other columns pull up or down: a logistic model of the target."""
    odds = np.log(np.clip(place, 1e-9, 1 - 1e-9) / (1 - np.clip(place, 1e-9, 1 - 1e-9)))
    return np.clip(1 / (1 + np.exp(-(odds + 2.0 * pull))), 0.0, 1 - 1e-12)


def _values(
    column: Column,
    shape: _Shape,
    kind: np.ndarray,
    place: np.ndarray,
    gone: np.ndarray,
    rng: np.random.Generator,
) -> pl.Series:
    """A column's values at places in [0, 1) of each row's distribution."""
    if column.is_discrete:
        ends = np.cumsum(shape.shares[kind], axis=1)
        codes = np.minimum((place[:, None] >= ends).sum(axis=1), len(column.levels) - 1)
        texts = pl.Series(column.name, [column.levels[code] for code in codes], dtype=pl.String)
        series = texts == "true" if column.type == "boolean" else texts.cast(DTYPES[column.type])
        return _blanked(series.alias(column.name), gone)
    from scipy.stats import beta

    low, high = column.minimum or 0.0, column.maximum or 0.0
    numbers = low + (high - low) * beta.ppf(place, *shape.beta[kind].T)
    at_zero = rng.random(place.size) < shape.zeros[kind]
    numbers = np.where(at_zero, np.clip(0.0, low, high), numbers)
    return _blanked(_typed(column, numbers, low, high), gone)


def _typed(column: Column, numbers: np.ndarray, low: float, high: float) -> pl.Series:
    """Numbers in the column's own type and decimals, inside of its bounds."""
    if column.type == "number":
        decimals = column.pegai.decimals
        rounded = numbers if decimals is None else np.round(numbers, decimals)
        return pl.Series(column.name, np.clip(rounded, low, high))
    whole = np.clip(np.rint(numbers), np.ceil(low), np.floor(high)).astype(np.int64)
    if column.type == "datetime":
        whole = whole * 1_000_000
    as_days = pl.Int32 if column.type == "date" else pl.Int64
    return pl.Series(column.name, whole).cast(as_days).cast(DTYPES[column.type])


def _blanked(series: pl.Series, gone: np.ndarray) -> pl.Series:
    kept = pl.Series("kept", ~gone)
    frame = pl.DataFrame([series]).with_columns(kept)
    return frame.select(pl.when("kept").then(pl.col(series.name)))[series.name]


def _with_ids(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The columns of the schema, with made-up patient ids and empty identifiers."""
    more: list[pl.Series] = []
    for column in schema.columns:
        if column.name in frame.columns:
            continue
        ids = pl.Series(column.name, np.arange(frame.height))
        numbered = column.name == schema.unit and column.type in ("string", "integer")
        more.append(
            ids.cast(DTYPES[column.type])
            if numbered
            else pl.Series(column.name, [None] * frame.height, dtype=DTYPES[column.type])
        )
    return frame.with_columns(more).select(schema.names)


def simulated(
    schema: Schema, patients: int, held: int, rngs: Sequence[np.random.Generator]
) -> list[tuple[Table, Table]]:
    """Pairs of tables of one made-up population each: to learn from, and held back.

    Args:
        schema: Public, with levels or bounds of every modelled column.
        patients: To learn from.
        held: Held back.
        rngs: One a pair.
    """
    pairs: list[tuple[Table, Table]] = []
    for rng in rngs:
        population = Population.random(schema, rng)
        pairs.append((population.patients(patients, rng), population.patients(held, rng)))
    return pairs
