from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pegai.audit.canaries import gradient_canary, one_run, one_run_epsilon, one_run_p_value


def test_the_gradient_canary_keeps_and_nearly_reaches_the_claim() -> None:
    audit = gradient_canary(runs=4000)
    assert audit.findings == ()
    assert audit.mu_seen >= 0.75 * audit.mu  # its 95 % interval is +- 0.09 of 0.5


def test_one_training_with_many_canaries() -> None:
    found = one_run()
    assert found.findings == ()
    assert 0.5 < found.epsilon_low < found.epsilon
    assert found.correct > 0.8 * found.guesses
    assert found.to_dict()["canaries"] == found.canaries


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
