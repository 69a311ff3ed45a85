"""`pegai evaluate --policy`, `release`, `verify`, `keygen`, `policy` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pegai as api
from pegai.data.files import write_table
from pegai.data.table import Table
from pegai.schema import write_schema

FILES = "--train train.csv --holdout holdout.csv -s heart.json"
EVALUATE = f"evaluate {FILES} --tier quick --json --quiet"


@pytest.fixture
def hearts(clinic: Path) -> Path:
    """Patients to learn from, patients held out, and three tables that claim to be synthetic."""
    table = api.datasets.load_heart_disease()
    order = np.random.default_rng(0).permutation(len(table))
    frame = table.frame[order]
    train, fresh = frame[:260], frame[440:660]
    parts = {
        "train": train,
        "holdout": frame[260:440],
        "copy": train,
        "planted": pl.concat([fresh, train[:13]]),  # a twentieth of the training rows
        "fresh": fresh,
    }
    for name, part in parts.items():
        write_table(Table(part, table.schema), clinic / f"{name}.csv")
    write_schema(table.schema, clinic / "heart.json")
    return clinic


@pytest.mark.parametrize(
    ("name", "code"), [("copy", 1), ("planted", 1), ("fresh", 0)], ids=["copy", "planted", "fresh"]
)
def test_leaks_exit_1_and_are_written_all_the_same(pegai, hearts, name, code):
    done = pegai(EVALUATE, f"--synthetic {name}.csv -o out")
    assert done.code == code
    assert (done.json["verdict"] == "DO NOT RELEASE") == bool(code)
    assert (hearts / "out" / "report.html").exists()
    released = pegai(
        f"release --data {name}.csv -s heart.json --report out/report.json -o bundle --json"
    )
    assert released.code == code
    assert released.json["approved"] == (code == 0)
    assert (hearts / "bundle" / "synthetic.csv").exists()
    assert pegai("verify bundle --json").code == code


def test_a_policy_file_decides(pegai, hearts):
    assert pegai("policy show controlled-2 -o ours.toml").code == 0
    text = (hearts / "ours.toml").read_text(encoding="utf-8")
    text = text.replace('"controlled-2"', '"ours-1"')
    blind = 'required = ["linkability", "singling_out", "instrument_check"]'
    (hearts / "ours.toml").write_text(text.replace("required = []", blind), encoding="utf-8")
    done = pegai(EVALUATE, "--synthetic fresh.csv -o out --policy ours.toml")
    twin = json.loads((hearts / "out" / "report.json").read_text(encoding="utf-8"))
    assert twin["policy"]["name"] == "ours-1"
    assert "--policy ours.toml" in twin["commands"][0]
    assert done.code == (done.json["verdict"] == "DO NOT RELEASE")
    wrong = pegai(EVALUATE, "--synthetic fresh.csv -o other --policy nothing")
    assert wrong.code == 2 and "no such policy" in wrong.json["error"]["message"]
    assert not (hearts / "other").exists()


def test_policies_are_listed_and_shown(pegai):
    found = pegai("policy list --json").json["policies"]
    assert [p["name"] for p in found if p["default"]] == ["public-2"]
    assert "max_epsilon = 3.0" in pegai("policy show public-2").out
    assert pegai("policy show nothing").code == 2


def test_keys_are_made_once(pegai, clinic):
    done = pegai("keygen house.key --json")
    assert done.code == 0 and done.json["fingerprint"].startswith("SHA256:")
    assert pegai("keygen house.key").code == 2
    assert (clinic / "house.key").stat().st_mode & 0o077 == 0


def test_a_release_needs_its_parts(pegai, clinic):
    assert "--report" in pegai("release --data a.csv").err
    assert "no folder of a run" in pegai("release .").err
    assert pegai("verify nowhere").code == 2
