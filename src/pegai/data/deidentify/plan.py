"""What is to be done to each column: the defaults of its class, then the user's word."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pegai.data.deidentify import names
from pegai.data.deidentify.config import ActionName, DeidentifyConfig
from pegai.data.deidentify.dates import FoundDates, find_dates
from pegai.data.deidentify.detect import (
    Detection,
    Evidence,
    date_formats,
    detect,
    free_text_columns,
    missing_texts,
    unit_of,
)
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.profile import Profile, profile
from pegai.errors import IdentifierError, PegaiError, UsageError
from pegai.schema import Schema

_C = IdentifierClass


@dataclass(frozen=True)
class Step:
    """What is to be done to one column.

    Attributes:
        column: The column's name.
        identifier_class: What it holds; None for free text and columns only the user named.
        evidence: Why.
        action: What to do.
        note: Why, where it is not the default.
        dates: How its dates are written, if it holds any.
        is_unit: Whether it is the patient id.
    """

    column: str
    identifier_class: IdentifierClass | None
    evidence: tuple[Evidence, ...]
    action: ActionName
    note: str = ""
    dates: FoundDates | None = None
    is_unit: bool = False


def make_plan(
    frame: pl.DataFrame, schema: Schema | None, *, config: DeidentifyConfig
) -> tuple[list[Step], list[Detection]]:
    """The steps, in the order of the columns, and what was detected.

    Raises:
        IdentifierError: There is free text that is not to be dropped.
        UsageError: The configuration names a column that the table does not have, or an action
            that a column's values do not allow.
    """
    _check_names(frame, schema, config)
    unit = config.unit or unit_of(schema)
    found = {d.column: d for d in detect(frame, schema)}
    if unit is not None and unit not in found:
        rows = profile(frame[unit], missing_texts(schema, unit)).present
        found[unit] = Detection(unit, _C.MEDICAL_RECORD, ("schema",), 1.0, rows)
    wanted = [n for n in frame.columns if n in found or config.override(n) is not None]
    columns = [profile(frame[name], missing_texts(schema, name)) for name in wanted]
    dates = find_dates(columns, date_formats(schema))
    steps = [
        _step(c, found.get(c.name), config, dates=dates.get(c.name), is_unit=c.name == unit)
        for c in columns
    ]
    partly = {s.column for s in steps if s.action == "blank"}
    known = frozenset(step.column for step in steps if step.column not in partly)
    texts = free_text_columns(frame, schema, known=known)
    _refuse_free_text(frame, texts, config)
    steps = [step for step in steps if step.column not in texts]
    steps += [Step(n, None, (), "drop", note="free text") for n in texts]
    order = {name: place for place, name in enumerate(frame.columns)}
    ordered = sorted(steps, key=lambda step: order[step.column])
    return ordered, [found[name] for name in frame.columns if name in found]


def _check_names(frame: pl.DataFrame, schema: Schema | None, config: DeidentifyConfig) -> None:
    unknown = [name for name in config.overrides if name not in frame.columns]
    if config.unit is not None and config.unit not in frame.columns:
        unknown.append(config.unit)
    if schema is not None and schema.unit is not None and schema.unit not in frame.columns:
        unknown.append(schema.unit)
    if unknown:
        raise UsageError(
            f"the table has no column {unknown[0]!r}",
            hint=f"its columns are {', '.join(frame.columns)}",
        )


def _refuse_free_text(frame: pl.DataFrame, texts: list[str], config: DeidentifyConfig) -> None:
    if not texts or config.drop_free_text:
        return
    counts = [f"{name!r} ({frame[name].is_not_null().sum()} cells)" for name in texts]
    raise IdentifierError(
        f"free text may hold any identifier and can't be cleared: column{'s' * (len(texts) > 1)} "
        + ", ".join(counts),
        hint="drop it with drop_free_text=True (--drop-free-text), list the column under drop, or "
        "declare its categories in the schema",
    )


def _step(
    column: Profile,
    found: Detection | None,
    config: DeidentifyConfig,
    *,
    dates: FoundDates | None,
    is_unit: bool,
) -> Step:
    kind = found.identifier_class if found else None
    evidence = found.evidence if found else ()
    wanted = config.override(column.name)
    if wanted is not None:
        action, why = _possible(wanted.action, column, dates, asked=True)
        note = why or wanted.reason or "asked for"
    elif found is not None:
        default = _default(column, found, config, dates, is_unit=is_unit)
        action, note = _possible(default, column, dates)
    else:
        raise PegaiError(f"column {column.name!r} needs no step")
    return Step(column.name, kind, evidence, action, note, dates, is_unit)


def _default(
    column: Profile,
    found: Detection,
    config: DeidentifyConfig,
    dates: FoundDates | None,
    *,
    is_unit: bool,
) -> ActionName:
    if is_unit:
        return "replace"
    if found.identifier_class == _C.DATE:
        if names.is_age(column.name) and column.is_numeric:
            return "topcode"
        return config.dates if dates is not None else "drop"
    if found.evidence == ("pattern",) and found.matched_share < 0.5:
        return "blank"
    if names.is_us_zip(column.name) or "pattern" in found.evidence:
        zips = column.values.str.contains(r"^\d{5}(-?\d{4})?$|^\d{3,4}$")
        if found.identifier_class == _C.GEOGRAPHY and column.share(zips) >= 0.5:
            return "zip3"
    if config.identifiers == "replace" and not names.is_coordinate(column.name):
        return "replace"
    return "drop"


def _possible(
    action: ActionName, column: Profile, dates: FoundDates | None, *, asked: bool = False
) -> tuple[ActionName, str]:
    """The action, or the nearest stricter one where the column's values do not allow it."""
    if action in ("offset", "year") and dates is None:
        if asked and column.distinct:
            raise UsageError(
                f"column {column.name!r} holds no dates that can be read: no {action}",
                hint="give its format in the schema, or drop it",
            )
        return "drop", "no dates that can be read"
    if action == "offset" and dates is not None and dates.shiftable is None:
        if len(dates.formats) > 1:
            return "year", "day and month can't be told apart: give the format in the schema"
        return "year", "not a full date that can be shifted"
    if action == "topcode" and asked and column.distinct and not column.is_numeric:
        raise UsageError(f"column {column.name!r} holds no numbers, so topcode can't be done")
    return action, ""
