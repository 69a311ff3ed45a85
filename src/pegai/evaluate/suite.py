"""The suite: every figure of an evaluation, with interval, real-against-real baseline and note.

| score | better | value | baseline |
|---|---|---|---|
| `column_shapes` | higher | 1 - mean distance of columns, against the holdout | training table |
| `pair_trends` | higher | 1 - mean distance of pairs of columns, against the holdout | the same |
| `detection_auc` | half | AUC of a boosted classifier, synthetic against holdout | the same |
| `tstr_auc` | higher | TSTR with gradient boosting, the headline | TRTR |
| `tstr_auc_drop` | lower | TRTR minus TSTR of the headline, paired over patients | 0 |
| `tstr_<metric>/<learner>` | higher | every metric of every learner | TRTR |
| `membership_auc` | half | attack `nn_ratio`, the headline fixed beforehand | 0.5 |
| `membership_tpr_at_1pct` | lower | its true positive rate at 1 % false positives | chance |
| `membership_tpr_at_0.1pct` | lower | the same at 0.1 % | chance |
| `membership_tpr_supported` | lower | the same at the smallest rate supported | chance |
| `membership_auc/<attack>`, `membership_tpr_at_...pct/<attack>` | | each attack of the panel | |
| `membership_p` | higher | exact permutation p-value of the panel's maximum | 0.5 |
| `exact_copies` | lower | share of training patients found verbatim | share of holdout patients |
| `exact_copies_excess` | lower | the difference of the two, Newcombe's interval | 0 |

Metrics: `auc`, `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`. Learners:
`gradient_boosting`, `random_forest`, `logistic_regression`, `k_nearest_neighbours`,
`support_vector_machine`. Attacks: `nn_ratio`, `dcr`, `knn_density`. A numeric target gives
`tstr_r2` (headline), `tstr_r2/<learner>` and `tstr_mae/<learner>` instead (`linear_regression` for
`logistic_regression`), and `tstr_auc` is not assessed.

`n` counts synthetic tables. Intervals cover the seeds and the patients together. A figure without
enough evidence is NaN, "not assessed", with the reason in its note. Evaluation looks at real
patients and is outside every privacy guarantee: its results are internal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pegai.data.table import Table
from pegai.evaluate import plots
from pegai.evaluate.baselines import RealBaselines, check_cache, real_baselines
from pegai.evaluate.checks import check_synthetic
from pegai.evaluate.features import encode
from pegai.evaluate.measure import Measured, measure
from pegai.evaluate.score_fidelity import fidelity_plots, fidelity_scores
from pegai.evaluate.score_privacy import privacy_plots, privacy_scores
from pegai.evaluate.score_utility import utility_plots, utility_scores
from pegai.evaluate.scores import Evaluation

__all__ = ["RealBaselines", "evaluate", "real_baselines"]

Progress = Callable[[str, float], None]


def evaluate(
    train: Table,
    holdout: Table,
    synthetics: Sequence[Table],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    cache: RealBaselines | None = None,
) -> Evaluation:
    """Judge the synthetic tables of one generator against real patients.

    Args:
        train: The rows that the generator was trained on.
        holdout: Patients drawn at random before training, never shown to the generator.
        synthetics: One or more tables of the generator, one a seed; three or more give intervals
            that cover the seeds.
        seed: Seed of folds, learners, resamples and permutations; equal inputs and seed give equal
            results.
        progress: Called with what is being done and the share that is done.
        cache: From `real_baselines(train, holdout, seed)`, to judge several generators on one
            split.

    Raises:
        DataError: A table is empty, or schemas differ; the columns are named.
        UsageError: The cache is of other tables or another seed.
    """
    started = time.perf_counter()
    tell = progress or (lambda _what, _share: None)
    check_synthetic(train.schema, synthetics)
    steps = len(synthetics) + 2
    if cache is None:
        tell("models of real patients", 0.0)
        cache = real_baselines(train, holdout, seed)
    else:
        check_cache(cache, train, holdout, seed)
    measured: list[Measured] = []
    for i, table in enumerate(synthetics):
        tell(f"synthetic table {i + 1} of {len(synthetics)}", (i + 1) / steps)
        measured.append(measure(cache, encode(cache.features, table)))
    tell("intervals and permutations", (steps - 1) / steps)
    privacy = privacy_scores(cache, measured)
    scores = (*fidelity_scores(cache, measured), *utility_scores(cache, measured), *privacy)
    found = _plots(cache, synthetics, measured)
    found |= privacy_plots(cache, measured, privacy[0])
    tell("done", 1.0)
    return Evaluation(
        scores=scores,
        plots=found,
        rows={
            "train": len(train),
            "holdout": len(holdout),
            "synthetic": round(sum(map(len, synthetics)) / len(synthetics)),
        },
        seeds=(seed,),
        seconds=time.perf_counter() - started,
    )


def _plots(
    cache: RealBaselines, synthetics: Sequence[Table], measured: Sequence[Measured]
) -> dict[str, Any]:
    names = [column.name for column in cache.train_table.schema.modelled]
    coded = [m.encoded for m in measured]
    rng = cache.streams.child("scatter").get("split")
    return {
        "marginals": plots.marginals(cache.train_table, synthetics),
        "correlation": plots.correlation(cache.features, names, cache.train, coded),
        "scatter": plots.scatter(cache.train, coded[0], rng),
        **fidelity_plots(cache, measured),
        **utility_plots(cache, measured),
        "seeds": len(measured),
    }
