"""Draft a schema from a table, for a person to correct.

Everything drafted was read from private data, so every bound and category is marked `private`, and
a fit with privacy refuses it until someone replaces it by public knowledge. The rules, in order;
"levels" are the different values that are not missing:

| drafted as | when |
|---|---|
| text, described | no value at all |
| boolean | the levels are true/false or yes/no (one of them is enough), t/f or y/n (both) |
| date, datetime | every value fits one pattern; day and month told apart by the whole column |
| integer categories | whole numbers, at most 10 levels, two rows a level, and not an age |
| integer, number | plain numbers; one leading zero makes codes of them; `decimals` is the most |
| identifier | one level a row that looks like a code, a running number, or a name that says so |
| categories | at most 200 levels, at most a fifth of the rows (10 always), two rows a level |
| text, described | the rest |

Missing is an empty cell, or one of `MISSING_TEXTS`, which are listed in the draft if they occur.
`-9` and the like are not: only a person knows. In a column of numbers or dates a lone `.`, `-` or
`None` counts too.

`max_rows_per_unit` is rounded up to 1, 2, 5, 10, 20, 50, 100 ...: the exact number would be a fact
about one patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import polars as pl

from pegai.errors import DataError
from pegai.schema.columns import Category, Column, ColumnPrivacy, Constraints, Role
from pegai.schema.dates import find_dates, is_ambiguous_note
from pegai.schema.names import Hint, is_age, name_hint
from pegai.schema.parse import Mark, blank_missing, decimal_mark
from pegai.schema.table_schema import Schema, TablePrivacy

MISSING_TEXTS = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A", "?")
MISSING_IN_NUMBERS = (".", "-", "--", "na", "None", "none")
MAX_INTEGER_LEVELS = 10
MAX_LEVELS = 200
MAX_LEVEL_SHARE = 0.2
MAX_SITES = 50
RUNNING_ROWS = 20  # 1..n in a table shorter than this may be a measure

_INTEGER = r"^[+-]?\d+(\.0*)?$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_LEADING_ZERO = r"^[+-]?0\d"
_CODE = r"^\S*\d\S*$"
_DESCRIBED = {
    "empty": "No value was seen. Set the type, or drop the column.",
    "text": "Free text or too many different values for a list of categories. Give a public code "
    "list, or drop the column: free text is not modelled.",
}


def infer(frame: pl.DataFrame, *, dataset: str | None = None) -> Schema:
    """Draft a schema; the rules are in the module's docstring.

    Args:
        frame: Raw text as read from a CSV, or typed columns; any number of rows, at least one
            column.
        dataset: The name under which the ledger is to add up spending.

    Returns:
        A schema to which `frame` conforms.

    Raises:
        DataError: There are no columns, or one holds nested values.
    """
    if not frame.width:
        raise DataError("the table has no columns", hint="check that it is the right file")
    missing = ("", *_markers_seen(frame))
    columns = [_draft(frame[name], missing) for name in frame.columns]
    unit = _unit(columns)
    columns = [_with_role(column, unit) for column in columns]
    columns = _single(_single(columns, "site"), "target")
    most = 1 if unit is None else _most_rows(frame[unit], missing)
    privacy = TablePrivacy(dataset=dataset, unit=unit, max_rows_per_unit=most)
    return Schema(fields=tuple(columns), missing_values=missing, pegai=privacy)


def is_draft_note(description: str | None) -> bool:
    """Whether a column's description is what `infer` says, which depends on the data."""
    return description in _DESCRIBED.values() or is_ambiguous_note(description)


def _markers_seen(frame: pl.DataFrame) -> list[str]:
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    seen: set[str] = set()
    for name in texts:
        stripped = frame[name].str.strip_chars()
        seen.update(stripped.filter(stripped.is_in(MISSING_TEXTS)).unique().to_list())
    return [marker for marker in MISSING_TEXTS if marker in seen]


