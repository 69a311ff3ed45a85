"""Settings of sequential trees."""

from __future__ import annotations

from dataclasses import dataclass

from pegai.errors import UsageError


@dataclass(frozen=True)
class TreesConfig:
    """Settings of the method.

    Attributes:
        max_bins: At most about this many bins a numeric column.
        min_patients: A bin, and a level with a code of its own, are held by at least this many
            patients.
        min_shared: A number that is drawn exactly is held by at least this many patients.
        min_leaf: Patients in a leaf, at least.
        trees: Trees a column, at most; each is grown on four fifths of the patients, drawn at
            random, and a row takes one of them at random for each column. Large tables get fewer.
        max_depth: Questions on the way to a leaf, at most.
        max_features: Columns that a tree may ask about, at most: those that tell most about its
            own column.
        tolerance: Log-likelihood of left-out rows that a split may cost, in nats, before it is cut.
        shrinkages: Pseudo-patients that pull a leaf's shares to those of the node above; the one
            that foretells left-out patients best is taken, column by column.
    """

    max_bins: int = 100
    min_patients: int = 5
    min_shared: int = 20
    min_leaf: int = 10
    trees: int = 16
    max_depth: int = 14
    max_features: int = 32
    tolerance: float = 1.5
    shrinkages: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

    def __post_init__(self) -> None:
        if not 2 <= self.max_bins <= 254:
            raise UsageError(f"max_bins must lie between 2 and 254, not {self.max_bins}")
        for name in (
            "min_patients",
            "min_shared",
            "min_leaf",
            "trees",
            "max_depth",
            "max_features",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.shrinkages or not all(0 < s < float("inf") for s in self.shrinkages):
            raise UsageError("shrinkages must be one or more numbers above 0")
