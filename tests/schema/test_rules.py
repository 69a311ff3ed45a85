"""Rules: what may be said, what is refused and how, and which rows keep them."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegai.errors import SchemaError
from pegai.schema import Rule, Schema, read_schema, schema_from_dict, write_schema
from pegai.schema.rule_text import MAX_LENGTH, parse_rule
from pegai.schema.rule_tree import (
    And,
    Comparison,
    Difference,
    Implies,
    Missing,
    Not,
    Number,
    OneOf,
    Or,
    Ref,
    Sum,
    Text,
    Truth,
    columns_of,
    walk,
)

FIELDS = [
    {"name": "mrn", "type": "string", "pegai": {"role": "identifier"}},
    {"name": "sex", "type": "string", "categories": ["f", "m"]},
    {"name": "pregnant", "type": "boolean"},
    {"name": "age", "type": "integer"},
    {"name": "d.time", "type": "number"},
    {"name": "systolic", "type": "number"},
    {"name": "diastolic", "type": "number"},
    {"name": "stage", "type": "integer", "categories": [1, 2, 3], "categoriesOrdered": True},
    {"name": "grade", "type": "string", "categories": ["low", "mid"], "categoriesOrdered": True},
    {"name": "admission", "type": "date"},
    {"name": "discharge", "type": "datetime"},
    {"name": "note", "type": "string"},
]


def schema(*checks: str, **more: object) -> Schema:
    rules = [{"name": f"r{i}", "check": check} for i, check in enumerate(checks, 1)]
    return schema_from_dict({"fields": FIELDS, "pegai": {"rules": rules, **more}})


def test_rules_come_back_from_their_file(tmp_path):
    raw = {"name": "stay", "check": "discharge >= admission", "title": "No one leaves early"}
    found = schema_from_dict({"fields": FIELDS, "pegai": {"rules": [raw]}})
    assert found.to_dict()["pegai"]["rules"] == [raw]
    write_schema(found, tmp_path / "s.json")
    again = read_schema(tmp_path / "s.json")
    assert again == found
    assert again.digest() == found.digest()
    assert hash(again) == hash(found)
    assert "rules" not in schema().to_dict().get("pegai", {})
    assert found.rules[0].columns == ("discharge", "admission")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("age > 1", Comparison(">", Ref("age"), Number(1))),
        ("`d.time` <= -2.5", Comparison("<=", Ref("d.time"), Number(-2.5))),
        ("col('odd name') == 'x'", Comparison("==", Ref("odd name"), Text("x"))),
        ('`a "b` == "if then"', Comparison("==", Ref('a "b'), Text("if then"))),
        ("pregnant == true", Comparison("==", Ref("pregnant"), Truth(True))),
        ("not is_missing(age)", Not(Missing("age"))),
        ("x not in [1, 2]", Not(OneOf(Ref("x"), (Number(1), Number(2))))),
        (
            "if a == 'then' then (b in ['c'] or\n d)",
            Implies(
                Comparison("==", Ref("a"), Text("then")),
                Or((OneOf(Ref("b"), (Text("c"),)), Ref("d"))),
            ),
        ),
        (
            "0 < a - b <= 9",
            And(
                (
                    Comparison("<", Number(0), Difference(Ref("a"), Ref("b"))),
                    Comparison("<=", Difference(Ref("a"), Ref("b")), Number(9)),
                )
            ),
        ),
        ("a + 1 == b", Comparison("==", Sum(Ref("a"), Number(1)), Ref("b"))),
    ],
)
def test_the_tree_is_what_the_text_says(text, tree):
    assert parse_rule(text) == tree
    assert hash(parse_rule(text)) == hash(tree)


def test_a_tree_can_be_walked():
    tree = parse_rule("if is_missing(a) then abs(b - c) > 2 and d in ['x'] and a == 1")
    assert columns_of(tree) == ("a", "b", "c", "d")
    assert sum(isinstance(node, Number) for node in walk(tree)) == 2


@pytest.mark.parametrize(
    ("check", "message", "way_out"),
    [
        ("agee > 1", "'agee' is not one of the fields", "correct the name"),
        ("is_missing(agee)", "'agee' is not one of the fields", "correct the name"),
        ("mrn == 'x'", "'mrn' identifies patients", "leave it out"),
        ("note == 'x'", "'note' is free text", "give it categories"),
        ("sex == 'x'", "'x' is no category of 'sex'", "correct it, or add"),
        ("'x' == sex", "'x' is no category of 'sex'", "correct it, or add"),
        ("sex in ['f', 'd']", "'d' is no category", "correct it, or add"),
        ("stage == 4", "'4' is no category of 'stage'", "correct it, or add"),
        ("sex < 'm'", "have no common order", "categoriesOrdered"),
        ("grade < sex", "have no common order", "use == or in"),
        ("sex == 1", "'sex' is a category and 1 is a number", "in quotes"),
        ("age > '3'", "'age' is a number and '3' is a category", "no quotes"),
        ("age > sex", "'age' is a number and 'sex' is a category", "compare what is alike"),
        ("pregnant > false", "have no common order", "use =="),
        ("pregnant == 1", "true or false and 1 is a number", "compare what is alike"),
        ("admission > 2020", "date or time and 2020 is a number", "'2024-12-31'"),
        ("admission > '31.12.2020'", "'31.12.2020' is none", "'2024-12-31'"),
        ("admission + discharge > 3", "reckons with a date or time and", "moved by a number"),
        ("admission * 2 > 3", "reckons with a date or time and a number", "dates be subtracted"),
        ("abs(sex) > 3", "'sex' is a category, where a number is needed", "correct it"),
        ("-pregnant == 3", "'pregnant' is true or false, where a number", "correct it"),
        ("age", "'age' is a number, not a condition", "compare it"),
        ("age + 1", "'age' \\+ 1 is a number, not a condition", "compare it"),
        ("age > 1 and stage", "'stage' is a number, not a condition", "compare it"),
        ("1 < 2", "names no column", "at least one"),
        ("1 < 2 or age > 1", "are both fixed", "name a column"),
        ("true", "names no column", "at least one"),
        ("d.time > 1", "'d.time' has a point", "`d.time`"),
        ("age = 1", "can't be read", "=="),
        ("age > ", "can't be read", "backticks"),
        ("age ** 2 > 1", "'age \\*\\* 2' is not known", "known are columns"),
        ("(age > 1) & pregnant", "is not known", "write and"),
        ("age is None", "'age is None' is not known", "is_missing"),
        ("age == None", "None is not known", "is_missing"),
        ("age > 1 if sex == 'f' else age > 2", "is not known", "if A then B"),
        ("if age > 1", "if needs one then", "if A then B"),
        ("if age > 1 then", "a condition is empty", "known are"),
        ("if age > 1 then age > 2 else age > 3", "else is not known", "rule of its own"),
        ("age in sex", "after in stands 'sex'", "write a list"),
        ("age in []", "after in stands", "write a list"),
        ("age in [stage]", "names columns", "fixed values only"),
        ("is_missing(age + 1)", "needs one column", "is_missing\\(age\\)"),
        ("col(age) > 1", "needs a name in quotes", "col\\('odd name'\\)"),
        ("__import__('os').system('true')", "is not known", "known are columns"),
        ("age.__class__ == 1", "has a point", "backticks|written"),
        ("[x for x in age]", "is not known", "known are"),
        ("(lambda: 1)() > age", "is not known", "known are"),
        ("f'{age}' == sex", "is not known", "known are"),
        ("age > 1e999", "too large", "smaller"),
        ("age > 1 # old", "'#' is not known", "title"),
        ("`age > 1", "a backtick has no partner", "`odd name`"),
        ("not " * 300 + "pregnant", "nested", "split it"),
        ("(" * 900 + "age" + ")" * 900 + "> 1", "can't be read|nested", "split it|backticks"),
        ("age > 1 or " * 300 + "age > 2", f"{MAX_LENGTH} are allowed", "split it"),
    ],
)
def test_what_is_refused_names_the_rule_the_value_and_the_way_out(check, message, way_out):
    for text in (message, way_out, "rule 'r1'"):
        with pytest.raises(SchemaError, match=text) as caught:
            schema(check)
    assert str(caught.value).count("\n    ") == 1


MICRO, MU = "\u00b5g", "\u03bcg"


@pytest.mark.parametrize("name", [MICRO, MU, "\uff41ge", "\u210c"])
def test_a_bare_name_is_not_respelt(name):
    """Python reads the micro sign as the letter mu, and other signs as letters alike."""
    rule = {"name": "a", "check": f"{name} > 1"}
    fields = [{"name": name, "type": "number"}]
    found = schema_from_dict({"fields": fields, "pegai": {"rules": [rule]}})
    assert found.rules[0].columns == (name,)
    assert found.rules[0].tree == parse_rule(f"`{name}` > 1")


@pytest.mark.parametrize(("column", "written"), [(MU, MICRO), (MICRO, MU), ("e\u0301", "e\u0301")])
def test_a_name_that_looks_alike_is_told(column, written):
    fields = [{"name": column, "type": "number"}]
    rule = {"name": "a", "check": f"{written} > 1"}
    with pytest.raises(SchemaError, match="looks alike") as caught:
        schema_from_dict({"fields": fields, "pegai": {"rules": [rule]}})
    assert f"`{column}`" in str(caught.value)


def test_names_and_repeats():
    with pytest.raises(SchemaError, match="two rules are named 'a'"):
        rules = [{"name": "a", "check": f"age > {i}"} for i in range(2)]
        schema_from_dict({"fields": FIELDS, "pegai": {"rules": rules}})
    with pytest.raises(SchemaError, match=r"rule 'r2' .* repeats rule 'r1'; leave one out"):
        schema("age > 1", "age  >  1.0")
    with pytest.raises(SchemaError, match="pattern"):
        schema_from_dict(
            {"fields": FIELDS, "pegai": {"rules": [{"name": "a/b", "check": "x > 1"}]}}
        )


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_a_value_error(text):
    try:
        parse_rule(text)
    except ValueError as error:
        assert str(error)


def kept(check: str, **columns: object) -> list[bool | None]:
    """What a rule says of a few rows; a column not given is null."""
    found = schema(check)
    size = len(next(iter(columns.values())))
    types = {
        "string": pl.String,
        "integer": pl.Int64,
        "number": pl.Float64,
        "boolean": pl.Boolean,
        "date": pl.Date,
        "datetime": pl.Datetime("us"),
    }
    frame = pl.DataFrame(
        {
            c.name: pl.Series(
                columns.get(c.name.replace(".", "_"), [None] * size), dtype=types[c.type]
            )
            for c in found.columns
        }
    )
    rule = found.rules[0]
    holds = frame.select(rule.holds(found.columns).alias("x"))["x"].to_list()
    broken = frame.select(rule.broken(found.columns).alias("x"))["x"].to_list()
    assert broken == [value is False for value in holds]
    return holds


DAY = dt.date(2024, 5, 1)
NOON = dt.datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
    ("check", "columns", "expected"),
    [
        ("systolic > diastolic", {"systolic": [2, 1, None], "diastolic": [1, 1, 1]}, [1, 0, None]),
        (
            "discharge >= admission",
            {"discharge": [NOON, NOON], "admission": [DAY, None]},
            [1, None],
        ),
        ("discharge - admission <= 0.5", {"discharge": [NOON], "admission": [DAY]}, [1]),
        ("discharge - admission < 0.5", {"discharge": [NOON], "admission": [DAY]}, [0]),
        ("admission + 1 > discharge", {"discharge": [NOON], "admission": [DAY]}, [1]),
        ("admission <= '2024-05-01'", {"admission": [DAY, dt.date(2024, 5, 2)]}, [1, 0]),
        ("discharge == '2024-05-01T12:00'", {"discharge": [NOON]}, [1]),
        ("sex == 'm'", {"sex": ["m", "f", None]}, [1, 0, None]),
        ("sex in ['m', 'f']", {"sex": ["m", "f", None]}, [1, 1, None]),
        ("sex not in ['m']", {"sex": ["m", "f", None]}, [0, 1, None]),
        ("age in [1, 2]", {"age": [1, 3, None]}, [1, 0, None]),
        ("grade >= 'mid'", {"grade": ["low", "mid", None, "odd"]}, [0, 1, None, None]),
        ("stage <= 2", {"stage": [1, 3, None]}, [1, 0, None]),
        ("pregnant", {"pregnant": [True, False, None]}, [1, 0, None]),
        ("not pregnant", {"pregnant": [True, False, None]}, [0, 1, None]),
        ("pregnant == false", {"pregnant": [True, False, None]}, [0, 1, None]),
        ("is_missing(age)", {"age": [1, None]}, [0, 1]),
        ("abs(systolic - 3) < 2", {"systolic": [2, 6, None]}, [1, 0, None]),
        # Division by zero decides nothing.
        (
            "systolic / diastolic > 1",
            {"systolic": [1, 4, 0], "diastolic": [0, 2, 0]},
            [None, 1, None],
        ),
        ("systolic + 0.2 == 0.3", {"systolic": [0.1, 0.2]}, [1, 0]),
        ("systolic + 0.2 <= 0.3", {"systolic": [0.1]}, [1]),
        ("systolic + 0.2 > 0.3", {"systolic": [0.1]}, [0]),
        ("systolic + 0.2 != 0.3", {"systolic": [0.1]}, [0]),
        # What cancels is as exact as what it cancelled from, and a quotient as its dividend.
        ("systolic - diastolic - 0.2 == 0", {"systolic": [0.3], "diastolic": [0.1]}, [1]),
        ("systolic - diastolic - 0.2 >= 0", {"systolic": [0.3], "diastolic": [0.1]}, [1]),
        ("systolic - diastolic - 0.2 < 0", {"systolic": [0.3], "diastolic": [0.1]}, [0]),
        ("systolic - diastolic - 0.2 < 0", {"systolic": [0.3], "diastolic": [0.1001]}, [1]),
        ("abs(-(systolic - 0.2) + 0.1) * 7 <= 0", {"systolic": [0.3]}, [1]),
        ("(systolic - 0.3 + 0.2 - 0.2) / 1000 == 0", {"systolic": [0.3, 0.3001]}, [1, 0]),
        ("systolic / 1000000000000000 == 0", {"systolic": [0.5, 0]}, [0, 1]),
        ("systolic * 0.000000000001 == 0", {"systolic": [0.5, 0]}, [0, 1]),
        ("systolic - diastolic > 0", {"systolic": [1e9, 5, 3]}, [None] * 3),
        ("systolic * systolic > 1", {"systolic": [1e200, 2]}, [None, 1]),
        # Kleene: one decided part may decide the whole.
        ("age > 1 and pregnant", {"age": [0, 2], "pregnant": [None, None]}, [0, None]),
        ("age > 1 or pregnant", {"age": [0, 2], "pregnant": [None, None]}, [None, 1]),
        (
            "if sex == 'm' then not pregnant",
            {"sex": ["m", "m", "m", "f", None], "pregnant": [True, False, None, True, True]},
            [0, 1, None, 1, None],
        ),
        (
            "if is_missing(age) then is_missing(`d.time`)",
            {"age": [None, None, 1], "d_time": [None, 1, 1]},
            [1, 0, 1],
        ),
        ("(age > 1) == pregnant", {"age": [2, 2], "pregnant": [True, False]}, [1, 0]),
    ],
)
def test_which_rows_keep_a_rule(check, columns, expected):
    assert kept(check, **columns) == [None if v is None else bool(v) for v in expected]


def test_long_lists_are_no_deep_trees():
    values = ", ".join(map(str, range(300)))
    assert kept(f"age in [{values}]", age=[299, 300, None]) == [True, False, None]


def test_rules_stay_only_with_their_columns():
    found = schema("age > 1", "sex == 'm' or age > 2", "grade == 'low'", unit="mrn")
    modelled = found.only_modelled()
    assert [r.name for r in modelled.rules] == ["r1", "r2", "r3"]
    assert modelled.unit is None
    fewer = found.replace_columns(tuple(c for c in found.columns if c.name != "sex"))
    assert [r.name for r in fewer.rules] == ["r1", "r3"]
    joined = found["grade"].model_copy(update={"categories": found["sex"].categories})
    columns = tuple(joined if c.name == "grade" else c for c in found.columns)
    assert [r.name for r in found.replace_columns(columns).rules] == ["r1", "r2"]
    text = found["age"].model_copy(update={"type": "number"})
    columns = tuple(text if c.name == "age" else c for c in found.columns)
    assert [r.name for r in found.replace_columns(columns).rules] == ["r3"]


def test_a_rule_needs_no_schema_to_be_read():
    assert Rule(name="a", check="x > 1").columns == ("x",)
    with pytest.raises(ValueError, match="rule 'a'"):
        Rule(name="a", check="x >")
