import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy import membership
from pegai.evaluate.privacy.membership import (
    ATTACKS,
    attack,
    fit_targets,
    observed_statistics,
    panel_test,
    resampled_statistics,
    roc_curve,
    target_weights,
)
from pegai.schema import schema_from_dict
from pegai.streams import Streams


@pytest.fixture(scope="module")
def setting(patients):
    train, holdout = patients(300, 1), patients(300, 2)
    features = fit_features(train)
    targets = fit_targets(encode(features, train), encode(features, holdout), Streams(0))
    return train, features, targets


def run(setting, table, seed=0):
    _, features, targets = setting
    scores = attack(targets, encode(features, table))
    found = {name: observed_statistics(s, targets.member) for name, s in scores.items()}
    return found, panel_test([scores], targets.member, Streams(seed)).p_value


def test_a_verbatim_copy_is_found_by_every_attack(setting):
    found, p = run(setting, setting[0])
    for name in ATTACKS:
        assert found[name].min() > 0.99, name
    assert p == 0.001


def test_fresh_patients_give_nothing_away(setting, patients):
    found, p = run(setting, patients(300, 3))
    # The standard error of the area is 0.024; 0.1 is more than four of them.
    for name in ATTACKS:
        assert found[name][0] == pytest.approx(0.5, abs=0.1), name
    assert p > 0.01


def test_eight_copied_rows_of_three_hundred_are_found(setting, patients):
    leaked = pl.concat([patients(292, 3).frame, setting[0].frame.head(8)])
    found, p = run(setting, Table(leaked, setting[0].schema))
    assert found["nn_ratio"][0] < 0.6  # the area does not see them
    assert p <= 0.01


def test_jittered_copies_are_found(setting):
    rng = np.random.default_rng(0)
    moved = [
        (pl.col(c) + pl.Series(rng.normal(0, s, 300))).alias(c)
        for c, s in (("pressure", 0.5), ("lab", 0.05))
    ]
    found, p = run(setting, Table(setting[0].frame.with_columns(moved), setting[0].schema))
    assert found["nn_ratio"][1] > 0.75
    assert p == 0.001


def test_false_alarms_of_the_panel():
    """500 null sets at level 0.1: 50 expected; more than 80 has a probability below 1e-4."""
    rng = np.random.default_rng(1)
    member = np.arange(60) < 35
    alarms = 0
    for i in range(500):
        # Correlated attacks with ties, as real ones are; labels carry no information.
        base = rng.normal(size=60)
        scores = {n: np.round(base + 0.5 * rng.normal(size=60), 1) for n in ATTACKS}
        alarms += panel_test([scores], member, Streams(i), permutations=99).p_value <= 0.1
    assert 25 <= alarms <= 80


def test_false_alarms_with_several_tables():
    rng = np.random.default_rng(2)
    member = np.arange(60) < 30
    alarms = 0
    for i in range(200):
        tables = [{n: rng.normal(size=60) for n in ATTACKS} for _ in range(2)]
        alarms += panel_test(tables, member, Streams(i), permutations=99).p_value <= 0.1
    assert 5 <= alarms <= 40  # 20 expected, sd 4.2


def test_areas_far_below_one_half_count_too():
    rng = np.random.default_rng(0)
    member = np.arange(200) < 100
    scores = {n: rng.normal(size=200) - member for n in ATTACKS}
    assert panel_test([scores], member, Streams(0)).p_value <= 0.005


def test_constant_scores_carry_nothing():
    member = np.arange(40) < 20
    found = panel_test([{n: np.zeros(40) for n in ATTACKS}], member, Streams(0))
    assert found.p_value == 1.0
    assert found.null_means["nn_ratio", "auc"] == 0.5
    assert found.null_means["nn_ratio", "tpr_0.01"] == 0.0


def test_common_records_are_no_evidence():
    """Every cell of a small table is in the synthetic data: distance 0 for all, ratio 0."""
    schema = schema_from_dict({"fields": [{"name": "x", "type": "boolean"}]})
    rng = np.random.default_rng(0)
    train, holdout, fake = (
        Table(pl.DataFrame({"x": rng.random(80) < 0.5}), schema) for _ in range(3)
    )
    features = fit_features(train)
    targets = fit_targets(encode(features, train), encode(features, holdout), Streams(0))
    scores = attack(targets, encode(features, fake))
    assert np.ptp(scores["nn_ratio"]) == 0.0


def test_patients_are_attacked_and_not_rows(patients):
    def visits(n, seed):
        table = patients(n, seed)
        ids = pl.Series("id", [f"{seed}-{i // 3}" for i in range(n)])
        schema = {
            "fields": [{"name": "id", "type": "string"}, *table.schema.to_dict()["fields"]],
            "pegai": {"unit": "id", "max_rows_per_unit": 3},
        }
        return Table(table.frame.insert_column(0, ids), schema_from_dict(schema))

    train, holdout = visits(150, 1), visits(120, 2)
    features = fit_features(train)
    targets = fit_targets(encode(features, train), encode(features, holdout), Streams(0))
    assert (targets.members, targets.non_members) == (50, 40)
    one_visit_each = encode(features, train.take(np.arange(0, 150, 3)))
    scores = attack(targets, one_visit_each)
    assert observed_statistics(scores["nn_ratio"], targets.member)[0] > 0.99


def test_too_few_patients_and_supported_rates(patients):
    train = patients(60, 1)
    features = fit_features(train)
    coded = encode(features, train)
    assert fit_targets(coded, encode(features, patients(19, 2)), Streams(0)) is None
    few = fit_targets(coded, encode(features, patients(60, 2)), Streams(0))
    assert few.supported_fpr() is None
    more = fit_targets(coded, encode(features, patients(200, 2)), Streams(0))
    assert more.supported_fpr() == 0.05


def test_large_sides_are_sampled_and_their_reference_is_not(setting, patients, monkeypatch):
    monkeypatch.setattr(membership, "MAX_TARGETS", 50)
    train, features, _ = setting
    coded = encode(features, train)
    targets = fit_targets(coded, encode(features, patients(300, 2)), Streams(0))
    assert (targets.members, targets.non_members) == (50, 50)
    scores = attack(targets, coded)
    assert np.all(scores["dcr"][targets.member] == 0.0)


def test_resamples_and_the_curve_agree_with_the_figures(setting, patients):
    _, features, targets = setting
    score = attack(targets, encode(features, patients(300, 3)))["nn_ratio"]
    draws = resampled_statistics(score, target_weights(targets, Streams(0)))
    assert draws[0].mean() == pytest.approx(observed_statistics(score, targets.member)[0], abs=0.01)
    curve = roc_curve(score, targets.member, np.array([0.01, 0.5, 1.0]))
    assert curve[0] == observed_statistics(score, targets.member)[1]
    assert curve[2] == 1.0
    assert np.all(np.diff(curve) >= 0)
