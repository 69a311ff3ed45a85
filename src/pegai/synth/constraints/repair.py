"""Rows that break rules, repaired: the smallest changes first, then a random walk, in bounded time.

In the first round each rule that a row breaks is repaired in the order of the schema, by the first
choice of `moves`: of `if A then B` the consequence changes, of two dates the later column moves to
the nearest allowed day. A repair may break another rule, so rounds follow in which rules, ways and
columns are taken at random, as WalkSAT does (Selman, Kautz and Cohen 1994); late ones may also take
a value away, since what is missing breaks no comparison. Columns that are given never change.

The search is sound (what it calls kept was looked at by the rule itself) and not complete: where
many rules tie the same columns it may miss a row that exists.

It looks at synthetic rows and the public schema only: post-processing, which costs no budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from pegai.data.table import DTYPES
from pegai.encode.datetimes import to_series
from pegai.schema import Column, Impossible, Rule, Schema
from pegai.synth.constraints.formula import (
    AllOf,
    AnyOf,
    Formula,
    Leaf,
    Outside,
    kept,
    of_impossible,
    told,
)
from pegai.synth.constraints.moves import (
    Bools,
    Mover,
    Values,
    own_numbers,
    snapped,
)

ROUNDS = 48
"""Rounds of repair, each over the rows that still break something."""

TAKING_ROUND = 12
"""From this round on a value may also be taken away."""

TAKING_EVERY = 3
"""Of the rounds from then on, one of so many takes values away before it moves any."""

ROW_INDEX = "\x00row"
"""A column of positions, by a name that no table has."""

Given = Mapping[str, object]
Known = Rule | Impossible
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, eq=False)
class Rules:
    """All that holds in a row, ready to be looked at and repaired.

    Attributes:
        schema: Of the rows.
        known: The rules and impossible combinations.
        formulas: What has to be so for each, and within bounds.
    """

    schema: Schema
    known: tuple[Known, ...]
    formulas: tuple[Formula, ...]

    @classmethod
    def of(cls, schema: Schema, known: Sequence[Known] | None = None) -> Rules:
        """Those of a schema, or some of them."""
        chosen = (*schema.rules, *schema.impossible) if known is None else tuple(known)
        columns = {column.name: column for column in schema.columns}
        formulas = (
            kept(rule.tree, columns) if isinstance(rule, Rule) else of_impossible(rule, schema)
            for rule in chosen
        )
        return cls(schema, chosen, tuple(formulas))

    @property
    def names(self) -> list[str]:
        """The columns of rules, in the schema's order."""
        named = {name for rule in self.known for name in rule.columns}
        return [name for name in self.schema.names if name in named]

    @property
    def columns(self) -> list[Column]:
        """The same as columns."""
        return [self.schema[name] for name in self.names]

    def expressions(self) -> list[pl.Expr]:
        """For each rule whether a row keeps it, by the rule's own words."""
        return [
            ~(rule.broken(self.schema.columns) if isinstance(rule, Rule) else rule.matches)
            for rule in self.known
        ]

    def kept(self, frame: pl.DataFrame) -> Bools:
        """Which rows keep every rule and the bounds of its columns, shape (rows,)."""
        inside = [_inside(column) for column in self.columns if column.is_numeric]
        return told(frame, pl.all_horizontal([*self.expressions(), *inside]))


def _inside(column: Column) -> pl.Expr:
    low, high = column.constraints.minimum, column.constraints.maximum
    value = pl.col(column.name)
    ends = [
        pl.lit(to_series(np.array([number]), column)[0], dtype=DTYPES[column.type])
        for bound, number in ((low, column.minimum), (high, column.maximum))
        if bound is not None and number is not None
    ]
    tests: list[pl.Expr] = []
    if low is not None:
        tests.append(value >= ends[0])
    if high is not None:
        tests.append(value <= ends[-1])
    if not tests:
        return pl.lit(value=True)
    return pl.all_horizontal(tests).fill_null(value=True)


