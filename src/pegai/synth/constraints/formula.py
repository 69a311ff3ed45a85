"""Rules in negation normal form: what has to be so, that a row keeps a rule.

A row keeps a rule unless it is false (Kleene's logic: what is undecided counts as kept). "Not
false" distributes over `and` and `or`, and "not true" does over their opposites, so that any rule
becomes a tree of `AllOf` and `AnyOf` whose leaves say of one comparison that it is not false, or of
one condition that it is not true. Leaves are what `moves` can repair.

Impossible combinations are rules too: in one of their columns the level is none of those listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pegai.schema import Impossible, Schema
from pegai.schema.rule_expression import condition
from pegai.schema.rule_tree import (
    Absolute,
    And,
    Comparison,
    Difference,
    Implies,
    Negative,
    Node,
    Not,
    Number,
    OneOf,
    Operator,
    Or,
    Pair,
    Product,
    Quotient,
    Ref,
    Sum,
    columns_of,
    walk,
)
from pegai.schema.rule_types import Columns, type_of

MAX_ABSOLUTE = 6
"""Absolute values in one comparison that are told apart by their signs: each doubles its cases."""

KEPT = "\x00kept"
"""A column by a name that no table has."""

OPPOSITE: dict[Operator, Operator] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
}


@dataclass(frozen=True)
class Leaf:
    """A condition that is not false (`truth`), or not true.

    Attributes:
        node: A comparison, a list of values, whether a column is missing, or a boolean column.
        truth: Which of the two; comparisons are always "not false".
    """

    node: Node
    truth: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is about."""
        return columns_of(self.node)


