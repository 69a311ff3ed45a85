"""Design: the terms of a regression that is prescribed before any table is looked at but one.

Which terms there are is decided on the *real training table*, so that the model is the same for
every table and the holdout, which is the reference, had no say: numbers and ordinal columns are
standardised, a category has a term for each level but the most frequent, levels that are rare in
training are pooled, and what is missing has a term of its own where it is not rare.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pegai.evaluate.features import Encoded

RARE_SHARE = 0.05
RARE_ROWS = 10
"""A level below either is pooled with the other rare ones."""

MAX_TERMS = 40
_FAR = 5.0  # standard deviations; one typing error must not decide a slope
_SPREAD = 10.0  # interquartile ranges that count for mean and standard deviation


@dataclass(frozen=True)
class Term:
    """One column of the design.

    Attributes:
        column: The table's column.
        label: Level or levels it stands for, "missing", or "" for a number.
        kind: `number` (scaled), `ordinal` (code), `levels` (indicator) or `missing` (indicator).
        place: Position among the numbers or among the discrete columns of the coding.
        codes: Codes of an indicator; -1 is missing.
        centre: Mean of a number or a code.
        scale: Its standard deviation.
    """

    column: str
    label: str
    kind: Literal["number", "ordinal", "levels", "missing"]
    place: int
    codes: tuple[int, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    def values(self, table: Encoded) -> np.ndarray:
        """The term for each row of a table; shape (rows,)."""
        if self.kind == "missing":
            return np.isnan(table.numbers[:, self.place]).astype(np.float64)
        if self.kind == "levels":
            return np.isin(table.codes[:, self.place], self.codes).astype(np.float64)
        raw = _raw(table, self.kind, self.place)
        filled = np.where(np.isnan(raw), self.centre, raw)
        return np.clip((filled - self.centre) / self.scale, -_FAR, _FAR)


def _raw(table: Encoded, kind: str, place: int) -> np.ndarray:
    if kind == "number":
        return np.clip(table.numbers[:, place], -_SPREAD, _SPREAD)
    codes = table.codes[:, place].astype(np.float64)
    known = (codes >= 0) & (codes < len(table.features.discrete[place].levels))
    return np.where(known, codes, np.nan)


def design_matrix(terms: Collection[Term], table: Encoded) -> np.ndarray:
    """The terms of every row; shape (rows, terms)."""
    if not terms:
        return np.zeros((len(table), 0))
    return np.column_stack([term.values(table) for term in terms])


def fit_terms(train: Encoded, *, leave_out: Collection[str]) -> list[Term]:
    """Every term that the training table supports.

    Args:
        train: The coded real training table.
        leave_out: Columns that are outcomes.
    """
    terms: list[Term] = []
    for i, number in enumerate(train.features.numbers):
        if number.name not in leave_out:
            terms += _number_terms(train, number.name, i)
    for i, levels in enumerate(train.features.discrete):
        if levels.name in leave_out:
            continue
        if levels.ordered:
            terms += _scaled(train, levels.name, "ordinal", i)
        else:
            terms += _level_terms(train, i)
    return terms


def _number_terms(train: Encoded, name: str, place: int) -> list[Term]:
    terms = _scaled(train, name, "number", place)
    absent = np.isnan(train.numbers[:, place])
    if _frequent(absent.sum(), len(train)) and _frequent((~absent).sum(), len(train)):
        terms.append(Term(name, "missing", "missing", place))
    return terms


def _scaled(
    train: Encoded, name: str, kind: Literal["number", "ordinal"], place: int
) -> list[Term]:
    raw = _raw(train, kind, place)
    observed = np.sort(raw[~np.isnan(raw)])
    if observed.size < 2 or observed.std() < 1e-9:
        return []
    centre, scale = float(observed.mean()), float(observed.std())
    return [Term(name, "", kind, place, centre=centre, scale=scale)]


def _frequent(rows: float, total: int) -> bool:
    return bool(rows >= max(RARE_ROWS, RARE_SHARE * total))


def _level_terms(train: Encoded, place: int) -> list[Term]:
    spec, codes = train.features.discrete[place], train.codes[:, place]
    counts = np.bincount(codes + 1, minlength=spec.size + 1)  # the first is missing
    common = [k for k in range(counts.size) if _frequent(counts[k], codes.size)]
    if not common:
        return []
    reference = max(common, key=lambda k: (counts[k], -k))
    rare = [k for k in range(counts.size) if k not in common]
    names = ["missing", *spec.levels, "any other"]
    terms = [Term(spec.name, names[k], "levels", place, (k - 1,)) for k in common if k != reference]
    if _frequent(counts[rare].sum(), codes.size):
        label = f"{sum(counts[k] > 0 for k in rare)} rare levels"
        terms.append(Term(spec.name, label, "levels", place, tuple(k - 1 for k in rare)))
    return terms


def choose_terms(
    terms: list[Term], outcome: np.ndarray, train: Encoded, holdout: Encoded, limit: int
) -> list[Term]:
    """At most `limit` terms, those most correlated with the outcome *in training*.

    The holdout only says which terms it can estimate at all (some patients on either side).

    Args:
        terms: From `fit_terms`.
        outcome: Of the training rows; shape (rows,).
        train: Training rows.
        holdout: Holdout rows.
        limit: How many coefficients the smaller table can carry.
    """
    if not terms or limit < 1:
        return []
    matrix, other = design_matrix(terms, train), design_matrix(terms, holdout)
    centred = matrix - matrix.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0)) + 1e-12
    strength = np.round(np.abs((outcome - outcome.mean()) @ centred) / size, 9)
    strength[~_both_sides(other)] = -1.0
    order = [i for i in np.argsort(-strength, kind="stable") if strength[i] >= 0][:limit]
    # Terms that others make up, in either table, go; the stronger ones stay.
    kept = independent_columns(matrix[:, order]) & independent_columns(other[:, order])
    return [terms[i] for i in sorted(i for i, keep in zip(order, kept, strict=True) if keep)]


def _both_sides(matrix: np.ndarray) -> np.ndarray:
    """Terms that vary, indicators with five rows on either side at least."""
    indicator = ((matrix == 0) | (matrix == 1)).all(axis=0)
    ones = matrix.sum(axis=0)
    enough = np.minimum(ones, matrix.shape[0] - ones) >= 5
    return np.where(indicator, enough, matrix.std(axis=0) > 1e-6)


def independent_columns(matrix: np.ndarray) -> np.ndarray:
    """Mask of the columns that are no linear combination of an intercept and those before them."""
    centred = matrix - matrix.mean(axis=0) if len(matrix) else matrix
    gram = centred.T @ centred
    start = np.diag(gram).copy()
    kept = np.zeros(start.size, dtype=bool)
    for j in range(start.size):
        pivot = gram[j, j]
        if pivot <= 1e-7 * max(start[j], 1e-12) or start[j] <= 1e-9 * max(1, len(matrix)):
            continue
        kept[j] = True
        gram = gram - np.outer(gram[:, j], gram[j]) / pivot
    return kept
