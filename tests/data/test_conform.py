"""From raw cells to a table, and back: what is written conforms to the same table."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pegai.data import DTYPES, Table, conform, load_table, read_frame, scan_table, write_table
from pegai.errors import DataError
from pegai.schema import Schema

SCHEMA = Schema.model_validate(
    {
        "fields": [
            {"name": "age", "type": "integer"},
            {"name": "bmi", "type": "number"},
            {"name": "lab", "type": "number", "pegai": {"decimals": 2}},
            {"name": "sex", "type": "string", "categories": ["f", " m", "a,b", '"q"']},
            {"name": "stage", "type": "integer", "categories": [0, 1, 2]},
            {"name": "ok", "type": "boolean"},
            {"name": "seen", "type": "date"},
            {"name": "born", "type": "date", "format": "%d.%m.%Y"},
            {"name": "at", "type": "datetime"},
            {"name": "noon", "type": "datetime", "format": "%d/%m/%Y %H:%M:%S"},
            {"name": "note", "type": "string"},
        ]
    }
)
DATES = st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31))
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 12, 31))
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
ROW = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(-(10**9), 10**9).map(lambda i: i / 100),
    st.none() | st.sampled_from(["f", " m", "a,b", '"q"', "unknown"]),
    st.none() | st.integers(0, 3),
    st.none() | st.booleans(),
    st.none() | DATES,
    st.none() | DATES,
    st.none() | TIMES,
    st.none() | TIMES.map(lambda t: t.replace(microsecond=0)),
    st.none()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_written_and_read_is_the_same_table(tmp_path, cells):
    types = {c.name: DTYPES[c.type] for c in SCHEMA.columns}
    table = Table(pl.DataFrame(cells, schema=types, orient="row"), SCHEMA)
    for name in ("t.csv", "t.parquet", "t.tsv"):
        write_table(table, tmp_path / name)
        assert_frame_equal(load_table(tmp_path / name, SCHEMA).frame, table.frame, check_exact=True)


SMALL = Schema.model_validate(
    {
        "fields": [
            {"name": "age", "type": "integer"},
            {"name": "dose", "type": "number"},
            {"name": "seen", "type": "date", "format": "%d.%m.%Y"},
        ],
        "missingValues": ["", "?"],
    }
)


def frame(**columns):
    return pl.DataFrame(
        {"seen": ["01.02.2021", "?"], "age": ["63.0", ""], "dose": ["1.5", "2"], **columns}
    )


def test_selects_orders_and_types():
    table = conform(frame(), SMALL)
    assert table.frame.columns == ["age", "dose", "seen"]
    assert table.frame.rows() == [(63, 1.5, dt.date(2021, 2, 1)), (None, 2.0, None)]


def test_missing_columns_are_listed():
    with pytest.raises(DataError, match="columns 'age', 'seen' of the schema are not among"):
        conform(frame().drop("age", "seen"), SMALL)


def test_extra_columns_are_refused_or_dropped():
    extra = frame(more=["1", "2"])
    with pytest.raises(DataError, match="column 'more' is not in the schema"):
        conform(extra, SMALL)
    assert conform(extra, SMALL, extra="drop").frame.columns == SMALL.names


def test_unreadable_cells_are_counted_and_not_shown():
    with pytest.raises(DataError) as caught:
        conform(
            frame(age=["SECRET", "63.5"], seen=["2021-12-24", "?"], dose=["7x7", "1"]),
            SMALL,
            name="ward.csv",
        )
    text = str(caught.value)
    assert "ward.csv" in text
    assert "'age': 2 of 2 are not of type integer" in text
    assert "'dose': 1 of 2 are not of type number" in text
    assert "'seen': 1 of 2 are not of type date in the format %d.%m.%Y" in text
    for secret in ("SECRET", "63.5", "2021", "7x7"):
        assert secret not in text


def test_values_outside_the_domain_stay():
    schema = Schema.model_validate(
        {
            "fields": [
                {"name": "a", "type": "integer", "constraints": {"minimum": 0, "maximum": 9}},
                {"name": "c", "type": "string", "categories": ["x"]},
            ]
        }
    )
    assert conform(pl.DataFrame({"a": ["99"], "c": ["y"]}), schema).frame.rows() == [(99, "y")]


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        conform(frame().head(0), SMALL)
    (tmp_path / "t.csv").write_text("age,dose,seen\n")
    with pytest.raises(DataError, match="has no rows"):
        load_table(tmp_path / "t.csv", SMALL)
    with pytest.raises(DataError, match="has no rows"):
        list(scan_table(tmp_path / "t.csv", SMALL))


class TestScan:
    def test_batches_are_the_table(self, tmp_path):
        lines = [f"{i},{i}.5,{i % 28 + 1:02d}.02.2021\n" for i in range(250)]
        (tmp_path / "t.csv").write_text("age,dose,seen\n" + "".join(lines))
        whole = load_table(tmp_path / "t.csv", SMALL)
        batches = list(scan_table(tmp_path / "t.csv", SMALL, batch_rows=100))
        assert [len(batch) for batch in batches] == [100, 100, 50]
        assert_frame_equal(pl.concat([batch.frame for batch in batches]), whole.frame)

    def doses(self, tmp_path, cells, batch_rows=1):
        rows = "".join(f'1;"{cell}";01.02.2021\n' for cell in cells)
        (tmp_path / "t.csv").write_text("age;dose;seen\n" + rows)
        batches = scan_table(tmp_path / "t.csv", SMALL, batch_rows=batch_rows)
        return [value for batch in batches for value in batch["dose"].to_list()]

    def test_a_later_batch_settles_the_comma(self, tmp_path):
        assert self.doses(tmp_path, ["1,500", "2", "1,5"]) == [1.5, 2.0, 1.5]
        assert self.doses(tmp_path, ["1,5", "1,500"]) == [1.5, 1.5]

    @pytest.mark.parametrize("cells", [["1,500", "2"], ["1,5", "2.5"], ["2.5", "1,5"]])
    def test_unsettled_or_mixed_commas_are_refused(self, tmp_path, cells):
        for batch_rows in (1, 10):
            with pytest.raises(DataError, match="dose"):
                self.doses(tmp_path, cells, batch_rows)

    def test_a_batch_at_fault_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="'dose': 1 of 1"):
            self.doses(tmp_path, ["1", "2", "x"])


def test_options_reach_the_reader(tmp_path):
    (tmp_path / "t.csv").write_bytes("имя|1\n".encode("cp1251"))
    schema = Schema.model_validate(
        {"fields": [{"name": "n", "type": "string"}, {"name": "i", "type": "integer"}]}
    )
    options = {"encoding": "cp1251", "delimiter": "|", "header": ["n", "i"]}
    assert load_table(tmp_path / "t.csv", schema, **options).frame.rows() == [("имя", 1)]
    assert len(list(scan_table(tmp_path / "t.csv", schema, **options))) == 1
    assert read_frame(tmp_path / "t.csv", **options).height == 1


def test_cell_by_cell_one_row_changes_nothing_in_the_others():
    schema = Schema.model_validate(
        {
            "fields": [
                {"name": "x", "type": "number"},
                {"name": "k", "type": "string", "categories": ["0", "1"]},
                {"name": "d", "type": "date"},
            ]
        }
    )
    rows = pl.DataFrame(
        {"x": ["1,500", "2", "3.5"], "k": ["0", "1", "1.0"], "d": ["2020-01-02", "", "x"]}
    )
    for odd in (["1,5", "zebra", "31/12/1999"], ["?", "0.5", "20"]):
        more = pl.concat([rows, pl.DataFrame([odd], schema=rows.columns, orient="row")])
        alone = conform(rows, schema, cell_by_cell=True).frame
        assert conform(more, schema, cell_by_cell=True).frame.head(3).equals(alone)
    assert alone["x"].to_list() == [None, 2.0, 3.5]


def test_one_odd_float_does_not_change_how_the_others_are_read():
    raw = {"fields": [{"name": "k", "type": "string", "categories": ["0", "1"]}]}
    schema = Schema.model_validate(raw)
    whole = conform(pl.DataFrame({"k": [0.0, 1.0, None]}), schema)["k"].to_list()
    odd = conform(pl.DataFrame({"k": [0.0, 1.0, None, 0.5]}), schema)["k"].to_list()
    assert whole == ["0", "1", None]
    assert odd == ["0", "1", None, "0.5"]


def test_a_first_patient_in_place_of_a_header_is_not_shown():
    with pytest.raises(DataError) as caught:
        conform(pl.DataFrame({"Smith": ["x"], "hiv-positive": ["y"]}), SCHEMA)
    assert "Smith" not in str(caught.value)
    assert "hiv" not in str(caught.value)
