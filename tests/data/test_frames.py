"""Frames of other libraries come in and go out as they came."""

import datetime as dt
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from pegai.data import like, to_polars
from pegai.errors import DataError


def of(cells, dtype=None):
    return to_polars(pd.DataFrame({"x": pd.Series(cells, dtype=dtype)}))["x"]


@pytest.mark.parametrize(
    ("cells", "dtype", "wanted", "polars"),
    [
        ([1, 2], "int32", [1, 2], pl.Int32),
        ([1, None], "Int64", [1, None], pl.Int64),
        ([2**62 + 1, None], "Int64", [2**62 + 1, None], pl.Int64),
        ([1, None], "UInt8", [1, None], pl.UInt8),
        ([1.5, None], "Float64", [1.5, None], pl.Float64),
        ([1.5, np.nan], None, [1.5, None], pl.Float64),
        ([1.5, np.nan], "float32", [1.5, None], pl.Float64),
        ([True, None], "boolean", [True, None], pl.Boolean),
        ([True, False], None, [True, False], pl.Boolean),
        (["a", None, np.nan], object, ["a", None, None], pl.String),
        (["a", None], "string", ["a", None], pl.String),
        (["b", "a", None], "category", ["b", "a", None], pl.String),
        ([2, 1, None], pd.CategoricalDtype([2, 1]), ["2", "1", None], pl.String),
        ([True, None, False], object, [True, None, False], pl.Boolean),
        ([1, None, 3], object, [1, None, 3], pl.Int64),
        ([1, "a", None], object, ["1", "a", None], pl.String),
        ([None, None], object, [None, None], pl.String),
        ([dt.date(2021, 1, 2), None], object, [dt.date(2021, 1, 2), None], pl.Date),
        ([pd.NA, "x"], object, [None, "x"], pl.String),
    ],
)
def test_pandas_columns(cells, dtype, wanted, polars):
    series = of(cells, dtype)
    assert series.to_list() == wanted
    assert series.dtype == polars


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_pandas_datetimes(unit):
    moment = dt.datetime(2021, 7, 1, 12, 30)
    naive = pd.Series([moment, None]).astype(f"datetime64[{unit}]")
    assert of(naive).to_list() == [moment, None]
    zoned = naive.dt.tz_localize("Europe/Berlin")
    assert of(zoned).dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_list() == [
        dt.datetime(2021, 7, 1, 10, 30),
        None,
    ]
    assert of([pd.Timestamp(moment), None], object).to_list() == [moment, None]


def test_pandas_arrow_types():
    frame = pd.DataFrame({"x": pd.Series([1, None], dtype=pd.ArrowDtype(pa.int64()))})
    assert to_polars(frame)["x"].to_list() == [1, None]
    frame = pd.DataFrame({"x": pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string()))})
    assert to_polars(frame)["x"].to_list() == ["a", None]


@pytest.mark.parametrize(
    "cells",
    [pd.Series([pd.Timedelta(1)]), pd.Series([1j]), pd.Series(pd.period_range("2021", periods=1))],
)
def test_pandas_columns_that_hold_no_values(cells):
    with pytest.raises(DataError, match="column 'x' is"):
        of(cells)
    with pytest.raises(DataError, match="column 'x' holds lists"):
        of([[1], [2]])


def test_names():
    with pytest.raises(DataError, match="two columns are named 'a'"):
        to_polars(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="two columns are named '1'"):
        to_polars(pd.DataFrame([[1, 2]], columns=[1, "1"]))
    with pytest.raises(DataError, match="two columns are named 'a'"):
        to_polars(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(DataError, match="several levels"):
        to_polars(pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])))
    assert to_polars(pd.DataFrame({0: [1]})).columns == ["0"]


def test_the_index_is_not_data():
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=[9, 9, 7])
    assert to_polars(frame[frame["a"] > 1])["a"].to_list() == [2, 3]


def test_polars_and_arrow():
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    assert to_polars(frame) is frame
    assert_frame_equal(to_polars(frame.lazy()), frame)
    assert_frame_equal(to_polars(frame.to_arrow()), frame)
    assert isinstance(like(frame, frame), pl.DataFrame)
    assert isinstance(like(frame, frame.lazy()), pl.LazyFrame)
    made = like(frame, frame.to_arrow())
    assert isinstance(made, pa.Table)
    assert made.to_pydict() == frame.to_dict(as_series=False)


@pytest.mark.parametrize("thing", [None, 3, "data.csv", [[1, 2]], {"a": [1]}, np.zeros((2, 2))])
def test_what_is_no_frame(thing):
    with pytest.raises(DataError, match="is not a table"):
        to_polars(thing)
    with pytest.raises(DataError, match="is not a table"):
        like(pl.DataFrame({"a": [1]}), thing)


