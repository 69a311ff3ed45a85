import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import DataError, UsageError
from pegai.evaluate.privacy.attacks import ATTACKS
from pegai.evaluate.suite import evaluate, real_baselines
from pegai.schema import schema_from_dict

LEARNERS = (
    "gradient_boosting",
    "random_forest",
    "logistic_regression",
    "k_nearest_neighbours",
    "support_vector_machine",
    "decision_tree",
    "naive_bayes",
    "multilayer_perceptron",
)

POINTS = (
    "membership_p", "membership_epsilon", "minimum_detectable_leak", "control_", "pmse_ratio",
    "dcr_", "nndr_", "k_anonymity", "l_diversity", "t_closeness", "importance_agreement",
    "learner_ranking", "coefficient_sign_flips", "coefficient_agreement",
)  # fmt: skip
"""Figures without an interval, or whose jackknife may see no variation."""


def with_schema(table, **change):
    """The table under a schema whose file content was changed by column name."""
    raw = table.schema.to_dict()
    raw["fields"] = [f | change.get(f["name"], {}) for f in raw["fields"]]
    return Table(table.frame, schema_from_dict(raw))


def plain(evaluation):
    """The result as JSON, without the wall time."""
    return json.dumps(
        dataclasses.replace(evaluation, seconds=0.0).to_dict(), allow_nan=False, sort_keys=True
    )


def numbers(evaluation):
    """Figures only: what renamed categories must not change."""
    return {s.name: (s.value, s.low, s.high, s.baseline) for s in evaluation.scores}


@pytest.fixture(scope="module")
def fresh(train, holdout, real, patients):
    return evaluate(train, holdout, [patients(260, s) for s in (3, 4)], cache=real)


@pytest.fixture(scope="module")
def one(train, holdout, real, patients):
    return evaluate(train, holdout, [patients(260, 3)], cache=real)


@pytest.fixture(scope="module")
def loose(train, holdout, real, independent):
    return evaluate(train, holdout, [independent(train, s) for s in (0, 1)], cache=real)


@pytest.fixture(scope="module")
def copied(train, holdout, real):
    return evaluate(train, holdout, [train], cache=real)


def test_score_names_are_fixed(fresh):
    names = [s.name for s in fresh.scores]
    assert len(names) == len(set(names))
    expected = {
        "column_shapes",
        "pair_trends",
        "detection_auc",
        "tstr_auc",
        "tstr_auc_drop",
        "membership_auc",
        "membership_tpr_at_1pct",
        "membership_tpr_at_0.1pct",
        "membership_tpr_supported",
        "membership_p",
        "exact_copies",
        "exact_copies_excess",
        "copied_rows",
    }
    metrics = ("auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1")
    expected |= {f"tstr_{m}/{c}" for m in metrics for c in LEARNERS}
    figures = ("auc", "tpr_at_1pct", "tpr_at_0.1pct")
    expected |= {f"membership_{f}/{a}" for f in figures for a in ATTACKS}
    expected |= {f"trts_auc/{c}" for c in LEARNERS} | {"trts_auc", "tsts_auc", "tsts_gap"}
    expected |= {
        "membership_auc_best", "membership_epsilon", "minimum_detectable_leak",
        "control_planted", "control_jitter", "control_overfit",
        "equivalent_sample", "equivalent_patients", "tvd_1way", "tvd_2way", "tvd_3way",
        "ks", "wasserstein", "correlation_difference", "contingency_difference",
        "missing_rates", "missing_patterns", "density", "coverage", "pmse_ratio",
        "rule_violations", "learner_ranking", "importance_agreement",
        "coefficient_overlap", "coefficient_bias", "coefficient_sign_flips",
        "coefficient_agreement", "coefficient_coverage", "survival_distance",
        "attribute_inference", "linkability", *(f"linkability/k{k}" for k in (2, 3, 4, 5)),
        "singling_out", "singling_out/values", "singling_out/combinations", "model_inversion",
        "identity_risk", "dcr_median", "dcr_5pct", "nndr_median", "nndr_5pct", "dcr_share",
        "k_anonymity",
    }  # fmt: skip
    for figure in ("brier", "calibration_slope", "calibration_intercept"):
        expected |= {figure, f"{figure}/logistic_regression"}
    of_columns = ("subgroup_gap", "subgroup_share", "attribute_inference", "l_diversity",
                  "t_closeness", "attribute_inference_population")  # fmt: skip
    names = [n for n in names if n.split("/")[0] not in of_columns or n in expected]
    assert set(names) - {"identity_risk_excess", "subgroup_gap"} == expected
    assert fresh["tstr_auc"].value == fresh["tstr_auc/gradient_boosting"].value
    assert fresh["membership_auc"].values == fresh["membership_auc/nn_ratio"].values


