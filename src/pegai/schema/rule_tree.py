"""The tree of a rule: frozen values, apart from the text it was read from and from any table.

```
condition  Comparison, OneOf, Missing, Truth, Ref (a boolean column), And, Or, Not, Implies
value      Ref, Number, Text, Sum, Difference, Product, Quotient, Negative, Absolute
```

Dates are values too: their difference is a number of days, and a number of days can be added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Ref:
    """A column by name."""

    name: str


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True)
class Text:
    """A level, or a date or time in ISO 8601, by what it is compared with."""

    value: str


@dataclass(frozen=True)
class Truth:
    """True or false."""

    value: bool


@dataclass(frozen=True)
class Sum:
    """left + right."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Difference:
    """left - right; days where both are dates."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Product:
    """left * right."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Quotient:
    """left / right; missing where right is 0."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Negative:
    """-of."""

    of: Node


@dataclass(frozen=True)
class Absolute:
    """abs(of)."""

    of: Node


@dataclass(frozen=True)
class Comparison:
    """left operator right; missing where one of them is."""

    operator: Operator
    left: Node
    right: Node


@dataclass(frozen=True)
class OneOf:
    """Whether a value is one of a list; missing where it is."""

    of: Node
    values: tuple[Number | Text | Truth, ...]


@dataclass(frozen=True)
class Missing:
    """Whether a column has no value; never missing itself."""

    name: str


@dataclass(frozen=True)
class And:
    """All of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """At least one of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The opposite."""

    of: Node


@dataclass(frozen=True)
class Implies:
    """Where `given` holds, `then` does: the same as `(not given) or then`."""

    given: Node
    then: Node


Literals = (Number, Text, Truth)
Arithmetic = (Sum, Difference, Product, Quotient, Negative, Absolute)
Pair = (Sum, Difference, Product, Quotient)

Node = (
    Ref
    | Number
    | Text
    | Truth
    | Sum
    | Difference
    | Product
    | Quotient
    | Negative
    | Absolute
    | Comparison
    | OneOf
    | Missing
    | And
    | Or
    | Not
    | Implies
)


def walk(tree: Node) -> Iterator[Node]:
    """The node and all nodes below it, left to right."""
    yield tree
    for part in fields(tree):
        value: Node | tuple[Node, ...] | str | float = getattr(tree, part.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Node):
                yield from walk(child)


def columns_of(tree: Node) -> tuple[str, ...]:
    """The columns that a tree is about, each once, in the order of the text."""
    named = (node.name for node in walk(tree) if isinstance(node, (Ref, Missing)))
    return tuple(dict.fromkeys(named))
