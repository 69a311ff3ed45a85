"""The forms there are: tighter bounds, the gap to another column, the sum of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pegai.encode.datetimes import to_series
from pegai.schema import SOURCES, Column, ColumnPrivacy, Constraints, Schema
from pegai.synth.constraints.moves import Floats, step_of


@dataclass(frozen=True)
class Bounds:
    """A column within tighter bounds.

    Attributes:
        name: The column.
        low: In its own numbers; None leaves the schema's.
        high: The same.
    """

    form: ClassVar[str] = "bounds"
    name: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gap:
    """A column learned as its distance from another, which comes first.

    Attributes:
        name: The column: anchor + sign x gap.
        anchor: The other one, of the same kind.
        sign: 1 where the column is the larger one, else -1.
        low: The smallest gap, in the columns' own numbers.
        high: The largest; None where a bound is missing.
        log_step: Of the logarithmic scale; None learns the gap as it is.
    """

    form: ClassVar[str] = "gap"
    name: str
    anchor: str
    sign: int
    low: float
    high: float | None
    log_step: float | None

    @property
    def anchors(self) -> tuple[str, ...]:
        """What it is rebuilt from, besides itself."""
        return (self.anchor,)

    def learned_numbers(self, numbers: Mapping[str, Floats]) -> Floats:
        """Gaps, NaN where a value is missing; shape (rows,)."""
        gap = self.sign * (numbers[self.name] - numbers[self.anchor])
        gap = np.clip(gap, self.low, np.inf if self.high is None else self.high)
        gap = np.where(np.isfinite(gap), gap, np.nan)
        return gap if self.log_step is None else np.log1p((gap - self.low) / self.log_step)

    def rebuilt(self, learned: Floats, numbers: Mapping[str, Floats], step: float | None) -> Floats:
        """The column from what was learned and its anchor."""
        gap = learned
        if self.log_step is not None:
            gap = self.low + self.log_step * np.expm1(learned)
            # Rounded where the gap is, not where the sum is: the shortest gap keeps its share.
            gap = gap if step is None else np.round(gap / step) * step
        return numbers[self.anchor] + self.sign * gap

    def column(self, schema: Schema) -> Column:
        """The column that is learned."""
        whole, anchor = schema[self.name], schema[self.anchor]
        step = gap_step(whole, anchor)
        kind = "integer" if step == 1.0 else "number"
        decimals = None if step is None or kind == "integer" else round(-np.log10(step))
        low, high = self.low, self.high
        if self.log_step is not None and high is not None:
            kind, decimals = "number", None
            low, high = 0.0, float(np.log1p((high - self.low) / self.log_step))
        as_bound = int if kind == "integer" else float
        return Column(
            name=self.name,
            type=kind,
            constraints=Constraints(
                required=whole.constraints.required,
                minimum=as_bound(low),
                maximum=None if high is None else as_bound(high),
            ),
            pegai=ColumnPrivacy(role=whole.role, source=_weaker(whole, anchor), decimals=decimals),
        )


@dataclass(frozen=True)
class Total:
    """A column that is computed from others: number + sum of factor x column.

    Attributes:
        name: The column.
        factors: Columns with their factors.
        number: In the column's own numbers.
    """

    form: ClassVar[str] = "total"
    name: str
    factors: tuple[tuple[str, float], ...]
    number: float

    @property
    def anchors(self) -> tuple[str, ...]:
        """What it is computed from."""
        return tuple(name for name, _ in self.factors)

    def computed(self, numbers: Mapping[str, Floats]) -> Floats:
        """The column, NaN where a part is missing; shape (rows,)."""
        parts = [by * numbers[name] for name, by in self.factors]
        return self.number + np.sum(parts, axis=0)


Form = Bounds | Gap | Total
Rebuilt = Gap | Total


def _weaker(*columns: Column) -> str:
    """The source that promises least."""
    ranks = {source: rank for rank, source in enumerate(SOURCES)}
    return max((c.pegai.source for c in columns), key=lambda s: ranks[s.split(":")[0]])


def gap_step(column: Column, anchor: Column) -> float | None:
    """The distance between two gaps of these columns; None is "any number"."""
    steps = [step_of(c) for c in (column, anchor)]
    return None if None in steps else min(step for step in steps if step is not None)


def narrowed(schema: Schema, bounds: Sequence[Bounds]) -> Schema:
    """The schema with tighter bounds."""
    by_name = {form.name: form for form in bounds}
    columns = tuple(
        _with_bounds(c, by_name[c.name]) if c.name in by_name else c for c in schema.columns
    )
    return schema.model_copy(update={"fields": columns})


def _with_bounds(column: Column, form: Bounds) -> Column:
    ends: dict[str, object] = {}
    for key, number in (("minimum", form.low), ("maximum", form.high)):
        if number is not None:
            ends[key] = _as_bound(column, number)
    return column.model_copy(update={"constraints": column.constraints.model_copy(update=ends)})


def _as_bound(column: Column, number: float) -> int | float | str:
    if column.type == "number":
        return number
    value = to_series(np.array([number]), column)[0]
    return value if column.type == "integer" else value.isoformat()
