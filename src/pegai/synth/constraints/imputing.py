"""Missing cells drawn so that the schema's rules hold, with every known cell as it is.

Rows that break a rule are drawn again, then repaired in the cells that were drawn. A row that still
breaks one stays as it came, with its missing cells: most often its known cells break the rule
themselves, and no value of the others mends that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pegai.data.table import Table
from pegai.errors import DataError
from pegai.schema import Schema
from pegai.synth.constraints.moves import Bools
from pegai.synth.constraints.repair import ROW_INDEX, Repair, Rules

REDRAWN = 5
"""Times that rows are drawn again which break a rule."""

PLACE = ROW_INDEX + "s"
"""A column of positions in the table, by a name that no table has."""

Draw = Callable[[Table], Table]
"""Draws the missing cells of a table; known ones stay."""


@runtime_checkable
class Imputing(Protocol):
    """A fitted model that fills in missing cells."""

    def impute(self, table: Table, *, rng: np.random.Generator | int | None = None) -> Table:
        """The table with its missing cells drawn given the others."""
        ...


def with_columns_of(table: Table, schema: Schema) -> Table:
    """The modelled columns of a schema.

    Raises:
        DataError: The table lacks some.
    """
    lacking = [name for name in schema.names if name not in table.schema.names]
    if lacking:
        raise DataError(
            f"the table lacks columns of the model: {', '.join(lacking)}",
            hint="give a table of the schema that the model was fitted with",
        )
    return Table(table.frame.select(schema.names), schema)


def imputed(table: Table, draw: Draw, rng: np.random.Generator) -> Table:
    """A table with its missing cells drawn; see the module.

    Args:
        table: In the schema whose rules hold; shape (rows, columns).
        draw: Of the model.
        rng: Repairs.
    """
    frame = draw(table).frame
    if not (table.schema.rules or table.schema.impossible):
        return Table(frame, table.schema)
    rules = Rules.of(table.schema)
    holes = np.column_stack([table[name].is_null().to_numpy() for name in rules.names])
    for _ in range(REDRAWN):
        places = np.flatnonzero(~rules.kept(frame) & holes.any(axis=1))
        if not places.size:
            break
        again = draw(Table(table.frame[places], table.schema))
        frame = _put(frame, places, again.frame)
    frame = _repaired(frame, holes, rules, rng)
    broken = np.flatnonzero(~rules.kept(frame))
    return Table(_put(frame, broken, table.frame[broken]), table.schema)


def _repaired(
    frame: pl.DataFrame, holes: Bools, rules: Rules, rng: np.random.Generator
) -> pl.DataFrame:
    """Rows that break a rule with the cells repaired that were drawn, where that can be.

    Args:
        frame: Shape (rows, columns).
        holes: Which cells of the rules' columns were drawn; shape (rows, columns of rules).
        rules: What has to hold.
        rng: Chooses.
    """
    broken = ~rules.kept(frame) & holes.any(axis=1)
    drawn = frame
    for pattern in np.unique(holes[broken], axis=0):
        places = np.flatnonzero(broken & (holes == pattern).all(axis=1))
        known = dict.fromkeys(n for n, hole in zip(rules.names, pattern, strict=True) if not hole)
        repair = Repair.of(rules, drawn=drawn, given=known, rng=rng)
        part = frame[places].with_columns(pl.Series(PLACE, places))
        mended = repair.repaired(part)
        frame = _put(frame, mended[PLACE].to_numpy(), mended.drop(PLACE))
    return frame


def _put(frame: pl.DataFrame, places: NDArray[np.int64], rows: pl.DataFrame) -> pl.DataFrame:
    """The frame with other rows in some places."""
    order = np.arange(frame.height)
    order[places] = frame.height + np.arange(len(places))
    return pl.concat([frame, rows.select(frame.columns)])[order]
