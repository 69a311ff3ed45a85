"""Columns in a form that keeps rules: which get one, to and fro, and what it is worth."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.table import DTYPES, Table
from pegai.errors import ModelError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.schema import Schema, schema_from_dict
from pegai.synth.base import Fitted
from pegai.synth.catalog import load, make
from pegai.synth.conditions import Given
from pegai.synth.constraints.fitted import FittedInForm
from pegai.synth.constraints.forms import Forms
from pegai.synth.constraints.imputing import Imputing
from pegai.synth.constraints.targets import Targets, moved
from pegai.synth.files import read_model, write_model

BOUNDS: dict[str, tuple[Any, Any]] = {
    "integer": (0, 500),
    "number": (0, 50),
    "date": ("2020-01-01", "2024-12-31"),
    "datetime": ("2020-01-01", "2024-12-31T23:59:59"),
}
START = {"date": dt.date(2020, 1, 1), "datetime": dt.datetime(2020, 1, 1)}


def field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    low, high = BOUNDS[kind]
    required = more.pop("required", True)
    pegai = {"source": "expert", **more.pop("pegai", {})}
    limits = {"minimum": low, "maximum": high, "required": required, **more}
    return {"name": name, "type": kind, "constraints": limits, "pegai": pegai}


def schema(fields: list[dict[str, Any]], *rules: str, **more: Any) -> Schema:
    named = [{"name": f"r{i}", "check": check} for i, check in enumerate(rules)]
    return schema_from_dict({"fields": fields, "pegai": {"rules": named, **more}})


def table(ruled: Schema, **cells: list[Any]) -> Table:
    types = {c.name: DTYPES[c.type] for c in ruled.columns}
    return Table(pl.DataFrame({n: pl.Series(n, cells[n], dtype=types[n]) for n in types}), ruled)


def names(forms: Forms) -> list[tuple[str, str]]:
    return [(form.form, form.name) for form in forms.forms]


INTEGERS = [field(name, "integer") for name in "abcd"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["b >= a"], [("gap", "b")]),
        (["a <= b", "b - a <= 30"], [("gap", "b")]),
        (["a > b"], [("gap", "b")]),
        (["a <= b <= c"], [("gap", "b"), ("gap", "c")]),
        (["a <= b", "b <= c", "c <= a"], [("gap", "b"), ("gap", "c")]),
        (["b >= a", "b >= c"], [("gap", "b"), ("gap", "c")]),
        (["abs(a - b) <= 5"], [("gap", "b")]),
        (["d == a + b"], [("total", "d")]),
        (["a == b + c", "d >= a"], [("total", "a"), ("gap", "d")]),
        (["a + b == c + d"], [("total", "d")]),
        (["a >= 18", "a < 90.5"], [("bounds", "a")]),
        (["2 * a >= 2 * b + 1"], [("gap", "b")]),
        (["a >= 2 * b"], []),
        (["a != b"], []),
        (["if a > 3 then b > a"], []),
        (["a >= b or c > d"], []),
        (["a * b >= c"], []),
        (["a + b >= c"], []),
    ],
)
def test_which_columns_get_a_form(rules: list[str], expected: list[tuple[str, str]]) -> None:
    assert names(Forms.of(schema(INTEGERS, *rules))) == expected


def test_without_rules_a_table_is_learned_as_it_is() -> None:
    plain = table(schema([field("a", "integer")]), a=[1])
    forms = Forms.of(plain.schema, plain)
    assert forms.learned_schema is plain.schema
    assert forms.table(plain) is plain


def test_roles_that_methods_look_at_keep_their_columns() -> None:
    timed = [
        field("a", "integer", pegai={"role": "time"}),
        field("b", "integer", pegai={"role": "target"}),
    ]
    assert names(Forms.of(schema(timed, "a >= b"))) == []


def test_a_private_fit_asks_the_schema_alone_for_what_may_be_missing() -> None:
    def named(rules: str, *open_columns: str, **cells: list[Any]) -> list[tuple[str, str]]:
        fields = [field(n, "integer", required=n not in open_columns) for n in "ab"]
        ruled = schema(fields, rules)
        return names(Forms.of(ruled, table(ruled, **cells) if cells else None))

    assert named("b >= a", "b") == [("gap", "b")]
    assert named("b >= a", "a") == [("gap", "a")]
    assert named("b >= a", "a", "b") == []
    whole = {"a": [1, None], "b": [2, None]}
    assert named("b >= a", "a", "b", **whole) == [("gap", "b")]
    # The discharge is known where the admission is not: a gap would lose it.
    assert named("b >= a", "a", "b", a=[1, None], b=[2, 3]) == [("gap", "a")]
    assert named("b >= a", "a", "b", a=[1, None, 1], b=[2, 3, None]) == []
    assert named("b == a + 1", "a", "b", **whole) == [("total", "b")]
    assert named("b == a + 1", "a", "b", a=[1, None], b=[2, 3]) == []
    assert named("b == a + 1", "a") == []


def test_what_is_learned_has_public_bounds_and_the_weaker_source() -> None:
    fields = [
        field("a", "number", pegai={"decimals": 1, "source": "standard:x"}),
        field("b", "number", pegai={"decimals": 2, "source": "dp-estimate"}),
    ]
    ruled = schema(fields, "b > a", "b <= a + 7.5", dataset="toy")
    learned = Forms.of(ruled, table(ruled, a=[], b=[])).learned_schema
    gap = learned["b"]
    assert (gap.minimum, gap.maximum) == (0.01, 7.5)
    assert gap.pegai.source == "dp-estimate"
    assert gap.pegai.decimals == 2
    assert learned.rules == ()
    # A private fit has cells of equal width: they get narrow where gaps are short.
    private = Forms.of(ruled).learned_schema["b"]
    assert (private.minimum, private.maximum) == (0.0, pytest.approx(np.log1p(749)))
    assert learned.pegai.dataset == "toy"
    guessed = [fields[0], field("b", "number", pegai={"source": "private"})]
    assert not Forms.of(schema(guessed, "b > a")).learned_schema["b"].is_public
    bounded = Forms.of(schema([field("a", "date")], "a >= '2022-03-04'")).learned_schema["a"]
    assert bounded.constraints.minimum == "2022-03-04"


def value(kind: str, step: int) -> Any:
    if kind == "date":
        return START[kind] + dt.timedelta(days=step)
    if kind == "datetime":
        return START[kind] + dt.timedelta(seconds=step)
    return step if kind == "integer" else step / 10


KINDS = st.sampled_from(list(BOUNDS))
PLACES = st.tuples(st.integers(0, 240), st.integers(0, 240), st.booleans(), st.booleans())


@settings(max_examples=80, deadline=None)
@given(KINDS, st.sampled_from(["b >= a", "b > a", "b <= a"]), st.lists(PLACES), st.booleans())
def test_rows_that_keep_the_rule_come_back_as_they_were_and_others_keep_it_then(
    kind: str, rule: str, places: list[tuple[int, int, bool, bool]], private: bool
) -> None:
    decimals = {"pegai": {"decimals": 1}} if kind == "number" else {}
    ruled = schema(
        [field("a", kind, **decimals), field("b", kind, required=False, **decimals)], rule
    )
    rows = table(
        ruled,
        a=[value(kind, i) for i, *_ in places],
        b=[None if gone else value(kind, i + j) for i, j, gone, _ in places],
    )
    flipped = rows.frame.with_columns(
        b=pl.when(pl.Series([turn for *_, turn in places], dtype=pl.Boolean))
        .then(pl.col("a"))
        .otherwise(pl.col("b"))
    )
    rows = Table(flipped, ruled)
    forms = Forms.of(ruled, None if private else rows)
    assert names(forms) == [("gap", "b")]
    forms = Forms.from_list(json.loads(json.dumps(forms.to_list())), ruled)
    back = forms.back(forms.table(rows), {}, np.random.default_rng(0))
    broken = rows.frame.select(ruled.rules[0].broken(ruled.columns)).to_series()
    assert back.frame.filter(~broken).equals(rows.frame.filter(~broken))
    assert not back.frame.select(ruled.rules[0].broken(ruled.columns).any()).item()
    assert back["a"].equals(rows["a"])
    assert back["b"].is_null().equals(rows["b"].is_null())


def test_a_total_is_not_learned_and_computed_in_its_decimals() -> None:
    fields = [field(n, "number", pegai={"decimals": 1}) for n in ("a", "b", "total")]
    ruled = schema(fields, "total - 1 == a + 2 * b")
    rows = table(ruled, a=[0.1, 4.0], b=[0.2, 3.3], total=[1.5, 99.0])
    forms = Forms.of(ruled, rows)
    assert forms.learned_schema.names == ["a", "b"]
    back = forms.back(forms.table(rows), {}, np.random.default_rng(0))
    assert back["total"].to_list() == [1.5, 11.6]
    assert back.schema == ruled


def test_the_beginning_of_a_chain_moves_to_a_given_end() -> None:
    ruled = schema([field(n, "integer") for n in "abc"], "a <= b <= c")
    rows = table(ruled, a=[1, 5, 9], b=[2, 7, 9], c=[4, 7, 30])
    forms = Forms.of(ruled, rows)
    back = forms.back(forms.table(rows), {"c": 100.0}, np.random.default_rng(0))
    assert back.frame.rows() == [(97, 98, 100), (98, 100, 100), (79, 79, 100)]
    assert forms.learned_given({"c": 100.0}) == {}
    assert forms.learned_given({"b": 12.0, "c": 100.0}) == {"c": 88.0}
    assert forms.learned_given({"a": 1.0, "c": None}) == {"a": 1.0, "c": None}


def stays(n: int) -> Table:
    """Stays of a mean of 5 days over five years."""
    rng = np.random.default_rng(0)
    ruled = schema([field("came", "date"), field("left", "date")], "left >= came", dataset="toy")
    came = rng.integers(0, 1700, n)
    left = came + rng.geometric(0.2, n)
    return table(
        ruled,
        came=[value("date", int(i)) for i in came],
        left=[value("date", int(i)) for i in left],
    )


def distance(one: Table, two: Table) -> float:
    """Mean distance between equal quantiles of the stay, in days (Wasserstein)."""
    at = np.linspace(0, 1, 201)
    days = [(t["left"] - t["came"]).dt.total_days().to_numpy() for t in (one, two)]
    return float(np.abs(np.quantile(days[0], at) - np.quantile(days[1], at)).mean())


@pytest.mark.parametrize("name", ["independent", "mst"])
@pytest.mark.parametrize("private", [False, True])
def test_the_gap_keeps_stays_that_dates_apart_would_lose(
    name: str, private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stays(1000)

    def sampled(ledger: str) -> Table:
        privacy = Privacy(2.0, 1e-4, ledger=tmp_path / ledger) if private else None
        model = make(name).fit(real, privacy=privacy, rng=None if private else 1)
        found = model.sample(3000, rng=1)
        assert (found["left"] >= found["came"]).all()
        return found

    with_gap = distance(real, sampled("a.jsonl"))
    monkeypatch.setattr("pegai.synth.base.Forms.of", lambda schema, table=None: Forms(schema, ()))
    apart = distance(real, sampled("b.jsonl"))
    assert with_gap < (20 if private else 0.6)
    assert apart > 10 * with_gap


def test_a_folder_says_how_columns_were_learned(tmp_path: Path) -> None:
    real = stays(200)
    model = make("independent").fit(real, rng=1)
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    content = json.loads(path.read_text())
    assert content["format"] == "pegai-model/2"
    assert content["learned_as"][0]["form"] == "gap"
    assert [f["type"] for f in content["schema"]["fields"]] == ["date", "date"]
    assert load(tmp_path / "model").schema == real.schema
    file = read_model(tmp_path / "model")
    for broken in ({"form": "gap"}, {"form": "new"}, {"form": "total", "factors": 3}):
        write_model(replace(file, learned_as=(broken,)), tmp_path / "model", overwrite=True)
        with pytest.raises(ModelError):
            load(tmp_path / "model")


def linked(n: int = 3000) -> Table:
    """A flag that says where the end of a stay lies, and one that says how large a sum is."""
    rng = np.random.default_rng(0)
    flags = [
        {
            "name": name,
            "type": "string",
            "categories": ["0", "1"],
            "constraints": {"required": True},
        }
        for name in ("late", "high")
    ]
    fields = [field(name, "integer") for name in ("came", "left", "a", "b", "t")]
    ruled = schema([*fields, *flags], "left >= came", "t == a + b", dataset="toy")
    a, b, came = rng.integers(0, 20, n), rng.integers(0, 20, n), rng.integers(0, 440, n)
    left = came + rng.integers(0, 30, n)
    cells = {"came": came, "left": left, "a": a, "b": b, "t": a + b}
    flag = {"late": came > 220, "high": a + b > 19}
    as_text = {name: np.where(true, "1", "0").tolist() for name, true in flag.items()}
    return table(ruled, **{k: v.tolist() for k, v in cells.items()}, **as_text)


def share(frame: pl.DataFrame, column: str, level: str) -> float:
    return float((frame[column] == level).to_numpy().mean())


@pytest.mark.parametrize("name", ["trees", "mst"])
def test_other_columns_follow_a_rebuilt_one_that_is_given(name: str) -> None:
    real = linked()
    model = make(name).fit(real, rng=0)
    assert isinstance(model, FittedInForm)

    def drawn(**values: float) -> pl.DataFrame:
        frame = model.sample(1000, given=values, rng=0).frame
        for rule in real.schema.rules:
            assert not frame.select(rule.broken(real.schema.columns).any()).item()
        assert all(set(frame[column]) == {value} for column, value in values.items())
        return frame

    frame = drawn(t=36)
    # Only 17 + 19, 18 + 18 and 19 + 17 make 36.
    assert [frame[n].mean() for n in "ab"] == pytest.approx([18, 18], abs=0.5)
    assert share(frame, "high", "1") > 0.95
    assert frame.n_unique() > 80
    frame = drawn(left=400)
    assert frame["came"].mean() == pytest.approx(385, abs=4)
    assert share(frame, "late", "1") > 0.95
    assert share(drawn(left=40), "late", "0") > 0.95
    frame = drawn(t=9, left=40, a=4)
    assert set(frame["b"]) == {5}
    # A model of pairs alone, in which a and b tell apart of the flag, says 0.92.
    assert share(frame, "high", "0") > 0.8
    # What the table never holds is answered by what comes nearest.
    frame = drawn(t=60)
    assert [frame[n].mean() for n in "ab"] == pytest.approx([30, 30], abs=1)
    assert share(frame, "high", "1") > 0.95


def test_a_condition_costs_the_same_however_rare_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("independent").fit(linked(300), rng=0)
    assert isinstance(model, FittedInForm)
    rows: list[int] = []
    own = type(model.inner)._sample

    def counted(self: Fitted, n: int, given: Given, rng: np.random.Generator) -> Table:
        rows.append(n)
        return own(self, n, given, rng)

    monkeypatch.setattr(type(model.inner), "_sample", counted)
    for value in (19, 38, 499):
        assert len(model.sample(9000, given={"t": value}, rng=1)) == 9000
        assert rows == [65_536, 8192]
        rows.clear()
    same = [model.sample(20, given={"t": 7, "left": 50}, rng=4).frame for _ in range(2)]
    assert same[0].equals(same[1])


def test_a_missing_total_comes_with_missing_parts() -> None:
    rng = np.random.default_rng(0)
    fields = [field(name, "integer", required=False) for name in "abc"]
    ruled = schema(fields, "c == a + b")
    gone = rng.random(400) < 0.2
    part = [None if hole else int(rng.integers(0, 20)) for hole in gone]
    whole = [None if value is None else 2 * value for value in part]
    rows = table(ruled, a=part, b=part, c=whole)
    model = make("trees").fit(rows, rng=0)
    frame = model.sample(300, given={"c": None}, rng=0).frame
    assert frame["c"].null_count() == 300
    assert frame.select(pl.any_horizontal(pl.col("a", "b").is_null()).all()).item()
    assert model.sample(300, given={"c": 20}, rng=0).frame.select("a", "b").null_count().row(0) == (
        0,
        0,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 500)] * 4), min_size=1), st.booleans())
def test_a_difference_is_spread_over_parts_within_their_bounds(
    cells: list[tuple[int, int, int, int]], held: bool
) -> None:
    fields = [field(n, "integer") for n in "abc"]
    fields.append(field("d", "integer", maximum=1500))
    forms = Forms.of(schema(fields, "d == a + b + c"))
    a, b, c, odd = (np.array(column, float) for column in zip(*cells, strict=True))
    aim = odd + a if held else 3 * odd
    fixed = {"a": np.full(len(a), held)}
    targets = Targets({"d": aim}, frozenset(), fixed)
    built = {"a": a, "b": b, "c": c, "d": a + b + c}
    rng = np.random.default_rng(0)
    found = built | moved(forms.rebuilt, built, targets, schema=forms.schema, rng=rng)
    assert np.array_equal(found["a"] + found["b"] + found["c"], aim)
    assert all(((found[n] >= 0) & (found[n] <= 500)).all() for n in "abc")
    assert not held or np.array_equal(found["a"], a)
    up = np.sign(aim - built["d"])
    # Rounding aside no part goes against the others.
    assert all(((found[n] - built[n]) * up >= -1).all() for n in "abc")


@pytest.mark.parametrize("rule", ["b >= a", "if c == 1 then b >= a", "b == a + 5 * c"])
def test_filled_cells_keep_the_rules_and_known_ones_stay(rule: str) -> None:
    rng = np.random.default_rng(0)
    fields = [field(name, "integer", maximum=60, required=name == "c") for name in "ab"]
    ruled = schema([*fields, field("c", "integer", maximum=1)], rule)
    a, c = rng.integers(0, 50, 400), rng.integers(0, 2, 400)
    b = a + (5 * c if rule.startswith("b ==") else rng.integers(0, 10, 400))
    whole = table(ruled, a=a.tolist(), b=b.tolist(), c=c.tolist())
    model = make("arm", {"max_steps": 300, "hidden": 32}).fit(whole, rng=0)
    assert isinstance(model, Imputing)
    turn = pl.int_range(400) % 3
    holes = whole.frame.with_columns(
        pl.when(turn == 0).then(None).otherwise("a").alias("a"),
        pl.when(turn == 1).then(None).otherwise("b").alias("b"),
    )
    # Two rows that break the rule by what is known, the second one beside a hole elsewhere.
    wrong = pl.DataFrame({"a": [30, 30], "b": [20, 20], "c": [1, 1]}).cast(holes.schema)
    holes = pl.concat([holes, wrong])
    done = model.impute(Table(holes, ruled), rng=1).frame
    again = model.impute(Table(holes, ruled), rng=1).frame
    assert done.equals(again)
    assert done.tail(2).equals(wrong)
    filled = done.head(400)
    assert not filled.select(ruled.rules[0].broken(ruled.columns).any()).item()
    assert filled.select("a", "b").null_count().row(0) == (0, 0)
    for column in "abc":
        known = holes[column].is_not_null()
        assert done.filter(known)[column].equals(holes.filter(known)[column])
    lost = (filled["a"] - whole["a"]).abs().to_numpy()[::3]
    assert lost.mean() < (20 if "if" in rule else 9)


def test_a_method_that_fills_no_cells_says_so() -> None:
    real = stays(50)
    model = make("independent").fit(real, rng=0)
    assert isinstance(model, FittedInForm)
    with pytest.raises(UsageError, match="independent fills in no missing cells"):
        model.impute(real)
