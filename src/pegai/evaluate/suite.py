"""The suite: every figure of an evaluation, with interval, real-against-real baseline and note.

| score | better | value | baseline |
|---|---|---|---|
| `column_shapes` | higher | 1 - mean distance of columns, against the holdout | training table |
| `pair_trends` | higher | 1 - mean distance of pairs of columns, against the holdout | the same |
| `detection_auc` | half | AUC of a boosted classifier, synthetic against holdout | the same |
| `equivalent_sample`, `equivalent_patients` | higher | how many real patients it is worth | all |
| `tvd_1way`, `tvd_2way`, `tvd_3way` | lower | distance of tables of columns | training table |
| `ks`, `wasserstein` | lower | distance of numeric columns | the same |
| `correlation_difference`, `contingency_difference` | lower | of pairs of columns | the same |
| `missing_rates`, `missing_patterns` | lower | what is missing, and missing together | the same |
| `density`, `coverage` | higher | synthetic rows among patients, and the other way | the same |
| `pmse_ratio` | lower | S_pMSE, a diagnostic | the same |
| `rule_violations`, `rule_violations/<rule>` | lower | excess of broken rules | the same |
| `tstr_auc` | higher | TSTR with gradient boosting, the headline | TRTR |
| `tstr_auc_drop` | lower | TRTR minus TSTR of the headline, paired over patients | 0 |
| `tstr_<metric>/<learner>` | higher | every metric of every learner | TRTR |
| `trts_auc`, `trts_auc/<learner>` | higher | real models on synthetic rows | TRTR |
| `tsts_auc`, `tsts_gap` | | a user's own test on synthetic rows, how rosy it is | real rows |
| `learner_ranking` | higher | Kendall's tau of the learners' order | real, resampled |
| `brier`, `calibration_slope`, `calibration_intercept` | | of the headline | TRTR |
| `brier/<linear>`, `calibration_...` | | the same of the linear learner | TRTR |
| `coefficient_overlap`, `coefficient_bias`, `coefficient_sign_flips` | | of one regression | real |
| `coefficient_agreement`, `coefficient_coverage` | higher | of the same | real |
| `survival_distance`, `rmst_difference` | lower | of Kaplan-Meier curves | real |
| `hazard_overlap`, `hazard_sign_flips` | | of Cox's log hazard ratios | real |
| `importance_agreement` | higher | rank correlation of importances | halves of training |
| `subgroup_gap` | lower | largest loss of AUC of a subgroup | what chance gives |
| `subgroup_gap/<column>=<level>`, `subgroup_share/...` | | loss and share of each | 0, real |
| `membership_auc` | half | attack `nn_ratio`, the headline fixed beforehand | 0.5 |
| `membership_tpr_at_1pct` | lower | its true positive rate at 1 % false positives | chance |
| `membership_tpr_at_0.1pct` | lower | the same at 0.1 % | chance |
| `membership_tpr_supported` | lower | the same at the smallest rate supported | chance |
| `membership_auc/<attack>`, `membership_tpr_at_...pct/<attack>` | | each attack of the panel | |
| `membership_p` | higher | exact permutation p-value of the panel's maximum | 0.5 |
| `membership_auc_best` | half | the best attack, chosen on other patients | 0.5 |
| `membership_epsilon` | lower | least epsilon that explains the attacks | 0 |
| `membership_auc_shadow`, `membership_p_shadow` | | stacked attack of refits (`audit`) | 0.5 |
| `canary_auc` | half | made-up patients in a refit told from others (`audit`) | 0.5 |
| `canary_guesses` | lower | the clearest guesses about them that are right | 0.5 |
| `canary_epsilon` | lower | least epsilon that explains these guesses | 0 |
| `minimum_detectable_leak` | lower | share of copied patients that would be noticed | |
| `control_planted`, `control_jitter`, `control_overfit` | lower | p of planted leaks | 0.5 |
| `exact_copies` | lower | share of training patients found verbatim | share of holdout patients |
| `exact_copies_excess` | lower | the difference of the two, Newcombe's interval | 0 |
| `attribute_inference`, `attribute_inference/<secret>` | lower | secrets guessed, worst, each | 0 |
| `attribute_inference_population/<secret>` | higher | guessed for holdout patients; utility | 0 |
| `linkability`, `linkability/k2` ... `k5` | lower | halves of a record that meet | 0 |
| `singling_out`, `.../values`, `.../combinations` | lower | what one patient has reappears | 0 |
| `model_inversion`, `model_inversion/<secret>` | lower | secrets guessed by asking the model | 0 |
| `identity_risk`, `identity_risk_excess` | lower | meaningful identity disclosure | holdout, 0 |
| `dcr_median`, `dcr_5pct`, `nndr_median`, `nndr_5pct` | higher | distances | to holdout |
| `dcr_share` | half | rows closer to training, a diagnostic | 0.5 |
| `k_anonymity`, `l_diversity/<column>`, `t_closeness/<column>` | | of the source table | |

"Real" is the training table in place of the synthetic one. The modules `score_...` say more.
Leaks are success on training patients less success on holdout patients.

Metrics: `auc`, `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`. Learners: those of
`utility.learners`. Attacks: those of `privacy.attacks`. A numeric target gives `tstr_r2` (the
headline), `tstr_r2/<learner>`, `tstr_mae/<learner>`, `trts_r2`, `tsts_r2` instead, and `tstr_auc`
is not assessed.

`n` counts synthetic tables. Intervals cover the seeds and the patients together. A figure without
enough evidence is NaN, "not assessed", with the reason in its note. Evaluation looks at real
patients and is outside every privacy guarantee: its results are internal.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pegai.data.table import Table
from pegai.evaluate import plots
from pegai.evaluate.baselines import RealBaselines, check_cache, real_baselines, single_threaded
from pegai.evaluate.checks import check_synthetic
from pegai.evaluate.measure import Measured, measure
from pegai.evaluate.privacy.model_inversion import Sampler
from pegai.evaluate.privacy.shadow import Refit
from pegai.evaluate.privacy.vulnerable import VulnerableRecord, vulnerable_records
from pegai.evaluate.score_canaries import canary_scores
from pegai.evaluate.score_copies import copies_scores
from pegai.evaluate.score_disclosure import disclosure_scores
from pegai.evaluate.score_fidelity import fidelity_plots, fidelity_scores
from pegai.evaluate.score_inference import inference_plots, inference_scores, of_private_tables
from pegai.evaluate.score_membership import membership_scores, privacy_plots
from pegai.evaluate.score_realism import realism_plots, realism_scores
from pegai.evaluate.score_shadow import shadow_scores
from pegai.evaluate.score_utility import utility_plots, utility_scores
from pegai.evaluate.scores import Evaluation, Score
from pegai.evaluate.tiers import TierName, tier_named

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
    reference: Table | None = None,
    tier: TierName = "standard",
    refit: Refit | None = None,
    sampler: Sampler | None = None,
    private: bool = False,
    delta: float = 0.0,
    population: int | None = None,
    vulnerable: Callable[[Sequence[VulnerableRecord]], None] | None = None,
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
            split; it brings its own reference and tier.
        reference: Other real patients, in neither table: the more an attacker knows of the
            population, the stronger the attack.
        tier: `quick` (a minute: the headline figures), `standard` (all but what refits the
            generator) or `audit` (with shadow fits and canaries, which need `reference` and
            `refit`).
        refit: Fits the generator's method on a table and samples as many rows; for `audit`.
        sampler: The released model, for model inversion; None where the model stays inside.
        private: Whether the tables come from fits with a guarantee: standard errors of regression
            must then carry the noise.
        delta: Of that guarantee; the canaries bound epsilon at it.
        population: Patients that the training table was drawn from, for the identity risk.
        vulnerable: Told of the training patients that stand out most: for the data owner only, and
            no part of the result.

    Raises:
        DataError: A table is empty, or schemas differ; the columns are named.
        UsageError: The cache is of other tables or another seed.
    """
    started = time.perf_counter()
    tell = progress or (lambda _what, _share: None)
    check_synthetic(train.schema, synthetics)
    with single_threaded():
        if cache is None:
            tell("models of real patients", 0.0)
            cache = real_baselines(
                train,
                holdout,
                seed,
                reference=reference,
                tier=tier_named(tier),
                population=population,
            )
        else:
            check_cache(cache, train, holdout, seed)
        cache = dataclasses.replace(cache, inference=of_private_tables(cache.inference, private))
        measured = _measure_all(cache, synthetics, sampler, tell)
        refits = (
            *shadow_scores(cache, measured, reference=reference, refit=refit),
            *canary_scores(cache, reference=reference, refit=refit, delta=delta),
        )
        scores = _scores(cache, measured, refits)
        found = _plots(cache, synthetics, measured, scores)
        attacked = [m.attacked for m in measured if m.attacked is not None]
        if vulnerable is not None and cache.targets is not None:
            vulnerable(vulnerable_records(cache.targets, attacked))
    tell("done", 1.0)
    rows = _rows(cache, synthetics)
    return Evaluation(scores, found, rows, (seed,), time.perf_counter() - started)


