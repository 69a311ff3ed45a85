"""What is done to a column of text: replace, shift dates, keep the year, cut ZIP codes, top-code.

Each function takes the column as text with its mask of missing cells, and gives back the column
with the number of cells it changed. Missing cells stay as they were, letter by letter. A value that
a treatment can't read becomes missing: what is not understood may be an identifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.deidentify.dates import DateFormat, FoundDates, parse, shift_days, years
from pegai.data.deidentify.fictitious import Fictitious
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.patterns import sharp_cells

_SMALL = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
SMALL_ZIP3 = frozenset(_SMALL.split())
"""Three-digit ZIP areas of 20,000 people or fewer, by the 2010 census (45 CFR 164.514(b)(2)(i)(B),
OCR guidance of 26 November 2012): they become 000."""

OLDEST = 89
"""Ages above this are joined (45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of text.

    Attributes:
        text: The cells, stripped; shape (rows,).
        missing: Which cells hold no value; shape (rows,).
    """

    text: pl.Series
    missing: pl.Series

    def put(self, values: pl.Series) -> Treated:
        """The column with new values where there was one, and how many cells differ."""
        new = pl.select(pl.when(self.missing).then(self.text).otherwise(values)).to_series()
        changed = int((new.ne_missing(self.text) & ~self.missing).sum())
        return Treated(new.alias(self.text.name), changed)


@dataclass(frozen=True, eq=False)
class Treated:
    """A column after its treatment.

    Attributes:
        text: The cells; shape (rows,).
        cells: How many were changed.
    """

    text: pl.Series
    cells: int


def replace_values(cells: Cells, kind: IdentifierClass, source: Fictitious) -> Treated:
    """Equal values by equal fictitious ones, so that the rows of a patient stay together."""
    originals = cells.text.filter(~cells.missing).unique().sort()
    return _mapped(cells, originals, source.replacements(kind, originals))


def replace_unit(cells: Cells, source: Fictitious, *, whole_numbers: bool) -> Treated:
    """Patient ids by fresh codes that tell nothing."""
    originals = cells.text.filter(~cells.missing).unique().sort()
    return _mapped(cells, originals, source.codes(originals, whole_numbers=whole_numbers))


def _mapped(cells: Cells, originals: pl.Series, new: pl.Series) -> Treated:
    if originals.is_empty():
        return Treated(cells.text, 0)
    return cells.put(cells.text.replace_strict(originals, new, default=None))


def blank_sharp(cells: Cells) -> Treated:
    """Empty the cells that hold an identifier of unmistakable form, keep the others."""
    bare = pl.Series(cells.text.name, [None] * cells.text.len(), pl.String)
    hit = sharp_cells(cells.text)
    return cells.put(pl.select(pl.when(hit).then(bare).otherwise(cells.text)).to_series())


def offset_dates(cells: Cells, form: DateFormat, days: pl.Series) -> Treated:
    """Each date moved by the days of its patient; `days` has the shape (rows,)."""
    return cells.put(shift_days(cells.text, form, days))


def keep_year(cells: Cells, found: FoundDates | None) -> Treated:
    """Each date by its year."""
    return cells.put(years(cells.text, found.formats if found is not None else ()))


def cut_zip(cells: Cells) -> Treated:
    """ZIP codes by their first three digits, 000 where few people live.

    A ZIP code that lost its leading zeros in a spreadsheet gets them back first. Three digits in a
    column of three-digit codes are taken as already cut.
    """
    text = cells.text.str.replace(r"^(\d+)\.0+$", "$1")
    short = text.filter(~cells.missing).str.contains(r"^\d{3}$")
    is_cut = short.len() > 0 and float(short.mean() or 0) > 0.5  # pyright: ignore[reportArgumentType]
    whole = text.str.extract(r"^(\d{5})(?:-?\d{4})?$", 1)
    spoiled = text.str.extract(r"^(\d{3,4})(?:-\d{4})?$", 1)
    digits = pl.select(pl.coalesce(whole, spoiled)).to_series()
    area = digits.str.zfill(3 if is_cut else 5).str.head(3)
    small = area.is_in(list(SMALL_ZIP3))
    return cells.put(pl.select(pl.when(small).then(pl.lit("000")).otherwise(area)).to_series())


def top_code_age(cells: Cells) -> Treated:
    """Ages above 89 as 90, which stands for 90 or older."""
    number = cells.text.cast(pl.Float64, strict=False)
    old = (number > OLDEST) & number.is_not_nan()
    top = pl.when(old).then(pl.lit(str(OLDEST + 1))).otherwise(cells.text)
    return cells.put(pl.select(top).to_series())


def day_shifts(
    unit: pl.Series | None, rows: int, *, max_days: int, rng: np.random.Generator
) -> pl.Series:
    """One random shift a patient, never zero; without a patient id, one a row.

    Args:
        unit: The patient id of each row, missing as null; shape (rows,).
        rows: Number of rows.
        max_days: Shifts lie between -max_days and max_days.
        rng: Where the shifts come from: keep its seed secret, it undoes them.
    """
    per_row = _nonzero(rng, rows, max_days)
    if unit is None:
        return pl.Series("days", per_row)
    ids = unit.unique().drop_nulls().sort()
    if ids.is_empty():
        return pl.Series("days", per_row)
    # Drawn after the rows', in the order of the ids: the order of the rows changes no shift.
    drawn = pl.Series("days", _nonzero(rng, ids.len(), max_days))
    shared = unit.replace_strict(ids, drawn, default=None, return_dtype=pl.Int64)
    return pl.select(pl.coalesce(shared, pl.Series(per_row))).to_series().alias("days")


def _nonzero(rng: np.random.Generator, size: int, most: int) -> np.ndarray:
    size_of_shift = rng.integers(1, most + 1, size)
    return np.where(rng.random(size) < 0.5, -size_of_shift, size_of_shift)


def cap_births(cells: Cells, form: DateFormat | None, reference: pl.Series) -> Treated:
    """Births that make a patient older than 89 in the reference year, as 90 years before it.

    Args:
        cells: Dates of birth, or years where `form` is None.
        form: How the dates are written.
        reference: The last year known of the patient; null leaves the birth; shape (rows,).
    """
    if form is None:
        born = cells.text.cast(pl.Int32, strict=False)
        latest = (reference - OLDEST - 1).cast(pl.String)
    else:
        born = cells.text.to_frame("text").select(parse(pl.col("text"), form).dt.year()).to_series()
        first_day = pl.date(pl.col("year") - OLDEST - 1, 1, 1).dt.strftime(form.strftime)
        latest = reference.to_frame("year").select(first_day).to_series()
    old = (reference - born > OLDEST).fill_null(False)
    return cells.put(pl.select(pl.when(old).then(latest).otherwise(cells.text)).to_series())
