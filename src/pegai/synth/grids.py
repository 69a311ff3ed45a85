"""Public grids, and the one-way tables counted on them: what a private fit may look at first.

A grid is made from the schema alone. On it, each column's rows are counted, split by the classes
of the target where there is one. A patient's k rows weigh 1/k, so that one patient changes each
table by at most 1 in L1 and d tables together by at most sqrt(d) in L2, whatever k is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.data.table import Table
from pegai.encode.categorical import CategoricalEncoder, CategoricalSummary, level_codes
from pegai.encode.numeric import NumericSummary, bounded
from pegai.encode.table import ColumnEncoder, TableEncoder, TableSummary
from pegai.errors import PlanError
from pegai.privacy.events import GaussianEvent
from pegai.privacy.session import Session
from pegai.schema import Column, Schema

MAX_CLASSES = 10
MAX_VALUES = 1024
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
    def of(cls, column: Column, bins: int) -> Grid:
        """The grid of a column with a public domain."""
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
        return cls(column, low + unit * (step * np.arange(-(-values // step) + 1) - 0.5))

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


def _unit(column: Column) -> float | None:
    """The distance between two neighbouring values of a numeric column, if there is one."""
    if column.type in ("integer", "date", "datetime"):
        return 1.0
    decimals = column.pegai.decimals
    return None if decimals is None else 10.0**-decimals


def class_column(schema: Schema, name: str | None) -> Column | None:
    """The column whose classes split the tables, if it is discrete with few levels."""
    column = schema[name] if name is not None else schema.target
    if column is None or not column.is_discrete or len(column.levels) > MAX_CLASSES:
        return None
    return column


def row_weights(table: Table) -> np.ndarray:
    """1/k for each of a patient's k rows, shape (rows,)."""
    units = table.unit_codes()
    return 1.0 / np.bincount(units)[units]


def class_tables(
    grids: list[Grid], table: Table, *, split_by: Column | None, weights: np.ndarray
) -> list[np.ndarray]:
    """One table a grid: weighted rows by class and cell.

    Returns:
        Arrays of shape (classes, grid size). Without a class column there is one class; with
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
        counts = np.bincount(joint, weights=weights, minlength=total * grid.size)
        tables.append(counts.reshape(total, grid.size))
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

    def encoder(self, *, max_bins: int) -> TableEncoder:
        """Codes fitted on the noisy tables."""
        threshold = self.deviation * len(self.tables[0]) ** 0.5
        parts = [
            grid.summary(_without_noise(grid, t.sum(axis=0), threshold), self.spikes_of(grid))
            for grid, t in zip(self.grids, self.tables, strict=True)
        ]
        summary = TableSummary(self.schema, tuple(parts))
        return TableEncoder.fit(summary, max_bins=max_bins, min_count=0.0)

    def spikes_of(self, grid: Grid) -> tuple[tuple[float, float], ...]:
        """The shared values of a grid's column."""
        return self.spikes.get(grid.column.name, ())

    def code_tables(self, encoder: TableEncoder) -> list[np.ndarray]:
        """Noisy rows by class and code, one array (classes, size) a column."""
        return [
            grid.to_codes(t, column)
            for grid, t, column in zip(self.grids, self.tables, encoder.columns, strict=True)
        ]


def noisy_look(
    session: Session, label: str, table: Table, *, bins: int, split_by: Column | None
) -> Look:
    """Count all one-way tables on public grids and release them under one Gaussian event.

    Besides the coarse tables by class there is one of single values for each numeric column with
    few enough of them: clinical numbers are heaped (a pressure of 120, a cholesterol recorded as
    0), and a value that stands far above the noise is known to be shared.

    Args:
        session: Admits `label`.
        label: A planned Gaussian event.
        table: With the patient id, which gives each patient a weight of 1.
        bins: Cells of the coarse grids.
        split_by: The class column, or None.
    """
    columns, weights = table.modelled(), row_weights(table)
    grids = [Grid.of(column, bins) for column in columns.columns]
    single = [g for c in columns.columns if (g := Grid.of_values(c)) is not None]
    exact = class_tables(grids, columns, split_by=split_by, weights=weights)
    exact += class_tables(single, columns, split_by=None, weights=weights)
    # One patient moves each table by at most 1 in L1, so all of them by the root of their number.
    sensitivity = len(exact) ** 0.5
    noisy = _release(session, label, exact, l2_sensitivity=sensitivity)
    deviation = _noise_deviation(session, label, l2_sensitivity=sensitivity)
    tables, by_value = noisy[: len(grids)], noisy[len(grids) :]
    if split_by is not None and split_by.constraints.required:
        tables = [t[:-1] for t in tables]
    spikes = {
        grid.column.name: grid.spikes(counts[0], threshold=SPIKE_DEVIATIONS * deviation)
        for grid, counts in zip(single, by_value, strict=True)
    }
    return Look(columns.schema, grids, tables, spikes, deviation)


def _without_noise(grid: Grid, counts: np.ndarray, threshold: float) -> np.ndarray:
    """Counts with the numeric cells below `threshold` emptied.

    Far from the data all cells hold noise alone, which would spread the quantiles over the whole
    public range. Where no cell is left, all count alike: nothing is known but the range.
    """
    if grid.edges is None:
        return counts
    kept = np.where(counts[:-1] < threshold, 0.0, counts[:-1])
    return np.append(kept if kept.any() else np.ones_like(kept), counts[-1])


def _release(
    session: Session, label: str, tables: list[np.ndarray], *, l2_sensitivity: float
) -> list[np.ndarray]:
    """All tables under one planned Gaussian event, in their shapes."""
    noisy = session.gaussian(
        label, np.concatenate([t.ravel() for t in tables]), l2_sensitivity=l2_sensitivity
    )
    cuts = np.cumsum([t.size for t in tables])[:-1]
    parts = np.split(noisy, cuts)
    return [part.reshape(t.shape) for part, t in zip(parts, tables, strict=True)]


def _noise_deviation(session: Session, label: str, *, l2_sensitivity: float) -> float:
    """Standard deviation of the noise under a planned Gaussian event; public."""
    event = session.plan[label]
    if not isinstance(event, GaussianEvent):
        raise PlanError(f"event {label!r} is not Gaussian")
    return l2_sensitivity * event.noise_multiplier


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
