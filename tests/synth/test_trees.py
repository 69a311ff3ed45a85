"""Sequential trees: dependence and missingness are learned, nobody's values come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.datasets import load_heart_disease
from pegai.data.splits import split
from pegai.data.table import DTYPES, Table
from pegai.encode.categorical import CategoricalEncoder
from pegai.errors import PrivacyError, UsageError
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.fidelity.detection import detection
from pegai.privacy.guarantee import Privacy
from pegai.schema import schema_from_dict
from pegai.streams import Streams
from pegai.synth.catalog import load, make
from pegai.synth.running import Run
from pegai.synth.trees import Trees, TreesConfig

QUICK = TreesConfig(trees=2)


def table_of(columns: dict[str, Any], fields: dict[str, dict[str, Any]], **more: Any) -> Table:
    schema = schema_from_dict(
        {"fields": [{"name": name, **field} for name, field in fields.items()], "pegai": more}
    )
    frame = pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))
    return Table(frame.cast({c.name: DTYPES[c.type] for c in schema.columns}), schema)


def clinic(n: int = 3000, seed: int = 0) -> Table:
    """HbA1c is known of diabetics, and high; the insulin dose is known where HbA1c is."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(60, 15, n), 18, 100).round()
    diabetic = rng.random(n) < 1 / (1 + np.exp(-(age - 65) / 8))
    hba1c = np.where(diabetic, rng.normal(8, 1, n), rng.normal(5.4, 0.4, n))
    hba1c[rng.random(n) < np.where(diabetic, 0.05, 0.7)] = np.nan
    insulin = np.where(np.isnan(hba1c), np.nan, 10 + 4 * (hba1c - 5) + rng.normal(0, 2, n))
    columns = {"age": age, "diabetes": diabetic.astype(int), "hba1c": hba1c, "insulin": insulin}
    fields: dict[str, dict[str, Any]] = {
        "age": {"type": "integer", "constraints": {"required": True}},
        "diabetes": {"type": "integer", "categories": [0, 1], "constraints": {"required": True}},
        "hba1c": {"type": "number"},
        "insulin": {"type": "number"},
    }
    return table_of(columns, fields)


def detected(synthetic: Table, holdout: Table) -> float:
    features = fit_features(holdout)
    return detection(encode(features, holdout), encode(features, synthetic), Streams(0)).auc


def test_dependence_is_learned_where_independent_columns_fail() -> None:
    parts = split(load_heart_disease(), holdout=0.4, rng=Streams(100).get("split"))
    holdout = parts.holdout.modelled()
    found = {
        name: detected(make(name).fit(parts.train, rng=0).sample(len(holdout), rng=1), holdout)
        for name in ("independent", "trees")
    }
    assert found["independent"] > 0.75
    assert found["trees"] < 0.65


def test_what_is_missing_together_and_of_whom_comes_back() -> None:
    model = Trees(QUICK).fit(clinic(), rng=0)
    made, real = model.sample(6000, rng=1).frame, clinic(6000, seed=1).frame
    for diabetes in (0, 1):
        shares = [
            f.filter(pl.col("diabetes") == diabetes)["hba1c"].is_null().mean() for f in (made, real)
        ]
        assert shares[0] == pytest.approx(shares[1], abs=0.04)
    both = [(f["hba1c"].is_null() & f["insulin"].is_null()).mean() for f in (made, real)]
    assert both[0] == pytest.approx(both[1], abs=0.02)
    apart = made["hba1c"].is_null() != made["insulin"].is_null()
    assert apart.sum() < 0.01 * len(made)
    known = made.drop_nulls().select("hba1c", "insulin").to_numpy()
    assert np.corrcoef(known.T)[0, 1] > 0.8


def test_no_value_that_one_patient_has_is_given_back_beyond_chance() -> None:
    table, fresh = clinic(2000), clinic(2000, seed=5)
    made = Trees(QUICK).fit(table, rng=0).sample(20_000, rng=1)
    for name in ("hba1c", "insulin"):
        own = set(made[name].drop_nulls())
        assert not own & set(table[name].drop_nulls())
        # Nor to three decimals, more often than the values of other patients.
        near = {round(v, 3) for v in own}
        hits = [
            np.mean([round(v, 3) in near for v in t[name].drop_nulls()]) for t in (table, fresh)
        ]
        assert hits[0] == pytest.approx(hits[1], abs=0.05)


