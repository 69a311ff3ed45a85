"""What every sampled row must have: the values given, no impossible combination, all rules kept.

Rows that break the schema are drawn again: what is kept has exactly the model's law given that
nothing is broken (rejection sampling). The number of rounds is bounded.

**Impossible combinations alone.** Rows that are still wanted then are copies of kept ones. Where
none was kept, since noise left a model with impossible rows only, rows are mended (`mending`).

**Rules.** Where hardly a row keeps them (a sum of three numbers that were drawn apart) drawing
again would not end, so that it is given up early, and rows are repaired (`constraints.repair`).
Rows that can't be are replaced by copies of rows that keep the rules; where there are none, by rows
made from the schema alone. So no fit is charged in vain.

All of it looks at synthetic rows and the public schema only: post-processing, which costs no
budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from pegai.data.table import DTYPES, Table
from pegai.encode.datetimes import to_series
from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.schema import Column, Schema
from pegai.synth.constraints.possible import no_row, require_any_row
from pegai.synth.constraints.repair import Repair, Rules
from pegai.synth.mending import conflict, mended

Given = Mapping[str, str | int | float | None]
"""Values that every sampled row must have, by column."""

ROUNDS = 20
"""Draws at most, after the first, for rows without an impossible combination."""

ROUND_ROWS = 16_384
"""Rows of one round, where no more are wanted: finds what one row in ten thousand is."""

REDRAWN = 3
"""With rules, at most as many times the rows wanted are drawn again before rows are repaired."""

HOPELESS = 0.02
"""With rules, where a smaller share of a round's rows is kept, no more are drawn again."""

CHUNK_ROWS = 262_144
"""Rows that are repaired at a time."""


def check_given(given: Given, schema: Schema) -> Given:
    """Values of `given` in the type of their columns.

    Raises:
        UsageError: An unknown column, a category outside the list, a number that is none, or a
            combination that the schema calls impossible.
    """
    checked: dict[str, str | int | float | None] = {}
    for name, value in given.items():
        if name not in schema:
            raise UsageError(
                f"given: no column {name!r}", hint=f"the columns are {', '.join(schema.names)}"
            )
        column = schema[name]
        if value is None:
            if column.constraints.required:
                raise UsageError(f"given: column {name!r} is never missing")
            checked[name] = None
        elif column.is_discrete:
            text = str(value).lower() if column.type == "boolean" else str(value)
            if text not in column.levels:
                shown = ", ".join(column.levels[:20])
                raise UsageError(
                    f"given: {value!r} is no category of {name!r}", hint=f"one of {shown}"
                )
            checked[name] = text
        else:
            checked[name] = _given_number(column, value)
    rule = next((r for r in schema.impossible if r.broken_by(checked)), None)
    if rule is not None:
        raise UsageError(
            f"given: the schema calls the combination impossible: {rule}",
            hint="give other values, or correct pegai.impossible in the schema and fit again",
        )
    _check_rules(checked, schema)
    return checked


def _check_rules(given: Given, schema: Schema) -> None:
    """Refuse given values that break a rule, whatever the rest of the row is."""
    known = [rule for rule in schema.rules if set(rule.columns) <= set(given)]
    if not known:
        return
    row = pl.select([_literal(schema[name], value) for name, value in given.items()])
    for rule in known:
        if row.select(rule.broken(schema.columns)).item():
            raise UsageError(
                f"given: the values break the rule {rule.name!r} of the schema: {rule.check}",
                hint="give other values, or correct pegai.rules in the schema and fit again",
            )


def _given_number(column: Column, value: str | int | float) -> float:
    try:
        number = column.as_number(value)
    except ValueError:
        raise UsageError(f"given: {value!r} is no {column.type} for {column.name!r}") from None
    low, high = column.constraints.minimum, column.constraints.maximum
    below = column.minimum is not None and number < column.minimum
    above = column.maximum is not None and number > column.maximum
    broken = column.type == "integer" and number != int(number) if math.isfinite(number) else True
    if broken or below or above:
        raise UsageError(
            f"given: {value!r} is outside of what {column.name!r} can be",
            hint=f"{'any' if low is None else low} to {'any' if high is None else high}, or "
            f"'{column.name}=' for missing",
        )
    return number


def known_codes(encoder: TableEncoder, given: Given) -> dict[int, int]:
    """The codes of what is given, by the column's position; a value without a code is left out."""
    places = {encoder.index(name): value for name, value in given.items()}
    codes = {i: encoder.columns[i].code_of(value) for i, value in places.items()}  # pyright: ignore[reportArgumentType]
    return {i: code for i, code in codes.items() if code is not None}


