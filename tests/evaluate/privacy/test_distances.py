import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.distances import distances, fit_references
from pegai.evaluate.tiers import QUICK
from pegai.schema import schema_from_dict
from pegai.streams import Streams

SCHEMA = schema_from_dict({"fields": [{"name": "x", "type": "number"}]})


def measure(train, holdout, fake):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    references = fit_references(a, b, Streams(0), tier=QUICK)
    assert references is not None
    assert len(references.train) == len(references.holdout)
    return distances(references, encode(features, fake))


def column(values):
    return Table(pl.DataFrame({"x": np.asarray(values, dtype=float)}), SCHEMA)


def test_figures_by_hand():
    train, holdout = column(np.arange(100) * 10), column(np.arange(100) * 10 + 5)
    found = measure(train, holdout, column([1, 12, 25, 39, 991]))
    unit = distances_unit(train)
    # To training: 1, 2, 5, 1, 1 (990); to the holdout: 4, 3, 0, 4, 4 (995).
    assert found.train["dcr_median"] == pytest.approx(1 * unit)
    assert found.holdout["dcr_median"] == pytest.approx(4 * unit)
    assert found.share == pytest.approx(4 / 5)
    # Nearest to second nearest: 1/9, 2/8, 5/5, 1/9, 1/11 (980).
    assert found.train["nndr_median"] == pytest.approx(1 / 9)
    assert found.train["nndr_5pct"] == pytest.approx(1 / 11)


def distances_unit(train):
    number = fit_features(train).numbers[0]
    return 1 / number.scale / number.spread


def test_ties_count_one_half(patients):
    same = column(np.zeros(50))
    found = measure(same, same, same)
    assert found.share == 0.5
    assert found.train["nndr_median"] == 1.0


def test_the_share_misses_what_the_attacks_see(train, holdout, patients):
    assert measure(train, holdout, train).share > 0.85
    fresh = measure(train, holdout, patients(400, 3))
    assert fresh.share == pytest.approx(0.5, abs=0.08)


def test_few_rows_are_not_measured():
    few = column(np.arange(19))
    coded = encode(fit_features(few), few)
    assert fit_references(coded, coded, Streams(0), tier=QUICK) is None
