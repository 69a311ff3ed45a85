from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pegai.audit.artefacts import scan
from pegai.audit.neighbours import audit_schema, base_table
from pegai.audit.suite import QUICK
from pegai.data.table import Table
from pegai.privacy.guarantee import Privacy
from pegai.synth.catalog import PRIVATE, make

PATIENTS = 137


@pytest.fixture
def table() -> Table:
    return base_table(audit_schema(), PATIENTS)


def saved(name: str, table: Table, place: Path) -> Path:
    privacy = Privacy(1.0, 1e-5, ledger=place / "ledger.jsonl")
    make(name, QUICK.get(name)).fit(table, privacy=privacy).save(place / "model")
    return place / "model"


@pytest.mark.parametrize("name", PRIVATE)
def test_what_methods_write_is_clean(name: str, table: Table, tmp_path: Path) -> None:
    assert scan(saved(name, table, tmp_path), table) == []


def set_state(value: Any) -> Callable[[Path, Table], None]:
    def change(folder: Path, table: Table) -> None:
        path = folder / "model.json"
        content = json.loads(path.read_text())
        content["state"]["more"] = value(table) if callable(value) else value
        path.write_text(json.dumps(content))

    return change


def add_file(folder: Path, table: Table) -> None:
    (folder / "log.txt").write_text("")


def add_part(folder: Path, table: Table) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": 1}))


def add_weights(folder: Path, table: Table) -> None:
    value = table.numbers("at")
    with (folder / "weights.safetensors").open("ab") as file:
        file.write(np.float64(value[np.isfinite(value)][0]).tobytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_state(lambda t: t.frame["patient_id"][3]), "'patient_id' stand"),
        (set_state(lambda t: float(np.nanmax(t.numbers("at")))), "'at' stand"),
        (set_state({"n": PATIENTS}), "exact number of patients"),
        (set_state({"noise_seed": 7}), "a seed"),
        (set_state("/home/x/data.csv"), "a path"),
        (set_state("2026-01-01T10:00:00.123"), "finer than a second"),
        (add_file, "log.txt"),
        (add_part, "a part that no method writes: rows"),
        (add_weights, "'at' stand"),
    ],
)
def test_what_should_not_be_there_is_found(
    change: Callable[[Path, Table], None], message: str, table: Table, tmp_path: Path
) -> None:
    folder = saved("independent", table, tmp_path)
    change(folder, table)
    found = scan(folder, table)
    assert any(message in f.what for f in found)
    assert all(str(v) not in f.what for f in found for v in table.frame["patient_id"])


def test_without_a_table_the_traces_are_still_found(table: Table, tmp_path: Path) -> None:
    folder = saved("independent", table, tmp_path)
    assert scan(folder) == []
    add_file(folder, table)
    assert len(scan(folder)) == 1
