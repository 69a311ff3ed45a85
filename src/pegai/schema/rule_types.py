"""Whether a rule makes sense over given columns: names, types and levels."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping
from typing import Literal

from pegai.schema.columns import Column
from pegai.schema.rule_tree import (
    Absolute,
    And,
    Comparison,
    Difference,
    Implies,
    Literals,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    OneOf,
    Operator,
    Or,
    Pair,
    Ref,
    Sum,
    Text,
    Truth,
    walk,
)

Type = Literal["number", "moment", "text", "truth"]
Columns = Mapping[str, Column]

SHOWN = 10
_WORDS: dict[Type, str] = {
    "number": "a number",
    "moment": "a date or time",
    "text": "a category",
    "truth": "true or false",
}


def column_type(column: Column) -> Type | None:
    """What a column is in a rule; None for free text, which is not modelled."""
    if column.type in ("integer", "number"):
        return "number"
    if column.type in ("date", "datetime"):
        return "moment"
    if column.type == "boolean":
        return "truth"
    return "text" if column.is_discrete else None


def type_of(node: Node, columns: Columns) -> Type:
    """The type of a value or condition whose names are known; a text by itself is a category."""
    match node:
        case Ref(name=name):
            return column_type(columns[name]) or "text"
        case Number() | Absolute():
            return "number"
        case Text():
            return "text"
        case Negative(of=of):
            return type_of(of, columns)
        case Sum(left=left, right=right):
            moment = "moment" in (type_of(left, columns), type_of(right, columns))
            return "moment" if moment else "number"
        case Difference(left=left, right=right):
            kinds = type_of(left, columns), type_of(right, columns)
            return "moment" if kinds == ("moment", "number") else "number"
        case _:
            return "number" if isinstance(node, Pair) else "truth"


def moment(text: str) -> float:
    """A date or time in ISO 8601 as days since 1970-01-01.

    Raises:
        ValueError: It is none.
    """
    found = dt.datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    return found.timestamp() / 86_400


def check_types(tree: Node, columns: Columns, unit: str | None) -> None:
    """Refuse a rule that does not go with the columns.

    Raises:
        ValueError: The value and the way out.
    """
    named = [node for node in walk(tree) if isinstance(node, (Ref, Missing))]
    if not named:
        raise ValueError("it names no column; a rule is about at least one")
    for node in named:
        _check_name(node.name, columns, unit)
    _condition(tree, columns)


def _check_name(name: str, columns: Columns, unit: str | None) -> None:
    if name not in columns:
        plain = unicodedata.normalize("NFKC", name)
        alike = [c for c in columns if unicodedata.normalize("NFKC", c) == plain]
        if alike:
            raise ValueError(
                f"{name!r} is not one of the fields, {alike[0]!r} is: it looks alike and has other "
                f"characters ({alike[0]!a}); copy it from the schema, in backticks: `{alike[0]}`"
            )
        raise ValueError(
            f"{name!r} is not one of the fields ({_some(list(columns))}); correct the name"
        )
    if columns[name].role == "identifier" or name == unit:
        raise ValueError(f"{name!r} identifies patients and is in no synthetic table; leave it out")
    if column_type(columns[name]) is None:
        raise ValueError(
            f"{name!r} is free text, which is in no synthetic table; give it categories, or "
            "leave it out"
        )


def _condition(node: Node, columns: Columns) -> None:
    match node:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                _condition(part, columns)
        case Not(of=of):
            _condition(of, columns)
        case Implies(given=given, then=then):
            _condition(given, columns)
            _condition(then, columns)
        case Comparison(operator=operator, left=left, right=right):
            _comparison(operator, left, right, columns)
        case OneOf(of=of, values=values):
            for value in values:
                _comparison("==", of, value, columns)
        case Missing() | Truth():
            pass
        case _:
            found = _value(node, columns)
            if found != "truth":
                raise ValueError(
                    f"{_shown(node)} is {_WORDS[found]}, not a condition; compare it with something"
                )


def _value(node: Node, columns: Columns) -> Type:
    """Check a value and say its type."""
    match node:
        case Negative(of=of) | Absolute(of=of):
            _operand(of, columns, "number")
        case Ref() | Number() | Text() | Truth():
            pass
        case _ if isinstance(node, Pair):
            kinds = _value(node.left, columns), _value(node.right, columns)
            _arithmetic(node, kinds)
        case _:
            _condition(node, columns)
    return type_of(node, columns)


def _operand(node: Node, columns: Columns, wanted: Type) -> None:
    found = _value(node, columns)
    if found != wanted:
        raise ValueError(
            f"{_shown(node)} is {_WORDS[found]}, where {_WORDS[wanted]} is needed; correct it"
        )


def _arithmetic(node: Node, kinds: tuple[Type, Type]) -> None:
    allowed = {("number", "number")}
    if isinstance(node, Sum):
        allowed |= {("moment", "number"), ("number", "moment")}
    if isinstance(node, Difference):
        allowed |= {("moment", "moment"), ("moment", "number")}
    if kinds not in allowed:
        raise ValueError(
            f"{_shown(node)} reckons with {_WORDS[kinds[0]]} and {_WORDS[kinds[1]]}; numbers can "
            "be added, subtracted, multiplied and divided, dates be subtracted from each other "
            "and moved by a number of days"
        )


def _comparison(operator: Operator, left: Node, right: Node, columns: Columns) -> None:
    if isinstance(left, Literals) and isinstance(right, Literals):
        raise ValueError(f"{_shown(left)} and {_shown(right)} are both fixed; name a column")
    if isinstance(left, Literals):
        left, right = right, left
    first, second = _value(left, columns), _value(right, columns)
    if isinstance(right, Text) and first == "moment":
        _check_moment(left, right)
        return
    if first != second:
        raise ValueError(
            f"{_shown(left)} is {_WORDS[first]} and {_shown(right)} is {_WORDS[second]}; "
            f"compare what is alike{_quotes(first, right)}"
        )
    if first in ("text", "truth") and operator not in ("==", "!="):
        _check_order(left, right, columns, operator)
    if isinstance(left, Ref) and isinstance(right, (Text, Number)):
        _check_level(columns[left.name], right, operator)


def _check_moment(left: Node, right: Text) -> None:
    try:
        moment(right.value)
    except ValueError:
        raise ValueError(
            f"{_shown(left)} is a date or time and {right.value!r} is none; write it as "
            "'2024-12-31' or '2024-12-31T23:59'"
        ) from None


def _quotes(first: Type, right: Node) -> str:
    if first == "moment" and isinstance(right, Number):
        return ", as with '2024-12-31'"
    if first == "number" and isinstance(right, Text):
        return "; numbers have no quotes"
    if first == "text" and isinstance(right, (Number, Truth)):
        return "; categories of a string column stand in quotes"
    return ""


def _check_order(left: Node, right: Node, columns: Columns, operator: Operator) -> None:
    refs = [node for node in (left, right) if isinstance(node, Ref)]
    ordered = [columns[node.name].kind == "ordinal" for node in refs]
    levels = {columns[node.name].levels for node in refs}
    if not refs or not all(ordered) or len(levels) > 1:
        raise ValueError(
            f"{_shown(left)} and {_shown(right)} have no common order for {operator!r}; use == or "
            "in, or say categoriesOrdered"
        )


def _check_level(column: Column, right: Text | Number, operator: Operator) -> None:
    if not column.is_discrete:
        return
    if isinstance(right, Number):
        if operator not in ("==", "!=") or right.value in map(float, column.levels):
            return
        text = f"{right.value:g}"
    elif right.value in column.levels:
        return
    else:
        text = right.value
    raise ValueError(
        f"{text!r} is no category of {column.name!r} ({_some(column.levels)}); correct it, or add "
        "it to the categories"
    )


def _shown(node: Node) -> str:
    match node:
        case Ref(name=name):
            return repr(name)
        case Number(value=value):
            return f"{value:g}"
        case Text(value=value):
            return repr(value)
        case Truth(value=value):
            return str(value).lower()
        case _:
            signs = {"Sum": "+", "Difference": "-", "Product": "*", "Quotient": "/"}
            name = type(node).__name__
            if isinstance(node, Pair):
                return f"{_shown(node.left)} {signs[name]} {_shown(node.right)}"
            if isinstance(node, Absolute):
                return f"abs({_shown(node.of)})"
            if isinstance(node, Negative):
                return f"-{_shown(node.of)}"
            return "a condition"


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
