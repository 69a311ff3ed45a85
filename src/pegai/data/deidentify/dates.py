"""Dates as they stand in text: find their format, shift them by days, keep their year.

Only the date is ever changed: what follows it (a time of day, a zone) is carried over letter by
letter, so that intervals between two events of one patient stay as they were to the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pegai.data.deidentify.profile import VALUE, Profile, count_each

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
_SAMPLE = 2_000
_MIN_SHARE = 0.8
_YEARS = (1700, 2299)


def _full(regex: str) -> str:
    return f"^({regex})({_REST})$"


def parse(text: pl.Expr, form: DateFormat) -> pl.Expr:
    """The dates of a text column in one format, null where a cell is none."""
    date = text.str.extract(_full(form.regex), 1)
    if form.strftime == "%Y-%m":
        found = (date + "-01").str.to_date("%Y-%m-%d", strict=False)
    else:
        found = date.str.to_date(form.strftime, strict=False)
    return pl.when(found.dt.year().is_between(*_YEARS)).then(found)


def _of(text: pl.Series, *expressions: pl.Expr) -> list[pl.Series]:
    """Expressions over the column `text`, as series of its name."""
    frame = text.alias("text").to_frame()
    named = [expression.alias(str(i)) for i, expression in enumerate(expressions)]
    return [series.alias(text.name) for series in frame.select(named).iter_columns()]


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


def find_dates(
    columns: Sequence[Profile], declared: Mapping[str, str | None]
) -> dict[str, FoundDates]:
    """How the dates of each column are written; columns of other things are left out.

    A column holds dates if at least four in five of its cells with a value are dates.

    Args:
        columns: The columns.
        declared: Column name to the strptime pattern of the schema, which decides between day
            first and month first.
    """
    able = [c for c in columns if c.mean_digits >= 3 and (c.is_integer or not c.is_numeric)]
    few = [column.sample(_SAMPLE) for column in able]
    shapes = [VALUE.str.contains(_full(form.regex)) for form in FORMATS]
    shaped = count_each(few, [*shapes, VALUE.str.contains(_SPELLED)])
    found: dict[str, FoundDates] = {}
    for column, part, (*rows, any_shape) in zip(able, few, shaped, strict=True):
        if any_shape >= _MIN_SHARE * part.present:
            likely = [form for form, n in zip(FORMATS, rows[:-1], strict=True) if n]
            dates = _read(column, part, likely, declared.get(column.name))
            if dates is not None:
                found[column.name] = dates
    return found


def _read(
    column: Profile, few: Profile, likely: list[DateFormat], declared: str | None
) -> FoundDates | None:
    rows = few.count(*(parse(VALUE, form).is_not_null() for form in likely))
    best = max(rows, default=0)
    if best >= _MIN_SHARE * few.present:
        formats = tuple(form for form, n in zip(likely, rows, strict=True) if n == best)
        told = tuple(form for form in formats if declared and declared.startswith(form.strftime))
        dated = column.count(parse(VALUE, formats[0]).is_not_null())[0]
        return FoundDates((told or _different(few, formats)), dated / column.present, dated)
    looks = pl.any_horizontal(
        VALUE.str.contains(_SPELLED), *(parse(VALUE, form).is_not_null() for form in likely)
    )
    if few.count(looks)[0] < _MIN_SHARE * few.present:
        return None
    dated = column.count(looks)[0]
    return FoundDates((), dated / column.present, dated)


def _different(few: Profile, formats: tuple[DateFormat, ...]) -> tuple[DateFormat, ...]:
    """The formats that read some value differently: `%d %b` and `%d %B` agree on May."""
    first, *others = _of(few.values, *(parse(pl.col("text"), form) for form in formats))
    told = [f for f, dates in zip(formats[1:], others, strict=True) if not dates.equals(first)]
    return (formats[0], *told)


def shift_days(text: pl.Series, form: DateFormat, days: pl.Series) -> pl.Series:
    """Each date moved by its row's number of days; null where a value is no date.

    Args:
        text: The column, stripped; shape (rows,).
        form: How its dates are written; the result is written so too.
        days: Whole days, shape (rows,).
    """
    frame = pl.DataFrame({"text": text, "days": days})
    moved = parse(pl.col("text"), form) + pl.duration(days=pl.col("days"))
    rest = pl.col("text").str.extract(_full(form.regex), 2)
    written = moved.dt.strftime(_like(text, form)) + rest
    return frame.select(written.alias(text.name)).to_series()


def _like(text: pl.Series, form: DateFormat) -> str:
    """The pattern without leading zeros, if the column writes `1/2/2020`."""
    date = text.str.extract(_full(form.regex), 1)
    if date.str.contains(r"^(\d{4}[-./])?\d[-./ ]|[-./ ]\d([-./ ]|$)|^[A-Za-z]+ \d,").any():
        return form.strftime.replace("%m", "%-m").replace("%d", "%-d")
    return form.strftime


def years(text: pl.Series, formats: tuple[DateFormat, ...]) -> pl.Series:
    """The year of each date as text, null where there is none; shape (rows,)."""
    column = pl.col("text")
    read = [parse(column, form).dt.year().cast(pl.String) for form in formats or FORMATS]
    spelled = column.str.extract(r"(?:^|\D)((?:18|19|20|21)\d{2})(?:\D|$)", 1)
    return _of(text, pl.coalesce(*read, spelled))[0]
