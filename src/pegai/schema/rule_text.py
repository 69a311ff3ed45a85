"""From the text of a rule to its tree, by a whitelist: nothing is ever evaluated.

Python's own parser reads the text (so precedence, brackets and quotes are Python's), and of its
syntax tree only what the rules need is taken over. Three things are put into Python's terms before:
a name in backticks, a name that Python would spell otherwise, and `if A then B`.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Callable
from functools import lru_cache

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
    Product,
    Quotient,
    Ref,
    Sum,
    Text,
    Truth,
)

MAX_LENGTH = 2_000
MAX_DEPTH = 40
KNOWN = (
    "known are columns, numbers, 'texts', true, false, == != < <= > >=, in [...], and or not, "
    "+ - * /, abs(...), is_missing(column), col('odd name') and if ... then ..."
)

_PIECE = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|\w+|\s+|.)""", re.DOTALL)
_TRUTHS = {"true": True, "false": False}
_OPERATORS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Node, Node], Node]] = {
    ast.Add: Sum,
    ast.Sub: Difference,
    ast.Mult: Product,
    ast.Div: Quotient,
}
_INSTEAD: tuple[tuple[type[ast.AST], str], ...] = (
    (ast.BitAnd, "write and"),
    (ast.BitOr, "write or"),
    (ast.Is, "a missing value is found by is_missing(column)"),
    (ast.IsNot, "a missing value is found by not is_missing(column)"),
    (ast.IfExp, "write if A then B"),
)


