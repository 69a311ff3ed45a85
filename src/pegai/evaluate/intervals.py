"""Intervals: of shares, of differences, of rank statistics, and over seeds and patients together.

An evaluation has two sources of chance: the generator's seed (another seed, another table) and the
patients (another hospital year, another holdout). An interval over seeds alone is too short, since
all tables were judged by the same patients. `combine` covers both.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from pegai.streams import Streams

LEVEL = 0.95
RESAMPLES = 500
GROUPS = 10
"""Groups of patients that a jackknife leaves out, one at a time."""


def wilson(successes: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n <= 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf(0.5 + level / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    return low, 1.0 if successes >= n else min(1.0, centre + half)


def clopper_pearson(successes: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934); (0, 1) for n = 0."""
    if n <= 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes >= n else float(stats.beta.isf(tail, successes + 1, n - successes))
    return low, high


def newcombe(
    successes_1: float, n_1: int, successes_2: float, n_2: int, *, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the difference of two independent shares, first minus second.

    Newcombe (1998), "Interval estimation for the difference between independent proportions",
    method 10: Wilson's limits put together by the square-and-add rule.
    """
    if n_1 <= 0 or n_2 <= 0:
        return -1.0, 1.0
    share_1, share_2 = successes_1 / n_1, successes_2 / n_2
    low_1, high_1 = wilson(successes_1, n_1, level=level)
    low_2, high_2 = wilson(successes_2, n_2, level=level)
    difference = share_1 - share_2
    down = math.hypot(share_1 - low_1, high_2 - share_2)
    up = math.hypot(high_1 - share_1, share_2 - low_2)
    return max(-1.0, difference - down), min(1.0, difference + up)


def patient_weights(
    units: np.ndarray, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> np.ndarray:
    """How often each row is drawn when patients are resampled with replacement.

    Args:
        units: The patient of each row; shape (rows,).
        rng: A seeded stream.
        resamples: How many resamples.

    Returns:
        Counts, shape (resamples, rows); rows of one patient share their count.
    """
    found, inverse = np.unique(units, return_inverse=True)
    if found.size == 0:
        return np.zeros((resamples, 0))
    counts = rng.multinomial(found.size, np.full(found.size, 1 / found.size), size=resamples)
    return counts.astype(np.float64)[:, inverse]


def jackknife_groups(units: np.ndarray, streams: Streams) -> np.ndarray:
    """A group for each row, whole patients, from 0 without gaps; shape (rows,)."""
    found, inverse = np.unique(units, return_inverse=True)
    order = streams.child("jackknife").get("split").permutation(found.size)
    return (order % GROUPS)[inverse]


def weighted_auc(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Area under the ROC curve by ranks (ties count one half), for many weightings at once.

    Args:
        scores: Higher means "positive"; shape (rows,).
        positive: Weight of each row as a positive; shape (weightings, rows).
        negative: Weight of each row as a negative, same shape.

    Returns:
        Shape (weightings,); NaN where one side has no weight.
    """
    order, ends = _tie_groups(-scores)
    plus = _at(np.cumsum(positive[:, order], axis=1), ends)
    minus = _at(np.cumsum(negative[:, order], axis=1), ends)
    return _area(plus, minus)


def _area(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """The trapezoid under cumulative counts in the order of falling scores."""
    if plus.shape[1] == 0:
        return np.full(plus.shape[0], np.nan)
    step = np.diff(minus, axis=1, prepend=0.0)
    height = plus - np.diff(plus, axis=1, prepend=0.0) / 2
    total = plus[:, -1] * minus[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (step * height).sum(axis=1) / total, np.nan)


def weighted_tpr(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, fpr: float
) -> np.ndarray:
    """True positive rate at a false positive rate that is held strictly.

    The threshold lies between groups of tied scores: the rate is never interpolated through a tie,
    which would credit an attack with a threshold that does not exist.

    Args:
        scores: Higher means "positive"; shape (rows,).
        positive: Weight of each row as a positive; shape (weightings, rows).
        negative: Weight of each row as a negative, same shape.
        fpr: The largest false positive rate allowed.

    Returns:
        Shape (weightings,); NaN where one side has no weight.
    """
    order, ends = _tie_groups(-scores)
    plus = _at(np.cumsum(positive[:, order], axis=1), ends)
    minus = _at(np.cumsum(negative[:, order], axis=1), ends)
    return _rate(plus, minus, fpr)


def _rate(plus: np.ndarray, minus: np.ndarray, fpr: float) -> np.ndarray:
    if plus.shape[1] == 0:
        return np.full(plus.shape[0], np.nan)
    allowed = minus <= fpr * minus[:, -1:] + 1e-9
    caught = np.where(allowed, plus, 0.0).max(axis=1)
    total = plus[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((total > 0) & (minus[:, -1] > 0), caught / total, np.nan)


def rank_statistics(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, fprs: tuple[float, ...]
) -> np.ndarray:
    """AUC and the strict true positive rates of one score, sorting once.

    Returns:
        Shape (1 + len(fprs), weightings): the area first, then a row for each rate.
    """
    order, ends = _tie_groups(-scores)
    plus = _at(np.cumsum(positive[:, order], axis=1), ends)
    minus = _at(np.cumsum(negative[:, order], axis=1), ends)
    return np.stack([_area(plus, minus), *(_rate(plus, minus, fpr) for fpr in fprs)])


def _tie_groups(falling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorting order and the last position of each group of equal values."""
    order = np.argsort(falling, kind="stable")
    values = falling[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if values.size else order
    return order, last


def _at(cumulated: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return cumulated if ends.size == cumulated.shape[1] else cumulated[:, ends]


def combine(
    values: np.ndarray,
    resampled: np.ndarray,
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """Interval of a mean over synthetic tables that covers seeds *and* patients.

    A two-way bootstrap with fixed scores. Patients are resampled by counts, jointly for all tables.
    Tables are resampled by centred Student multipliers with (tables - 1) degrees of freedom in
    place of counts: resampling two or three tables by counts gives intervals that are far too
    short, these give exactly Student's interval where the patients add nothing. Resamples are
    shifted to the mean that was observed, since statistics such as the AUC of few rows are biased
    under resampling.

    Args:
        values: The figure of each table; shape (tables,).
        resampled: The figure of each table on each resample; shape (tables, resamples).
        rng: A seeded stream.
        level: Coverage.
        bounds: Smallest and largest value the figure can take.

    Returns:
        (low, high); NaN where nothing can be said.
    """
    kept = ~np.isnan(values)
    values, resampled = values[kept], resampled[kept]
    tables, resamples = resampled.shape
    if tables == 0 or resamples == 0:
        return math.nan, math.nan
    usable = ~np.isnan(resampled).any(axis=0)
    if not usable.any():
        return math.nan, math.nan
    resampled = resampled[:, usable]
    means = resampled.mean(axis=0)
    draws = means - means.mean() + values.mean()
    if tables > 1:
        draws = draws + _between_tables(resampled - means, rng)
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    # The figure itself is always inside: a skewed resampling distribution must not exclude it.
    low, high = min(low, values.mean()), max(high, values.mean())
    return float(np.clip(low, *bounds)), float(np.clip(high, *bounds))


def _between_tables(deviations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tables, resamples = deviations.shape
    multipliers = rng.standard_normal((tables, resamples))
    chi_square = rng.chisquare(tables - 1, resamples)
    multipliers *= np.sqrt((tables - 1) / chi_square) / math.sqrt(tables * (tables - 1))
    return (multipliers * deviations).sum(axis=0)


def combine_jackknife(
    values: np.ndarray,
    left_out: np.ndarray,
    *,
    level: float = LEVEL,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """As `combine`, for distances between distributions, which resampling would inflate.

    The variance over patients comes from the delete-a-group jackknife (each group of patients left
    out once), the variance over tables from the values; degrees of freedom are Satterthwaite's.

    Args:
        values: The figure of each table; shape (tables,).
        left_out: The figure of each table without each group of patients; shape (tables, groups).
        level: Coverage.
        bounds: Smallest and largest value the figure can take.
    """
    tables, groups = left_out.shape
    if tables == 0 or groups < 2 or np.isnan(values).any() or np.isnan(left_out).any():
        return math.nan, math.nan
    means = left_out.mean(axis=0)
    patients = (groups - 1) / groups * float(((means - means.mean()) ** 2).sum())
    seeds = float(values.var(ddof=1)) / tables if tables > 1 else 0.0
    variance, mean = patients + seeds, float(values.mean())
    if variance <= 0:
        return mean, mean
    spread = patients**2 / (groups - 1) + (seeds**2 / (tables - 1) if tables > 1 else 0.0)
    freedom = variance**2 / spread if spread > 0 else math.inf
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(variance)
    return float(np.clip(mean - half, *bounds)), float(np.clip(mean + half, *bounds))
