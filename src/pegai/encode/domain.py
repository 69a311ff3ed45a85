"""The domain of a table under differential privacy: bounds and categories that nobody declared.

What stands in the schema besides bounds and categories is taken as public, since a person vouches
for it: names, types, roles, decimals, formats, what means missing, rows a patient, and which
columns have categories. Bounds come from noisy histograms on fixed grids (`bounds`), categories
from stable key selection (`privacy.key_selection`), all in one plan.

**Sensitivity.** A patient's first `max_rows_per_unit` rows, in the order of the table, weigh
floor(WHOLE / k) each if there are k of them; their other rows weigh nothing. So a patient changes
each histogram by at most WHOLE in L1, t of them together by at most WHOLE sqrt(t) in L2, and adds
at most WHOLE in all to at most `max_rows_per_unit` values of a column. Adding or removing another
patient changes neither the weights nor the reading of any other row. Rows without a patient's id
are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.bounds import Bound, BoundsGrid
from pegai.errors import PrivacyError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent, KeySelectionEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Category, Column, Constraints, Schema
from pegai.schema.infer import is_draft_note
from pegai.schema.parse import blank_missing, null_where

BOUNDS, CATEGORIES = "bounds", "categories"
ESTIMATED = "dp-estimate"
BY_TYPE = "standard:boolean"
"""The source of a boolean column: that it is true or false follows from its type."""

WHOLE = 2**16
"""The integer weight of a patient."""

KEY_SHARE = 0.5
"""The part of delta for values that one patient alone has; the rest is the noise's."""

MAX_CHARACTERS = 200
"""A longer text is no category, so that free text stays small."""

_WHOLE_NUMBER = r"^([+-]?\d+)\.0+$"
_TABLES = 2  # of two widths for each numeric column


@dataclass(frozen=True)
class DomainEstimate:
    """What an estimate found; all of it is released.

    Attributes:
        schema: The draft with the domains that were found, of source `dp-estimate`.
        estimated: Columns whose domain was found.
        unresolved: Columns of which nothing stood out of the noise. They have no domain and stay
            `private`, so that a private fit refuses them.
    """

    schema: Schema
    estimated: tuple[str, ...]
    unresolved: tuple[str, ...]


def open_columns(schema: Schema) -> tuple[Column, ...]:
    """The modelled columns whose bounds or categories are missing, or come from the data."""
    modelled = [c for c in schema.modelled if c.type != "boolean"]
    return tuple(c for c in modelled if not (c.is_public and c.has_domain))


def without_private(schema: Schema) -> Schema:
    """The schema without any bound or category that was read from the data.

    Cells read by it don't depend on what was in the draft, and nothing of the draft's private part
    can get into what is written.
    """
    return schema.replace_columns(tuple(_cleared(column) for column in schema.columns))


def _cleared(column: Column) -> Column:
    if column.is_public:
        return column
    if is_draft_note(column.description):
        column = column.model_copy(update={"description": None})
    if column.type == "boolean":
        return column.model_copy(
            update={"pegai": column.pegai.model_copy(update={"source": BY_TYPE})}
        )
    cleared: dict[str, object] = {"categories": None, "categories_ordered": False}
    cleared["constraints"] = column.constraints.model_copy(
        update={"minimum": None, "maximum": None}
    )
    return column.model_copy(update=cleared)


def plan_domain(schema: Schema, privacy: Privacy) -> Plan | None:
    """Every look that an estimate takes; None if nothing has to be estimated.

    All histograms and all columns of categories get the same noise, in patients.

    Args:
        schema: The draft.
        privacy: The budget.
    """
    todo = open_columns(schema)
    numeric = sum(is_measured(column) for column in todo)
    discrete = len(todo) - numeric
    if not todo:
        return None
    lost = KEY_SHARE * privacy.delta if discrete else 0.0
    parts = _TABLES * numeric + discrete
    multiplier = gaussian_noise_multiplier(privacy.epsilon, privacy.delta - lost)
    for _ in range(1000):
        events: list[Event] = []
        if numeric:
            events.append(GaussianEvent(BOUNDS, multiplier * (parts / (_TABLES * numeric)) ** 0.5))
        if discrete:
            noise = multiplier * parts**0.5
            events.append(KeySelectionEvent(CATEGORIES, noise, lost / discrete, discrete))
        plan = Plan.make(events, privacy.delta, _public(schema))
        if plan.epsilon <= privacy.epsilon:
            return plan
        multiplier *= 1 + 1e-10  # the rounding of the parts
    raise PrivacyError("the noise of the estimate can't be calibrated")


def is_measured(column: Column) -> bool:
    """Whether a column gets bounds; else it gets categories."""
    return column.categories is None and column.type != "string"


def _public(schema: Schema) -> tuple[str, ...]:
    whose = f"whose row is whose: the column {schema.unit!r}"
    rows = f"that a patient has at most {schema.pegai.max_rows_per_unit} rows; more are left out"
    return (
        "the schema but for the bounds and categories that are estimated: columns, types, which "
        "have categories, roles, decimals, formats, what means missing",
        *((whose, rows) if schema.unit is not None else ("that each row is one patient",)),
        "the grids on which bounds are looked for",
    )


