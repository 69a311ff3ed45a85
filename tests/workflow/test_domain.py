"""Estimating a schema: what is found, what it costs, and that one patient changes nothing else."""

import contextlib
import io
import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pegai.audit.neighbours import audit_schema, neighbours
from pegai.audit.replay import Tape
from pegai.data.datasets import heart_disease_schema, load_heart_disease
from pegai.encode.domain import WHOLE, estimate_domain
from pegai.errors import BudgetExceededError
from pegai.privacy import Ledger, Privacy
from pegai.schema import Column, Constraints, Schema, read_schema, schema_from_dict, write_schema
from pegai.synth.catalog import make
from pegai.workflow import domain
from pegai.workflow.domain import estimate_schema, estimate_schema_file


@pytest.fixture(autouse=True)
def no_false_alarms(monkeypatch):
    """Bounds in cells without patients come once in a thousand columns: too often for tests."""
    monkeypatch.setattr("pegai.encode.bounds.FALSE_ALARM", 1e-9)


def private(schema: Schema, *names: str) -> Schema:
    """A draft of a public schema: all (or these) columns without what was declared."""

    def drafted(column: Column) -> Column:
        if names and column.name not in names:
            return column
        limits = Constraints(required=column.constraints.required)
        privacy = column.pegai.model_copy(update={"source": "private"})
        update = {"constraints": limits, "pegai": privacy}
        if column.categories is not None:
            # What was read from the data must not matter: any other list does as well.
            listed = schema_from_dict(
                {"fields": [{"name": "x", "type": column.type, "categories": [77]}]}
            )
            update["categories"] = listed.columns[0].categories
        return column.model_copy(update=update)

    return schema.replace_columns(tuple(drafted(c) for c in schema.columns))


def budget(tmp_path, epsilon=3.0, delta=1e-4):
    return Privacy(epsilon, delta, ledger=tmp_path / "ledger.jsonl")


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("role", ["feature", "sensitive"])
def test_a_large_table_gives_its_domain(tmp_path, role):
    """50,000 patients: all common values stand far above the noise."""
    n, rng = 50_000, np.random.default_rng(0)
    days = pl.Series(rng.integers(18262, 20088, n)).cast(pl.Int32).cast(pl.Date)
    frame = pl.DataFrame(
        {
            "temperature": rng.uniform(36.0, 41.9, n).round(1),
            "age": rng.integers(18, 90, n),
            "seen": days,
            "at": days.cast(pl.Datetime("us")),
            "stage": rng.integers(1, 5, n),
            "ward": rng.choice(["onco", " icu", "b\0d", "true"], n),
            "smoker": rng.random(n) < 0.5,
            "rare": np.where(np.arange(n) < 3, "only three", "common"),
        }
    )
    fields = [
        {"name": "temperature", "type": "number", "pegai": {"decimals": 1, "role": role}},
        {"name": "age", "type": "integer"},
        {"name": "seen", "type": "date"},
        {"name": "at", "type": "datetime"},
        {"name": "stage", "type": "integer", "categories": [9], "categoriesOrdered": True},
        {"name": "ward", "type": "string"},
        {"name": "smoker", "type": "boolean"},
        {"name": "rare", "type": "string"},
    ]
    done = estimate_schema(frame, schema_from_dict({"fields": fields}), privacy=budget(tmp_path))
    found = done.schema
    assert not done.unresolved
    assert done.estimated == tuple(f["name"] for f in fields if f["name"] != "smoker")
    # Outwards to the grid: never tighter than the narrow cell, never wider than the coarse one.
    assert 32.0 <= found["temperature"].minimum <= 36.0
    assert 44.0 <= found["temperature"].maximum <= 64.0
    assert 16 <= found["age"].minimum <= 18
    assert 89 <= found["age"].maximum <= 127
    for name, end in (("seen", "-12-31"), ("at", "-12-31T23:59:59")):
        limits = found[name].constraints
        assert limits.minimum[:10] == "2020-01-01"
        assert limits.maximum[4:] == end
        assert 2024 <= int(limits.maximum[:4]) <= 2029
    assert found["stage"].levels == ("1", "2", "3", "4")
    assert found["stage"].kind == "ordinal"
    assert found["ward"].levels == ("b\0d", "icu", "onco", "true")
    assert found["rare"].levels == ("common",)
    assert {found[name].pegai.source for name in done.estimated} == {"dp-estimate"}
    assert found["smoker"].is_public
    assert not any(c.constraints.required for c in found.columns)
    # It is a file like any other, and what is left to estimate is nothing.
    write_schema(found, tmp_path / "s.json")
    assert read_schema(tmp_path / "s.json") == found
    again = estimate_schema(frame, found, privacy=budget(tmp_path))
    assert again.guarantee is None
    assert again.schema == found


