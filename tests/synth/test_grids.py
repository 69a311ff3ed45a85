"""Public grids and the noisy look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegai.data.datasets import load_heart_disease
from pegai.privacy.events import GaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Column
from pegai.synth.grids import Grid, PatientWeights, class_tables, noisy_look


def column(kind: str, low: object, high: object, **more: object) -> Column:
    raw = {"name": "x", "type": kind, "constraints": {"minimum": low, "maximum": high}, **more}
    return Column.model_validate(raw)


def test_whole_numbers_are_never_cut_apart() -> None:
    grid = Grid.of(column("integer", 0, 300), 24)
    assert grid.edges is not None
    assert np.all(grid.edges % 1 == 0.5)
    assert grid.edges[0] < 0
    assert grid.edges[-1] > 300
    assert grid.size <= 25


def test_numbers_with_decimals_are_cut_between_their_values() -> None:
    grid = Grid.of(column("number", -3, 7, pegai={"decimals": 1}), 24)
    assert grid.edges is not None
    values = np.round(np.arange(-30, 71) / 10, 1)
    assert np.min(np.abs(values[:, None] - grid.edges[None])) > 0.04


def test_single_values_have_a_cell_each_unless_there_are_too_many() -> None:
    fine = Grid.of_values(column("number", -3, 7, pegai={"decimals": 1}))
    assert fine is not None
    assert fine.size == 102
    assert fine.centres[30] == pytest.approx(0.0)
    assert Grid.of_values(column("integer", 0, 5000)) is None
    assert Grid.of_values(column("number", 0, 1)) is None
    assert Grid.of_values(column("date", "2020-01-01", "2024-01-01")) is None


def test_every_row_is_counted_once_in_every_table() -> None:
    table = load_heart_disease().modelled()
    grids = [Grid.of(c, 24) for c in table.columns]
    target = table.schema.target
    for split_by in (None, target):
        counted = class_tables(grids, table, split_by=split_by, weights=PatientWeights.of(table))
        assert [float(t.sum()) for t in counted] == [920.0] * len(grids)


def look(tmp_path: Path, noise_multiplier: float):
    plan = Plan.make((GaussianEvent("look", noise_multiplier),), delta=1e-3)
    privacy = Privacy(20.0, 1e-3, ledger=tmp_path / "ledger")
    opened = Session.open(plan, privacy, dataset="d", fingerprint_chunks=[b"x"], label="test")
    table = load_heart_disease()
    return noisy_look(opened, "look", table, bins=24, split_by=table.schema.target)


def test_heaped_values_are_found_and_noise_is_not(tmp_path: Path) -> None:
    """The noise deviates by 2: a cholesterol of 0 (172 rows) stands out, empty cells do not."""
    from pegai.privacy.ledger import Ledger

    Ledger(tmp_path / "ledger").set_budget("d", 100.0, 0.1)
    found = look(tmp_path, 2.0 / 20**0.5)
    assert found.deviation == pytest.approx(2.0)
    spikes = {name: {round(v, 6): c for v, c in pairs} for name, pairs in found.spikes.items()}
    assert spikes["chol"][0.0] == pytest.approx(172, abs=12)
    assert 0.0 in spikes["oldpeak"]
    real = load_heart_disease().frame
    for name, pairs in spikes.items():
        for value in pairs:
            assert (real[name] == value).sum() > 0, name
    assert found.patients == pytest.approx(920, abs=40)


def test_zero_has_a_cell_of_its_own_where_it_is_wanted() -> None:
    decimals = {"pegai": {"decimals": 1}}
    cases = {
        "inside": (column("number", -2.6, 6.2, **decimals), (-0.05, 0.05)),
        "low end": (column("integer", 0, 603), (-0.5, 0.5)),
        "high end": (column("integer", -10, 0), (-0.5, 0.5)),
    }
    for name, (of, cell) in cases.items():
        plain, grid = Grid.of(of, 8), Grid.of(of, 8, zero=True)
        assert plain.edges is not None
        assert grid.edges is not None
        at = int(np.searchsorted(grid.edges, 0.0)) - 1
        assert grid.edges[at : at + 2] == pytest.approx(cell), name
        assert np.all(np.diff(grid.edges) > 0.01), name
        assert grid.edges[[0, -1]] == pytest.approx(plain.edges[[0, -1]]), name
    without = column("integer", 20, 90)
    assert np.array_equal(Grid.of(without, 8, zero=True).edges, Grid.of(without, 8).edges)