def estimate_domain(table: Table, draft: Schema, session: Session) -> DomainEstimate:
    """Bounds and categories from a charged session.

    Args:
        table: Read by `without_private(draft)`; any number of rows.
        draft: The schema as a person left it.
        session: Of `plan_domain(draft, ...)`.

    Returns:
        The schema; every release has been used, whatever was found.
    """
    weights, table = _weighted(table)
    todo = open_columns(draft)
    measured = [c for c in todo if is_measured(c)]
    found: dict[str, Column | None] = {}
    if measured:
        found |= _estimate_bounds(table, measured, weights, session)
    for column in todo:
        if not is_measured(column):
            found[column.name] = _estimate_categories(table, column, weights, session)
    # Not on top of the draft: whether its private lists are the released ones is private too, and
    # would show in which impossible combinations are kept.
    clear = without_private(draft)
    columns = tuple(found.get(c.name) or c for c in clear.columns)
    return DomainEstimate(
        clear.replace_columns(columns),
        tuple(c.name for c in todo if found[c.name] is not None),
        tuple(c.name for c in todo if found[c.name] is None),
    )


def _weighted(table: Table) -> tuple[np.ndarray, Table]:
    """Integer weights of the rows, and the rows whose patient is known."""
    unit = table.schema.unit
    if unit is None:
        return np.full(len(table), WHOLE, np.int64), table
    table = Table(table.frame.filter(pl.col(unit).is_not_null()), table.schema)
    codes = table.unit_codes()
    counts = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    place = np.empty(len(codes), np.int64)
    place[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = _most_rows(table.schema)
    shares = WHOLE // np.minimum(counts, most)
    return np.where(place < most, shares[codes], 0).astype(np.int64), table


def _most_rows(schema: Schema) -> int:
    return min(schema.pegai.max_rows_per_unit, WHOLE)


def _estimate_bounds(
    table: Table, columns: Sequence[Column], weights: np.ndarray, session: Session
) -> dict[str, Column | None]:
    grids = [BoundsGrid.of(column) for column in columns]
    tables: list[np.ndarray] = []
    for grid in grids:
        tables += grid.tables(_declared(table.numbers(grid.column.name), grid.column), weights)
    event = session.plan[BOUNDS]
    if not isinstance(event, GaussianEvent):
        raise PrivacyError("the bounds were planned as another mechanism")
    spread = len(tables) ** 0.5
    flat = np.concatenate(tables)
    noisy = session.gaussian(BOUNDS, flat, l2_sensitivity=WHOLE * spread) / WHOLE
    parts = np.split(noisy, np.cumsum([t.size for t in tables])[:-1])
    deviation = event.noise_multiplier * spread
    return {
        grid.column.name: _bounded(grid.column, grid.bounds(wide, narrow, deviation))
        for grid, wide, narrow in zip(grids, parts[::2], parts[1::2], strict=True)
    }


def _declared(numbers: np.ndarray, column: Column) -> np.ndarray:
    """Values moved into the one bound that is public, if there is one."""
    if not column.is_public:
        return numbers
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    finite = np.where(np.isfinite(numbers), numbers, np.nan)
    return np.clip(finite, low, high)


def _bounded(column: Column, bounds: tuple[Bound, Bound] | None) -> Column | None:
    if bounds is None:
        return None
    low, high = bounds
    if column.is_public:
        given = column.constraints
        low = low if given.minimum is None else given.minimum
        high = high if given.maximum is None else given.maximum
        if column.as_number(low) > column.as_number(high):
            return None  # noise alone stood out, where the declared bound lets nobody be
    limits = column.constraints.model_copy(update={"minimum": low, "maximum": high})
    return _estimated(column, constraints=limits, categories=None)


def _estimate_categories(
    table: Table, column: Column, weights: np.ndarray, session: Session
) -> Column | None:
    texts = _texts(table, column)
    present = pl.DataFrame({"key": texts, "weight": pl.Series(weights, dtype=pl.Int64)})
    counted = present.drop_nulls("key").group_by("key").agg(pl.col("weight").sum())
    most = 1 if table.schema.unit is None else _most_rows(table.schema)
    keys, _ = session.select_keys(
        CATEGORIES,
        counted["key"].to_list(),
        counted["weight"].to_numpy(),
        whole=WHOLE,
        max_keys=most,
    )
    if not keys:
        return None
    whole_numbers = column.type == "integer"
    values = sorted(int(key) for key in keys) if whole_numbers else list(keys)
    labels = {str(c.value): c.label for c in column.categories or ()}
    categories = tuple(Category(value=v, label=labels.get(str(v))) for v in values)
    limits = column.constraints.model_copy(update={"minimum": None, "maximum": None})
    return _estimated(column, constraints=limits, categories=categories)


def _texts(table: Table, column: Column) -> pl.Series:
    """The values of a column as texts that name categories, each cell by itself; else null.

    A text is what a schema with this category reads: without blanks at its ends, and `1` for `1.0`.
    """
    if column.type != "string":
        return table.texts(column.name)
    markers = (*table.schema.missing_values, *(column.missing_values or ()))
    texts = blank_missing(table.frame[column.name], markers)
    texts = texts.str.replace(_WHOLE_NUMBER, "$1")
    texts = blank_missing(texts, markers)
    return null_where(texts, texts.str.len_chars() > MAX_CHARACTERS)


def _estimated(
    column: Column, *, constraints: Constraints, categories: tuple[Category, ...] | None
) -> Column:
    """The column with a domain; a note of the draft about its old one goes."""
    ordered = column.categories_ordered and column.type == "integer"
    update: dict[str, object] = {
        "constraints": constraints,
        "categories": categories,
        "categories_ordered": ordered and categories is not None,
        "pegai": column.pegai.model_copy(update={"source": ESTIMATED}),
    }
    if is_draft_note(column.description):
        update["description"] = None
    return column.model_copy(update=update)
