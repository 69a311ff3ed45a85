import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.intervals import patient_weights
from pegai.evaluate.utility.tstr import find_target, make_task, target_values, train_and_test
from pegai.schema import schema_from_dict
from pegai.streams import Streams


def task_of(real, holdout):
    features = fit_features(real)
    train, test = encode(features, real), encode(features, holdout)
    target, note = find_target(real.schema, train, test)
    if target is None:
        return features, None, note
    weights = patient_weights(test.units, np.random.default_rng(0), resamples=20)
    task, note = make_task(target, test, weights, Streams(0))
    return features, task, note


def with_target(table, name):
    columns = []
    for column in table.schema.columns:
        role = "target" if column.name == name else "feature"
        columns.append(
            column.model_copy(update={"pegai": column.pegai.model_copy(update={"role": role})})
        )
    return Table(table.frame, table.schema.replace_columns(tuple(columns)))


def test_real_beats_independent_columns(patients, independent):
    real = patients(300, 1)
    features, task, _ = task_of(real, patients(250, 2))
    trtr = train_and_test(task, encode(features, real)).values
    tstr = train_and_test(task, encode(features, independent(real, 0))).values
    for learner in trtr:
        assert trtr[learner]["auc"] > 0.72, learner
        assert tstr[learner]["auc"] < trtr[learner]["auc"] - 0.1, learner


def test_one_class_gives_one_half_and_a_note(patients):
    real = patients(100, 1)
    features, task, _ = task_of(real, patients(80, 2))
    one = Table(real.frame.with_columns(pl.lit("yes").alias("outcome")), real.schema)
    found = train_and_test(task, encode(features, one))
    assert "one class" in found.note
    for values in found.values.values():
        assert values["auc"] == 0.5
        assert values["recall"] == 1.0


def test_no_target_in_training_is_not_assessed(patients):
    real = patients(100, 1)
    features, task, _ = task_of(real, patients(80, 2))
    blank = pl.lit(None, dtype=pl.String).alias("outcome")
    found = train_and_test(
        task, encode(features, Table(real.frame.with_columns(blank), real.schema))
    )
    assert np.isnan(found.values["random_forest"]["auc"])
    assert "no row" in found.note


def test_rows_without_target_are_dropped_from_the_test_side(patients):
    real, test = patients(100, 1), patients(80, 2)
    gone = pl.when(pl.int_range(pl.len()) < 30).then(None).otherwise(pl.col("outcome"))
    test = Table(test.frame.with_columns(gone.alias("outcome")), test.schema)
    _, task, _ = task_of(real, test)
    assert task.truth.size == task.rows.size == task.weights.shape[1] == 50


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: with_target(t, "none"), "names no target"),
        (lambda t: Table(t.frame.with_columns(pl.lit("no").alias("outcome")), t.schema), "1 class"),
        (lambda t: t.head(15), "15 holdout rows"),
    ],
)
def test_reasons_for_no_utility(patients, change, reason):
    _, task, note = task_of(change(patients(60, 1)), change(patients(60, 2)))
    assert task is None
    assert "not assessed" in note
    assert reason in note


def test_a_numeric_target_is_regression(patients):
    real, test = (
        with_target(patients(200, 1), "pressure"),
        with_target(patients(150, 2), "pressure"),
    )
    features, task, _ = task_of(real, test)
    assert not task.target.is_class
    values = train_and_test(task, encode(features, real)).values
    assert values["linear_regression"]["r2"] > 0.2
    assert 0 < values["linear_regression"]["mae"] < 1


def test_many_classes_and_a_class_that_nobody_has(patients):
    real, test = with_target(patients(200, 1), "ward"), with_target(patients(150, 2), "ward")
    features, task, _ = task_of(real, test)
    assert task.target.levels == ("a", "b", "c", "d")
    found = train_and_test(task, encode(features, real))
    assert found.confusions["gradient_boosting"].shape == (4, 4)
    assert found.values["gradient_boosting"]["auc"] > 0.7
    only = [t.take((t["ward"] != "c").to_numpy()) for t in (real, test)]
    assert task_of(*only)[1].target.levels == ("a", "b", "d")


def test_target_codes_follow_the_schema_not_the_frequencies():
    fields = [
        {"name": "y", "type": "string", "categories": ["no", "yes"], "pegai": {"role": "target"}},
        {"name": "x", "type": "number"},
    ]
    frame = pl.DataFrame({"y": ["yes", "yes", "no", None, "?"], "x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    real = Table(frame, schema_from_dict({"fields": fields}))
    coded = encode(fit_features(real.head(4)), real)
    target, _ = find_target(real.schema, coded, coded)
    by_x = dict(zip(coded.numbers[:, 0], target_values(coded, target), strict=True))
    assert [by_x[x] for x in sorted(by_x)] == [1, 1, 0, -1, -1]
