"""De-identify a table: find direct identifiers, drop or replace them, and say what was done."""

from __future__ import annotations

import secrets
from dataclasses import replace as changed

import numpy as np
import polars as pl

from pegai.data.deidentify import names
from pegai.data.deidentify.after import restore_type, schema_after
from pegai.data.deidentify.config import Action, Deidentified, DeidentifyConfig
from pegai.data.deidentify.dates import FoundDates, years
from pegai.data.deidentify.detect import missing_texts, unit_of
from pegai.data.deidentify.fictitious import Fictitious
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.plan import Step, make_plan
from pegai.data.deidentify.profile import as_text, is_missing
from pegai.data.deidentify.treatments import (
    Cells,
    Treated,
    blank_sharp,
    cap_births,
    cut_zip,
    day_shifts,
    keep_year,
    offset_dates,
    replace_unit,
    replace_values,
    top_code_age,
)
from pegai.schema import Schema

_C = IdentifierClass


def deidentify(
    frame: pl.DataFrame,
    schema: Schema | None = None,
    *,
    config: DeidentifyConfig | None = None,
    rng: np.random.Generator | None = None,
) -> Deidentified:
    """Remove the 18 Safe Harbor identifiers of 45 CFR 164.514(b)(2) from a table.

    By default identifiers are dropped, the patient id is replaced by fresh random codes, the dates
    of a patient are moved together by up to half a year, ages and births above 89 are joined, ZIP
    codes are cut to three digits, and free text is refused. Shifted dates help research but are
    finer than Safe Harbor allows: use `dates="year"` where that rule is to hold to the letter.

    Args:
        frame: The table as it was read, best with every column as text, so that what is not touched
            keeps its digits; shape (rows, columns).
        schema: Says which columns are identifiers, dates or categories, who the patient is, and
            what means "missing".
        config: What to do; None is the default.
        rng: Where shifts and fictitious values come from; equal states give equal results. Whoever
            knows its seed can undo the shifts. None draws from a secret seed that is not kept.

    Returns:
        The table, the list of what was done, and the schema that fits the table.

    Raises:
        IdentifierError: There is free text that the configuration does not drop.
        UsageError: The configuration does not fit the table.

    Example:
        >>> raw = pl.DataFrame({"mrn": ["A17", "A18"], "age": ["93", "41"], "chol": ["233", ""]})
        >>> result = deidentify(raw)
        >>> result.frame.columns, result.frame["age"].to_list()
        (['age', 'chol'], ['90', '41'])
        >>> [(a.column, a.action, a.cells) for a in result.actions]
        [('mrn', 'drop', 2), ('age', 'topcode', 1)]
    """
    config = config or DeidentifyConfig()
    rng = rng if rng is not None else np.random.default_rng(secrets.randbits(128))
    steps, detections = make_plan(frame, schema, config=config)
    unit = config.unit or unit_of(schema)
    if unit is None:
        steps = [_row_by_row(step) for step in steps]
    cells = {step.column: _cells(frame[step.column], schema) for step in steps}
    days = _days(frame, schema, unit=unit, config=config, rng=rng)
    source = Fictitious(rng, config.locale)
    treated = {
        step.column: _treat(step, cells[step.column], days=days, source=source) for step in steps
    }
    births = _cap_births(steps, cells, treated, days=days, config=config)
    result = _assemble(frame, steps, {**treated, **births})
    actions: list[Action] = []
    for step in steps:
        actions.append(_action(step, treated[step.column]))
        if step.column in births:
            capped = changed(step, action="topcode", note="born more than 89 years before")
            actions.append(_action(capped, births[step.column]))
    outcome = None
    if schema is not None:
        outcome = schema_after(schema, result, steps, max_shift_days=config.max_shift_days)
    return Deidentified(result, tuple(actions), outcome, tuple(detections))


def _row_by_row(step: Step) -> Step:
    if step.action != "offset":
        return step
    return changed(step, note="no patient id: the dates of each row are moved by themselves")


