"""Impossible combinations: what a rule may say, what is refused, and which rows break it."""

from __future__ import annotations

import polars as pl
import pytest

from pegai.errors import SchemaError
from pegai.schema import (
    Finding,
    Impossible,
    Schema,
    breaks_any,
    check,
    read_schema,
    schema_from_dict,
    write_schema,
)

FIELDS = [
    {"name": "mrn", "type": "string", "pegai": {"role": "identifier"}},
    {"name": "sex", "type": "string", "categories": ["f", "m"]},
    {"name": "pregnant", "type": "boolean"},
    {"name": "stage", "type": "integer", "categories": [1, 2], "constraints": {"required": True}},
    {"name": "age", "type": "integer"},
]
MEN = {"sex": ["m"], "pregnant": [True, None]}


def schema(*rules: object) -> Schema:
    return schema_from_dict({"fields": FIELDS, "pegai": {"dataset": "d", "impossible": rules}})


def test_a_rule_comes_back_from_its_file(tmp_path):
    rules = schema(MEN, {"stage": [2], "sex": ["f", None]})
    assert rules.to_dict()["pegai"]["impossible"] == [MEN, {"stage": [2], "sex": ["f", None]}]
    write_schema(rules, tmp_path / "s.json")
    again = read_schema(tmp_path / "s.json")
    assert again == rules
    assert again.digest() == rules.digest()
    assert hash(again) == hash(rules)
    assert again.digest() != schema(MEN).digest()
    assert "impossible" not in schema().to_dict()["pegai"]
    with pytest.raises(Exception, match="frozen"):
        rules.impossible[0].root = ()


def test_a_rule_says_itself_in_words():
    rule = Impossible.model_validate(MEN)
    assert str(rule) == "sex=m, pregnant=true|missing"
    assert rule.columns == ("sex", "pregnant")
    assert rule.texts("pregnant") == ("true", None)


@pytest.mark.parametrize(
    ("rule", "message", "way_out"),
    [
        ({"sex": ["m"]}, "at least two columns", "left out of the column's categories"),
        ({}, "at least two columns", "left out of"),
        ("sex", 'not "sex"', "an object of columns and their levels"),
        ({"sex": "m", "pregnant": [True]}, "'sex' are a list", r"\[\"m\"\]"),
        ({"sex": [], "pregnant": [True]}, "'sex' are an empty list", "leave the column out"),
        ({"sex": ["m", "m"], "pregnant": [True]}, "'sex' lists \"m\" twice", "leave one out"),
        ({"stage": [1, "1"], "sex": ["m"]}, 'lists "1" twice', "leave one out"),
        ({"sex": [1.5], "pregnant": [True]}, "level 1.5 of 'sex'", "as in the column's categories"),
        ({"sex": ["m"], "nope": ["x"]}, "'nope' is not one of the fields", "correct the name"),
        ({"sex": ["m"], "age": [7]}, "'age' has no levels", "give it categories"),
        ({"sex": ["x"], "pregnant": [True]}, "'x' is no category of 'sex'", "correct it, or add"),
        ({"sex": ["m"], "stage": [3]}, "'3' is no category of 'stage'", "correct it, or add"),
        ({"sex": ["m"], "pregnant": ["yes"]}, "'yes' is no category", r"\(false, true\)"),
        ({"sex": ["m"], "stage": [None]}, "never missing", "leave null out"),
        ({"sex": ["m"], "mrn": ["1"]}, "'mrn' identifies patients", "leave it out"),
        ({"pregnant": [None, True], "sex": ["m"]}, "repeats number 1", "leave it out"),
    ],
)
def test_what_is_refused_names_the_rule_the_value_and_the_way_out(rule, message, way_out):
    with pytest.raises(SchemaError, match="impossible combination 2") as caught:
        schema(MEN, rule)
    with pytest.raises(SchemaError, match=message):
        schema(MEN, rule)
    with pytest.raises(SchemaError, match=way_out):
        schema(MEN, rule)
    assert str(caught.value).count("\n    ") == 1


def test_which_rows_break_rules():
    frame = pl.DataFrame(
        {
            "sex": ["m", "m", "m", "f", None],
            "pregnant": [True, False, None, True, None],
            "stage": [1, 2, 1, 2, 2],
        }
    )
    men = Impossible.model_validate(MEN)
    late = Impossible.model_validate({"stage": [2], "sex": [None], "pregnant": [None, False]})
    assert frame.select(men.matches).to_series().to_list() == [True, False, True, False, False]
    both = frame.select(breaks_any([men, late])).to_series().to_list()
    assert both == [True, False, True, False, True]
    assert men.broken_by({"sex": "m", "pregnant": None, "age": 3.0})
    assert not men.broken_by({"sex": "m"})


def test_check_counts_rows_and_shows_no_value():
    frame = pl.DataFrame(
        {
            "mrn": ["1", "2", "3", "4"],
            "sex": ["m", "m ", "f", ""],
            "pregnant": ["yes", "", "t", "yes"],
            "stage": ["1", "2.0", "1", "2"],
            "age": [1, 2, 3, 4],
        }
    )
    rules = schema(MEN, {"stage": [1], "sex": [None]}, {"stage": [2], "pregnant": [None]})
    found = check(frame, rules)
    assert found == [
        Finding("sex, pregnant", "impossible", 2, 4),
        Finding("stage, pregnant", "impossible", 1, 4),
    ]
    assert str(found[0]) == (
        "'sex, pregnant': 2 of 4 rows have a combination that the schema calls impossible"
    )
    assert [f.rule for f in check(frame.drop("sex"), rules)] == ["missing-column", "impossible"]
    assert check(frame, schema()) == []
    assert check(frame.head(0), rules) == [Finding("", "no-rows", 0, 0)]


def test_a_rule_is_forgotten_with_its_columns_and_where_levels_change():
    rules = schema(MEN, {"stage": [2], "sex": ["f"]})
    assert rules.only_modelled().impossible == rules.impossible
    without = rules.replace_columns(tuple(c for c in rules.columns if c.name != "pregnant"))
    assert [r.columns for r in without.impossible] == [("stage", "sex")]
    joined = [
        c.model_copy(update={"categories": None}) if c.name == "stage" else c for c in rules.columns
    ]
    assert [r.columns for r in rules.replace_columns(tuple(joined)).impossible] == [
        ("sex", "pregnant")
    ]
    assert schema_from_dict(without.to_dict()) == without
    assert without.pegai.dataset == "d"


def test_a_unit_that_goes_takes_no_rule_with_it():
    raw = {"fields": FIELDS, "pegai": {"unit": "mrn", "impossible": [MEN]}}
    assert schema_from_dict(raw).only_modelled().impossible == schema(MEN).impossible
    fields = [{**FIELDS[0], "categories": ["1", "2"], "pegai": {}}, *FIELDS[1:]]
    bad = {"mrn": ["1"], "sex": ["m"]}
    with pytest.raises(SchemaError, match="identifies patients"):
        schema_from_dict({"fields": fields, "pegai": {"unit": "mrn", "impossible": [bad]}})