def test_intervals_hold_their_figures_and_baselines_are_there(fresh):
    for score in fresh.scores:
        if not score.assessed:
            assert "not assessed" in score.note, score.name
            continue
        if not score.name.startswith(POINTS):
            assert score.low <= score.value <= score.high, score.name
            assert np.isfinite(score.baseline), score.name
        if len(score.values) == 2 and "worst" not in score.note:
            assert np.mean(score.values) == pytest.approx(score.value), score.name


def test_fresh_patients_are_near_every_baseline(fresh):
    for name in ("column_shapes", "pair_trends"):
        assert fresh[name].value == pytest.approx(fresh[name].baseline, abs=0.03)
    assert fresh["detection_auc"].value == pytest.approx(0.5, abs=0.1)
    assert fresh["tstr_auc"].value == pytest.approx(fresh["tstr_auc"].baseline, abs=0.08)
    assert fresh["membership_auc"].value == pytest.approx(0.5, abs=0.1)
    assert fresh["membership_p"].value > 0.01
    assert fresh["exact_copies"].value == 0


def test_independent_columns_are_caught(loose, fresh):
    assert min(loose["detection_auc"].values) > 0.65
    assert loose["detection_auc"].low > 0.5  # two seeds: Student's t with one degree of freedom
    assert loose["tstr_auc"].value < loose["tstr_auc"].baseline - 0.15
    assert loose["pair_trends"].value < fresh["pair_trends"].value - 0.03
    assert loose["membership_auc"].value == pytest.approx(0.5, abs=0.1)


def test_a_verbatim_copy_is_caught(copied):
    assert copied["membership_auc"].low > 0.99
    assert copied["membership_tpr_supported"].value > 0.95
    assert copied["membership_p"].value == 0.001
    assert copied["exact_copies"].value == 1
    assert copied["exact_copies_excess"].low > 0.95
    # Compared with the holdout, a copy is no better than the training table that it is.
    for name in ("column_shapes", "pair_trends", "detection_auc", "tstr_auc"):
        assert copied[name].value == pytest.approx(copied[name].baseline)


def test_one_table_says_that_seeds_are_not_covered(copied):
    assert "not the seeds" in copied["tstr_auc"].note
    assert copied.rows == {
        "train": 260,
        "holdout": 220,
        "synthetic": 260,
        "train_patients": 260,
        "holdout_patients": 220,
        "non_members": 220,
    }


def test_small_holdouts_do_not_estimate_low_rates(fresh):
    low = fresh["membership_tpr_at_0.1pct"]
    assert not low.assessed
    assert "10,000 non-members" in low.note
    assert "5 %" in fresh["membership_tpr_at_1pct"].note


