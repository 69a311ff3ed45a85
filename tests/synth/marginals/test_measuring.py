"""Counting, releasing and choosing marginals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.datasets import load_heart_disease
from pegai.data.table import Table
from pegai.privacy.events import GaussianFilterEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import schema_from_dict
from pegai.synth.aim import AIM, AIMConfig
from pegai.synth.grids import WHOLE, PatientWeights, grid_encoder
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.planning import MARGINALS
from pegai.synth.marginals.preparing import nested_bins
from pegai.synth.mst import MST
from pegai.synth.packing import Packing, table_factors


def visits(rows: list[tuple[str, str, str]]) -> Table:
    """Visits of patients: (patient, ward, outcome)."""
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "patient", "type": "string", "pegai": {"role": "identifier"}},
                {"name": "ward", "type": "string", "categories": ["a", "b", "c"]},
                {"name": "outcome", "type": "string", "categories": ["home", "died"]},
            ],
            "pegai": {"unit": "patient", "max_rows_per_unit": 9},
        }
    )
    names = ["patient", "ward", "outcome"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return Table(frame, schema)


def counter(table: Table) -> Counter:
    return Counter.of(table, grid_encoder(table.schema, bins=4), None)


rows = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("abc?"), st.sampled_from(["home", "died"])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 9))
def test_a_patient_changes_no_table_by_more_than_the_whole(
    stays: list[tuple[str, str, str]], visits_of_one: int
) -> None:
    """Whoever leaves, in L1 and on the integers."""
    everybody = counter(visits(stays + [("new", "b", "died")] * visits_of_one))
    others = counter(visits(stays))
    for columns in [(0,), (1,), (0, 1)]:
        change = everybody.count(columns) - others.count(columns)
        assert change.dtype == np.int64
        assert np.abs(change).sum() <= WHOLE


def test_tables_are_counted_in_chunks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pegai.synth.marginals import counting

    table = load_heart_disease()
    encoder = grid_encoder(table.schema, bins=8)
    whole = Counter.of(table, encoder, encoder.index("num"))
    pairs = whole.pair(0, 5)
    codes = np.column_stack([whole.classes, whole.codes[0], whole.codes[5]])
    expected = np.zeros_like(pairs)
    np.add.at(expected, tuple(codes.T), 1)
    assert (pairs == expected).all()
    monkeypatch.setattr(counting, "CHUNK_ROWS", 77)
    assert (whole.pair(0, 5) == pairs).all()
    assert whole.codes[0].dtype == np.uint8


def opened(tmp_path: Path, noise_multiplier: float) -> Session:
    plan = Plan.make((GaussianFilterEvent("f", noise_multiplier),), delta=1e-3)
    return Session.open(
        plan,
        Privacy(20.0, 1e-3, ledger=tmp_path / "ledger.jsonl"),
        dataset="toy",
        fingerprint_chunks=[b""],
        label="test",
    )


def test_larger_tables_get_less_noise_and_all_get_what_is_said(tmp_path: Path) -> None:
    tables = [np.zeros((1, 8000), np.int64), np.zeros((1, 1000), np.int64)]
    packing = Packing.weighted([t.shape for t in tables], WHOLE)
    noisy = packing.release(opened(tmp_path, 2.0), "f", tables, noise_multiplier=2.0)
    deviations = packing.deviations(2.0)
    # The cost is that of one release: sum of 1 / deviation^2 is 1 / multiplier^2.
    assert sum(d**-2 for d in deviations) == pytest.approx(0.25)
    assert deviations[0] / deviations[1] == pytest.approx(0.5, rel=0.01)
    for part, deviation in zip(noisy, deviations, strict=True):
        assert part.std() == pytest.approx(deviation, rel=0.12)  # over 5 deviations of the estimate
        assert part.std() < 1.4 * deviation


def test_factors_are_whole_and_follow_the_cube_root() -> None:
    assert table_factors([27, 8, 8]) == [96, 64, 64]


def test_bins_are_nested() -> None:
    assert [nested_bins(w, 4, 64) for w in (0.1, 4, 7.9, 8, 500)] == [4, 4, 4, 8, 64]


def test_rows_without_a_patient_id_weigh_nothing_of_others() -> None:
    weights = PatientWeights.of(visits([("x", "a", "home")] * 3 + [("y", "b", "home")]))
    assert weights.rows is not None
    assert weights.rows.tolist() == [WHOLE // 3] * 3 + [WHOLE]


@pytest.mark.parametrize("method", [AIM(AIMConfig(steps=30, components=4)), MST()])
@pytest.mark.parametrize("keep", [["num"], ["sex"], ["age"], ["age", "num"]])
def test_tables_of_one_or_two_columns(method: AIM | MST, keep: list[str], tmp_path: Path) -> None:
    table = load_heart_disease().select(keep)
    for privacy in (None, Privacy(1.0, 1e-3, ledger=tmp_path / f"{len(keep)}.jsonl")):
        rng = 0 if privacy is None else None
        made = method.fit(table, privacy=privacy, rng=rng).sample(50, rng=1)
        assert made.schema.names == keep
        assert len(made) == 50


def test_pairs_that_depend_are_chosen_first(tmp_path: Path) -> None:
    """Of 15 pairs only two depend; both are measured in three rounds."""
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(6)]
    codes = {n: rng.integers(0, 4, 5000) for n in names}
    codes["c1"], codes["c5"] = codes["c0"], (codes["c3"] + 1) % 4
    fields = [
        {
            "name": n,
            "type": "integer",
            "categories": [0, 1, 2, 3],
            "constraints": {"required": True},
            "pegai": {"source": "expert"},
        }
        for n in names
    ]
    table = Table(pl.DataFrame(codes), schema_from_dict({"fields": fields}))
    method = AIM(AIMConfig(selection="adaptive", rounds=3, steps=200, components=16))
    privacy = Privacy(1.0, 1e-5, ledger=tmp_path / "ledger.jsonl")
    made = method.fit(table, privacy=privacy).sample(2000, rng=0).frame
    assert (made["c0"] == made["c1"]).mean() > 0.8
    assert (made["c5"] == (made["c3"] + 1) % 4).mean() > 0.8
    assert (made["c0"] == made["c2"]).mean() < 0.35


def test_every_part_of_the_budget_is_spent_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the filter after a fit, for each way of measuring."""
    left: list[float] = []
    guarantee = Session.guarantee

    def watch(session: Session):
        left.append(session.filter_left(MARGINALS) / session.plan[MARGINALS].mu_squared)
        return guarantee(session)

    monkeypatch.setattr(Session, "guarantee", watch)
    table = load_heart_disease("cleveland")
    for i, selection in enumerate(("one-shot", "adaptive")):
        privacy = Privacy(1.0, 1e-3, ledger=tmp_path / f"{i}.jsonl")
        AIM(AIMConfig(selection=selection, rounds=3, steps=10)).fit(table, privacy=privacy)
    MST().fit(table, privacy=Privacy(1.0, 1e-3, ledger=tmp_path / "m.jsonl"))
    assert max(left) < 1e-6
