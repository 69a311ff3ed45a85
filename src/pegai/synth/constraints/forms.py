"""Columns learned in a form that keeps a rule whatever is drawn, and turned back after sampling.

| rule | learned | sampled |
|---|---|---|
| `stay >= 1` | the column, within the tighter bounds | as it is |
| `discharge >= admission` | the gap, in place of one of them | the other column plus the gap |
| `total == a + b` | nothing, in place of `total` | computed |

A chain (`a <= b <= c`) is a gap upon a gap. A column has at most one form, forms never go round in
a circle, and whatever has none is repaired row by row (`repair`).

**Missing values.** A gap is known where both columns are. So a column gets one only where nothing
is lost: the column that stays is `required`, or, without privacy, no row has one without the other.

**Privacy.** Forms of a private fit follow from the schema alone, and a row's form from that row and
the schema, so that one patient still changes one patient's rows. A gap that may be long is learned
on a logarithmic scale then: public cells of equal width would make most stays equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pegai.data.table import Table
from pegai.encode.datetimes import to_series
from pegai.encode.numeric import bounded
from pegai.schema import Column, Schema
from pegai.synth.constraints.choosing import chosen_forms
from pegai.synth.constraints.kinds import Bounds, Form, Gap, Rebuilt, Total, gap_step, narrowed
from pegai.synth.constraints.moves import Bools, Floats, own_numbers
from pegai.synth.constraints.targets import Targets, moved

_FORMS: dict[str, type[Any]] = {kind.form: kind for kind in (Bounds, Gap, Total)}


@dataclass(frozen=True)
class Forms:
    """How the columns of a table are learned.

    Attributes:
        schema: The table's.
        forms: Bounds, then what is rebuilt, each after what it is rebuilt from.
    """

    schema: Schema
    forms: tuple[Form, ...]

    @classmethod
    def of(cls, schema: Schema, table: Table | None = None) -> Forms:
        """The forms of a schema's rules.

        Args:
            schema: With the rules.
            table: Whose missing values may be looked at; None for a private fit, whose forms may
                depend on the schema alone.
        """
        return cls(schema, chosen_forms(schema, table))

    @property
    def rebuilt(self) -> tuple[Rebuilt, ...]:
        """Those that give a column another meaning."""
        return tuple(form for form in self.forms if not isinstance(form, Bounds))

    @property
    def learned_schema(self) -> Schema:
        """The schema of what a method learns; the same where there are no forms."""
        if not self.forms:
            return self.schema
        gone = {form.name for form in self.rebuilt if isinstance(form, Total)}
        gaps = {form.name: form for form in self.rebuilt if isinstance(form, Gap)}
        narrow = narrowed(self.schema, [f for f in self.forms if isinstance(f, Bounds)])
        columns = tuple(
            gaps[c.name].column(narrow) if c.name in gaps else c
            for c in narrow.columns
            if c.name not in gone
        )
        schema = self.schema.replace_columns(columns)
        privacy = schema.pegai.model_copy(update={"rules": ()})
        return schema.model_copy(update={"pegai": privacy})

    def table(self, table: Table) -> Table:
        """A table as it is learned; the same object where there are no forms."""
        if not self.forms:
            return table
        schema = self.learned_schema
        gaps = [form for form in self.rebuilt if isinstance(form, Gap)]
        names = {name for form in gaps for name in (form.name, form.anchor)}
        numbers = {n: bounded(table.numbers(n), self.schema[n]) for n in names}
        learned = [to_series(f.learned_numbers(numbers), schema[f.name]) for f in gaps]
        return Table(table.frame.with_columns(learned).select(schema.names), schema)

    def back(self, learned: Table, given: Mapping[str, object], rng: np.random.Generator) -> Table:
        """Rows of the table's own columns from rows as they are learned.

        Values may lie outside of a column's bounds: such rows are drawn again, or repaired.

        Args:
            learned: Shape (rows, columns), in the learned schema.
            given: Values that rows will have. Where a column that is rebuilt is given, those it
                is rebuilt from move along.
            rng: Draws gaps for rows that have none, where the column is given, and rounds.
        """
        return self.back_to(learned, self.targets(given, len(learned)), rng)

    def back_to(self, learned: Table, targets: Targets, rng: np.random.Generator) -> Table:
        """The same, where each row has targets of its own."""
        schema = self.schema.only_modelled()
        numbers = _numbers(learned)
        for form in self.rebuilt:
            if isinstance(form, Gap) and form.name in targets.values:
                wanted = np.isfinite(targets.values[form.name])
                filled = _filled(numbers[form.name], rng)
                numbers[form.name] = np.where(wanted, filled, numbers[form.name])
        built = self._built(numbers, schema)
        found = moved(self.rebuilt, built, targets, schema=schema, rng=rng)
        if found:
            built = self._built(numbers | found, schema)
        changed = {form.name for form in self.rebuilt} | set(found)
        series = [to_series(built[name], schema[name]) for name in changed]
        frame = learned.frame.with_columns(series).select(schema.names)
        return Table(frame, schema)

    def targets(self, given: Mapping[str, object], rows: int) -> Targets:
        """What is given of rebuilt columns, the same in all rows."""
        named = [form.name for form in self.rebuilt if form.name in given]
        values = {
            name: np.full(rows, float(str(given[name])))
            for name in named
            if given[name] is not None
        }
        held = {name: np.ones(rows, bool) for name in given}
        return Targets(values, frozenset(named) - frozenset(values), held)

    def targets_of(self, table: Table) -> Targets:
        """The known cells of rebuilt columns, in each row its own."""
        held = {name: table[name].is_not_null().to_numpy() for name in table.schema.names}
        names = [form.name for form in self.rebuilt]
        values = {name: own_numbers(table[name], table.schema[name]) for name in names}
        return Targets(values, frozenset(), held)

    def unlearned(self, table: Table) -> Bools:
        """Rows with a known cell of a rebuilt column that can't be seen as it is learned."""
        known = {name: table[name].is_not_null().to_numpy() for name in table.schema.names}
        lost = np.zeros(len(table), bool)
        for form in self.rebuilt:
            lost |= known[form.name] & ~np.all([known[name] for name in form.anchors], axis=0)
        return lost

    def distances(self, learned: Table, targets: Targets) -> Floats:
        """How far rows as they are learned are from targets; shape (rows,)."""
        return targets.distances(self._built(_numbers(learned), self.schema.only_modelled()))

    def _built(self, numbers: dict[str, Floats], schema: Schema) -> dict[str, Floats]:
        built = dict(numbers)
        for form in self.rebuilt:
            column = schema[form.name]
            if isinstance(form, Total):
                found = form.computed(built)
            else:
                step = gap_step(column, schema[form.anchor])
                found = form.rebuilt(numbers[form.name], built, step)
            built[form.name] = _on_grid(found, column)
        return built

    def untold(self, given: Mapping[str, str | int | float | None]) -> bool:
        """Whether a rebuilt column is given that a method can't be told of as it is."""
        told = self.learned_given(given)
        return any(form.name in given and form.name not in told for form in self.rebuilt)

    def learned_given(
        self, given: Mapping[str, str | int | float | None]
    ) -> dict[str, str | int | float | None]:
        """What of the given values a method can be told: as they are learned, others left out."""
        schema, forms = self.learned_schema, {form.name: form for form in self.rebuilt}
        told = {n: v for n, v in given.items() if n in schema and n not in forms}
        for name, form in forms.items():
            if name not in given or isinstance(form, Total):
                continue
            value, anchor = given[name], given.get(form.anchor)
            if value is None:
                told[name] = None
            elif anchor is not None:
                pair = {name: _one(value), form.anchor: _one(anchor)}
                told[name] = float(form.learned_numbers(pair)[0])
        return told

    def to_list(self) -> list[dict[str, Any]]:
        """JSON types."""
        return [{"form": form.form, **asdict(form)} for form in self.forms]

    @classmethod
    def from_list(cls, plain: Sequence[Mapping[str, Any]], schema: Schema) -> Forms:
        """The inverse of `to_list`.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        found: list[Form] = []
        for part in plain:
            fields = {key: value for key, value in part.items() if key != "form"}
            if part["form"] == Total.form:
                fields["factors"] = tuple((str(n), float(by)) for n, by in fields["factors"])
            found.append(_FORMS[part["form"]](**fields))
        return cls(schema, tuple(found))


def _numbers(learned: Table) -> dict[str, Floats]:
    """The numbers of rows as they are learned, each (rows,)."""
    numeric = [c for c in learned.schema.columns if c.is_numeric]
    return {c.name: own_numbers(learned[c.name], c) for c in numeric}


def _filled(numbers: Floats, rng: np.random.Generator) -> Floats:
    """Missing ones replaced by others, if there is any."""
    known = numbers[np.isfinite(numbers)]
    if not known.size:
        return numbers
    return np.where(np.isfinite(numbers), numbers, rng.choice(known, size=len(numbers)))


def _one(value: object) -> Floats:
    return np.array([float(str(value))])


def _on_grid(numbers: Floats, column: Column) -> Floats:
    if column.type != "number":
        return np.round(numbers)
    decimals = column.pegai.decimals
    return numbers if decimals is None else np.round(numbers, decimals)
