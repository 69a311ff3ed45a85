"""Rejection sampling of rows that break nothing, repairs, and what can't be given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.schema import Schema, schema_from_dict
from pegai.synth.conditions import check_given, keeping_rules

PREGNANT_MEN = {"sex": ["m"], "pregnant": [True]}


def schema(*rules: dict[str, object]) -> Schema:
    return schema_from_dict(
        {
            "fields": [
                {"name": "sex", "type": "string", "categories": ["f", "m"]},
                {"name": "pregnant", "type": "boolean"},
                {"name": "row", "type": "integer"},
            ],
            "pegai": {"impossible": list(rules)},
        }
    )


def drawn_from(
    rules: Schema, law: list[float], rng: np.random.Generator, calls: list[int]
) -> Callable[[int], Table]:
    """Rows of (f, no), (f, yes), (m, no), (m, yes) by their shares."""

    def draw(n: int) -> Table:
        calls.append(n)
        code = rng.choice(4, size=n, p=law)
        frame = pl.DataFrame(
            {
                "sex": pl.Series(np.array(["f", "m"])[code // 2]),
                "pregnant": pl.Series(code % 2 == 1),
                "row": pl.Series(np.arange(n) + 1_000_000 * len(calls)),
            }
        )
        return Table(frame, rules)

    return draw


def sampled(
    rules: Schema, law: list[float], n: int, seed: int = 0
) -> tuple[Table, list[int], np.random.Generator]:
    rng, calls = np.random.default_rng(seed), []
    draw = drawn_from(rules, law, rng, calls)
    table = keeping_rules(draw, n, schema=rules, given={}, rng=rng)
    return table, calls, rng


def test_without_rules_rows_are_drawn_once_and_nothing_else_is_random() -> None:
    table, calls, rng = sampled(schema(), [0.25] * 4, 500)
    assert calls == [500]
    again = np.random.default_rng(0)
    assert table.frame.equals(drawn_from(schema(), [0.25] * 4, again, [])(500).frame)
    assert rng.random() == again.random()


def test_rows_that_break_nothing_stay_as_they_were_drawn() -> None:
    table, calls, _ = sampled(schema(PREGNANT_MEN), [0.4, 0.3, 0.3, 0.0], 500)
    again = drawn_from(table.schema, [0.4, 0.3, 0.3, 0.0], np.random.default_rng(0), [])(500)
    assert calls == [500]
    assert table.frame.equals(again.frame)


def test_the_law_is_that_of_the_model_given_the_rules() -> None:
    """Chi-squared with 2 degrees of freedom: above 18.4 once in ten thousand seeds."""
    n = 30_000

    def distance(expected: list[float]) -> float:
        table, _, _ = sampled(schema(PREGNANT_MEN), [0.1, 0.2, 0.3, 0.4], n)
        counts = table.frame.group_by("sex", "pregnant").len().sort("sex", "pregnant")["len"]
        due = n * np.array(expected)
        return float((np.square(counts.to_numpy() - due) / due).sum())

    assert distance([1 / 6, 2 / 6, 3 / 6]) < 18.4
    # What replacing (m, yes) by copies with the same sex would give.
    assert distance([0.1, 0.2, 0.7]) > 18.4


def test_rare_rows_are_found_without_copies_and_in_few_rounds() -> None:
    table, calls, _ = sampled(schema(PREGNANT_MEN), [0.01, 0.01, 0.0, 0.98], 500)
    assert len(table) == 500
    assert table["row"].n_unique() == 500
    assert len(calls) <= 5


def test_rows_that_are_too_rare_are_copied_after_a_bounded_number_of_draws() -> None:
    table, calls, _ = sampled(schema(PREGNANT_MEN), [1e-5, 0.0, 0.0, 1 - 1e-5], 400, seed=1)
    assert len(table) == 400
    assert set(table["sex"]) == {"f"}
    assert 1 <= table["row"].n_unique() < 50
    assert sum(calls) < 400 + 21 * 16_384


def test_where_every_row_drawn_is_impossible_rows_are_mended() -> None:
    """Sex, which comes first, stays; levels come by their shares in the model."""
    rules = schema(PREGNANT_MEN, {"sex": ["f"], "pregnant": [False, None]})
    table, calls, _ = sampled(rules, [0.5, 0, 0, 0.5], 4000)
    assert len(table) == 4000
    assert sum(calls) < 4000 + 21 * 16_384
    # A row's own columns stay, but for the one that yields; its other columns are no concern.
    first = drawn_from(rules, [0.5, 0, 0, 0.5], np.random.default_rng(0), [])(4000)
    assert table.frame.select("sex", "row").equals(first.frame.select("sex", "row"))
    assert set(table.frame.filter(sex="f")["pregnant"]) == {True}
    # Half of the model's rows are False, and nearly none is missing.
    men = table.frame.filter(sex="m")["pregnant"]
    assert men.null_count() < 10
    assert set(men.drop_nulls()) == {False}
    again, _, _ = sampled(rules, [0.5, 0, 0, 0.5], 4000)
    assert again.frame.equals(table.frame)


def test_one_possible_row_is_enough_for_the_models_own_rows() -> None:
    """Mending would also give men; the model's own possible rows are of women only."""
    table, _, _ = sampled(schema(PREGNANT_MEN), [0, 1e-4, 0, 1 - 1e-4], 50, seed=2)
    assert set(table["sex"]) == {"f"}


