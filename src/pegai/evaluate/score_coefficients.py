"""Scores of inference: coefficients and hazard ratios of synthetic against real patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import combine_jackknife
from pegai.evaluate.scores import Better, Score, joined, mean, values_note
from pegai.evaluate.utility.coefficients import (
    FIGURES,
    LOWER_IS_BETTER,
    PRIVATE_WARNING,
    Combined,
    agreement,
    as_combined,
    combine_estimates,
)
from pegai.evaluate.utility.models import Model
from pegai.evaluate.utility.regression import Estimates

_BOUNDS = {"coefficient_bias": (0.0, math.inf)}
_HAZARDS = {
    "coefficient_overlap": ("hazard_overlap", "Overlap of hazard ratios' confidence intervals"),
    "coefficient_sign_flips": ("hazard_sign_flips", "Share of clear hazard ratios turned round"),
}


@dataclass(frozen=True, eq=False)
class Reference:
    """A prescribed model, fitted to the real tables.

    Attributes:
        model: None where there is none.
        note: Why not.
        holdout: The reference.
        left_out: The same without each group of its patients.
        train: The training table, whose agreement with the holdout is the baseline.
        train_rows: Rows that the generator was trained on.
        private: Whether the synthetic tables come from a private fit.
    """

    model: Model | None
    note: str
    holdout: Estimates | None
    left_out: tuple[Estimates, ...]
    train: Estimates | None
    train_rows: int
    private: bool


def fit_reference(
    model: Model | None,
    note: str,
    train: Encoded,
    holdout: Encoded,
    groups: np.ndarray,
    *,
    private: bool,
) -> Reference:
    """Fit the model to the holdout, to the holdout without each group, and to the training table.

    Args:
        model: The model, or None.
        note: Why there is none.
        train: The coded training table.
        holdout: The coded holdout.
        groups: The jackknife group of each holdout row; shape (rows,).
        private: Whether the synthetic tables come from a private fit.
    """
    if model is None:
        return Reference(None, note, None, (), None, len(train), private)
    left_out = tuple(
        model.fit(holdout.take(np.flatnonzero(groups != group))) for group in np.unique(groups)
    )
    real = model.fit(holdout)
    return Reference(model, note, real, left_out, model.fit(train), len(train), private)


def jackknife_score(
    name: str,
    title: str,
    values: Sequence[float],
    left_out: np.ndarray,
    *,
    baseline: float,
    better: Better,
    note: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Score:
    """A score whose interval covers the tables and, by leaving groups out, the patients.

    Args:
        name: Of the score.
        title: For people.
        values: The figure of each table; NaN where not assessed.
        left_out: The same without each group of holdout patients; shape (tables, groups).
        baseline: The figure of real patients.
        better: Which way is good.
        note: Put before the usual note; where nothing was assessed it has to say why.
        bounds: Smallest and largest value.
    """
    found = np.array(values, dtype=float)
    known = np.isfinite(found)
    low = high = math.nan
    if known.any():
        parts = left_out[known]
        parts = parts[:, np.isfinite(parts).all(axis=0)]
        low, high = combine_jackknife(found[known], parts, bounds=bounds)
        if low == high:  # a share that no group moves: the jackknife has nothing to say
            low = high = math.nan
    value = mean(found.tolist())
    tables = "" if math.isnan(value) else values_note(len(found))
    return Score(
        name,
        "utility",
        title,
        value,
        low,
        high,
        baseline,
        better,
        len(found),
        tuple(found.tolist()),
        joined(note, tables),
    )


def _usable(reference: Reference, found: Sequence[Estimates]) -> list[Combined]:
    """Each table with standard errors for a user who has this one table."""
    if reference.private and len(found) > 1:
        between = np.array([f.values for f in found]).var(axis=0, ddof=1)
        return [
            Combined(f.values, np.sqrt(f.errors**2 * f.rows / reference.train_rows + between))
            for f in found
        ]
    rule = "private" if reference.private else "single"
    return [combine_estimates([f], rule, real_rows=reference.train_rows) for f in found]


def coefficient_scores(
    reference: Reference, found: Sequence[Estimates], *, hazards: bool = False
) -> tuple[Score, ...]:
    """The figures of `FIGURES`, or for a Cox model `hazard_overlap` and `hazard_sign_flips`."""
    names = {key: (key, title) for key, title in FIGURES.items()} if not hazards else _HAZARDS
    if reference.model is None or reference.holdout is None or reference.train is None:
        name, title = names["coefficient_overlap"]
        return (Score(name, "utility", title, math.nan, n=0, note=reference.note),)
    holdout, tables = as_combined(reference.holdout), _usable(reference, found)
    parts = [as_combined(part) for part in reference.left_out]
    values = np.array([agreement(holdout, table) for table in tables])
    left_out = np.array([[agreement(part, table) for part in parts] for table in tables])
    baseline = agreement(holdout, as_combined(reference.train))
    note = _note(reference, found)
    scores: list[Score] = []
    for i, key in enumerate(FIGURES):
        if key not in names:
            continue
        name, title = names[key]
        missing = np.isnan(values[:, i]).all()
        scores.append(
            jackknife_score(
                name,
                title,
                values[:, i].tolist(),
                left_out[:, :, i],
                baseline=float(baseline[i]),
                better="lower" if key in LOWER_IS_BETTER else "higher",
                note=f"not assessed: {_absent(key)}" if missing else note,
                bounds=_BOUNDS.get(key, (0.0, 1.0)),
            )
        )
    return tuple(scores)


def _absent(key: str) -> str:
    if key == "coefficient_sign_flips":
        return "no coefficient of the holdout is clear (its interval leaves 0 out)"
    return "the regression can't be estimated"


def _note(reference: Reference, found: Sequence[Estimates]) -> str:
    assert reference.model is not None and reference.holdout is not None  # noqa: S101
    failed = sum(bool(np.isnan(f.values).all()) for f in found)
    return joined(
        f"{reference.model.family} regression with {len(reference.model.terms)} coefficients",
        reference.holdout.note,
        f"{failed} synthetic tables could not be fitted" if failed else "",
        PRIVATE_WARNING if reference.private and len(found) == 1 else "",
    )


def forest_plot(reference: Reference, found: Sequence[Estimates]) -> dict[str, Any] | None:
    """Each coefficient with both intervals; None without a model.

    Returns:
        `family`, `outcome`, `rule` and `warning` of the synthetic standard errors, and `terms`, a
        list of `column`, `label`, `real`, `real_low`, `real_high`, `synthetic`, `low`, `high`,
        `train` (the training table's estimate), per standard deviation of a number.
    """
    if reference.model is None or reference.holdout is None or reference.train is None:
        return None
    rule = "private" if reference.private else "single"
    pooled = combine_estimates(found, rule, real_rows=reference.train_rows)
    real, model = as_combined(reference.holdout), reference.model
    terms = [
        {
            "column": term.column,
            "label": term.label,
            "real": float(real.values[i]),
            "real_low": float(real.low[i]),
            "real_high": float(real.high[i]),
            "synthetic": float(pooled.values[i]),
            "low": float(pooled.low[i]),
            "high": float(pooled.high[i]),
            "train": float(reference.train.values[i]),
        }
        for i, term in enumerate(model.terms)
    ]
    outcome = model.target.title if model.target is not None else ""
    if model.follow_up is not None:
        outcome = model.follow_up.title
    return {
        "family": model.family,
        "outcome": outcome,
        "rule": rule,
        "warning": pooled.warning,
        "terms": terms,
    }
