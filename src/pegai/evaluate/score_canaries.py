"""Scores of canaries: does the method learn odd patients by heart (audit tier)?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import RESAMPLES, clopper_pearson, combine, weighted_auc
from pegai.evaluate.privacy.canaries import Guessed, Planted, guess, plant_canaries
from pegai.evaluate.privacy.shadow import MIN_PATIENTS, Refit
from pegai.evaluate.scores import Score

_TITLES = {
    "canary_auc": "Canaries: AUC of telling made-up patients that were in a refit from others",
    "canary_guesses": "Canaries: share of the clearest guesses that are right",
    "canary_epsilon": "Canaries: least ε that explains the guesses (95 % lower bound)",
}


def canary_scores(
    cache: RealBaselines,
    *,
    reference: Table | None,
    refit: Refit | None,
    delta: float = 0.0,
) -> tuple[Score, ...]:
    """AUC, right guesses and the bound on epsilon; empty outside of the audit tier.

    Args:
        cache: The real tables.
        reference: Other real patients, whom the canaries join.
        refit: Fits the method and samples.
        delta: Of the guarantee; the bound on epsilon holds at it.
    """
    if not cache.tier.canary_fits:
        return ()
    if reference is None or refit is None:
        return _not_assessed(
            "it needs a reference table of other real patients, and the method to refit "
            "(--reference and --model)"
        )
    planted = plant_canaries(
        reference,
        cache.features,
        refit,
        cache.streams,
        fits=cache.tier.canary_fits,
        first=cache.tier.shadow_fits,
    )
    if not planted:
        return _not_assessed(
            f"the reference table needs {MIN_PATIENTS} patients, and values that can be combined "
            "without breaking a rule"
        )
    found = guess(planted, delta)
    return (_area(cache, planted, found), *_guesses(found, len(planted), delta))


def _area(cache: RealBaselines, planted: Sequence[Planted], found: Guessed) -> Score:
    rng = cache.streams.child("combine/canaries").get("split")
    values = np.array([_areas(p, np.ones((1, p.inside.size)))[0] for p in planted])
    # Canaries are others in every refit, so that each refit is resampled by itself.
    draws = np.mean(
        [_areas(p, rng.multinomial(n := p.inside.size, np.full(n, 1 / n), RESAMPLES))
         for p in planted],
        axis=0,
    )  # fmt: skip
    mean = values[~np.isnan(values)].mean() if not np.isnan(values).all() else math.nan
    low, high = combine(np.array([mean]), draws[None], rng, bounds=(0.0, 1.0))
    return Score(
        "canary_auc", "privacy", _TITLES["canary_auc"], float(mean), low, high, 0.5,
        "half", len(planted), tuple(values.tolist()),
        f"{found.canaries} made-up patients in {len(planted)} refits on the reference",
    )  # fmt: skip


def _areas(planted: Planted, weights: np.ndarray) -> np.ndarray:
    return weighted_auc(planted.scores, weights * planted.inside, weights * ~planted.inside)


def _guesses(found: Guessed, fits: int, delta: float) -> tuple[Score, Score]:
    low, high = clopper_pearson(found.correct, found.guesses)
    said = f"{found.correct} of {found.guesses} guesses are right"
    at = f"at δ {delta:g}, " if delta else ""
    return (
        Score(
            "canary_guesses", "privacy", _TITLES["canary_guesses"],
            found.correct / found.guesses, low, high, 0.5, "lower", fits, note=said,
        ),
        Score(
            "canary_epsilon", "privacy", _TITLES["canary_epsilon"], found.epsilon,
            baseline=0.0, better="lower", n=fits,
            note=f"{at}{said}; a private method whose claimed ε is smaller would be broken",
        ),
    )  # fmt: skip


def _not_assessed(reason: str) -> tuple[Score, ...]:
    note = f"not assessed: {reason}"
    return tuple(
        Score(name, "privacy", title, math.nan, better="half" if name == "canary_auc" else "lower",
              n=0, note=note)
        for name, title in _TITLES.items()
    )  # fmt: skip
