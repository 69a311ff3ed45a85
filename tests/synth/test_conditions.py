"""Rejection sampling of rows without impossible combinations, and what can't be given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.schema import Schema, schema_from_dict
from pegai.synth.conditions import check_given, without_impossible

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
    table = without_impossible(draw, n, schema=rules, given={}, rng=rng)
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


def test_where_every_row_is_impossible_the_rule_and_the_way_out_are_named() -> None:
    with pytest.raises(UsageError, match="sex=m, pregnant=true") as caught:
        sampled(schema(PREGNANT_MEN, {"sex": ["f"], "pregnant": [None]}), [0, 0, 0, 1.0], 50)
    assert "pegai.impossible" in (caught.value.hint or "")
    rng = np.random.default_rng(0)
    draw = drawn_from(schema(PREGNANT_MEN), [0, 0, 0, 1.0], rng, [])
    with pytest.raises(UsageError, match="given sex=m, row=missing is impossible") as caught:
        without_impossible(
            draw, 5, schema=schema(PREGNANT_MEN), given={"sex": "m", "row": None}, rng=rng
        )
    assert "give other values" in (caught.value.hint or "")


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
