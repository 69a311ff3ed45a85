"""Public grids, and the one-way tables counted on them: what a private fit may look at first.

A grid is made from the schema alone. On it, each column's rows are counted, split by the classes
of the target where there is one. A patient's k rows weigh 1/k, rounded down on an integer grid, so
that one patient changes each table by at most 1 in L1 and d tables together by at most sqrt(d) in
L2, whatever k is. Counts, and the noise on them, are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pegai.data.table import Table
from pegai.encode.categorical import CategoricalEncoder, CategoricalSummary, level_codes
from pegai.encode.numeric import NumericEncoder, NumericSummary, bounded
from pegai.encode.table import ColumnEncoder, TableEncoder, TableSummary
from pegai.errors import PlanError
from pegai.privacy.events import GaussianEvent
from pegai.privacy.guarantee import Plan
from pegai.privacy.session import Session
from pegai.schema import Column, Schema
from pegai.synth.packing import Packing
from pegai.synth.rows import chunks, modelled

WHOLE = 2**16
"""The integer weight of a patient, where one can have several rows; else it is 1."""

MAX_CLASSES = 10
MAX_VALUES = 1024
FEW_LEVELS = 16
"""A column of so few levels keeps them all apart, however rare."""
SPIKE_DEVIATIONS = 4.5
"""How far above the noise a single value must stand to count as shared: among 1,000 empty cells
noise alone gets there with chance 0.003."""


@dataclass(frozen=True)
class Grid:
    """The public cells of a column; the last cell is for missing and unknown values.

    Attributes:
        column: The column.
        edges: Bin edges of a numeric column, shape (bins + 1,); None for a discrete one.
    """

    column: Column
    edges: np.ndarray | None

    @classmethod
    def of(cls, column: Column, bins: int, *, zero: bool = False) -> Grid:
        """The grid of a column with a public domain.

        Args:
            column: With public bounds or levels.
            bins: Cells of a numeric column.
            zero: Whether the value 0 has a cell of its own, where the bounds hold it: in medicine
                0 is mostly "none" (no depression of the ST segment, no cigarettes), and shared.
        """
        if column.is_discrete:
            return cls(column, None)
        low, high = column.minimum, column.maximum
        if low is None or high is None:
            raise ValueError(f"column {column.name!r} has no bounds")
        unit = _unit(column)
        if unit is None:
            return cls(column, np.linspace(low, max(high, low + 1e-9), bins + 1))
        # Cells of an equal number of values, cut halfway between two of them.
        values = round((high - low) / unit) + 1
        step = max(1, -(-values // bins))
        edges = low + unit * (step * np.arange(-(-values // step) + 1) - 0.5)
        return cls(column, _with_zero(edges, unit) if zero and low <= 0 <= high else edges)

    @classmethod
    def of_values(cls, column: Column) -> Grid | None:
        """One cell for each value that a numeric column can take; None if there are too many."""
        unit, low, high = _unit(column), column.minimum, column.maximum
        if column.is_discrete or unit is None or low is None or high is None:
            return None
        values = round((high - low) / unit) + 1
        if values > MAX_VALUES:
            return None
        return cls(column, low + unit * (np.arange(values + 1) - 0.5))

    @property
    def size(self) -> int:
        """Number of cells, with the one for missing."""
        return (len(self.column.levels) if self.edges is None else len(self.edges) - 1) + 1

    @property
    def centres(self) -> np.ndarray:
        """Middles of a numeric column's cells, shape (bins,)."""
        edges = np.zeros(1) if self.edges is None else self.edges
        return (edges[:-1] + edges[1:]) / 2

    def codes(self, table: Table) -> np.ndarray:
        """The cell of each row, shape (rows,)."""
        if self.edges is None:
            return level_codes(table.texts(self.column.name), self.column.levels)
        values = bounded(table.numbers(self.column.name), self.column)
        cells = np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, self.size - 2)
        return np.where(np.isnan(values), self.size - 1, cells)

    def summary(
        self, counts: np.ndarray, spikes: tuple[tuple[float, float], ...] = ()
    ) -> CategoricalSummary | NumericSummary:
        """An encoder's summary from (noisy) counts, shape (size,), and shared values."""
        if self.edges is None:
            return CategoricalSummary(counts)
        return NumericSummary.on_grid(self.edges, counts, spikes)

    def spikes(self, counts: np.ndarray, *, threshold: float) -> tuple[tuple[float, float], ...]:
        """Values whose (noisy) rows stand out by themselves, with their rows.

        Args:
            counts: Of a grid of single values, shape (size,).
            threshold: Several deviations of the noise.
        """
        tall = np.flatnonzero(counts[:-1] > threshold)
        return tuple((float(self.centres[i]), float(counts[i])) for i in tall)

    def to_codes(self, counts: np.ndarray, encoder: ColumnEncoder) -> np.ndarray:
        """Counts of the grid's cells as counts of the encoder's codes.

        Args:
            counts: Shape (classes, grid size).
            encoder: Fitted on this grid's summary.

        Returns:
            Shape (classes, encoder size). Missing counts of a required column are dropped.
        """
        moved = np.zeros((len(counts), encoder.size))
        if isinstance(encoder, CategoricalEncoder):
            cells = np.array([encoder.code_of(level) for level in self.column.levels])
        else:
            cells = encoder.encode(self.centres)
        np.add.at(moved.T, cells, counts[:, :-1].T)
        if encoder.missing:
            moved[:, -1] = counts[:, -1]
        return moved


