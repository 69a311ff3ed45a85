"""A table fits its schema, and knows its patients, numbers and texts."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from pegai.data import DTYPES, Table
from pegai.errors import DataError
from pegai.schema import Schema

SCHEMA = Schema.model_validate(
    {
        "fields": [
            {"name": "pid", "type": "string", "pegai": {"role": "identifier"}},
            {"name": "age", "type": "integer"},
            {"name": "bmi", "type": "number"},
            {"name": "ok", "type": "boolean"},
            {"name": "seen", "type": "date"},
            {"name": "at", "type": "datetime"},
            {"name": "stage", "type": "integer", "categories": [1, 2]},
        ],
        "pegai": {"unit": "pid", "max_rows_per_unit": 5},
    }
)
TYPES = {c.name: DTYPES[c.type] for c in SCHEMA.columns}
ROWS = [
    ("b", 63, 25.5, True, dt.date(1970, 1, 3), dt.datetime(1970, 1, 1, 0, 0, 1, 500_000), 1),
    ("a", None, None, None, None, None, None),
    ("b", -5, 1.0, False, dt.date(1969, 12, 31), dt.datetime(1969, 12, 31, 23, 59, 59), 2),
    (None, 0, 0.0, True, dt.date(2000, 1, 1), dt.datetime(2000, 1, 1), 7),
    (None, 0, 0.0, True, dt.date(2000, 1, 1), dt.datetime(2000, 1, 1), 7),
]


@pytest.fixture
def table():
    return Table(pl.DataFrame(ROWS, schema=TYPES, orient="row"), SCHEMA)


def test_rows_columns_and_parts(table):
    assert len(table) == 5
    assert [c.name for c in table.columns] == SCHEMA.names
    assert len(table.head(2)) == 2
    assert table["age"].to_list() == [63, None, -5, 0, 0]


def test_select_orders_and_forgets_the_unit(table):
    part = table.select(["bmi", "age"])
    assert part.frame.columns == ["bmi", "age"] == part.schema.names
    assert part.schema.unit is None
    assert part.schema.pegai.max_rows_per_unit == 1
    assert table.select(["age", "pid"]).schema.unit == "pid"


def test_modelled_leaves_identifiers_out(table):
    assert table.modelled().schema.names == SCHEMA.names[1:]


def test_take_by_position_and_by_mask(table):
    assert table.take(np.array([2, 0]))["age"].to_list() == [-5, 63]
    assert table.take(np.array([True, False, False, False, True]))["age"].to_list() == [63, 0]
    assert len(table.take(np.array([], dtype=np.int64))) == 0
    assert len(table.take(np.zeros(5, dtype=bool))) == 0


def test_missing_patient_ids_are_patients_of_their_own(table):
    codes = table.unit_codes()
    assert codes[0] == codes[2]
    assert len(set(codes)) == 4
    assert sorted(set(codes)) == [0, 1, 2, 3]


def test_unit_codes_without_unit_rows_or_ids(table):
    schema = Schema.model_validate({"fields": [{"name": "x", "type": "integer"}]})
    assert Table(pl.DataFrame({"x": [1, 1]}), schema).unit_codes().tolist() == [0, 1]
    assert table.head(0).unit_codes().tolist() == []
    frame = table.frame.with_columns(pid=pl.lit(None, pl.String))
    assert Table(frame, SCHEMA).unit_codes().tolist() == [0, 1, 2, 3, 4]


def test_numbers(table):
    assert table.numbers("age")[[0, 2]].tolist() == [63.0, -5.0]
    assert np.isnan(table.numbers("age")[1])
    assert table.numbers("ok")[[0, 2]].tolist() == [1.0, 0.0]
    assert table.numbers("seen")[[0, 2]].tolist() == [2.0, -1.0]
    assert table.numbers("at")[[0, 2]].tolist() == [1.5, -1.0]
    for name in SCHEMA.names[1:]:
        numbers = table.numbers(name)
        assert numbers.dtype == np.float64
        assert np.isnan(numbers[1])
        assert numbers.flags.writeable or numbers.copy().flags.writeable
    assert table.head(0).numbers("seen").shape == (0,)


def test_texts_match_the_levels(table):
    assert table.texts("stage").to_list() == ["1", None, "2", "7", "7"]
    assert set(table.texts("ok").drop_nulls()) <= set(SCHEMA["ok"].levels)


def test_wrong_columns_order_or_types_are_refused(table):
    with pytest.raises(DataError, match="missing \\['age'\\], extra \\[\\]"):
        Table(table.frame.drop("age"), SCHEMA)
    with pytest.raises(DataError, match="extra \\['more'\\]"):
        Table(table.frame.with_columns(more=1), SCHEMA)
    with pytest.raises(DataError, match="differ"):
        Table(table.frame.select(reversed(SCHEMA.names)), SCHEMA)
    with pytest.raises(DataError, match="column 'age' is Int32"):
        Table(table.frame.with_columns(pl.col("age").cast(pl.Int32)), SCHEMA)
    with pytest.raises(DataError, match="'at'"):
        Table(table.frame.with_columns(pl.col("at").cast(pl.Datetime("ns"))), SCHEMA)
