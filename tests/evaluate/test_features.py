import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.table import Table
from pegai.evaluate.features import (
    MAX_LEVELS,
    distance_matrix,
    encode,
    fit_features,
    fit_linear,
    linear_matrix,
    tree_matrix,
)
from pegai.schema import schema_from_dict


def table(fields, **columns):
    schema = schema_from_dict({"fields": fields})
    return Table(pl.DataFrame(columns), schema)


NUMBER = [{"name": "x", "type": "number"}]
LEVEL = [{"name": "c", "type": "string", "categories": ["a", "b"]}]


def test_one_number_is_measured_in_interquartile_ranges():
    real = table(NUMBER, x=[0.0, 1.0, 2.0, 3.0, 4.0])
    coded = encode(fit_features(real), real)
    assert coded.numbers[:, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_different_levels_and_missing_are_one_apart():
    real = table(LEVEL, c=["a", "b", None])
    matrix = distance_matrix(encode(fit_features(real), real))
    gaps = np.linalg.norm(matrix[:, None] - matrix[None], axis=2)
    assert np.allclose(gaps, 1 - np.eye(3))


def test_missing_number_is_at_least_one_from_any_value_and_zero_from_another_missing_one():
    real = table(NUMBER, x=[0.0, 1.0, 2.0, None, None])
    matrix = distance_matrix(encode(fit_features(real), real))
    gaps = np.linalg.norm(matrix[:, None] - matrix[None], axis=2)
    missing = matrix[:, 1] == 1
    assert missing.sum() == 2
    assert np.all(gaps[np.ix_(missing, ~missing)] >= 1)
    assert np.all(gaps[np.ix_(missing, missing)] == 0)


def test_levels_unseen_in_training_do_not_change_the_width():
    real = table(LEVEL, c=["a", "b", "a"])
    features = fit_features(real)
    other = encode(features, table(LEVEL, c=["z", "a", None, "yy"]))
    widths = {distance_matrix(encode(features, real)).shape[1], distance_matrix(other).shape[1]}
    assert widths == {4}
    assert sorted(other.codes[:, 0].tolist()) == [-1, 0, 2, 2]


def test_levels_are_numbered_by_frequency_and_ordinal_ones_by_the_schema():
    fields = [
        {"name": "n", "type": "string", "categories": ["a", "b"]},
        {"name": "o", "type": "string", "categories": ["a", "b"], "categoriesOrdered": True},
    ]
    features = fit_features(table(fields, n=["b", "b", "a"], o=["b", "b", "a"]))
    assert features.discrete[0].levels == ("b", "a")
    assert features.discrete[1].levels == ("a", "b")
    _, nominal = tree_matrix(encode(features, table(fields, n=["a"], o=["a"])))
    assert nominal.tolist() == [True, False]


def test_many_levels_are_capped_below_what_boosting_takes():
    names = [f"l{i}" for i in range(400)]
    fields = [{"name": "c", "type": "string", "categories": names}]
    features = fit_features(table(fields, c=names))
    assert features.discrete[0].size == MAX_LEVELS + 1
    assert encode(features, table(fields, c=names)).codes.max() == MAX_LEVELS < 255


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="empty"),
        pytest.param([None, None], id="all-missing"),
        pytest.param([3.0, 3.0, 3.0], id="constant"),
        pytest.param([0.0, 0.0], id="zeros"),
        pytest.param([0.0] * 50 + [1.0], id="no-interquartile-range"),
        pytest.param([1e300, -1e300], id="huge"),
        pytest.param([1.0], id="one-row"),
    ],
)
def test_awkward_columns_give_finite_matrices(values):
    real = Table(
        pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)}),
        schema_from_dict({"fields": NUMBER}),
    )
    features = fit_features(real)
    coded = encode(features, real)
    assert np.isfinite(distance_matrix(coded)).all()
    assert np.isfinite(linear_matrix(fit_linear(coded), coded)).all()
    beyond = encode(features, table(NUMBER, x=[float("inf"), -1e308, 5.0]))
    assert np.isfinite(distance_matrix(beyond)).all()


def test_identifiers_and_the_patient_id_are_left_out_and_text_only_makes_keys():
    fields = [
        {"name": "id", "type": "string"},
        {"name": "mrn", "type": "string", "pegai": {"role": "identifier"}},
        {"name": "note", "type": "string"},
        {"name": "x", "type": "integer"},
    ]
    schema = schema_from_dict({"fields": fields, "pegai": {"unit": "id", "max_rows_per_unit": 2}})
    frame = pl.DataFrame(
        {"id": ["p", "p", "q"], "mrn": ["1", "2", "3"], "note": ["u", "v", "u"], "x": [1, 1, 1]}
    )
    coded = encode(fit_features(Table(frame, schema)), Table(frame, schema))
    assert coded.features.names == ("x",)
    assert coded.features.texts == ("note",)
    assert sorted(np.bincount(coded.units).tolist()) == [1, 2]
    assert np.unique(coded.keys).size == 1  # texts are searched for apart


@given(st.permutations(range(30)))
@settings(max_examples=20, deadline=None)
def test_row_order_changes_nothing(patients, order):
    real = patients(30, 5)
    features = fit_features(real)
    moved = real.take(np.array(order))
    assert fit_features(moved) == features
    first, second = encode(features, real), encode(features, moved)
    assert moved.take(second.source).frame.equals(real.take(first.source).frame)
    for field in dataclasses.fields(first)[1:-1]:  # all but the coding and the positions
        assert np.array_equal(
            getattr(first, field.name), getattr(second, field.name), equal_nan=True
        ), field.name


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
@settings(max_examples=40, deadline=None)
def test_units_change_nothing(scale, shift):
    values = np.random.default_rng(0).normal(10, 3, 60).round(2)
    before, after = table(NUMBER, x=values), table(NUMBER, x=values * scale + shift)
    first = encode(fit_features(before), before).numbers
    second = encode(fit_features(after), after).numbers
    assert np.abs(first - second).max() <= 2e-9


def test_linear_coding_learns_from_the_training_side_only():
    fields = NUMBER + LEVEL
    real = table(fields, x=[0.0, 1.0, 2.0, 3.0], c=["a", "a", "b", None])
    features = fit_features(real)
    side = encode(features, table(fields, x=[10.0, 12.0, 14.0], c=["b", "b", "a"]))
    test = encode(features, table(fields, x=[None, 12.0], c=[None, "a"]))
    matrix = linear_matrix(fit_linear(side), test)
    filled = matrix[matrix[:, 1] == 1][0]
    assert filled[0] == 0.0  # the median of the training side, 12, is also its mean
    assert filled[2:5].argmax() == features.discrete[0].levels.index("b")
    assert filled[-1] == 1.0