def test_a_declared_bound_stays_and_the_missing_one_is_estimated(tmp_path):
    field = {"name": "x", "type": "number", "constraints": {"minimum": 0.5}}
    draft = schema_from_dict({"fields": [{**field, "pegai": {"source": "expert", "decimals": 1}}]})
    frame = pl.DataFrame({"x": np.append(np.full(5000, 6.2), -(10.0**6))})
    done = estimate_schema(frame, draft, privacy=budget(tmp_path))
    assert done.schema["x"].minimum == 0.5
    assert 6.5 <= done.schema["x"].maximum <= 8.0


def test_what_does_not_stand_out_is_named_and_stays_refused(tmp_path):
    draft = schema_from_dict(
        {
            "fields": [
                {"name": "few", "type": "string", "categories": ["secret"]},
                {"name": "void", "type": "number", "constraints": {"minimum": 1, "maximum": 2}},
                {"name": "sex", "type": "string"},
            ]
        }
    )
    frame = pl.DataFrame({"few": [""] * 2000, "void": [None] * 2000, "sex": ["f"] * 2000})
    done = estimate_schema(frame, draft, privacy=budget(tmp_path))
    assert (done.estimated, done.unresolved) == (("sex",), ("few", "void"))
    assert "secret" not in str(done.schema.to_dict())
    assert done.schema["void"].constraints.maximum is None
    assert not done.schema["few"].is_public
    assert "few, void" in done.advice
    assert "epsilon 3" in done.advice
    assert "the charge stays" in done.advice
    # Once more, at the cost of these two alone.
    again = estimate_schema(frame, done.schema, privacy=budget(tmp_path))
    assert again.schema["sex"] == done.schema["sex"]
    assert again.unresolved == ("few", "void")


def test_free_text_of_a_million_values_stays_small_and_gives_nothing(tmp_path):
    n = 1_000_000
    numbers = pl.Series(np.arange(n)).cast(pl.String)
    frame = pl.DataFrame({"x": numbers + " says the patient"})
    draft = schema_from_dict({"fields": [{"name": "x", "type": "string"}]})
    # Each text is one patient's, and comes out with a chance of at most delta / 2: of a million,
    # one does with a chance of at most 5e-6.
    privacy = budget(tmp_path, delta=1e-11)
    assert estimate_schema(frame, draft, privacy=privacy).unresolved == ("x",)


def test_an_estimated_domain_is_fitted_privately(tmp_path):
    table = load_heart_disease()
    draft = private(heart_disease_schema())
    done = estimate_schema(table.frame, draft, privacy=budget(tmp_path, 8.0))
    assert not done.unresolved
    from pegai.data.conform import table_from

    read = table_from(table.frame, done.schema, cell_by_cell=True)
    model = make("mst", {}).fit(read, privacy=replace(budget(tmp_path, 1.0), dataset="heart"))
    assert model.sample(50, rng=0).frame.height == 50


# ---------------------------------------------------------------- one patient more


def run(frame, draft, folder, tape):
    """Everything that can be seen of an estimate."""
    seen, out = {}, io.StringIO()
    folder.mkdir()
    Ledger(folder / "ledger.jsonl").set_budget("audit", 20.0, 1e-2)
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(out):
        warnings.simplefilter("always")
        try:
            done = estimate_schema(frame, draft, privacy=budget(folder, 12.0, 1e-3), recorder=tape)
            seen["schema"] = done.schema.to_dict()
            seen["columns"] = (done.estimated, done.unresolved, done.advice)
            seen["found"] = [done.found(name) for name in done.estimated]
            seen["guarantee"] = replace(done.guarantee, created="").to_dict()
        except Exception as error:
            seen["error"] = f"{type(error).__name__}: {error}"
    seen["printed"] = out.getvalue()
    seen["warned"] = [str(w.message) for w in warned]
    lines = Ledger(folder / "ledger.jsonl").entries()
    seen["charged"] = [(e.kind, e.epsilon, e.delta, e.events, e.label) for e in lines]
    return seen


