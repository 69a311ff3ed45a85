"""What every method of the catalog must do, with and without privacy."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pegai
from pegai.data.files import write_table
from pegai.data.table import DTYPES, Table
from pegai.errors import (
    BudgetExceededError,
    DataError,
    IdentifierError,
    ModelError,
    PegaiError,
    PrivacyError,
    PrivateDomainError,
    SeedRefusedError,
    UsageError,
)
from pegai.privacy.guarantee import AUDIT_ONLY, Privacy
from pegai.privacy.ledger import Ledger
from pegai.schema import Schema, schema_from_dict
from pegai.synth.base import Fitted
from pegai.synth.catalog import CATALOG, PRIVATE, load, make
from pegai.synth.files import ModelFile
from pegai.synth.running import Run

from .methods import Tape, every, every_private, quick


def private(tmp_path: Path, *, epsilon: float = 2.0, ledger: str = "ledger.jsonl") -> Privacy:
    return Privacy(epsilon, 1e-4, ledger=tmp_path / ledger)


def mixed_schema(*, source: str = "expert") -> Schema:
    def field(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "type": kind,
            **more,
            "pegai": {"source": source, **more.get("pegai", {})},
        }

    return schema_from_dict(
        {
            "fields": [
                {
                    "name": "mrn",
                    "type": "string",
                    "pegai": {"role": "identifier", "source": source},
                },
                field(
                    "age", "integer", constraints={"minimum": 0, "maximum": 110, "required": True}
                ),
                field(
                    "dose",
                    "number",
                    constraints={"minimum": 0, "maximum": 50},
                    pegai={"decimals": 1},
                ),
                field("sex", "string", categories=["f", "m"]),
                field("stage", "integer", categories=[1, 2, 3, 4], categoriesOrdered=True),
                field("smoker", "boolean"),
                field(
                    "seen", "date", constraints={"minimum": "2020-01-01", "maximum": "2024-12-31"}
                ),
                field(
                    "at",
                    "datetime",
                    constraints={
                        "minimum": "2020-01-01T00:00:00",
                        "maximum": "2024-12-31T23:59:59",
                    },
                ),
                field("flat", "string", categories=["only"]),
                field("void", "number", constraints={"minimum": 0, "maximum": 1}),
                field(
                    "died",
                    "integer",
                    categories=[0, 1],
                    constraints={"required": True},
                    pegai={"role": "target"},
                ),
            ],
            "pegai": {"dataset": "toy"},
        }
    )


def mixed_table(n: int = 120, seed: int = 0, schema: Schema | None = None) -> Table:
    rng = np.random.default_rng(seed)
    schema = schema or mixed_schema()
    died = (rng.random(n) < 0.4).astype(int)
    day0 = dt.date(2020, 1, 1)
    gone = rng.random(n) < 0.2
    frame = pl.DataFrame(
        {
            "mrn": [f"P{i:05d}" for i in range(n)],
            "age": np.clip(60 + 12 * died + rng.normal(0, 9, n), 0, 110).round().astype(int),
            "dose": np.where(gone, np.nan, np.clip(rng.gamma(2, 4, n), 0, 50).round(1)),
            "sex": rng.choice(["f", "m"], n),
            "stage": np.clip(1 + died + rng.integers(0, 3, n), 1, 4),
            "smoker": rng.random(n) < 0.3,
            "seen": [day0 + dt.timedelta(days=int(d)) for d in rng.integers(0, 1800, n)],
            "at": [
                dt.datetime(2020, 1, 1) + dt.timedelta(minutes=int(m))
                for m in rng.integers(0, 2_000_000, n)
            ],
            "flat": ["only"] * n,
            "void": [None] * n,
            "died": died,
        }
    ).with_columns(pl.col("dose").fill_nan(None))
    return Table(frame.cast({c.name: DTYPES[c.type] for c in schema.columns}), schema)


@every
def test_types_ranges_missing_and_categories_come_back(name: str) -> None:
    table = mixed_table(300)
    sampled = quick(name).fit(table, rng=1).sample(500, rng=2)
    assert len(sampled) == 500
    assert "mrn" not in sampled.schema
    assert sampled.schema.names == [c.name for c in table.schema.modelled]
    assert sampled["age"].null_count() == 0
    assert sampled["age"].is_between(0, 110).all()
    assert 0.05 < sampled["dose"].null_count() / 500 < 0.4
    assert set(sampled["sex"].drop_nulls()) <= {"f", "m"}
    assert set(sampled["stage"].drop_nulls()) <= {1, 2, 3, 4}
    assert sampled["dose"].drop_nulls().is_between(0, 50).all()
    assert sampled["seen"].drop_nulls().is_between(dt.date(2020, 1, 1), dt.date(2024, 12, 31)).all()
    assert set(sampled["flat"].drop_nulls()) == {"only"}
    assert sampled["void"].null_count() == 500
    dose = sampled["dose"].drop_nulls()
    assert ((dose * 10) - (dose * 10).round()).abs().max() < 1e-9


@every
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    table = mixed_table()
    for folder in ("a", "b"):
        model = quick(name).fit(table, rng=5)
        model.save(tmp_path / folder)
        write_table(model.sample(200, rng=6), tmp_path / f"{folder}.csv")
    for file in ("model.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    other = quick(name).fit(table, rng=6).sample(200, rng=6)
    write_table(other, tmp_path / "c.csv")
    if name not in ("independent", "mst"):  # their models are counts: there is nothing to seed
        assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "c.csv").read_bytes()


@every
def test_a_saved_model_samples_as_before(name: str, tmp_path: Path) -> None:
    budget = private(tmp_path) if name in PRIVATE else None
    model = quick(name).fit(mixed_table(), privacy=budget)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.sample(50, rng=3).frame.equals(model.sample(50, rng=3).frame)
    assert again.guarantee == model.guarantee
    assert again.schema == model.schema


@every
def test_conditions_hold_in_every_row_and_are_never_rejected_forever(name: str) -> None:
    model = quick(name).fit(mixed_table(), rng=1)
    wanted: dict[str, Any] = {"sex": "m", "died": 1, "age": 107, "smoker": "true", "dose": None}
    sampled = model.sample(40, given=wanted, rng=2)
    assert len(sampled) == 40
    assert set(sampled["sex"]) == {"m"}
    assert set(sampled["died"]) == {1}
    assert set(sampled["age"]) == {107}
    assert set(sampled["smoker"]) == {True}
    assert sampled["dose"].null_count() == 40
    day = model.sample(3, given={"seen": "2021-05-06"}, rng=2)
    assert set(day["seen"]) == {dt.date(2021, 5, 6)}


@every
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nope": 1}, "no column 'nope'"),
        ({"sex": "x"}, "no category of 'sex'"),
        ({"age": "old"}, "no integer"),
        ({"age": None}, "never missing"),
    ],
)
def test_impossible_conditions_say_what_is_wrong(
    name: str, given: dict[str, Any], message: str
) -> None:
    model = quick(name).fit(mixed_table(), rng=1)
    with pytest.raises(UsageError, match=message):
        model.sample(3, given=given)
    with pytest.raises(UsageError, match="n must lie"):
        model.sample(0)


@every_private
def test_a_private_fit_refuses_seeds_private_domains_and_free_text(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(SeedRefusedError):
        quick(name).fit(mixed_table(), privacy=private(tmp_path), rng=1)
    guessed = mixed_table(schema=mixed_schema(source="private"))
    with pytest.raises(PrivateDomainError, match="10 columns"):
        quick(name).fit(guessed, privacy=private(tmp_path))
    schema = schema_from_dict({"fields": [{"name": "note", "type": "string"}]})
    with pytest.raises(IdentifierError):
        quick(name).fit(Table(pl.DataFrame({"note": ["x"]}), schema), rng=1)
    unbounded = schema_from_dict(
        {"fields": [{"name": "x", "type": "number", "pegai": {"source": "expert"}}]}
    )
    with pytest.raises(PrivateDomainError, match="minimum and maximum"):
        quick(name).fit(Table(pl.DataFrame({"x": [1.0]}), unbounded), privacy=private(tmp_path))
    assert not (tmp_path / "ledger.jsonl").exists()


@every_private
def test_a_fit_over_budget_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.set_budget("toy", 3.0, 1e-2)
    quick(name).fit(mixed_table(), privacy=private(tmp_path, epsilon=2.0))
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(BudgetExceededError) as caught:
        quick(name).fit(mixed_table(), privacy=private(tmp_path, epsilon=2.0))
    assert caught.value.exit_code == 3
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert ledger.spent("toy")[0] == pytest.approx(2.0, rel=0.01)


@every_private
def test_the_guarantee_says_what_was_charged(name: str, tmp_path: Path) -> None:
    model = quick(name).fit(mixed_table(), privacy=private(tmp_path, epsilon=1.5))
    assert model.guarantee is not None
    assert 1.3 < model.guarantee.epsilon <= 1.5
    spent = Ledger(tmp_path / "ledger.jsonl").spent("toy")
    assert spent[0] == pytest.approx(model.guarantee.epsilon)
    assert quick(name).fit(mixed_table(), rng=1).guarantee is None


@every
@pytest.mark.parametrize("rows", [1, 2, 30])
def test_tiny_tables_fit_in_both_ways(name: str, rows: int, tmp_path: Path) -> None:
    table = mixed_table(rows)
    assert len(quick(name).fit(table, rng=1).sample(5, rng=1)) == 5
    if name in PRIVATE:
        assert len(quick(name).fit(table, privacy=private(tmp_path)).sample(5, rng=1)) == 5


@pytest.mark.parametrize("name", [n for n in CATALOG if n not in PRIVATE])
def test_a_method_without_a_private_form_refuses_a_budget(name: str, tmp_path: Path) -> None:
    method, budget = quick(name), private(tmp_path)
    with pytest.raises(PrivacyError, match="no private form") as caught:
        method.fit(mixed_table(), privacy=budget)
    assert "aim or mst" in (caught.value.hint or "")
    with pytest.raises(PrivacyError, match="no private form"):
        method.plan(mixed_schema(), budget)
    assert not (tmp_path / "ledger.jsonl").exists()
    assert "no formal guarantee" in method.promise


@every
def test_an_empty_table_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="no rows"):
        quick(name).fit(mixed_table(4).head(0), rng=1)
    schema = schema_from_dict(
        {"fields": [{"name": "id", "type": "string", "pegai": {"role": "identifier"}}]}
    )
    with pytest.raises(DataError, match="no column"):
        quick(name).fit(Table(pl.DataFrame({"id": ["a"]}), schema), rng=1)


@every
def test_a_damaged_folder_gives_a_clear_error(name: str, tmp_path: Path) -> None:
    model = quick(name).fit(mixed_table(40), rng=1)
    model.save(tmp_path / "model")
    good = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    assert set(good) == {"model.json", "weights.safetensors"}
    for file, content in good.items():
        for broken in _damaged(content):
            (tmp_path / "model" / file).write_bytes(broken)
            with pytest.raises(ModelError) as caught:
                load(tmp_path / "model")
            assert caught.value.hint
        (tmp_path / "model" / file).unlink()
        with pytest.raises(ModelError):
            load(tmp_path / "model")
        (tmp_path / "model" / file).write_bytes(content)
    load(tmp_path / "model")
    with pytest.raises(ModelError, match="no model folder"):
        load(tmp_path / "nothing")


def _damaged(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[: len(content) // 2]
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    yield content + b"x"


@every
def test_a_model_of_an_unknown_method_is_refused(name: str, tmp_path: Path) -> None:
    quick(name).fit(mixed_table(40), rng=1).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    content = json.loads(path.read_text())
    assert content["method"] == {"auto": "tvae"}.get(name, name)  # it saves what it chose
    content["format"] = "pegai-model/99"
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="pegai-model/99"):
        load(tmp_path / "model")


def neighbours() -> dict[str, tuple[Table, Table]]:
    base = mixed_table(60)

    def plus(**odd: Any) -> Table:
        row = base.frame.slice(0, 1)
        typed = [pl.lit(v, dtype=row.schema[k]).alias(k) for k, v in odd.items()]
        return Table(pl.concat([base.frame, row.with_columns(typed)]), base.schema)

    return {
        "duplicate": (base, plus()),
        "new category": (base, plus(sex="never seen", stage=99)),
        "missing everything": (base, plus(**{n: None for n in base.schema.names if n != "mrn"})),
        "out of range": (base, plus(age=10_000, dose=-1e9)),
        "infinite": (base, plus(dose=float("inf"))),
        "not a number": (base, plus(dose=float("nan"))),
        "breaks a constant": (base, plus(flat=None, void=0.5)),
        "one row more than one": (base.head(1), base.head(2)),
    }


@every_private
@pytest.mark.parametrize("case", list(neighbours()))
def test_record_and_replay_on_neighbouring_tables(name: str, case: str, tmp_path: Path) -> None:
    """With mechanism outputs frozen, a patient more or less may change nothing that is seen."""
    results: list[tuple[Tape, Fitted, ModelFile, list[tuple[str, float]]]] = []
    for i, table in enumerate(neighbours()[case]):
        tape, told = Tape(), []
        model = quick(name).fit(
            table,
            privacy=private(tmp_path, ledger=f"l{i}.jsonl"),
            recorder=tape,
            run=Run(lambda stage, share, told=told: told.append((stage, share))),
        )
        with pytest.raises(PrivacyError, match="audit"):
            model.save(tmp_path / "model")
        results.append((tape, model, model.to_file(), told))
    (a, model_a, file_a, told_a), (b, model_b, file_b, told_b) = results
    assert [c[:2] for c in a.calls] == [c[:2] for c in b.calls]
    assert told_a == told_b
    assert model_a.schema == model_b.schema
    shapes = [{k: (v.shape, v.dtype) for k, v in f.weights.items()} for f in (file_a, file_b)]
    assert shapes[0] == shapes[1]
    assert _but_weights(file_a) == _but_weights(file_b)
    for (label, kind, x, limit), (_, _, y, _) in zip(a.calls, b.calls, strict=True):
        if kind != "poisson_sample":
            assert x.shape == y.shape, label
        if kind == "gaussian" and "DP-SGD" not in label:
            assert np.linalg.norm(x - y) <= limit * (1 + 1e-9), label
        if kind == "choose":
            assert np.abs(x - y).max() <= limit * (1 + 1e-9), label
    assert model_a.guarantee is not None
    assert AUDIT_ONLY in str(model_a.guarantee.to_dict())


def _but_weights(file: ModelFile) -> str:
    assert file.guarantee is not None
    promised = {k: v for k, v in file.guarantee.to_dict().items() if k != "created"}
    return json.dumps([file.schema.to_dict(), file.settings, file.state, promised], sort_keys=True)


@every_private
@pytest.mark.parametrize("patient", ["NEW", None])
def test_a_patient_of_many_rows_weighs_as_one(
    name: str, patient: str | None, tmp_path: Path
) -> None:
    raw = mixed_schema().to_dict()
    raw["pegai"] = {"dataset": "toy", "unit": "mrn", "max_rows_per_unit": 50}
    schema = schema_from_dict(raw)
    base = mixed_table(40, schema=schema)
    extra = pl.concat(
        [base.frame.slice(3, 1).with_columns(mrn=pl.lit(patient, dtype=pl.String))] * 50
    )
    more = Table(pl.concat([base.frame, extra]), schema)
    tapes = [Tape(), Tape()]
    for i, table in enumerate((base, more)):
        quick(name).fit(table, privacy=private(tmp_path, ledger=f"l{i}.jsonl"), recorder=tapes[i])
    first = [next(c for c in t.calls if c[1] == "gaussian") for t in tapes]
    assert np.linalg.norm(first[0][2] - first[1][2]) <= first[0][3] * (1 + 1e-9)


def test_every_error_of_a_fit_is_one_of_ours(tmp_path: Path) -> None:
    for name in CATALOG:
        with pytest.raises(PegaiError):
            make(name, {"no such setting": 1})
    with pytest.raises(UsageError, match="no method"):
        make("nope")
    assert pegai.load is load
