"""How a table is to be de-identified, and what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import polars as pl

from pegai.data.deidentify.detect import Detection, Evidence
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.errors import UsageError
from pegai.schema import Schema

ActionName = Literal["keep", "drop", "blank", "replace", "year", "offset", "zip3", "topcode"]


@dataclass(frozen=True)
class Override:
    """What the user wants done to one column, against the default.

    Attributes:
        action: What to do.
        reason: Why; needed to keep a column that was detected, and written into the report.

    Raises:
        UsageError: There is no such action, or `keep` without a reason.
    """

    action: ActionName
    reason: str = ""

    def __post_init__(self) -> None:
        if self.action not in get_args(ActionName):
            raise UsageError(
                f"de-identification has no action {self.action!r}",
                hint=f"the actions are {', '.join(get_args(ActionName))}",
            )
        if self.action == "keep" and not self.reason.strip():
            raise UsageError(
                "an identifier may be kept only with a reason",
                hint='give one: Override("keep", reason="codes were assigned for this study")',
            )


@dataclass(frozen=True)
class DeidentifyConfig:
    """How a table is to be de-identified.

    Attributes:
        identifiers: What becomes of direct identifiers: `drop` the column, or `replace` its values
            by fictitious ones, equal values by equal ones. The patient id is always replaced.
        dates: `offset` moves all dates of a patient by the same random number of days; `year` keeps
            the year only, as Safe Harbor asks; `drop`.
        overrides: Column name to what is to be done to it, as `Override` or the action's name.
        drop_free_text: Whether columns of notes are dropped; otherwise they are refused.
        unit: The column of the patient id; None takes the schema's.
        max_shift_days: Most days that `offset` moves a date by.
        reference_year: The year in which ages are counted for dates of birth in rows without
            another date; None takes the latest year of the table's other dates.
        locale: Faker's locale for fictitious values.

    Raises:
        UsageError: A setting is out of its range.
    """

    identifiers: Literal["drop", "replace"] = "drop"
    dates: Literal["offset", "year", "drop"] = "offset"
    overrides: Mapping[str, Override | ActionName] = field(default_factory=dict)
    drop_free_text: bool = False
    unit: str | None = None
    max_shift_days: int = 182
    reference_year: int | None = None
    locale: str = "en_US"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("identifiers", ("drop", "replace")),
            ("dates", ("offset", "year", "drop")),
        ):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}"
                )
        if self.max_shift_days < 1:
            raise UsageError(f"max_shift_days must be at least 1, not {self.max_shift_days}")
        overrides = {
            name: given if isinstance(given, Override) else Override(given)
            for name, given in self.overrides.items()
        }
        object.__setattr__(self, "overrides", overrides)

    def override(self, column: str) -> Override | None:
        """What the user wants done to a column, if anything."""
        given = self.overrides.get(column)
        return given if given is None or isinstance(given, Override) else Override(given)


@dataclass(frozen=True)
class Action:
    """What was done to one column: counts, never values.

    Attributes:
        column: The column's name.
        identifier_class: What was found in it; None for free text and for columns only the user
            named.
        evidence: Why it was taken for one; empty where only the user named it.
        action: What was done.
        cells: How many cells were removed or changed.
        note: Why, where it is not the default.
    """

    column: str
    identifier_class: IdentifierClass | None
    evidence: tuple[Evidence, ...]
    action: ActionName
    cells: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class Deidentified:
    """A table without its direct identifiers.

    Attributes:
        frame: The table; untouched columns are as they came, to the digit; shape (rows, kept).
        actions: What was done, in the order of the columns that came in.
        schema: The schema of `frame`, if one was given.
        detections: What was found before anything was done.
    """

    frame: pl.DataFrame
    actions: tuple[Action, ...]
    schema: Schema | None
    detections: tuple[Detection, ...]

    def rows(self) -> list[dict[str, str | int]]:
        """The actions as rows of a table for people and for JSON."""
        return [
            {
                "column": a.column,
                "class": f"({a.identifier_class.letter}) {a.identifier_class.title}"
                if a.identifier_class is not None
                else "",
                "evidence": ", ".join(a.evidence),
                "action": a.action,
                "cells": a.cells,
                "note": a.note,
            }
            for a in self.actions
        ]
