"""Impossible rows made possible, for models that draw no others.

Noise may leave a model with nothing but combinations that the schema calls impossible. Its rows are
then mended, column by column in the schema's order. A level stays where the columns after it can
still make the row possible, whatever they have to become. Else another is drawn: from the levels
that break no rule beside the rest of the row, or, where there is none, from those that the columns
after it can still complete; by their shares among the model's own rows. So what is given stays, of
two columns that go against each other the later one yields, and every row that comes out is
possible. It looks at synthetic rows and the public schema only: post-processing.

**Completing.** All that the columns passed so far mean to those that follow is which rules each of
them matches: the *open* rules, a set of bits. The columns that follow complete the row where they
can close all of them. That is searched depth first, fewest open rules first, and remembered by
column and open rules. A possible row is found wherever there is one; in theory the time grows
exponentially with rules that entangle many columns (it is a satisfiability problem), never with
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pegai.data.table import DTYPES, Table
from pegai.encode.categorical import level_codes
from pegai.schema import Column, Impossible, Schema

Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]
Values = Mapping[str, object]
State = tuple[int, int]

CHUNK_ROWS = 262_144


@dataclass(frozen=True, eq=False)
class _Side:
    """A column of rules. Its codes are positions in its levels; the one after them is missing.

    Attributes:
        column: The column.
        kinds: What rules can tell apart: for each kind of level the rules that it matches, as bits.
            All match a rule on other columns.
        kind: Of each code.
        allowed: Which codes a row may have: levels, missing unless required; only what is given.
    """

    column: Column
    kinds: tuple[int, ...]
    kind: Codes
    allowed: Bools

    @classmethod
    def of(cls, column: Column, rules: Sequence[Impossible], given: Values) -> _Side:
        """A column as rules see it."""
        texts = (*column.levels, None)
        own = [(bit, rule) for bit, rule in enumerate(rules) if column.name in rule.columns]
        masks = [((1 << len(rules)) - 1) & ~sum(1 << bit for bit, _ in own)] * len(texts)
        for bit, rule in own:
            matched = set(rule.texts(column.name))
            masks = [m | (text in matched) << bit for m, text in zip(masks, texts, strict=True)]
        allowed = np.ones(len(texts), bool)
        allowed[-1] = not column.constraints.required
        if column.name in given:
            allowed &= np.array([text == given[column.name] for text in texts])
        place = {mask: i for i, mask in enumerate(dict.fromkeys(masks))}
        return cls(column, tuple(place), np.array([place[m] for m in masks], np.int64), allowed)

    @property
    def steps(self) -> list[int]:
        """The kinds that a row may have."""
        return [self.kinds[k] for k in np.unique(self.kind[self.allowed])]

    def codes(self, frame: pl.DataFrame) -> Codes:
        """Of the column in a frame."""
        return level_codes(frame[self.column.name].cast(pl.String), self.column.levels)

    def series(self, codes: Codes) -> pl.Series:
        """The column that has these codes."""
        levels = np.array([*self.column.levels, None], dtype=object)
        texts = pl.Series(self.column.name, levels[codes].tolist(), dtype=pl.String)
        boolean = self.column.type == "boolean"
        return texts == "true" if boolean else texts.cast(DTYPES[self.column.type])


class Completions:
    """Which beginnings of a row can be completed so that it breaks no rule; see the module."""

    def __init__(self, schema: Schema, rules: Sequence[Impossible], given: Values) -> None:
        ruled = [c for c in schema.columns if any(c.name in rule.columns for rule in rules)]
        self.sides = [_Side.of(column, rules, given) for column in ruled]
        self.all_rules = (1 << len(rules)) - 1
        self._steps = [side.steps for side in self.sides]
        names = [column.name for column in ruled]
        ends = [max(map(names.index, rule.columns)) for rule in rules]
        self._over = [_bits(end < place for end in ends) for place in range(len(names) + 1)]
        self._known: dict[State, bool] = {}

    @property
    def any(self) -> bool:
        """Whether any row is possible."""
        return self.exist(0, self.all_rules)

    def stay(self, place: int, codes: Codes, open_rules: int, rest: int) -> Bools:
        """Which of some codes of a column a row may keep; shape as `codes`.

        Args:
            place: Of the column.
            codes: Of rows that are alike in what follows.
            open_rules: Bits of the rules that all columns before it match.
            rest: Of those that all columns after it match, as they are.
        """
        side = self.sides[place]
        found = np.zeros(len(side.kinds), bool)
        for kind in np.unique(side.kind[codes]):
            left = open_rules & side.kinds[kind]
            found[kind] = not left & rest or self.exist(place + 1, left)
        return found[side.kind[codes]] & side.allowed[codes]

    def others(self, place: int, open_rules: int, rest: int) -> Bools:
        """Which codes are drawn where a row can't keep its own; arguments as of `stay`."""
        side = self.sides[place]
        left = [open_rules & mask for mask in side.kinds]
        fitting = np.array([not mask & rest for mask in left])[side.kind] & side.allowed
        if fitting.any():
            return fitting
        return np.array([self.exist(place + 1, mask) for mask in left])[side.kind] & side.allowed

    def exist(self, place: int, open_rules: int) -> bool:
        """Whether columns from a place on can close the open rules.

        Args:
            place: In `sides`.
            open_rules: Bits of the rules that all columns before it match.
        """
        start = (place, open_rules)
        parents: dict[State, State | None] = {}
        waiting: list[tuple[State, State | None]] = [(start, None)]
        while waiting:
            state, parent = waiting.pop()
            if state in parents:
                continue
            parents[state] = parent
            if not state[1] or self._known.get(state):
                return self._remember(state, parents)
            if state not in self._known:
                waiting += [(following, state) for following in self._following(*state)]
        self._known |= dict.fromkeys(parents, False)
        return False

    def _following(self, place: int, open_rules: int) -> list[State]:
        """What may come next, the best last; open sets that hold another one are no better."""
        if open_rules & self._over[place]:
            return []
        left = {open_rules & mask for mask in self._steps[place]}
        least = [a for a in left if not any(a & b == b != a for b in left)]
        return [(place + 1, mask) for mask in sorted(least, key=lambda m: (-m.bit_count(), m))]

    def _remember(self, state: State | None, parents: Mapping[State, State | None]) -> bool:
        """That a state was reached which can be completed, and so can all on the way to it."""
        while state is not None:
            self._known[state] = True
            state = parents[state]
        return True