def test_plots_are_json_and_complete(fresh):
    text = json.dumps(fresh.to_dict(), allow_nan=False)
    plots = json.loads(text)["plots"]
    assert plots["seeds"] == 2
    assert {b["column"] for b in plots["marginals"]} == set(plots["correlation"]["columns"])
    assert [row["classifier"] for row in plots["tstr"]] == list(LEARNERS)
    assert set(plots["tstr"][0]["metrics"]["auc"]) == {"synthetic", "low", "high", "real"}
    assert plots["confusion"]["labels"] == ["alive", "dead"]
    assert np.sum(plots["confusion"]["synthetic"]) == pytest.approx(220, abs=0.1)
    assert [r["label"] for r in plots["report"]["real"]] == [
        "alive",
        "dead",
        "mean",
        "weighted mean",
    ]
    roc = plots["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"])
    assert roc["tpr"][-1] == 1.0
    assert roc["auc"] == pytest.approx(fresh["membership_auc"].value)
    distances = [c["distance"] for c in plots["columns"]]
    assert distances == sorted(distances, reverse=True)
    assert plots["pairs"][0]["distance"] >= plots["pairs"][-1]["distance"]


def test_equal_inputs_give_equal_results(train, holdout, patients, one):
    seen = []
    again = evaluate(
        train, holdout, [patients(260, 3)], progress=lambda what, share: seen.append((what, share))
    )
    assert plain(again) == plain(one)
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_row_order_changes_nothing(train, holdout, patients, one):
    rng = np.random.default_rng(0)
    moved = [t.take(rng.permutation(len(t))) for t in (train, holdout, patients(260, 3))]
    assert plain(evaluate(moved[0], moved[1], moved[2:])) == plain(one)


def test_names_of_categories_and_units_and_column_order_change_no_figure(
    train, holdout, patients, one
):
    raw = train.schema.to_dict()
    names = {"a": "zeta", "b": "alpha", "c": "mid", "d": "b"}
    for field in raw["fields"]:
        if field["name"] == "ward":
            # The list is turned round as well: levels are numbered by frequency.
            field["categories"] = [{"value": names[v]} for v in "dcba"]
    raw["fields"] = raw["fields"][::-1]
    schema = schema_from_dict(raw)

    def change(table):
        frame = table.frame.with_columns(
            pl.col("ward").replace_strict(names), pl.col("lab") * 38.67 + 32
        )
        return Table(frame.select(schema.names), schema)

    found = numbers(evaluate(change(train), change(holdout), [change(patients(260, 3))]))
    expected = numbers(one)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=1e-9, nan_ok=True), name


def test_order_of_the_tables_changes_no_mean(train, holdout, real, patients, fresh):
    back = evaluate(train, holdout, [patients(260, s) for s in (4, 3)], cache=real)
    for score in back.scores:
        assert score.value == pytest.approx(fresh[score.name].value, nan_ok=True), score.name


def test_a_cache_of_other_tables_or_seeds_is_refused(train, holdout, real):
    with pytest.raises(UsageError, match="other real tables"):
        evaluate(holdout, train, [train], cache=real)
    with pytest.raises(UsageError, match="seed 0"):
        evaluate(train, holdout, [train], seed=1, cache=real)


def test_empty_tables_are_refused(train, holdout):
    for real in ((train.head(0), holdout), (train, holdout.head(0))):
        with pytest.raises(DataError, match="no rows"):
            real_baselines(*real)
    with pytest.raises(DataError, match="synthetic table 2 has no rows"):
        evaluate(train, holdout, [train, train.head(0)])
    with pytest.raises(DataError, match="no synthetic table"):
        evaluate(train, holdout, [])