def _with_zero(edges: np.ndarray, unit: float) -> np.ndarray:
    """The edges with a cell for 0 alone; neighbours keep what is left of theirs."""
    zero = np.array([-unit / 2, unit / 2])
    apart = edges[np.abs(edges[:, None] - zero).min(axis=1) > unit / 4]
    inside = zero[(zero > edges[0] - unit / 4) & (zero < edges[-1] + unit / 4)]
    return np.sort(np.concatenate([apart, inside]))


def _unit(column: Column) -> float | None:
    """The distance between two neighbouring values of a numeric column, if there is one."""
    if column.type in ("integer", "date", "datetime"):
        return 1.0
    decimals = column.pegai.decimals
    return None if decimals is None else 10.0**-decimals


def grid_encoder(schema: Schema, *, bins: int) -> TableEncoder:
    """Codes that are the cells of the public grids: nothing about them was learnt."""
    modelled = schema.only_modelled()
    encoders: list[ColumnEncoder] = []
    for column in modelled.columns:
        edges = Grid.of(column, bins, zero=True).edges
        if edges is None:
            missing = not column.constraints.required
            encoders.append(CategoricalEncoder(column, column.levels, missing=missing))
        else:
            encoders.append(NumericEncoder.of_cells(edges, column))
    return TableEncoder(modelled, tuple(encoders))


def class_column(schema: Schema, name: str | None) -> Column | None:
    """The column whose classes split the tables, if it is discrete with few levels."""
    column = schema[name] if name is not None else schema.target
    if column is None or not column.is_discrete or len(column.levels) > MAX_CLASSES:
        return None
    return column


def patient_weight(schema: Schema) -> int:
    """The integer weight of a patient: `WHOLE`, or 1 where each row is one."""
    return 1 if schema.unit is None else WHOLE


@dataclass(frozen=True, eq=False)
class PatientWeights:
    """What each row weighs, so that no patient weighs more than `whole`.

    Attributes:
        rows: Integers held as float64, shape (rows,), sums of which stay exact; None is all 1.
        whole: The most that a patient's rows weigh together; public.
    """

    rows: np.ndarray | None
    whole: int

    @classmethod
    def of(cls, table: Table) -> PatientWeights:
        """floor(WHOLE / k) for each of a patient's k rows; 1 where a row is a patient."""
        whole = patient_weight(table.schema)
        if table.schema.unit is None:
            return cls(None, whole)
        units = table.unit_codes()
        return cls(np.floor(whole / np.bincount(units)[units]), whole)

    def part(self, start: int, end: int) -> PatientWeights:
        """Those of some rows; a patient's other rows may be elsewhere, and still count."""
        return PatientWeights(None if self.rows is None else self.rows[start:end], self.whole)


def class_tables(
    grids: list[Grid], table: Table, *, split_by: Column | None, weights: PatientWeights
) -> list[np.ndarray]:
    """One table a grid: integer weights of the rows by class and cell.

    Returns:
        int64 arrays of shape (classes, grid size). Without a class column there is one class; with
        one, rows whose class is missing fall in the last, so no row is left out.
    """
    if split_by is None:
        classes, total = np.zeros(len(table), dtype=np.int64), 1
    else:
        classes = level_codes(table.texts(split_by.name), split_by.levels)
        total = len(split_by.levels) + 1
    tables: list[np.ndarray] = []
    for grid in grids:
        joint = classes * grid.size + grid.codes(table)
        counts = np.bincount(joint, weights=weights.rows, minlength=total * grid.size)
        tables.append(counts.astype(np.int64).reshape(total, grid.size))
    return tables


