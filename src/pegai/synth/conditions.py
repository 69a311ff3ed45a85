"""What every sampled row must have: the values given, and no impossible combination.

**Impossible combinations.** Rows that break a rule of the schema are drawn again: what is kept has
exactly the model's law given that no rule is broken (rejection sampling). The number of rounds is
bounded; rows that are still wanted then are copies of kept ones. Where none was kept, since noise
left a model with impossible rows only, rows are mended (`mending`): no fit is charged in vain.
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
from pegai.schema import Column, Schema, breaks_any
from pegai.synth.mending import conflict, mended

Given = Mapping[str, str | int | float | None]
"""Values that every sampled row must have, by column."""

ROUNDS = 20
"""Draws at most, after the first, for rows without an impossible combination."""

ROUND_ROWS = 16_384
"""Rows of one round, where no more are wanted: finds what one row in ten thousand is."""

SHOWN = 5
"""Rules that an error names."""


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
        given: Values that every row drawn has.
        rng: Chooses the rows that are copied, and the levels of rows that are mended.

    Raises:
        UsageError: No row is possible by the rules, or none with what is given.
    """
    first = draw(n)
    rules = schema.impossible
    if not rules:
        return first
    possible = ~breaks_any(rules)
    parts, drawn, last = [first.frame.filter(possible)], n, first.frame
    if not parts[0].height:
        _require_possible(schema, given)
    for _ in range(ROUNDS):
        kept = sum(part.height for part in parts)
        if kept >= n:
            break
        last = draw(_round_rows(n - kept, share=max(kept, 1) / drawn)).frame
        parts.append(last.filter(possible))
        drawn += last.height
    rows = pl.concat(parts).head(n)
    if not rows.height:
        return mended(first, drawn=last, given=given, rng=rng)
    copied = rng.integers(rows.height, size=n - rows.height)
    return Table(pl.concat([rows, rows[copied]]) if copied.size else rows, first.schema)


def _round_rows(wanted: int, *, share: float) -> int:
    """Rows to draw, so that a little more than the rows wanted are kept; bounded."""
    return min(math.ceil(1.1 * wanted / share) + 8, max(wanted, ROUND_ROWS))


def _require_possible(schema: Schema, given: Given) -> None:
    """Refuse rules that leave no row at all, or none with what is given."""
    rules = conflict(schema, given)
    if not rules:
        return
    known = ", ".join(f"{name}={'missing' if v is None else v}" for name, v in given.items())
    shown = "; ".join([*map(str, rules[:SHOWN]), *(["..."] if len(rules) > SHOWN else [])])
    raise UsageError(
        f"every row{' given ' + known if known else ''} is impossible by the schema, "
        f"which rules out: {shown}",
        hint=("give other values, or " if known else "")
        + "correct pegai.impossible in the schema and fit again",
    )
