"""Splitting by patient: nobody on both sides, strata kept, the same seed the same split."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data import Table, split, split_independently
from pegai.data.datasets import load_heart_disease
from pegai.errors import DataError, UsageError
from pegai.schema import Schema, schema_from_dict

SCHEMA = Schema.model_validate(
    {
        "fields": [
            {"name": "pid", "type": "string", "pegai": {"role": "identifier"}},
            {"name": "y", "type": "integer", "categories": [0, 1], "pegai": {"role": "target"}},
            {"name": "site", "type": "string", "pegai": {"role": "site"}},
            {"name": "row", "type": "integer"},
        ],
        "pegai": {"unit": "pid", "max_rows_per_unit": 9},
    }
)


def table(pid, y=None, site=None, schema=SCHEMA):
    n = len(pid)
    frame = pl.DataFrame(
        {"pid": pid, "y": y or [0] * n, "site": site or ["a"] * n, "row": list(range(n))},
        schema={"pid": pl.String, "y": pl.Int64, "site": pl.String, "row": pl.Int64},
    )
    return Table(frame, schema)


def cohort(seed=0, patients=400):
    rng = np.random.default_rng(seed)
    pid, y, site = [], [], []
    for i in range(patients):
        label, place = int(rng.random() < 0.2), str(rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1]))
        for _ in range(int(rng.integers(1, 5))):
            pid.append(f"p{i}")
            y.append(label)
            site.append(place)
    return table(pid, y, site)


def rng(seed=1):
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*"abcdefg", None]),
            st.sampled_from([0, 1, None]),
            st.sampled_from(["x", "y", None]),
        ),
        min_size=2,
        max_size=40,
    ),
    st.floats(0.01, 0.99),
    st.booleans(),
)
def test_no_patient_on_both_sides_and_no_row_lost(rows, holdout, stratify):
    pid, y, site = (list(column) for column in zip(*rows, strict=True))
    whole = table(pid, y, site)
    patients = whole.unit_codes().max() + 1
    if patients < 2:
        with pytest.raises(DataError, match="two patients"):
            split(whole, holdout=holdout, rng=rng())
        return
    parts = split(whole, holdout=holdout, rng=rng(), stratify=stratify)
    sides = [set(part["pid"].drop_nulls().to_list()) for part in (parts.train, parts.holdout)]
    assert not sides[0] & sides[1]
    for part in (parts.train, parts.holdout):
        assert len(part) > 0
        assert part["row"].is_sorted()
    merged = sorted(parts.train["row"].to_list() + parts.holdout["row"].to_list())
    assert merged == list(range(len(rows)))
    held = parts.holdout.unit_codes().max() + 1
    assert held == min(max(round(patients * holdout), 1), patients - 1)


def test_same_generator_same_split():
    whole = cohort()
    first, second = (split(whole, rng=rng(5)).holdout["row"].to_list() for _ in range(2))
    assert first == second
    assert first != split(whole, rng=rng(6)).holdout["row"].to_list()


def patients_by(part, *names):
    return dict(part.frame.unique("pid").group_by(*names).len().iter_rows())


def test_the_target_keeps_its_share_to_within_one_patient():
    whole = cohort()
    for seed in range(20):
        held = patients_by(split(whole, holdout=0.3, rng=rng(seed)).holdout, "y")
        for level, count in patients_by(whole, "y").items():
            assert abs(held[level] - 0.3 * count) <= 1


def test_sites_keep_their_shares_within_each_class():
    whole = cohort()
    held = split(whole, holdout=0.3, rng=rng()).holdout.frame.unique("pid")
    for (y, site), part in whole.frame.unique("pid").group_by("y", "site"):
        count = held.filter(pl.col("y") == y, pl.col("site") == site).height
        assert abs(count - 0.3 * part.height) <= 1


def test_without_strata_the_target_may_drift():
    # Power of the two tests above: a plain draw breaks their bound for some of these seeds.
    whole = cohort()
    count = patients_by(whole, "y")[1]
    drift = [
        abs(patients_by(split(whole, rng=rng(s), stratify=False).holdout, "y")[1] - 0.3 * count)
        for s in range(20)
    ]
    assert max(drift) > 1


def test_every_patient_has_the_same_chance():
    # 500 draws of 3 of 10: a patient's count is Binomial(500, .3), sd 10.2. A right sampler
    # passes 5 sd in all ten with probability above 1 - 1e-5. One that never starts its steps at
    # random, or ties the start to the shares, takes some patients always and others never.
    whole = table([f"p{i}" for i in range(10)], [0] * 8 + [1] * 2, list("aaabbbccca"))
    counts = np.zeros(10)
    generator = rng(3)
    for _ in range(500):
        counts[split(whole, holdout=0.3, rng=generator).holdout["row"].to_numpy()] += 1
    assert counts.sum() == 1500
    assert np.abs(counts - 150).max() < 5 * np.sqrt(500 * 0.3 * 0.7)


def test_a_patient_counts_by_the_most_frequent_value():
    # Patients p0..p9 are 1 in two of three rows; the rest are 0 in two of three.
    pid = [f"p{i}" for i in range(20) for _ in range(3)]
    y = [v for i in range(20) for v in ([1, 0, 1] if i < 10 else [0, 1, 0])]
    held = split(table(pid, y), holdout=0.5, rng=rng()).holdout
    positive = {p for p in held["pid"].to_list() if int(p[1:]) < 10}
    assert len(positive) == 5


def test_continuous_targets_are_split_by_quartiles():
    schema = Schema.model_validate(
        {"fields": [{"name": "los", "type": "number", "pegai": {"role": "target"}}]}
    )
    values = np.random.default_rng(0).exponential(5, 400)
    values[:20] = np.nan
    whole = Table(pl.DataFrame({"los": values}).fill_nan(None), schema)
    held = split(whole, holdout=0.25, rng=rng()).holdout
    edges = np.nanquantile(values, [0.25, 0.5, 0.75])
    present = held["los"].drop_nulls().to_numpy()
    counts = np.bincount(np.searchsorted(edges, present), minlength=4)
    assert np.abs(counts - 380 / 4 * 0.25).max() <= 1
    assert held["los"].null_count() == 5


@pytest.mark.parametrize("target", [[None] * 6, [1] * 6])
def test_constant_or_missing_target(target):
    assert len(split(table(list("abcdef"), target), rng=rng()).holdout) == 2


def test_one_row_a_patient_without_unit():
    schema = Schema.model_validate({"fields": [{"name": "x", "type": "integer"}]})
    whole = Table(pl.DataFrame({"x": list(range(10))}), schema)
    parts = split(whole, holdout=0.3, rng=rng())
    assert (len(parts.train), len(parts.holdout)) == (7, 3)


@pytest.mark.parametrize("holdout", [0, 1, -0.1, 1.5, float("nan")])
def test_holdout_out_of_range(holdout):
    with pytest.raises(UsageError, match="above 0 and below 1"):
        split(cohort(), holdout=holdout, rng=rng())


@pytest.mark.parametrize("pid", [[], ["a"], ["a", "a", "a"]])
def test_too_few_patients(pid):
    with pytest.raises(DataError, match="at least two patients"):
        split(table(pid), rng=rng())


def test_an_independent_split_moves_nobody_when_a_patient_joins() -> None:
    source = load_heart_disease()
    before = split_independently(source, seed=3)
    rows = np.arange(len(source))
    fewer = split_independently(source.take(rows != 400), seed=3)
    for whole, less in ((before.train, fewer.train), (before.holdout, fewer.holdout)):
        gone = whole.frame.join(less.frame, on=whole.frame.columns, how="anti", nulls_equal=True)
        assert gone.height <= 1
        new = less.frame.join(whole.frame, on=whole.frame.columns, how="anti", nulls_equal=True)
        assert new.height == 0
    assert len(before.train) + len(before.holdout) == 920
    assert len(fewer.train) + len(fewer.holdout) == 919


def test_an_independent_split_has_its_share_and_depends_on_the_seed() -> None:
    """920 coins of 0.3: deviation 14, so 200 to 350 but with chance 1e-7."""
    source = load_heart_disease()
    sizes = {seed: len(split_independently(source, seed=seed).holdout) for seed in range(5)}
    assert all(200 < size < 350 for size in sizes.values())
    assert len(set(sizes.values())) > 1
    again = split_independently(source, seed=1).train.frame
    assert again.equals(split_independently(source, seed=1).train.frame)


def test_an_independent_split_keeps_a_patient_together() -> None:
    raw = {"fields": [{"name": "id", "type": "string"}, {"name": "v", "type": "integer"}]}
    schema = schema_from_dict({**raw, "pegai": {"unit": "id", "max_rows_per_unit": 9}})
    frame = pl.DataFrame({"id": [f"p{i % 50}" for i in range(400)], "v": list(range(400))})
    parts = split_independently(Table(frame, schema), seed=0)
    assert not set(parts.train["id"]) & set(parts.holdout["id"])


def test_an_independent_split_of_one_patient_is_refused() -> None:
    with pytest.raises(DataError, match="one side"):
        split_independently(load_heart_disease().head(1), seed=0)
    with pytest.raises(UsageError, match="above 0"):
        split_independently(load_heart_disease(), holdout=0.0, seed=0)


def test_equal_rows_have_coins_of_their_own() -> None:
    """1000 equal rows: a shared coin would put all on one side."""
    schema = schema_from_dict({"fields": [{"name": "v", "type": "integer"}]})
    equal = Table(pl.DataFrame({"v": [7] * 1000}), schema)
    held = len(split_independently(equal, seed=0).holdout)
    assert 220 < held < 380
    fewer = len(split_independently(equal.head(999), seed=0).holdout)
    assert held - fewer in (0, 1)
