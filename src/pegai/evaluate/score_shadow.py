"""Scores of the stacked attack of an attacker who refits the generator (audit tier)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import combine
from pegai.evaluate.measure import Measured
from pegai.evaluate.privacy.membership import (
    observed_statistics,
    panel_test,
    resampled_statistics,
)
from pegai.evaluate.privacy.shadow import MIN_PATIENTS, Refit, fit_shadows
from pegai.evaluate.scores import Score, joined, values_note

_AREA = "Membership inference by an attacker who refits the generator: AUC"
_P = "Membership inference by an attacker who refits the generator: p-value"


def shadow_scores(
    cache: RealBaselines,
    measured: Sequence[Measured],
    *,
    reference: Table | None,
    refit: Refit | None,
) -> tuple[Score, ...]:
    """AUC and permutation p-value of the stacked attack; empty outside of the audit tier."""
    if not cache.tier.shadow_fits:
        return ()
    targets = cache.targets
    attacked = [m.attacked for m in measured if m.attacked is not None]
    if targets is None or not attacked or cache.target_weights is None:
        return _not_assessed("too few training or holdout patients")
    if reference is None or refit is None:
        return _not_assessed(
            "it needs a reference table of other real patients, and the method to refit "
            "(--reference and --model)"
        )
    model = fit_shadows(
        reference, cache.features, refit, cache.streams, fits=cache.tier.shadow_fits
    )
    if model is None:
        return _not_assessed(f"the reference table needs {MIN_PATIENTS} patients")
    scores = [model.scores(a) for a in attacked]
    values = np.array([observed_statistics(s, targets.member, ())[0] for s in scores])
    draws = np.array([resampled_statistics(s, cache.target_weights, ())[0] for s in scores])
    rng = cache.streams.child("combine/membership").get("split")
    low, high = combine(values, draws, rng, bounds=(0.0, 1.0))
    test = panel_test([{"stacked": s} for s in scores], targets.member, cache.streams)
    note = joined(f"{cache.tier.shadow_fits} shadow fits", values_note(len(values)))
    return (
        Score(
            "membership_auc_shadow", "privacy", _AREA, float(values.mean()), low, high, 0.5,
            "half", len(values), tuple(values.tolist()), note,
        ),
        Score(
            "membership_p_shadow", "privacy", _P, test.p_value, baseline=0.5, better="higher",
            n=len(values), note=note,
        ),
    )  # fmt: skip


def _not_assessed(reason: str) -> tuple[Score, ...]:
    note = f"not assessed: {reason}"
    return (
        Score("membership_auc_shadow", "privacy", _AREA, math.nan, better="half", n=0, note=note),
        Score("membership_p_shadow", "privacy", _P, math.nan, better="higher", n=0, note=note),
    )
