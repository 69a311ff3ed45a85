"""From bytes to the table a private fit sees: one patient more changes nothing in the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pegai.errors import DataError, IdentifierError
from pegai.workflow.config import config_from_dict
from pegai.workflow.run import Prepared, prepare

SCHEMA: dict[str, Any] = {
    "fields": [
        {"name": "mrn", "type": "string", "pegai": {"role": "identifier", "source": "expert"}},
        {
            "name": "age",
            "type": "integer",
            "constraints": {"minimum": 18, "maximum": 90},
            "pegai": {"source": "expert"},
        },
        {
            "name": "dose",
            "type": "number",
            "constraints": {"minimum": 0, "maximum": 99},
            "pegai": {"source": "expert", "decimals": 1},
        },
        {
            "name": "sex",
            "type": "string",
            "categories": ["männlich", "weiblich"],
            "pegai": {"source": "standard"},
        },
        {
            "name": "seen",
            "type": "date",
            "constraints": {"minimum": "2020-01-01", "maximum": "2024-12-31"},
            "pegai": {"source": "expert"},
        },
        {"name": "note", "type": "string", "pegai": {"source": "expert"}},
    ],
    "pegai": {"dataset": "ward", "unit": "mrn", "max_rows_per_unit": 9},
}
HEAD = "mrn,age,dose,sex,seen,note"
ROWS = [
    f"P{i:03d},{30 + i % 50},{i % 9}.5,{'männlich' if i % 2 else 'weiblich'},2021-0{1 + i % 9}-11,x"
    for i in range(80)
]


def prepared(folder: Path, rows: list[str], **data: Any) -> Prepared:
    folder.mkdir()
    (folder / "p.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    (folder / "s.json").write_text(json.dumps(SCHEMA))
    raw = {
        "data": {"path": "p.csv", "schema": "s.json", **data},
        "deidentify": {"drop_free_text": True},
        "fit": [{"method": "independent", "epsilon": 1.0, "delta": 1e-5}],
    }
    return prepare(config_from_dict(raw).below(folder))


ODD = {
    "dates beyond": "P999,50,1.0,weiblich,2099-12-31,x",
    "another date format": "P999,50,1.0,weiblich,31/12/2021,x",
    "decimal comma": 'P999,50,"1,5",weiblich,2021-01-01,x',
    "text in a number": "P999,old,many,zebra,never,x",
    "out of range": "P999,40,1e300,weiblich,1800-01-01,x",
    "everything missing": "P999,,,,,",
    "a delimiter and a newline": 'P999,50,1.0,weiblich,2021-01-01,"a;b|c\n;;;"',
    "an e-mail in a note": "P999,50,1.0,weiblich,2021-01-01,a@b.org",
}


@pytest.mark.parametrize("case", list(ODD))
def test_one_patient_more_changes_nothing_in_the_others(case: str, tmp_path: Path) -> None:
    before = prepared(tmp_path / "a", ROWS)
    after = prepared(tmp_path / "b", [*ROWS, ODD[case]])
    assert after.train.schema == before.train.schema
    for a, b in ((before.train, after.train), (before.holdout, after.holdout)):
        others = b.frame.filter(pl.col("mrn") != "P999")
        assert others.equals(a.frame)


def test_fifty_rows_without_a_patient_are_left_out(tmp_path: Path) -> None:
    before = prepared(tmp_path / "a", ROWS)
    after = prepared(tmp_path / "b", [*ROWS, *[",50,1.0,weiblich,2021-01-01,x"] * 50])
    assert after.train.frame.equals(before.train.frame)


def test_free_text_is_dropped_by_the_schema_and_kept_out_otherwise(tmp_path: Path) -> None:
    found = prepared(tmp_path / "a", ROWS)
    assert "note" not in found.train.schema
    assert found.cleaned.actions is not None
    assert [row["column"] for row in found.cleaned.actions] == ["note"]


@pytest.mark.parametrize("action", ["offset", "year", "topcode", "replace"])
def test_treatments_that_read_a_column_are_refused(action: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("\n".join([HEAD, *ROWS]))
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    raw = {
        "data": {"path": "p.csv", "schema": "s.json"},
        "deidentify": {"drop_free_text": True, "columns": {"seen": action}},
        "fit": [{"method": "independent", "epsilon": 1.0, "delta": 1e-5}],
    }
    with pytest.raises(IdentifierError, match="kept or dropped"):
        prepare(config_from_dict(raw).below(tmp_path))
    raw["deidentify"]["columns"] = {"mrn": "drop"}
    with pytest.raises(IdentifierError, match="whose rows are whose"):
        prepare(config_from_dict(raw).below(tmp_path))


def test_another_encoding_has_to_be_said(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("\n".join([HEAD, *ROWS]).encode("cp1252"))
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    raw: dict[str, Any] = {
        "data": {"path": "p.csv", "schema": "s.json"},
        "deidentify": {"drop_free_text": True},
        "fit": [{"method": "independent", "epsilon": 1.0, "delta": 1e-5}],
    }
    with pytest.raises(DataError):
        prepare(config_from_dict(raw).below(tmp_path))
    raw["data"]["encoding"] = "cp1252"
    found = prepare(config_from_dict(raw).below(tmp_path))
    assert set(found.train.frame["sex"]) == {"männlich", "weiblich"}
