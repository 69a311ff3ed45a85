"""Dates as they stand in text: find their format, shift them by days, keep their year.

Only the date is ever changed: what follows it (a time of day, a zone) is carried over letter by
letter, so that intervals between two events of one patient stay as they were to the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pegai.data.deidentify.profile import Profile

_REST = (
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s?(?:[AaPp][Mm])?"
    r"\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?"
)
_MONTH_NAMES = (
    r"(?:[Jj]an|[Ff]eb|[Mm]ar|[Aa]pr|[Mm]ay|[Jj]un|[Jj]ul|[Aa]ug|[Ss]ep|[Oo]ct|[Nn]ov|[Dd]ec|"
    r"[A-Z]{3})"
)


@dataclass(frozen=True)
class DateFormat:
    """One way to write a date.

    Attributes:
        strftime: The pattern in the language of strptime.
        regex: What the date looks like in text.
    """

    strftime: str
    regex: str


FORMATS: tuple[DateFormat, ...] = (
    DateFormat("%Y-%m-%d", r"\d{4}-\d{1,2}-\d{1,2}"),
    DateFormat("%Y/%m/%d", r"\d{4}/\d{1,2}/\d{1,2}"),
    DateFormat("%Y.%m.%d", r"\d{4}\.\d{1,2}\.\d{1,2}"),
    DateFormat("%d.%m.%Y", r"\d{1,2}\.\d{1,2}\.\d{4}"),
    DateFormat("%d/%m/%Y", r"\d{1,2}/\d{1,2}/\d{4}"),
    DateFormat("%m/%d/%Y", r"\d{1,2}/\d{1,2}/\d{4}"),
    DateFormat("%d-%m-%Y", r"\d{1,2}-\d{1,2}-\d{4}"),
    DateFormat("%m-%d-%Y", r"\d{1,2}-\d{1,2}-\d{4}"),
    DateFormat("%d.%m.%y", r"\d{1,2}\.\d{1,2}\.\d{2}"),
    DateFormat("%d/%m/%y", r"\d{1,2}/\d{1,2}/\d{2}"),
    DateFormat("%m/%d/%y", r"\d{1,2}/\d{1,2}/\d{2}"),
    DateFormat("%d-%b-%Y", rf"\d{{1,2}}-{_MONTH_NAMES}-\d{{4}}"),
    DateFormat("%d %b %Y", rf"\d{{1,2}} {_MONTH_NAMES} \d{{4}}"),
    DateFormat("%d%b%Y", rf"\d{{1,2}}{_MONTH_NAMES}\d{{4}}"),
    DateFormat("%d %B %Y", r"\d{1,2} [A-Z][a-z]{2,8} \d{4}"),
    DateFormat("%B %d, %Y", r"[A-Z][a-z]{2,8} \d{1,2}, \d{4}"),
    DateFormat("%b %d, %Y", rf"{_MONTH_NAMES} \d{{1,2}}, \d{{4}}"),
    DateFormat("%Y%m%d", r"\d{8}"),
    DateFormat("%Y-%m", r"\d{4}-\d{2}"),
)
"""The ways to write a date that can be shifted; the first that fits most cells is taken."""

_SPELLED = (
    r"(?i)^\d{1,2}\.? (de )?(janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|"
    r"novembre|décembre|januar|februar|märz|april|juni|juli|august|september|oktober|november|"
    r"dezember|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|"
    r"diciembre|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre|januari|"
    r"februari|maart|mei|augustus|december|janeiro|fevereiro|março|maio|junho|julho|setembro|"
    r"outubro|novembro|dezembro) (de )?\d{4}"
)
_MIN_SHARE = 0.8
_YEARS = (1700, 2299)


def _full(regex: str) -> str:
    return f"^({regex})({_REST})$"


def parse(values: pl.Series, form: DateFormat) -> pl.Series:
    """The dates of a column in one format, null where a value is none; shape (values,)."""
    text = values.str.extract(_full(form.regex), 1)
    pattern, text = (
        ("%Y-%m-%d", text + "-01") if form.strftime == "%Y-%m" else (form.strftime, text)
    )
    dates = text.str.to_date(pattern, strict=False)
    inside = dates.dt.year().is_between(*_YEARS)
    return pl.select(pl.when(inside).then(dates)).to_series().alias(values.name)


@dataclass(frozen=True)
class FoundDates:
    """What the dates of a column look like.

    Attributes:
        formats: The formats that share the most cells: one, two where day and month can't be told
            apart, none where the dates are spelled in words that are not parsed.
        share: Share of the cells with a value that are dates.
        rows: Number of cells that are dates.
    """

    formats: tuple[DateFormat, ...]
    share: float
    rows: int

    @property
    def shiftable(self) -> DateFormat | None:
        """The format in which whole days can be added; None where it is unknown or month-wide."""
        if len(self.formats) != 1 or "%d" not in self.formats[0].strftime:
            return None
        return self.formats[0]


def find_dates(column: Profile, declared: str | None = None) -> FoundDates | None:
    """How a column's dates are written, or None where fewer than four cells in five are dates.

    Args:
        column: The column.
        declared: The strptime pattern of the schema; it decides between day first and month first.
    """
    if column.distinct == 0 or (column.is_numeric and not column.is_integer):
        return None
    few = column.sample(2_000)
    shares = [(few.share(parse(few.values, form).is_not_null()), form) for form in FORMATS]
    best = max(share for share, _ in shares)
    if best >= _MIN_SHARE:
        formats = tuple(form for share, form in shares if share == best)
        told = tuple(form for form in formats if declared and declared.startswith(form.strftime))
        rows = column.rows_where(parse(column.values, formats[0]).is_not_null())
        return FoundDates((told or _different(few, formats)), rows / column.present, rows)
    looks = _looks_like_a_date(few.values)
    if few.share(looks) < _MIN_SHARE:
        return None
    rows = column.rows_where(_looks_like_a_date(column.values))
    return FoundDates((), rows / column.present, rows)


def _different(few: Profile, formats: tuple[DateFormat, ...]) -> tuple[DateFormat, ...]:
    """The formats that read some value differently: `%d %b` and `%d %B` agree on May."""
    first = parse(few.values, formats[0])
    others = [form for form in formats[1:] if not parse(few.values, form).equals(first)]
    return (formats[0], *others)


def _looks_like_a_date(values: pl.Series) -> pl.Series:
    found = values.str.contains(_SPELLED)
    for form in FORMATS:
        found = found | parse(values, form).is_not_null()
    return found


def shift_days(text: pl.Series, form: DateFormat, days: pl.Series) -> pl.Series:
    """Each date moved by its row's number of days; null where a value is no date.

    Args:
        text: The column, stripped; shape (rows,).
        form: How its dates are written; the result is written so too.
        days: Whole days, shape (rows,).
    """
    moved = parse(text, form).to_frame("date").with_columns(days.alias("days"))
    moved = moved.select(pl.col("date") + pl.duration(days=pl.col("days"))).to_series()
    written = moved.dt.strftime(_like(text, form))
    return (written + text.str.extract(_full(form.regex), 2)).alias(text.name)


def _like(text: pl.Series, form: DateFormat) -> str:
    """The pattern without leading zeros, if the column writes `1/2/2020`."""
    date = text.str.extract(_full(form.regex), 1)
    if date.str.contains(r"^(\d{4}[-./])?\d[-./ ]|[-./ ]\d([-./ ]|$)|^[A-Za-z]+ \d,").any():
        return form.strftime.replace("%m", "%-m").replace("%d", "%-d")
    return form.strftime


def years(text: pl.Series, formats: tuple[DateFormat, ...]) -> pl.Series:
    """The year of each date as text, null where there is none; shape (rows,)."""
    found = pl.repeat(None, text.len(), dtype=pl.Int32, eager=True)
    for form in formats or FORMATS:
        found = pl.select(pl.coalesce(found, parse(text, form).dt.year())).to_series()
    spelled = text.str.extract(r"(?:^|\D)((?:18|19|20|21)\d{2})(?:\D|$)", 1)
    return pl.select(pl.coalesce(found.cast(pl.String), spelled)).to_series().alias(text.name)
