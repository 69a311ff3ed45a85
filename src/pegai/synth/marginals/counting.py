"""Exact marginals of a coded table, with integer weights that bound each patient's part by 1.

Codes are held in as few bytes as they take, one array a column; tables are counted by `np.bincount`
over chunks of rows, so that three million rows cost their codes and little more. A patient's k rows
weigh floor(whole / k) each: adding or removing the patient changes any one table by at most `whole`
in L1, and therefore in L2, whatever k is. Where each row is a patient the weight is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.synth.grids import PatientWeights
from pegai.synth.marginals.measurements import Array
from pegai.synth.rows import encode_columns

CHUNK_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class Counter:
    """A coded table whose marginals can be counted.

    Attributes:
        codes: One array of shape (rows,) a column, without the class.
        sizes: Codes a column.
        classes: The class of each row, shape (rows,).
        class_count: Number of classes; 1 where there is no class column.
        weights: Of the rows; `weights.whole` is the sensitivity of every table.
    """

    codes: tuple[Array, ...]
    sizes: tuple[int, ...]
    classes: Array
    class_count: int
    weights: PatientWeights

    @classmethod
    def of(cls, table: Table, encoder: TableEncoder, class_index: int | None) -> Counter:
        """Code a table.

        Args:
            table: With the patient id, where the schema names one.
            encoder: For the table's modelled columns.
            class_index: The class column among them, or None.
        """
        codes = encode_columns(table, encoder)
        sizes = list(encoder.sizes)
        classes, count = np.zeros(len(table), np.uint8), 1
        if class_index is not None:
            classes, count = codes.pop(class_index), sizes.pop(class_index)
        return cls(tuple(codes), tuple(sizes), classes, count, PatientWeights.of(table))

    @property
    def totals(self) -> Array:
        """Counts of the classes, int64 of shape (classes,)."""
        return self.count(())

    def one(self, column: int) -> Array:
        """Counts of a column by class, int64 of shape (classes, size)."""
        return self.count((column,))

    def pair(self, first: int, second: int) -> Array:
        """Counts of two columns by class, int64 of shape (classes, size, size)."""
        return self.count((first, second))

    def count(self, columns: tuple[int, ...]) -> Array:
        """Counts of some columns by class, int64 of shape (classes, sizes...)."""
        shape = (self.class_count, *(self.sizes[c] for c in columns))
        total = np.zeros(int(np.prod(shape)))
        for start in range(0, len(self.classes), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            joint = self.classes[rows].astype(np.intp)
            for column in columns:
                joint *= self.sizes[column]
                joint += self.codes[column][rows]
            weights = None if self.weights.rows is None else self.weights.rows[rows]
            total += np.bincount(joint, weights=weights, minlength=len(total))
        return total.astype(np.int64).reshape(shape)
