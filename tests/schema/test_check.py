"""What does not fit is named by column and count, and no value is shown."""

import polars as pl
import pytest

from pegai.schema import Finding, Schema, check

SCHEMA = Schema.model_validate(
    {
        "fields": [
            {"name": "pid", "type": "string", "pegai": {"role": "identifier"}},
            {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 90}},
            {"name": "sex", "type": "string", "categories": ["f", "m"]},
            {"name": "stage", "type": "integer", "categories": [1, 2]},
            {
                "name": "seen",
                "type": "date",
                "constraints": {"minimum": "2020-01-01", "maximum": "2020-12-31"},
            },
            {"name": "mrn", "type": "string", "constraints": {"required": True, "unique": True}},
            {"name": "ok", "type": "boolean"},
        ],
        "missingValues": ["", "NA"],
        "pegai": {"unit": "pid", "max_rows_per_unit": 2},
    }
)
GOOD = {
    "pid": ["a", "a", "b", "c"],
    "age": ["1", "90.0", "NA", "0"],
    "sex": ["f", "m", "", "f"],
    "stage": ["1.0", "2", "", "1"],
    "seen": ["2020-01-01", "2020-12-31", "", "2020-05-05"],
    "mrn": ["1", "2", "3", "4"],
    "ok": ["yes", "no", "", "yes"],
}


def findings(**changes):
    return check(pl.DataFrame({**GOOD, **changes}), SCHEMA)


def test_a_table_that_fits():
    assert findings() == []


@pytest.mark.parametrize(
    ("column", "cells", "rule", "count"),
    [
        ("age", ["x17", "5.5", "NA", "7"], "unreadable", 2),
        ("age", ["-1", "-2", "-3", "0"], "below-minimum", 3),
        ("age", ["91", "1", "", "0"], "above-maximum", 1),
        ("sex", ["F", "x", "", "m"], "not-in-categories", 2),
        ("stage", ["3", "1", "", "2"], "not-in-categories", 1),
        ("seen", ["2019-12-31", "", "", ""], "below-minimum", 1),
        ("seen", ["2021-01-01", "", "", ""], "above-maximum", 1),
        ("mrn", ["1", "", "NA", "2"], "required", 2),
        ("mrn", ["1", "1", "1", "2"], "not-unique", 2),
        ("pid", ["a", "a", "a", "b"], "too-many-rows", 1),
        ("pid", ["a", "", "b", "NA"], "missing-unit", 2),
        ("ok", ["yes", "maybe", "", "0"], "unreadable", 1),
    ],
)
def test_each_rule(column, cells, rule, count):
    assert findings(**{column: cells}) == [Finding(column, rule, count, 4)]


def test_columns_and_rows():
    frame = pl.DataFrame(GOOD).drop("sex").with_columns(more=pl.lit("x"))
    assert check(frame, SCHEMA) == [
        Finding("sex", "missing-column", 0, 4),
        Finding("more", "extra-column", 0, 4),
    ]
    assert check(pl.DataFrame(GOOD).head(0), SCHEMA) == [Finding("", "no-rows", 0, 0)]


def test_several_rules_of_one_column():
    found = findings(age=["-5", "200", "x", "3"])
    assert [(f.rule, f.count) for f in found] == [
        ("unreadable", 1),
        ("below-minimum", 1),
        ("above-maximum", 1),
    ]


def test_no_value_is_ever_shown():
    secret = ["SECRET1", "SECRET1", "SECRET1", "-777"]
    found = findings(**dict.fromkeys(GOOD, secret))
    assert found
    text = " ".join(f"{f!r} {f}" for f in found)
    assert "SECRET" not in text
    assert "777" not in text


def test_sentences():
    assert str(Finding("age", "below-minimum", 3, 303)) == (
        "'age': 3 of 303 cells are below the minimum"
    )
    assert str(Finding("", "no-rows", 0, 0)) == "the table has no rows"


def test_typed_frames():
    frame = pl.DataFrame({**GOOD, "age": [1.0, 91.0, float("nan"), 2.5]})
    assert check(frame, SCHEMA) == [
        Finding("age", "unreadable", 1, 4),
        Finding("age", "above-maximum", 1, 4),
    ]


def test_datetime_bounds():
    schema = Schema.model_validate(
        {
            "fields": [
                {
                    "name": "at",
                    "type": "datetime",
                    "constraints": {"minimum": "2020-01-01T12:00:00"},
                }
            ]
        }
    )
    frame = pl.DataFrame({"at": ["2020-01-01T11:59:59.999", "2020-01-01T12:00:00"]})
    assert check(frame, schema) == [Finding("at", "below-minimum", 1, 2)]
