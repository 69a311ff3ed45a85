"""Rows as codes: what every generator that works on codes learns from, in as few bytes as it takes.

Encoding goes chunk by chunk, so that a table is never held twice: a code takes one byte where the
columns have at most 256 codes, else two or four.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder, summarize

CHUNK_ROWS = 65_536


def chunks(table: Table, rows: int = CHUNK_ROWS) -> Iterator[Table]:
    """A table in slices of at most so many rows, in order; an empty one gives itself."""
    for start in range(0, max(len(table), 1), rows):
        yield Table(table.frame.slice(start, rows), table.schema)


def fit_encoder(table: Table, *, max_bins: int, min_count: float) -> TableEncoder:
    """The encoder of a table's modelled columns, without privacy; arguments as of `TableEncoder`."""
    return TableEncoder.fit(
        summarize(chunk.modelled() for chunk in chunks(table)),
        max_bins=max_bins,
        min_count=min_count,
    )


def encode_rows(table: Table, encoder: TableEncoder) -> np.ndarray:
    """Codes of the modelled columns, shape (rows, columns); the smallest unsigned type that fits."""
    most = max(encoder.sizes, default=1)
    kind = np.uint8 if most <= 2**8 else np.uint16 if most <= 2**16 else np.uint32
    codes = np.empty((len(table), len(encoder.sizes)), kind)
    start = 0
    for chunk in chunks(table):
        codes[start : start + len(chunk)] = encoder.encode(chunk.modelled())
        start += len(chunk)
    return codes
