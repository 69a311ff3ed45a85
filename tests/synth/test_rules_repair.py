"""Rows repaired so that they keep rules, against all rows that there are in a small table."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pegai.data.table import DTYPES
from pegai.errors import SchemaError, UsageError
from pegai.schema import Schema, schema_from_dict
from pegai.synth.constraints.formula import keeps, kept
from pegai.synth.constraints.possible import possible_rows, require_any_row
from pegai.synth.constraints.repair import Repair, Rules

DAYS = [dt.date(2024, 1, day) for day in (1, 2, 3)]
CELLS: dict[str, list[Any]] = {
    "x": [0, 1, 2, 3, None],
    "y": [0, 1, 2],
    "n": [0.0, 0.1, 0.2, None],
    "s": ["a", "b", None],
    "t": ["b", "a", None],
    "flag": [True, False, None],
    "d": [*DAYS, None],
}
GIVEN: dict[str, list[Any]] = {"x": [2.0, None], "s": ["a", None], "d": [19724.0], "flag": ["true"]}


def schema(rules: list[str], impossible: list[Any] | None = None) -> Schema:
    fields: list[dict[str, Any]] = [
        {"name": "x", "type": "integer", "constraints": {"minimum": 0, "maximum": 3}},
        {
            "name": "y",
            "type": "integer",
            "constraints": {"minimum": 0, "maximum": 2, "required": True},
        },
        {
            "name": "n",
            "type": "number",
            "constraints": {"minimum": 0, "maximum": 0.2},
            "pegai": {"decimals": 1},
        },
        {"name": "s", "type": "string", "categories": ["a", "b"]},
        {"name": "t", "type": "string", "categories": ["b", "a"]},
        {"name": "flag", "type": "boolean"},
        {
            "name": "d",
            "type": "date",
            "constraints": {"minimum": "2024-01-01", "maximum": "2024-01-03"},
        },
    ]
    named = [{"name": f"r{i}", "check": check} for i, check in enumerate(rules)]
    return schema_from_dict(
        {"fields": fields, "pegai": {"rules": named, "impossible": impossible or []}}
    )


def every_row(ruled: Schema) -> pl.DataFrame:
    cells = list(itertools.product(*CELLS.values()))
    types = {c.name: DTYPES[c.type] for c in ruled.columns}
    return pl.DataFrame(cells, schema=types, orient="row")


def has(frame: pl.DataFrame, known: dict[str, Any]) -> pl.DataFrame:
    """The rows with what is given, as `check_given` has it."""
    cells = {
        "x": frame["x"].cast(pl.Float64),
        "s": frame["s"],
        "flag": frame["flag"].cast(pl.String),
        "d": frame["d"].to_physical().cast(pl.Float64),
    }
    for name, value in known.items():
        same = cells[name].is_null() if value is None else (cells[name] == value).fill_null(False)
        frame, cells = frame.filter(same), {n: c.filter(same) for n, c in cells.items()}
    return frame


NUMBERS = st.sampled_from(
    [
        "x",
        "y",
        "n",
        "x + y",
        "y - x",
        "abs(x - y)",
        "2 * x",
        "x * y",
        "y / x",
        "-n",
        "10 * n",
        "x * x",
    ]
)
CONDITIONS = st.one_of(
    st.builds(
        "{} {} {}".format,
        NUMBERS,
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        st.one_of(NUMBERS, st.sampled_from(["0", "1", "2", "0.1"])),
    ),
    st.sampled_from(
        [
            "d >= '2024-01-02'",
            "d + x <= '2024-01-03'",
            "d - x == '2024-01-01'",
            "s == 'a'",
            "s != t",
            "s == t",
            "t in ['a']",
            "x in [1, 3]",
            "x not in [0, 2]",
            "flag",
            "flag == (x > 1)",
            "not is_missing(x)",
            "is_missing(d)",
            "true",
        ]
    ),
)
RULE = st.one_of(
    CONDITIONS,
    st.builds("if {} then {}".format, CONDITIONS, CONDITIONS),
    st.builds("({}) or ({})".format, CONDITIONS, CONDITIONS),
    st.builds("({}) and ({})".format, CONDITIONS, CONDITIONS),
    st.builds("not (({}) or ({}))".format, CONDITIONS, CONDITIONS),
    st.builds("not (({}) and ({}))".format, CONDITIONS, CONDITIONS),
)
RULES = st.lists(RULE, min_size=1, max_size=4, unique=True)
KNOWN = st.fixed_dictionaries({}, optional={n: st.sampled_from(v) for n, v in GIVEN.items()})


def readable(rules: list[str]) -> Schema:
    try:
        return schema(rules)
    except SchemaError:
        assume(False)
        raise


@settings(max_examples=150, deadline=None)
@given(RULES)
@example(["abs(x - abs(y - abs(n - 1))) <= 1", "if not flag then (x > 1) != flag"])
def test_the_normal_form_says_what_the_rule_says(rules: list[str]) -> None:
    ruled = readable(rules)
    rows, columns = every_row(ruled), {c.name: c for c in ruled.columns}
    for rule in ruled.rules:
        found = keeps(kept(rule.tree, columns), rows, columns)
        broken = rows.with_columns(b=rule.broken(ruled.columns))["b"].to_numpy()
        assert (found == ~broken).all()


@settings(max_examples=20, deadline=None)
@given(RULES, KNOWN, st.integers(0, 3))
@example(["x == y + y", "y == 1", "d - x == '2024-01-01'"], {}, 0)
@example(["x < y", "y < x"], {}, 0)
@example(["x < y", "y < x", "not is_missing(x)"], {}, 0)
@example(["if s == 'a' then t == 'b'", "s == t"], {"s": "a"}, 0)
def test_rows_are_repaired_wherever_any_is_possible(
    rules: list[str], known: dict[str, Any], seed: int
) -> None:
    """What comes back keeps all; and of so few values none that is possible is missed."""
    ruled = readable(rules)
    ready = Rules.of(ruled)
    rows = has(every_row(ruled), known)
    good = ready.kept(rows)
    made = possible_rows(ruled, known)
    assert (made.height > 0) == good.any()
    if not good.any():
        return
    assert ready.kept(made).all()
    assert has(made, known).height == made.height
    marked = rows.with_row_index("mark").sample(200, seed=seed, with_replacement=True)
    repair = Repair.of(ready, drawn=rows, given=known, rng=np.random.default_rng(seed))
    after = repair.repaired(marked)
    assert ready.kept(after).all()
    assert has(after, known).height == after.height == marked.height
    whole = rows.with_row_index("mark").filter(pl.Series(good))
    unchanged = after.join(whole.select("mark"), on="mark", how="semi")
    pairs = unchanged.unique().join(whole, on="mark", suffix="_before")
    for name in ruled.names:
        assert pairs[name].eq_missing(pairs[f"{name}_before"]).all()


def numbers(**cells: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(cells)


def clinic(rules: list[str], **more: Any) -> Schema:
    def field(name: str, kind: str, low: Any, high: Any, **also: Any) -> dict[str, Any]:
        limits = {"minimum": low, "maximum": high}
        return {"name": name, "type": kind, "constraints": limits, **also}

    return schema_from_dict(
        {
            "fields": [
                {"name": "sex", "type": "string", "categories": ["f", "m"]},
                {"name": "pregnant", "type": "string", "categories": ["no", "yes"]},
                field("admission", "datetime", "2020-01-01", "2024-12-31T23:59:59"),
                field("discharge", "datetime", "2020-01-01", "2024-12-31T23:59:59"),
                field("a", "number", 0, 10, pegai={"decimals": 1}),
                field("b", "number", 0, 10, pegai={"decimals": 1}),
                field("total", "number", 0, 20, pegai={"decimals": 1}),
                field("height", "number", 1, 2.2),
                field("weight", "number", 30, 200),
                field("bmi", "number", 10, 60),
            ],
            "pegai": {
                "rules": [{"name": f"r{i}", "check": c} for i, c in enumerate(rules)],
                **more,
            },
        }
    )


def drawn(ruled: Schema, n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    start = dt.datetime(2020, 1, 1)

    def times() -> list[dt.datetime]:
        return [start + dt.timedelta(seconds=int(s)) for s in rng.integers(0, 150_000_000, n)]

    frame = pl.DataFrame(
        {
            "sex": rng.choice(["f", "m"], n),
            "pregnant": rng.choice(["no", "yes"], n, p=[0.7, 0.3]),
            "admission": times(),
            "discharge": times(),
            "a": rng.uniform(0, 10, n).round(1),
            "b": rng.uniform(0, 10, n).round(1),
            "total": rng.uniform(0, 20, n).round(1),
            "height": rng.uniform(1, 2.2, n),
            "weight": rng.uniform(30, 200, n),
            "bmi": rng.uniform(10, 60, n),
        }
    )
    return frame.cast({c.name: DTYPES[c.type] for c in ruled.columns})


def repaired(ruled: Schema, rows: pl.DataFrame, known: dict[str, Any]) -> pl.DataFrame:
    search = Repair.of(Rules.of(ruled), drawn=rows, given=known, rng=np.random.default_rng(1))
    after = search.repaired(rows.with_row_index("mark"))
    assert after.height == rows.height
    return after.sort("mark")


def test_a_time_moves_to_the_nearest_second_and_a_consequence_changes() -> None:
    ruled = clinic(["discharge > admission", "if sex == 'm' then pregnant == 'no'"])
    rows = drawn(ruled, 500)
    after = repaired(ruled, rows, {})
    wrong = rows["discharge"] <= rows["admission"]
    moved = after.filter(wrong)
    assert (moved["discharge"] - moved["admission"]).dt.total_seconds().unique().to_list() == [1]
    for name in ("sex", "admission", "a"):
        assert after[name].equals(rows[name])
    assert set(after.filter(sex="m")["pregnant"]) <= {"no", None}
    women = rows["sex"] == "f"
    assert after.filter(women)["pregnant"].equals(rows.filter(women)["pregnant"])


def test_sums_are_computed_and_what_is_given_stays() -> None:
    ruled = clinic(["total == a + b"])
    rows = drawn(ruled, 300)
    after = repaired(ruled, rows, {})
    assert ((after["a"] + after["b"] - after["total"]).abs() < 1e-9).all()
    assert after.select("a", "b").equals(rows.select("a", "b"))
    fixed = rows.with_columns(total=pl.lit(19.3), a=pl.lit(9.8))
    found = repaired(ruled, fixed, {"total": 19.3, "a": 9.8})
    assert set(found["b"]) == {9.5}
    assert set(found["total"]) == {19.3}


def test_products_and_quotients_are_solved_for_a_column() -> None:
    ruled = clinic(["abs(bmi - weight / (height * height)) <= 0.5"])
    after = repaired(ruled, drawn(ruled, 400), {})
    off = (after["bmi"] - after["weight"] / after["height"] ** 2).abs()
    assert (off <= 0.5 + 1e-9).all()
    assert after["bmi"].is_between(10, 60).all()


def test_levels_of_a_large_list_are_drawn_by_shares_or_copied() -> None:
    places = [f"c{i}" for i in range(3000)]
    ruled = schema_from_dict(
        {
            "fields": [
                {"name": "born", "type": "string", "categories": places},
                {"name": "lives", "type": "string", "categories": places},
            ],
            "pegai": {"rules": [{"name": "stays", "check": "lives == born"}]},
        }
    )
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"born": rng.choice(places, 1000), "lives": rng.choice(places, 1000)})
    search = Repair.of(Rules.of(ruled), drawn=rows, given={}, rng=rng)
    after = search.repaired(rows)
    assert (after["born"] == after["lives"]).all()


@pytest.mark.parametrize(
    ("rules", "known", "named"),
    [
        (["a > b", "b > a", "not is_missing(a)", "not is_missing(b)"], {}, "a > b"),
        (["discharge >= '2030-01-01'", "not is_missing(discharge)"], {}, "2030"),
        (["total == a + b", "not is_missing(b)"], {"total": 1.0, "a": 3.0}, "total == a"),
        (["if sex == 'm' then pregnant == 'no'"], {"sex": "m", "pregnant": "yes"}, "sex == 'm'"),
    ],
)
def test_where_no_row_is_possible_the_rules_are_named(
    rules: list[str], known: dict[str, Any], named: str
) -> None:
    spare = "if pregnant == 'yes' then a <= 9"
    ruled = clinic([*rules, spare], impossible=[{"sex": ["m"], "pregnant": [None]}])
    with pytest.raises(UsageError, match="every row") as caught:
        require_any_row(ruled, known)
    assert named in str(caught.value)
    assert spare not in str(caught.value)
    assert "pegai.rules" in (caught.value.hint or "")
    assert ("give other values" in (caught.value.hint or "")) == bool(known)