@dataclass(frozen=True)
class Outside:
    """A discrete column that has none of some levels; None is missing.

    Attributes:
        name: The column.
        texts: The levels.
    """

    name: str
    texts: tuple[str | None, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is about."""
        return (self.name,)


@dataclass(frozen=True)
class AllOf:
    """Every part."""

    parts: tuple[Formula, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is about."""
        return _named(self.parts)


@dataclass(frozen=True)
class AnyOf:
    """At least one part."""

    parts: tuple[Formula, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is about."""
        return _named(self.parts)


Formula = Leaf | Outside | AllOf | AnyOf


def _named(parts: tuple[Formula, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part.columns))


def kept(node: Node, columns: Columns, *, truth: bool = True) -> Formula:
    """What has to be so that a condition is not false, or with `truth` False that it is not true.

    Args:
        node: A tree that `check_types` has passed.
        columns: The columns by name.
        truth: Which of the two.
    """
    match node:
        case And(parts=parts) | Or(parts=parts):
            found = tuple(kept(part, columns, truth=truth) for part in parts)
            return AllOf(found) if isinstance(node, And) == truth else AnyOf(found)
        case Not(of=of):
            return kept(of, columns, truth=not truth)
        case Implies(given=given, then=then):
            found = kept(given, columns, truth=not truth), kept(then, columns, truth=truth)
            return AnyOf(found) if truth else AllOf(found)
        case OneOf(of=of, values=values) if not _is_discrete(of, columns):
            parts = tuple(Comparison("==", of, value) for value in values)
            return kept(Or(parts), columns, truth=truth)
        case Comparison(operator=operator, left=left, right=right):
            found = operator if truth else OPPOSITE[operator]
            return _compared(Comparison(found, left, right), columns)
        case _:
            return Leaf(node, truth)


def _is_discrete(node: Node, columns: Columns) -> bool:
    return isinstance(node, Ref) and columns[node.name].is_discrete


def _compared(node: Comparison, columns: Columns) -> Formula:
    if type_of(node.left, columns) == "truth":
        alike = _both(node, columns, same=True)
        return alike if node.operator == "==" else _both(node, columns, same=False)
    inside = [n for n in walk(node) if isinstance(n, Absolute)]
    if not inside or len(inside) > MAX_ABSOLUTE:
        return Leaf(node, True)
    absolute = inside[0]
    plus = _replaced(node, absolute, absolute.of)
    minus = _replaced(node, absolute, Negative(absolute.of))
    sides = (
        (Comparison(">=", absolute.of, Number(0.0)), plus),
        (Comparison("<=", absolute.of, Number(0.0)), minus),
    )
    return AnyOf(
        tuple(AllOf((_compared(sign, columns), _compared(case, columns))) for sign, case in sides)
    )


def _both(node: Comparison, columns: Columns, *, same: bool) -> Formula:
    """Two conditions that are equal, or not: one is undecided, or both are one way or the other."""
    ways = (
        AllOf((kept(node.left, columns, truth=way), kept(node.right, columns, truth=way == same)))
        for way in (True, False)
    )
    return AnyOf(tuple(ways))


def _replaced(node: Comparison, old: Node, new: Node) -> Comparison:
    return Comparison(node.operator, _swap(node.left, old, new), _swap(node.right, old, new))


def _swap(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    if isinstance(node, Pair):
        return type(node)(_swap(node.left, old, new), _swap(node.right, old, new))
    if isinstance(node, (Negative, Absolute)):
        return type(node)(_swap(node.of, old, new))
    return node


def kept_expression(formula: Formula, columns: Columns) -> pl.Expr:
    """True in rows that keep a formula, false in all others."""
    match formula:
        case AllOf(parts=parts):
            return pl.all_horizontal(_expressions(parts, columns))
        case AnyOf(parts=parts):
            return pl.any_horizontal(_expressions(parts, columns))
        case Outside(name=name, texts=texts):
            present = [text for text in texts if text is not None]
            column = pl.col(name)
            outside = ~column.cast(pl.String).is_in(present)
            return outside.fill_null(None not in texts)
        case Leaf(node=node, truth=truth):
            found = condition(node, columns)
            return (found if truth else ~found).fill_null(value=True)


def _expressions(parts: tuple[Formula, ...], columns: Columns) -> list[pl.Expr]:
    return [kept_expression(part, columns) for part in parts]


def keeps(formula: Formula, frame: pl.DataFrame, columns: Columns) -> NDArray[np.bool_]:
    """Which rows keep a formula, shape (rows,)."""
    return told(frame, kept_expression(formula, columns))


def told(frame: pl.DataFrame, expression: pl.Expr) -> NDArray[np.bool_]:
    """The truth of a condition in each row, shape (rows,)."""
    found = frame.select(expression.alias(KEPT))[KEPT].to_numpy()
    # What names no column is one row long.
    return found if len(found) == frame.height else np.full(frame.height, bool(found[0]))


def of_impossible(rule: Impossible, schema: Schema) -> Formula:
    """What has to be so that a row is not a combination; columns in the schema's order."""
    named = [name for name in schema.names if name in rule.columns]
    return AnyOf(tuple(Outside(name, rule.texts(name)) for name in named))


def linear(node: Node) -> tuple[dict[str, float], float] | None:
    """A sum of columns times numbers, plus a number: factors by column, and the number.

    Numbers with dates count in days. None where it is no such sum, or is over a text.
    """
    match node:
        case Ref(name=name):
            return {name: 1.0}, 0.0
        case Number(value=value):
            return {}, value
        case Negative(of=of):
            return _scaled(linear(of), -1.0)
        case _ if isinstance(node, Pair):
            return _of_pair(node)
        case _:
            return None


Linear = tuple[dict[str, float], float]


def _of_pair(node: Sum | Difference | Product | Quotient) -> Linear | None:
    left, right = linear(node.left), linear(node.right)
    if left is None or right is None:
        return None
    if isinstance(node, Difference):
        return _added(left, _scaled(right, -1.0))
    if isinstance(node, Sum):
        return _added(left, right)
    if isinstance(node, Product):
        number, other = (left, right) if not left[0] else (right, left)
        return None if number[0] else _scaled(other, number[1])
    return None if right[0] or right[1] == 0 else _scaled(left, 1 / right[1])


def _scaled(found: Linear | None, factor: float) -> Linear | None:
    if found is None:
        return None
    return {name: factor * by for name, by in found[0].items()}, factor * found[1]


def _added(left: Linear | None, right: Linear | None) -> Linear | None:
    if left is None or right is None:
        return None
    names = dict.fromkeys([*left[0], *right[0]])
    factors = {name: left[0].get(name, 0.0) + right[0].get(name, 0.0) for name in names}
    return factors, left[1] + right[1]