def fix_given(table: Table, given: Given) -> Table:
    """The table with each given column set to its value: a code stands for a bin, not a number."""
    fixed = [_literal(table.schema[name], value) for name, value in given.items()]
    return Table(table.frame.with_columns(fixed), table.schema)


def _literal(column: Column, value: str | int | float | None) -> pl.Expr:
    if value is None:
        return pl.lit(None, dtype=DTYPES[column.type]).alias(column.name)
    if column.type == "boolean":
        return pl.lit(value == "true").alias(column.name)
    if column.is_discrete:
        return pl.lit(value).cast(DTYPES[column.type]).alias(column.name)
    return pl.lit(to_series(np.array([float(value)]), column)[0], dtype=DTYPES[column.type]).alias(
        column.name
    )


def keeping_rules(
    draw: Callable[[int], Table],
    n: int,
    *,
    schema: Schema,
    given: Given,
    rng: np.random.Generator,
) -> Table:
    """N rows that break nothing in the schema; see the module.

    Args:
        draw: Gives as many rows as asked for, each with what is given.
        n: How many are wanted.
        schema: Of the rows; without rules `draw` is called once, and nothing else is done.
        given: Values that every row drawn has.
        rng: Chooses the rows that are copied, and what rows become that are changed.

    Raises:
        UsageError: No row is possible by the rules, or none with what is given.
    """
    first = draw(n)
    if not schema.impossible and not schema.rules:
        return first
    rules = Rules.of(schema)
    if schema.impossible and not rules.kept(first.frame).any():
        _require_possible(schema, given)
    rows, last = _drawn_again(draw, first.frame, n, rules)
    if rows.height == n:
        return Table(rows, schema)
    if schema.rules:
        return Table(_with_repaired(rows, first.frame, last, rules, given, rng), schema)
    if not rows.height:
        return mended(first, drawn=last, given=given, rng=rng)
    copied = rng.integers(rows.height, size=n - rows.height)
    return Table(pl.concat([rows, rows[copied]]), schema)


def _drawn_again(
    draw: Callable[[int], Table], first: pl.DataFrame, n: int, rules: Rules
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that break nothing, at most n, and the rows drawn last."""
    most = REDRAWN * n + ROUNDS * ROUND_ROWS if rules.schema.rules else math.inf
    parts, drawn, last = [first.filter(pl.Series(rules.kept(first)))], n, first
    for _ in range(ROUNDS):
        kept = sum(part.height for part in parts)
        hopeless = bool(rules.schema.rules) and drawn >= ROUND_ROWS and kept < drawn * HOPELESS
        if kept >= n or drawn >= n + most or hopeless:
            break
        last = draw(_round_rows(n - kept, share=max(kept, 1) / drawn)).frame
        parts.append(last.filter(pl.Series(rules.kept(last))))
        drawn += last.height
    return pl.concat(parts).head(n), last


def _with_repaired(
    rows: pl.DataFrame,
    first: pl.DataFrame,
    last: pl.DataFrame,
    rules: Rules,
    given: Given,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """As many rows as were drawn first, in random order.

    Args:
        rows: Rows that keep the rules, fewer.
        first: The rows drawn first; those that break a rule are repaired.
        last: The rows drawn last, by whose shares.
        rules: What has to hold.
        given: Values that every row has and keeps.
        rng: Chooses.
    """
    made = pl.DataFrame() if rows.height else require_any_row(rules.schema, given)
    wanted = first.height - rows.height
    broken = first.filter(pl.Series(~rules.kept(first))).head(wanted)
    repair = Repair.of(rules, drawn=last, given=given, rng=rng)
    parts = [rows, *(repair.repaired(part) for part in broken.iter_slices(CHUNK_ROWS))]
    whole = pl.concat(parts)
    if not whole.height:
        whole = repair.repaired(last)
    if not whole.height:
        whole = _filled(made, last, rules, rng)
    short = max(first.height - whole.height, 0)
    whole = pl.concat([whole, whole[rng.integers(whole.height, size=short)]])
    return whole[rng.permutation(whole.height)[: first.height]]


def _filled(
    made: pl.DataFrame, drawn: pl.DataFrame, rules: Rules, rng: np.random.Generator
) -> pl.DataFrame:
    """Rows of a model with the columns of rules from rows that were made from the schema."""
    others = drawn[rng.integers(drawn.height, size=made.height)]
    return others.with_columns(made.get_column(name) for name in rules.names)


def _round_rows(wanted: int, *, share: float) -> int:
    """Rows to draw, so that a little more than the rows wanted are kept; bounded."""
    return min(math.ceil(1.1 * wanted / share) + 8, max(wanted, ROUND_ROWS))


def _require_possible(schema: Schema, given: Given) -> None:
    """Refuse combinations that leave no row at all, or none with what is given."""
    rules = conflict(schema, given)
    if rules:
        raise no_row(rules, given)
