"""Drafting a schema: golden columns, and that every draft fits the table it was drafted from."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data import conform, read_frame
from pegai.errors import DataError
from pegai.schema import check, infer, schema_from_dict

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def column(cells, name="x", dtype=None):
    return infer(pl.DataFrame({name: pl.Series(cells, dtype=dtype)}))[name]


def days(pattern, n=28):
    return [(dt.date(2021, 2, 1) + dt.timedelta(i)).strftime(pattern) for i in range(n)]


@pytest.mark.parametrize(
    ("cells", "kind", "type_"),
    [
        (["1", "0"] * 5, "categorical", "integer"),
        (["63.0", "54.0", "41.0", "70.0"], "integer", "integer"),
        (["63", "54", "41.0", ""], "integer", "integer"),
        (["63.1", "54", "41.25", "70"], "continuous", "number"),
        (["1,5", "2", "7,25", "9"], "continuous", "number"),
        (["1e-3", "2.5", "4", "7"], "continuous", "number"),
        (["true", "FALSE"], "boolean", "boolean"),
        (["yes"] * 4, "boolean", "boolean"),
        (["Y", "n", "", "y"], "boolean", "boolean"),
        (["f"] * 4, "categorical", "string"),
        (["a", "b", "c"] * 10, "categorical", "string"),
        (["007", "012", "007"] * 4, "categorical", "string"),
        (days("%Y-%m-%d"), "date", "date"),
        (days("%Y-%m-%d 00:00:00"), "date", "date"),
        (days("%Y-%m-%dT10:30"), "datetime", "datetime"),
        (["one", "two", "three"], "text", "string"),
        ([""] * 4, "text", "string"),
        ([], "text", "string"),
        (["63"], "integer", "integer"),
        (["x"], "text", "string"),
        (["5"] * 9, "categorical", "integer"),
        (["99999999999999999999", "99999999999999999998"] * 4, "categorical", "string"),
    ],
)
def test_types_of_text(cells, kind, type_):
    drafted = column(cells, dtype=pl.String)
    assert (drafted.kind, drafted.type) == (kind, type_)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, 3], "integer"),
        ([1.0, None, 3.0], "integer"),
        ([1.5, float("nan")], "continuous"),
        ([True, None], "boolean"),
        ([dt.date(2021, 1, 1)], "date"),
        ([dt.datetime(2021, 1, 1, 5, tzinfo=dt.UTC)], "datetime"),
        ([None, None], "text"),
    ],
)
def test_types_of_typed_frames(cells, kind):
    assert column(cells).kind == kind
    assert column(["a", "b"] * 4, dtype=pl.Categorical).kind == "categorical"


@pytest.mark.parametrize(
    ("cells", "decimals"),
    [
        (["1.50", "2", "3.125"], 3),
        (["1,5", "2,25"], 2),
        (["1e-3", "2.5"], None),
        (["0.30000000000000004", "1"], None),
        ([1.5, 2.25], 2),
    ],
)
def test_decimals_are_the_most_digits_seen(cells, decimals):
    assert column(cells).pegai.decimals == decimals


@pytest.mark.parametrize(
    "pattern",
    [
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%m-%d-%Y",
        "%d.%m.%y",
        "%Y/%m/%d",
        "%Y%m%d",
        "%d-%b-%Y",
        "%d %B %Y",
        "%B %d, %Y",
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %I:%M:%S %p",
        "%Y%m%d%H%M%S",
    ],
)
def test_date_patterns(pattern):
    drafted = column(days(pattern))
    assert drafted.kind == ("datetime" if "%M" in pattern else "date")
    assert drafted.format == pattern
    assert drafted.constraints.minimum == (
        "2021-02-01T00:00:00" if "%M" in pattern else "2021-02-01"
    )
    assert drafted.role == "quasi-identifier"


def test_ambiguous_day_and_month_stay_text_and_say_so():
    drafted = column(["03/04/2021", "05/06/2021", "11/12/2021"])
    assert drafted.kind == "text"
    assert "%d/%m/%Y or %m/%d/%Y" in (drafted.description or "")
    assert column(["03/04/2021", "05/06/2021", "13/12/2021"]).format == "%d/%m/%Y"
    assert column(["03/04/2021", "05/06/2021", "12/13/2021"]).format == "%m/%d/%Y"
    assert column(["13/04/2021", "05/16/2021"]).kind == "text"


def test_everything_is_marked_private_and_bounded():
    drafted = column(["63", "54", "41", "70"])
    assert (drafted.minimum, drafted.maximum) == (41, 70)
    assert not drafted.is_public
    assert column(["b", "a"] * 3).levels == ("a", "b")


def test_missing_texts_are_found_and_minus_nine_is_not():
    frame = pl.DataFrame(
        {
            "a": ["1", "NA", "?", "25", "31"],
            "b": ["x", "x", "y", "y", "null"],
            "c": ["-9", "5", "7", "8", "6"],
            "d": ["1.5", ".", "2.5", "-", "3"],
            "e": ["none", "none", "some", "some", "None"],
        }
    )
    schema = infer(frame)
    assert schema.missing_values == ("", "NA", "null", "?")
    assert (schema["a"].type, schema["b"].levels) == ("integer", ("x", "y"))
    assert schema["c"].minimum == -9
    assert schema["d"].missing_values == (".", "-")
    assert schema["e"].missing_values is None
    assert conform(frame, schema)["d"].to_list() == [1.5, None, 2.5, None, 3.0]


@pytest.mark.parametrize(
    ("name", "cells", "role"),
    [
        ("age", ["63", "64"] * 4, "quasi-identifier"),
        ("Geschlecht", ["m", "w"] * 4, "quasi-identifier"),
        ("code_postal", ["01000", "69001"] * 4, "quasi-identifier"),
        ("MRN", ["a1", "b2", "c3"], "identifier"),
        ("PatientID", ["5", "5", "6", "6"], "identifier"),
        ("Telefon", ["030 1", "030 2", "0 3"], "identifier"),
        ("E-Mail", ["a@b", "c@d", "e@f"], "identifier"),
        ("visit_id", ["5", "7", "9"], "identifier"),
        ("anything", ["A-1", "A-2", "A-3"], "identifier"),
        ("row", [str(i) for i in range(50)], "identifier"),
        ("diagnosis_code", ["I21", "I22"] * 4, "sensitive"),
        ("hiv_status", ["pos", "neg"] * 4, "sensitive"),
        ("Klinik", ["a", "b"] * 4, "site"),
        ("hospital_id", ["1", "2"] * 4, "site"),
        ("hospital_expire_flag", ["0", "1"] * 4, "feature"),
        ("drug_name", ["aspirin", "ibuprofen", "other one"], "feature"),
        ("target", ["0", "1"] * 4, "target"),
        ("mobile", ["yes", "no"] * 4, "feature"),
        ("white_cell_count", ["4.5", "6.1", "5"], "feature"),
        ("number_of_patients", ["3", "40", "5"], "feature"),
    ],
)
def test_roles_by_name(name, cells, role):
    assert column(cells, name).role == role


def test_identifiers_keep_no_domain():
    drafted = column([str(1000 + i) for i in range(50)], "patient_id")
    assert (drafted.role, drafted.minimum, drafted.categories) == ("identifier", None, None)


def test_age_stays_a_number_however_few():
    assert column(["63", "64"] * 10, "age").kind == "integer"


def test_only_one_site_and_one_target():
    frame = pl.DataFrame({"site": ["a", "b"] * 4, "hospital": ["c", "d"] * 4})
    assert [c.role for c in infer(frame).columns] == ["site", "feature"]


def test_the_patient_column_is_the_unit():
    frame = pl.DataFrame({"id": ["1", "2", "3", "4"], "subject_id": ["7", "7", "7", "8"]})
    schema = infer(frame, dataset="ward")
    assert (schema.unit, schema.pegai.max_rows_per_unit) == ("subject_id", 5)
    assert schema.pegai.dataset == "ward"
    assert infer(frame.select("id")).unit == "id"
    assert infer(pl.DataFrame({"x": ["1", "2"]})).unit is None


@pytest.mark.parametrize(
    ("most", "drafted"),
    [
        *[(1, 1), (2, 2), (3, 5), (5, 5), (6, 10), (10, 10), (11, 20), (20, 20), (21, 50)],
        *[(50, 50), (51, 100), (99, 100), (100, 100), (101, 200), (999, 1000), (2001, 5000)],
    ],
)
def test_the_most_rows_of_a_patient_are_drafted_on_a_coarse_grid(most, drafted):
    ids = pl.Series("patient_id", ["7"] * most + ["8"])
    schema = infer(pl.DataFrame({"patient_id": ids}))
    assert schema.pegai.max_rows_per_unit == drafted


def test_many_levels():
    few = [f"code {i % 150}" for i in range(3000)]
    many = [f"I{i % 10_000}" for i in range(50_000)]
    assert column(few).kind == "categorical"
    drafted = column(many)
    assert drafted.kind == "text"
    assert drafted.role == "feature"
    assert "code list" in (drafted.description or "")


def test_no_columns_and_nested():
    with pytest.raises(DataError, match="no columns"):
        infer(pl.DataFrame())
    for cells in ([[1]], [dt.timedelta(1)]):
        with pytest.raises(DataError, match="column 'x'"):
            infer(pl.DataFrame({"x": cells}))
    with pytest.raises(DataError, match="infinite"):
        infer(pl.DataFrame({"x": [1.5, float("inf")]}))


PIECES = st.sampled_from(
    [
        *["", "NA", "?", ".", "-", "1", "0", "2.5", "1,5", "1,500", "-9", "007", "1e5", "1e400"],
        *["yes", "no", "t", "F", "a", " a ", "None", "note, long", "inf", "nan", "1.", ".5", "+3"],
        *["2021-03-04", "04/03/2021", "13/03/2021", "03/13/2021", "2021-03-04 10:00", "20210304"],
        *["2021-03-04T10:00:00Z", "04/03/2021 10:00", "99999999999999999999", "é", "0021-01-01"],
    ]
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(PIECES, min_size=6, max_size=6), min_size=1, max_size=12), st.booleans())
def test_every_draft_fits_its_table(rows, uniform):
    # Columns of one kind of cell are likelier if each row repeats the pieces of the first.
    rows = [rows[0]] * 4 + rows[:1] if uniform else rows
    names = ["a", "age", "patient_id", "site", "name", "d"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    schema = infer(frame)
    assert [f for f in check(frame, schema) if f.rule != "missing-unit"] == []
    conform(frame, schema)
    assert infer(frame) == schema
    assert schema_from_dict(schema.to_dict()) == schema


@settings(max_examples=50, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=2), st.integers(1, 8))
def test_columns_of_few_pieces_fit(pieces, repeat):
    frame = pl.DataFrame({"x": pieces * repeat})
    schema = infer(frame)
    assert check(frame, schema) == []


@pytest.mark.parametrize(
    ("path", "unit", "rows_per_unit"),
    [
        ("support2/support2.csv", None, 1),
        ("pbc2_longitudinal/pbc2.csv", "id", 20),
        ("mimic3_demo/ADMISSIONS.csv.gz", "subject_id", 20),
        ("mimic3_demo/PATIENTS.csv.gz", "subject_id", 1),
        ("eicu_demo_hourly/sta.parquet", None, 1),
    ],
)
def test_real_tables(path, unit, rows_per_unit):
    file = DATA / path
    if not file.exists():
        pytest.skip(f"{path} is not here")
    frame = read_frame(file)
    schema = infer(frame)
    assert (schema.unit, schema.pegai.max_rows_per_unit) == (unit, rows_per_unit)
    assert check(frame, schema) == []
    assert len(conform(frame, schema)) == frame.height