FRAME = pl.DataFrame(
    {
        "i": [1, 2],
        "gap": [2**62 + 1, None],
        "f": [1.5, None],
        "b": [True, False],
        "bgap": [None, True],
        "t": ["x", None],
        "empty": pl.Series([None, None], dtype=pl.String),
        "d": [dt.date(2021, 1, 2), None],
        "m": [dt.datetime(2021, 1, 2, 3, 4, 5, 6), None],
        "z": pl.Series([dt.datetime(2021, 7, 1), None]).dt.replace_time_zone("Europe/Berlin"),
    }
)


def test_to_pandas_and_back():
    made = like(FRAME, pd.DataFrame())
    assert isinstance(made, pd.DataFrame)
    assert {name: str(made[name].dtype) for name in ("i", "gap", "b", "bgap", "d", "m")} == {
        "i": "int64",
        "gap": "Int64",
        "b": "bool",
        "bgap": "boolean",
        "d": "datetime64[us]",
        "m": "datetime64[us]",
    }
    assert made["t"].dtype == pd.Series(["x"]).dtype
    assert made["gap"][0] == 2**62 + 1
    assert made.isna().sum().sum() == FRAME.null_count().sum_horizontal()[0]
    back = to_polars(made).with_columns(pl.col("d").cast(pl.Date))
    zoned = back.with_columns(pl.col("z").dt.convert_time_zone("Europe/Berlin"))
    assert_frame_equal(zoned, FRAME)


def test_to_pandas_gives_writable_columns_of_their_own():
    made = like(FRAME, pd.DataFrame())
    made.loc[0, "i"] = 99
    made.loc[0, "f"] = 9.5
    assert FRAME["i"][0] == 1
    assert FRAME["f"][0] == 1.5


def test_no_rows_to_pandas_and_back():
    made = like(FRAME.head(0), pd.DataFrame())
    assert made.shape == (0, FRAME.width)
    assert to_polars(made).columns == FRAME.columns


def test_pandas_users_need_no_pyarrow_and_polars_users_no_pandas():
    script = """
import sys
class Hide:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pyarrow":
            return None
        return self.finder.find_spec(name, path, target)
sys.meta_path = [Hide(finder) for finder in sys.meta_path]
from pegai.data import like, to_polars
assert "pandas" not in sys.modules
import pandas as pd
frame = pd.DataFrame({"a": [1, 2], "t": ["x", None], "c": pd.Categorical(["u", "v"]),
                      "d": pd.to_datetime(["2021-01-01", None]), "n": [1.5, None]})
made = like(to_polars(frame), frame)
assert made["t"].isna().tolist() == [False, True] and str(made["a"].dtype) == "int64"
assert "pyarrow" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


ODD = [True, "unknown", 3, 2.5, float("inf"), 10**30, [1], {"a": 1}, b"x", dt.date(1, 1, 1),
       dt.datetime(2020, 1, 1, tzinfo=dt.UTC), object()]  # fmt: skip
"""What one patient's cell may hold."""


@pytest.mark.parametrize("odd", ODD, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ([True, False, None], {"type": "string", "categories": ["true", "false"]},
         ["true", "false", None]),
        ([True, False, None], {"type": "boolean"}, [True, False, None]),
        ([1, 2, None], {"type": "integer"}, [1, 2, None]),
        ([1.0, 2.0, None], {"type": "string", "categories": ["1", "2"]}, ["1", "2", None]),
        ([0.5, 2.0, None], {"type": "number"}, [0.5, 2.0, None]),
        (["a", "b", None], {"type": "string", "categories": ["a", "b"]}, ["a", "b", None]),
        ([dt.date(2020, 1, 2), dt.date(2021, 3, 4), None], {"type": "date", "format": "%d.%m.%Y"},
         [dt.date(2020, 1, 2), dt.date(2021, 3, 4), None]),
        ([dt.date(2020, 1, 2), dt.date(2021, 3, 4), None], {"type": "date"},
         [dt.date(2020, 1, 2), dt.date(2021, 3, 4), None]),
        ([dt.datetime(2020, 1, 2, 3), dt.datetime(2021, 3, 4), None], {"type": "datetime"},
         [dt.datetime(2020, 1, 2, 3), dt.datetime(2021, 3, 4), None]),
    ],
)  # fmt: skip
def test_before_a_private_fit_one_cell_changes_no_other(odd, values, field, expected) -> None:
    from pegai.data.conform import table_from
    from pegai.schema import schema_from_dict

    schema = schema_from_dict({"fields": [{"name": "x", **field}]})
    for cells in (values, [*values, odd]):
        frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
        read = table_from(frame, schema, cell_by_cell=True)["x"]
        assert read.to_list()[:3] == expected
