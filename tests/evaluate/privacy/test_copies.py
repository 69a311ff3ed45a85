import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.copies import exact_copies, text_copies, unique_rows
from pegai.schema import schema_from_dict


@pytest.fixture(scope="module")
def sides(patients):
    train, holdout = patients(200, 1), patients(100, 2)
    features = fit_features(train)
    return features, train, encode(features, train), encode(features, holdout)


def test_planted_copies_are_counted(sides, patients):
    features, table, train, holdout = sides
    fake = Table(pl.concat([patients(192, 3).frame, table.frame.head(8)]), table.schema)
    found = exact_copies(train, holdout, encode(features, fake))
    assert (found.rows, found.size) == (8, 200)
    assert found.train_rate == pytest.approx(8 / 200)
    assert found.holdout_rate == 0.0
    assert found.interval[0] < found.excess < found.interval[1]
    # Ten copies suffice to exclude zero; four do not.
    assert exact_copies(train, holdout, train).interval[0] > 0.9


def test_a_changed_cell_is_no_copy_but_a_rounding_error_is(sides):
    features, table, train, holdout = sides
    frame = table.frame.with_columns(pl.col("pressure") + 1e-12)
    assert exact_copies(train, holdout, encode(features, Table(frame, table.schema))).rows == 200
    frame = table.frame.with_columns(pl.col("pressure") + 0.1)
    assert exact_copies(train, holdout, encode(features, Table(frame, table.schema))).rows == 0


def test_common_records_match_both_sides():
    schema = schema_from_dict({"fields": [{"name": "x", "type": "boolean"}]})
    rng = np.random.default_rng(0)
    train, holdout, fake = (
        Table(pl.DataFrame({"x": rng.random(50) < 0.5}), schema) for _ in range(3)
    )
    features = fit_features(train)
    found = exact_copies(*(encode(features, t) for t in (train, holdout, fake)))
    assert found.train_rate == found.holdout_rate == 1.0
    assert found.interval[0] < 0 < found.interval[1]


def test_patients_count_and_not_rows():
    schema = schema_from_dict(
        {
            "fields": [{"name": "id", "type": "string"}, {"name": "x", "type": "integer"}],
            "pegai": {"unit": "id", "max_rows_per_unit": 3},
        }
    )
    real = Table(pl.DataFrame({"id": list("aaab"), "x": [1, 2, 3, 4]}), schema)
    other = Table(pl.DataFrame({"id": list("cd"), "x": [8, 9]}), schema)
    fake = Table(pl.DataFrame({"id": list("efg"), "x": [1, 3, 7]}), schema)
    features = fit_features(real)
    found = exact_copies(*(encode(features, t) for t in (real, other, fake)))
    assert found.train.tolist() == [True, False]
    assert found.rows == 2


def test_missing_equals_missing_and_text_is_searched_apart():
    fields = [{"name": "x", "type": "number"}, {"name": "note", "type": "string"}]
    schema = schema_from_dict({"fields": fields})
    real = Table(pl.DataFrame({"x": [1.0, None], "note": ["u", "v"]}), schema)
    fake = Table(pl.DataFrame({"x": [1.0, None], "note": ["w", "v"]}), schema)
    features = fit_features(real)
    coded, other = encode(features, real), encode(features, fake)
    assert exact_copies(coded, coded, other).rows == 2
    assert text_copies(real, fake, fake, ["note"])[0].train == (1, 2)


def test_rows_of_one_patient_only():
    schema = schema_from_dict({"fields": [{"name": "x", "type": "number"}]})
    real, other, fake = (
        Table(pl.DataFrame({"x": x}), schema)
        for x in ([1.0, 1.0, 2.0, 3.0], [1.0, 9.0], [1.0, 2.0, 2.0, 2.0, 7.0])
    )
    features = fit_features(real)
    found = unique_rows(*(encode(features, t) for t in (real, other, fake)))
    assert found.synthetic == (3, 5)
    assert found.holdout == (0, 2)
    assert found.excess == 0.6
