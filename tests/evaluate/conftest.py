"""Patients for the tests of the evaluation: mixed columns that depend on each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.baselines import RealBaselines, real_baselines
from pegai.schema import Schema, schema_from_dict

FIELDS = [
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 120}},
    {"name": "pressure", "type": "number", "pegai": {"decimals": 1}},
    {"name": "lab", "type": "number"},
    {"name": "visit", "type": "date"},
    {"name": "sex", "type": "string", "categories": ["f", "m"]},
    {"name": "ward", "type": "string", "categories": ["a", "b", "c", "d"]},
    {"name": "grade", "type": "integer", "categories": [1, 2, 3], "categoriesOrdered": True},
    {"name": "smoker", "type": "boolean"},
    {
        "name": "outcome",
        "type": "string",
        "categories": [{"value": "no", "label": "alive"}, {"value": "yes", "label": "dead"}],
        "pegai": {"role": "target"},
    },
]


def patients_schema() -> Schema:
    return schema_from_dict({"fields": FIELDS})


def make_patients(n: int, seed: int) -> Table:
    """n patients whose outcome depends on age, lab, grade and smoking; labs missing with cause."""
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 12, n).round().clip(20, 95)
    male = rng.random(n) < 0.6
    smoker = rng.random(n) < np.where(male, 0.4, 0.2)
    grade = 1 + (rng.random((n, 2)) < ((age - 20) / 90)[:, None]).sum(axis=1)
    pressure = (100 + 0.5 * age + 5 * grade + rng.normal(0, 9, n)).round(1)
    lab = np.exp(rng.normal(0, 0.5, n) + 0.3 * smoker + 0.2 * grade).round(3)
    ward = np.array(list("abcd"))[np.minimum(3, (grade - 1) + (rng.random(n) < 0.3))]
    logit = 0.08 * (age - 60) + 1.2 * (grade - 2) + 1.0 * smoker + 0.6 * (lab - 1.8) - 0.3
    outcome = rng.random(n) < 1 / (1 + np.exp(-logit))
    absent = rng.random(n) < np.where(outcome, 0.3, 0.1)
    frame = pl.DataFrame(
        {
            "age": age.astype(np.int64),
            "pressure": pressure,
            "lab": pl.Series(np.where(absent, np.nan, lab)).fill_nan(None),
            "visit": pl.Series(18_000 + rng.integers(0, 900, n)).cast(pl.Int32).cast(pl.Date),
            "sex": np.where(male, "m", "f"),
            "ward": ward,
            "grade": grade.astype(np.int64),
            "smoker": smoker,
            "outcome": np.where(outcome, "yes", "no"),
        }
    )
    return Table(frame, patients_schema())


def shuffle_columns(table: Table, seed: int) -> Table:
    """Independent columns: every marginal kept, every dependence gone."""
    rng = np.random.default_rng(seed)
    n = len(table)
    columns = {name: table.frame[name].gather(rng.permutation(n)) for name in table.frame.columns}
    return Table(pl.DataFrame(columns), table.schema)


@pytest.fixture(scope="session")
def patients() -> Callable[[int, int], Table]:
    return make_patients


@pytest.fixture(scope="session")
def independent() -> Callable[[Table, int], Table]:
    return shuffle_columns


@pytest.fixture(scope="session")
def train() -> Table:
    return make_patients(260, 1)


@pytest.fixture(scope="session")
def holdout() -> Table:
    return make_patients(220, 2)


@pytest.fixture(scope="session")
def real(train: Table, holdout: Table) -> RealBaselines:
    return real_baselines(train, holdout, 0)
