"""Baselines: every figure with real patients in place of synthetic ones, computed once.

Several generators are judged on one split. What depends on the real tables only (their coding, the
models trained on real patients, the neighbourhoods of the attacks' targets, the resamples) is here,
so that it can be shared between calls of `evaluate`.

The baselines: the *training table in place of the synthetic one, against the holdout*, for fidelity
and detection; models trained on real patients for utility; for membership what data without memory
gives, which is known exactly: an area of one half, and the mean of the permutation distribution for
true positive rates; for copies the holdout's own rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.evaluate.checks import check_real
from pegai.evaluate.features import Encoded, Features, encode, fit_features
from pegai.evaluate.fidelity.column_shapes import ColumnShapes, column_shapes
from pegai.evaluate.fidelity.detection import Detection, detection
from pegai.evaluate.fidelity.pair_trends import PairBins, PairTrends, fit_pair_bins, pair_trends
from pegai.evaluate.intervals import RESAMPLES, patient_weights
from pegai.evaluate.privacy.membership import Targets, fit_targets, target_weights
from pegai.evaluate.utility.tstr import Task, Utility, find_target, make_task, train_and_test
from pegai.streams import Streams

MIN_ROWS = 20
"""Holdout rows below which no figure is given."""

GROUPS = 10
_WEIGHT_CELLS = 10_000_000  # 80 MB of resampling counts


@dataclass(frozen=True, eq=False)
class RealBaselines:
    """All that an evaluation needs of the real tables.

    Attributes:
        train_table: The real training table.
        features: The coding, fitted on the training table.
        train: The coded training table.
        holdout: The coded holdout.
        seed: The seed of folds, learners, resamples and permutations.
        digest: Fingerprint of both tables and their schema, free of row order.
        bins: Cuts of the pair tables.
        shapes: Column shapes of training against holdout; None with too few rows.
        pairs: Pair trends of training against holdout; None with too few rows.
        detection: Detection of training against holdout.
        weights: Patient resamples of the holdout's rows; shape (resamples, rows).
        groups: A jackknife group for each holdout row, whole patients; shape (rows,).
        task: The prediction task, or None.
        utility: Models trained on real patients, or None.
        utility_note: Why there is no task.
        targets: The attacks' targets, or None.
        target_weights: Their patient resamples.
    """

    train_table: Table
    features: Features
    train: Encoded
    holdout: Encoded
    seed: int
    digest: tuple[int, ...]
    bins: PairBins
    shapes: ColumnShapes | None
    pairs: PairTrends | None
    detection: Detection
    weights: np.ndarray
    groups: np.ndarray
    task: Task | None
    utility: Utility | None
    utility_note: str
    targets: Targets | None
    target_weights: tuple[np.ndarray, np.ndarray] | None

    @property
    def streams(self) -> Streams:
        """The seeded streams of the evaluation."""
        return Streams(self.seed).child("evaluate")


def real_baselines(train: Table, holdout: Table, seed: int = 0) -> RealBaselines:
    """Compute everything about the real tables that evaluations share.

    Args:
        train: The rows that the generators were trained on.
        holdout: Patients drawn at random *before* training, never shown to a generator.
        seed: Seed of folds, learners, resamples and permutations.

    Raises:
        DataError: A table is empty, no column can be compared, or the schemas differ.
    """
    check_real(train, holdout)
    streams = Streams(seed).child("evaluate")
    features = fit_features(train)
    coded_train, coded_holdout = encode(features, train), encode(features, holdout)
    bins = fit_pair_bins(coded_train)
    enough = len(coded_holdout) >= MIN_ROWS
    weights = _holdout_weights(coded_holdout.units, streams)
    target, note = find_target(train.schema, coded_train, coded_holdout)
    task = None
    if target is not None:
        task, note = make_task(target, coded_holdout, weights, streams)
    targets = fit_targets(coded_train, coded_holdout, streams)
    return RealBaselines(
        train_table=train,
        features=features,
        train=coded_train,
        holdout=coded_holdout,
        seed=seed,
        digest=tables_digest(train, holdout),
        bins=bins,
        shapes=column_shapes(coded_holdout, coded_train) if enough else None,
        pairs=pair_trends(bins, coded_holdout, coded_train) if enough else None,
        detection=detection(coded_holdout, coded_train, streams),
        weights=weights,
        groups=_jackknife_groups(coded_holdout.units, streams),
        task=task,
        utility=train_and_test(task, coded_train) if task is not None else None,
        utility_note=note,
        targets=targets,
        target_weights=target_weights(targets, streams) if targets is not None else None,
    )


def _holdout_weights(units: np.ndarray, streams: Streams) -> np.ndarray:
    resamples = min(RESAMPLES, max(100, _WEIGHT_CELLS // units.size))
    rng = streams.child("bootstrap").get("split")
    return patient_weights(units, rng, resamples=resamples)


def _jackknife_groups(units: np.ndarray, streams: Streams) -> np.ndarray:
    found, inverse = np.unique(units, return_inverse=True)
    order = streams.child("jackknife").get("split").permutation(found.size)
    return (order % GROUPS)[inverse]


def check_cache(cache: RealBaselines, train: Table, holdout: Table, seed: int) -> None:
    """Refuse baselines that were computed for other tables or another seed.

    Raises:
        UsageError: They don't belong together.
    """
    if cache.seed != seed:
        raise UsageError(
            f"the baselines were computed with seed {cache.seed}, the evaluation asks for {seed}",
            hint="real_baselines(train, holdout, seed) with the same seed",
        )
    if cache.digest != tables_digest(train, holdout):
        raise UsageError(
            "the baselines were computed for other real tables",
            hint="real_baselines(train, holdout, seed) with the same tables",
        )


def tables_digest(train: Table, holdout: Table) -> tuple[int, ...]:
    """A fingerprint of two tables: schema, size and the sum of row hashes."""
    parts: list[int] = [int(train.schema.digest()[:15], 16)]
    for table in (train, holdout):
        names = sorted(column.name for column in table.schema.modelled)
        hashes = table.frame.select(names).hash_rows(seed=0)
        parts += [len(table), int(hashes.cast(pl.UInt64).to_numpy().sum(dtype=np.uint64))]
    return tuple(parts)