@dataclass(frozen=True)
class Look:
    """One noisy look at all one-way tables.

    Attributes:
        schema: The columns, in order.
        grids: The grid of each column.
        tables: Noisy rows by class and cell, one array (classes, grid size) a column.
        spikes: By column, values that many rows share, with their noisy rows.
        deviation: Standard deviation of the noise in every cell; public.
    """

    schema: Schema
    grids: list[Grid]
    tables: list[np.ndarray]
    spikes: dict[str, tuple[tuple[float, float], ...]]
    deviation: float

    @property
    def patients(self) -> float:
        """The noisy number of patients, at least 1."""
        return max(float(np.median([t.sum() for t in self.tables])), 1.0)

    def encoder(
        self, *, max_bins: int, min_deviations: float = 0.0, keep: Column | None = None
    ) -> TableEncoder:
        """Codes fitted on the noisy tables.

        Args:
            max_bins: At most about this many bins a numeric column.
            min_deviations: Levels of fewer deviations of the noise share a code, where there are
                more than `FEW_LEVELS`.
            keep: A column whose levels all keep their own.
        """
        threshold = self.deviation * len(self.tables[0]) ** 0.5
        parts = [
            grid.summary(_without_noise(grid, t.sum(axis=0), threshold), self.spikes_of(grid))
            for grid, t in zip(self.grids, self.tables, strict=True)
        ]
        summary = TableSummary(self.schema, tuple(parts))
        encoder = TableEncoder.fit(summary, max_bins=max_bins, min_count=min_deviations * threshold)
        own = [self._own_cells(i, max_bins, keep) or c for i, c in enumerate(encoder.columns)]
        return TableEncoder(self.schema, tuple(own))

    def _own_cells(self, index: int, max_bins: int, keep: Column | None) -> ColumnEncoder | None:
        """One code for each cell of the grid, where there are few; else None.

        Joining cells by their noisy counts is worth it only where there are too many to measure.
        """
        grid, counts = self.grids[index], self.tables[index].sum(axis=0)
        column, missing = grid.column, not grid.column.constraints.required
        if grid.edges is None:
            few = column == keep or len(column.levels) <= FEW_LEVELS
            return CategoricalEncoder(column, column.levels, missing=missing) if few else None
        if grid.size - 1 > max_bins:
            return None
        return NumericEncoder.of_cells(grid.edges, column, self.spikes_of(grid), counts[:-1])

    def spikes_of(self, grid: Grid) -> tuple[tuple[float, float], ...]:
        """The shared values of a grid's column."""
        return self.spikes.get(grid.column.name, ())

    def code_tables(self, encoder: TableEncoder) -> list[np.ndarray]:
        """Noisy rows by class and code, one array (classes, size) a column."""
        return [
            grid.to_codes(t, column)
            for grid, t, column in zip(self.grids, self.tables, encoder.columns, strict=True)
        ]

    def joined_cells(self, encoder: TableEncoder) -> list[np.ndarray]:
        """How many of the grid's cells each code joins; one array (size,) a column."""
        return [
            grid.to_codes(np.ones((1, grid.size)), column)[0]
            for grid, column in zip(self.grids, encoder.columns, strict=True)
        ]


