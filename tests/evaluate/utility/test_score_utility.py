"""The other ways round, calibration and rankings, as scores."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from pegai.evaluate.features import encode
from pegai.evaluate.measure import Measured, measure
from pegai.evaluate.score_utility import utility_plots, utility_scores
from pegai.evaluate.tiers import QUICK
from pegai.evaluate.utility.learners import HEADLINE, LEARNERS
from pegai.evaluate.utility.tstr import make_task, train_and_test


def measured(real, *tables) -> list[Measured]:
    return [measure(real, table) for table in tables]


@pytest.fixture(scope="module")
def fresh(real, patients):
    found = measured(real, patients(260, 3))
    return {s.name: s for s in utility_scores(real, found)}, utility_plots(real, found)


def test_fresh_patients_score_as_real_ones(fresh):
    scores, plots = fresh
    assert scores["trts_auc"].value == pytest.approx(scores["trts_auc"].baseline, abs=0.1)
    assert {f"trts_auc/{name}" for name in LEARNERS} <= set(scores)
    assert scores["tsts_gap"].low < 0 < scores["tsts_gap"].high
    assert scores["brier"].value == pytest.approx(scores["brier"].baseline, abs=0.05)
    for name in ("calibration_slope", "calibration_intercept"):
        assert scores[name].low <= scores[name].value <= scores[name].high
        assert f"{name}/logistic_regression" in scores
    ranking = scores["learner_ranking"]
    assert -1 <= ranking.value <= 1
    assert 0 < ranking.baseline <= 1
    json.dumps(plots["reliability"])
    assert [row["classifier"] for row in plots["reliability"]] == [HEADLINE, "logistic_regression"]
    assert len(plots["reliability"][0]["real"]) >= 5


def test_independent_columns_give_themselves_away(real, train, independent, fresh):
    found = measured(real, independent(train, 0))
    scores = {s.name: s for s in utility_scores(real, found)}
    assert scores["trts_auc"].high < fresh[0]["trts_auc"].value
    assert scores["trts_auc"].value == pytest.approx(0.5, abs=0.1)
    assert scores["brier"].value > scores["brier"].baseline
    assert scores["calibration_slope"].value < 0.4


def test_a_table_that_flatters_itself_has_a_gap(real, train):
    """Rows that are all there twenty times: what is kept back was trained on."""
    few = train.head(20)
    copies = few.take(np.tile(np.arange(20), 15))
    scores = {s.name: s for s in utility_scores(real, measured(real, copies))}
    assert scores["tsts_auc"].value > 0.95
    assert scores["tsts_gap"].low > 0


def test_models_of_real_patients_are_tested_once_whoever_asks(real, patients, fresh):
    synthetic = patients(260, 3)
    coded = encode(real.features, synthetic)
    given = train_and_test(real.task, coded, real=real.utility)
    assert given.on_synthetic
    assert not given.models
    later = train_and_test(real.task, coded)
    assert not later.on_synthetic
    direct = [dataclasses.replace(measure(real, synthetic), utility=later)]
    scores = {s.name: s for s in utility_scores(real, direct)}
    assert repr(scores["trts_auc"]) == repr(fresh[0]["trts_auc"])


def test_quick_trains_two_learners(real, train):
    task, _ = make_task(real.task.target, real.holdout, real.weights, real.streams, QUICK)
    utility = train_and_test(task, real.train)
    assert list(utility.values) == [HEADLINE, "logistic_regression"]
    assert utility.importance is None
    again = train_and_test(real.task, real.train, QUICK)
    assert again.values == utility.values
    quick = dataclasses.replace(real, task=task, utility=utility)
    found = [dataclasses.replace(m, utility=utility) for m in measured(quick, train)]
    scores = {s.name: s for s in utility_scores(quick, found)}
    assert "2 learners" in scores["learner_ranking"].note
    assert [n for n in scores if n.startswith("tstr_auc/")] == [
        f"tstr_auc/{name}" for name in utility.values
    ]


def test_row_limits(real):
    tier = dataclasses.replace(QUICK, max_model_rows=50, max_test_rows=60)
    task, _ = make_task(real.task.target, real.holdout, real.weights, real.streams, tier)
    assert task.truth.size == 60
    utility = train_and_test(task, real.train)
    assert utility.scores[HEADLINE].shape == (60, 2)


def test_one_class_and_tiny_tables_are_not_assessed(real, train):
    one = train.take((train["outcome"] == "no").to_numpy())
    for table in (one, train.head(5)):
        scores = {s.name: s for s in utility_scores(real, measured(real, table))}
        for score in scores.values():
            if score.name.startswith(("trts", "tsts", "brier", "calibration", "learner")):
                assert score.assessed or score.note.startswith("not assessed"), score
        assert math.isnan(scores["tsts_auc"].value)


def test_a_mixture_of_tables_with_and_without_a_target(real, train):
    import polars as pl

    blank = train.frame.with_columns(pl.lit(None, dtype=pl.String).alias("outcome"))
    found = measured(real, train, type(train)(blank, train.schema))
    scores = {s.name: s for s in utility_scores(real, found)}
    assert scores["tstr_auc"].assessed
    assert scores["trts_auc"].assessed
