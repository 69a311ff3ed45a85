"""Discrete columns as integer codes: one code a level, one for missing, one for the rare levels.

Three steps, each mergeable or pure: `summarize` counts, `CategoricalEncoder.fit` decides which
levels get a code of their own, `encode` and `decode` go to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.schema import Column


@dataclass(frozen=True)
class CategoricalSummary:
    """Weighted counts of the declared levels of a column.

    Attributes:
        counts: One weight a level of the schema, then one for missing; shape (levels + 1,).
            Values outside the schema count as missing, so nothing about them can be seen.
    """

    counts: np.ndarray

    def merge(self, other: CategoricalSummary) -> CategoricalSummary:
        """The summary of both tables together."""
        return CategoricalSummary(self.counts + other.counts)


def level_codes(texts: pl.Series, levels: tuple[str, ...]) -> np.ndarray:
    """Position of each value in `levels`; missing and unknown values get `len(levels)`.

    Args:
        texts: Column as text with null for missing.
        levels: The declared levels.

    Returns:
        int64 codes, shape (rows,).
    """
    mapping = dict(zip(levels, range(len(levels)), strict=True))
    codes = texts.replace_strict(mapping, default=len(levels), return_dtype=pl.Int64)
    return codes.fill_null(len(levels)).to_numpy()


def summarize_categorical(
    texts: pl.Series, column: Column, weights: np.ndarray | None = None
) -> CategoricalSummary:
    """Count the levels of a column; `weights` (rows,) default to 1."""
    codes = level_codes(texts, column.levels)
    counts = np.bincount(codes, weights=weights, minlength=len(column.levels) + 1)
    return CategoricalSummary(counts.astype(float))


@dataclass(frozen=True)
class CategoricalEncoder:
    """Codes of a discrete column.

    Levels rarer than the threshold of `fit` share one code, so that a column of ten thousand
    levels stays small and a level of one patient is not learned for itself. Decoding that code
    draws one of its levels by its share.

    Attributes:
        column: The column.
        common: Levels with a code of their own, in the schema's order.
        rare: Levels that share the code after them; empty means there is none.
        rare_shares: Their shares among the rare, summing to 1.
        missing: Whether the last code stands for missing.
    """

    column: Column
    common: tuple[str, ...]
    rare: tuple[str, ...] = ()
    rare_shares: tuple[float, ...] = ()
    missing: bool = True

    @classmethod
    def fit(
        cls,
        summary: CategoricalSummary,
        column: Column,
        *,
        min_count: float = 0.0,
        max_levels: int | None = None,
    ) -> CategoricalEncoder:
        """Give each level seen at least `min_count` times a code of its own.

        A single rare level keeps its own code: sharing a code with nobody hides nothing.

        Args:
            summary: How often each level was seen.
            column: The column.
            min_count: Levels with fewer rows share one code.
            max_levels: So many of the most common levels have a code of their own; None is all.
        """
        levels = np.array(column.levels, dtype=object)
        counts = np.maximum(summary.counts[:-1], 0.0)
        is_rare = counts < min_count
        if max_levels is not None:
            is_rare[np.argsort(-counts, kind="stable")[max_levels:]] = True
        if is_rare.sum() < 2:
            is_rare[:] = False
        weights = counts[is_rare]
        shares = weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1.0)
        shares = shares / max(shares.sum(), 1.0)
        return cls(
            column,
            common=tuple(levels[~is_rare]),
            rare=tuple(levels[is_rare]),
            rare_shares=tuple(float(s) for s in shares),
            missing=not column.constraints.required,
        )

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.common) + bool(self.rare) + self.missing

    @property
    def values(self) -> tuple[float, ...]:
        """A number a code, for models that use order: evenly spaced in [0, 1], missing is 0.5."""
        count = self.size - self.missing
        spread = tuple(i / max(count - 1, 1) for i in range(count))
        return spread + ((0.5,) if self.missing else ())

    def code_of(self, value: str | None) -> int | None:
        """The code of one value, or None where the value has none."""
        if value is None:
            return self.size - 1 if self.missing else None
        if value in self.common:
            return self.common.index(value)
        return len(self.common) if value in self.rare else None

    def encode(self, texts: pl.Series) -> np.ndarray:
        """Codes of a column, shape (rows,). Unknown values are encoded as missing.

        Where the schema forbids missing values, they fall on the most common remaining code 0:
        the encoder must give every row a code without telling that the row was odd.
        """
        absent = self.size - 1 if self.missing else 0
        mapping = {level: code for code, level in enumerate(self.common)}
        mapping |= dict.fromkeys(self.rare, len(self.common))
        codes = texts.replace_strict(mapping, default=absent, return_dtype=pl.Int64)
        return codes.fill_null(absent).to_numpy()

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> pl.Series:
        """Texts of codes, null for missing; the rare code draws among its levels."""
        return self.levels.gather(self._places(codes, rng)).alias(self.column.name)

    @property
    def levels(self) -> pl.Series:
        """What is decoded to: the common levels, null for missing, then the rare levels."""
        return pl.Series([*self.common, None, *self.rare], dtype=pl.String)

    def _places(self, codes: np.ndarray, rng: np.random.Generator) -> pl.Series:
        """Where in `levels` each code is."""
        common = len(self.common)
        # Of the few codes there are, the rare one comes before the one for missing.
        place = np.append(np.arange(common), [common, common]).astype(np.uint32)
        places = place[codes]
        if self.rare:
            drawn = np.flatnonzero(codes == common)
            shares = np.asarray(self.rare_shares)
            chosen = rng.choice(len(self.rare), size=len(drawn), p=shares / shares.sum())
            places[drawn] = common + 1 + chosen
        return pl.Series(places)

    def to_dict(self) -> dict[str, Any]:
        """JSON types, without the column (it is in the schema)."""
        return {
            "kind": "categorical",
            "common": list(self.common),
            "rare": list(self.rare),
            "rare_shares": list(self.rare_shares),
            "missing": self.missing,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any], column: Column) -> CategoricalEncoder:
        """The inverse of `to_dict`."""
        return cls(
            column,
            tuple(plain["common"]),
            tuple(plain["rare"]),
            tuple(plain["rare_shares"]),
            bool(plain["missing"]),
        )
