"""Which columns of a schema get a form, by what its rules say outright."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.schema import Schema
from pegai.schema.rule_tree import Ref
from pegai.synth.constraints.kinds import Bounds, Form, Gap, Rebuilt, Total, gap_step, narrowed
from pegai.synth.constraints.moves import ON_GRID, limits, step_of
from pegai.synth.constraints.statements import Statement, statements

LONG_STEPS = 128
"""A gap of more steps is learned on a logarithmic scale in a private fit."""

PARTS = 4096
"""Steps of a gap between numbers without decimals, on the logarithmic scale."""

FREE_ROLES = ("feature", "quasi-identifier", "sensitive")
"""Roles of columns that may be learned in another form; methods and scores look at the others."""


def chosen_forms(schema: Schema, table: Table | None) -> tuple[Form, ...]:
    """Bounds, then what is rebuilt, each after what it is rebuilt from.

    Args:
        schema: With the rules.
        table: Whose missing values may be looked at; None for a private fit, whose forms may depend
            on the schema alone.
    """
    said = list(statements(schema))
    bounds = tuple(_bounds(schema, said))
    narrow = narrowed(schema, bounds)
    chosen: dict[str, Rebuilt] = {}
    for form in (*_totals(schema, said), *_gaps(narrow, said, private=table is None)):
        if _is_free(schema, form, chosen) and _loses_nothing(schema, form, table):
            chosen[form.name] = form
    return (*bounds, *_in_order(chosen))


def _bounds(schema: Schema, said: Sequence[Statement]) -> Iterator[Bounds]:
    """One for each column that a rule bounds by a number."""
    for column in schema.columns:
        low, high = limits(column) if column.is_numeric else (-np.inf, np.inf)
        start = low, high
        for one in said:
            if list(one.factors) == [column.name] and one.operator != "==":
                (factor,) = one.factors.values()
                limit = -one.number / factor
                up = (factor > 0) == one.is_lower
                limit = _inside(limit, step_of(column), up=up, strict=one.strict)
                low, high = (max(low, limit), high) if up else (low, min(high, limit))
        if (low, high) != start and low <= high:
            yield Bounds(column.name, *(_or_none(end) for end in (low, high)))


def _or_none(end: float) -> float | None:
    return float(end) if np.isfinite(end) else None


def _inside(limit: float, step: float | None, *, up: bool, strict: bool) -> float:
    """The outermost value that a limit allows."""
    if step is None:
        return limit
    sign = 1.0 if up else -1.0
    place = sign * limit / step
    beyond = np.floor(place + ON_GRID) + 1 if strict else np.ceil(place - ON_GRID)
    # By division, which is exact to the last digit where steps are powers of ten.
    return float(sign * beyond * step if step >= 1 else sign * beyond / round(1 / step))


def _totals(schema: Schema, said: Sequence[Statement]) -> Iterator[Total]:
    """Ways to compute a column from an equation, those first that stand alone on a side."""
    for one in said:
        if one.operator != "==" or len(one.factors) < 2:
            continue
        sides = (one.node.left, one.node.right)
        alone = [side.name for side in sides if isinstance(side, Ref)]
        later = [name for name in reversed(schema.names) if name in one.factors]
        for name in dict.fromkeys([*alone, *later]):
            by = -one.factors[name]
            rest = {n: factor / by for n, factor in one.factors.items() if n != name}
            yield Total(name, tuple(rest.items()), one.number / by)


def _gaps(schema: Schema, said: Sequence[Statement], *, private: bool) -> Iterator[Gap]:
    """Gaps of every pair that rules compare, the later column of the schema first."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in said:
        if one.operator == "==" or len(one.factors) != 2 or sum(one.factors.values()) != 0:
            continue
        first, second = (name for name in schema.names if name in one.factors)
        ends = found.setdefault((second, first), [-np.inf, np.inf])
        factor = one.factors[second]
        up = (factor > 0) == one.is_lower
        step = gap_step(schema[second], schema[first])
        limit = _inside(-one.number / factor, step, up=up, strict=one.strict)
        ends[not up] = max(ends[0], limit) if up else min(ends[1], limit)
    for (second, first), (low, high) in found.items():
        for name, anchor, ends in (
            (second, first, (low, high)),
            (first, second, (-high, -low)),
        ):
            gap = _gap(schema, name, anchor, ends, private=private)
            if gap is not None:
                yield gap


def _gap(
    schema: Schema, name: str, anchor: str, ends: tuple[float, float], *, private: bool
) -> Gap | None:
    """The gap of a column whose difference from another lies between two ends."""
    low, high = ends
    own, other = limits(schema[name]), limits(schema[anchor])
    low, high = max(low, own[0] - other[1]), min(high, own[1] - other[0])
    sign = 1
    if not np.isfinite(ends[0]):
        sign, low, high = -1, -high, -low
    if not (np.isfinite(low) and low <= high):
        return None
    step = gap_step(schema[name], schema[anchor])
    log_step = None
    if private and np.isfinite(high):
        log_step = (high - low) / PARTS if step is None else step
        long = log_step > 0 and (high - low) / log_step > LONG_STEPS
        log_step = log_step if long else None
    # Adding 0 makes 0 of -0.
    return Gap(name, anchor, sign, float(low) + 0.0, _or_none(high), log_step)


def _is_free(schema: Schema, form: Rebuilt, chosen: Mapping[str, Rebuilt]) -> bool:
    """Whether a column has no form yet, may have one, and isn't what its own anchors hang on."""
    if form.name in chosen or schema[form.name].role not in FREE_ROLES:
        return False
    waiting = list(form.anchors)
    while waiting:
        name = waiting.pop()
        if name == form.name:
            return False
        waiting += chosen[name].anchors if name in chosen else ()
    # An equation computes from drawn columns; what hangs on a computed one would move it.
    return True


def _loses_nothing(schema: Schema, form: Rebuilt, table: Table | None) -> bool:
    """Whether the pattern of missing values comes back."""
    own = schema[form.name].constraints.required
    anchors = all(schema[name].constraints.required for name in form.anchors)
    whole = isinstance(form, Total)
    if anchors and (own or not whole):
        return True
    if table is None or (own and not anchors):
        return False
    lacking = pl.any_horizontal([pl.col(name).is_null() for name in form.anchors])
    absent = pl.col(form.name).is_null()
    lost = (lacking & ~absent) | (absent & ~lacking if whole else pl.lit(value=False))
    return not table.frame.select(lost.any()).item()


def _in_order(chosen: Mapping[str, Rebuilt]) -> Iterator[Rebuilt]:
    """Each after what it is rebuilt from."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[Rebuilt]:
        if name in done or name not in chosen:
            return
        done.add(name)
        for anchor in chosen[name].anchors:
            yield from visit(anchor)
        yield chosen[name]

    for name in chosen:
        yield from visit(name)
