"""One run: the bound against the written formula, and guesses by position and coin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pegai.evaluate.privacy.one_run import one_run_epsilon, one_run_p_value, right_guesses


def test_without_delta_the_p_value_is_a_binomial_tail() -> None:
    """Steinke et al. 2023, theorem 5.2 with delta 0."""
    for epsilon in (0.0, 0.5, 2.0):
        chance = 1 / (1 + math.exp(-epsilon))
        exact = float(stats.binom.sf(79, 100, chance))
        found = one_run_p_value(80, 100, canaries=1000, epsilon=epsilon, delta=0.0)
        assert found == pytest.approx(exact)


def test_delta_and_more_canaries_make_it_less_certain() -> None:
    few = one_run_p_value(90, 100, canaries=100, epsilon=1.0, delta=1e-5)
    many = one_run_p_value(90, 100, canaries=10_000, epsilon=1.0, delta=1e-5)
    none = one_run_p_value(90, 100, canaries=100, epsilon=1.0, delta=0.0)
    assert none < few < many <= 1.0


def test_the_delta_term_is_the_written_one() -> None:
    """2 m delta max_i P[v - i <= B < v] / i, by brute force."""
    v, r, m, delta = 18, 24, 50, 1e-3
    chance = 1 / (1 + math.exp(-1.0))
    pmf = stats.binom.pmf(np.arange(r + 1), r, chance)
    worst = max(pmf[v - i : v].sum() / i for i in range(1, v + 1))
    expected = pmf[v:].sum() + 2 * m * delta * worst
    found = one_run_p_value(v, r, canaries=m, epsilon=1.0, delta=delta)
    assert found == pytest.approx(min(expected, 1.0))


def test_chance_refutes_nothing() -> None:
    assert one_run_epsilon(50, 100, canaries=1000, delta=1e-5, level=0.05) == 0.0
    low = one_run_epsilon(100, 100, canaries=1000, delta=1e-5, level=0.05)
    assert one_run_p_value(100, 100, canaries=1000, epsilon=low, delta=1e-5) <= 0.05
    assert low > 2.5


def test_the_clearest_guesses() -> None:
    inside = np.array([True, True, False, False, True, False])
    scores = np.array([9.0, 1.0, 8.0, 2.0, 5.0, 5.0])
    # Said to be in: 9 (right), 8 (wrong); said to be out: 1 (wrong), 2 (right).
    assert right_guesses(scores, inside, 4) == 2
    assert right_guesses(-scores, inside, 2) == 1
    assert right_guesses(scores, inside, 0) == 0


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_bound_is_wrong_as_rarely_as_it_says(epsilon: float) -> None:
    """Randomised response is the mechanism that makes most guesses right: 95 % must stay below."""
    rng = np.random.default_rng(5)
    right = rng.binomial(60, 1 / (1 + math.exp(-epsilon)), size=4000)
    found = {
        int(c): one_run_epsilon(int(c), 60, canaries=240, delta=0.0, level=0.05)
        for c in np.unique(right)
    }
    above = np.mean([found[int(c)] > epsilon for c in right])
    assert above <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 4000)
    assert np.mean([found[int(c)] for c in right]) > 0.3 * epsilon - 0.1