@dataclass(frozen=True, eq=False)
class Repair:
    """A search for rows that keep all rules.

    Attributes:
        rules: What has to hold.
        mover: Moves single columns.
        rng: Chooses.
    """

    rules: Rules
    mover: Mover
    rng: np.random.Generator

    @classmethod
    def of(
        cls, rules: Rules, *, drawn: pl.DataFrame, given: Given, rng: np.random.Generator
    ) -> Repair:
        """A search by the shares of a model.

        Args:
            rules: What has to hold.
            drawn: Rows of the model.
            given: Values that every row has, and keeps.
            rng: Chooses.
        """
        values = {c.name: Values.of(c, drawn[c.name]) for c in rules.columns}
        return cls(rules, Mover(rules.schema, values, frozenset(given)), rng)

    def repaired(
        self, frame: pl.DataFrame, *, rounds: int = ROUNDS, first: bool = False
    ) -> pl.DataFrame:
        """The rows that could be made to keep all rules, in any order; others are left out.

        Args:
            frame: With the columns of the schema; shape (rows, columns).
            rounds: At most.
            first: Stop where any row is found.
        """
        names = self.rules.names
        left = frame.select(names).with_row_index(ROW_INDEX)
        left = left.with_columns(self._bounded(left))
        done: list[pl.DataFrame] = []
        for turn in range(rounds + 1):
            good = self.rules.kept(left)
            done.append(left.filter(pl.Series(good)))
            left = left.filter(pl.Series(~good))
            if not left.height or turn == rounds or (first and len(left) < len(frame)):
                break
            left = self._one_round(left, turn)
        rows = pl.concat(done)
        whole = frame[rows[ROW_INDEX]]
        return whole.with_columns(rows.get_column(name) for name in names)

    def _bounded(self, frame: pl.DataFrame) -> list[pl.Series]:
        return [
            to_series(snapped(own_numbers(frame[c.name], c), c), c)
            for c in self.rules.columns
            if c.is_numeric and c.name not in self.mover.fixed
        ]

    def _one_round(self, frame: pl.DataFrame, turn: int) -> pl.DataFrame:
        order = np.arange(len(self.rules.formulas))
        if turn:
            order = self.rng.permutation(order)
        for place in order:
            formula = self.rules.formulas[place]
            wrong = ~self.mover.holds(formula, frame)
            if wrong.any():
                frame = self._mended(formula, frame, wrong, turn)
        return frame

    def _mended(
        self, formula: Formula, frame: pl.DataFrame, wrong: Bools, turn: int
    ) -> pl.DataFrame:
        """The frame, with rows that break a formula changed so that more of them keep it."""
        # Only rows that are wrong are looked at: all else would be paid for each time.
        if isinstance(formula, (Leaf, Outside)):
            return self._in_rows(frame, wrong, lambda part: self._leaf(formula, part, turn))
        if isinstance(formula, AnyOf):
            return self._in_rows(frame, wrong, lambda part: self._any_of(formula, part, turn))
        return self._in_rows(frame, wrong, lambda part: self._all_of(formula, part, turn))

    @staticmethod
    def _in_rows(frame: pl.DataFrame, rows: Bools, change: Change) -> pl.DataFrame:
        if rows.all():
            return change(frame)
        mask = pl.Series(rows)
        # Rows have no order here: their index goes along.
        return pl.concat([frame.filter(~mask), change(frame.filter(mask))])

    def _all_of(self, formula: AllOf, frame: pl.DataFrame, turn: int) -> pl.DataFrame:
        for part in (*formula.parts, *formula.parts):
            wrong = ~self.mover.holds(part, frame)
            if wrong.any():
                frame = self._mended(part, frame, wrong, turn)
        return frame

    def _any_of(self, formula: AnyOf, frame: pl.DataFrame, turn: int) -> pl.DataFrame:
        """The last part first: the consequence of an implication, the later column."""
        order = list(reversed(formula.parts))
        if turn:
            order = [formula.parts[i] for i in self.rng.permutation(len(order))]
        done: list[pl.DataFrame] = []
        for part in order:
            tried = self._mended(part, frame, ~self.mover.holds(part, frame), turn)
            good = pl.Series(self.mover.holds(part, tried))
            done.append(tried.filter(good))
            frame = frame.join(tried.filter(~good).select(ROW_INDEX), on=ROW_INDEX, how="semi")
            if not frame.height:
                break
        return pl.concat([*done, frame])

    def _leaf(self, leaf: Leaf | Outside, frame: pl.DataFrame, turn: int) -> pl.DataFrame:
        names = self.mover.movable(leaf)
        if turn:
            names = [names[i] for i in self.rng.permutation(len(names))]
        moves = [partial(self.mover.moved, leaf, name, rng=self.rng) for name in names]
        if turn >= TAKING_ROUND and turn % TAKING_EVERY == 0:
            moves = [*(partial(self.mover.without, name) for name in names), *moves]
        done: list[pl.DataFrame] = []
        for move in moves:
            frame = frame.with_columns(move(frame=frame))
            good = pl.Series(self.mover.holds(leaf, frame))
            done.append(frame.filter(good))
            frame = frame.filter(~good)
            if not frame.height:
                break
        return pl.concat([*done, frame])
