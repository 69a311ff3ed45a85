import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.datasets import heart_disease_path, heart_disease_schema
from pegai.data.deidentify import DeidentifyConfig, Override, deidentify
from pegai.data.deidentify.treatments import SMALL_ZIP3
from pegai.errors import IdentifierError, UsageError
from pegai.schema import schema_from_dict

from .hospital_table import CLINICAL, EXPECTED, hospital

SECRET = [n for n, kind in EXPECTED.items() if kind != "date" and n not in ("zip", "city")]
DATES = ["admitted", "discharged"]


def rng(seed=1):
    return np.random.default_rng(seed)


def run(frame, schema=None, *, seed=1, **settings_):
    return deidentify(frame, schema, config=DeidentifyConfig(**settings_), rng=rng(seed))


def actions(result):
    return {a.column: a for a in result.actions if a.note != "born more than 89 years before"}


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 60),
    per_patient=st.integers(1, 3),
    identifiers=st.sampled_from(["drop", "replace"]),
)
def test_no_identifier_survives_in_any_cell(seed, rows, per_patient, identifiers):
    frame = hospital(rows, seed=seed, per_patient=per_patient)
    result = run(frame, unit="patient_id", identifiers=identifiers, seed=seed)
    out = result.frame.select(pl.all().cast(pl.String))
    text = "\n".join(str(v) for column in out for v in column)
    cells = {v for column in out for v in column}
    for name in SECRET:
        originals = set(frame[name])
        assert not originals & cells, name
        assert not [v for v in originals if len(v) >= 8 and v in text], name
    for name in DATES:
        assert (frame[name] != out[name]).all(), name
    assert not set(frame["zip"]) & set(out["zip"])
    for name in CLINICAL:
        assert out[name].equals(frame[name]), name


def test_default_drops_and_says_so():
    frame = hospital(120)
    result = run(frame)
    assert set(result.frame.columns) == {"zip", "birth_date", *DATES, "age", *CLINICAL}
    listed = actions(result)
    assert set(listed) == set(EXPECTED)
    assert {str(a.identifier_class) for a in listed.values()} == set(EXPECTED.values())
    assert all(a.cells == 120 for n, a in listed.items() if a.action == "drop")
    assert listed["age"].cells == sum(int(a) > 90 for a in frame["age"])
    assert [d.column for d in result.detections] == list(listed)
    assert result.rows()[0] == {
        "column": "patient_id",
        "class": "(H) medical record numbers",
        "evidence": "name, uniqueness",
        "action": "drop",
        "cells": 120,
        "note": "",
    }


def test_equal_originals_get_equal_replacements():
    frame = hospital(90, per_patient=3)
    result = run(frame, unit="patient_id", identifiers="replace")
    for name in SECRET:
        pairs = pl.DataFrame({"old": frame[name], "new": result.frame[name]}).unique()
        assert pairs["old"].n_unique() == pairs.height == pairs["new"].n_unique(), name
    assert result.frame["patient_id"].str.contains(r"^P\d{8}$").all()
    assert result.frame["ssn"].str.contains(r"^9\d\d-\d\d-\d{4}$").all()
    assert result.frame["phone"].str.contains(r"-555-01\d\d$").all()
    assert result.frame["e-mail"].str.ends_with("@example.org").all()
    assert result.frame["mrn"].str.contains(r"^[A-Z]{2}-\d{8}$").all()


def test_intervals_of_a_patient_are_kept_to_the_second():
    frame = hospital(90, per_patient=3)
    result = run(frame, unit="patient_id")
    fmt = "%Y-%m-%d %H:%M:%S"
    old = frame.select(pl.col(*DATES).str.to_datetime(fmt))
    new = result.frame.select(pl.col(*DATES).str.to_datetime(fmt))
    stay = [f["discharged"] - f["admitted"] for f in (old, new)]
    assert stay[0].equals(stay[1])
    shift = (new["admitted"] - old["admitted"]).dt.total_days()
    assert shift.is_between(-182, 182).all()
    assert (shift != 0).all()
    by_patient = pl.DataFrame({"p": frame["patient_id"], "s": shift}).group_by("p").n_unique()
    assert (by_patient["s"] == 1).all()
    assert shift.n_unique() > 15


def test_without_a_patient_id_each_row_is_moved_by_itself():
    result = run(hospital(60, per_patient=3))
    assert "no patient id" in actions(result)["admitted"].note


