"""Cells to types: the table of the module's docstring, cell by cell."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.schema import Column
from pegai.schema.parse import decimal_mark, merge_marks, read_column

BAD = object()
MISSING = ("", "NA", "-9")


def read(values, type_, dtype=None, **column):
    cells = pl.Series("x", values, dtype=dtype)
    reading = read_column(cells, Column(name="x", type=type_, **column), MISSING)
    pairs = zip(reading.values.to_list(), reading.unreadable.to_list(), strict=True)
    return [BAD if bad else value for value, bad in pairs]


@pytest.mark.parametrize(
    ("type_", "cells"),
    [
        (
            "integer",
            {
                "63": 63,
                "63.0": 63,
                "+63": 63,
                " 63 ": 63,
                "-5.": -5,
                "007": 7,
                "6.3e1": 63,
                "9007199254740993": 9007199254740993,
                "63.5": BAD,
                "1_000": BAD,
                "inf": BAD,
                "99999999999999999999": BAD,
                "abc": BAD,
                "NaN": None,
                "-9": None,
                "-9.0": None,
                " NA ": None,
                "": None,
                "  ": None,
                None: None,
            },
        ),
        (
            "number",
            {
                "1.50": 1.5,
                "-.5": -0.5,
                "1e-3": 0.001,
                "2": 2.0,
                "1.5 mg": BAD,
                "1.2.3": BAD,
                "inf": BAD,
                "1e999": BAD,
                "0x1": BAD,
                "nan": None,
                "-9.00": None,
            },
        ),
        (
            "boolean",
            {
                "true": True,
                "YES": True,
                "t": True,
                "Y": True,
                "1": True,
                "1.0": True,
                "False": False,
                "no": False,
                "F": False,
                "n": False,
                "0": False,
                "2": BAD,
                "maybe": BAD,
                "NA": None,
            },
        ),
        (
            "date",
            {
                "2021-03-04": dt.date(2021, 3, 4),
                "2021-03-04T00:00:00": dt.date(2021, 3, 4),
                "2021-03-04 00:00": dt.date(2021, 3, 4),
                "2021-03-04 10:00": BAD,
                "2021-02-30": BAD,
                "04/03/2021": BAD,
                "0021-03-04": BAD,
                "NA": None,
            },
        ),
        (
            "datetime",
            {
                "2021-03-04T05:06:07": dt.datetime(2021, 3, 4, 5, 6, 7),
                "2021-03-04 05:06:07.25": dt.datetime(2021, 3, 4, 5, 6, 7, 250_000),
                "2021-03-04 05:06": dt.datetime(2021, 3, 4, 5, 6),
                "2021-03-04": dt.datetime(2021, 3, 4),
                "2021-03-04T05:06:07Z": dt.datetime(2021, 3, 4, 5, 6, 7),
                "2021-03-04 05:06:07+02:00": dt.datetime(2021, 3, 4, 3, 6, 7),
                "2021-03-04T05:06-0330": dt.datetime(2021, 3, 4, 8, 36),
                "2021-03-04T25:06:07": BAD,
                "yesterday": BAD,
                "-9": None,
            },
        ),
        ("string", {" a ": " a ", "x": "x", "NA": None, "": None, " NA": " NA"}),
    ],
)
def test_text(type_, cells):
    assert read(list(cells), type_, pl.String) == list(cells.values())


def test_text_of_categories():
    levels = {"categories": ["1", "a", " b"]}
    cells = {"1": "1", "1.0": "1", " a ": "a", "z": "z", "2.0": "2.0", "": None}
    assert read(list(cells), "string", **levels) == list(cells.values())
    assert read(["1.0", "2", "x"], "integer", categories=[1, 2]) == [1, 2, BAD]


@pytest.mark.parametrize(
    ("cells", "type_", "wanted"),
    [
        ([1, -9, None], "integer", [1, None, None]),
        ([1.0, 1.5, float("nan"), -9.0, float("inf")], "integer", [1, BAD, None, None, BAD]),
        ([True, False], "integer", [1, 0]),
        ([1, -9], "number", [1.0, None]),
        ([float("inf"), float("nan"), 2.5], "number", [BAD, None, 2.5]),
        ([True], "number", [1.0]),
        ([1, 0, 2, -9], "boolean", [True, False, BAD, None]),
        ([1.0, 0.0, float("nan")], "boolean", [True, False, None]),
        ([dt.date(2021, 3, 4)], "datetime", [dt.datetime(2021, 3, 4)]),
        (
            [dt.datetime(2021, 3, 4), dt.datetime(2021, 3, 4, 1)],
            "date",
            [dt.date(2021, 3, 4), BAD],
        ),
        ([1, 2], "date", [BAD, BAD]),
        ([dt.date(2021, 3, 4)], "integer", [BAD]),
        ([dt.date(2021, 3, 4)], "number", [BAD]),
        ([dt.date(2021, 3, 4)], "boolean", [BAD]),
        ([1.0, None], "string", ["1", None]),
        ([1.5, 2.0], "string", ["1.5", "2"]),
        ([[1], None], "string", [BAD, None]),
        ([dt.timedelta(days=1)], "string", [BAD]),
        ([None, None], "number", [None, None]),
        ([], "date", []),
    ],
)
def test_typed(cells, type_, wanted):
    assert read(cells, type_) == wanted


def test_categories_of_a_frame_are_text():
    assert read(["a", "NA", None], "string", pl.Categorical) == ["a", None, None]
    assert read(["1", "2"], "integer", pl.Enum(["1", "2"])) == [1, 2]


def test_time_zones_become_utc():
    moment = dt.datetime(2021, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    cells = pl.Series([moment]).dt.convert_time_zone("Europe/Berlin")
    assert read(cells, "datetime") == [dt.datetime(2021, 7, 1, 10)]


def test_formats():
    cells = ["04.03.2021", "4.3.2021", "04.03.21", "2021-03-04"]
    day = dt.date(2021, 3, 4)
    assert read(cells, "date", format="%d.%m.%Y") == [day, day, BAD, BAD]
    assert read(["1954", "2001"], "date", format="%Y")[0] == dt.date(1954, 1, 1)
    cells = ["04/03/2021 17:05", "04/03/2021"]
    assert read(cells, "datetime", format="%d/%m/%Y %H:%M") == [dt.datetime(2021, 3, 4, 17, 5), BAD]


def test_missing_values_of_the_column_add_to_those_of_the_table():
    assert read(["99", "NA", "5"], "integer", missingValues=["99"]) == [None, None, 5]


@pytest.mark.parametrize(
    ("cells", "mark", "values"),
    [
        (["1,5", "2", "3,25"], ",", [1.5, 2.0, 3.25]),
        (["1.5", "2,5"], "!", [1.5, BAD]),
        (["1,500", "2"], "?", [BAD, 2.0]),
        (["1,500", "1,5"], ",", [1.5, 1.5]),
        (["0,500", "1"], ",", [0.5, 1.0]),
        (["1.500,5", "2"], ".", [BAD, 2.0]),
        (["1,234,567"], "", [BAD]),
        (["1", None], "", [1.0, None]),
    ],
)
def test_decimal_comma_only_if_the_whole_column_says_so(cells, mark, values):
    assert decimal_mark(pl.Series(cells)) == mark
    assert read(cells, "number") == values


def test_three_decimals_of_the_schema_settle_the_comma():
    assert read(["1,500"], "number", pegai={"decimals": 3}) == [1.5]


def test_marks_of_parts_add_up():
    marks = ["", ".", ",", "?", "!"]
    for a in marks:
        assert merge_marks(a, "") == merge_marks("", a) == a == merge_marks(a, a)
        for b in marks:
            assert merge_marks(a, b) == merge_marks(b, a)
            for c in marks:
                assert merge_marks(merge_marks(a, b), c) == merge_marks(a, merge_marks(b, c))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="0123456789.,+-eE naNAyestrufTZ:/", max_size=12), max_size=8))
def test_no_text_crashes_any_reader(cells):
    for type_ in ("integer", "number", "boolean", "date", "datetime", "string"):
        cells_ = pl.Series("x", cells, dtype=pl.String)
        reading = read_column(cells_, Column(name="x", type=type_), MISSING)
        assert len(reading.values) == len(cells)
        assert reading.unreadable.null_count() == 0
        assert not (reading.unreadable & reading.values.is_not_null()).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1).filter(lambda i: i != -9)))
def test_integers_come_back_exactly(values):
    assert read([str(v) for v in values], "integer", pl.String) == values
