"""Command lines in the folder of a small clinic, through the door that users take."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pegai.cli import main

from .clinic import write_clinic


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        lines = self.out.splitlines()
        assert len(lines) == 1, f"one JSON object wanted, got {len(lines)} lines"
        return json.loads(self.out)


@pytest.fixture
def pegai(clinic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in the clinic's folder, through the door that users take."""
    monkeypatch.chdir(clinic)
    monkeypatch.delenv("PEGAI_LEDGER", raising=False)

    def call(line: str, *more: str) -> Outcome:
        capsys.readouterr()
        code = main.run(shlex.split(" ".join([line, *more])))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder with patients.csv, its public schema.json and quick.toml."""
    write_clinic(tmp_path)
    return tmp_path