def test_extremes_and_values_of_few_are_hidden() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(100, 10, 500).round(1), [377.7], np.full(4, 123.456)])
    table = table_of({"x": values}, {"x": {"type": "number"}})
    made = Trees().fit(table, rng=0).sample(100_000, rng=1)["x"].drop_nulls()
    assert not made.is_in([377.7, 123.456]).any()
    assert made.max() < 377  # pyright: ignore[reportOperatorIssue]


def test_a_rare_level_comes_out_as_often_as_one_that_nobody_has() -> None:
    levels = ["a", "b", *(f"rare{i}" for i in range(20))]
    columns = {"x": ["a"] * 300 + ["b"] * 200 + ["rare0"] * 4 + ["rare1"] * 4}
    table = table_of(columns, {"x": {"type": "string", "categories": levels}})
    made = Trees().fit(table, rng=0).sample(200_000, rng=1)["x"]
    counts = dict(made.value_counts().iter_rows())
    rare = np.array([counts[f"rare{i}"] for i in range(20)])
    assert rare.sum() / len(made) == pytest.approx(8 / 508, rel=0.1)
    assert rare.max() < 1.5 * rare.min()


def test_a_frequent_level_joins_a_rare_one_that_is_too_few_by_itself() -> None:
    columns = {"x": ["a"] * 300 + ["b"] * 40 + ["c"] * 2}
    table = table_of(columns, {"x": {"type": "string", "categories": ["a", "b", "c", "d"]}})
    model = Trees().fit(table, rng=0)
    encoder = model.encoder.columns[0]
    assert isinstance(encoder, CategoricalEncoder)
    assert set(encoder.rare) == {"b", "c", "d"}
    counts = dict(model.sample(100_000, rng=1)["x"].value_counts().iter_rows())
    assert counts["b"] / 100_000 == pytest.approx(40 / 342, rel=0.1)
    # What two patients have and what nobody has come out alike.
    assert counts["c"] + counts["d"] == pytest.approx(100_000 * 2 / 342, rel=0.15)
    assert counts["c"] == pytest.approx(counts["d"], rel=0.3)


def test_conditions_give_what_filtering_gives() -> None:
    model = Trees(QUICK).fit(clinic(), rng=0)
    rows = model.sample(200_000, rng=1).frame
    for given, chosen in (
        ({"diabetes": 1}, pl.col("diabetes") == 1),
        ({"hba1c": None}, pl.col("hba1c").is_null()),
        ({"insulin": None, "diabetes": 1}, pl.col("insulin").is_null() & (pl.col("diabetes") == 1)),
    ):
        filtered, made = rows.filter(chosen), model.sample(20_000, given=given, rng=2).frame
        assert made["age"].mean() == pytest.approx(filtered["age"].mean(), abs=0.8)
        assert made["age"].std() == pytest.approx(filtered["age"].std(), abs=0.8)
        assert made["diabetes"].mean() == pytest.approx(filtered["diabetes"].mean(), abs=0.02)
        nulls = [f["hba1c"].is_null().mean() for f in (made, filtered)]
        assert nulls[0] == pytest.approx(nulls[1], abs=0.03)


