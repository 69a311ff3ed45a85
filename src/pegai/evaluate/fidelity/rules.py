"""Rules: how often rows break the schema's rules, synthetic ones more often than real ones.

Real tables break rules too (typing errors, odd patients), so what counts is the excess over the
holdout, with Newcombe's interval of the difference of two shares. The schema's impossible
combinations are rules like the others. A row that a rule leaves undecided keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.evaluate.intervals import newcombe
from pegai.schema import Schema


@dataclass(frozen=True)
class NamedRule:
    """A rule to count.

    Attributes:
        name: In the score's name.
        title: What it says, for people.
        broken: True in the rows that break it.
    """

    name: str
    title: str
    broken: pl.Expr


@dataclass(frozen=True, eq=False)
class Violations:
    """How often a table breaks each rule.

    Attributes:
        shares: Share of the rows that break it; shape (rules,), NaN for a table without rows.
        patients: Patients of the table, which is what the shares' chance goes by.
    """

    shares: np.ndarray
    patients: int


def named_rules(schema: Schema) -> tuple[NamedRule, ...]:
    """The schema's rules and impossible combinations, in its order."""
    found = [NamedRule(r.name, r.title or r.check, r.broken(schema.columns)) for r in schema.rules]
    found += [
        NamedRule(f"impossible:{i}", f"impossible: {rule}", rule.matches)
        for i, rule in enumerate(schema.impossible, start=1)
    ]
    return tuple(found)


def violations(rules: Sequence[NamedRule], table: Table) -> Violations:
    """Count the rows of a table that break each rule."""
    patients = int(table.unit_codes().max(initial=-1)) + 1
    if not len(table):
        return Violations(np.full(len(rules), np.nan), 0)
    broken = table.frame.select([r.broken.alias(str(i)) for i, r in enumerate(rules)])
    shares = [float(broken[str(i)].sum() or 0) / len(table) for i in range(len(rules))]
    return Violations(np.array(shares), patients)


def excess_interval(
    synthetic: float, rows: int, real: float, patients: int, *, level: float
) -> tuple[float, float]:
    """Newcombe's interval of a synthetic share minus a real one."""
    return newcombe(synthetic * rows, rows, real * patients, patients, level=level)
