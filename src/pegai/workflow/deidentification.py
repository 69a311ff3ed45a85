"""The de-identification step of a run, with what the report says about it.

What detection finds is a fact about private data. Before a private fit it may therefore block, but
not decide: were a column dropped because its values look like identifiers, the columns of the
release would tell something about them. So every change to a column that the model is to learn has
to stand in the schema (role `identifier`) or in the run file, where a person put it.
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
    lint,
)
from pegai.errors import IdentifierError
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.workflow.config import DeidentifySection


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
        seed: Of shifts and fictitious values; None draws a secret one. A private run ignores it:
            who knows the seed can undo the shifts.
        private: Whether any fit of the run is private.

    Raises:
        IdentifierError: There is free text; or, before a private fit, values of a modelled column
            look like identifiers and nobody said what is to be done.
    """
    listed = frame.select([name for name in schema.names if name in frame.columns])
    if not section.enabled:
        return Cleaned(listed, schema, None, lint_rows(schema))
    overrides = {
        name: Override(action, section.reasons.get(name, "kept by the run file"))
        for name, action in section.columns.items()
    }
    config = DeidentifyConfig(
        dates=section.dates, overrides=overrides, drop_free_text=section.drop_free_text
    )
    found = deidentify(listed, schema, config=config, rng=_rng(seed, private=private))
    if private:
        _refuse_decisions_by_data(found, schema, section)
    cleaned = found.schema or schema
    before, after = _before_after(listed, found.frame, schema, cleaned)
    return Cleaned(found.frame, cleaned, action_rows(found), lint_rows(cleaned), before, after)


def _rng(seed: int | None, *, private: bool) -> np.random.Generator | None:
    if seed is None or private:
        return None
    return Streams(seed).child("deidentify").get("sample")


def _refuse_decisions_by_data(
    found: Deidentified, schema: Schema, section: DeidentifySection
) -> None:
    modelled = {column.name for column in schema.modelled}
    undecided = [
        f"{a.column} ({a.identifier_class.title if a.identifier_class else 'free text'})"
        for a in found.actions
        if a.column in modelled and a.column not in section.columns and "schema" not in a.evidence
    ]
    if undecided:
        raise IdentifierError(
            "before a private fit a person has to decide what becomes of columns that look like "
            f"identifiers: {', '.join(undecided)}",
            hint="give each the role identifier in the schema, or an action under "
            "[deidentify.columns] (keep needs a reason under [deidentify.reasons])",
        )


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