def _draft(cells: pl.Series, missing: Sequence[str]) -> Column:
    """Type and domain of a column; its role comes later."""
    if cells.dtype.is_nested() or isinstance(cells.dtype, (pl.Object, pl.Binary, pl.Duration)):
        raise DataError(
            f"column {cells.name!r} is {cells.dtype}, which no column type can hold",
            hint="turn it into numbers, dates or text, or drop it",
        )
    if isinstance(cells.dtype, (pl.Null, pl.Categorical, pl.Enum, pl.Time)):
        cells = cells.cast(pl.String)
    present = blank_missing(cells, missing).drop_nulls()
    if present.is_empty():
        return Column(name=cells.name, type="string", description=_DESCRIBED["empty"])
    if present.dtype == pl.Boolean:
        return Column(name=cells.name, type="boolean")
    if present.dtype == pl.Date or isinstance(present.dtype, pl.Datetime):
        return _moments(cells.name, present, None)
    if present.dtype.is_numeric():
        return _numeric(cells.name, present.cast(pl.Float64), _typed_decimals(present), present)
    return _draft_texts(cells.name, present)


def _draft_texts(name: str, present: pl.Series) -> Column:
    boolean = _boolean(name, present.str.to_lowercase())
    if boolean:
        return boolean
    # Markers that mean missing only where everything else is a number or a date.
    absent = present.is_in(MISSING_IN_NUMBERS)
    rest = present.filter(~absent)
    column = None if rest.is_empty() else _measured(name, rest)
    if column is None:
        return _coded(name, present)
    used = [m for m in MISSING_IN_NUMBERS if m in set(present.filter(absent).unique().to_list())]
    return column.model_copy(update={"missing_values": tuple(used)}) if used else column


def _boolean(name: str, present: pl.Series) -> Column | None:
    levels = set(present.unique().to_list())
    words = levels <= {"true", "false"} or levels <= {"yes", "no"}
    letters = levels in ({"t", "f"}, {"y", "n"})
    return Column(name=name, type="boolean") if words or letters else None


def _measured(name: str, present: pl.Series) -> Column | None:
    """A column of dates or numbers, or None."""
    dates = find_dates(present)
    if dates is not None:
        if dates.values is None:
            return Column(name=name, type="string", description=dates.description)
        return _moments(name, dates.values, dates.pattern)
    mark = decimal_mark(present)
    plain = present.str.replace(",", ".", literal=True) if mark == "," else present
    if not plain.str.contains(_NUMBER).all() or plain.str.contains(_LEADING_ZERO).any():
        return None
    numbers = plain.cast(pl.Float64, strict=False)
    if not numbers.is_finite().fill_null(False).all():
        return None
    if plain.str.contains(_INTEGER).all():
        whole = plain.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
        return None if whole.null_count() else _numeric(name, numbers, 0, whole)
    return _numeric(name, numbers, _text_decimals(plain, mark), numbers)


def _moments(name: str, values: pl.Series, pattern: str | None) -> Column:
    kind = "date" if values.dtype == pl.Date else "datetime"
    if isinstance(values.dtype, pl.Datetime):
        zoned = values if values.dtype.time_zone is None else values.dt.convert_time_zone("UTC")
        values = zoned.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    low, high = (str(moment).replace(" ", "T") for moment in (values.min(), values.max()))
    bounds = Constraints(minimum=low, maximum=high)
    return Column(name=name, type=kind, format=pattern, constraints=bounds)


def _numeric(name: str, numbers: pl.Series, decimals: int | None, values: pl.Series) -> Column:
    """A column of numbers; 0 decimals is one of integers."""
    if decimals != 0:
        low, high = cast("float", numbers.min()), cast("float", numbers.max())
        bounds = Constraints(minimum=low, maximum=high)
        privacy = ColumnPrivacy(decimals=decimals)
        return Column(name=name, type="number", constraints=bounds, pegai=privacy)
    whole = values.cast(pl.Int64)
    levels = whole.unique().sort().to_list()
    few = len(levels) <= MAX_INTEGER_LEVELS and 2 * len(levels) <= len(whole)
    if few and not is_age(name) and _listable(name):
        categories = tuple(Category(value=level) for level in levels)
        return Column(name=name, type="integer", categories=categories)
    bounds = Constraints(minimum=levels[0], maximum=levels[-1])
    running = len(levels) == len(whole) and levels[-1] - levels[0] == len(levels) - 1
    role: Role = "identifier" if running and len(levels) >= RUNNING_ROWS else "feature"
    privacy = ColumnPrivacy(role=role)
    return Column(name=name, type="integer", constraints=bounds, pegai=privacy)