def test_other_schemas_are_refused_by_column_name(train, holdout):
    fewer = holdout.select([n for n in holdout.schema.names if n != "lab"])
    with pytest.raises(DataError, match=r"holdout has other columns.*missing \['lab'\]"):
        real_baselines(train, fewer)
    with pytest.raises(DataError, match=r"synthetic table.*extra \['lab'\]"):
        evaluate(fewer, fewer, [train])
    other = with_schema(train, ward={"categories": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"ward \(other categories\)"):
        evaluate(train, holdout, [other])
    ordered = with_schema(train, ward={"categoriesOrdered": True})
    with pytest.raises(DataError, match=r"ward \(categorical, not ordinal\)"):
        evaluate(train, holdout, [ordered])


def test_only_text_is_refused():
    schema = schema_from_dict({"fields": [{"name": "note", "type": "string"}]})
    table = Table(pl.DataFrame({"note": ["a", "b"]}), schema)
    with pytest.raises(DataError, match="no column"):
        real_baselines(table, table)


def test_identifiers_may_be_absent_from_the_synthetic_table(train, holdout):
    def named(table, prefix):
        raw = table.schema.to_dict()
        raw["fields"] = [{"name": "id", "type": "string"}, *raw["fields"]]
        raw["pegai"] = {"unit": "id", "max_rows_per_unit": 2}
        ids = pl.Series("id", [f"{prefix}{i // 2}" for i in range(len(table))])
        return Table(table.frame.clone().insert_column(0, ids), schema_from_dict(raw))

    found = evaluate(named(train, "t"), named(holdout, "h"), [train], tier="quick")
    assert found["exact_copies"].value == 1
    assert found.plots["roc"]["members"] == 130


def test_a_tiny_holdout_is_not_assessed(train, holdout):
    found = evaluate(train, holdout.head(12), [train], tier="quick")
    for name in ("column_shapes", "pair_trends", "detection_auc", "tstr_auc", "membership_auc"):
        assert not found[name].assessed
        assert "not assessed" in found[name].note
    assert found["exact_copies"].assessed
    assert found.plots["roc"] is None
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("rows", [1, 2])
def test_tiny_training_and_synthetic_tables(train, holdout, rows):
    found = evaluate(train.head(rows), holdout, [train.head(rows)], tier="quick")
    json.dumps(found.to_dict(), allow_nan=False)
    assert found["column_shapes"].assessed
    assert not found["membership_auc"].assessed


def test_a_rare_class_has_no_area(train, holdout):
    rare = pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("yes")).otherwise(pl.lit("no"))
    tables = [
        Table(t.frame.with_columns(rare.alias("outcome")), t.schema) for t in (train, holdout)
    ]
    found = evaluate(*tables, tables[:1])
    for name in ("tstr_auc", "tstr_auc_drop"):
        assert not found[name].assessed
        assert "fewer than 5 rows of a class" in found[name].note
    assert found["tstr_accuracy/random_forest"].assessed


def test_no_target_leaves_utility_unassessed(train, holdout):
    bare = [with_schema(t, outcome={"pegai": {"role": "feature"}}) for t in (train, holdout)]
    found = evaluate(*bare, bare[:1], tier="quick")
    assert not found["tstr_auc"].assessed
    assert "no target" in found["tstr_auc"].note
    assert found.plots["tstr"] == []
    assert found["column_shapes"].assessed


def test_a_numeric_target_is_scored_by_r2(train, holdout, patients):
    roles = {"outcome": {"pegai": {"role": "feature"}}, "pressure": {"pegai": {"role": "target"}}}
    tables = [with_schema(t, **roles) for t in (train, holdout, patients(260, 3))]
    found = evaluate(tables[0], tables[1], tables[2:], tier="quick")
    assert found["tstr_r2"].value == pytest.approx(found["tstr_r2"].baseline, abs=0.2)
    assert found["tstr_mae/linear_regression"].better == "lower"
    assert not found["tstr_auc"].assessed
    assert found.plots["confusion"] is None


def test_collapsed_and_empty_columns(train, holdout):
    """One class, all missing, one constant: what failed generators give."""
    frame = train.frame.with_columns(
        pl.lit("yes").alias("outcome"),
        pl.lit(None, dtype=pl.Float64).alias("lab"),
        pl.lit(5.0).alias("pressure"),
        pl.lit("unheard of").alias("ward"),
    )
    found = evaluate(train, holdout, [Table(frame, train.schema)], tier="quick")
    assert found["tstr_auc"].value == 0.5
    assert "one class" in found["tstr_auc"].note
    assert found["detection_auc"].value > 0.95
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_single_column_has_no_pairs(train, holdout):
    tables = [t.select(["age"]) for t in (train, holdout)]
    found = evaluate(*tables, tables[:1], tier="quick")
    assert not found["pair_trends"].assessed
    assert "no pairs" in found["pair_trends"].note
    assert found["column_shapes"].assessed


