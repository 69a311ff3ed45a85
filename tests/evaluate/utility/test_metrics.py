import numpy as np
import pytest
from sklearn import metrics

from pegai.evaluate.utility.metrics import (
    by_class,
    class_auc,
    confusion,
    label_metrics,
    regression_metrics,
)


def both(classes, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 80)
    scores = rng.random((80, classes)) + 0.4 * np.eye(classes)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    return truth, scores, scores.argmax(axis=1)


ONE = np.ones((1, 80))


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_match_scikit_learn(classes):
    truth, scores, guess = both(classes)
    average = "binary" if classes == 2 else "macro"
    found = label_metrics(confusion(truth, guess, classes, ONE))
    expected = {
        "accuracy": metrics.accuracy_score(truth, guess),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, guess),
        "precision": metrics.precision_score(truth, guess, average=average),
        "recall": metrics.recall_score(truth, guess, average=average),
        "f1": metrics.f1_score(truth, guess, average=average),
    }
    assert {name: value[0] for name, value in found.items()} == pytest.approx(expected)
    auc = class_auc(scores, truth, ONE)[0]
    if classes == 2:
        assert auc == pytest.approx(metrics.roc_auc_score(truth, scores[:, 1]))
    else:
        assert auc == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr"))


def test_a_class_never_predicted_is_a_zero_and_not_a_warning():
    table = confusion(np.array([0, 0, 1]), np.array([0, 0, 0]), 2, np.ones((1, 3)))
    precision, recall, f1, support = (v[0].tolist() for v in by_class(table))
    assert (precision, recall, f1) == ([2 / 3, 0], [1, 0], [0.8, 0])
    assert support == [2, 1]


def test_classes_that_the_holdout_lacks_are_left_out_of_means():
    table = confusion(np.array([0, 1]), np.array([0, 1]), 3, np.ones((1, 2)))
    assert label_metrics(table)["recall"][0] == 1.0


def test_too_few_rows_of_a_class_have_no_area():
    truth = np.array([0] * 76 + [1] * 4)
    assert np.isnan(class_auc(np.random.default_rng(0).random((80, 2)), truth, ONE)[0])


def test_weights_are_repeated_rows():
    truth, scores, guess = both(3)
    counts = np.random.default_rng(1).integers(0, 3, 80)
    weights = counts[None].astype(float)
    again = np.repeat(np.arange(80), counts)
    ones = np.ones((1, again.size))
    assert np.array_equal(
        confusion(truth, guess, 3, weights), confusion(truth[again], guess[again], 3, ones)
    )
    assert class_auc(scores, truth, weights) == pytest.approx(
        class_auc(scores[again], truth[again], ones)
    )


def test_regression_matches_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, 80)
    guess = truth + rng.normal(0, 1, 80)
    found = regression_metrics(truth, guess, ONE)
    assert found["r2"][0] == pytest.approx(metrics.r2_score(truth, guess))
    assert found["mae"][0] == pytest.approx(metrics.mean_absolute_error(truth, guess))
    assert np.isnan(regression_metrics(np.ones(80), guess, ONE)["r2"][0])
