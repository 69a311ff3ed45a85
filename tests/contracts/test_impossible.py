"""No method gives a row that the schema calls impossible, and no fit looks at who breaks a rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.privacy.guarantee import Privacy
from pegai.schema import Schema, breaks_any, schema_from_dict
from pegai.synth.base import Fitted
from pegai.synth.catalog import PRIVATE, load, make
from pegai.synth.running import Run

from .methods import QUICK, Tape, every, every_private, quick

RULES: list[dict[str, list[Any]]] = [
    {"sex": ["m"], "pregnant": [True]},
    {"sex": ["f"], "pregnant": [None]},
    {"stage": [1], "died": [1]},
    {"stage": [4, None], "ward": [f"w{i}" for i in range(10, 30)], "died": [0]},
]


def ruled(rules: list[dict[str, list[Any]]]) -> Schema:
    """Few levels, many levels (some methods join the rare ones), a boolean, numbers, a target."""

    def field(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "pegai": {"source": "expert"}, **more}

    died = field("died", "integer", categories=[0, 1], constraints={"required": True})
    return schema_from_dict(
        {
            "fields": [
                field("sex", "string", categories=["f", "m"]),
                field("age", "integer", constraints={"minimum": 0, "maximum": 110}),
                field("ward", "string", categories=[f"w{i}" for i in range(30)]),
                field("pregnant", "boolean"),
                {**died, "pegai": {"source": "expert", "role": "target"}},
                field("stage", "integer", categories=[1, 2, 3, 4], categoriesOrdered=True),
            ],
            "pegai": {"dataset": "toy", "impossible": rules},
        }
    )


def patients(rules: list[dict[str, list[Any]]], n: int = 150) -> Table:
    """Independent columns: about half of the rows break a rule."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "sex": rng.choice(["f", "m"], n),
            "age": rng.integers(0, 110, n),
            "ward": rng.choice([f"w{i}" for i in range(30)], n),
            "pregnant": pl.Series(
                [(None, True, False)[i] for i in rng.integers(0, 3, n)], dtype=pl.Boolean
            ),
            "died": rng.integers(0, 2, n),
            "stage": rng.integers(1, 5, n),
        }
    )
    return Table(frame, ruled(rules))


def fitted(name: str, table: Table, tmp_path: Path, *, private: bool) -> Fitted:
    if private and name not in PRIVATE:
        pytest.skip("the method has no private form")
    if not private:
        return quick(name).fit(table, rng=1)
    return quick(name).fit(table, privacy=Privacy(2.0, 1e-4, ledger=tmp_path / "ledger.jsonl"))


@every
@pytest.mark.parametrize("private", [False, True])
def test_no_row_is_impossible(name: str, private: bool, tmp_path: Path) -> None:
    table = patients(RULES)
    assert table.frame.select(breaks_any(table.schema.impossible).mean()).item() > 0.4
    model = fitted(name, table, tmp_path, private=private)
    sampled = model.sample(2000, rng=2)
    assert len(sampled) == 2000
    assert sampled.schema.impossible == table.schema.impossible
    assert not sampled.frame.select(breaks_any(table.schema.impossible).any()).item()
    # Some are drawn: the rules did not empty a column.
    assert {"f", "m"} <= set(sampled["sex"])
    assert True in set(sampled["pregnant"])
    assert model.sample(2000, rng=2).frame.equals(sampled.frame)
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").sample(2000, rng=2).frame.equals(sampled.frame)
    if model.guarantee is not None:
        assert "impossible" in str(model.guarantee.to_dict())


@every
def test_given_values_and_rules_hold_together(name: str, tmp_path: Path) -> None:
    model = fitted(name, patients(RULES), tmp_path, private=False)
    for given in ({"sex": "m"}, {"pregnant": None, "age": 40}, {"died": 0, "ward": "w20"}):
        sampled = model.sample(300, given=given, rng=3)
        assert len(sampled) == 300
        assert not sampled.frame.select(breaks_any(model.schema.impossible).any()).item()
        for column, value in given.items():
            assert set(sampled[column]) == {value}


@every
def test_what_is_impossible_is_refused_by_name(name: str, tmp_path: Path) -> None:
    no_men = [{"sex": ["m"], "pregnant": [level]} for level in (True, False, None)]
    model = fitted(name, patients(no_men), tmp_path, private=False)
    with pytest.raises(UsageError, match=r"given: .* impossible: sex=m, pregnant=false"):
        model.sample(5, given={"sex": "m", "pregnant": "false"})
    with pytest.raises(
        UsageError, match=r"given sex=m is impossible .* sex=m, pregnant="
    ) as caught:
        model.sample(5, given={"sex": "m"}, rng=1)
    assert caught.value.hint
    assert set(model.sample(50, rng=1)["sex"]) <= {"f", None}


@every
@pytest.mark.parametrize("private", [False, True])
def test_a_schema_that_allows_no_row_is_told_at_sampling(
    name: str, private: bool, tmp_path: Path
) -> None:
    nothing: list[dict[str, list[Any]]] = [{"sex": ["f", "m", None], "died": [0, 1]}]
    model = fitted(name, patients(nothing), tmp_path, private=private)
    with pytest.raises(UsageError, match=r"impossible .* sex=f\|m\|missing, died=0\|1") as caught:
        model.sample(5, rng=1)
    assert "pegai.impossible" in (caught.value.hint or "")


