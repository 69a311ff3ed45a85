"""How hidden a patient is among others: k-anonymity, l-diversity, t-closeness.

Rows that agree on the quasi-identifiers form an equivalence class. Sources: Sweeney 2002 (k),
Machanavajjhala et al. 2007 (l, distinct and entropy), Li, Li and Venkatasubramanian 2007 (t).
Missing is a value: it hides nobody and may be what an attacker learns. With a patient id, patients
are counted, not rows. These measures describe the *real* table; they say nothing about a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pegai.data.deidentify.closeness import ordered_distance, total_variation
from pegai.data.table import Table
from pegai.errors import UsageError

Distance = Literal["total variation", "ordered"]


@dataclass(frozen=True)
class Diversity:
    """What an attacker who finds a patient's class learns of one sensitive column.

    Attributes:
        column: The sensitive column.
        distinct_l: Fewest distinct values in a class.
        entropy_l: exp of the smallest entropy of a class: the number of equally likely values.
        t: Largest distance between a class and the whole table, 0 to 1.
        distance: `total variation` for categories, `ordered` (earth mover's) for numbers.
    """

    column: str
    distinct_l: int
    entropy_l: float
    t: float
    distance: Distance


@dataclass(frozen=True)
class Anonymity:
    """How hidden patients are by their quasi-identifiers.

    Attributes:
        quasi_identifiers: The columns that make the classes.
        patients: Number of patients, or rows without a patient id.
        classes: Number of equivalence classes.
        k: Patients in the smallest class; 0 for an empty table.
        unique: Patients alone in their class.
        unique_share: Share of patients alone in their class.
        sizes: Class size and number of classes of that size, ascending.
        diversity: One entry for each sensitive column.
    """

    quasi_identifiers: tuple[str, ...]
    patients: int
    classes: int
    k: int
    unique: int
    unique_share: float
    sizes: tuple[tuple[int, int], ...]
    diversity: tuple[Diversity, ...] = ()


@dataclass(frozen=True)
class BeforeAfter:
    """The measures before and after de-identification.

    Attributes:
        before: Of the table that came in.
        after: Of the table that went out.
    """

    before: Anonymity
    after: Anonymity

    def rows(self) -> list[tuple[str, float, float]]:
        """Measure, before, after: the rows of a table for people."""
        pairs: list[tuple[str, float, float]] = [
            ("smallest class (k)", self.before.k, self.after.k),
            ("patients alone in their class", self.before.unique, self.after.unique),
            ("share of patients alone", self.before.unique_share, self.after.unique_share),
            ("equivalence classes", self.before.classes, self.after.classes),
        ]
        later = {d.column: d for d in self.after.diversity}
        for old in self.before.diversity:
            new = later.get(old.column)
            if new is not None:
                pairs += [
                    (f"distinct l of {old.column}", old.distinct_l, new.distinct_l),
                    (f"entropy l of {old.column}", old.entropy_l, new.entropy_l),
                    (f"t of {old.column}", old.t, new.t),
                ]
        return pairs


def anonymity(
    data: Table | pl.DataFrame,
    quasi_identifiers: Sequence[str] | None = None,
    *,
    sensitive: str | Sequence[str] | None = None,
    unit: str | None = None,
) -> Anonymity:
    """Measure k-anonymity, l-diversity and t-closeness.

    Args:
        data: The table; shape (rows, columns).
        quasi_identifiers: The columns an attacker may know; None takes those with the role in a
            `Table`'s schema. An empty list makes one class of everybody.
        sensitive: The column or columns an attacker may want; None takes the roles `sensitive` and
            `target`.
        unit: The column of the patient id; None takes the schema's. A patient with rows in two
            classes counts in both.

    Raises:
        UsageError: A column is not in the table, a sensitive column is a quasi-identifier, or a
            frame comes without `quasi_identifiers`.

    Example:
        >>> frame = pl.DataFrame({"age": [30, 30, 41], "hiv": ["no", "yes", "no"]})
        >>> found = anonymity(frame, ["age"], sensitive="hiv")
        >>> found.k, found.unique, found.diversity[0].distinct_l, round(found.diversity[0].t, 3)
        (1, 1, 1, 0.333)
    """
    frame, quasi, wanted, unit = _columns(data, quasi_identifiers, sensitive, unit)
    table = frame.select(_numbered(frame, quasi).alias("class"), _patients(frame, unit))
    sizes = table.group_by("class").agg(pl.col("patient").n_unique().alias("size"))
    patients = table["patient"].n_unique() if table.height else 0
    histogram = sizes.group_by("size").len().sort("size")
    unique = int((sizes["size"] == 1).sum())
    diversity = tuple(
        _diversity(table.with_columns(frame[name].alias("value")), name, _is_ordered(data, name))
        for name in wanted
    )
    return Anonymity(
        tuple(quasi),
        patients,
        sizes.height,
        int(sizes["size"].min() or 0),  # pyright: ignore[reportArgumentType]
        unique,
        unique / patients if patients else 0.0,
        tuple((int(size), int(count)) for size, count in histogram.iter_rows()),
        diversity,
    )


def before_after(
    before: Table | pl.DataFrame,
    after: Table | pl.DataFrame,
    *,
    quasi_identifiers: Sequence[str] | None = None,
    sensitive: str | Sequence[str] | None = None,
    unit: str | None = None,
) -> BeforeAfter:
    """`anonymity` of a table before and after de-identification.

    Columns that were dropped in between count before only: an attacker can't look them up any more.
    """
    _, quasi, wanted, unit = _columns(before, quasi_identifiers, sensitive, unit)
    left = (after.frame if isinstance(after, Table) else after).columns
    first = anonymity(before, quasi, sensitive=wanted, unit=unit)
    second = anonymity(
        after,
        [name for name in quasi if name in left],
        sensitive=[name for name in wanted if name in left],
        unit=unit if unit in left else None,
    )
    return BeforeAfter(first, second)


def _columns(
    data: Table | pl.DataFrame,
    quasi: Sequence[str] | None,
    sensitive: str | Sequence[str] | None,
    unit: str | None,
) -> tuple[pl.DataFrame, list[str], list[str], str | None]:
    frame = data.frame if isinstance(data, Table) else data
    schema = data.schema if isinstance(data, Table) else None
    if quasi is None:
        if schema is None:
            raise UsageError("a frame without a schema needs quasi_identifiers")
        quasi = [c.name for c in schema.with_role("quasi-identifier")]
    if sensitive is None:
        roles = ("sensitive", "target")
        listed = [c.name for c in schema.columns if c.role in roles] if schema else []
        sensitive = [name for name in listed if name not in quasi]
    wanted = [sensitive] if isinstance(sensitive, str) else list(sensitive)
    unit = unit if unit is not None or schema is None else schema.unit
    for name in [*quasi, *wanted, *([unit] if unit is not None else [])]:
        if name not in frame.columns:
            raise UsageError(f"the table has no column {name!r}")
    both = [name for name in wanted if name in quasi]
    if both:
        raise UsageError(f"{both[0]!r} can't be both quasi-identifier and sensitive")
    return frame, list(quasi), wanted, unit


def _numbered(frame: pl.DataFrame, quasi: list[str]) -> pl.Series:
    """The number of each row's class; shape (rows,)."""
    if not quasi:
        return pl.repeat(0, frame.height, dtype=pl.UInt32, eager=True)
    return frame.select(pl.struct(quasi).rank("dense").cast(pl.UInt32)).to_series()


def _patients(frame: pl.DataFrame, unit: str | None) -> pl.Series:
    """The number of each row's patient; a missing id is a patient of its own; shape (rows,)."""
    rows = pl.Series("patient", range(frame.height), dtype=pl.Int64)
    if unit is None:
        return rows
    known = frame[unit].rank("dense").cast(pl.Int64) + frame.height
    return pl.select(pl.coalesce(known, rows)).to_series().alias("patient")


def _is_ordered(data: Table | pl.DataFrame, name: str) -> bool:
    if isinstance(data, Table):
        column = data.schema[name]
        return column.is_numeric or column.kind == "ordinal"
    return data.schema[name].is_numeric() or data.schema[name].is_temporal()


def _diversity(table: pl.DataFrame, column: str, is_ordered: bool) -> Diversity:
    """`table` has the columns class, patient and value; a patient counts once for each value."""
    if table.height == 0:
        return Diversity(column, 0, 0.0, 0.0, "ordered" if is_ordered else "total variation")
    # Rank 0 is "missing": for an ordered column it stands below the smallest value.
    coded = table.with_columns(pl.col("value").rank("dense").fill_null(0).cast(pl.Int64))
    counts = coded.unique(["class", "patient", "value"]).group_by("class", "value").len("n")
    shares = counts.with_columns((pl.col("n") / pl.col("n").sum().over("class")).alias("p"))
    classes = shares.group_by("class").agg(
        pl.len().alias("distinct"), -(pl.col("p") * pl.col("p").log()).sum().alias("entropy")
    )
    distance = ordered_distance(counts) if is_ordered else total_variation(counts)
    return Diversity(
        column,
        int(classes["distinct"].min() or 0),  # pyright: ignore[reportArgumentType]
        math.exp(max(0.0, float(classes["entropy"].min() or 0.0))),  # pyright: ignore[reportArgumentType]
        distance,
        "ordered" if is_ordered else "total variation",
    )