def test_a_column_of_ten_thousand_levels_keeps_what_it_tells(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    code = np.minimum(rng.zipf(1.2, 20_000) - 1, 9_999)
    columns = {"code": [f"c{i}" for i in code], "x": (code % 2) * 3 + rng.normal(size=len(code))}
    levels = [f"c{i}" for i in range(10_000)]
    fields = {"code": {"type": "string", "categories": levels}, "x": {"type": "number"}}
    model = Trees(QUICK).fit(table_of(columns, fields), rng=0)
    made = model.sample(20_000, rng=1)
    first = made.frame.filter(pl.col("code") == "c0")
    assert len(first) / 20_000 == pytest.approx((code == 0).mean(), abs=0.02)
    assert first["x"].mean() == pytest.approx(0.0, abs=0.2)
    second = made.frame.filter(pl.col("code") == "c1")
    assert second["x"].mean() == pytest.approx(3.0, abs=0.3)
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").sample(500, rng=2).frame.equals(model.sample(500, rng=2).frame)
    assert set(model.sample(20, given={"code": "c17"}, rng=1)["code"]) == {"c17"}


def test_constant_and_empty_columns_stay_so() -> None:
    columns = {"x": [None] * 60, "y": [7.0] * 60, "z": ["a", "b"] * 30}
    fields = {
        "x": {"type": "number"},
        "y": {"type": "number"},
        "z": {"type": "string", "categories": ["a", "b"]},
    }
    made = Trees(QUICK).fit(table_of(columns, fields), rng=0).sample(2000, rng=1)
    assert made["x"].null_count() == 2000
    assert set(made["y"]) == {7.0}
    assert made["z"].null_count() == 0


def test_leaves_count_patients_and_not_their_rows() -> None:
    """Ten patients of a hundred rows each: no leaf may hold fewer than all ten."""
    columns = {
        "id": [f"p{i // 100}" for i in range(1000)],
        "x": np.repeat(np.arange(10.0), 100),
        "y": np.repeat(np.arange(10) % 2, 100),
    }
    fields: dict[str, dict[str, Any]] = {
        "id": {"type": "string", "pegai": {"role": "identifier"}},
        "x": {"type": "number"},
        "y": {"type": "integer", "categories": [0, 1]},
    }
    grouped = table_of(columns, fields, unit="id", max_rows_per_unit=100)
    made = Trees().fit(grouped, rng=0).sample(2000, rng=1)
    # Each value of x is one patient's: none is drawn exactly, and y is not tied to x.
    assert not made["x"].is_in([float(i) for i in range(1, 9)]).any()
    alone = Trees().fit(
        table_of({k: columns[k] for k in "xy"}, {k: fields[k] for k in "xy"}), rng=0
    )
    assert alone.sample(2000, rng=1)["x"].is_in([float(i) for i in range(10)]).sum() > 1800


def test_progress_and_held_out_likelihoods_are_told() -> None:
    told: list[tuple[str, float]] = []
    lines: list[Any] = []
    run = Run(progress=lambda s, share: told.append((s, share)), log=lines.append)
    Trees(QUICK).fit(clinic(300), rng=0, run=run)
    assert told[-1] == ("growing trees", 1.0)
    assert {line["column"] for line in lines} == {"age", "diabetes", "hba1c", "insulin"}
    assert all(line["held_out_log_likelihood"] < 0 for line in lines)


def test_a_budget_is_refused_before_anything_is_charged(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="no private form"):
        Trees().fit(clinic(50), privacy=Privacy(1.0, 1e-5, ledger=tmp_path / "ledger.jsonl"))
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize(
    "settings", [{"max_bins": 1}, {"max_bins": 255}, {"min_leaf": 0}, {"shrinkages": ()}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TreesConfig(**settings)


def test_a_patient_of_many_values_fills_no_bin_alone() -> None:
    """Thirty visits of one patient weigh as one, whatever was measured in them."""
    rng = np.random.default_rng(0)
    ids = [f"P{i:02d}" for i in range(60) for _ in range(5)] + ["ODD"] * 30
    weight = np.concatenate([rng.normal(75, 10, 300).round(1), 211.3 + 0.1 * np.arange(30)])
    fields = [
        {"name": "id", "type": "string", "pegai": {"role": "identifier"}},
        {"name": "weight", "type": "number", "pegai": {"decimals": 1}},
        {"name": "group", "type": "string", "categories": ["a", "b", "rare"]},
    ]
    schema = schema_from_dict({"fields": fields, "pegai": {"unit": "id", "max_rows_per_unit": 50}})
    groups = ["rare", *rng.choice(["a", "b"], 329)]
    frame = pl.DataFrame({"id": ids, "weight": weight, "group": groups})
    model = make("trees").fit(Table(frame, schema), rng=0)
    own = model.encoder.columns[0]  # pyright: ignore
    held = np.isin(own.encode(weight), own.encode(weight[300:]))
    assert len(set(np.array(ids)[held])) >= 5
    drawn = model.sample(5000, rng=1)
    among = np.isin(drawn["weight"].to_numpy(), weight[300:].round(1))
    assert among.mean() < 0.02
    assert "rare" not in model.encoder.columns[1].common  # pyright: ignore
