import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.fidelity.detection import FOLDS, detection, grouped_folds, row_groups
from pegai.streams import Streams

STREAMS = Streams(0)


@pytest.fixture(scope="module")
def coded(patients):
    features = fit_features(patients(200, 1))
    return lambda table: encode(features, table)


def test_fresh_patients_are_not_told_apart_and_independent_columns_are(
    coded, patients, independent
):
    holdout = patients(300, 2)
    fresh = detection(coded(holdout), coded(patients(300, 3)), STREAMS).auc
    loose = detection(coded(holdout), coded(independent(patients(300, 3), 0)), STREAMS).auc
    # Standard error of the area at 300 against 300 is 0.024.
    assert 0.4 < fresh < 0.6
    assert loose > 0.75


def test_copies_of_the_holdout_do_not_fall_below_one_half(coded, patients):
    holdout = coded(patients(200, 2))
    assert detection(holdout, holdout, STREAMS).auc == pytest.approx(0.5, abs=0.02)


def test_equal_rows_and_patients_share_a_fold(coded, patients):
    holdout, fake = coded(patients(60, 2)), coded(patients(60, 3))
    fake = fake.take(np.repeat(np.arange(20), 3))
    groups = row_groups(holdout, fake)
    assert np.unique(groups[60:]).size == 20
    label = np.repeat([0, 1], 60)
    folds = grouped_folds(groups, label, np.random.default_rng(0))
    for group in np.unique(groups):
        assert np.unique(folds[groups == group]).size == 1
    for fold in range(FOLDS):
        assert label[folds == fold].sum() == pytest.approx(12, abs=3)


def test_chained_duplicates_form_one_group(coded, patients):
    base = coded(patients(30, 2))
    assert np.array_equal(row_groups(base, base)[:30], row_groups(base, base)[30:])


def test_too_few_rows_are_not_assessed(coded, patients):
    few = detection(coded(patients(19, 2)), coded(patients(100, 3)), STREAMS)
    assert np.isnan(few.auc)
    assert "19 rows" in few.note


def test_rows_that_are_all_equal_are_not_assessed(coded, patients):
    same = patients(1, 2).take(np.zeros(40, dtype=int))
    assert np.isnan(detection(coded(same), coded(same), STREAMS).auc)


def test_all_missing_columns_do_no_harm(patients):
    def blank(table):
        return Table(
            table.frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("lab")), table.schema
        )

    real = blank(patients(100, 1))
    features = fit_features(real)
    found = detection(encode(features, real), encode(features, blank(patients(100, 2))), STREAMS)
    assert 0.3 < found.auc < 0.7


def test_larger_synthetic_tables_are_cut_to_size(coded, patients):
    found = detection(coded(patients(60, 2)), coded(patients(500, 3)), STREAMS)
    assert np.isfinite(found.placements).all()


def test_resampling_with_equal_weights_is_the_area(coded, patients):
    found = detection(coded(patients(80, 2)), coded(patients(40, 3)), STREAMS)
    assert found.resampled(np.ones((1, 80)))[0] == pytest.approx(found.auc)
