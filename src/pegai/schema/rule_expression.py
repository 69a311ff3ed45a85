"""What a rule says about the rows of a table, as a Polars expression.

True is kept, false is broken, null is "not applicable": a value that decides is missing. `and` and
`or` are Kleene's: one false part makes `and` false, whatever the others.

Numbers are reckoned as 64-bit floats and dates as days. Where a comparison involves arithmetic, two
sides that differ by less than 1e-12 of the largest operand are equal, so that `0.1 + 0.2 == 0.3`
and `0.3 - 0.2 - 0.1 == 0`. Of times, which are days since 1970, that is some 2 milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pegai.schema.rule_tree import (
    Absolute,
    And,
    Arithmetic,
    Comparison,
    Difference,
    Implies,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    OneOf,
    Operator,
    Or,
    Product,
    Quotient,
    Ref,
    Sum,
    Text,
    Truth,
    walk,
)
from pegai.schema.rule_types import Columns, moment, type_of

TOLERANCE = 1e-12


def condition(node: Node, columns: Columns) -> pl.Expr:
    """A condition over columns of the schema's types; null where it does not apply.

    Args:
        node: A tree that `check_types` has passed.
        columns: The columns by name.
    """
    match node:
        case And(parts=parts):
            return _all([condition(part, columns) for part in parts])
        case Or(parts=parts):
            return ~_all([~condition(part, columns) for part in parts])
        case Not(of=of):
            return ~condition(of, columns)
        case Implies(given=given, then=then):
            return ~condition(given, columns) | condition(then, columns)
        case Missing(name=name):
            return pl.col(name).is_null()
        case Truth(value=value):
            return pl.lit(value)
        case Comparison(operator=operator, left=left, right=right):
            return _compared(operator, left, right, columns)
        case OneOf(of=of, values=values):
            return ~_all([_compared("!=", of, value, columns) for value in values])
        case Ref(name=name):
            return pl.col(name)
        case _:
            raise TypeError(f"{type(node).__name__} is not a condition")


def _all(parts: Sequence[pl.Expr]) -> pl.Expr:
    """Kleene's and, by halves: a chain of hundreds would be nested as deep."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return _all(parts[:half]) & _all(parts[half:])


def _compared(operator: Operator, left: Node, right: Node, columns: Columns) -> pl.Expr:
    kinds = {type_of(left, columns), type_of(right, columns)}
    if kinds <= {"number", "moment"} or "moment" in kinds:
        first, second = _number(left, columns), _number(right, columns)
        reckoned = any(isinstance(n, Arithmetic) for side in (left, right) for n in walk(side))
        if not reckoned:
            return _plain(operator, first, second)
        return _rounded(operator, first, second, _larger(left, right, columns))
    if kinds == {"truth"}:
        return _plain(operator, condition(left, columns), condition(right, columns))
    if operator in ("==", "!="):
        return _plain(operator, _text(left), _text(right))
    levels = next(columns[n.name].levels for n in (left, right) if isinstance(n, Ref))
    return _plain(operator, _place(left, levels), _place(right, levels))


def _plain(operator: Operator, left: pl.Expr, right: pl.Expr) -> pl.Expr:
    return {
        "==": left.eq,
        "!=": left.ne,
        "<": left.lt,
        "<=": left.le,
        ">": left.gt,
        ">=": left.ge,
    }[operator](right)


def _rounded(operator: Operator, left: pl.Expr, right: pl.Expr, scale: pl.Expr) -> pl.Expr:
    """A comparison in which sides are equal that differ by rounding alone."""
    near = (left - right).abs() <= TOLERANCE * scale
    if operator in ("==", "!="):
        return near if operator == "==" else ~near
    found = _plain(operator, left, right)
    return found | near if operator in ("<=", ">=") else found & ~near


def _number(node: Node, columns: Columns) -> pl.Expr:
    """A number, or a date or time as days since 1970-01-01; null where it is not finite."""
    match node:
        case Ref(name=name):
            return _column(name, columns)
        case Number(value=value):
            return pl.lit(value, dtype=pl.Float64)
        case Text(value=value):
            return pl.lit(moment(value), dtype=pl.Float64)
        case Negative(of=of):
            return -_number(of, columns)
        case Absolute(of=of):
            return _number(of, columns).abs()
        case Sum(left=left, right=right):
            return _finite(_number(left, columns) + _number(right, columns))
        case Difference(left=left, right=right):
            return _finite(_number(left, columns) - _number(right, columns))
        case Product(left=left, right=right):
            return _finite(_number(left, columns) * _number(right, columns))
        case Quotient(left=left, right=right):
            return _finite(_number(left, columns) / _number(right, columns))
        case _:
            raise TypeError(f"{type(node).__name__} is not a number")


def _scale(node: Node, columns: Columns) -> pl.Expr:
    """How large the numbers were that a value was reckoned from: its rounding error is a share.

    What cancels leaves the error of what it cancelled from, so a difference has the scale of its
    larger side. A factor or divisor passes the error of the other side on, as it does the value.
    """
    match node:
        case Negative(of=of) | Absolute(of=of):
            return _scale(of, columns)
        case Sum(left=left, right=right) | Difference(left=left, right=right):
            return _larger(left, right, columns)
        case Product(left=left, right=right):
            return _finite(_scale(left, columns) * _scale(right, columns))
        case Quotient(left=left, right=right):
            divisor = _number(right, columns).abs()
            parts = (_scale(left, columns) / divisor, _scale(right, columns) / divisor)
            return _finite(parts[0] * parts[1])
        case _:
            return _number(node, columns).abs()


def _larger(left: Node, right: Node, columns: Columns) -> pl.Expr:
    """The larger scale of two values, or a value of theirs that is larger still."""
    values = (_number(node, columns).abs() for node in (left, right))
    return pl.max_horizontal(*values, _scale(left, columns), _scale(right, columns))


def _finite(value: pl.Expr) -> pl.Expr:
    # To Polars NaN is larger than every number: division by 0 would decide a comparison.
    return pl.when(value.is_finite()).then(value).otherwise(None)


def _column(name: str, columns: Columns) -> pl.Expr:
    column = pl.col(name)
    if columns[name].type == "date":
        return column.to_physical().cast(pl.Float64)
    if columns[name].type == "datetime":
        return column.dt.epoch("us").cast(pl.Float64) / 86_400e6
    return column.cast(pl.Float64)


def _text(node: Node) -> pl.Expr:
    return pl.lit(node.value) if isinstance(node, Text) else pl.col(_name(node))


def _place(node: Node, levels: tuple[str, ...]) -> pl.Expr:
    """The position of an ordered category; null for what is none."""
    places = {level: place for place, level in enumerate(levels)}
    if isinstance(node, Text):
        return pl.lit(places[node.value], dtype=pl.Int32)
    return pl.col(_name(node)).replace_strict(places, default=None, return_dtype=pl.Int32)


def _name(node: Node) -> str:
    if not isinstance(node, Ref):
        raise TypeError(f"{type(node).__name__} is not a category")
    return node.name
