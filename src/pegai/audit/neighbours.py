"""Pairs of neighbouring tables of any schema: one patient more, as odd as patients can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.data.table import DTYPES, Table
from pegai.encode.datetimes import to_series
from pegai.schema import Column, Schema, schema_from_dict

PATIENTS = 60
MANY_PATIENTS = 3000
"""So many that counts stand far above the noise, and methods look more finely."""

UNIT = "patient_id"
FAR = 1e12
"""Out of every range."""

FIRST_ID, NEW_ID = 100_000, 999_999
"""Ids of one length: as text and as numbers the patient who is added comes last."""

TOO_MANY_ROWS = 40


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Two tables that differ by one patient.

    Attributes:
        name: What is odd about the patient.
        without: The table without them.
        with_one: The same rows, then theirs.
    """

    name: str
    without: Table
    with_one: Table


def audit_schema(*, by_patient: bool = True) -> Schema:
    """A schema of every kind of column.

    Args:
        by_patient: With a patient id, of whom there may be several rows, and a target; else each
            row is a patient, and no column is special.
    """

    def field(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "pegai": {"source": "expert"}, **more}

    def between(low: object, high: object) -> dict[str, Any]:
        return {"constraints": {"minimum": low, "maximum": high}}

    died = field("died", "integer", categories=[0, 1], constraints={"required": True})
    if by_patient:
        died["pegai"] = {"source": "expert", "role": "target"}
    dose = field("dose", "number", **between(0, 50))
    dose["pegai"] = {"source": "expert", "decimals": 1}
    return schema_from_dict(
        {
            "fields": [
                {"name": UNIT, "type": "string", "pegai": {"role": "identifier"}},
                field(
                    "age", "integer", constraints={"minimum": 0, "maximum": 110, "required": True}
                ),
                dose,
                field("sex", "string", categories=["f", "m"]),
                field("stage", "integer", categories=[1, 2, 3, 4], categoriesOrdered=True),
                field("ward", "string", categories=[f"w{i}" for i in range(20)]),
                field("smoker", "boolean"),
                field("seen", "date", **between("2020-01-01", "2024-12-31")),
                field("at", "datetime", **between("2020-01-01T00:00:00", "2024-12-31T23:59:59")),
                field("flat", "string", categories=["only"]),
                field("void", "number", **between(0, 1)),
                died,
            ],
            "pegai": {
                "dataset": "audit",
                "impossible": [{"sex": ["m"], "stage": [4, None]}],
                **({"unit": UNIT, "max_rows_per_unit": 8} if by_patient else {}),
            },
        }
    )


def base_table(schema: Schema, patients: int = PATIENTS, seed: int = 0) -> Table:
    """Random rows inside the schema's domain; a constant and an all-missing column where named."""
    rng = np.random.default_rng(seed)
    series = [_drawn(column, patients, rng, schema.unit) for column in schema.columns]
    return Table(pl.DataFrame(series), schema)


def _drawn(column: Column, n: int, rng: np.random.Generator, unit: str | None) -> pl.Series:
    dtype = DTYPES[column.type]
    if column.name == unit or column.role == "identifier":
        return pl.Series(column.name, range(FIRST_ID, FIRST_ID + n)).cast(pl.String).cast(dtype)
    if column.name == "void":
        return pl.Series(column.name, [None] * n, dtype=dtype)
    gone = rng.random(n) < (0.0 if column.constraints.required else 0.15)
    if column.is_discrete:
        levels = column.levels or ("false", "true")
        drawn = rng.choice(np.array(levels, dtype=object), n)
        texts = pl.Series(
            column.name, [None if g else str(t) for t, g in zip(drawn, gone, strict=True)]
        )
        return texts == "true" if column.type == "boolean" else texts.cast(dtype)
    low = 0.0 if column.minimum is None else column.minimum
    high = low + 100.0 if column.maximum is None else column.maximum
    numbers = np.where(gone, np.nan, np.round(rng.uniform(low, high, n)))
    return to_series(np.clip(numbers, low, high), column)


def neighbours(schema: Schema) -> Iterator[Neighbours]:
    """All pairs: each is one way in which a careless fit gives a patient away."""
    base = base_table(schema)
    numbers = [c.name for c in schema.modelled if c.is_numeric]
    floats = [c.name for c in schema.modelled if c.type == "number"]
    discrete = [c.name for c in schema.modelled if c.is_discrete and c.type != "boolean"]

    def plus(name: str, odd: dict[str, Any], rows: int = 1, table: Table = base) -> Neighbours:
        return Neighbours(name, table, with_patient(table, base, rows, odd))

    yield plus("a duplicate", {})
    yield plus("everything missing", {c.name: None for c in schema.modelled})
    yield plus("new categories", {n: _stranger(schema[n]) for n in discrete})
    yield plus("far above the range", {n: _far(schema[n], 1) for n in numbers})
    yield plus("far below the range", {n: _far(schema[n], -1) for n in numbers})
    yield plus("infinite", dict.fromkeys(floats, float("inf")))
    yield plus("not a number", dict.fromkeys(floats, float("nan")))
    yield plus("breaks constants", {n: _middle(schema[n]) for n in _constant(base)})
    yield plus("the only patient", {}, table=base.head(0))
    yield plus("the second patient", {}, table=base.head(1))
    yield plus("one of many", {}, table=base_table(schema, MANY_PATIENTS))
    for rule in schema.impossible[:1]:
        yield plus("impossible", {n: rule.texts(n)[0] for n in rule.columns})
    if schema.unit is not None:
        yield plus("many rows", {}, rows=schema.pegai.max_rows_per_unit)
        yield plus("more rows than declared", {}, rows=TOO_MANY_ROWS)
        yield plus("many rows without an id", {schema.unit: None}, rows=TOO_MANY_ROWS)


def with_patient(table: Table, base: Table, rows: int, odd: dict[str, Any]) -> Table:
    """The table and one patient more, whose rows are a row of `base` with odd values."""
    row = base.frame.slice(0, 1)
    schema = table.schema
    ids = [schema.unit, *(c.name for c in schema.columns if c.role == "identifier")]
    odd = {**{name: str(NEW_ID) for name in ids if name is not None}, **odd}
    changed = [pl.lit(v).cast(row.schema[k], strict=False).alias(k) for k, v in odd.items()]
    more = pl.concat([row.with_columns(changed)] * rows)
    return Table(pl.concat([table.frame, more]), schema)


def _constant(table: Table) -> list[str]:
    modelled = table.schema.modelled
    return [c.name for c in modelled if table.frame[c.name].drop_nulls().n_unique() < 2]


def _middle(column: Column) -> float | str | None:
    """A value of the domain, or missing where a constant's only level is all there is."""
    if column.is_discrete:
        return column.levels[-1] if len(column.levels) > 1 else None
    low, high = column.minimum or 0.0, column.maximum
    return low if high is None else (low + high) / 2


def _stranger(column: Column) -> str | int:
    return 10**6 if column.type == "integer" else "never seen"


def _far(column: Column, sign: int) -> float | int:
    if column.type in ("date", "datetime"):
        return sign * 40_000 if column.type == "date" else sign * 4_000_000_000_000_000
    return sign * FAR if column.type == "number" else sign * int(FAR)