class _Matched(NamedTuple):
    """The rules that some columns of each row match: different sets of bits, and whose is which."""

    masks: list[int]
    of_row: Codes

    def and_also(self, side: _Side, codes: Codes) -> _Matched:
        """Those that one more column matches too."""
        size = len(side.kinds)
        pairs, of_row = np.unique(self.of_row * size + side.kind[codes], return_inverse=True)
        met = [self.masks[p // size] & side.kinds[p % size] for p in pairs.tolist()]
        place = {mask: i for i, mask in enumerate(dict.fromkeys(met))}
        return _Matched(list(place), np.array([place[m] for m in met], np.int64)[of_row.ravel()])

    def with_other(self, other: _Matched) -> Iterator[tuple[Codes, int, int]]:
        """Groups of rows that are alike in both, with the bits of either."""
        size = len(other.masks)
        pairs, of_row = np.unique(self.of_row * size + other.of_row, return_inverse=True)
        order = np.argsort(of_row.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(of_row.ravel()))[:-1]
        for pair, rows in zip(pairs.tolist(), np.split(order, ends), strict=True):
            yield rows, self.masks[pair // size], other.masks[pair % size]


def conflict(schema: Schema, given: Values) -> tuple[Impossible, ...]:
    """Rules that leave no possible row, none of which could be spared; empty if a row is possible.

    Args:
        schema: With the rules.
        given: Values that every row has, as `check_given` returns them.
    """
    rules = list(schema.impossible)
    if Completions(schema, rules, given).any:
        return ()
    for rule in schema.impossible:
        fewer = [other for other in rules if other is not rule]
        if not Completions(schema, fewer, given).any:
            rules = fewer
    return tuple(rules)


def mended(table: Table, *, drawn: pl.DataFrame, given: Values, rng: np.random.Generator) -> Table:
    """The rows of a table, changed where they break a rule so that none does; see the module.

    Args:
        table: Rows to mend, each with what is given; shape (rows, columns).
        drawn: Rows of the same model, by whose shares levels are drawn; all have one row more, so
            that no level is out of reach.
        given: Values that every row has and keeps; some row is possible with them (`conflict`).
        rng: Draws the levels.

    Returns:
        Shape (rows, columns); only columns of rules differ, and only in rows that broke one.
    """
    completions = Completions(table.schema, table.schema.impossible, given)
    sides = completions.sides
    shares = [1 + np.bincount(s.codes(drawn), minlength=len(s.kind)) for s in sides]
    parts = [
        part.with_columns(_mended_columns(part, completions, shares, rng))
        for part in table.frame.iter_slices(CHUNK_ROWS)
    ]
    return Table(pl.concat(parts), table.schema)


def _mended_columns(
    frame: pl.DataFrame,
    completions: Completions,
    shares: Sequence[Codes],
    rng: np.random.Generator,
) -> list[pl.Series]:
    """The columns of rules, mended one after the other."""
    sides = completions.sides
    before = [side.codes(frame) for side in sides]
    none = _Matched([completions.all_rules], np.zeros(frame.height, np.int64))
    rests = [none]
    for side, codes in zip(sides[:0:-1], before[:0:-1], strict=True):
        rests.append(rests[-1].and_also(side, codes))
    opened, columns = none, list[pl.Series]()
    for place, side in enumerate(sides):
        codes = before[place].copy()
        for rows, open_rules, rest in opened.with_other(rests.pop()):
            wrong = rows[~completions.stay(place, codes[rows], open_rules, rest)]
            if wrong.size:
                law = shares[place] * completions.others(place, open_rules, rest)
                codes[wrong] = rng.choice(law.size, size=wrong.size, p=law / law.sum())
        columns.append(side.series(codes))
        opened = opened.and_also(side, codes)
    return columns


def _bits(flags: Iterable[bool]) -> int:
    return sum(flag << place for place, flag in enumerate(flags))
