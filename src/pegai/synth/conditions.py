"""What every sampled row must have: the values given, and no impossible combination.

**Impossible combinations.** Rows that break a rule of the schema are drawn again: what is kept has
exactly the model's law given that no rule is broken (rejection sampling). The number of rounds is
bounded; rows that are still wanted then are copies of kept ones. Both look at synthetic rows and
the public schema only: post-processing, which costs no budget.
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
from pegai.schema import Column, Impossible, Schema, breaks_any

Given = Mapping[str, str | int | float | None]
"""Values that every sampled row must have, by column."""

ROUNDS = 20
"""Draws at most, after the first, for rows without an impossible combination."""

ROUND_ROWS = 16_384
"""Rows of one round, where no more are wanted: finds what one row in ten thousand is."""


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
    return checked


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


def without_impossible(
    draw: Callable[[int], Table],
    n: int,
    *,
    schema: Schema,
    given: Given,
    rng: np.random.Generator,
) -> Table:
    """N rows that break no rule of the schema; see the module.

    Args:
        draw: Gives as many rows as asked for, each with what is given.
        n: How many are wanted.
        schema: Of the rows; without rules `draw` is called once, and nothing else is done.
        given: For the message of the error.
        rng: Chooses the rows that are copied.

    Raises:
        UsageError: Every row drawn breaks a rule.
    """
    first = draw(n)
    rules = schema.impossible
    if not rules:
        return first
    possible = ~breaks_any(rules)
    parts, drawn, kept = [first.frame.filter(possible)], n, 0
    for _ in range(ROUNDS):
        kept = sum(part.height for part in parts)
        if kept >= n:
            break
        rows = _round_rows(n - kept, share=max(kept, 1) / drawn)
        parts.append(draw(rows).frame.filter(possible))
        drawn += rows
    rows = pl.concat(parts).head(n)
    if not rows.height:
        raise _nothing_possible(_most_broken(first.frame, rules), given, drawn)
    copied = rng.integers(rows.height, size=n - rows.height)
    return Table(pl.concat([rows, rows[copied]]) if copied.size else rows, first.schema)


def _round_rows(wanted: int, *, share: float) -> int:
    """Rows to draw, so that a little more than the rows wanted are kept; bounded."""
    return min(math.ceil(1.1 * wanted / share) + 8, max(wanted, ROUND_ROWS))


def _most_broken(frame: pl.DataFrame, rules: tuple[Impossible, ...]) -> Impossible:
    """The rule that most rows break."""
    counts = [frame.select(rule.matches.sum()).item() for rule in rules]
    return rules[int(np.argmax(counts))]


def _nothing_possible(rule: Impossible, given: Given, drawn: int) -> UsageError:
    shown = ", ".join(f"{name}={'missing' if v is None else v}" for name, v in given.items())
    return UsageError(
        f"each of {drawn:,} rows drawn{' given ' + shown if shown else ''} is impossible by the "
        f"schema, most by the combination: {rule}",
        hint=("give other values, or " if shown else "")
        + "correct pegai.impossible in the schema and fit again",
    )
