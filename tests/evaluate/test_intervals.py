import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.evaluate.intervals import (
    clopper_pearson,
    combine,
    combine_jackknife,
    newcombe,
    patient_weights,
    rank_statistics,
    weighted_auc,
    weighted_tpr,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (1, 276), (81, 263)])
def test_share_intervals_match_scipy(hits, n):
    reference = stats.binomtest(hits, n)
    expected = reference.proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    expected = reference.proportion_ci(method="exact")
    assert clopper_pearson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_trials_know_nothing():
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    assert newcombe(0, 0, 1, 5) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    # Newcombe (1998), table II, method 10.
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
    ],
)
def test_newcombe_matches_the_paper(counts, expected):
    assert newcombe(*counts) == pytest.approx(expected, abs=6e-5)


def areas(scores, label):
    plus, minus = scores[label], scores[~label]
    return ((plus[:, None] > minus).mean() + (plus[:, None] == minus).mean() / 2).item()


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_weighted_auc_and_rates_match_their_definitions(rows):
    scores = np.array([float(s) for s, _ in rows])
    label = np.array([b for _, b in rows])
    plus = label[None].astype(float)
    found = rank_statistics(scores, plus, 1 - plus, (0.2,))
    assert np.array_equal(found[0], weighted_auc(scores, plus, 1 - plus), equal_nan=True)
    assert np.array_equal(found[1], weighted_tpr(scores, plus, 1 - plus, 0.2), equal_nan=True)
    if label.all() or not label.any():
        assert np.isnan(found).all()
        return
    assert found[0, 0] == pytest.approx(areas(scores, label))
    thresholds = [*np.unique(scores), np.inf]
    allowed = [t for t in thresholds if (scores[~label] >= t).mean() <= 0.2 + 1e-12]
    assert found[1, 0] == pytest.approx(max((scores[label] >= t).mean() for t in allowed))


def test_counts_as_weights_equal_repeated_rows():
    rng = np.random.default_rng(0)
    scores, label = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4
    counts = rng.integers(0, 4, 30)
    again = np.repeat(scores, counts), np.repeat(label, counts)
    weights = counts[None].astype(float)
    found = weighted_auc(scores, weights * label, weights * ~label)[0]
    assert found == pytest.approx(areas(*again))


def test_rates_are_not_interpolated_through_ties():
    scores = np.zeros(10)
    label = np.arange(10) < 5
    plus = label[None].astype(float)
    assert weighted_tpr(scores, plus, 1 - plus, 0.5)[0] == 0.0
    assert weighted_auc(scores, plus, 1 - plus)[0] == 0.5


def test_patients_are_resampled_whole():
    units = np.array([4, 4, 9, 9, 9, 2])
    weights = patient_weights(units, np.random.default_rng(0), resamples=50)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 2], weights[:, 4])
    assert np.all(weights[:, [0, 2, 5]].sum(axis=1) == 3)


def test_combine_is_students_interval_where_patients_add_nothing():
    values = np.array([0.70, 0.75, 0.83])
    resampled = np.repeat(values[:, None], 200_000, axis=1)
    found = combine(values, resampled, np.random.default_rng(0))
    expected = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    # 200,000 draws: the quantile of Student's t with 2 degrees of freedom is good to about 1 %.
    assert found == pytest.approx(expected, abs=0.006)


def test_combine_is_the_patients_interval_for_one_table():
    draws = np.random.default_rng(0).normal(0.6, 0.05, (1, 20_000))
    low, high = combine(np.array([0.6]), draws, np.random.default_rng(1))
    assert (low, high) == pytest.approx((0.502, 0.698), abs=0.004)


def test_combine_covers_seeds_and_patients_together():
    """True mean 0; both sources matter. Coverage of 400 runs lies in [0.92, 0.98] (99.9 %)."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        patients = rng.normal(0, 1, 40)
        seeds = rng.normal(0, 0.15, 4)
        weights = rng.multinomial(40, np.full(40, 1 / 40), 300) / 40
        draws = np.tile(weights @ patients, (4, 1)) + seeds[:, None]
        low, high = combine(patients.mean() + seeds, draws, rng)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 400 <= 0.985


def test_nothing_in_nothing_out():
    rng = np.random.default_rng(0)
    assert np.isnan(combine(np.array([np.nan]), np.full((1, 5), np.nan), rng)).all()
    assert np.isnan(combine(np.zeros(0), np.zeros((0, 5)), rng)).all()
    assert np.isnan(combine_jackknife(np.zeros(1), np.zeros((1, 0)))).all()


def test_jackknife_of_a_mean_is_students_interval():
    data = np.random.default_rng(0).normal(5, 1, 12)
    left_out = np.array([[np.delete(data, i).mean() for i in range(12)]])
    found = combine_jackknife(np.array([data.mean()]), left_out)
    assert found == pytest.approx(stats.t.interval(0.95, 11, data.mean(), stats.sem(data)))
