"""Where noisy marginals come from: a table here, or several that nobody sees together.

A method of marginals asks queries. A query is public: it says which tables are counted on which
codes, and so how long the answer is and how far one patient can change it. A `Source` answers it
with noise, out of a budget that only queries spend. The table of one hospital is such a source, and
so are several hospitals that add up their counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.privacy.guarantee import Guarantee
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.grids import LookTables, PatientWeights, patient_weight
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.measurements import Array
from pegai.synth.packing import Packing
from pegai.synth.rows import modelled


@dataclass(frozen=True)
class PatientsQuery:
    """How many patients there are.

    Attributes:
        schema: Of the tables asked.
    """

    schema: Schema

    @property
    def packing(self) -> Packing:
        """One number."""
        return Packing.equal([(1,)], patient_weight(self.schema))


@dataclass(frozen=True)
class LookQuery:
    """All one-way tables on public grids.

    Attributes:
        schema: Of the tables asked.
        bins: Cells of a numeric column's grid.
        single_values: Whether to count single values, too.
        split_by: The class column, by which the tables on coarse grids are split, or None.
    """

    schema: Schema
    bins: int
    single_values: bool
    split_by: str | None = None

    @cached_property
    def tables(self) -> LookTables:
        """Which tables these are."""
        columns = self.schema.only_modelled()
        by = None if self.split_by is None else columns[self.split_by]
        return LookTables(columns, self.bins, by, self.single_values)

    @property
    def packing(self) -> Packing:
        """The same noise in each table."""
        return Packing.equal(self.tables.shapes, patient_weight(self.schema))


@dataclass(frozen=True, eq=False)
class TablesQuery:
    """Tables of columns of an encoder, by class or over all of them.

    Attributes:
        schema: Of the tables asked.
        encoder: Codes of the modelled columns.
        class_index: Where the class column stands among them, or None.
        tables: Each the positions of its columns in the encoder without the class.
        by_class: Whether each table is one for each class.
    """

    schema: Schema
    encoder: TableEncoder
    class_index: int | None
    tables: tuple[tuple[int, ...], ...]
    by_class: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes a column, without the class."""
        return tuple(s for i, s in enumerate(self.encoder.sizes) if i != self.class_index)

    @property
    def classes(self) -> int:
        """Classes of each table; 1 where it is over all of them."""
        by_class = self.by_class and self.class_index is not None
        return self.encoder.sizes[self.class_index] if by_class else 1  # pyright: ignore

    @property
    def packing(self) -> Packing:
        """Less noise in larger tables."""
        sizes = self.sizes
        shapes = [(self.classes, *(sizes[c] for c in columns)) for columns in self.tables]
        return Packing.weighted(shapes, patient_weight(self.schema))


Query = PatientsQuery | LookQuery | TablesQuery


@dataclass(frozen=True, eq=False)
class Expected:
    """What a model expects of a table, by which private counts are scored.

    Attributes:
        counts: In patients, of the shape of the table.
        impossible: Cells that count as empty whoever falls into them; None is nowhere.
        offset: Taken off the distance.
    """

    counts: Array
    impossible: Array | None
    offset: float


class Source(ABC):
    """Noisy marginals out of one budget.

    Attributes:
        schema: Of the tables asked, with the patient id where there is one.
        can_choose: Whether `choose` works.
    """

    schema: Schema
    can_choose: bool

    @property
    @abstractmethod
    def left(self) -> float:
        """What may still be spent, in squared mu; public, since only queries spend it."""

    @property
    @abstractmethod
    def guarantee(self) -> Guarantee:
        """What is promised to the patients, whatever is asked."""

    @abstractmethod
    def ask(self, query: Query, budget: float) -> tuple[list[Array], list[float]]:
        """Tables in patients, with noise; spends `budget`.

        Returns:
            The tables, and the standard deviation of each one's noise, which is that of the
            query's packing at the noise multiplier budget^(-1/2).
        """

    @abstractmethod
    def choose(self, query: TablesQuery, expected: Sequence[Expected], *, epsilon: float) -> int:
        """The place of a table that is nearly the farthest from what a model expects of it.

        The score is the L1 distance in patients, less the offset; one patient changes it by at most
        1, since what is expected rests on what was released. By the exponential mechanism.

        Args:
            query: The candidates.
            expected: One a candidate.
            epsilon: Range of the losses; `bounded_range_mu` says what it spends.
        """