def _rows(cache: RealBaselines, synthetics: Sequence[Table]) -> dict[str, int]:
    return {
        "train": len(cache.train_table),
        "holdout": len(cache.holdout_table),
        "synthetic": round(sum(map(len, synthetics)) / len(synthetics)),
        "train_patients": np.unique(cache.train.units).size,
        "holdout_patients": np.unique(cache.holdout.units).size,
        "non_members": 0 if cache.targets is None else cache.targets.non_members,
    }


def _measure_all(
    cache: RealBaselines, synthetics: Sequence[Table], sampler: Sampler | None, tell: Progress
) -> list[Measured]:
    steps = len(synthetics) + 2
    measured: list[Measured] = []
    for i, table in enumerate(synthetics):
        tell(f"synthetic table {i + 1} of {len(synthetics)}", (i + 1) / steps)
        measured.append(measure(cache, table, sampler=sampler))
    tell("intervals and permutations", (steps - 1) / steps)
    return measured


def _scores(
    cache: RealBaselines, measured: Sequence[Measured], refits: tuple[Score, ...]
) -> tuple[Score, ...]:
    return (
        *fidelity_scores(cache, measured),
        *realism_scores(cache.realism, [m.realism for m in measured]),
        *utility_scores(cache, measured),
        *inference_scores(cache.inference, [m.inference for m in measured]),
        *membership_scores(cache, measured),
        *refits,
        *copies_scores(measured),
        *disclosure_scores(cache.disclosure, [m.disclosure for m in measured]),
    )


def _plots(
    cache: RealBaselines,
    synthetics: Sequence[Table],
    measured: Sequence[Measured],
    scores: tuple[Score, ...],
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
        **realism_plots(cache.realism, [m.realism for m in measured]),
        **inference_plots(cache.inference, [m.inference for m in measured]),
        **privacy_plots(cache, measured, next(s for s in scores if s.name == "membership_auc")),
        "seeds": len(measured),
    }
