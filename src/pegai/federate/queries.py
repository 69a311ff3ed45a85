"""Queries of marginals as they travel, and what a site refuses to count.

A query is public, and whatever it says, one patient changes its answer by no more than its packing
says: each row falls into one cell of each table. What is checked here keeps a site from being made
to fail, or to use up its memory, by a query that no honest coordinator sends.
"""

from __future__ import annotations

import math
from typing import Any

from pegai.encode.categorical import CategoricalEncoder
from pegai.encode.numeric import NumericEncoder
from pegai.encode.table import ColumnEncoder, TableEncoder
from pegai.errors import FederationError
from pegai.schema import Schema
from pegai.synth.grids import class_column
from pegai.synth.marginals.source import LookQuery, PatientsQuery, Query, TablesQuery

MAX_CELLS = 2**26
"""The most numbers in an answer: half a gigabyte."""

MAX_BINS = 4096


def query_to_dict(query: Query) -> dict[str, Any]:
    """JSON types; the schema is the plan's."""
    if isinstance(query, PatientsQuery):
        return {"kind": "patients"}
    if isinstance(query, LookQuery):
        return {
            "kind": "look",
            "bins": query.bins,
            "single_values": query.single_values,
            "split_by": query.split_by,
        }
    return {
        "kind": "tables",
        "encoder": query.encoder.to_dict(),
        "class_index": query.class_index,
        "tables": [list(columns) for columns in query.tables],
        "by_class": query.by_class,
    }


def query_from_dict(plain: Any, schema: Schema) -> Query:
    """Read a query.

    Args:
        plain: As it came.
        schema: What the plan's method learns.

    Raises:
        FederationError: It is no query on this schema, or asks for too much.
    """
    try:
        query = _read(plain, schema)
        cells = query.packing.size
    except FederationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FederationError(
            f"the coordinator asked what can't be read ({type(error).__name__})"
        ) from None
    if cells > MAX_CELLS:
        raise FederationError(
            f"the coordinator asked for {cells:,} counts at once; at most {MAX_CELLS:,} are given",
            hint="fewer columns, or fewer levels in the schema",
        )
    return query


def _read(plain: Any, schema: Schema) -> Query:
    kind = plain["kind"]
    if kind == "patients":
        return PatientsQuery(schema)
    if kind == "look":
        bins = plain["bins"]
        _require(_is_whole(bins) and 1 <= bins <= MAX_BINS, "bins")
        _require(isinstance(plain["single_values"], bool), "single_values")
        by = plain["split_by"]
        classes = isinstance(by, str) and class_column(schema, by) is not None
        _require(by is None or classes, "split_by")
        return LookQuery(schema, bins, plain["single_values"], by)
    _require(kind == "tables", "kind")
    encoder = encoder_from_dict(plain["encoder"], schema)
    at = plain["class_index"]
    target = class_column(schema, None)
    known = None if target is None else encoder.index(target.name)
    _require(at is None or (_is_whole(at) and at == known), "class_index")
    _require(isinstance(plain["by_class"], bool), "by_class")
    tables = tuple(tuple(columns) for columns in plain["tables"])
    width = len(encoder.sizes) - (at is not None)
    for columns in tables:
        _require(len(columns) <= 2 and len(set(columns)) == len(columns), "tables")
        _require(all(_is_whole(c) and 0 <= c < width for c in columns), "tables")
    _require(bool(tables), "tables")
    return TablesQuery(schema, encoder, at, tables, plain["by_class"])


def encoder_from_dict(plain: Any, schema: Schema) -> TableEncoder:
    """Codes as the coordinator made them; every value of the schema must have one.

    Raises:
        FederationError: One has none.
    """
    encoder = TableEncoder.from_dict(plain, schema.only_modelled())
    for column in encoder.columns:
        _check_encoder(column)
    return encoder


def _check_encoder(encoder: ColumnEncoder) -> None:
    """Every value has a code that is there: else whether a site fails would tell of its rows."""
    _require(encoder.missing == (not encoder.column.constraints.required), "encoder")
    if isinstance(encoder, NumericEncoder):
        _require(len(encoder.knots) == len(encoder.edges) + 1, "encoder")
        numbers = [*encoder.edges.tolist(), *encoder.knots.ravel().tolist()]
        _require(all(math.isfinite(number) for number in numbers), "encoder")
        return
    _check_levels(encoder)


def _check_levels(encoder: CategoricalEncoder) -> None:
    levels = [*encoder.common, *encoder.rare]
    _require(encoder.size > 0, "encoder")
    _require(sorted(levels) == sorted(encoder.column.levels), "encoder")
    _require(len(encoder.rare) == len(encoder.rare_shares), "encoder")


def _require(held: bool, part: str) -> None:
    if not held:
        raise FederationError(f"the coordinator asked what does not fit the plan: {part}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