class ExactTables:
    """A table's own counts, without noise: private.

    The last tables counted are kept, since they are often asked for again over all classes.

    Args:
        table: With the patient id, where the schema names one.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._weights = PatientWeights.of(table)
        self._coded: tuple[TableEncoder, int | None, Counter] | None = None
        self._last: tuple[tuple[tuple[int, ...], ...], list[Array]] = ((), [])

    def answer(self, query: Query) -> list[Array]:
        """The tables of a query, int64, of the shapes of its packing."""
        if isinstance(query, PatientsQuery):
            rows = self._weights.rows
            return [np.array([len(self._table) if rows is None else int(rows.sum())])]
        if isinstance(query, LookQuery):
            return query.tables.count(modelled(self._table), self._weights)
        counter = self._counter(query.encoder, query.class_index)
        if self._last[0] != query.tables:
            self._last = query.tables, [counter.count(columns) for columns in query.tables]
        tables = self._last[1]
        return tables if query.by_class else [t.sum(axis=0, keepdims=True) for t in tables]

    def _counter(self, encoder: TableEncoder, class_index: int | None) -> Counter:
        """The coded table; the last coding is kept, since many queries are about one."""
        if self._coded is not None:
            known, at, counter = self._coded
            if known is encoder and at == class_index:
                return counter
        counter = Counter.of(self._table, encoder, class_index)
        self._coded, self._last = (encoder, class_index, counter), ((), [])
        return counter


class TableSource(Source):
    """A table of this place, and the session that its looks are charged to.

    Args:
        table: With the patient id, where the schema names one.
        session: Admits the filter.
        label: The filter.
    """

    can_choose = True

    def __init__(self, table: Table, session: Session, label: str) -> None:
        self.schema = table.schema
        self._exact = ExactTables(table)
        self._session = session
        self._label = label
        self._counts: dict[tuple[int, ...], Array] = {}
        self._counted: TableEncoder | None = None

    @property
    def left(self) -> float:
        """What the filter has left, in squared mu."""
        return self._session.filter_left(self._label)

    @property
    def guarantee(self) -> Guarantee:
        """That of the session."""
        return self._session.guarantee()

    def ask(self, query: Query, budget: float) -> tuple[list[Array], list[float]]:
        """As `Source.ask`."""
        multiplier, packing = budget**-0.5, query.packing
        exact = self._exact.answer(query)
        noisy = packing.release(self._session, self._label, exact, noise_multiplier=multiplier)
        return noisy, packing.deviations(multiplier)

    def choose(self, query: TablesQuery, expected: Sequence[Expected], *, epsilon: float) -> int:
        """As `Source.choose`."""
        scores = np.empty(len(expected))
        self._count(query)
        for place, (columns, due) in enumerate(zip(query.tables, expected, strict=True)):
            counts = self._counts[columns]
            if due.impossible is not None:
                counts = np.where(due.impossible, 0.0, counts)
            scores[place] = np.abs(counts - due.counts).sum() - due.offset
        return self._session.choose(self._label, scores, sensitivity=1.0, epsilon=epsilon)

    def _count(self, query: TablesQuery) -> None:
        """Keep the exact candidates, in patients: the next choice is among most of them again."""
        if self._counted is not query.encoder:
            self._counts, self._counted = {}, query.encoder
        whole = query.packing.whole
        new = tuple(columns for columns in query.tables if columns not in self._counts)
        if new:
            asked = TablesQuery(query.schema, query.encoder, query.class_index, new, query.by_class)
            exact = self._exact.answer(asked)
            self._counts |= {c: t / whole for c, t in zip(new, exact, strict=True)}
