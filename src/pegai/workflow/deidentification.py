"""The de-identification step of a run, with what the report says about it.

What detection finds is a fact about private data, and most treatments (a date format, a reference
year, whether a column holds dates at all) read a whole column, so that one patient could change how
the others are treated. Before a private fit, detection may therefore block, but decide nothing:
columns are dropped or kept by the schema and the run file, where a person put it, and cells stay as
they are. What is left of dates, ages and places is for the schema's bounds and bins. The refusal
itself is seen by the operator only, who sees the data too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pegai.data.deidentify import (
    Anonymity,
    Deidentified,
    DeidentifyConfig,
    Override,
    anonymity,
    deidentify,
    detect,
    lint,
)
from pegai.errors import IdentifierError, UsageError
from pegai.schema import Column, Schema
from pegai.streams import Streams
from pegai.workflow.config import DeidentifySection

OLDEST_AGE = 90
"""Ages over 89 count as 90 (45 CFR 164.514(b)(2)(i)(C)); encoders bound values by the schema."""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A table without direct identifiers.

    Attributes:
        frame: The table as text.
        schema: What fits it.
        actions: One row a column that was touched; None where the step was switched off.
        lint: Safe Harbor classes that the schema leaves open.
        anonymity_before: k, l, t before.
        anonymity_after: k, l, t afterwards.
    """

    frame: pl.DataFrame
    schema: Schema
    actions: list[dict[str, Any]] | None
    lint: list[dict[str, Any]] = field(default_factory=list)
    anonymity_before: dict[str, Any] = field(default_factory=dict)
    anonymity_after: dict[str, Any] = field(default_factory=dict)


def clean(
    frame: pl.DataFrame,
    schema: Schema,
    section: DeidentifySection,
    *,
    seed: int | None,
    private: bool,
) -> Cleaned:
    """De-identify a raw table for a run.

    Args:
        frame: As read, columns as text.
        schema: The schema of the raw table; columns it does not list are dropped.
        section: What the run file asks for.
        seed: Of shifts and fictitious values; None draws a secret one. Who knows it can undo the
            shifts. A private run shifts and replaces nothing.
        private: Whether any fit of the run is private.

    Raises:
        IdentifierError: There is free text; or, before a private fit, values of a modelled column
            look like identifiers and nobody said what is to be done.
    """
    listed = frame.select([name for name in schema.names if name in frame.columns])
    if not section.enabled:
        return Cleaned(listed, schema, None, lint_rows(schema))
    if private:
        return _clean_privately(listed, schema, section)
    overrides = {
        name: Override(action, section.reasons.get(name, "kept by the run file"))
        for name, action in section.columns.items()
    }
    config = DeidentifyConfig(
        dates=section.dates, overrides=overrides, drop_free_text=section.drop_free_text
    )
    found = deidentify(listed, schema, config=config, rng=_rng(seed))
    cleaned = found.schema or schema
    before, after = _before_after(listed, found.frame, schema, cleaned)
    return Cleaned(found.frame, cleaned, action_rows(found), lint_rows(cleaned), before, after)