def check_calls(first, second, most):
    """The same mechanisms, with inputs no farther apart than was declared."""
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert (a.label, a.kind, a.sensitivity) == (b.label, b.kind, b.sensitivity)
        assert repr(a.mechanism) == repr(b.mechanism)
        if a.kind == "gaussian":
            assert a.values.shape == b.values.shape
            change = b.values.astype(float) - a.values.astype(float)
            assert np.linalg.norm(change) <= a.sensitivity
            continue
        before, after = (
            dict(zip(c.values["key"], c.values["weight"], strict=True)) for c in (a, b)
        )
        assert before.keys() <= after.keys()
        assert all(after[key] >= before[key] for key in before)
        added = {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)}
        assert sum(added.values()) <= WHOLE == a.sensitivity
        assert len(added) <= most == a.mechanism.max_keys


def check_pair(without, with_one, draft, tmp_path):
    tape = Tape()
    first = run(without, draft, tmp_path / "first", tape)
    replayed = Tape(source=tape)
    second = run(with_one, draft, tmp_path / "second", replayed)
    assert "error" not in first
    assert second == first
    most = draft.pegai.max_rows_per_unit if draft.unit else 1
    check_calls(tape.calls, replayed.calls, most)
    return tape, first


@pytest.mark.parametrize("by_patient", [True, False])
def test_one_patient_more_changes_inputs_of_mechanisms_alone(tmp_path, by_patient):
    schema = audit_schema(by_patient=by_patient)
    found = set()
    for place, pair in enumerate(neighbours(schema)):
        folder = tmp_path / str(place)
        folder.mkdir()
        _, seen = check_pair(pair.without.frame, pair.with_one.frame, private(schema), folder)
        found |= set(seen["columns"][0])
    # With 3,000 patients most columns are found, so that the replay reaches all that follows.
    assert {"age", "dose", "sex", "stage", "seen", "at"} <= found


ODD = ["", " ", "NA", "a\0b", "x" * 10_000, "true", "1.0", "nan", "inf", "-1e400", "\ud7ff", "0x1"]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_cells_of_one_patient_are_seen_nowhere(tmp_path, odd):
    """Text as read from a CSV, in columns of every type."""
    schema = private(audit_schema())
    base = next(iter(neighbours(audit_schema()))).without.frame
    frame = base.select(pl.all().cast(pl.String))
    more = frame.head(1).with_columns(
        [pl.lit("odd" if name == "patient_id" else odd).alias(name) for name in frame.columns]
    )
    check_pair(frame, pl.concat([frame, more]), schema, tmp_path)


def test_a_replay_finds_a_weight_above_what_was_declared(tmp_path, monkeypatch):
    """The test above can fail: rows that all weigh the whole are seen."""
    from pegai.encode import domain as estimating

    def unbounded(table):
        return np.full(len(table), WHOLE, np.int64), table

    monkeypatch.setattr(estimating, "_weighted", unbounded)
    schema = audit_schema()
    pair = next(p for p in neighbours(schema) if p.name == "many rows")
    with pytest.raises(AssertionError, match="sensitivity"):
        check_pair(pair.without.frame, pair.with_one.frame, private(schema), tmp_path)


def test_the_order_of_the_rows_is_seen_nowhere(tmp_path):
    frame = pl.DataFrame({"x": ["b"] * 400 + ["a"] * 900 + ["c"] * 500})
    draft = schema_from_dict({"fields": [{"name": "x", "type": "string"}]})
    for rows in (frame, frame.reverse()):
        done = estimate_schema(rows, draft, privacy=budget(tmp_path))
        assert done.schema["x"].levels == ("a", "b", "c")


# ---------------------------------------------------------------- the charge


def write_table(folder):
    pl.DataFrame({"x": ["a", "b"] * 500, "y": range(1000)}).write_csv(folder / "t.csv")
    fields = [{"name": "x", "type": "string"}, {"name": "y", "type": "integer"}]
    draft = schema_from_dict({"fields": fields, "pegai": {"dataset": "ward"}})
    write_schema(draft, folder / "draft.json")
    return folder / "t.csv", folder / "draft.json", folder / "out.json"


