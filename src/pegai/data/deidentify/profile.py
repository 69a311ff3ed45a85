"""What the detectors need to know of a column: its distinct values, how often, and their form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

VALUE = pl.col("value")
"""The distinct values, in an expression given to `Profile.count`."""

MISSING_MARKS = frozenset(
    (
        "",
        "na",
        "n/a",
        "nan",
        "null",
        "none",
        "nil",
        "?",
        "-",
        "--",
        ".",
        "missing",
        "unknown",
        "<na>",
    )
)
"""Texts, in lower case, that stand for a missing value and are never an identifier."""

_STACK = {"column": pl.Int64, "value": pl.String, "rows": pl.Int64}
_TRUTH_TEXT = (
    "0 1 yes no y n true false t f ja nein j oui non o si sí s nao não sim nee x positive "
    "negative present absent"
)
_TRUTH = frozenset(_TRUTH_TEXT.split())


@dataclass(frozen=True, eq=False)
class Profile:
    """The values of one column, as text.

    Attributes:
        name: The column's name.
        rows: Rows of the table, missing ones included.
        values: The distinct values that are not missing, stripped; shape (distinct,).
        counts: In how many rows each stands; shape (distinct,).
    """

    name: str
    rows: int
    values: pl.Series
    counts: pl.Series

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return self.values.len()

    @cached_property
    def present(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @property
    def uniqueness(self) -> float:
        """Distinct values a row with a value; 1 where every value stands once, 0 where none is."""
        return self.distinct / self.present if self.present else 0.0

    @cached_property
    def numbers(self) -> pl.Series:
        """The distinct values as numbers, null where they are none."""
        return self.values.cast(pl.Float64, strict=False).replace([float("nan")], None)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether at least 95 % of the rows with a value hold a number."""
        return self.present > 0 and self.share(self.numbers.is_not_null()) >= 0.95

    @cached_property
    def is_integer(self) -> bool:
        """Whether at least 95 % of the rows with a value hold digits only."""
        return self.present > 0 and self.share(self.values.str.contains(r"^\d+$")) >= 0.95

    @cached_property
    def is_truth(self) -> bool:
        """Whether the values say no more than yes or no."""
        if not 0 < self.distinct <= 2 or not set(self.values.str.to_lowercase()) <= _TRUTH:
            return False
        return self.present >= 3 or not self.is_numeric

    @cached_property
    def mean_words(self) -> float:
        """Mean number of words a row with a value; 0 where there is none."""
        if not self.present:
            return 0.0
        spaces = self.values.str.count_matches(r"\s+").cast(pl.Int64) + 1
        return float((spaces * self.counts).sum()) / self.present

    @cached_property
    def mean_digits(self) -> float:
        """Mean number of digits a row with a value; 0 where there is none."""
        if not self.present:
            return 0.0
        digits = self.values.str.count_matches(r"\d").cast(pl.Int64)
        return float((digits * self.counts).sum()) / self.present

    def rows_where(self, mask: pl.Series) -> int:
        """Rows whose value is marked; `mask` has the shape of `values`, null is not marked."""
        return int(self.counts.filter(mask.fill_null(False)).sum() or 0)

    def count(self, *tests: pl.Expr) -> list[int]:
        """Rows whose value passes each test, an expression over `VALUE`; one pass for all."""
        frame = pl.DataFrame({"value": self.values, "rows": self.counts})
        passed = [pl.col("rows").filter(test).sum().alias(str(i)) for i, test in enumerate(tests)]
        return [int(rows) for rows in frame.select(passed).row(0)] if tests else []

    def share(self, mask: pl.Series) -> float:
        """Share of the rows with a value whose value is marked; 0 where there is none."""
        return self.rows_where(mask) / self.present if self.present else 0.0

    def sample(self, size: int) -> Profile:
        """A profile of at most `size` distinct values, taken at even steps."""
        if self.distinct <= size:
            return self
        step = self.distinct // size
        return Profile(
            self.name,
            self.rows,
            self.values.gather_every(step).head(size),
            self.counts.gather_every(step).head(size),
        )


def count_each(columns: Sequence[Profile], tests: Sequence[pl.Expr]) -> list[list[int]]:
    """Rows of each column whose value passes each test, and last, any of them.

    All columns go through in one pass, for a regular expression costs more to compile than to run
    on a small table.

    Args:
        columns: The columns.
        tests: Expressions over `VALUE`, never null.

    Returns:
        One list a column, of as many counts as tests and one more.
    """
    if not columns:
        return []
    stacked = pl.concat(
        pl.DataFrame({"column": i, "value": c.values, "rows": c.counts}, schema_overrides=_STACK)
        for i, c in enumerate(columns)
    )
    names = [f"t{i}" for i in range(len(tests))]
    named = [test.alias(name) for name, test in zip(names, tests, strict=True)]
    passed = stacked.select("column", "rows", *named)
    passed = passed.with_columns(pl.any_horizontal(*names).alias("any"))
    summed = passed.group_by("column").agg(
        pl.col("rows").filter(pl.col(name)).sum().alias(name) for name in [*names, "any"]
    )
    found = {int(row[0]): [int(n) for n in row[1:]] for row in summed.iter_rows()}
    return [found.get(i, [0] * (len(tests) + 1)) for i in range(len(columns))]


def as_text(series: pl.Series) -> pl.Series:
    """A column as text; dates and datetimes in ISO 8601."""
    if series.dtype == pl.String:
        return series
    if series.dtype == pl.Binary:
        return series.bin.encode("hex")
    if isinstance(series.dtype, (pl.List, pl.Array, pl.Struct, pl.Object, pl.Duration)):
        return pl.Series(series.name, [None if v is None else str(v) for v in series], pl.String)
    return series.cast(pl.String)


def is_missing(text: pl.Series, extra: tuple[str, ...] = ()) -> pl.Series:
    """Which cells hold no value: null, blank, or a mark for missing; shape (rows,)."""
    marks = [*MISSING_MARKS, *(mark.strip().lower() for mark in extra)]
    plain = text.str.strip_chars().str.to_lowercase()
    return plain.is_null() | plain.is_in(marks).fill_null(True)


def profile(series: pl.Series, missing: tuple[str, ...] = ()) -> Profile:
    """The profile of a column; `missing` lists further texts that stand for "missing"."""
    text = as_text(series).str.strip_chars()
    present = _without_point(text.filter(~is_missing(text, missing))).alias("value")
    counted = present.value_counts(name="rows").sort("value")
    return Profile(series.name, series.len(), counted["value"], counted["rows"].cast(pl.Int64))


def _without_point(values: pl.Series) -> pl.Series:
    """Whole numbers as such, where a missing cell made a spreadsheet write `17.0` for 17."""
    whole = values.str.contains(r"^\d+\.0$")
    if not whole.any() or not (whole | values.str.contains(r"^\d+$")).all():
        return values
    return values.str.strip_suffix(".0")