@lru_cache(maxsize=1024)
def parse_rule(text: str) -> Node:
    """Read a rule.

    Raises:
        ValueError: It is not one; what was found and the way out.

    Example:
        >>> parse_rule("discharge >= admission")
        Comparison(operator='>=', left=Ref(name='discharge'), right=Ref(name='admission'))
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it has {len(text)} characters, {MAX_LENGTH} are allowed; split it")
    head, tail = _split_if(_pieces(text))
    if tail is None:
        return _read(head)
    return Implies(_read(head), _read(tail))


def _pieces(text: str) -> list[str]:
    """Words, texts and signs; names in backticks as `col("name")`, any white space as a blank."""
    return [_piece(found) for found in _PIECE.findall(text)]


def _piece(found: str) -> str:
    if found[0] == "`":
        if len(found) < 3:
            raise ValueError("a backtick has no partner; write `odd name`")
        return f"col({json.dumps(found[1:-1], ensure_ascii=False)})"
    if found == "#":
        raise ValueError("'#' is not known: comments go into the title")
    if found.isidentifier() and unicodedata.normalize("NFKC", found) != found:
        # Python normalises names, so that the column µg (micro sign) would be read as μg (mu).
        return f"col({json.dumps(found, ensure_ascii=False)})"
    return " " if found.isspace() else found


def _split_if(pieces: list[str]) -> tuple[str, str | None]:
    """The text, or condition and consequence of `if A then B`."""
    if next((piece for piece in pieces if piece != " "), "") != "if":
        return "".join(pieces).strip(), None
    depth, places = 0, list[int]()
    for place, piece in enumerate(pieces):
        depth += (piece in "([") - (piece in ")]")
        if piece == "then" and depth == 0:
            places.append(place)
    if len(places) != 1:
        raise ValueError("if needs one then, outside of brackets; write if A then B")
    head, tail = pieces[pieces.index("if") + 1 : places[0]], pieces[places[0] + 1 :]
    if "else" in tail:
        raise ValueError("else is not known; write the other case as a rule of its own")
    return "".join(head).strip(), "".join(tail).strip()


def _read(text: str) -> Node:
    if not text:
        raise ValueError(f"a condition is empty; {KNOWN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful escapes in texts
            tree = ast.parse(text, mode="eval").body
        return _node(tree, 0)
    except SyntaxError as error:
        place = f" near {text[max(0, (error.offset or 1) - 1) :][:20]!r}" if error.offset else ""
        raise ValueError(
            f"it can't be read{place} ({error.msg}); a column with an odd name stands in "
            f"backticks; {KNOWN}"
        ) from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply; split it") from None


def _node(tree: ast.expr, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep; split it")
    match tree:
        case ast.Constant():
            return _constant(tree)
        case ast.Name(id=name):
            return Truth(_TRUTHS[name]) if name in _TRUTHS else Ref(name)
        case ast.BoolOp(op=op, values=values):
            parts = tuple(_node(value, depth + 1) for value in values)
            return And(parts) if isinstance(op, ast.And) else Or(parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Not(_node(operand, depth + 1))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _negative(_node(operand, depth + 1))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _node(operand, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_node(left, depth + 1), _node(right, depth + 1))
        case ast.Compare():
            return _comparison(tree, depth)
        case ast.Call():
            return _call(tree, depth)
        case ast.Attribute():
            odd = ast.unparse(tree)
            raise ValueError(f"{odd!r} has a point; a column of that name is written `{odd}`")
        case _:
            raise _unknown(tree)


def _unknown(tree: ast.AST) -> ValueError:
    found = next(
        (text for node in ast.walk(tree) for kind, text in _INSTEAD if isinstance(node, kind)),
        KNOWN,
    )
    return ValueError(f"{ast.unparse(tree)!r} is not known; {found}")


def _constant(tree: ast.Constant) -> Node:
    value = tree.value
    if isinstance(value, bool):
        return Truth(value)
    if isinstance(value, str):
        return Text(value)
    if value is None:
        raise ValueError("None is not known; a missing value is found by is_missing(column)")
    if not isinstance(value, (int, float)):
        raise _unknown(tree)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a number is too large; write it smaller")
    return Number(number)


def _negative(of: Node) -> Node:
    return Number(-of.value) if isinstance(of, Number) else Negative(of)


def _comparison(tree: ast.Compare, depth: int) -> Node:
    """`a < b < c` is both; `in` takes a list of fixed values."""
    sides = [tree.left, *tree.comparators]
    parts = [
        _one_comparison(op, left, right, depth + 1)
        for op, left, right in zip(tree.ops, sides[:-1], sides[1:], strict=True)
    ]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _one_comparison(op: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Node:
    if type(op) in _OPERATORS:
        return Comparison(_OPERATORS[type(op)], _node(left, depth), _node(right, depth))
    if not isinstance(op, (ast.In, ast.NotIn)):
        raise _unknown(ast.Compare(left, [op], [right]))
    if not isinstance(right, (ast.List, ast.Tuple)) or not right.elts:
        raise ValueError(f"after in stands {ast.unparse(right)!r}; write a list, as in ['a', 'b']")
    values = [_node(value, depth) for value in right.elts]
    fixed = tuple(value for value in values if isinstance(value, Literals))
    if len(fixed) < len(values):
        raise ValueError(f"{ast.unparse(right)!r} names columns; a list has fixed values only")
    found = OneOf(_node(left, depth), fixed)
    return Not(found) if isinstance(op, ast.NotIn) else found


def _call(tree: ast.Call, depth: int) -> Node:
    name = tree.func.id if isinstance(tree.func, ast.Name) else ""
    if name not in ("col", "abs", "is_missing") or tree.keywords or len(tree.args) != 1:
        raise _unknown(tree)
    inner = tree.args[0]
    if name == "col":
        if not isinstance(inner, ast.Constant) or not isinstance(inner.value, str):
            raise ValueError(f"{ast.unparse(tree)!r} needs a name in quotes, as col('odd name')")
        return Ref(inner.value)
    node = _node(inner, depth + 1)
    if name == "abs":
        return Absolute(node)
    if not isinstance(node, Ref):
        raise ValueError(f"{ast.unparse(tree)!r} needs one column, as is_missing(age)")
    return Missing(node.name)
