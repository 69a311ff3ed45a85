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

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.evaluate.checks import check_apart, check_real
from pegai.evaluate.features import Encoded, Features, encode, fit_features
from pegai.evaluate.fidelity.column_shapes import ColumnShapes, column_shapes
from pegai.evaluate.fidelity.detection import Detection, detection
from pegai.evaluate.fidelity.pair_trends import (
    PairBins,
    PairTables,
    PairTrends,
    fit_pair_bins,
    pair_tables,
    pair_trends,
)
from pegai.evaluate.intervals import GROUPS, RESAMPLES, jackknife_groups, patient_weights
from pegai.evaluate.privacy.membership import target_weights
from pegai.evaluate.privacy.power import Control, run_controls
from pegai.evaluate.privacy.targets import Targets, fit_targets
from pegai.evaluate.realism import RealismPrepared, prepare_realism
from pegai.evaluate.score_disclosure import Disclosure, prepare_disclosure
from pegai.evaluate.score_inference import Inference, prepare_inference
from pegai.evaluate.tiers import STANDARD, Tier
from pegai.evaluate.utility.tstr import Task, Utility, find_target, make_task, train_and_test
from pegai.streams import Streams

MIN_ROWS = 20
"""Holdout rows below which no figure is given."""

_WEIGHT_CELLS = 10_000_000  # 80 MB of resampling counts


@dataclass(frozen=True, eq=False)
class RealBaselines:
    """All that an evaluation needs of the real tables.

    Attributes:
        train_table: The real training table.
        holdout_table: The holdout.
        features: The coding, fitted on all real patients.
        train: The coded training table.
        holdout: The coded holdout.
        seed: The seed of folds, learners, resamples and permutations.
        digest: Fingerprint of both tables and their schema, free of row order.
        bins: Cuts of the pair tables.
        shapes: Column shapes of training against holdout; None with too few rows.
        pairs: Pair trends of training against holdout; None with too few rows.
        holdout_pairs: Pairs of the holdout, then of the holdout without each jackknife group; empty
            with too few rows.
        detection: Detection of training against holdout.
        weights: Patient resamples of the holdout's rows; shape (resamples, rows).
        groups: A jackknife group for each holdout row, whole patients; shape (rows,).
        task: The prediction task, or None.
        utility: Models trained on real patients, or None.
        utility_note: Why there is no task.
        targets: The attacks' targets, or None.
        target_weights: Their patient resamples.
        realism: What the fidelity metrics need of the real tables.
        inference: What regression, survival and subgroups need of them.
        disclosure: What the disclosure attacks need of them.
        controls: The positive controls of the attacks; empty without targets, or in a quick tier.
        tier: Limits of the evaluation.
    """

    train_table: Table
    holdout_table: Table
    features: Features
    train: Encoded
    holdout: Encoded
    seed: int
    digest: tuple[int, ...]
    bins: PairBins
    shapes: ColumnShapes | None
    pairs: PairTrends | None
    holdout_pairs: tuple[PairTables, ...]
    detection: Detection
    weights: np.ndarray
    groups: np.ndarray
    task: Task | None
    utility: Utility | None
    utility_note: str
    targets: Targets | None
    target_weights: tuple[np.ndarray, np.ndarray] | None
    realism: RealismPrepared
    inference: Inference
    disclosure: Disclosure
    controls: tuple[Control, ...]
    tier: Tier

    @property
    def streams(self) -> Streams:
        """The seeded streams of the evaluation."""
        return Streams(self.seed).child("evaluate")


def real_baselines(
    train: Table,
    holdout: Table,
    seed: int = 0,
    *,
    reference: Table | None = None,
    tier: Tier = STANDARD,
    population: int | None = None,
) -> RealBaselines:
    """Compute everything about the real tables that evaluations share.

    Args:
        train: The rows that the generators were trained on.
        holdout: Patients drawn at random *before* training, never shown to a generator.
        seed: Seed of folds, learners, resamples and permutations.
        reference: Other real patients, in neither table, whom the attacker knows.
        tier: How much is done.
        population: Patients that the training table was drawn from, for the identity risk; None
            takes the worst case, that there are no others.

    Raises:
        DataError: A table is empty, no column can be compared, or the schemas differ.
    """
    with single_threaded():
        return _real_baselines(train, holdout, seed, reference, tier, population)


