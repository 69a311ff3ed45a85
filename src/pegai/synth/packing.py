"""Several tables of patients as one vector of integers, which a Gaussian release covers at once.

Everything here is public: shapes, factors and the weight of a patient follow from the schema, the
settings and what was released before. What is private is only what gets packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pegai.privacy.session import Session

SMALLEST_FACTOR = 64


@dataclass(frozen=True)
class Packing:
    """How tables lie in one vector.

    Attributes:
        shapes: Of the tables.
        factors: Integers that the tables are multiplied by, so that larger ones get less noise.
        whole: The integer weight of a patient: adding or removing one changes each table by at most
            so much in L1.
    """

    shapes: tuple[tuple[int, ...], ...]
    factors: tuple[int, ...]
    whole: int

    @classmethod
    def equal(cls, shapes: Sequence[tuple[int, ...]], whole: int) -> Packing:
        """The same noise in every cell of every table."""
        return cls(tuple(shapes), (1,) * len(shapes), whole)

    @classmethod
    def weighted(cls, shapes: Sequence[tuple[int, ...]], whole: int) -> Packing:
        """Less noise on tables of more cells.

        Errors add up over the cells of a table: the sum over tables of cells x noise is least, at a
        given cost, where the variance falls as cells^(2/3) (Lagrange; McKenna et al. 2021,
        arXiv:2108.04978, section 5.2, have it for the workload).
        """
        return cls(tuple(shapes), tuple(table_factors([_cells(s) for s in shapes])), whole)

    @cached_property
    def size(self) -> int:
        """Length of the vector."""
        return sum(_cells(shape) for shape in self.shapes)

    @cached_property
    def l2_sensitivity(self) -> float:
        """How much one patient changes the vector: each table by `whole` x factor in L1."""
        return self.whole * float(np.sqrt(np.sum(np.square(self.factors, dtype=np.float64))))

    def pack(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """Integer tables of the shapes as one vector, int64 of shape (size,)."""
        pairs = zip(tables, self.factors, strict=True)
        return np.concatenate([t.astype(np.int64).ravel() * f for t, f in pairs])

    def unpack(self, vector: np.ndarray) -> list[np.ndarray]:
        """Tables in patients from a (noisy) vector, shape (size,)."""
        cuts = np.cumsum([_cells(shape) for shape in self.shapes])[:-1]
        parts = np.split(vector / self.whole, cuts)
        triples = zip(parts, self.factors, self.shapes, strict=True)
        return [(part / factor).reshape(shape) for part, factor, shape in triples]

    def deviations(self, noise_multiplier: float) -> list[float]:
        """Standard deviation of each table's noise, in patients."""
        deviation = self.l2_sensitivity * noise_multiplier / self.whole
        return [deviation / factor for factor in self.factors]

    def release(
        self,
        session: Session,
        label: str,
        tables: Sequence[np.ndarray],
        *,
        noise_multiplier: float | None = None,
    ) -> list[np.ndarray]:
        """All tables under one Gaussian release, as patients.

        Args:
            session: Admits `label`.
            label: A planned Gaussian event, or a filter.
            tables: Integers of the shapes.
            noise_multiplier: Of this release, where `label` is a filter.
        """
        noisy = session.gaussian(
            label,
            self.pack(tables),
            l2_sensitivity=self.l2_sensitivity,
            noise_multiplier=noise_multiplier,
        )
        return self.unpack(noisy)


def table_factors(cells: Sequence[int]) -> list[int]:
    """Integer factors of tables, growing as cells^(1/3); the smallest is 64."""
    sizes = np.asarray(cells, float)
    return [int(f) for f in np.rint(SMALLEST_FACTOR * np.cbrt(sizes / sizes.min()))]


def _cells(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