def _cells(series: pl.Series, schema: Schema | None) -> Cells:
    text = as_text(series)
    missing = is_missing(text, missing_texts(schema, series.name))
    # Missing cells keep their own text; stripping is for the values that are worked on.
    plain = pl.select(pl.when(missing).then(text).otherwise(text.str.strip_chars())).to_series()
    return Cells(plain.alias(series.name), missing)


def _days(
    frame: pl.DataFrame,
    schema: Schema | None,
    *,
    unit: str | None,
    config: DeidentifyConfig,
    rng: np.random.Generator,
) -> pl.Series:
    ids = None
    if unit is not None:
        cells = _cells(frame[unit], schema)
        ids = pl.select(pl.when(~cells.missing).then(cells.text)).to_series()
    return day_shifts(ids, frame.height, max_days=config.max_shift_days, rng=rng)


def _treat(step: Step, cells: Cells, *, days: pl.Series, source: Fictitious) -> Treated:
    """The column after its step; a dropped one counts its cells."""
    present = int((~cells.missing).sum())
    match step.action:
        case "keep":
            return Treated(cells.text, 0)
        case "replace" if step.is_unit:
            values = cells.text.filter(~cells.missing)
            whole = bool(values.len() and values.str.contains(r"^\d+(\.0+)?$").all())
            return replace_unit(cells, source, whole_numbers=whole)
        case "replace":
            return replace_values(cells, step.identifier_class or _C.UNIQUE_CODE, source)
        case "blank":
            return blank_sharp(cells)
        case "year":
            return keep_year(cells, step.dates)
        case "offset" if step.dates is not None and step.dates.shiftable is not None:
            return offset_dates(cells, step.dates.shiftable, days)
        case "zip3":
            return cut_zip(cells)
        case "topcode":
            return top_code_age(cells)
        case _:
            return Treated(cells.text, present)


def _cap_births(
    steps: list[Step],
    cells: dict[str, Cells],
    treated: dict[str, Treated],
    *,
    days: pl.Series,
    config: DeidentifyConfig,
) -> dict[str, Treated]:
    """Births that tell an age above 89, counted to the patient's latest other date."""
    dated = [(s, s.dates) for s in steps if s.dates is not None and s.action != "keep"]
    births = [(s, d) for s, d in dated if names.is_birth(s.column) and s.action != "drop"]
    others = [(s.column, d) for s, d in dated if not names.is_birth(s.column)]
    if not births:
        return {}
    reference = _reference_year(others, cells, rows=days.len(), config=config)
    found: dict[str, Treated] = {}
    for step, dates in births:
        form = dates.shiftable if step.action == "offset" else None
        before = Cells(treated[step.column].text, cells[step.column].missing)
        capped = cap_births(before, form, reference)
        if capped.cells:
            found[step.column] = capped
    return found


def _reference_year(
    others: list[tuple[str, FoundDates]],
    cells: dict[str, Cells],
    *,
    rows: int,
    config: DeidentifyConfig,
) -> pl.Series:
    """The latest year of each row's other dates, or of the table's where a row has none."""
    latest = pl.repeat(None, rows, dtype=pl.Int32, eager=True)
    for name, dates in others:
        year = years(cells[name].text, dates.formats).cast(pl.Int32, strict=False)
        latest = pl.select(pl.max_horizontal(latest, year)).to_series()
    fallback = config.reference_year or latest.max()
    return latest.fill_null(fallback) if fallback is not None else latest  # pyright: ignore[reportArgumentType]


def _assemble(frame: pl.DataFrame, steps: list[Step], treated: dict[str, Treated]) -> pl.DataFrame:
    dropped = [step.column for step in steps if step.action == "drop"]
    new = [
        restore_type(treated[step.column].text, frame[step.column], step)
        for step in steps
        if step.action not in ("drop", "keep")
    ]
    return frame.with_columns(new).drop(dropped)


def _action(step: Step, treated: Treated) -> Action:
    return Action(
        step.column, step.identifier_class, step.evidence, step.action, treated.cells, step.note
    )
