"""Find direct identifiers in a table by name, pattern, check digit, uniqueness and shared values.

This reads private values inside the trusted zone. What it finds is used to block, drop or replace
columns only; no domain of a model is ever derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from pegai.data.deidentify import names
from pegai.data.deidentify.check_digits import match_check_digits
from pegai.data.deidentify.dates import find_dates
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.patterns import match_patterns
from pegai.data.deidentify.persons import person_share
from pegai.data.deidentify.profile import Profile, profile
from pegai.data.deidentify.uniqueness import is_unique_code
from pegai.schema import Column, Schema

Evidence = Literal["schema", "name", "pattern", "check digit", "dictionary", "uniqueness", "linked"]

_C = IdentifierClass


@dataclass(frozen=True)
class Detection:
    """A column that holds direct identifiers.

    Attributes:
        column: The column's name.
        identifier_class: Which of the 18 classes.
        evidence: Why: `schema` (its role or type there), `name` (of the column), `pattern` (form
            of the values), `check digit`, `dictionary` (of person names), `uniqueness` (nearly
            every row has a value of its own) or `linked` (the values stand in another such column).
        matched_share: Share of the cells with a value that are identifiers.
        rows: Number of those cells.
    """

    column: str
    identifier_class: IdentifierClass
    evidence: tuple[Evidence, ...]
    matched_share: float
    rows: int


def detect(frame: pl.DataFrame, schema: Schema | None = None) -> list[Detection]:
    """The columns that hold direct identifiers, in the table's order.

    Clinical measures, codes of public vocabularies, ages up to 89 and columns whose categories the
    schema lists are not identifiers. Ages are found (class C) only where some are above 89.

    Args:
        frame: The table as it was read, best as text; shape (rows, columns).
        schema: Says which columns are identifiers, dates or categories, and what means "missing".
    """
    columns = {name: profile(frame[name], missing_texts(schema, name)) for name in frame.columns}
    values = _by_value(list(columns.values()), schema)
    found = {
        name: detection
        for name, column in columns.items()
        if (
            detection := _detect(column, _declared(schema, name), unit_of(schema), values.get(name))
        )
    }
    found |= {d.column: d for d in _linked(columns, found, schema)}
    return [found[name] for name in frame.columns if name in found]


def missing_texts(schema: Schema | None, name: str) -> tuple[str, ...]:
    """The texts that mean "missing" in a column, by its schema."""
    if schema is None:
        return ()
    own = schema[name].missing_values if name in schema else None
    return (*schema.missing_values, *(own or ()))


def unit_of(schema: Schema | None) -> str | None:
    """The column of the patient id, by the schema."""
    return None if schema is None else schema.unit


def free_text_columns(
    frame: pl.DataFrame, schema: Schema | None = None, *, known: frozenset[str] = frozenset()
) -> list[str]:
    """The columns of notes: text that may hold any identifier between its words.

    Args:
        frame: The table; shape (rows, columns).
        schema: Columns with categories there are no free text.
        known: Columns already known to be something else, not looked at.
    """
    found: list[str] = []
    for name in frame.columns:
        declared = _declared(schema, name)
        if name in known or (declared is not None and declared.kind != "text"):
            continue
        if _is_free_text(profile(frame[name], missing_texts(schema, name))):
            found.append(name)
    return found


def _is_free_text(column: Profile) -> bool:
    """Sentences: many words, or a name that says so, and not a short list of repeated labels."""
    if column.distinct == 0 or column.is_numeric:
        return False
    once = column.rows_where(column.counts == 1)
    if column.present >= 20 and column.uniqueness < 0.2 and once < 0.05 * column.present:
        return False
    longest = int(column.values.str.len_chars().max() or 0)  # pyright: ignore[reportArgumentType]
    if longest > 250:
        return True
    named = names.is_free_text(column.name)
    return column.mean_words >= (2 if named else 5)


def _declared(schema: Schema | None, name: str) -> Column | None:
    return schema[name] if schema is not None and name in schema else None


def _detect(
    column: Profile, declared: Column | None, unit: str | None, by_value: Detection | None
) -> Detection | None:
    by_name = _by_name(column, declared)
    if column.name == unit or (declared is not None and declared.role == "identifier"):
        kind = by_name or by_value
        default = _C.MEDICAL_RECORD if column.name == unit else _C.UNIQUE_CODE
        share = 1.0 if column.present else 0.0
        named = kind.identifier_class if kind else default
        return Detection(column.name, named, ("schema",), share, column.present)
    if names.is_age(column.name) and (column.is_numeric or column.distinct == 0):
        return _old_age(column)
    if declared is not None and (declared.kind in ("boolean",) or declared.categories is not None):
        return None
    if by_name is None or by_value is None:
        return by_name or by_value
    # Form and check digits say what a value is more surely than a name does, except that only a
    # name tells a fax from a telephone and a plan number from any other code.
    same = _same_form(by_name.identifier_class, by_value)
    kind = by_name.identifier_class if same else by_value.identifier_class
    evidence = (*by_name.evidence, *by_value.evidence)
    share = max(by_name.matched_share, by_value.matched_share)
    return Detection(column.name, kind, evidence, share, max(by_name.rows, by_value.rows))


def _same_form(named: IdentifierClass, by_value: Detection) -> bool:
    weak = by_value.evidence in (("uniqueness",), ("dictionary",)) or by_value.matched_share < 0.5
    return weak or (named, by_value.identifier_class) in {
        (_C.FAX, _C.PHONE),
        (_C.PHOTO, _C.URL),
        (_C.BIOMETRIC, _C.URL),
        (_C.BIOMETRIC, _C.PHOTO),
        (_C.BIOMETRIC, _C.UNIQUE_CODE),
        (_C.DEVICE, _C.UNIQUE_CODE),
        (_C.MEDICAL_RECORD, _C.UNIQUE_CODE),
        (_C.HEALTH_PLAN, _C.NATIONAL_ID),
        (_C.HEALTH_PLAN, _C.ACCOUNT),
        (_C.MEDICAL_RECORD, _C.NATIONAL_ID),
        (_C.GEOGRAPHY, _C.PHONE),
        (_C.ACCOUNT, _C.NATIONAL_ID),
        (_C.ACCOUNT, _C.PHONE),
        (_C.HEALTH_PLAN, _C.PHONE),
        (_C.MEDICAL_RECORD, _C.PHONE),
        (_C.LICENCE, _C.PHONE),
        (_C.NATIONAL_ID, _C.PHONE),
    }


def _old_age(column: Profile) -> Detection | None:
    """Ages above 89 name a class C identifier; a column without any is none."""
    middle = column.numbers.median()
    old = column.rows_where(column.numbers > 89)
    if old == 0 or (isinstance(middle, float) and middle > 130):
        return None
    return Detection(column.name, _C.DATE, ("name",), old / column.present, old)


def _by_name(column: Profile, declared: Column | None) -> Detection | None:
    kind = names.class_by_name(column.name)
    if kind is None or (column.distinct and _is_vetoed(kind, column)):
        return None
    if declared is not None and kind == _C.UNIQUE_CODE and declared.role in ("site", "target"):
        return None
    share = 1.0 if column.present else 0.0
    return Detection(column.name, kind, ("name",), share, column.present)


def _is_vetoed(kind: IdentifierClass, column: Profile) -> bool:
    """Whether the values say that the name is misleading (`email`: yes or no)."""
    if column.is_truth:
        return True
    if names.is_coordinate(column.name):
        return not column.is_numeric or float(column.numbers.abs().max() or 0) > 180  # pyright: ignore[reportArgumentType]
    if kind == _C.DATE:
        return not _is_serial_date(column)
    if kind in (_C.NAME, _C.EMAIL, _C.URL, _C.PHOTO, _C.BIOMETRIC):
        return column.is_numeric
    if kind in (_C.PHONE, _C.FAX):
        return column.mean_digits < 6
    if kind == _C.UNIQUE_CODE:
        return column.uniqueness < (0.5 if column.present < 50 else 0.1)
    return column.is_numeric and not column.is_integer


def _is_serial_date(column: Profile) -> bool:
    """Whether a column named as a date holds counts of days or seconds since some epoch."""
    if not column.is_integer:
        return False
    middle = column.numbers.median()
    return isinstance(middle, float) and (5_000 < middle < 80_000 or 1e8 < middle < 1e13)


def _by_value(columns: list[Profile], schema: Schema | None) -> dict[str, Detection]:
    """What the values of each column say, if they say anything."""
    checked = match_check_digits(columns)
    dated = find_dates(columns, date_formats(schema))
    formed = match_patterns(columns)
    found: dict[str, Detection] = {}
    for column in columns:
        name = column.name
        if (check := checked.get(name)) is not None:
            kind, evidence, match = check.number.identifier_class, "check digit", check
        elif (dates := dated.get(name)) is not None:
            kind, evidence, match = _C.DATE, "pattern", dates
        elif (form := formed.get(name)) is not None:
            kind, evidence, match = form.pattern.identifier_class, "pattern", form
        else:
            other = _by_words(column)
            if other is not None:
                found[name] = other
            continue
        found[name] = Detection(name, kind, (evidence,), match.share, match.rows)
    return found


def _by_words(column: Profile) -> Detection | None:
    """Names of persons, or codes of which every row has its own."""
    if names.is_vocabulary(column.name):
        return None
    named = person_share(column)
    if named > 0:
        rows = round(named * column.present)
        return Detection(column.name, _C.NAME, ("dictionary",), named, rows)
    if is_unique_code(column):
        return Detection(column.name, _C.UNIQUE_CODE, ("uniqueness",), 1.0, column.present)
    return None


def date_formats(schema: Schema | None) -> dict[str, str | None]:
    """Column name to the strptime pattern that the schema gives."""
    return {c.name: c.format for c in schema.columns} if schema is not None else {}


def _linked(
    columns: dict[str, Profile], found: dict[str, Detection], schema: Schema | None
) -> list[Detection]:
    """Columns that repeat the codes of an identifier column, such as the mother's number."""
    linked: dict[str, Detection] = {}
    for source, detection in found.items():
        if detection.identifier_class in (_C.DATE, _C.GEOGRAPHY, _C.NAME):
            continue
        codes = columns[source].values
        codes = codes.filter((codes.str.len_chars() >= 6) & codes.str.contains(r"\d"))
        for name, column in columns.items():
            declared = _declared(schema, name)
            listed = declared is not None and declared.is_discrete
            if name in found or name in linked or listed or codes.is_empty() or not column.distinct:
                continue
            share = column.share(column.values.is_in(codes.implode()))
            if share >= 0.5:
                rows = round(share * column.present)
                kind = detection.identifier_class
                linked[name] = Detection(name, kind, ("linked",), share, rows)
    return list(linked.values())
