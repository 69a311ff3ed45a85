"""A small clinic: several visits a patient, missing cells, every type; and its schema."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = "max_steps = 20\n\n[privacy]\nsteps = 5\nhidden = 8\n"
"""Settings of the conditional GAN that make it fast and worthless."""


def write_clinic(folder: Path, patients: int = 90) -> None:
    rng = np.random.default_rng(5)
    heads = ["mrn", "surname", "sex", "age", "smoker", "visit", "admitted", "ward", "crp", "died"]
    rows: list[list[object]] = []
    for patient in range(patients):
        sex, age = str(rng.choice(["F", "M"])), int(rng.integers(18, 90))
        for _ in range(int(rng.integers(1, 4))):
            day, hour = rng.integers(1, 29), rng.integers(0, 24)
            rows.append(
                [
                    f"{70_000_000 + 7919 * patient}",
                    f"Zyxname{patient}",
                    sex,
                    age,
                    str(rng.choice(["true", "false"])),
                    f"2023-03-{day:02d}",
                    f"2023-03-{day:02d}T{hour:02d}:30:00",
                    str(rng.choice(["icu", "onco", "cardio"])),
                    "" if rng.random() < 0.2 else f"{rng.gamma(2, 10):.1f}",
                    int(rng.random() < age / 100),
                ]
            )
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([heads, *rows])
    (folder / "schema.json").write_text(json.dumps(clinic_schema()), encoding="utf-8")
    (folder / "quick.toml").write_text(SETTINGS, encoding="utf-8")


def clinic_schema(source: str = "expert") -> dict[str, Any]:
    """The schema of the clinic; every bound and category from an expert."""

    def field(name: str, kind: str, **rest: Any) -> dict[str, Any]:
        privacy = {"source": source, **rest.pop("pegai", {})}
        return {"name": name, "type": kind, **rest, "pegai": privacy}

    def levels(*values: str) -> list[dict[str, str]]:
        return [{"value": value} for value in values]

    def between(low: Any, high: Any) -> dict[str, Any]:
        return {"minimum": low, "maximum": high}

    identifier = {"role": "identifier"}
    return {
        "fields": [
            field("mrn", "string", pegai=identifier),
            field("surname", "string", pegai=identifier),
            field("sex", "string", categories=levels("F", "M")),
            field("age", "integer", constraints=between(18, 90)),
            field("smoker", "boolean"),
            field("visit", "date", constraints=between("2022-01-01", "2024-12-31")),
            field(
                "admitted",
                "datetime",
                constraints=between("2022-01-01T00:00:00", "2024-12-31T00:00:00"),
            ),
            field("ward", "string", categories=levels("icu", "onco", "cardio")),
            field("crp", "number", constraints=between(0, 200), pegai={"decimals": 1}),
            field("died", "string", categories=levels("0", "1"), pegai={"role": "target"}),
        ],
        "pegai": {"dataset": "clinic", "unit": "mrn", "max_rows_per_unit": 3},
    }