def _rng(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else Streams(seed).child("deidentify").get("sample")


def _clean_privately(frame: pl.DataFrame, schema: Schema, section: DeidentifySection) -> Cleaned:
    """Drop and keep whole columns, by the schema and the run file alone."""
    _refuse_treatments(schema, section)
    dropped = {
        column.name: why
        for column in schema.columns
        if column.name != schema.unit and (why := _why_dropped(column, section))
    }
    kept = tuple(c for c in schema.columns if c.name not in dropped)
    cleaned = schema.replace_columns(kept)
    left = frame.drop([name for name in dropped if name in frame.columns])
    _refuse_undecided(left, cleaned, section)
    actions = [
        {
            "column": name,
            "class": "",
            "evidence": why,
            "action": "drop",
            "cells": frame[name].count() if name in frame.columns else 0,
            "note": "by the schema or the run file, before a private fit",
        }
        for name, why in dropped.items()
    ]
    before, after = _before_after(frame, left, schema, cleaned)
    return Cleaned(left, cleaned, actions, lint_rows(cleaned), before, after)


def _why_dropped(column: Column, section: DeidentifySection) -> str:
    if section.columns.get(column.name) == "drop":
        return "named by the user"
    if column.role == "identifier":
        return "role in the schema"
    return "free text in the schema" if column.kind == "text" and section.drop_free_text else ""


def _refuse_treatments(schema: Schema, section: DeidentifySection) -> None:
    changed = sorted(n for n, action in section.columns.items() if action not in ("keep", "drop"))
    if changed:
        raise IdentifierError(
            "before a private fit columns can only be kept or dropped: other treatments read a "
            f"whole column, so one patient changes how others are treated: {', '.join(changed)}",
            hint="set bounds in the schema (an age up to 90, a date as a range), drop the column, "
            "or treat the file with pegai deidentify first; the guarantee is then for that file",
        )
    if schema.unit is not None and section.columns.get(schema.unit) == "drop":
        raise IdentifierError(
            f"column {schema.unit!r} says whose rows are whose and can't be dropped before the fit",
            hint="leave it: the patient id is never learned and never released",
        )
    unknown = sorted(set(section.columns) - set(schema.names))
    if unknown:
        raise UsageError(f"[deidentify.columns] names {unknown[0]!r}, which the schema has not")


def _refuse_undecided(frame: pl.DataFrame, schema: Schema, section: DeidentifySection) -> None:
    undecided = [
        f"{found.column} ({found.identifier_class.title})"
        for found in detect(frame, schema)
        if found.column in [c.name for c in schema.modelled]
        and found.column not in section.columns
        and not _is_decided(schema[found.column])
    ]
    if undecided:
        raise IdentifierError(
            "before a private fit a person has to decide what becomes of columns that look like "
            f"identifiers: {', '.join(undecided)}",
            hint="give each the role identifier in the schema, or write keep or drop under "
            "[deidentify.columns] (keep with a reason under [deidentify.reasons])",
        )


def _is_decided(column: Column) -> bool:
    """Whether the schema itself says what the column is: a date, or a number within bounds."""
    if column.type in ("date", "datetime"):
        return True
    return column.is_numeric and column.maximum is not None and column.maximum <= OLDEST_AGE


def action_rows(found: Deidentified) -> list[dict[str, Any]]:
    """What was done, one row a column: counts, never values."""
    return [
        {
            "column": action.column,
            "class": action.identifier_class.title if action.identifier_class else "",
            "evidence": ", ".join(action.evidence) or "named by the user",
            "action": action.action,
            "cells": action.cells,
            "note": action.note,
        }
        for action in found.actions
    ]


def lint_rows(schema: Schema) -> list[dict[str, Any]]:
    """The Safe Harbor classes that a schema leaves open."""
    return [
        {
            "class": one.identifier_class.title if one.identifier_class else "free text",
            "column": one.column,
            "status": "open",
            "why": one.reason,
            "way out": one.hint,
        }
        for one in lint(schema)
    ]


def _before_after(
    raw: pl.DataFrame, cleaned: pl.DataFrame, schema: Schema, after: Schema
) -> tuple[dict[str, Any], dict[str, Any]]:
    """k, l and t of the same quasi-identifiers on both sides; empty where there are none."""
    quasi = [c.name for c in schema.with_role("quasi-identifier") if c.name in raw.columns]
    both = [name for name in quasi if name in cleaned.columns]
    secrets = [
        c.name
        for c in schema.columns
        if c.role in ("sensitive", "target") and c.name in cleaned.columns and c.name in raw.columns
    ]
    if not quasi:
        return {}, {}
    before = anonymity(raw, quasi, sensitive=secrets, unit=schema.unit)
    unit = after.unit if after.unit in cleaned.columns else None
    return _facts(before), _facts(anonymity(cleaned, both, sensitive=secrets, unit=unit))


def _facts(measured: Anonymity) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "quasi-identifiers": ", ".join(measured.quasi_identifiers),
        "patients": measured.patients,
        "smallest class (k)": measured.k,
        "patients alone in their class": measured.unique,
        "equivalence classes": measured.classes,
    }
    for one in measured.diversity:
        facts[f"distinct l of {one.column}"] = one.distinct_l
        facts[f"entropy l of {one.column}"] = round(one.entropy_l, 4)
        facts[f"t of {one.column}"] = round(one.t, 4)
    return facts
