"""The price of a mixture's fit, chosen by thinning: no further look at the data, no charge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pegai.synth.marginals.measurements import Array, Problem
from pegai.synth.marginals.mixture import FitSettings, fit_mixture, misfit

PRICES = (100.0, 300.0, 1000.0, 3000.0)
"""In patients, from dear where noise drowns dependence to cheap where there is little noise."""

FOLDS = 3
THINNING = 0.5
"""The fitted part has 1.25 times the noise variance, the judging part 5 times."""


def choose_price(
    problem: Problem,
    settings: FitSettings,
    rng: np.random.Generator,
    *,
    told: Callable[[float], None],
) -> float:
    """The dearest price that judges no worse than the best by more than the folds' own error.

    The differences between prices are taken inside each fold, where the noise is shared. The
    dearest within one standard error of the best is taken: where prices judge alike, less
    dependence is the safer claim (Breiman et al. 1984, section 3.4.3).
    """
    losses = np.empty((FOLDS, len(PRICES)))
    for fold in range(FOLDS):
        fitted, judging = problem.thinned(THINNING, rng)
        for i, price in enumerate(PRICES):
            trial = replace(settings, price=price, steps=max(settings.steps // 2, 1))
            # The same start for every price, so that they differ by the price alone.
            start = np.random.default_rng(fold)
            losses[fold, i] = misfit(fit_mixture(fitted, trial, start), judging)
            told((fold * len(PRICES) + i + 1) / losses.size)
    return PRICES[dearest_near_best(losses)]


def dearest_near_best(losses: Array) -> int:
    """The last column within one standard error of the best; losses of shape (folds, prices)."""
    best = int(np.argmin(losses.mean(axis=0)))
    worse = losses - losses[:, [best]]
    error = worse.std(axis=0, ddof=1) / len(losses) ** 0.5
    return int(np.flatnonzero(worse.mean(axis=0) <= error)[-1])