@dataclass(frozen=True)
class LookTables:
    """Which one-way tables a look counts; all of it public.

    Besides the coarse tables by class there is one of single values for each numeric column with
    few enough of them: clinical numbers are heaped (a pressure of 120, a cholesterol recorded as
    0), and a value that stands far above the noise is known to be shared.

    Attributes:
        schema: Of the modelled columns.
        bins: Cells of the coarse grids.
        split_by: The class column, or None.
        single_values: Whether to look for shared values too.
    """

    schema: Schema
    bins: int
    split_by: Column | None
    single_values: bool

    @cached_property
    def grids(self) -> list[Grid]:
        """The coarse grids, one a column."""
        return [Grid.of(column, self.bins, zero=True) for column in self.schema.columns]

    @cached_property
    def single(self) -> list[Grid]:
        """The grids of single values."""
        return value_grids(self.schema) if self.single_values else []

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the tables: (classes, size) for the coarse ones, then (1, size)."""
        classes = 1 if self.split_by is None else len(self.split_by.levels) + 1
        coarse: list[tuple[int, ...]] = [(classes, grid.size) for grid in self.grids]
        return coarse + [(1, grid.size) for grid in self.single]

    def count(self, columns: Table, weights: PatientWeights) -> list[np.ndarray]:
        """The tables of modelled columns, int64."""
        return [
            *_counted(self.grids, columns, self.split_by, weights),
            *_counted(self.single, columns, None, weights),
        ]

    def read(self, noisy: list[np.ndarray], deviation: float) -> Look:
        """The look that noisy tables, as patients, are."""
        tables, by_value = noisy[: len(self.grids)], noisy[len(self.grids) :]
        if self.split_by is not None and self.split_by.constraints.required:
            tables = [t[:-1] for t in tables]
        spikes = {
            grid.column.name: grid.spikes(counts[0], threshold=SPIKE_DEVIATIONS * deviation)
            for grid, counts in zip(self.single, by_value, strict=True)
        }
        return Look(self.schema, self.grids, tables, spikes, deviation)


def noisy_look(
    session: Session, label: str, table: Table, *, bins: int, split_by: Column | None
) -> Look:
    """Count all one-way tables on public grids and release them together under Gaussian noise.

    Args:
        session: Admits `label`.
        label: A planned Gaussian event.
        table: With the patient id, which gives each patient a weight of 1.
        bins: Cells of the coarse grids.
        split_by: The class column, or None.
    """
    columns, weights = modelled(table), PatientWeights.of(table)
    asked = LookTables(columns.schema, bins, split_by, single_values=True)
    packing = Packing.equal(asked.shapes, weights.whole)
    noisy = packing.release(session, label, asked.count(columns, weights))
    deviation = packing.deviations(gaussian_multiplier(session.plan, label))[0]
    return asked.read(noisy, deviation)


def _counted(
    grids: list[Grid], columns: Table, split_by: Column | None, weights: PatientWeights
) -> list[np.ndarray]:
    """As `class_tables`, chunk by chunk: the sums are of integers, so the cuts change nothing."""
    if not grids:
        return []
    tables, start = [], 0
    for chunk in chunks(columns):
        rows = weights.part(start, start + len(chunk))
        part = class_tables(grids, chunk, split_by=split_by, weights=rows)
        tables = [a + b for a, b in zip(tables, part, strict=True)] if tables else part
        start += len(chunk)
    return tables


def value_grids(schema: Schema) -> list[Grid]:
    """The grids of single values that a look may count, from the schema alone."""
    return [g for c in schema.only_modelled().columns if (g := Grid.of_values(c)) is not None]


def look_deviation(schema: Schema, noise_multiplier: float) -> float:
    """Standard deviation of the noise in each cell of a `noisy_look`, in patients; public."""
    tables = len(schema.modelled) + len(value_grids(schema))
    return tables**0.5 * noise_multiplier


def gaussian_multiplier(plan: Plan, label: str) -> float:
    """The noise multiplier of a planned Gaussian release.

    Raises:
        PlanError: The event is of another kind.
    """
    event = plan[label]
    if not isinstance(event, GaussianEvent):
        raise PlanError(f"event {label!r} is not Gaussian")
    return event.noise_multiplier


def _without_noise(grid: Grid, counts: np.ndarray, threshold: float) -> np.ndarray:
    """Counts with the numeric cells below `threshold` emptied.

    Far from the data all cells hold noise alone, which would spread the quantiles over the whole
    public range. Where no cell is left, all count alike: nothing is known but the range.
    """
    if grid.edges is None:
        return counts
    kept = np.where(counts[:-1] < threshold, 0.0, counts[:-1])
    return np.append(kept if kept.any() else np.ones_like(kept), counts[-1])


def code_tables(
    encoder: TableEncoder, codes: np.ndarray, split_by: Column | None
) -> list[np.ndarray]:
    """Exact counts of an encoder's codes by class; one array (classes, size) a column.

    The classes are the codes of the class column itself.
    """
    if split_by is None:
        classes, total = np.zeros(len(codes), dtype=np.int64), 1
    else:
        index = encoder.index(split_by.name)
        classes, total = codes[:, index].astype(np.int64), encoder.sizes[index]
    return [
        np.bincount(classes * size + codes[:, i], minlength=total * size).reshape(total, size)
        for i, size in enumerate(encoder.sizes)
    ]


def class_shares(tables: list[np.ndarray], *, smoothing: float) -> list[np.ndarray]:
    """Joint shares of class and code: one array (classes, size) a column, each summing to 1.

    Inside a class, shares are drawn towards those of all classes together with a weight of
    `smoothing` rows, so that a class of few rows (or of noise alone) looks like the whole.
    """
    totals = np.maximum(np.median([t.sum(axis=1) for t in tables], axis=0), 0.0) + 1e-6
    shares: list[np.ndarray] = []
    for counts in tables:
        kept = np.maximum(counts, 0.0)
        pooled = kept.sum(axis=0) + smoothing / kept.shape[1] + 1e-9
        mixed = kept + max(smoothing, 1e-6) * pooled / pooled.sum()
        inside = mixed / mixed.sum(axis=1, keepdims=True)
        shares.append(inside * (totals / totals.sum())[:, None])
    return shares
