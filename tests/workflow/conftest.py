"""The clinic of the command line's tests, and run files on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HOME = Path(__file__).resolve().parents[1] / "cli" / "clinic.py"


@pytest.fixture(scope="session")
def clinic_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clinic_for_workflow", HOME)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clinic(tmp_path: Path, clinic_module: ModuleType) -> Path:
    """A folder with patients.csv, its public schema.json and run.toml."""
    clinic_module.write_clinic(tmp_path)
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    return tmp_path


RUN = """
jobs = 1

[data]
path = "patients.csv"
schema = "schema.json"
seed = 3

[deidentify.columns]
visit = "keep"
admitted = "keep"

[deidentify.reasons]
visit = "a month of one year, bounds in the schema"
admitted = "the same"

[[fit]]
name = "private"
method = "independent"
epsilon = 1.0
delta = 1e-3
replicates = 2
release = true

[[fit]]
name = "open"
method = "ctgan"
settings = { max_steps = 20 }

[output]
folder = "out"
rows = 60
ledger = "ledger.jsonl"
"""
