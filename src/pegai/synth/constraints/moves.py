"""One column of a row moved so that one leaf of a rule holds: the smallest repair there is.

A number or date moves to the nearest value on its grid (decimals, days, seconds) and within its
bounds that makes the comparison hold, where the comparison is a straight line in it. A category is
drawn from those that make it hold, by the model's own shares of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pegai.data.table import DTYPES
from pegai.encode.categorical import level_codes
from pegai.encode.datetimes import to_series
from pegai.schema import Column, Schema
from pegai.schema.rule_tree import (
    Comparison,
    Difference,
    Missing,
    Negative,
    Node,
    Number,
    Product,
    Quotient,
    Ref,
    Sum,
    Text,
    columns_of,
)
from pegai.schema.rule_types import moment
from pegai.synth.constraints.formula import Formula, Leaf, Outside, kept_expression, told

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DAY_SECONDS = 86_400.0
MAX_TRIED = 64
"""Levels of a column that are tried in a comparison with other columns; of more, some are drawn."""

MAX_DRAWN = 8
"""Values that are tried where a rule is no straight line in the column."""

ON_GRID = 1e-5
"""What is this near to a value of the grid, in steps, is on it: times are reckoned in days."""

BEYOND = 1e-9
"""How far past a limit that it may not touch a number without decimals goes, as a share of it."""


@dataclass(frozen=True, eq=False)
class Values:
    """What a column may become.

    Attributes:
        column: The column.
        shares: Of a discrete column: rows by level, then of missing, each above 0; (levels + 1,).
        pool: Of a numeric column: values of the model, in the column's own numbers.
    """

    column: Column
    shares: Floats
    pool: Floats

    @classmethod
    def of(cls, column: Column, drawn: pl.Series) -> Values:
        """From rows that a model drew; every level has one row more, so that none is out of reach.

        A number of which no row has a value is drawn between its bounds.
        """
        if column.is_discrete:
            codes = level_codes(drawn.cast(pl.String), column.levels)
            shares = 1.0 + np.bincount(codes, minlength=len(column.levels) + 1).astype(np.float64)
            shares[-1] *= not column.constraints.required
            return cls(column, shares, np.zeros(0))
        own = own_numbers(drawn, column)
        pool = own[np.isfinite(own)]
        if not pool.size:
            low, high = limits(column)
            pool = np.linspace(max(low, min(high, 0.0) - 1e3), min(high, max(low, 0.0) + 1e3), 101)
            pool = snapped(pool, column)
        return cls(column, np.zeros(0), pool)

    def drawn_numbers(self, rows: int, rng: np.random.Generator) -> Floats:
        """Values of the pool, shape (rows,)."""
        return self.pool[rng.integers(len(self.pool), size=rows)]


def limits(column: Column) -> tuple[float, float]:
    """Bounds in the column's own numbers; infinite where there is none."""
    low, high = column.minimum, column.maximum
    return -np.inf if low is None else low, np.inf if high is None else high


def step_of(column: Column) -> float | None:
    """The distance between two values of a numeric column; None is "any number"."""
    if column.type != "number":
        return 1.0
    decimals = column.pegai.decimals
    return None if decimals is None else 10.0**-decimals


def snapped(numbers: Floats, column: Column) -> Floats:
    """Numbers on the column's grid, within its bounds."""
    low, high = limits(column)
    if column.type != "number":
        return np.clip(np.round(numbers), low, high)
    decimals = column.pegai.decimals
    return np.clip(numbers if decimals is None else np.round(numbers, decimals), low, high)


def own_numbers(series: pl.Series, column: Column) -> Floats:
    """A numeric column as floats with NaN for missing: days of dates, seconds of datetimes."""
    if column.type == "date":
        series = series.to_physical()
    elif column.type == "datetime":
        series = series.dt.epoch("us").cast(pl.Float64) / 1e6
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def rule_unit(column: Column) -> float:
    """How many of the column's own units a unit of the rules is: seconds a day for datetimes."""
    return DAY_SECONDS if column.type == "datetime" else 1.0


def level_series(column: Column, codes: NDArray[np.int64]) -> pl.Series:
    """A discrete column from positions in its levels; the one after them is missing."""
    levels = pl.Series(column.name, [*column.levels, None], dtype=pl.String)
    typed = levels == "true" if column.type == "boolean" else levels.cast(DTYPES[column.type])
    return typed.rename(column.name).gather(codes)


