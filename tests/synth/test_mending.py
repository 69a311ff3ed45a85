"""Impossible rows made possible: complete, minimal where it can be, and true to what is given."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pegai.data.table import Table
from pegai.schema import Impossible, Schema, breaks_any, schema_from_dict
from pegai.synth.mending import Completions, conflict, mended

NAMES = ("a", "b", "c", "d")
LEVELS: dict[str, tuple[Any, ...]] = {
    "a": ("x", "y", None),
    "b": (False, True, None),
    "c": (1, 2, 3, None),
    "d": (0, 1),
}
Rule = dict[str, list[Any]]


def schema(rules: list[Rule]) -> Schema:
    fields = [
        {"name": "free", "type": "number"},
        {"name": "a", "type": "string", "categories": ["x", "y"]},
        {"name": "b", "type": "boolean"},
        {"name": "c", "type": "integer", "categories": [1, 2, 3]},
        {"name": "d", "type": "integer", "categories": [0, 1], "constraints": {"required": True}},
    ]
    return schema_from_dict({"fields": fields, "pegai": {"impossible": rules}})


def rows(ruled: Schema, cells: list[tuple[Any, ...]]) -> Table:
    types = [pl.String, pl.Boolean, pl.Int64, pl.Int64]
    frame = pl.DataFrame(cells, schema=list(zip(NAMES, types, strict=True)), orient="row")
    return Table(frame.select(pl.int_range(pl.len()).cast(pl.Float64).alias("free"), *NAMES), ruled)


def every_row(known: dict[str, Any]) -> list[tuple[Any, ...]]:
    sides = [[known[name]] if name in known else LEVELS[name] for name in NAMES]
    return list(itertools.product(*sides))


def as_given(known: dict[str, Any]) -> dict[str, Any]:
    """As `check_given` has it: texts of levels."""
    return {
        name: None if v is None else str(v).lower() if name == "b" else str(v)
        for name, v in known.items()
    }


def broken(table: Table) -> pl.Series:
    return table.frame.select(breaks_any(table.schema.impossible)).to_series()


@st.composite
def a_rule(draw: st.DrawFn) -> Rule:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    return {
        name: draw(st.lists(st.sampled_from(LEVELS[name]), min_size=1, unique=True))
        for name in names
    }


def said(rule: Rule) -> object:
    return Impossible.model_validate(rule).content


RULES = st.lists(a_rule(), min_size=1, max_size=12, unique_by=said)
KNOWN = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(levels) for name, levels in LEVELS.items()}
)
# Each of these is closed only by giving up a level that looked possible to the one before it.
CHAIN: list[Rule] = [
    {"a": ["x"], "b": [True, None]},
    {"b": [False], "c": [1, 2, None]},
    {"c": [3], "d": [0]},
    {"a": ["y", None], "c": [3]},
    {"a": ["y", None], "b": [True], "d": [0, 1]},
]


@settings(max_examples=100, deadline=None)
@given(RULES, KNOWN, st.integers(0, 3))
@example(CHAIN, {}, 0)
@example(CHAIN, {"d": 1}, 0)
@example([{"a": ["x", "y", None], "d": [0, 1]}], {}, 0)
def test_every_row_becomes_possible_wherever_any_is(
    rules: list[Rule], known: dict[str, Any], seed: int
) -> None:
    """Against all rows there are: it succeeds where one is possible, and only there."""
    ruled = schema(rules)
    before = rows(ruled, every_row(known))
    wrong = broken(before)
    assert Completions(ruled, ruled.impossible, as_given(known)).any == (not wrong.all())
    assert bool(conflict(ruled, as_given(known))) == wrong.all()
    assume(not wrong.all())
    drawn = before.frame.head(0)
    after, again = (
        mended(before, drawn=drawn, given=as_given(known), rng=np.random.default_rng(seed))
        for _ in range(2)
    )
    assert not broken(after).any()
    assert after.frame.equals(again.frame)
    assert after["free"].equals(before["free"])
    assert after.frame.filter(~wrong).equals(before.frame.filter(~wrong))
    for name, value in known.items():
        assert after[name].eq_missing(before[name]).all(), (name, value)
    unruled = set(NAMES) - {n for rule in ruled.impossible for n in rule.columns}
    assert all(after[name].equals(before[name]) for name in unruled)


@settings(max_examples=100, deadline=None)
@given(RULES, KNOWN)
def test_a_conflict_is_all_that_is_needed_and_no_rule_more(
    rules: list[Rule], known: dict[str, Any]
) -> None:
    ruled, fixed = schema(rules), as_given(known)
    found = conflict(ruled, fixed)
    assume(found)
    assert not Completions(ruled, found, fixed).any
    for rule in found:
        assert Completions(ruled, [other for other in found if other is not rule], fixed).any


def test_a_level_is_drawn_that_goes_with_the_rest_of_the_row() -> None:
    """b could become True too, but then c would have to change, which did nothing wrong."""
    ruled = schema([{"a": ["x"], "b": [False]}, {"b": [True], "c": [1]}])
    before = rows(ruled, [("x", False, 1, 0)] * 200)
    after = mended(before, drawn=before.frame, given={}, rng=np.random.default_rng(0))
    assert set(after.frame.select(NAMES).rows()) == {("x", None, 1, 0)}


def test_levels_are_drawn_by_the_models_shares() -> None:
    """Binomial(5000, 3/4) of 5 or more standard deviations from 3750: once in a million seeds."""
    ruled = schema([{"a": ["x"], "c": [1]}])
    before = rows(ruled, [("x", True, 1, 0)] * 5000)
    drawn = rows(ruled, [("y", True, 2, 0)] * 30_000 + [("y", True, 3, 0)] * 10_000)
    after = mended(before, drawn=drawn.frame, given={}, rng=np.random.default_rng(0))
    assert abs((after["c"] == 2).sum() - 3750) < 5 * (5000 * 3 / 16) ** 0.5


def chain(columns: int) -> tuple[Schema, list[Impossible]]:
    """Each column must be as the one before it, and the first and the last not both True."""
    names = [f"q{i}" for i in range(columns)]
    rules = [{a: [v], b: [not v]} for a, b in itertools.pairwise(names) for v in (True, False)]
    rules.append({names[0]: [True], names[-1]: [True]})
    fields = [{"name": n, "type": "boolean", "constraints": {"required": True}} for n in names]
    return schema_from_dict({"fields": fields}), [Impossible.model_validate(r) for r in rules]


def test_what_a_column_means_for_one_far_behind_it_is_seen_at_once() -> None:
    plain, rules = chain(60)
    ruled = schema_from_dict(
        {**plain.to_dict(), "pegai": {"impossible": [rule.model_dump() for rule in rules]}}
    )
    frame = pl.DataFrame(np.random.default_rng(0).random((50, 60)) < 0.5, schema=plain.names)
    after = mended(Table(frame, ruled), drawn=frame, given={}, rng=np.random.default_rng(0))
    assert not after.frame.select(pl.any_horizontal(plain.names)).to_series().any()


def test_a_thousand_columns_are_no_deep_recursion() -> None:
    plain, rules = chain(1100)
    completions = Completions(plain, rules, {})
    assert completions.any
    rest = completions.all_rules
    kept = completions.stay(0, np.array([0, 1]), completions.all_rules, rest)
    assert kept.tolist() == [True, False]


@pytest.mark.parametrize("pigeons", [3, 5])
def test_entangled_rules_that_allow_nothing_end(pigeons: int) -> None:
    """Pigeons in one hole fewer, no two in one: the classic that is hard to refute."""
    names = [f"p{i}" for i in range(pigeons)]
    holes = list(range(pigeons - 1))
    fields = [
        {"name": n, "type": "integer", "categories": holes, "constraints": {"required": True}}
        for n in names
    ]
    rules = [{a: [h], b: [h]} for a, b in itertools.combinations(names, 2) for h in holes]
    ruled = schema_from_dict({"fields": fields, "pegai": {"impossible": rules}})
    assert len(conflict(ruled, {})) == len(rules)
    assert not conflict(ruled.replace_columns(ruled.columns[1:]), {})
