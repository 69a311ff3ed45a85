"""Coefficients: whether a regression of synthetic patients says what one of real patients says.

The reference is the *holdout*, patients that the generator never saw, and the honest baseline is
the real training table against the holdout: two real tables do not agree perfectly either. Interval
overlap: Karr et al. (2006), "A framework for evaluating the utility of data altered to protect
confidentiality".

Standard errors of synthetic tables need a rule, since the rows are not patients. With W the mean of
the naive variances, B the variance between m tables, k synthetic and n real rows:

| rule | variance of the mean | for |
|---|---|---|
| `single` | W (k/n + 1/m) | any m, even one table (Raab, Nowok and Dibben 2016) |
| `partial` | W + B/m | partially synthetic tables (Reiter 2003) |
| `full` | (1 + 1/m) B - W | fully synthetic tables (Raghunathan et al. 2003) |
| `private` | W k/n + B/m | tables of independent private fits: B carries the noise |

Where the rule `full` gives nothing above 0, W k/n is taken for it (Reiter 2002).

One private table shows nothing of its noise: its standard errors are too small whatever the rule,
and `combine_estimates` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from pegai.errors import UsageError
from pegai.evaluate.utility.regression import Estimates

Rule = Literal["single", "partial", "full", "private"]

PRIVATE_WARNING = (
    "one private table: the noise of the guarantee is not in these standard errors, which are too "
    "small; only several independent private fits show it"
)
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class Combined:
    """Coefficients with standard errors that may be used.

    Attributes:
        values: Shape (terms,).
        errors: Shape (terms,); NaN where the rule gives none.
        warning: What must stand beside them; empty if nothing.
    """

    values: np.ndarray
    errors: np.ndarray
    warning: str = ""

    @property
    def low(self) -> np.ndarray:
        """Lower ends of 95 % intervals."""
        return self.values - _Z * self.errors

    @property
    def high(self) -> np.ndarray:
        """Upper ends of 95 % intervals."""
        return self.values + _Z * self.errors


def combine_estimates(found: Sequence[Estimates], rule: Rule, *, real_rows: int) -> Combined:
    """One estimate from those of several synthetic tables.

    Args:
        found: Of each table.
        rule: See the module's table.
        real_rows: Rows that the generator was trained on.

    Raises:
        UsageError: There is no table, or one only and the rule needs the variance between tables.
    """
    m = len(found)
    if m == 0 or (m == 1 and rule in ("partial", "full")):
        raise UsageError(
            f"the rule {rule!r} needs two synthetic tables at least, not {m}",
            hint="sample more tables, or the rule 'single'",
        )
    values = np.array([f.values for f in found])
    within = np.array([f.errors**2 for f in found]).mean(axis=0)
    between = values.var(axis=0, ddof=1) if m > 1 else np.full(values.shape[1], np.nan)
    ratio = float(np.mean([f.rows for f in found])) / max(1, real_rows)
    warning = ""
    if rule == "private" and m == 1:
        rule, warning = "single", PRIVATE_WARNING
    if rule == "single":
        total = within * (ratio + 1 / m)
    elif rule == "partial":
        total = within + between / m
    elif rule == "private":
        total = within * ratio + between / m
    else:
        total = (1 + 1 / m) * between - within
        total = np.where(total > 0, total, within * ratio)
    return Combined(values.mean(axis=0), np.sqrt(total), warning)


def as_combined(real: Estimates) -> Combined:
    """Estimates of real patients, whose naive standard errors are right."""
    return Combined(real.values, real.errors, "")


FIGURES = {
    "coefficient_overlap": "Overlap of the coefficients' confidence intervals with real patients'",
    "coefficient_bias": "Difference of coefficients from real patients', in standard errors",
    "coefficient_sign_flips": "Share of clear coefficients whose sign is turned round",
    "coefficient_agreement": "Share of coefficients with the same verdict (sign and p < 0.05)",
    "coefficient_coverage": "Share of intervals that cover real patients' estimate",
}
"""Names and titles of the figures."""

LOWER_IS_BETTER = ("coefficient_bias", "coefficient_sign_flips")


def interval_overlap(reference: Combined, other: Combined) -> np.ndarray:
    """Karr's overlap of each coefficient: the mean share of both intervals that is common.

    Intervals apart count 0 (Karr's formula goes below), and so does what can't be estimated.

    Returns:
        Shape (terms,), from 0 to 1.
    """
    common = np.minimum(reference.high, other.high) - np.maximum(reference.low, other.low)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = common / (reference.high - reference.low) + common / (other.high - other.low)
    return np.clip(np.nan_to_num(shares / 2, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)


def agreement(reference: Combined, other: Combined) -> np.ndarray:
    """The figures of `FIGURES`, in their order; NaN where no coefficient says anything.

    A coefficient is clear where the reference's interval leaves 0 out. One that the reference can't
    estimate is left out; one that the other table can't counts as no overlap and not covered.
    """
    kept = np.isfinite(reference.values) & (reference.errors > 0)
    if not kept.any():
        return np.full(len(FIGURES), np.nan)
    reference, other = _only(reference, kept), _only(other, kept)
    known = np.isfinite(other.values) & np.isfinite(other.errors)
    clear = np.abs(reference.values) > _Z * reference.errors
    claimed = known & (np.abs(other.values) > _Z * other.errors)
    same = np.sign(reference.values) == np.sign(other.values)
    gap = np.abs(other.values - reference.values) / reference.errors
    flipped = ~same[clear & known]
    verdict = np.where(clear, claimed & same, ~claimed)
    covered = known & (other.low <= reference.values) & (reference.values <= other.high)
    return np.array(
        [
            interval_overlap(reference, other).mean(),
            gap[known].mean() if known.any() else np.nan,
            flipped.mean() if flipped.size else np.nan,
            verdict.mean(),
            covered.mean(),
        ]
    )


def _only(found: Combined, kept: np.ndarray) -> Combined:
    return Combined(found.values[kept], found.errors[kept], found.warning)