def test_deterministic_given_the_generator():
    frame = hospital(50)
    first = run(frame, identifiers="replace", unit="patient_id", seed=5)
    again = run(frame, identifiers="replace", unit="patient_id", seed=5)
    other = run(frame, identifiers="replace", unit="patient_id", seed=6)
    assert first.frame.equals(again.frame)
    assert first.actions == again.actions
    assert not first.frame.equals(other.frame)
    assert not deidentify(frame).frame.equals(deidentify(frame).frame), "a secret seed by default"


def test_twice_is_once_but_for_dates():
    frame = hospital(60)
    once = run(frame, dates="year").frame
    twice = run(once, dates="year").frame
    assert once.equals(twice)


def test_heart_table_is_left_alone():
    frame = pl.read_csv(heart_disease_path(), infer_schema=False)
    schema = heart_disease_schema(target="num")
    result = run(frame, schema)
    assert result.frame.equals(frame)
    assert result.actions == ()
    assert result.schema == schema


def test_ages_are_top_coded():
    frame = pl.DataFrame({"age": ["89", "90", "104.5", "", "NA", None, "17"]})
    result = run(frame)
    assert result.frame["age"].to_list() == ["89", "90", "90", "", "NA", None, "17"]
    assert actions(result)["age"].cells == 1


def test_zip_codes():
    frame = pl.DataFrame({"zip": ["02139", "03601", "2139", "10001-1234", "100011234", "", "x1"]})
    result = run(frame)
    assert result.frame["zip"].to_list() == ["021", "000", "021", "100", "100", "", None]
    assert len(SMALL_ZIP3) == 17
    assert run(result.frame).frame["zip"].to_list() == result.frame["zip"].to_list()


def test_postcodes_of_other_countries_are_dropped():
    assert run(pl.DataFrame({"postcode": ["SW1A 1AA", "M1 1AE"]})).frame.width == 0
    assert run(pl.DataFrame({"PLZ": ["10115", "80331"]})).frame.width == 0


@pytest.mark.parametrize(
    "date",
    [
        *("2020-02-28", "28.02.2020", "28/02/2020", "02/28/2020", "28-Feb-2020", "20200228"),
        *("February 28, 2020", "28/2/20", "2020-02-28T23:59:59.123+02:00", "28 Feb 2020 7:05 PM"),
    ],
)
def test_shifted_dates_are_written_as_they_came(date):
    out = run(pl.DataFrame({"visit": [date]}), max_shift_days=1).frame["visit"][0]
    expected = {27: date.replace("28", "27", 1), 29: date.replace("28", "29", 1)}
    assert out in expected.values()


def test_ambiguous_dates_keep_their_year_only():
    frame = pl.DataFrame({"visit": ["01/02/2020", "03/04/2021"]})
    result = run(frame)
    assert result.frame["visit"].to_list() == ["2020", "2021"]
    assert "day and month" in actions(result)["visit"].note
    schema = schema_from_dict({"fields": [{"name": "visit", "type": "date", "format": "%m/%d/%Y"}]})
    assert actions(run(frame, schema))["visit"].action == "offset"


def test_dates_that_cannot_be_shifted():
    frame = pl.DataFrame({"seen": ["12 janvier 2020", "3 mars 2021"], "m": ["2020-05", "2021-06"]})
    assert run(frame).frame.to_dict(as_series=False) == {
        "seen": ["2020", "2021"],
        "m": ["2020", "2021"],
    }
    serial = pl.DataFrame({"birth_date": ["20815", "31022"]})
    assert run(serial).frame.width == 0


def test_unreadable_dates_become_missing():
    values = [f"2020-01-{d:02d}" for d in range(1, 20)] + ["Anna", ""]
    out = run(pl.DataFrame({"visit": values})).frame["visit"]
    assert out[-2] is None
    assert out[-1] == ""


def test_births_that_tell_an_age_above_89():
    frame = pl.DataFrame(
        {
            "dob": ["1920-05-01", "1960-05-01", "1844-01-01"],
            "admitted": ["2015-03-02", "2015-03-02", "2144-03-02"],
        }
    )
    shifted = run(frame, max_shift_days=2).frame["dob"]
    assert shifted[0] == "1925-01-01"
    assert shifted[1].startswith("1960-0")
    assert shifted[2] == "2054-01-01"
    assert run(frame, dates="year").frame["dob"].to_list() == ["1925", "1960", "2054"]
    alone = frame.select("dob").head(2)
    assert run(alone, reference_year=2015, dates="year").frame["dob"].to_list() == ["1925", "1960"]
    capped = [a for a in run(frame).actions if a.action == "topcode"]
    assert [(a.column, a.cells) for a in capped] == [("dob", 2)]


