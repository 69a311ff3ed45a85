"""What a table and its schema are after de-identification: types, bounds and roles."""

from __future__ import annotations

import datetime as dt

import polars as pl

from pegai.data.deidentify.plan import Step
from pegai.data.deidentify.treatments import OLDEST
from pegai.schema import Column, Constraints, Schema


def restore_type(text: pl.Series, before: pl.Series, step: Step) -> pl.Series:
    """The treated text in the type the column came with, or as text where it no longer fits."""
    if before.dtype == pl.String:
        return text
    if step.action == "year":
        return text.cast(pl.Int64, strict=False)
    if before.dtype == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(before.dtype, pl.Datetime):
        zone = before.dtype.time_zone
        plain = text.str.replace(r"(Z|UTC|[+-]\d{2}:?\d{2})$", "")
        moment = plain.str.to_datetime(strict=False, time_unit=before.dtype.time_unit)
        if zone is None:
            return moment
        return moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    back = text.cast(before.dtype, strict=False)
    return back if back.null_count() == text.null_count() else text


def schema_after(
    schema: Schema, frame: pl.DataFrame, steps: list[Step], *, max_shift_days: int
) -> Schema:
    """The schema of the table after the steps; its bounds are widened by what was done."""
    by_name = {step.column: step for step in steps}
    kept = [column for column in schema.columns if column.name in frame.columns]
    return schema.replace_columns(
        tuple(_column_after(c, by_name.get(c.name), max_shift_days=max_shift_days) for c in kept)
    )


def _column_after(column: Column, step: Step | None, *, max_shift_days: int) -> Column:
    if step is None:
        return column
    if step.action == "topcode":
        return _top_coded(column)
    if step.action == "year":
        return _year(column)
    if step.action == "zip3":
        return column.model_copy(
            update={"type": "string", "categories": None, "constraints": Constraints()}
        )
    if step.action == "offset":
        return _shifted(column, max_shift_days)
    if step.action == "replace":
        return column.model_copy(
            update={
                "categories": None,
                "constraints": Constraints(required=column.constraints.required),
                "pegai": column.pegai.model_copy(update={"role": "identifier"}),
                **({} if column.type in ("integer", "string") else {"type": "string"}),
            }
        )
    return column


def _top_coded(column: Column) -> Column:
    limits = column.constraints
    top = OLDEST + 1
    if column.type not in ("integer", "number") or column.categories is not None:
        return column
    if column.maximum is not None and column.maximum <= top:
        return column
    return column.model_copy(update={"constraints": limits.model_copy(update={"maximum": top})})


def _year(column: Column) -> Column:
    limits = column.constraints
    bounds = [None if b is None else int(str(b)[:4]) for b in (limits.minimum, limits.maximum)]
    years = limits.model_copy(update={"minimum": bounds[0], "maximum": bounds[1], "unique": False})
    return column.model_copy(update={"type": "integer", "format": None, "constraints": years})


def _shifted(column: Column, max_shift_days: int) -> Column:
    if column.type not in ("date", "datetime"):
        return column
    limits = column.constraints
    days = dt.timedelta(days=max_shift_days)
    wider = {
        "minimum": _moved(limits.minimum, -days),
        "maximum": _moved(limits.maximum, days),
    }
    return column.model_copy(update={"constraints": limits.model_copy(update=wider)})


def _moved(bound: int | float | str | None, days: dt.timedelta) -> str | None:
    if bound is None:
        return None
    moment = dt.datetime.fromisoformat(str(bound)) + days
    return moment.date().isoformat() if len(str(bound)) == 10 else moment.isoformat()
