"""One run: what right guesses about many canaries say of epsilon.

Each canary is in the data by a coin of its own; after one training the clearest are guessed "in" or
"out". How many guesses may be right bounds epsilon from below (Steinke, Nasr and Jagielski 2023,
"Privacy auditing with one (1) training run", arXiv:2305.08846). Several trainings, each with coins
and canaries of its own, are one mechanism of all coins together with the same guarantee: their
guesses and canaries add up.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

MOST_EPSILON = 40.0
"""Where the search for the bound ends."""


def right_guesses(scores: np.ndarray, inside: np.ndarray, guesses: int) -> int:
    """How many of the clearest guesses are right: half of them "in", half "out".

    Args:
        scores: Of each canary, higher for "in"; ties fall by position, which must not depend on
            the coins; shape (canaries,).
        inside: The coins; shape (canaries,), bool.
        guesses: Even, fixed in advance, at most the canaries.
    """
    half = guesses // 2
    order = np.argsort(scores, kind="stable")
    return int(inside[order[len(order) - half :]].sum() + (~inside[order[:half]]).sum())


def one_run_epsilon(
    correct: int, guesses: int, *, canaries: int, delta: float, level: float
) -> float:
    """The largest epsilon that so many right guesses refute; 0 where they refute none.

    Args:
        correct: Right guesses.
        guesses: Guesses.
        canaries: Of which these were chosen.
        delta: At which epsilon is bounded.
        level: Chance that the bound is wrong.
    """
    low, high = 0.0, MOST_EPSILON
    if one_run_p_value(correct, guesses, canaries=canaries, epsilon=0.0, delta=delta) > level:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        p = one_run_p_value(correct, guesses, canaries=canaries, epsilon=middle, delta=delta)
        low, high = (middle, high) if p <= level else (low, middle)
    return low


def one_run_p_value(
    correct: int, guesses: int, *, canaries: int, epsilon: float, delta: float
) -> float:
    """The chance of so many right guesses or more under (epsilon, delta)-DP; an upper bound.

    Steinke, Nasr and Jagielski 2023, theorem 5.2: right guesses are no more than a binomial of
    chance e^epsilon / (1 + e^epsilon), but for 2 m delta max_i P[v - i <= binomial < v] / i.
    """
    binom = import_module("scipy.stats").binom
    chance = 1.0 / (1.0 + float(np.exp(-epsilon)))
    tail = float(binom.sf(correct - 1, guesses, chance))
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, chance))
    worst = float((below / np.arange(1, correct + 1)).max(initial=0.0))
    return min(tail + 2 * canaries * delta * worst, 1.0)
