"""Encoders: round trips, bounds, rare levels, missing values, merging."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.table import Table
from pegai.encode.categorical import CategoricalEncoder, summarize_categorical
from pegai.encode.numeric import (
    MAX_POINTS,
    NumericEncoder,
    NumericSummary,
    summarize_numeric,
)
from pegai.encode.table import TableEncoder, summarize
from pegai.errors import IdentifierError, UsageError
from pegai.schema import Column, Schema, schema_from_dict


def number(**changes: object) -> Column:
    raw = {"name": "x", "type": "number", "constraints": {"minimum": -50, "maximum": 50}}
    return Column.model_validate(raw | changes)


def level(levels: list[str], *, required: bool = False) -> Column:
    return Column.model_validate(
        {
            "name": "c",
            "type": "string",
            "categories": levels,
            "constraints": {"required": required},
        }
    )


values = st.lists(
    st.one_of(st.none(), st.floats(-60, 60, allow_nan=False)), min_size=1, max_size=80
)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(2, 20))
def test_a_number_comes_back_in_its_own_bin(raw: list[float | None], bins: int) -> None:
    numbers = np.array([np.nan if v is None else v for v in raw])
    encoder = NumericEncoder.fit(
        summarize_numeric(np.clip(numbers, -50, 50)), number(), max_bins=bins
    )
    codes = encoder.encode(numbers)
    back = encoder.decode(codes, np.random.default_rng(0))
    assert np.array_equal(np.isnan(back), np.isnan(numbers))
    assert np.array_equal(encoder.encode(back), codes)
    assert codes.min() >= 0
    assert codes.max() < encoder.size
    assert encoder.size <= 2 * bins + 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), min_size=1, max_size=60))
def test_a_level_comes_back_as_itself(raw: list[str | None]) -> None:
    column = level(list("abcdef"))
    texts = pl.Series("c", raw, dtype=pl.String)
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, column), column)
    assert encoder.decode(encoder.encode(texts), np.random.default_rng(0)).to_list() == raw


def test_rare_levels_share_a_code_and_come_back_by_their_shares() -> None:
    column = level(["common", "r1", "r2", "r3"])
    texts = pl.Series("c", ["common"] * 90 + ["r1"] * 6 + ["r2"] * 3 + ["r3"])
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, column), column, min_count=10)
    assert encoder.common == ("common",)
    assert len(set(encoder.encode(texts).tolist())) == 2
    drawn = encoder.decode(np.full(20_000, 1), np.random.default_rng(0))
    share = (drawn == "r1").mean()
    assert share == pytest.approx(0.6, abs=0.02)


def test_one_rare_level_alone_keeps_its_code() -> None:
    column = level(["a", "b"])
    texts = pl.Series("c", ["a"] * 99 + ["b"])
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, column), column, min_count=10)
    assert encoder.rare == ()


def test_unknown_levels_look_like_missing() -> None:
    column = level(["a", "b"])
    texts = pl.Series("c", ["a", "zebra", None])
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, column), column)
    assert encoder.encode(texts).tolist() == [0, 2, 2]
    required = level(["a", "b"], required=True)
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, required), required)
    assert encoder.size == 2
    assert encoder.encode(texts).max() < 2


def test_values_outside_the_bounds_move_to_them() -> None:
    encoder = NumericEncoder.fit(summarize_numeric(np.arange(-50.0, 51)), number(), max_bins=8)
    assert encoder.encode(np.array([1e9, -1e9])).tolist() == [len(encoder.knots) - 1, 0]


def test_a_shared_value_becomes_a_spike_with_its_share() -> None:
    numbers = np.concatenate([np.zeros(400), np.random.default_rng(0).normal(20, 5, 600)])
    encoder = NumericEncoder.fit(summarize_numeric(numbers), number(), max_bins=10)
    codes = encoder.encode(numbers)
    back = encoder.decode(codes, np.random.default_rng(1))
    assert (back == 0).mean() == pytest.approx(0.4, abs=0.01)


def test_values_of_one_patient_are_not_given_back_to_the_digit() -> None:
    numbers = np.sort(np.random.default_rng(0).normal(0, 10, 500))
    encoder = NumericEncoder.fit(summarize_numeric(numbers), number(), max_bins=10)
    back = encoder.decode(encoder.encode(numbers), np.random.default_rng(1))
    assert np.isin(back, numbers).mean() < 0.01


@pytest.mark.parametrize("numbers", [np.full(5, np.nan), np.zeros(0), np.full(7, 3.0)])
def test_empty_missing_and_constant_columns_encode(numbers: np.ndarray) -> None:
    encoder = NumericEncoder.fit(summarize_numeric(numbers), number(), max_bins=10)
    back = encoder.decode(encoder.encode(numbers), np.random.default_rng(0))
    np.testing.assert_array_equal(back, numbers)


def test_merged_sketches_give_nearly_the_quantiles_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(0, 10, 200_000)
    merged = summarize_numeric(whole[:20_000])
    for start in range(20_000, 200_000, 20_000):
        merged = merged.merge(summarize_numeric(whole[start : start + 20_000]))
    assert len(merged.points) <= MAX_POINTS
    assert merged.total == 200_000
    ranks = np.cumsum(merged.weights) / merged.weights.sum()
    for q in (0.01, 0.25, 0.5, 0.75, 0.99):
        found = merged.points[np.searchsorted(ranks, q)]
        assert abs((whole <= found).mean() - q) < 0.003
    assert merged.points[0] == whole.min()
    assert merged.points[-1] == whole.max()


def test_merging_is_summarizing_the_whole_while_exact() -> None:
    numbers = np.array([1.0, 2, 2, np.nan, 5])
    parts = summarize_numeric(numbers[:2]).merge(summarize_numeric(numbers[2:]))
    whole = summarize_numeric(numbers)
    np.testing.assert_array_equal(parts.points, whole.points)
    np.testing.assert_array_equal(parts.weights, whole.weights)
    assert parts.missing == whole.missing == 1


def test_a_noisy_histogram_makes_an_encoder_too() -> None:
    edges = np.linspace(-50, 50, 21)
    counts = np.concatenate([np.zeros(9), [40.0, 60.0], np.zeros(9), [-3.0]])
    encoder = NumericEncoder.fit(NumericSummary.on_grid(edges, counts), number(), max_bins=4)
    back = encoder.decode(np.repeat(np.arange(encoder.size - 1), 500), np.random.default_rng(0))
    assert back.min() >= -5.01
    assert back.max() <= 5.01
    assert encoder.spikes == ((),) * len(encoder.knots)


def mixed() -> tuple[pl.DataFrame, Schema]:
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "n", "type": "integer"},
                {"name": "x", "type": "number", "pegai": {"decimals": 1}},
                {"name": "c", "type": "integer", "categories": [1, 2, 3]},
                {
                    "name": "o",
                    "type": "string",
                    "categories": ["lo", "hi"],
                    "categoriesOrdered": True,
                },
                {"name": "b", "type": "boolean"},
                {"name": "d", "type": "date"},
                {"name": "t", "type": "datetime"},
            ]
        }
    )
    frame = pl.DataFrame(
        {
            "n": [1, 2, None, 40],
            "x": [0.5, None, 2.5, 9.9],
            "c": [1, 3, None, 2],
            "o": ["lo", "hi", "hi", None],
            "b": [True, None, False, True],
            "d": [dt.date(2020, 1, 1), None, dt.date(1960, 2, 29), dt.date(2024, 12, 31)],
            "t": [
                dt.datetime(2020, 1, 1, 5),
                dt.datetime(1970, 1, 1),
                None,
                dt.datetime(2001, 9, 9, 1, 46, 40),
            ],
        },
        schema_overrides={"t": pl.Datetime("us")},
    )
    return frame, schema


def test_every_type_keeps_type_missingness_and_range() -> None:
    frame, schema = mixed()
    table = Table(pl.concat([frame] * 5), schema)
    encoder = TableEncoder.fit(summarize([table]), max_bins=10, min_count=0)
    codes = encoder.encode(table)
    back = encoder.decode(codes, np.random.default_rng(0))
    assert back.frame.schema == table.frame.schema
    assert back.frame.null_count().equals(table.frame.null_count())
    np.testing.assert_array_equal(encoder.encode(back), codes)
    for name in ("c", "o", "b"):
        assert back[name].to_list() == table[name].to_list()
    assert back["x"].round(1).equals(back["x"])
    again = TableEncoder.from_dict(encoder.to_dict(), schema)
    assert again.decode(codes, np.random.default_rng(0)).frame.equals(back.frame)


def test_chunks_give_the_same_encoder_as_the_whole() -> None:
    frame, schema = mixed()
    table = Table(pl.concat([frame] * 5), schema)
    whole = TableEncoder.fit(summarize([table]), max_bins=6, min_count=0)
    chunks = [table.head(7), Table(table.frame.slice(7), schema)]
    parts = TableEncoder.fit(summarize(chunks), max_bins=6, min_count=0)
    assert parts.to_dict() == whole.to_dict()


def test_free_text_is_refused_and_nothing_is_no_table() -> None:
    schema = schema_from_dict({"fields": [{"name": "note", "type": "string"}]})
    table = Table(pl.DataFrame({"note": ["seen by Dr A"]}), schema)
    with pytest.raises(IdentifierError, match="'note' is free text") as caught:
        summarize([table])
    assert "Dr A" not in str(caught.value)
    with pytest.raises(UsageError, match="no table"):
        summarize([])


def test_ten_thousand_levels_stay_small() -> None:
    column = level([f"code{i}" for i in range(10_000)])
    rng = np.random.default_rng(0)
    codes = np.minimum(rng.geometric(0.01, 100_000), 9_999)
    texts = pl.Series("c", [f"code{i}" for i in codes])
    encoder = CategoricalEncoder.fit(summarize_categorical(texts, column), column, min_count=50)
    assert encoder.size < 500
    back = encoder.decode(encoder.encode(texts), rng)
    assert back.null_count() == 0


def test_a_noisy_cell_is_filled_evenly_and_never_cut() -> None:
    """Rows of a public cell lie anywhere in it: half of them on its lower end would be told."""
    edges = np.array([-0.5, 9.5, 19.5, 29.5, 39.5, 49.5])
    counts = np.array([0.0, 100.0, 300.0, 100.0, 0.0, 0.0])
    column = Column.model_validate(
        {"name": "x", "type": "number", "constraints": {"minimum": 0, "maximum": 49}}
    )
    encoder = NumericEncoder.fit(NumericSummary.on_grid(edges, counts), column, max_bins=10)
    assert set(np.round(encoder.edges, 6)) <= set(edges)
    code = int(encoder.encode(np.array([20.0]))[0])
    back = encoder.decode(np.full(4000, code), np.random.default_rng(0))
    assert np.quantile(back, [0.1, 0.25, 0.5, 0.75, 0.9]) == pytest.approx(
        [20.5, 22, 24.5, 27, 28.5], abs=0.4
    )


def test_a_shared_value_is_not_spread_over_its_cell_again() -> None:
    edges = np.array([-0.5, 9.5, 19.5])
    spikes = ((5.0, 80.0),)
    summary = NumericSummary.on_grid(edges, np.array([80.0, 100.0, 0.0]), spikes)
    column = Column.model_validate(
        {"name": "x", "type": "number", "constraints": {"minimum": 0, "maximum": 19}}
    )
    encoder = NumericEncoder.fit(summary, column, max_bins=1)
    back = encoder.decode(np.zeros(4000, int), np.random.default_rng(0))
    assert np.mean(back == 5.0) == pytest.approx(80 / 180, abs=0.03)
    assert np.mean((back < 9.5) & (back != 5.0)) < 0.02


def test_smoothed_bins_follow_the_density_and_keep_their_shares() -> None:
    column = number()
    encoder = NumericEncoder.of_cells(np.linspace(-50, 50, 6), column)
    shares = np.array([0.05, 0.2, 0.5, 0.2, 0.05, 0.0])
    smooth = encoder.smoothed(shares)
    rng = np.random.default_rng(0)
    second = smooth.decode(np.full(4000, 1), rng)
    assert np.array_equal(smooth.encode(second), np.full(4000, 1))
    assert np.mean(second > -20) > 0.6  # towards the peak
    middle = smooth.decode(np.full(4000, 2), rng)
    assert abs(middle.mean()) < 0.3  # symmetric
    for nothing in (np.zeros(6), np.full(6, np.nan) * 0):
        assert np.array_equal(encoder.smoothed(nothing).knots, encoder.knots)


def test_smoothing_leaves_bins_alone_whose_inside_is_known() -> None:
    values = np.random.default_rng(0).gamma(2, 5, 5000)
    encoder = NumericEncoder.fit(summarize_numeric(values), number(), max_bins=8)
    shares = np.full(encoder.size, 1 / encoder.size)
    assert np.array_equal(encoder.smoothed(shares).knots, encoder.knots)


@pytest.mark.parametrize(("most", "own"), [(2, ["b", "c"]), (3, ["a", "b", "c"]), (None, None)])
def test_only_the_most_common_levels_have_codes_of_their_own(
    most: int | None, own: list[str] | None
) -> None:
    """Ties go by the order of the schema; the others share a code and keep their shares."""
    texts = pl.Series(["a"] * 3 + ["b"] * 9 + ["c"] * 5 + ["d"] * 3 + ["e"])
    column = level(["a", "b", "c", "d", "e"], required=True)
    summary = summarize_categorical(texts, column)
    encoder = CategoricalEncoder.fit(summary, column, max_levels=most)
    codes = encoder.encode(pl.Series(["a", "b", "c", "d", "e"]))
    alone = [t for t, c in zip("abcde", codes, strict=True) if (codes == c).sum() == 1]
    assert alone == (own or ["a", "b", "c", "d", "e"])
    drawn = encoder.decode(np.repeat(codes, 2000), np.random.default_rng(0))
    assert set(drawn) == {"a", "b", "c", "d", "e"}
