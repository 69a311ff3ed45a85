import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from pegai.evaluate.utility.calibration import calibration, reliability


def risks(n=2000, steepness=1.0, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    given = 1 / (1 + np.exp(-(steepness * logit + shift)))
    return np.column_stack([1 - given, given]), truth


NONE = np.ones((1, 2000))


def test_matches_scikit_learn():
    scores, truth = risks(steepness=2.0, shift=0.5)
    found = calibration(scores, truth, NONE).figures
    assert found["brier"][0] == pytest.approx(brier_score_loss(truth, scores[:, 1]))
    clipped = np.clip(scores[:, 1], 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-8).fit(logit, truth)
    assert found["calibration_slope"][0] == pytest.approx(model.coef_[0, 0], rel=2e-3)
    risk = 1 / (1 + np.exp(-(logit[:, 0] + found["calibration_intercept"][0])))
    assert risk.mean() == pytest.approx(truth.mean(), abs=1e-3)


def test_a_true_model_is_calibrated_and_an_overfitted_one_is_not():
    true, steep = (calibration(*risks(steepness=s), NONE).figures for s in (1.0, 3.0))
    assert true["calibration_slope"][0] == pytest.approx(1, abs=0.1)
    assert true["calibration_intercept"][0] == pytest.approx(0, abs=0.15)
    assert steep["calibration_slope"][0] == pytest.approx(1 / 3, abs=0.05)
    assert steep["brier"][0] > true["brier"][0]


def test_weights_are_repeated_rows():
    scores, truth = risks()
    counts = np.random.default_rng(1).integers(0, 3, 2000)
    again = np.repeat(np.arange(2000), counts)
    weighted = calibration(scores, truth, counts[None].astype(float)).figures
    repeated = calibration(scores[again], truth[again], np.ones((1, again.size))).figures
    for name, figure in weighted.items():
        assert figure[1] == pytest.approx(repeated[name][0]), name


def test_no_slope_without_outcomes_or_for_equal_or_perfect_risks():
    scores, truth = risks()
    few = calibration(scores, np.zeros(2000, dtype=int), NONE).figures
    assert np.isnan(few["calibration_slope"][0])
    equal = calibration(np.full((2000, 2), 0.5), truth, NONE).figures
    assert np.isnan(equal["calibration_slope"][0])
    assert np.isfinite(equal["calibration_intercept"][0])
    sure = np.column_stack([1.0 - truth, truth]) * 0.8 + 0.1
    assert np.isnan(calibration(sure, truth, NONE).figures["calibration_slope"][0])


def test_more_classes_count_each_against_the_rest():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([2, 2, 2], 3000)
    truth = (rng.random((3000, 1)) > scores.cumsum(axis=1)).sum(axis=1)
    found = calibration(scores, truth, np.ones((1, 3000))).figures
    assert found["calibration_slope"][0] == pytest.approx(1, abs=0.1)


def test_reliability():
    points = reliability([calibration(*risks(), NONE)] * 2)
    assert len(points) == 10
    assert sum(p["n"] for p in points) == pytest.approx(2000, abs=10)
    assert np.mean([p["low"] <= p["risk"] <= p["high"] for p in points]) >= 0.8
    assert reliability([]) == []
    assert (
        len(reliability([calibration(np.full((50, 2), 0.5), np.ones(50, int), NONE[:, :50])])) == 1
    )
