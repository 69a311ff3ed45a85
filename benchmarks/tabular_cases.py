"""What `tabular.py` runs on: data sets, budgets, seeds, and which part of a suite each is in.

Adult is the split of UCI (32,561 training and 16,281 holdout rows), so that seeds only vary the
method; all other tables are split anew by every seed. The private Adult is the table on public bins
of `private_tables.py`, split 80/20.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from private_tables import ADULT, load_adult
from ranking import load_support2

import pegai
from pegai.data.conform import conform, table_from
from pegai.data.splits import Split, split
from pegai.data.table import Table
from pegai.schema import Column, Schema, infer, schema_from_dict
from pegai.streams import Streams

Purpose = Literal["scores", "wide", "speed"]
Folders = dict[str, Path]

MANY_ROWS = 1_000
"""Tables above have fewer seeds and epochs for slow peers, where that is asked for."""

MILLION = 1_000_000
MILLION_METHODS = ("auto", "ctgan", "trees", "aim")
WIDE_ROWS, WIDE_COLUMNS, WIDE_LEVELS = 100_000, 200, 20_000
SPEED_EPOCHS = 4

EQUAL_ARCHITECTURE = {"latent": 128, "hidden": 256, "critic_steps": 1}
"""sdv-dev's documented defaults: a latent vector of 128, two hidden layers of 256, one step of the
critic for one of the generator. Left to itself pegai's critic takes up to four."""


@dataclass(frozen=True)
class Case:
    """A data set and what is asked of methods on it.

    Attributes:
        name: In results and targets.
        title: For people.
        data: Which table; see `LOADERS`.
        seeds: How many.
        purpose: Scores of synthetic rows, whether a wide table can be fitted at all, or the speed
            of CTGAN at one architecture.
        epsilon: The budget; None is a fit without privacy.
        delta: Of the budget.
        holdout: Share of the rows; None is a split that comes with the data.
        million: Whether a million rows are drawn from the first fit.
    """

    name: str
    title: str
    data: str
    seeds: int
    purpose: Purpose = "scores"
    epsilon: float | None = None
    delta: float = 1e-5
    holdout: float | None = 0.3
    million: bool = False


def suite(name: str, epsilon: float | None = None) -> tuple[Case, ...]:
    """The cases of `small` or `standard`; `epsilon` in place of each private case's own."""
    small = (
        Case("cleveland", "Cleveland heart disease, 303 patients", "cleveland", 5),
        Case(
            "hospitals-private",
            "Heart disease of four hospitals, 920 patients",
            "hospitals",
            5,
            epsilon=epsilon or 3.0,
            delta=1e-3,
        ),
    )
    if name == "small":
        return small
    return (
        *small,
        Case("adult", "Adult, 48,842 people", "adult", 3, holdout=None, million=True),
        Case("support2", "SUPPORT2, 9,105 seriously ill patients", "support2", 3),
        Case(
            "adult-private",
            "Adult on public bins, 48,842 people",
            "adult-binned",
            3,
            epsilon=epsilon or 1.0,
            holdout=0.2,
            million=True,
        ),
        Case("adult-epoch", "Adult, speed of one architecture", "adult", 1, "speed", holdout=None),
        Case("wide", "Made up: 100,000 rows, 200 columns", "wide", 1, "wide", holdout=None),
    )


def parts(case: Case, seed: int, folders: Folders) -> Split:
    """Training rows and holdout of a seed."""
    loaded = LOADERS[case.data](folders)
    if isinstance(loaded, Split):
        return loaded
    assert case.holdout is not None
    return split(loaded, holdout=case.holdout, rng=Streams(seed).get("split"))


def missing_folder(case: Case, folders: Folders) -> str:
    """The folder that a case needs and was not given; empty if none."""
    needed = {"adult": "adult", "adult-binned": "adult", "support2": "support2"}.get(case.data)
    return needed if needed and needed not in folders else ""


