"""Measure: everything about one synthetic table, before means and intervals over tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.baselines import GROUPS, MIN_ROWS, RealBaselines
from pegai.evaluate.features import Encoded, encode
from pegai.evaluate.fidelity.column_shapes import ColumnShapes, column_shapes
from pegai.evaluate.fidelity.detection import Detection, detection
from pegai.evaluate.fidelity.pair_trends import PairTrends, pair_tables, pair_trends
from pegai.evaluate.privacy.attacks import Attacked, attack
from pegai.evaluate.privacy.copies import (
    Copies,
    TextCopies,
    UniqueRows,
    exact_copies,
    text_copies,
    unique_rows,
)
from pegai.evaluate.privacy.model_inversion import Sampler
from pegai.evaluate.realism import RealismMeasured, measure_realism
from pegai.evaluate.score_disclosure import DisclosureMeasured, measure_disclosure
from pegai.evaluate.score_inference import MeasuredInference, measure_inference
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
        realism: The fidelity metrics.
        inference: Regression, survival and subgroups.
        disclosure: The disclosure attacks.
        attacked: What the membership attacks say of the targets; None without targets.
        copies: Verbatim matches.
        unique: Rows that equal the record of one training patient only.
        texts: Texts of single patients found again, one a free-text column.
    """

    encoded: Encoded
    shapes: ColumnShapes | None
    shapes_left_out: np.ndarray
    pairs: PairTrends | None
    pairs_left_out: np.ndarray
    detection: Detection
    utility: Utility | None
    realism: RealismMeasured
    inference: MeasuredInference
    disclosure: DisclosureMeasured
    attacked: Attacked | None
    copies: Copies
    unique: UniqueRows
    texts: tuple[TextCopies, ...]


def measure(cache: RealBaselines, table: Table, *, sampler: Sampler | None = None) -> Measured:
    """Run every metric and attack on one synthetic table, and on the model it came from."""
    synthetic = encode(cache.features, table)
    holdout = cache.holdout
    enough = len(holdout) >= MIN_ROWS

    def shapes(real: Encoded) -> float:
        return column_shapes(real, synthetic).score

    counted = pair_tables(cache.bins, synthetic)
    pairs = [pair_trends(real, counted) for real in cache.holdout_pairs]
    utility = train_and_test(cache.task, synthetic, real=cache.utility) if cache.task else None
    return Measured(
        encoded=synthetic,
        shapes=column_shapes(holdout, synthetic) if enough else None,
        shapes_left_out=_left_out(cache, shapes) if enough else np.zeros(0),
        pairs=pairs[0] if pairs else None,
        pairs_left_out=np.array([p.score for p in pairs[1:]]),
        detection=detection(
            holdout, synthetic, cache.streams, max_rows=cache.tier.max_detection_rows
        ),
        utility=utility,
        realism=measure_realism(cache.realism, table, synthetic),
        inference=measure_inference(cache.inference, table, synthetic, utility=utility),
        disclosure=measure_disclosure(cache.disclosure, table, synthetic, sampler=sampler),
        attacked=attack(cache.targets, synthetic) if cache.targets is not None else None,
        copies=exact_copies(cache.train, holdout, synthetic),
        unique=unique_rows(cache.train, holdout, synthetic),
        texts=text_copies(cache.train_table, cache.holdout_table, table, cache.features.texts),
    )


def _left_out(cache: RealBaselines, figure: Callable[[Encoded], float]) -> np.ndarray:
    kept = [cache.groups != group for group in range(GROUPS)]
    return np.array([figure(cache.holdout.take(rows)) for rows in kept if rows.any()])