def test_the_ledger_is_charged_before_the_first_draw(tmp_path, monkeypatch):
    paths = write_table(tmp_path)
    privacy = budget(tmp_path)
    charged = []

    def watched(table, draft, session):
        charged.extend(Ledger(privacy.ledger).entries())
        return estimate_domain(table, draft, session)

    monkeypatch.setattr(domain, "estimate_domain", watched)
    done = estimate_schema_file(*paths, privacy=privacy, overwrite=False)
    assert [e.label for e in charged] == ["", "estimate schema"]
    assert charged[-1].dataset == "ward"
    assert charged[-1].events == done.guarantee.events
    assert charged[-1].epsilon == pytest.approx(3.0)
    assert Ledger(privacy.ledger).spent("ward") == pytest.approx((3.0, 1e-4))


def test_a_failure_after_the_charge_keeps_it_and_writes_nothing(tmp_path, monkeypatch):
    paths = write_table(tmp_path)

    def failing(*_):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(domain, "write_schema", failing)
    with pytest.raises(RuntimeError):
        estimate_schema_file(*paths, privacy=budget(tmp_path), overwrite=False)
    assert Ledger(tmp_path / "ledger.jsonl").spent("ward")[0] == pytest.approx(3.0)
    assert not paths[-1].exists()


def test_over_budget_is_refused_before_the_table_is_read(tmp_path, monkeypatch):
    data, draft, out = write_table(tmp_path)
    Ledger(tmp_path / "ledger.jsonl").set_budget("ward", 1.0, 1e-2)
    monkeypatch.setattr(domain, "load_table", None)
    with pytest.raises(BudgetExceededError):
        estimate_schema_file(data, draft, out, privacy=budget(tmp_path), overwrite=False)
    assert not out.exists()
    assert Ledger(tmp_path / "ledger.jsonl").spent("ward") == (0.0, 0.0)


def test_nobody_in_the_table_is_no_error(tmp_path):
    data, draft, out = write_table(tmp_path)
    data.write_text("x,y\n")
    done = estimate_schema_file(data, draft, out, privacy=budget(tmp_path), overwrite=False)
    assert done.guarantee is not None
    assert Ledger(tmp_path / "ledger.jsonl").spent("ward")[0] == pytest.approx(3.0)


def test_a_later_guarantee_says_that_the_domain_was_charged_before() -> None:
    from pegai.schema import schema_from_dict
    from pegai.synth.base import taken_as_public

    field = {"name": "x", "type": "integer", "constraints": {"minimum": 0, "maximum": 9}}
    for source, named in (("dp-estimate", True), ("expert", False)):
        schema = schema_from_dict({"fields": [{**field, "pegai": {"source": source}}]})
        said = [
            part for part in taken_as_public(schema) if "estimated from the data before" in part
        ]
        assert bool(said) is named
        assert not named or said[0].endswith(": x")


def test_notes_of_a_draft_are_not_written() -> None:
    """They say what was seen in the data: that a column is empty, or that it is free text."""
    from pegai.encode.domain import without_private
    from pegai.schema import schema_from_dict
    from pegai.schema.infer import infer

    frames = [
        pl.DataFrame({"x": pl.Series([None, None], dtype=pl.String)}),
        pl.DataFrame({"x": [f"note {i}" for i in range(400)]}),
        pl.DataFrame({"x": ["01/02/2020", "03/04/2021"]}),
    ]
    for frame in frames:
        draft = infer(frame)
        assert draft["x"].description
        assert without_private(draft)["x"].description is None
    own = {"name": "x", "type": "string", "description": "by the protocol"}
    assert (
        without_private(schema_from_dict({"fields": [own]}))["x"].description == own["description"]
    )


def test_what_the_draft_lists_decides_nothing(tmp_path) -> None:
    """A rule stays or goes whatever the private list is: it is read from the data."""
    written = []
    for i, levels in enumerate((["a", "b"], ["a", "b", "rare"])):
        fields = [
            {"name": "x", "type": "string", "categories": levels},
            {"name": "y", "type": "boolean", "pegai": {"source": "expert"}},
        ]
        rules = {"impossible": [{"x": ["a"], "y": [True]}]}
        draft = schema_from_dict({"fields": fields, "pegai": rules})
        frame = pl.DataFrame({"x": ["a", "b"] * 400, "y": [False] * 800})
        privacy = Privacy(1.0, 1e-4, ledger=tmp_path / f"{i}.jsonl")
        written.append(estimate_schema(frame, draft, privacy=privacy).schema)
    assert written[0] == written[1]
    assert written[0]["x"].levels == ("a", "b")
    assert written[0].impossible == ()