@dataclass(frozen=True, eq=False)
class Mover:
    """Moves columns of a frame.

    Attributes:
        schema: Of the rows.
        values: What each column of a rule may become.
        fixed: Columns that stay.
    """

    schema: Schema
    values: Mapping[str, Values]
    fixed: frozenset[str]
    _expressions: dict[Formula, pl.Expr] = field(default_factory=dict[Formula, pl.Expr], repr=False)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by name."""
        return {name: found.column for name, found in self.values.items()}

    def movable(self, leaf: Leaf | Outside) -> list[str]:
        """The columns of a leaf that may move, the first choice first.

        The one that an equation stands for alone, else the later in the schema: of two columns that
        go against each other the later one yields.
        """
        names = [n for n in reversed(self.schema.names) if n in leaf.columns]
        node = leaf.node if isinstance(leaf, Leaf) else None
        if isinstance(node, Comparison) and node.operator == "==":
            alone = [side.name for side in (node.left, node.right) if isinstance(side, Ref)]
            names.sort(key=lambda name: name not in alone)
        return [name for name in names if name not in self.fixed]

    def moved(
        self, leaf: Leaf | Outside, name: str, frame: pl.DataFrame, rng: np.random.Generator
    ) -> pl.Series:
        """The column in every row, moved so that the leaf holds, or as near as it comes.

        Args:
            leaf: What has to hold.
            name: A column of it.
            frame: The columns of all rules; shape (rows, columns).
            rng: Draws levels.
        """
        column = self.values[name].column
        if column.is_discrete:
            return self._other_level(leaf, name, frame, rng)
        node = leaf.node if isinstance(leaf, Leaf) else None
        if isinstance(node, Missing):
            missing = isinstance(leaf, Leaf) and leaf.truth
            if missing and column.constraints.required:
                return frame[name]
            numbers = self.values[name].drawn_numbers(frame.height, rng)
            return to_series(np.full(frame.height, np.nan) if missing else numbers, column)
        near = self._nearest(leaf, column, frame, rng)
        return self._some_number(leaf, name, frame, rng) if near is None else near

    def without(self, name: str, frame: pl.DataFrame) -> pl.Series:
        """The column with no value in any row; as it is where it needs one."""
        column = self.values[name].column
        if column.constraints.required:
            return frame[name]
        return pl.Series(name, [None], dtype=DTYPES[column.type]).new_from_index(0, frame.height)

    def _some_number(
        self, leaf: Leaf | Outside, name: str, frame: pl.DataFrame, rng: np.random.Generator
    ) -> pl.Series:
        """The first of some values of the model with which the leaf holds, or the last one."""
        chosen = frame[name]
        for _ in range(MAX_DRAWN):
            wrong = ~self.holds(leaf, frame.with_columns(chosen))
            if not wrong.any():
                break
            drawn = self.values[name].drawn_numbers(frame.height, rng)
            chosen = to_series(drawn, self.values[name].column).zip_with(pl.Series(wrong), chosen)
        return chosen

    def _nearest(
        self, leaf: Leaf | Outside, column: Column, frame: pl.DataFrame, rng: np.random.Generator
    ) -> pl.Series | None:
        """The nearest value in each row; None where the leaf is no straight line in the column."""
        node = leaf.node if isinstance(leaf, Leaf) else None
        if not isinstance(node, Comparison):
            return None
        numbers = {
            name: own_numbers(frame[name], self.values[name].column)
            / rule_unit(self.values[name].column)
            if self.values[name].column.is_numeric
            else frame[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
            for name in columns_of(node)
        }
        line = straight(Difference(node.left, node.right), column.name, numbers)
        if line is None:
            return None
        slope, rest = (np.broadcast_to(part, frame.height) for part in line)
        with np.errstate(all="ignore"):
            at = -rest / slope * rule_unit(column)
        now = own_numbers(frame[column.name], column)
        operator = node.operator
        if operator in ("==", "!="):
            aim = at if operator == "==" else _beside(now, column, rng)
        else:
            up = (slope > 0) == (operator in (">", ">="))
            aim = _past(at, up, column, strict=operator in ("<", ">"))
        aim = snapped(aim, column)
        return to_series(np.where(np.isfinite(aim), aim, now), column)

    def _other_level(
        self, leaf: Leaf | Outside, name: str, frame: pl.DataFrame, rng: np.random.Generator
    ) -> pl.Series:
        """A level for each row that makes the leaf hold, by shares; any level where none does."""
        found, column = self.values[name], self.values[name].column
        if len(leaf.columns) == 1:
            whole = level_series(column, np.arange(len(column.levels) + 1)).to_frame()
            law = found.shares * self.holds(leaf, whole)
            if not law.any():
                return frame[name]
            return level_series(column, rng.choice(law.size, size=frame.height, p=law / law.sum()))
        chosen = level_codes(frame[name].cast(pl.String), column.levels)
        best = np.full(frame.height, -np.inf)
        for codes, weight in self._tried(leaf, name, frame, rng):
            trial = frame.with_columns(level_series(column, codes))
            with np.errstate(divide="ignore"):
                # The largest of log-weight plus a Gumbel draw is a draw by weight.
                score = np.log(weight) + rng.gumbel(size=frame.height)
            better = self.holds(leaf, trial) & (score > best)
            chosen, best = np.where(better, codes, chosen), np.where(better, score, best)
        return level_series(column, chosen)

    def _tried(
        self, leaf: Leaf | Outside, name: str, frame: pl.DataFrame, rng: np.random.Generator
    ) -> list[tuple[NDArray[np.int64], Floats]]:
        """Levels to try in each row, with their weights."""
        found, rows = self.values[name], frame.height
        if len(found.shares) <= MAX_TRIED:
            return [
                (np.full(rows, code), np.full(rows, share))
                for code, share in enumerate(found.shares)
            ]
        alike = [
            level_codes(frame[other].cast(pl.String), found.column.levels)
            for other in leaf.columns
            if other != name and self.values[other].column.is_discrete
        ]
        law = found.shares / found.shares.sum()
        drawn = [rng.choice(law.size, size=rows, p=law) for _ in range(MAX_TRIED)]
        equal = [(codes, found.shares[codes]) for codes in alike]
        return [*equal, *((codes, np.ones(rows)) for codes in drawn)]

    def holds(self, formula: Formula, frame: pl.DataFrame) -> Bools:
        """Which rows keep a formula, shape (rows,)."""
        if formula not in self._expressions:
            # Building one takes as long as looking at some thousand rows.
            self._expressions[formula] = kept_expression(formula, self.columns)
        return told(frame, self._expressions[formula])


def straight(
    node: Node, name: str, numbers: Mapping[str, Floats]
) -> tuple[Floats | float, Floats | float] | None:
    """A value as slope times one column plus a rest, in each row; None where it is no line.

    Args:
        node: A value.
        name: The column.
        numbers: Every other column of it in the units of rules, NaN for missing.
    """
    match node:
        case Ref(name=found):
            return (1.0, 0.0) if found == name else (0.0, numbers[found])
        case Number(value=value):
            return 0.0, value
        case Text(value=value):
            return 0.0, moment(value)
        case Negative(of=of):
            line = straight(of, name, numbers)
            return None if line is None else (-line[0], -line[1])
        case Sum(left=left, right=right) | Difference(left=left, right=right):
            sign = 1.0 if isinstance(node, Sum) else -1.0
            one, two = straight(left, name, numbers), straight(right, name, numbers)
            if one is None or two is None:
                return None
            return one[0] + sign * two[0], one[1] + sign * two[1]
        case Product(left=left, right=right) | Quotient(left=left, right=right):
            return _times(left, right, name, numbers, divided=isinstance(node, Quotient))
        case _:
            return None


def _times(
    left: Node, right: Node, name: str, numbers: Mapping[str, Floats], *, divided: bool
) -> tuple[Floats | float, Floats | float] | None:
    if name in columns_of(right):
        if divided or name in columns_of(left):
            return None
        left, right = right, left
    line, factor = straight(left, name, numbers), straight(right, name, numbers)
    if line is None or factor is None:
        return None
    with np.errstate(all="ignore"):
        by = np.divide(1.0, factor[1]) if divided else factor[1]
        return line[0] * by, line[1] * by


def _past(at: Floats, up: Bools, column: Column, *, strict: bool) -> Floats:
    """The nearest value of a column at or past a limit, upwards or downwards; past it if strict."""
    step = step_of(column)
    sign = np.where(up, 1.0, -1.0)
    with np.errstate(all="ignore"):
        if step is None:
            return at + sign * (BEYOND * np.maximum(np.abs(at), BEYOND) if strict else 0.0)
        place = sign * at / step
        beyond = np.floor(place + ON_GRID) + 1 if strict else np.ceil(place - ON_GRID)
        return sign * beyond * step


def _beside(now: Floats, column: Column, rng: np.random.Generator) -> Floats:
    """A neighbouring value within the bounds, above or below."""
    step = step_of(column)
    gap = np.maximum(np.abs(now), 1.0) * 1e-6 if step is None else step
    low, high = limits(column)
    up = rng.random(len(now)) < 0.5
    up = np.where(now + gap > high, False, np.where(now - gap < low, True, up))
    return np.where(up, now + gap, now - gap)
