"""The release described for catalogues: plain ids, known types, and a reader that loads it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pegai.data.files import write_table
from pegai.data.table import Table
from pegai.report import DEFAULT_POLICY
from pegai.report.release import UNLICENSED, ReleaseContent, croissant
from pegai.schema import schema_from_dict

FIELDS = [
    {"name": "age", "type": "integer"},
    {"name": "column-3", "type": "number"},
    {"name": "Größe (cm)", "type": "number"},
    {"name": "a/b", "type": "boolean"},
    {"name": "a b", "type": "date"},
    {"name": "seen", "type": "datetime"},
    {"name": "sex", "type": "string", "categories": ["f", "m"]},
]
ROWS = 3


def table() -> Table:
    when = dt.datetime(2020, 1, 1, 3, 4, 5)
    columns = {
        "age": [61, None, 70],
        "column-3": [0.5, 1.5, None],
        "Größe (cm)": [170.0, 180.5, None],
        "a/b": [True, None, False],
        "a b": [dt.date(1950, 1, 2), None, dt.date(2000, 1, 1)],
        "seen": pl.Series([when, None, when], dtype=pl.Datetime("us")),
        "sex": ["f", None, "m"],
    }
    return Table(pl.DataFrame(columns), schema_from_dict({"fields": FIELDS}))


def description(name: str, content: bytes, **more: Any) -> str:
    release = ReleaseContent(
        title="Synthetic patients", created="2026-01-01T00:00:00Z", method="aim",
        schema=table().schema, rows=ROWS, guarantee=None, policy=DEFAULT_POLICY, **more,
    )  # fmt: skip
    digest = hashlib.sha256(content).hexdigest()
    return croissant(release, data_name=name, sha256=digest, size=len(content))


def test_ids_are_plain_and_unique_whatever_columns_are_called():
    fields = json.loads(description("synthetic.csv", b""))["recordSet"][0]["field"]
    ids = [field["@id"] for field in fields]
    assert all(re.fullmatch(r"rows/[A-Za-z0-9_.-]+", i) for i in ids)
    assert ids[:4] == ["rows/age", "rows/column-3", "rows/column-3-", "rows/column-4"]
    assert len(set(ids)) == len(ids)
    assert [field["name"] for field in fields] == [field["name"] for field in FIELDS]
    assert [f["source"]["extract"]["column"] for f in fields] == [f["name"] for f in FIELDS]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("synthetic.csv", "text/csv"),
        ("synthetic.csv.gz", "text/csv"),
        ("synthetic.txt", "text/csv"),
        ("synthetic.tsv", "text/tab-separated-values"),
        ("synthetic.parquet", "application/x-parquet"),
    ],
)
def test_the_type_of_the_file_is_one_that_readers_know(name, kind):
    (file,) = json.loads(description(name, b""))["distribution"]
    assert (file["encodingFormat"], file["contentUrl"]) == (kind, name)


def test_a_licence_is_never_made_up():
    assert json.loads(description("synthetic.csv", b""))["license"] == UNLICENSED
    assert json.loads(description("synthetic.csv", b"", license="CC-BY-4.0"))["license"] == (
        "CC-BY-4.0"
    )


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_the_reference_reader_loads_it_without_a_remark(tmp_path: Path, caplog, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the reader's own dependencies
        reader = pytest.importorskip("mlcroissant")
        data = tmp_path / f"synthetic{suffix}"
        write_table(table(), data)
        path = tmp_path / "croissant.json"
        path.write_text(description(data.name, data.read_bytes()), encoding="utf-8")
        caplog.set_level("WARNING")
        records = list(reader.Dataset(str(path)).records("rows"))
    assert not caplog.records
    assert len(records) == ROWS
    assert records[0]["rows/age"] == 61
    assert records[1]["rows/column-3-"] == 180.5
    assert records[2]["rows/sex"] == b"m"
    assert records[1]["rows/sex"] is None
