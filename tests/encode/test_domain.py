"""Bounds and categories under privacy: grids, cells, weights, and what a text names."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pegai.data.conform import conform
from pegai.encode.bounds import FALSE_ALARM, BoundsGrid, threshold_deviations
from pegai.encode.domain import (
    KEY_SHARE,
    MAX_CHARACTERS,
    WHOLE,
    _texts,
    _weighted,
    open_columns,
    plan_domain,
    without_private,
)
from pegai.privacy import GaussianEvent, KeySelectionEvent, Privacy
from pegai.schema import schema_from_dict


def schema(*fields, **pegai):
    return schema_from_dict({"fields": list(fields), "pegai": pegai})


def column(kind, **more):
    return schema({"name": "x", "type": kind, **more}).columns[0]


def exact_bounds(grid, numbers):
    """The bounds where there is hardly any noise."""
    wide, narrow = grid.tables(np.asarray(numbers, float), np.full(len(numbers), 100))
    return grid.bounds(wide, narrow, 0.01)


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("decimals", [None, 0, 1, 4, 15])
def test_bounds_of_numbers_hold_every_value_and_are_not_wide(decimals):
    grid = BoundsGrid.of(column("number", pegai={"decimals": decimals}))
    rng = np.random.default_rng(0)
    for low, high in ((0.0, 1.0), (35.1, 41.9), (-3.0, 12.5), (-900.0, -300.0), (0.0, 0.0)):
        numbers = rng.uniform(low, high, 500).round(decimals if decimals is not None else 9)
        found = exact_bounds(grid, numbers)
        assert found is not None
        assert found[0] <= numbers.min() <= numbers.max() <= found[1]
        # A narrow cell is at most an eighth of the number, and a step where that is less.
        slack = 2 * 10.0 ** -(6 if decimals is None else decimals)
        assert found[0] >= numbers.min() - abs(numbers.min()) / 4 - slack
        assert found[1] <= numbers.max() + abs(numbers.max()) / 4 + slack
        if low >= 0:
            assert found[0] >= 0
        if decimals is not None:
            assert all(round(bound, decimals) == bound for bound in found)


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ([0], (0, 0)),
        ([0, 1], (0, 1)),
        ([1, 2, 3], (1, 3)),
        ([-1, 0], (-1, 0)),
        ([-7, -2], (-7, -2)),
        ([28, 77], (28, 79)),
        ([5], (5, 5)),
        ([10**15], (2**40 - 2**39 // 8, 2**40 - 1)),
    ],
)
def test_bounds_of_integers_are_the_last_integers_of_their_cells(values, bounds):
    assert exact_bounds(BoundsGrid.of(column("integer")), values) == bounds


def test_bounds_of_dates_are_years():
    days = [(dt.date(y, 5, 3) - dt.date(1970, 1, 1)).days for y in (2020, 2024)]
    assert exact_bounds(BoundsGrid.of(column("date")), days) == ("2020-01-01", "2024-12-31")
    seconds = [day * 86_400.0 for day in days]
    found = exact_bounds(BoundsGrid.of(column("datetime")), seconds)
    assert found == ("2020-01-01T00:00:00", "2024-12-31T23:59:59")
    far = exact_bounds(BoundsGrid.of(column("date")), [-(10**7), 10**7])
    assert far == ("1800-01-01", "2199-12-31")


def test_no_cell_that_stands_out_gives_no_bounds():
    grid = BoundsGrid.of(column("integer"))
    wide, narrow = grid.tables(np.array([np.nan, np.inf, -np.inf]), np.full(3, WHOLE))
    assert not wide.any()
    assert not narrow.any()
    assert grid.bounds(wide, narrow, 1.0) is None


def test_bounds_never_cross_whatever_the_noise():
    rng = np.random.default_rng(3)
    for kind in ("integer", "number", "date", "datetime"):
        grid = BoundsGrid.of(column(kind))
        for _ in range(300):
            wide = rng.normal(0, 1, grid.size)
            wide[rng.integers(grid.size, size=rng.integers(1, 3))] += 50
            found = grid.bounds(wide, rng.normal(0, 1, grid.size * grid.parts), 1.0)
            assert found is not None
            assert grid.column.as_number(found[0]) <= grid.column.as_number(found[1])


def test_noise_alone_is_taken_for_patients_as_rarely_as_was_said():
    """20,000 histograms without patients; a false alarm of this test has chance 1e-5."""
    rng = np.random.default_rng(11)
    grid = BoundsGrid.of(column("number"))
    noise = rng.normal(0, 7.0, (20_000, grid.size))
    alarms = int((noise > 7.0 * threshold_deviations(grid.size)).any(axis=1).sum())
    assert stats.binomtest(alarms, 20_000, FALSE_ALARM).pvalue > 1e-5
    weak = int((noise > 7.0 * threshold_deviations(grid.size) * 2 / 3).any(axis=1).sum())
    assert stats.binomtest(weak, 20_000, FALSE_ALARM).pvalue < 1e-5


# ---------------------------------------------------------------- weights and texts


def weights_of(units, most):
    declared = schema(
        {"name": "id", "type": "string", "pegai": {"role": "identifier"}},
        {"name": "x", "type": "integer"},
        unit="id",
        max_rows_per_unit=most,
    )
    frame = pl.DataFrame({"id": units, "x": range(len(units))}, schema_overrides={"id": pl.String})
    return _weighted(conform(frame, declared, cell_by_cell=True))


def test_no_patient_weighs_more_than_the_whole_nor_on_more_rows_than_declared():
    units = ["a"] * 10 + ["b"] * 3 + [None] * 5 + ["c"] + ["a"] * 10
    weights, table = weights_of(units, 4)
    ids = table["id"].to_list()
    assert None not in ids
    for unit, rows in (("a", 4), ("b", 3), ("c", 1)):
        own = weights[[i == unit for i in ids]]
        assert np.count_nonzero(own) == rows
        assert set(own[own > 0]) == {WHOLE // rows}
        assert (own[:rows] > 0).all()
    assert len(weights_of([], 4)[0]) == 0
    assert len(weights_of([None], 4)[0]) == 0


def test_a_patient_more_moves_no_other_weight():
    units = ["b", "a", "b", "c", "b"]
    before, _ = weights_of(units, 2)
    after, table = weights_of(["aa", *units, "aa", "aa"], 2)
    kept = after[[i != "aa" for i in table["id"].to_list()]]
    assert kept.tolist() == before.tolist()


def test_texts_name_what_a_schema_with_that_category_reads():
    declared = schema({"name": "x", "type": "string", "missingValues": ["NA", "-9"]})
    cells = [" SR", "SR", "1.0", "1", "", "  ", None, " NA ", "-9.0", "a\0b", "x" * 201, "true"]
    table = conform(pl.DataFrame({"x": cells}), without_private(declared), cell_by_cell=True)
    read = _texts(table, declared.columns[0]).to_list()
    wanted = ["SR", "SR", "1", "1", None, None, None, None, None, "a\0b", None, "true"]
    assert read == wanted
    assert MAX_CHARACTERS == 200
    levels = sorted({level for level in wanted if level is not None})
    listed = schema(
        {"name": "x", "type": "string", "missingValues": ["NA", "-9"], "categories": levels}
    )
    again = conform(pl.DataFrame({"x": cells}), listed, cell_by_cell=True)["x"]
    assert [text if text in levels else None for text in again.to_list()] == wanted


def test_a_cell_reads_the_same_whatever_the_draft_listed():
    for draft in (
        {"name": "x", "type": "string", "categories": [" SR", "1.0"]},
        {"name": "x", "type": "string", "categories": ["SR", "1"]},
        {"name": "x", "type": "string"},
    ):
        declared = schema(draft)
        frame = pl.DataFrame({"x": [" SR", "1.0"]})
        table = conform(frame, without_private(declared), cell_by_cell=True)
        assert _texts(table, declared.columns[0]).to_list() == ["SR", "1"]


# ---------------------------------------------------------------- what is open, and its plan

MIXED = schema(
    {"name": "id", "type": "integer", "constraints": {"minimum": 3, "maximum": 99},
     "pegai": {"role": "identifier"}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 110},
     "pegai": {"source": "expert"}},
    {"name": "dose", "type": "number", "constraints": {"minimum": 0},
     "pegai": {"source": "expert"}},
    {"name": "crp", "type": "number", "constraints": {"minimum": 1.25, "maximum": 77.5}},
    {"name": "sex", "type": "string", "categories": ["f", "m"], "pegai": {"source": "standard"}},
    {"name": "ward", "type": "string", "categories": ["secret"]},
    {"name": "note", "type": "string"},
    {"name": "smoker", "type": "boolean"},
    dataset="d",
)  # fmt: skip


def test_only_what_is_private_or_missing_is_open():
    assert [c.name for c in open_columns(MIXED)] == ["dose", "crp", "ward", "note"]


def test_nothing_private_of_a_draft_is_left():
    clean = without_private(MIXED)
    assert clean["age"] == MIXED["age"]
    assert clean["sex"] == MIXED["sex"]
    assert clean["dose"] == MIXED["dose"]
    text = str(clean.to_dict())
    for secret in ("secret", "1.25", "77.5", "99"):
        assert secret not in text
    assert clean["smoker"].is_public


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_plan_spends_what_was_asked_with_equal_noise(epsilon):
    privacy = Privacy(epsilon, 1e-4)
    plan = plan_domain(MIXED, privacy)
    assert plan is not None
    bounds, categories = plan["bounds"], plan["categories"]
    assert isinstance(bounds, GaussianEvent)
    assert isinstance(categories, KeySelectionEvent)
    assert 0.999 * epsilon <= plan.epsilon <= epsilon
    assert categories.count * categories.delta == pytest.approx(KEY_SHARE * 1e-4)
    # Two histograms each of two columns, released together.
    assert bounds.noise_multiplier * 4**0.5 == pytest.approx(categories.noise_multiplier)


def test_a_plan_of_one_kind_and_of_none():
    privacy = Privacy(1.0, 1e-4)
    only = plan_domain(MIXED.replace_columns((MIXED["crp"],)), privacy)
    assert only is not None
    assert [e.kind for e in only.events] == ["gaussian"]
    texts = plan_domain(MIXED.replace_columns((MIXED["ward"],)), privacy)
    assert texts is not None
    assert [e.kind for e in texts.events] == ["key_selection"]
    rest = MIXED.replace_columns((MIXED["id"], MIXED["age"], MIXED["smoker"]))
    assert plan_domain(rest, privacy) is None