def _text_decimals(plain: pl.Series, mark: Mark) -> int | None:
    if plain.str.contains("[eE]").any():
        return None
    longest = plain.str.extract(r"\.(\d*)$", 1).str.len_chars().max()
    return _storable(longest)


def _typed_decimals(present: pl.Series) -> int | None:
    if present.dtype.is_integer():
        return 0
    numbers = present.cast(pl.Float64)
    if not numbers.is_finite().all():
        raise DataError(f"column {present.name!r} holds infinite numbers", hint="make them missing")
    if (numbers == numbers.round(0)).all() and (numbers.abs() <= 2.0**53).all():
        return 0  # pandas makes floats of integers with gaps
    return _text_decimals(numbers.unique().cast(pl.String), ".")


def _storable(places: object) -> int | None:
    """More than 15 places are noise of the floating point, not digits that were measured."""
    return places if isinstance(places, int) and 0 < places <= 15 else None


def _coded(name: str, present: pl.Series) -> Column:
    """A column of texts: categories, codes or free text."""
    levels = present.unique().sort().to_list()
    limit = min(MAX_LEVELS, max(MAX_INTEGER_LEVELS, MAX_LEVEL_SHARE * len(present)))
    if len(levels) <= limit and 2 * len(levels) <= len(present) and _listable(name):
        categories = tuple(Category(value=level) for level in levels)
        return Column(name=name, type="string", categories=categories)
    unique = len(levels) == len(present) > 1
    if unique and present.str.contains(_CODE).all():
        return Column(name=name, type="string", pegai=ColumnPrivacy(role="identifier"))
    return Column(name=name, type="string", description=_DESCRIBED["text"])


def _listable(name: str) -> bool:
    """Names and patient ids are no categories, not even where they are few."""
    return name_hint(name) not in ("patient", "identifier")


def _unit(columns: Sequence[Column]) -> str | None:
    """The column of the patient id: the first named so, else one named just `id`."""
    usable = [c for c in columns if c.type in ("string", "integer") and c.categories is None]
    named = [c.name for c in usable if name_hint(c.name) == "patient"]
    plain = [c.name for c in usable if c.name.lower() == "id"]
    return next(iter(named + plain), None)


def _most_rows(cells: pl.Series, missing: Sequence[str]) -> int:
    """The most rows of one patient, rounded up."""
    present = blank_missing(cells, missing).drop_nulls()
    most = present.value_counts(name="rows")["rows"].max()
    return _rounded_up(most if isinstance(most, int) else 1)


def _rounded_up(count: int) -> int:
    """The first of 1, 2, 5, 10, 20, 50, 100 ... that is no smaller; the grid is public."""
    power = 10 ** (len(str(count)) - 1)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= count)


def _with_role(column: Column, unit: str | None) -> Column:
    role = _role(column, unit)
    update: dict[str, object] = {"pegai": column.pegai.model_copy(update={"role": role})}
    if role == "identifier":
        # Never modelled, so its range would only be a leak; and its text needs no advice.
        update |= {"constraints": Constraints(), "categories": None, "description": None}
    return column.model_copy(update=update)


def _role(column: Column, unit: str | None) -> Role:
    hint = name_hint(column.name)
    if column.name == unit or column.role == "identifier" or _names_someone(column, hint):
        return "identifier"
    if hint == "site" and column.kind == "categorical" and len(column.levels) <= MAX_SITES:
        return "site"
    if column.is_discrete and column.name.lower() in ("target", "label", "outcome"):
        return "target"
    if hint in ("sensitive", "quasi-identifier"):
        return hint
    return "quasi-identifier" if column.type in ("date", "datetime") else "feature"


def _names_someone(column: Column, hint: Hint | None) -> bool:
    """Whether name and type together make it an identifier: a measure or a yes/no is none."""
    if hint in ("patient", "identifier"):
        return column.type in ("string", "integer")
    return hint == "weak-identifier" and column.kind in ("text", "integer")


def _single(columns: list[Column], role: Role) -> list[Column]:
    """Only the first column may be the site or the target."""
    first = next((column.name for column in columns if column.role == role), None)
    return [
        column.model_copy(update={"pegai": column.pegai.model_copy(update={"role": "feature"})})
        if column.role == role and column.name != first
        else column
        for column in columns
    ]