def only(rules: list[dict[str, list[Any]]], n: int, **cells: Any) -> Table:
    """Patients who all have these cells."""
    table = patients(rules, n)
    types = table.frame.schema
    same = [pl.lit(value, dtype=types[name]).alias(name) for name, value in cells.items()]
    return Table(table.frame.with_columns(same), table.schema)


@every
def test_a_model_of_impossible_rows_alone_still_gives_possible_ones(
    name: str, tmp_path: Path
) -> None:
    """Every real row breaks two rules."""
    table = only(RULES, 150, sex="m", pregnant=True, stage=1, died=1)
    assert table.frame.select(breaks_any(table.schema.impossible).all()).item()
    model = fitted(name, table, tmp_path, private=False)
    for given in ({}, {"sex": "m"}, {"pregnant": "true", "died": 1, "age": 30}):
        sampled = model.sample(500, given=given, rng=2)
        assert len(sampled) == 500
        assert not sampled.frame.select(breaks_any(table.schema.impossible).any()).item()
        for column, value in given.items():
            assert set(sampled[column].cast(pl.String)) == {str(value)}
    assert model.sample(50, rng=3).frame.equals(model.sample(50, rng=3).frame)


@every_private
@pytest.mark.parametrize("epsilon", [0.05, 2.0])
def test_one_patient_who_is_impossible_and_noise_still_give_possible_rows(
    name: str, epsilon: float, tmp_path: Path
) -> None:
    """Nearly all is forbidden, so that noise will hardly find what is not."""
    rules: list[dict[str, list[Any]]] = [
        *RULES,
        {"sex": ["f", None], "stage": [1, 2, 3, 4]},
        {"ward": [f"w{i}" for i in range(29)], "pregnant": [False, None]},
        {"ward": ["w29", None], "stage": [1, 2, 3]},
    ]
    table = only(rules, 1, sex="m", pregnant=True, stage=1, died=1)
    privacy = Privacy(epsilon, 1e-4, ledger=tmp_path / "ledger.jsonl")
    model = quick(name).fit(table, privacy=privacy)
    for given in ({}, {"died": 1}, {"sex": "m"}):
        sampled = model.sample(20, given=given, rng=1)
        assert len(sampled) == 20
        assert not sampled.frame.select(breaks_any(table.schema.impossible).any()).item()
        for column, value in given.items():
            assert set(sampled[column]) == {value}


@every
def test_a_rule_that_never_bites_changes_no_byte(name: str, tmp_path: Path) -> None:
    """Sampled as without rules, unless a row has to be drawn again."""
    never = [{"stage": [None], "sex": [None]}]
    without, ruled_out = (
        fitted(name, patients(rules), tmp_path, private=False) for rules in ([], never)
    )
    drawn = without.sample(300, rng=4)
    assert not drawn.frame.select(breaks_any(ruled_out.schema.impossible).any()).item()
    assert ruled_out.sample(300, rng=4).frame.equals(drawn.frame)


@pytest.mark.parametrize(
    ("name", "more_settings"), [*((n, {}) for n in PRIVATE), ("aim", {"selection": "adaptive"})]
)
def test_record_and_replay_with_a_patient_who_breaks_rules(
    name: str, more_settings: dict[str, Any], tmp_path: Path
) -> None:
    """The first patients break none: one who does may change nothing that is seen."""
    table = patients(RULES)
    possible = Table(table.frame.filter(~breaks_any(table.schema.impossible)), table.schema)
    odd = possible.frame.head(1).with_columns(
        sex=pl.lit("m"), pregnant=pl.lit(True), died=pl.lit(1), stage=pl.lit(1, pl.Int64)
    )
    odd = odd.cast(dict(possible.frame.schema))
    more = Table(pl.concat([possible.frame, odd]), table.schema)
    tapes, seen = (Tape(), Tape()), []
    settings = {**QUICK[name], **more_settings}
    for i, data in enumerate((possible, more)):
        told: list[tuple[str, float]] = []
        model = make(name, settings).fit(
            data,
            privacy=Privacy(2.0, 1e-4, ledger=tmp_path / f"l{i}.jsonl"),
            recorder=tapes[i],
            run=Run(lambda stage, share, told=told: told.append((stage, share))),
        )
        file = model.to_file()
        shapes = {key: (value.shape, str(value.dtype)) for key, value in file.weights.items()}
        seen.append(json.dumps([file.state, shapes, told, file.schema.to_dict()]))
        if name in ("mst", "independent", "aim"):
            seen[-1] += str({key: value.tobytes() for key, value in file.weights.items()})
    assert seen[0] == seen[1]
    assert [c[:2] for c in tapes[0].calls] == [c[:2] for c in tapes[1].calls]
    for (label, kind, x, limit), (_, _, y, _) in zip(tapes[0].calls, tapes[1].calls, strict=True):
        if kind == "choose":
            assert np.abs(x - y).max() <= limit * (1 + 1e-9), label
        if kind == "gaussian" and "DP-SGD" not in label:
            # The patient is counted as they are, though they are impossible.
            assert 0 < np.linalg.norm(x - y) <= limit * (1 + 1e-9), label