def test_what_is_given_stays_where_rows_are_mended() -> None:
    rules = schema(PREGNANT_MEN)
    rng = np.random.default_rng(0)
    draw = drawn_from(rules, [0, 0, 0, 1.0], rng, [])
    for given, sex, pregnant in (
        ({"pregnant": "true", "row": None}, {"f", None}, {True}),
        ({"sex": "m"}, {"m"}, {False, None}),
    ):
        table = keeping_rules(draw, 270_000, schema=rules, given=given, rng=rng)
        assert len(table) == 270_000
        assert set(table["sex"]) == sex
        assert set(table["pregnant"]) == pregnant


NO_MEN = [{"sex": ["m"], "pregnant": [True, None]}, {"sex": ["m"], "pregnant": [False]}]


def test_where_no_row_is_possible_the_rules_and_the_way_out_are_named() -> None:
    spared = {"sex": ["f"], "pregnant": [None]}
    none = schema(spared, *NO_MEN, {"sex": ["f", None], "pregnant": [True, False, None]})
    with pytest.raises(UsageError, match="every row is impossible") as caught:
        sampled(none, [0, 0, 0, 1.0], 50)
    for shown in ("sex=m, pregnant=true|missing", "sex=m, pregnant=false", "sex=f|missing"):
        assert shown in str(caught.value)
    assert "sex=f, pregnant=missing" not in str(caught.value)
    assert "pegai.impossible" in (caught.value.hint or "")
    rng, calls = np.random.default_rng(0), list[int]()
    draw = drawn_from(schema(*NO_MEN), [0, 0, 0, 1.0], rng, calls)
    with pytest.raises(UsageError, match="given sex=m, row=missing is impossible") as caught:
        keeping_rules(draw, 5, schema=schema(*NO_MEN), given={"sex": "m", "row": None}, rng=rng)
    assert "give other values" in (caught.value.hint or "")
    assert calls == [5]


def test_what_is_given_must_be_possible() -> None:
    rules = schema(PREGNANT_MEN, {"sex": ["f"], "pregnant": [None]})
    assert check_given({"sex": "m", "pregnant": "FALSE"}, rules) == {
        "sex": "m",
        "pregnant": "false",
    }
    assert check_given({"sex": "m", "row": 4}, rules) == {"sex": "m", "row": 4.0}
    assert check_given({"sex": None, "pregnant": "true"}, rules)
    for given in ({"sex": "m", "pregnant": "true"}, {"pregnant": None, "sex": "f", "row": 1}):
        with pytest.raises(UsageError, match="impossible: sex=") as caught:
            check_given(given, rules)
        assert caught.value.hint


def numbers(*rules: str, n: int = 500, share: float = 0.5) -> tuple[Table, list[int]]:
    """Rows of a model in which b is a with a chance, and else at random."""
    fields = [
        {"name": name, "type": "integer", "constraints": {"minimum": 0, "maximum": 9}}
        for name in ("a", "b", "row")
    ]
    fields[2].pop("constraints")
    named = [{"name": f"r{i}", "check": check} for i, check in enumerate(rules)]
    ruled = schema_from_dict({"fields": fields, "pegai": {"rules": named}})
    rng, calls = np.random.default_rng(0), list[int]()

    def draw(rows: int) -> Table:
        calls.append(rows)
        a, b = rng.integers(0, 10, (2, rows))
        b = np.where(rng.random(rows) < share, a, b)
        frame = pl.DataFrame({"a": a, "b": b, "row": np.arange(rows) + 10_000_000 * len(calls)})
        return Table(frame, ruled)

    return keeping_rules(draw, n, schema=ruled, given={}, rng=rng), calls


def test_rows_that_break_a_rule_are_drawn_again_by_the_models_law() -> None:
    """P(a = b | a >= b) is (.5 + .5 / 10) / (.55 + .5 * .45) = .71, and .76 with repairs."""
    table, _ = numbers("a >= b", n=20_000)
    assert table["row"].n_unique() == 20_000
    assert (table["a"] >= table["b"]).all()
    assert (table["a"] == table["b"]).mean() == pytest.approx(0.7097, abs=0.013)


def test_where_hardly_a_row_keeps_a_rule_rows_are_repaired_after_few_draws() -> None:
    table, calls = numbers("a == b + 8", n=100_000, share=0.9)
    assert sum(calls) < 150_000
    assert len(table) == 100_000
    assert (table["a"] == table["b"] + 8).all()
    assert set(table["b"]) == {0, 1}
    # None is a copy: each was drawn by the model, and a column of no rule is as it was.
    assert table["row"].n_unique() == 100_000


def test_rules_that_are_kept_change_nothing() -> None:
    table, calls = numbers("a >= 0", n=400)
    again, _ = numbers(n=400)
    assert calls == [400]
    assert table.frame.equals(again.frame)


def test_given_values_that_break_a_rule_are_refused() -> None:
    table, _ = numbers("if a > 3 then b < 2", n=5)
    assert check_given({"a": 4, "b": 1}, table.schema) == {"a": 4.0, "b": 1.0}
    assert check_given({"a": 4, "b": None}, table.schema)
    with pytest.raises(UsageError, match=r"break the rule 'r0' .* if a > 3 then b < 2") as caught:
        check_given({"a": 4, "b": 2}, table.schema)
    assert caught.value.hint