def test_which_side_holds_a_level_does_not_tell(patients):
    """More levels than have codes of their own, most of them one patient's: no false alarm."""
    rng = np.random.default_rng(0)
    levels = [f"l{i}" for i in range(2_000)]
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "code", "type": "string", "categories": levels},
                {"name": "x", "type": "number"},
            ]
        }
    )
    tables = [
        Table(
            pl.DataFrame(
                {
                    "code": [levels[i] for i in rng.integers(2_000, size=400)],
                    "x": rng.normal(size=400),
                }
            ),
            schema,
        )
        for _ in range(3)
    ]
    found = evaluate(*tables[:2], tables[2:], tier="quick")
    assert found["membership_p"].value > 0.01
    assert found["membership_auc/values"].value == pytest.approx(0.5, abs=0.09)


def named_rows(table, per_patient, prefix):
    ids = pl.Series("id", [f"{prefix}{i // per_patient}" for i in range(len(table))])
    raw = table.schema.to_dict()
    raw["fields"] = [{"name": "id", "type": "string"}, *raw["fields"]]
    raw["pegai"] = {"unit": "id", "max_rows_per_unit": per_patient}
    return Table(table.frame.insert_column(0, ids), schema_from_dict(raw))


def test_patients_count_and_not_rows(patients):
    train, holdout = named_rows(patients(200, 1), 4, "t"), named_rows(patients(160, 2), 4, "h")
    found = evaluate(train.evaluated(), holdout.evaluated(), [patients(200, 3)], tier="quick")
    assert found.rows["train_patients"] == 50
    assert found.rows["holdout_patients"] == found.rows["non_members"] == 40
    assert "the holdout has 40" in found["membership_tpr_supported"].note


def test_a_holdout_that_is_none_is_refused(train, holdout, patients):
    with pytest.raises(DataError, match="is no holdout"):
        evaluate(train, train, [train])
    mixed = Table(pl.concat([holdout.frame, train.frame.head(40)]), train.schema)
    with pytest.raises(DataError, match="40 of 260 holdout rows"):
        evaluate(train, mixed, [train])
    first, second = named_rows(patients(80, 1), 2, "p"), named_rows(patients(60, 2), 2, "p")
    with pytest.raises(DataError, match="30 of 30 holdout patients"):
        evaluate(first, second, [patients(80, 3)])


def test_one_patient_three_hundred_times_and_both_sides_together(train, holdout, patients, real):
    one = Table(pl.concat([train.frame.head(1)] * 200), train.schema)
    both = Table(pl.concat([train.frame, holdout.frame]), train.schema)
    for table in (one, both):
        found = evaluate(train, holdout, [table], cache=real)["copied_rows"]
        assert found.value > 0.5
        assert found.baseline == 0
        assert found.low > 0.4
    fresh = evaluate(train, holdout, [patients(260, 3)], cache=real)["copied_rows"]
    assert fresh.value == 0


def test_copied_texts_are_found_in_fresh_rows(patients):
    def noted(table, texts):
        raw = table.schema.to_dict()
        raw["fields"].append({"name": "note", "type": "string"})
        frame = table.frame.with_columns(pl.Series("note", texts))
        return Table(frame, schema_from_dict(raw))

    train = noted(patients(100, 1), [f"Mr {i} came in" for i in range(100)])
    holdout = noted(patients(80, 2), [f"Mrs {i} went home" for i in range(80)])
    copied = noted(patients(100, 3), [f"Mr {i} came in " for i in range(100)])
    own = noted(patients(100, 3), ["well"] * 100)
    found = evaluate(train, holdout, [copied], tier="quick")["text_copies/note"]
    assert found.value == 1.0
    assert found.low > 0.9
    assert evaluate(train, holdout, [own], tier="quick")["text_copies/note"].value == 0.0