def test_free_text_is_refused_without_showing_it():
    notes = [f"Mrs Smith {i} was seen on the ward by Dr Jones" for i in range(20)]
    frame = pl.DataFrame({"chol": ["200"] * 20, "remarks": notes})
    with pytest.raises(IdentifierError) as caught:
        run(frame)
    assert "'remarks' (20 cells)" in str(caught.value)
    assert "Smith" not in str(caught.value)
    assert caught.value.exit_code == 3
    for settings_ in ({"drop_free_text": True}, {"overrides": {"remarks": "drop"}}):
        result = run(frame, **settings_)
        assert result.frame.columns == ["chol"]
        assert (result.actions[0].action, result.actions[0].cells) == ("drop", 20)


def test_notes_with_one_address_are_still_free_text():
    notes = ["the patient came in with a cough today"] * 10 + [
        "write to the son at a.b@example.org"
    ]
    frame = pl.DataFrame({"remarks": notes})
    with pytest.raises(IdentifierError):
        run(frame)
    assert run(frame, drop_free_text=True).frame.width == 0


def test_a_stray_address_is_blanked_and_the_rest_kept():
    frame = pl.DataFrame({"chol": ["210"] * 50 + ["anna.b@example.org"]})
    result = run(frame)
    assert result.frame["chol"].to_list() == ["210"] * 50 + [None]
    assert (result.actions[0].action, result.actions[0].cells) == ("blank", 1)


def test_overrides():
    frame = hospital(40)
    result = run(
        frame,
        overrides={
            "mrn": Override("keep", "assigned for this study"),
            "city": "replace",
            "admitted": "year",
            "ward": "drop",
            "zip": "drop",
            "bmi": Override("replace"),
        },
    )
    listed = actions(result)
    assert result.frame["mrn"].equals(frame["mrn"])
    assert (listed["mrn"].cells, listed["mrn"].note) == (0, "assigned for this study")
    assert not set(result.frame["city"]) & set(frame["city"])
    assert result.frame["admitted"].str.contains(r"^\d{4}$").all()
    assert {"ward", "zip"}.isdisjoint(result.frame.columns)
    assert listed["ward"].identifier_class is None
    assert listed["ward"].evidence == ()
    assert not set(result.frame["bmi"]) & set(frame["bmi"])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"overrides": {"mrn": "keep"}}, "only with a reason"),
        ({"overrides": {"mrn": "shred"}}, "no action 'shred'"),
        ({"overrides": {"nobody": "drop"}}, "no column 'nobody'"),
        ({"unit": "nobody"}, "no column 'nobody'"),
        ({"overrides": {"sex": "year"}}, "'sex' holds no dates"),
        ({"overrides": {"sex": "topcode"}}, "'sex' holds no numbers"),
        ({"dates": "month"}, "dates must be one of"),
        ({"identifiers": "hash"}, "identifiers must be one of"),
        ({"max_shift_days": 0}, "at least 1"),
        ({"identifiers": "replace", "locale": "xx_YY"}, "no locale"),
    ],
)
def test_wrong_settings(settings_, message):
    with pytest.raises(UsageError, match=message):
        run(hospital(5), **settings_)


def test_the_patient_id_is_replaced_never_dropped():
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "who", "type": "integer", "pegai": {"role": "identifier"}},
                {"name": "chol", "type": "integer"},
            ],
            "pegai": {"unit": "who", "max_rows_per_unit": 2},
        }
    )
    frame = pl.DataFrame({"who": ["7", "7", "8", ""], "chol": ["1", "2", "3", "4"]})
    result = run(frame, schema)
    codes = result.frame["who"]
    assert codes[0] == codes[1] != codes[2]
    assert codes[3] == ""
    assert codes.head(3).str.contains(r"^[1-9]\d{7}$").all()
    assert result.schema.unit == "who"
    typed = frame.with_columns(pl.col("who").cast(pl.Int64, strict=False))
    assert run(typed, schema).frame["who"].dtype == pl.Int64


