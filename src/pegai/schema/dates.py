"""Which date pattern a column of text is written in.

`03/04/2021` alone may be March or April. The whole column decides: one value with a day above 12
settles it. If none does, the column is not a date column in the draft, and its description says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import polars as pl

from pegai.schema.parse import parse_dates, parse_datetimes, parse_iso_datetimes

_DAY_FIRST = ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y")
_MONTH_FIRST = ("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y", "%m/%d/%y", "%m.%d.%y", "%m-%d-%y")
_OTHER = ("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%B %d, %Y")
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S")
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")
_SHAPE = r"^(\d{1,4}[-/. ]\w{1,9}[-/. ]|[A-Za-z]{3,9} \d|\d{8}$|\d{14}$)"
_PROBE = 200  # values tried first, so that most patterns cost nothing

_AMBIGUOUS = (
    "Dates in which day and month can't be told apart. Set the type to {kind} and the format to "
    "{first} or {second}."
)


@dataclass(frozen=True)
class Dates:
    """What a text column of dates was found to be.

    Attributes:
        values: Parsed; None where day and month can't be told apart.
        pattern: strptime pattern; None is ISO 8601.
        description: What a person has to decide.
    """

    values: pl.Series | None
    pattern: str | None = None
    description: str | None = None


def find_dates(present: pl.Series) -> Dates | None:
    """The dates of a column without missing values, or None if it does not hold dates.

    Args:
        present: Text, stripped; at least one value. Every one must fit the pattern.
    """
    texts = present.unique(maintain_order=True)
    # Cheap refusal of all that is no date: digits, and either separators or a compact stamp.
    if not texts.str.contains(_SHAPE).all():
        return None
    if not parse_iso_datetimes(texts.head(_PROBE)).null_count():
        iso = parse_iso_datetimes(texts)
        return None if iso.null_count() else Dates(_as_dates(iso))
    timed = texts.str.contains(":", literal=True)
    if timed.any() and not timed.all():
        return None
    fit = _fit_timed if timed.any() else _fit
    for pattern in (*_OTHER, *(() if timed.any() else _COMPACT)):
        found = fit(texts, pattern)
        if found:
            return found
    for first, second in zip(_DAY_FIRST, _MONTH_FIRST, strict=True):
        by_day, by_month = fit(texts, first), fit(texts, second)
        if by_day and by_month:
            return _undecided(by_day, by_month)
        if by_day or by_month:
            return by_day or by_month
    return None


def is_ambiguous_note(description: str | None) -> bool:
    """Whether a description says that day and month can't be told apart."""
    return description is not None and description.startswith(_AMBIGUOUS.partition(".")[0])


def _undecided(by_day: Dates, by_month: Dates) -> Dates:
    kind = "datetime" if "%M" in (by_day.pattern or "") else "date"
    text = _AMBIGUOUS.format(kind=kind, first=by_day.pattern, second=by_month.pattern)
    return Dates(None, description=text)


def _fit(texts: pl.Series, pattern: str) -> Dates | None:
    parse = parse_datetimes if "%H" in pattern or "%I" in pattern else parse_dates
    if not _fits(parse(texts.head(_PROBE), pattern)):
        return None
    values = parse(texts, pattern)
    return Dates(values, pattern) if _fits(values) else None


def _fit_timed(texts: pl.Series, pattern: str) -> Dates | None:
    for between, time in product((" ", "T"), _TIMES):
        found = _fit(texts, f"{pattern}{between}{time}")
        if found:
            return found
    return None


def _fits(moments: pl.Series) -> bool:
    """Every value was read, as a year in which a living patient or their study can lie."""
    years = moments.dt.year()
    return not moments.null_count() and bool(years.is_between(1800, 2200).all())


def _as_dates(moments: pl.Series) -> pl.Series:
    """Midnights throughout are dates that an export has padded."""
    dates = moments.cast(pl.Date)
    return dates if (dates.cast(pl.Datetime("us")) == moments).all() else moments
