"""Whether any row keeps all rules of a schema, found out from the schema alone.

Random rows within the public bounds and levels are repaired until one keeps everything. A private
fit asks this before it is charged, and sampling falls back on such rows where a model has none that
could be repaired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pegai.data.table import DTYPES
from pegai.encode.datetimes import to_series
from pegai.errors import UsageError
from pegai.schema import Column, Impossible, Rule, Schema
from pegai.schema.rule_tree import Number, Text, walk
from pegai.schema.rule_types import moment
from pegai.synth.constraints.moves import level_series, limits, rule_unit, snapped
from pegai.synth.constraints.repair import ROUNDS, Given, Known, Repair, Rules
from pegai.synth.mending import conflict

SEEDS = 256
"""Random rows from which a row that keeps all rules is looked for."""

TRIES = 2
"""Batches of them."""

SHORT_ROUNDS = 16
"""Rounds of repair where rules that conflict are told apart: one batch each."""

MISSING_SHARE = 0.1
END_SHARE = 0.25
"""Shares of random cells that are missing, and that are at a bound."""

SHOWN = 5
"""Rules that an error names."""

MAX_SPARED = 12
"""Rules of which each is tried to be left out, to find those that conflict."""

SEARCH_SEED = 0
"""The search is the same at every call: it is about the schema, not about rows."""


def possible_rows(
    schema: Schema, given: Given, *, known: Sequence[Known] | None = None
) -> pl.DataFrame:
    """Rows that keep all rules, empty if none was found; shape (rows, columns).

    Args:
        schema: With the rules.
        given: Values that every row has, as `check_given` returns them.
        known: Rules to keep in place of all; the search for them is short.
    """
    rng = np.random.default_rng(SEARCH_SEED)
    rules = Rules.of(schema, known)
    tries, rounds = (TRIES, ROUNDS) if known is None else (1, SHORT_ROUNDS)
    found = pl.DataFrame()
    for _ in range(tries):
        seeds = _random_rows(rules, given, rng)
        if not rules.known:
            return seeds
        repair = Repair.of(rules, drawn=seeds, given=given, rng=rng)
        found = repair.repaired(seeds, rounds=rounds, first=True)
        if found.height:
            break
    return found


def require_any_row(schema: Schema, given: Given) -> pl.DataFrame:
    """Rows that keep all rules.

    Raises:
        UsageError: None was found; names the rules that leave none.
    """
    impossible = conflict(schema, given)
    if impossible:
        raise no_row(impossible, given)
    rules: list[Known] = [*schema.rules, *schema.impossible]
    found = possible_rows(schema, given, known=rules)
    if found.height:
        return found
    for rule in rules[:MAX_SPARED]:
        if not possible_rows(schema, given, known=[rule]).height:
            raise no_row([rule], given)
    found = possible_rows(schema, given)
    if found.height:
        return found
    for rule in rules[:MAX_SPARED]:
        fewer = [other for other in rules if other is not rule]
        if not possible_rows(schema, given, known=fewer).height:
            rules = fewer
    raise no_row(rules, given)


def no_row(rules: Sequence[Known], given: Given) -> UsageError:
    """What to say where rules leave no row."""
    known = ", ".join(f"{name}={'missing' if v is None else v}" for name, v in given.items())
    said = [f"{r.name!r} ({r.check})" if isinstance(r, Rule) else str(r) for r in rules]
    shown = "; ".join([*said[:SHOWN], *(["..."] if len(said) > SHOWN else [])])
    combinations = all(isinstance(rule, Impossible) for rule in rules)
    where = "pegai.impossible" if combinations else "pegai.rules"
    which = "rules out" if combinations else "asks for"
    return UsageError(
        f"every row{' given ' + known if known else ''} is impossible by the schema, "
        f"which {which}: {shown}",
        hint=("give other values, or " if known else "")
        + f"correct {where} in the schema and fit again",
    )


def _random_rows(rules: Rules, given: Given, rng: np.random.Generator) -> pl.DataFrame:
    """Rows drawn within bounds and levels; columns of no rule are missing, unless given."""
    around = _numbers_of(rules)
    cells = [
        _random_column(column, given, around, rng)
        if column.name in rules.names or column.name in given
        else pl.Series(column.name, [None] * SEEDS, dtype=DTYPES[column.type])
        for column in rules.schema.columns
    ]
    return pl.DataFrame(cells)


def _numbers_of(rules: Rules) -> float:
    """How large the numbers in the rules are, for columns without bounds."""
    trees = [rule.tree for rule in rules.known if isinstance(rule, Rule)]
    found = [abs(n.value) for tree in trees for n in walk(tree) if isinstance(n, Number)]
    for node in (n for tree in trees for n in walk(tree) if isinstance(n, Text)):
        try:
            found.append(abs(moment(node.value)))
        except ValueError:
            continue
    return 2.0 * max(found, default=0.0) + 100.0


def _random_column(
    column: Column, given: Given, around: float, rng: np.random.Generator
) -> pl.Series:
    if column.name in given:
        return _given_column(column, given[column.name])
    absent = (rng.random(SEEDS) < MISSING_SHARE) & (not column.constraints.required)
    if column.is_discrete:
        count = len(column.levels)
        return level_series(column, np.where(absent, count, rng.integers(count, size=SEEDS)))
    low, high = limits(column)
    reach = around * rule_unit(column)
    low = max(low, min(high, reach) - 2 * reach) if not np.isfinite(low) else low
    high = min(high, low + 2 * reach) if not np.isfinite(high) else high
    numbers = snapped(rng.uniform(low, high, SEEDS), column)
    at_end = rng.random(SEEDS) < END_SHARE
    numbers = np.where(at_end, np.where(rng.random(SEEDS) < 0.5, low, high), numbers)
    return to_series(np.where(absent, np.nan, numbers), column)


def _given_column(column: Column, value: object) -> pl.Series:
    if column.is_discrete:
        code = len(column.levels) if value is None else column.levels.index(str(value))
        return level_series(column, np.full(SEEDS, code))
    number = float("nan") if value is None else float(str(value))
    return to_series(np.full(SEEDS, number), column)
