"""Rules: what holds in every row, as "nobody leaves before admission"; public knowledge.

A rule has a name and a condition over the columns of one row, in the small language of
`pegai.schema.rule_text`:

```text
{"name": "stay", "check": "discharge >= admission", "title": "Discharge is not before admission"}
{"name": "infarction", "check": "if troponin > 50 then chest_pain in ['typical', 'atypical']"}
```

Rules come from knowledge of the field, never from a look at the data: nothing in pegai drafts one.
A row in which a value that decides is missing counts as kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import polars as pl
from pydantic import Field, model_validator

from pegai.schema.columns import Column, _Frozen  # pyright: ignore[reportPrivateUsage]
from pegai.schema.rule_expression import condition
from pegai.schema.rule_text import parse_rule
from pegai.schema.rule_tree import Node, columns_of
from pegai.schema.rule_types import check_types


class Rule(_Frozen):
    """One rule: a condition that holds in every row.

    Attributes:
        name: Short and unique; it names the score of the rule.
        check: The condition.
        title: What it says, for people.

    Example:
        >>> rule = Rule(name="pressure", check="systolic > diastolic")
        >>> rule.columns
        ('systolic', 'diastolic')
    """

    name: Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=60)]
    check: Annotated[str, Field(min_length=1)]
    title: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> Rule:
        try:
            parse_rule(self.check)
        except ValueError as error:
            raise ValueError(f"rule {self.name!r} ({_short(self.check)}): {error}") from None
        return self

    @property
    def tree(self) -> Node:
        """The condition as a tree."""
        return parse_rule(self.check)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return columns_of(self.tree)

    def problem(self, columns: Sequence[Column], unit: str | None) -> str | None:
        """What is wrong with it in a table of these columns, with the way out; None is nothing."""
        try:
            check_types(self.tree, {column.name: column for column in columns}, unit)
        except ValueError as error:
            return str(error)
        return None

    def holds(self, columns: Sequence[Column]) -> pl.Expr:
        """True in rows that keep it, false in rows that break it, null where it does not apply.

        Args:
            columns: Those of the schema; the frame has them in the schema's types.
        """
        return condition(self.tree, {column.name: column for column in columns})

    def broken(self, columns: Sequence[Column]) -> pl.Expr:
        """True in the rows that break it, false in all others."""
        return (~self.holds(columns)).fill_null(False)


def check_checks(rules: Sequence[Rule], columns: Sequence[Column], unit: str | None) -> None:
    """Refuse rules that do not go with the columns, and repeated ones.

    Raises:
        ValueError: As said; the rule, the value and the way out.
    """
    for i, rule in enumerate(rules):
        place = f"rule {rule.name!r} ({_short(rule.check)})"
        problem = rule.problem(columns, unit)
        if problem:
            raise ValueError(f"{place}: {problem}")
        for earlier in rules[:i]:
            if earlier.name == rule.name:
                raise ValueError(f"two rules are named {rule.name!r}; rename one")
            if earlier.tree == rule.tree:
                raise ValueError(f"{place} repeats rule {earlier.name!r}; leave one out")


def checks_after(
    rules: Sequence[Rule], before: Sequence[Column], after: Sequence[Column], unit: str | None
) -> tuple[Rule, ...]:
    """The rules that still mean the same over other columns: all theirs are there, as they were.

    A column of another type, or with other levels, is another column.
    """
    old, new = (
        {c.name: (c.kind, c.type, c.levels) for c in columns} for columns in (before, after)
    )
    return tuple(
        rule
        for rule in rules
        if all(name in new and old[name] == new[name] for name in rule.columns)
        and rule.problem(after, unit) is None
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