def adult(folders: Folders) -> Split:
    """UCI's own split, cells as they are: numbers, categories, `?` for missing."""
    sides = [_adult_file(folders["adult"] / name) for name in ("adult.data", "adult.test")]
    schema = infer(pl.concat(sides))
    return Split(*(conform(side, with_target(schema, "income")) for side in sides))


def _adult_file(path: Path) -> pl.DataFrame:
    rows = [
        line.strip().rstrip(".").split(", ")
        for line in path.read_text().splitlines()
        if line.count(",") == len(ADULT) - 1
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(ADULT, pl.String), orient="row")
    return frame.with_columns(pl.all().replace("?", None))


def support2(folders: Folders) -> Table:
    """47 columns; whether the patient died in hospital is the target."""
    table = load_support2(folders["support2"])
    return Table(table.frame, with_target(table.schema, "hospdead"))


def with_target(schema: Schema, name: str) -> Schema:
    """The same schema with a column as target."""

    def changed(column: Column) -> Column:
        keys = column.pegai.model_copy(update={"role": "target"})
        return column.model_copy(update={"pegai": keys}) if column.name == name else column

    return schema.replace_columns(tuple(changed(column) for column in schema.columns))


def wide(_: Folders) -> Split:
    """Columns that hang together through eight hidden factors; a tenth of the numbers is missing.

    100 numeric columns, 99 categorical ones of 2 to 40 levels, and a diagnosis of 20,000 levels
    whose frequencies fall as one over the rank. There is no holdout: nothing is scored.
    """
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(WIDE_ROWS, 8))
    columns: dict[str, pl.Series] = {}
    for i in range(WIDE_COLUMNS // 2):
        values = factors @ rng.normal(size=8) / 2 + rng.normal(size=WIDE_ROWS)
        values = np.clip(np.round(10 * values, 1), -100, 100)
        gone = rng.random(WIDE_ROWS) < 0.1
        columns[f"x{i:03d}"] = pl.Series(values).scatter(np.flatnonzero(gone), None)
    for i in range(WIDE_COLUMNS // 2 - 1):
        place = factors @ rng.normal(size=8) / 3 + rng.normal(size=WIDE_ROWS) / 2
        levels = int(rng.integers(2, 41))
        codes = np.clip((place + 2) / 4 * levels, 0, levels - 1).astype(int)
        columns[f"c{i:03d}"] = pl.Series([f"{c:02d}" for c in codes])
    shares = 1 / np.arange(1, WIDE_LEVELS + 1)
    codes = rng.choice(WIDE_LEVELS, size=WIDE_ROWS, p=shares / shares.sum())
    columns["diagnosis"] = pl.Series([f"D{c:05d}" for c in codes])
    frame = pl.DataFrame(columns)
    table = table_from(frame, _wide_schema(frame))
    return Split(table, table.take(np.arange(WIDE_ROWS) < 1))


def _wide_schema(frame: pl.DataFrame) -> Schema:
    fields: list[dict] = []
    for name in frame.columns:
        if name.startswith("x"):
            kind = {"type": "number", "constraints": {"minimum": -100, "maximum": 100}}
            fields.append({"name": name, **kind, "pegai": {"source": "expert", "decimals": 1}})
            continue
        size = WIDE_LEVELS if name == "diagnosis" else 40
        width = "D{:05d}" if name == "diagnosis" else "{:02d}"
        levels = [width.format(i) for i in range(size)]
        role = {"role": "target"} if name == "c000" else {}
        fields.append(
            {
                "name": name,
                "type": "string",
                "categories": levels,
                "pegai": {"source": "expert", **role},
            }
        )
    return schema_from_dict({"fields": fields, "pegai": {"dataset": "made-up-wide"}})


def _hospitals(_: Folders) -> Table:
    return pegai.datasets.load_heart_disease()


LOADERS: dict[str, Callable[[Folders], Table | Split]] = {
    "cleveland": lambda _: pegai.datasets.load_heart_disease("cleveland"),
    "hospitals": _hospitals,
    "adult": adult,
    "adult-binned": lambda folders: load_adult(folders["adult"]),
    "support2": support2,
    "wide": wide,
}
