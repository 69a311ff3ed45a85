import numpy as np
import pytest

from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.utility import learners
from pegai.evaluate.utility.learners import (
    LEARNERS,
    REGRESSORS,
    class_scores,
    matrices,
    predictions,
)


@pytest.fixture(scope="module")
def data(patients):
    real, test = patients(200, 1), patients(100, 2)
    features = fit_features(real)
    sides = [encode(features, t) for t in (real, test)]
    target = [s.codes[:, [c.name for c in features.discrete].index("outcome")] for s in sides]
    side, other = (s.without("outcome") for s in sides)
    return matrices(side, other), target[0].astype(np.int64), target[1]


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_classifier_learns_and_repeats_itself(data, name):
    both, target, truth = data
    scores = class_scores(name, both, target, 2, rng())
    assert (scores.argmax(axis=1) == truth).mean() > 0.6
    assert np.array_equal(scores, class_scores(name, both, target, 2, rng()))


@pytest.mark.parametrize("name", LEARNERS)
def test_one_class_no_class_and_absent_classes(data, name):
    both, target, _ = data
    assert np.ptp(class_scores(name, both, np.ones_like(target), 2, rng()), axis=0).max() == 0
    three = class_scores(name, both, target, 3, rng())
    assert np.ptp(three[:, 2]) == 0
    assert three.argmax(axis=1).max() < 2


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_tiny_training_sides(patients, name, rows):
    real = patients(60, 1)
    features = fit_features(real)
    side = encode(features, real.head(rows)).without("outcome")
    both = matrices(side, encode(features, patients(30, 2)).without("outcome"))
    target = np.arange(rows) % 2
    assert np.isfinite(class_scores(name, both, target, 2, rng())).all()


@pytest.mark.parametrize("name", REGRESSORS)
def test_every_regressor_learns_and_takes_a_constant(data, name):
    both, _, _ = data
    signal = [m[:, 0] for m in both.linear]
    guess = predictions(name, both, signal[0], rng())
    assert np.corrcoef(guess, signal[1])[0, 1] > 0.5
    assert np.all(predictions(name, both, np.full_like(signal[0], 3.0), rng()) == 3.0)


def test_large_sides_are_cut_but_keep_their_classes(data, monkeypatch):
    monkeypatch.setitem(learners._LIMITS, "support_vector_machine", 50)
    both, target, _ = data
    rare = np.zeros_like(target)
    rare[[3, 9]] = 1, 2
    assert class_scores("support_vector_machine", both, rare, 3, rng()).shape == (100, 3)
