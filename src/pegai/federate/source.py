"""Noisy marginals of several sites, as one source of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pegai.errors import FederationError
from pegai.federate.exchanges import Exchanges, Question
from pegai.federate.queries import query_to_dict
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema
from pegai.synth.base import learned_schema
from pegai.synth.marginals.measurements import Array
from pegai.synth.marginals.source import Expected, PatientsQuery, Query, Source, TablesQuery

if TYPE_CHECKING:
    from pegai.federate.coordinator import Coordinator


class FederatedSource(Source):
    """The sums of all sites' tables, with noise."""

    can_choose = False

    def __init__(self, coordinator: Coordinator) -> None:
        self._to = coordinator
        self._plan = coordinator.plan
        self._exchanges = Exchanges(coordinator)
        self.schema: Schema = learned_schema(self._plan.schema_)
        self._first: tuple[float, tuple[str, ...]] | None = None

    @property
    def left(self) -> float:
        """What may still be spent, in squared mu of one full noise on the sum."""
        return self._exchanges.left / self._plan.noise_variance(len(self._to.participants))

    @property
    def guarantee(self) -> Guarantee:
        """That of the plan, which names what it rests on."""
        return Guarantee.of(self._plan.privacy, unit=self._plan.unit)

    def ask(self, query: Query, budget: float) -> tuple[list[Array], list[float]]:
        """As `Source.ask`.

        Where a site was lost on the way, the others' tables are drawn up to the number of patients
        that there were at first, so that tables of different moments fit together.
        """
        site_budget = budget * self._plan.noise_variance(len(self._to.participants))
        question = table_question(query, site_budget**-0.5, budget=site_budget)
        summed = self._exchanges.ask(question)
        tables = query.packing.unpack(summed.values)
        deviations = query.packing.deviations(summed.multiplier)
        patients = max(float(np.median([t.sum() for t in tables])), 1.0)
        if self._first is None:
            self._first = patients, self._to.participants
        first, all_of_them = self._first
        ratio = 1.0 if self._to.participants == all_of_them else first / patients
        return [t * ratio for t in tables], [d * ratio for d in deviations]

    def choose(self, query: TablesQuery, expected: Sequence[Expected], *, epsilon: float) -> int:
        """No one sees the exact counts that a choice needs.

        Raises:
            FederationError: Always.
        """
        raise FederationError("several sites can't choose by counts that none of them has")


def table_question(query: Query, multiplier: float, *, budget: float) -> Question:
    """A query of tables as it is asked; `multiplier` is of one full noise."""
    packing = query.packing
    return Question(
        query_to_dict(query),
        {},
        budget,
        multiplier,
        packing.l2_sensitivity,
        packing.size,
        "int64",
        _in_words(query),
        packing.whole * packing.factors[0],
    )


def _in_words(query: Query) -> str:
    if isinstance(query, PatientsQuery):
        return "the number of patients"
    if not isinstance(query, TablesQuery):
        return f"{len(query.tables.shapes)} tables of one column, on public grids"
    most = max(len(columns) for columns in query.tables)
    by_class = ", by class" if query.classes > 1 else ""
    return f"{len(query.tables)} tables of {'one column' if most < 2 else 'two columns'}{by_class}"