def test_the_schema_follows():
    date = {"type": "date", "constraints": {"minimum": "2020-01-01", "maximum": "2021-12-31"}}
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "ssn", "type": "string", "pegai": {"role": "identifier"}},
                {"name": "mrn", "type": "string"},
                {"name": "seen", **date},
                {"name": "died", **date},
                {"name": "zip", "type": "string"},
                {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120}},
                {"name": "chol", "type": "number"},
            ]
        }
    )
    frame = pl.DataFrame(
        {
            "ssn": ["123-45-6789"],
            "mrn": ["MR1"],
            "seen": ["2020-03-01"],
            "died": ["2021-01-05"],
            "zip": ["02139"],
            "age": ["93"],
            "chol": ["1.50"],
        }
    )
    result = run(frame, schema, overrides={"mrn": "replace", "died": "year"})
    after = result.schema
    assert after.names == result.frame.columns == ["mrn", "seen", "died", "zip", "age", "chol"]
    assert after["mrn"].role == "identifier"
    assert after["seen"].constraints.minimum == "2019-07-03"
    assert after["seen"].constraints.maximum == "2022-07-01"
    assert (after["died"].type, after["died"].minimum, after["died"].maximum) == (
        "integer",
        2020,
        2021,
    )
    assert after["age"].maximum == 90
    assert after["chol"] == schema["chol"]
    assert result.frame["chol"].to_list() == ["1.50"]


def test_typed_columns_keep_their_type():
    frame = pl.DataFrame(
        {
            "seen": [dt.date(2020, 3, 1), None],
            "at": [dt.datetime(2020, 3, 1, 12, 30), dt.datetime(2020, 3, 2, 1, 1, 1, 5)],
            "utc": pl.Series([dt.datetime(2020, 3, 1, 12, 30)] * 2).dt.replace_time_zone("UTC"),
            "age": [95, 20],
            "chol": [1.5, None],
        }
    )
    result = run(frame)
    assert result.frame.schema == frame.schema
    assert result.frame["seen"][0] != frame["seen"][0]
    assert result.frame["at"].dt.time().equals(frame["at"].dt.time())
    assert result.frame["utc"].dt.time().equals(frame["utc"].dt.time())
    assert result.frame["age"].to_list() == [90, 20]
    assert result.frame["chol"].equals(frame["chol"])


@pytest.mark.parametrize("identifiers", ["drop", "replace"])
def test_edge_tables(identifiers):
    empty = hospital(3).clear()
    result = run(empty, identifiers=identifiers, unit="patient_id")
    assert result.frame.height == 0
    blank = hospital(3).with_columns(pl.lit(None, dtype=pl.String).alias(n) for n in EXPECTED)
    result = run(blank, identifiers=identifiers, unit="patient_id")
    assert all(a.cells == 0 for a in result.actions)
    assert run(hospital(1), identifiers=identifiers).frame.height == 1
    constant = pl.DataFrame({"mrn": ["A1"] * 30, "phone": ["617-555-0101"] * 30, "x": ["1"] * 30})
    result = run(constant, identifiers=identifiers)
    assert result.frame["x"].equals(constant["x"])
    assert run(pl.DataFrame()).frame.shape == (0, 0)


def test_replacements_of_a_crowded_space_stay_different():
    frame = pl.DataFrame({"ward_badge_id": [f"{i:03d}" for i in range(1000)]})
    new = run(frame, identifiers="replace").frame["ward_badge_id"]
    assert new.n_unique() == 1000
    assert not set(new) & set(frame["ward_badge_id"])


def test_many_names_stay_different():
    first = [f"Anna{chr(97 + i % 26)}" for i in range(3000)]
    frame = pl.DataFrame({"name": [f"{f}{i}" for i, f in enumerate(first)], "x": ["1"] * 3000})
    new = run(frame, identifiers="replace").frame["name"]
    assert new.n_unique() == 3000


def test_missing_marks_stay():
    schema = schema_from_dict(
        {"fields": [{"name": "mrn", "type": "string"}], "missingValues": ["", "n.b."]}
    )
    frame = pl.DataFrame({"mrn": ["MR17", " n.b.", "?", None, "MR18 "]})
    out = run(frame, schema, overrides={"mrn": "replace"}).frame["mrn"]
    assert out.to_list()[1:4] == [" n.b.", "?", None]
    assert {out[0], out[4]}.isdisjoint({"MR17", "MR18 "})
