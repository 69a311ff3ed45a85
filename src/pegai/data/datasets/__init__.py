"""Bundled data: UCI Heart Disease, 920 patients of four hospitals, with a public schema.

The data are published (CC BY 4.0, see `ATTRIBUTION.md` beside the file), so examples and tests may
show their rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from pegai.data.table import DTYPES, Table
from pegai.errors import UsageError
from pegai.schema import Category, Column, Schema, read_schema

__all__ = ["SITES", "heart_disease_path", "heart_disease_schema", "load_heart_disease"]

SITES = ("cleveland", "hungarian", "switzerland", "va")
"""The hospitals, in the order of the file."""

Target = Literal["disease", "num"]

_HERE = Path(__file__).resolve().parent


def heart_disease_path() -> Path:
    """The bundled CSV file: 920 rows, `age` to `num` and `site`; an empty cell is missing."""
    return _HERE / "heart_disease.csv"


def heart_disease_schema(site: str | None = None, *, target: Target = "disease") -> Schema:
    """The public schema that fits `load_heart_disease(site, target=target)`.

    Args:
        site: One of `SITES`: the schema has no `site` column. None keeps it.
        target: `disease` makes `num` a yes-or-no category (whether num > 0); `num` keeps the five
            grades of the file.

    Raises:
        UsageError: The site or the target does not exist.
    """
    _check(site, target)
    schema = read_schema(_HERE / "heart_disease.schema.json")
    columns = schema.columns
    if target == "disease":
        columns = tuple(_binary(c) if c.name == "num" else c for c in columns)
    if site is not None:
        columns = tuple(c for c in columns if c.name != "site")
    return schema.replace_columns(columns)


def load_heart_disease(site: str | None = None, *, target: Target = "disease") -> Table:
    """The UCI Heart Disease table (doi:10.24432/C52P4X), one row a patient.

    Args:
        site: One of `SITES` for that hospital's rows, without the then constant `site` column
            (303, 294, 123 or 200 rows of 14 columns). None gives all 920 rows of 15 columns.
        target: `disease` (default) makes the target `num` 1 where the original is above 0, the
            question that all published work on these data asks; `num` keeps the grades 0 to 4.

    Returns:
        A table whose target is `num`; `age` and `sex` are quasi-identifiers.

    Raises:
        UsageError: The site or the target does not exist.

    Example:
        >>> table = load_heart_disease("cleveland")
        >>> len(table), table.schema.target.name
        (303, 'num')
    """
    schema = heart_disease_schema(site, target=target)
    full = heart_disease_schema(target="num")
    dtypes = {column.name: DTYPES[column.type] for column in full.columns}
    frame = pl.read_csv(heart_disease_path(), schema=dtypes)
    if site is not None:
        frame = frame.filter(pl.col("site") == site)
    if target == "disease":
        frame = frame.with_columns((pl.col("num") > 0).cast(pl.Int64))
    return Table(frame.select(schema.names), schema)


def _binary(column: Column) -> Column:
    categories = (
        Category(value=0, label="no disease"),
        Category(value=1, label="disease (num > 0)"),
    )
    changed = {
        "title": "Heart disease (num > 0)",
        "description": "Whether any major vessel is narrowed by more than 50 %: num > 0 in the "
        "original table, whose grades 1 to 4 are joined.",
        "categories": categories,
        "categories_ordered": False,
    }
    return column.model_copy(update=changed)


def _check(site: str | None, target: str) -> None:
    if site is not None and site not in SITES:
        raise UsageError(f"no site is called {site!r}", hint=f"the sites are {', '.join(SITES)}")
    if target not in ("disease", "num"):
        raise UsageError(f"no target is called {target!r}", hint="the targets are disease, num")
