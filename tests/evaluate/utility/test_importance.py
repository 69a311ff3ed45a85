import numpy as np
import pytest
from scipy import stats

from pegai.evaluate.utility.importance import (
    kendall_tau,
    permutation_importance,
    rank_agreement,
)
from pegai.evaluate.utility.learners import Side
from pegai.streams import Streams


def test_a_column_counts_as_much_as_the_model_uses_it():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(400, 3))
    truth = matrix[:, 0] + 0.3 * matrix[:, 1]

    def worth(scores, target, weights):
        return 1 - (weights @ (scores - target) ** 2) / weights.sum(axis=1)

    def model(side):
        return side.trees[:, 0] + 0.3 * side.trees[:, 1]

    side = Side(matrix, matrix)
    found = permutation_importance(model, side, truth, np.arange(400), worth, Streams(0))
    assert found.shape == (11, 3)
    assert found[0, 0] == pytest.approx(2.0, abs=0.3)  # twice the variance
    assert found[0, 1] == pytest.approx(0.18, abs=0.03)
    assert (found[:, 2] == 0).all()
    assert np.abs(found[1:] - found[0]).max() < 0.2
    again = permutation_importance(model, side, truth, np.arange(400), worth, Streams(0))
    assert np.array_equal(found, again)


def test_rank_agreement_matches_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 12)).astype(float)
    assert rank_agreement(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(rank_agreement(a, np.ones(12)))
    assert np.isnan(rank_agreement(a[:2], b[:2]))


def test_kendall_matches_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 20, 8)).astype(float)
    expected = [stats.kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert kendall_tau(a, b) == pytest.approx(expected)
    assert np.isnan(kendall_tau(np.ones((1, 4)), np.arange(4.0)[None])).all()
