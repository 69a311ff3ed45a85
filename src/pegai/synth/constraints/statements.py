"""What rules say outright of numbers and dates: sums of columns compared with 0.

`discharge >= admission`, `0 <= discharge - admission <= 30`, `abs(a - b) <= 3` and `total == a + b`
are such statements. A rule with `if`, `or` or `not` says nothing outright.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pegai.schema import Schema
from pegai.schema.rule_tree import (
    Absolute,
    And,
    Comparison,
    Difference,
    Negative,
    Node,
    Number,
    Operator,
    Text,
)
from pegai.schema.rule_types import Columns, moment, type_of
from pegai.synth.constraints.formula import linear
from pegai.synth.constraints.moves import rule_unit


@dataclass(frozen=True)
class Statement:
    """The sum of factor x column, plus a number, compared with 0; in the columns' own numbers.

    Attributes:
        node: As the rule has it.
        operator: Any but "!=".
        factors: Of numeric columns of one unit, none of them 0.
        number: Added.
    """

    node: Comparison
    operator: Operator
    factors: Mapping[str, float]
    number: float

    @property
    def is_lower(self) -> bool:
        """Whether the sum is at least, or more than, 0."""
        return self.operator in (">", ">=")

    @property
    def strict(self) -> bool:
        """Whether the sum is not 0."""
        return self.operator in ("<", ">")


def statements(schema: Schema) -> Iterator[Statement]:
    """All that the rules of a schema say outright."""
    columns = {column.name: column for column in schema.columns}
    for rule in schema.rules:
        for node in _parts(rule.tree):
            found = _statement(node, columns)
            if found is not None:
                yield found


def _parts(tree: Node) -> Iterator[Comparison]:
    if isinstance(tree, And):
        for part in tree.parts:
            yield from _parts(part)
    elif isinstance(tree, Comparison):
        yield from _without_absolute(tree)


def _without_absolute(node: Comparison) -> Iterator[Comparison]:
    """`abs(x) <= c` is `x <= c` and `-x <= c`."""
    left, right, operator = node.left, node.right, node.operator
    if isinstance(right, Absolute) and operator in (">", ">="):
        left, right, operator = right, left, "<" if operator == ">" else "<="
    if isinstance(left, Absolute) and operator in ("<", "<="):
        yield Comparison(operator, left.of, right)
        yield Comparison(operator, Negative(left.of), right)
    else:
        yield node


def _statement(node: Comparison, columns: Columns) -> Statement | None:
    if node.operator == "!=":
        return None
    whole = Difference(_dated(node.left, node, columns), _dated(node.right, node, columns))
    found = linear(whole)
    if found is None:
        return None
    factors = {name: by for name, by in found[0].items() if by != 0}
    if not factors or not all(columns[name].is_numeric for name in factors):
        return None
    kinds = {columns[name].type for name in factors}
    if len(kinds) > 1 and not kinds <= {"integer", "number"}:
        return None
    unit = rule_unit(columns[next(iter(factors))])
    return Statement(node, node.operator, factors, found[1] * unit)


def _dated(side: Node, node: Comparison, columns: Columns) -> Node:
    """A date in quotes as its number of days; texts stand alone on a side."""
    other = node.right if side is node.left else node.left
    if isinstance(side, Text) and type_of(other, columns) == "moment":
        return Number(moment(side.value))
    return side
