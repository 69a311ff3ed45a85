"""Measure: everything about one synthetic table, before means and intervals over tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.baselines import GROUPS, MIN_ROWS, RealBaselines
from pegai.evaluate.features import Encoded
from pegai.evaluate.fidelity.column_shapes import ColumnShapes, column_shapes
from pegai.evaluate.fidelity.detection import Detection, detection
from pegai.evaluate.fidelity.pair_trends import PairTrends, pair_trends
from pegai.evaluate.privacy.copies import Copies, exact_copies
from pegai.evaluate.privacy.membership import attack
from pegai.evaluate.utility.tstr import Utility, train_and_test


@dataclass(frozen=True, eq=False)
class Measured:
    """The raw results of one synthetic table.

    Attributes:
        encoded: The coded table.
        shapes: Column shapes against the holdout; None with too few rows.
        shapes_left_out: Their score without each jackknife group of holdout patients.
        pairs: Pair trends against the holdout; None with too few rows.
        pairs_left_out: The same for pairs.
        detection: Detection against the holdout.
        utility: Models trained on this table, or None.
        attacks: Attack to scores of the target patients; empty without targets.
        copies: Verbatim matches.
    """

    encoded: Encoded
    shapes: ColumnShapes | None
    shapes_left_out: np.ndarray
    pairs: PairTrends | None
    pairs_left_out: np.ndarray
    detection: Detection
    utility: Utility | None
    attacks: dict[str, np.ndarray]
    copies: Copies


def measure(cache: RealBaselines, synthetic: Encoded) -> Measured:
    """Run every metric and attack on one synthetic table."""
    holdout = cache.holdout
    enough = len(holdout) >= MIN_ROWS

    def shapes(real: Encoded) -> float:
        return column_shapes(real, synthetic).score

    def pairs(real: Encoded) -> float:
        return pair_trends(cache.bins, real, synthetic).score

    return Measured(
        encoded=synthetic,
        shapes=column_shapes(holdout, synthetic) if enough else None,
        shapes_left_out=_left_out(cache, shapes) if enough else np.zeros(0),
        pairs=pair_trends(cache.bins, holdout, synthetic) if enough else None,
        pairs_left_out=_left_out(cache, pairs) if enough else np.zeros(0),
        detection=detection(holdout, synthetic, cache.streams),
        utility=train_and_test(cache.task, synthetic) if cache.task is not None else None,
        attacks=attack(cache.targets, synthetic) if cache.targets is not None else {},
        copies=exact_copies(cache.train, holdout, synthetic),
    )


def _left_out(cache: RealBaselines, figure: Callable[[Encoded], float]) -> np.ndarray:
    kept = [cache.groups != group for group in range(GROUPS)]
    return np.array([figure(cache.holdout.take(rows)) for rows in kept if rows.any()])


def values_note(tables: int) -> str:
    """What to know of an interval over few tables."""
    if tables == 1:
        return "one synthetic table: the interval covers the patients, not the seeds"
    return ""


def joined(*notes: str) -> str:
    """Notes that are not empty, as one text."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def mean(values: Sequence[float]) -> float:
    """Mean over tables that were assessed; NaN if none was."""
    found = [v for v in values if not np.isnan(v)]
    return float(np.mean(found)) if found else float("nan")