def _real_baselines(
    train: Table,
    holdout: Table,
    seed: int,
    reference: Table | None,
    tier: Tier,
    population: int | None,
) -> RealBaselines:
    check_real(train, holdout)
    streams = Streams(seed).child("evaluate")
    features = fit_features(_all_patients(train, holdout, reference))
    coded_train, coded_holdout = encode(features, train), encode(features, holdout)
    check_apart(train, holdout, coded_train, coded_holdout)
    tables = (train, holdout, coded_train, coded_holdout)
    bins = fit_pair_bins(coded_train)
    enough = len(coded_holdout) >= MIN_ROWS
    weights = _holdout_weights(coded_holdout.units, streams)
    target, note = find_target(train.schema, coded_train, coded_holdout)
    task = None
    if target is not None:
        task, note = make_task(target, coded_holdout, weights, streams, tier)
    utility = None if task is None else train_and_test(task, coded_train)
    groups = jackknife_groups(coded_holdout.units, streams)
    counted = _holdout_pairs(bins, coded_holdout, groups) if enough else ()
    coded_reference = None if reference is None else encode(features, reference)
    targets = fit_targets(coded_train, coded_holdout, streams, reference=coded_reference, tier=tier)
    return RealBaselines(
        train_table=train,
        holdout_table=holdout,
        features=features,
        train=coded_train,
        holdout=coded_holdout,
        seed=seed,
        digest=tables_digest(train, holdout),
        bins=bins,
        shapes=column_shapes(coded_holdout, coded_train) if enough else None,
        pairs=pair_trends(counted[0], pair_tables(bins, coded_train)) if counted else None,
        holdout_pairs=counted,
        detection=detection(coded_holdout, coded_train, streams, max_rows=tier.max_detection_rows),
        weights=weights,
        groups=groups,
        task=task,
        utility=utility,
        utility_note=note,
        targets=targets,
        target_weights=target_weights(targets, streams) if targets is not None else None,
        realism=prepare_realism(*tables, streams, tier=tier),
        inference=prepare_inference(*tables, streams, tier=tier, task=task, real=utility),
        disclosure=prepare_disclosure(*tables, streams, tier=tier, population=population),
        controls=run_controls(coded_train, targets, streams) if targets and tier.full else (),
        tier=tier,
    )


def _all_patients(train: Table, holdout: Table, reference: Table | None) -> Table:
    """All real patients: a coding learned from one side of the split would tell it from the other.

    For instance the 251st level of a column, which stays apart if it is known and else is "any
    other", must not depend on which side has it.
    """
    tables = [train, holdout] if reference is None else [train, holdout, reference]
    names = [column.name for column in train.schema.modelled]
    return Table(pl.concat([t.frame.select(names) for t in tables]), train.schema.only_modelled())


def single_threaded() -> AbstractContextManager[Any]:
    """One OpenMP thread: boosting a few hundred rows on a busy machine else waits, and waits."""
    import sklearn.ensemble  # noqa: F401  # only libraries that are loaded can be limited

    return threadpool_limits(1, "openmp")


def _holdout_weights(units: np.ndarray, streams: Streams) -> np.ndarray:
    resamples = min(RESAMPLES, max(100, _WEIGHT_CELLS // units.size))
    rng = streams.child("bootstrap").get("split")
    return patient_weights(units, rng, resamples=resamples)


def _holdout_pairs(bins: PairBins, holdout: Encoded, groups: np.ndarray) -> tuple[PairTables, ...]:
    kept = [groups != group for group in range(GROUPS)]
    parts = [holdout.take(rows) for rows in kept if rows.any()]
    return tuple(pair_tables(bins, part) for part in (holdout, *parts))


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
