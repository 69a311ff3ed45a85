"""Impossible cells: which they are, that tables are 0 there, and the sensitivity of scores."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.table import Table
from pegai.encode.categorical import CategoricalEncoder
from pegai.encode.table import TableEncoder
from pegai.schema import Schema, schema_from_dict
from pegai.synth import mst as mst_module
from pegai.synth.aim import AIM, AIMConfig, _start
from pegai.synth.grids import grid_encoder
from pegai.synth.marginals import measuring
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.measurements import Layout, NoisyTable
from pegai.synth.marginals.measuring import Measured, Measurer, count_exactly
from pegai.synth.marginals.source import TableSource
from pegai.synth.marginals.tree import fit_tree
from pegai.synth.marginals.zeros import impossible_cells
from pegai.synth.mst import MST

LEVELS = {"a": "uvwxyz", "b": "pqr", "c": "kl"}
Rules = list[dict[str, list[str | None]]]


def schema(rules: Rules, *, target: str | None = None) -> Schema:
    fields: list[dict[str, Any]] = [
        {"name": name, "type": "string", "categories": list(levels)}
        for name, levels in LEVELS.items()
    ]
    fields.insert(1, {"name": "x", "type": "number", "constraints": {"minimum": 0, "maximum": 1}})
    for field in fields:
        field["pegai"] = {"source": "expert", "role": "feature"}
        if field["name"] == target:
            field["pegai"]["role"] = "target"
            field["constraints"] = {"required": True}
    return schema_from_dict({"fields": fields, "pegai": {"impossible": rules}})


def encoder(rules: Rules, *, rare: str = "", target: str | None = None) -> TableEncoder:
    """Codes of a, x, b, c; the rare levels of a share one."""
    known = grid_encoder(schema(rules, target=target), bins=4)
    common = tuple(level for level in LEVELS["a"] if level not in rare)
    joined = CategoricalEncoder(
        known.schema["a"], common, tuple(rare), (1 / max(len(rare), 1),) * len(rare)
    )
    return TableEncoder(known.schema, (joined, *known.columns[1:]))


def levels_of(column: CategoricalEncoder, code: int) -> tuple[str | None, ...]:
    if code < len(column.common):
        return (column.common[code],)
    return column.rare if column.rare and code == len(column.common) else (None,)


def one_by_one(known: TableEncoder, columns: tuple[int, ...]) -> np.ndarray:
    """The slow way: a cell is impossible where each row of levels in it breaks a rule."""
    names = [known.schema.names[c] for c in columns]
    rules = [r for r in known.schema.impossible if set(r.columns) <= set(names)]
    cells = np.zeros([known.sizes[c] for c in columns], bool)
    for cell in np.ndindex(*cells.shape):
        inside = [
            levels_of(known.columns[c], code) if names[k] != "x" else ("any",)  # pyright: ignore
            for k, (c, code) in enumerate(zip(columns, cell, strict=True))
        ]
        rows = [dict(zip(names, row, strict=True)) for row in product(*inside)]
        cells[cell] = all(any(rule.broken_by(row) for rule in rules) for row in rows)
    return cells


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    found: dict[str, dict[str, list[str | None]]] = {}
    for _ in range(draw(st.integers(0, 6))):
        names = draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=3, unique=True))
        rule: dict[str, list[str | None]] = {
            name: draw(
                st.lists(
                    st.sampled_from([*LEVELS[name], None]), min_size=1, max_size=5, unique=True
                )
            )
            for name in sorted(names)
        }
        content = {name: sorted(levels, key=str) for name, levels in rule.items()}
        found[str(content)] = rule
    return list(found.values())


@settings(max_examples=80, deadline=None)
@given(
    some_rules(),
    st.sampled_from(["", "yz", "wxyz"]),
    st.sampled_from([(0, 2), (3, 0, 2), (1, 3, 2)]),
)
def test_cells_are_those_of_the_slow_way(rules: Rules, rare: str, columns: tuple[int, ...]) -> None:
    known = encoder(rules, rare=rare)
    fast, slow = impossible_cells(known, columns), one_by_one(known, columns)
    assert (fast is None) == (not slow.any())
    if fast is not None:
        assert fast.shape == slow.shape
        assert (fast == slow).all()


def test_a_code_of_rare_levels_needs_all_of_them() -> None:
    one = encoder([{"a": ["y"], "b": ["p"]}], rare="yz")
    assert impossible_cells(one, (0, 2)) is None
    both = encoder([{"a": ["y"], "b": ["p", "q"]}, {"a": ["z"], "b": ["q", "r"]}], rare="yz")
    cells = impossible_cells(both, (0, 2))
    assert cells is not None
    assert np.argwhere(cells).tolist() == [[4, 1]]


def test_rules_of_other_columns_say_nothing() -> None:
    known = encoder([{"a": ["u"], "b": ["p"], "c": ["k"]}])
    assert impossible_cells(known, (0, 2)) is None
    assert impossible_cells(known, (2, 0, 3)) is not None
    assert impossible_cells(encoder([]), (0, 2)) is None


def table(rules: Rules, n: int = 400, *, target: str | None = None) -> Table:
    """Independent columns: a tenth and more break each rule."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.choice(list(levels), n) for name, levels in LEVELS.items()})
    frame = frame.with_columns(x=pl.Series(rng.random(n))).select("a", "x", "b", "c")
    return Table(frame, schema(rules, target=target))


CLASS_RULES: Rules = [
    {"a": ["u", "v"], "b": ["p"]},
    {"a": ["w"], "c": ["k"]},
    {"a": ["x"], "b": ["q"], "c": ["l"]},
]


def test_tables_by_class_and_over_all_classes_are_zero_where_they_must_be() -> None:
    """With c as the class: rules of c and one or two columns hold in tables by class only."""
    data = table(CLASS_RULES, target="c")
    known = grid_encoder(data.schema, bins=4)
    measured = _start(known, data.schema["c"])
    counter = Counter.of(data, known, measured.class_index)
    count_exactly(measured, counter, 2.0)
    found = {t.columns: t for t in measured.tables}
    ones, pair = found[(0,)], found[(0, 2)]
    assert ones.counts.shape == (2, 7)
    assert np.argwhere(ones.counts == 0)[:, :].tolist() == [[0, 2], [0, 6], [1, 6]]
    assert ones.impossible is not None
    assert np.argwhere(ones.impossible).tolist() == [[0, 2]]
    assert pair.impossible is not None
    assert (pair.counts[pair.impossible] == 0).all()
    assert pair.impossible[0, 2].all()  # w with class k, whatever b is
    assert pair.impossible[:, :2, 0].all()  # u and v with p, in both classes
    assert pair.impossible[1, 3, 1]
    assert not pair.impossible[0, 3, 1]
    assert pair.deviation == 2.0
    whole = measured.impossible((0, 2), 1)
    assert whole is not None
    assert np.argwhere(whole[0]).tolist() == [[0, 0], [1, 0]]
    assert measured.impossible((1, 2), 2) is None


def test_edges_of_a_tree_have_exact_zeros() -> None:
    rng = np.random.default_rng(1)
    impossible = np.zeros((1, 3, 4), bool)
    impossible[0, 0, 1:3] = impossible[0, 2, 3] = True
    impossible[0, 1, :] = True  # a code that nothing goes with
    counts = np.where(impossible, 0.0, 100 * rng.random((1, 3, 4)))
    tables = [
        NoisyTable((0,), counts.sum(axis=2) + 5.0, 1.0),
        NoisyTable((1,), counts.sum(axis=1), 1.0),
        NoisyTable((0, 1), counts, 1.0, impossible),
    ]
    tree = fit_tree((3, 4), tables)
    edge = tree.tables[1]
    assert edge.sum(axis=1) == pytest.approx(1.0)
    assert (edge[[0, 2]][impossible[0][[0, 2]]] == 0).all()
    codes = tree.draw(5000, rng)
    possible = codes[codes[:, 0] != 1]
    assert len(possible) > 3000
    assert not impossible[0][possible[:, 0], possible[:, 1]].any()


@pytest.mark.parametrize("method", [MST(), AIM(AIMConfig(steps=200, components=16))])
def test_models_know_the_zeros_before_rows_are_drawn_again(method: MST | AIM) -> None:
    """Even where a ninth of the rows break the rule: a mixture halves that, a tree has none."""
    data = table([{"a": ["u", "v"], "b": ["p"]}], 3000)
    drawn = method.fit(data, rng=0)._sample(4000, {}, np.random.default_rng(0)).frame
    rule = data.schema.impossible[0]
    assert data.frame.select(rule.matches.mean()).item() > 0.1
    share = drawn.select(rule.matches.mean()).item()
    assert share == 0 if isinstance(method, MST) else share < 0.07


@pytest.mark.parametrize(
    "odd", [{}, {"a": "u", "b": "p"}, {"a": "w", "c": "k"}, {"a": "x", "b": "q", "c": "l"}]
)
def test_one_patient_changes_scores_by_one_at_most(
    odd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quality of pairs, in mst and in aim, when the patient breaks a rule and when not."""
    base = table(CLASS_RULES, target="c")
    row = base.frame.head(1).with_columns(**{k: pl.lit(v) for k, v in odd.items()})
    more = Table(pl.concat([base.frame, row]), base.schema)
    seen: list[np.ndarray] = []

    class Choosing:
        """Notes the scores; the model is made of the first table's counts in both cases."""

        filter_left = staticmethod(lambda label: 1.0)

        def choose(self, label: str, values: np.ndarray, **_: object) -> int:
            seen.append(np.array(values))
            return 0

    known = grid_encoder(base.schema, bins=4)
    measured = _start(known, base.schema["c"])
    count_exactly(measured, Counter.of(base, known, 3), 1.0)
    measured.tables = [t for t in measured.tables if len(t.columns) == 1]
    plain = Measured(known, Layout(known.sizes), 1, 1)
    count_exactly(plain, Counter.of(base, known, None), 1.0)
    plain.tables = [t for t in plain.tables if len(t.columns) == 1]
    monkeypatch.setattr(Measurer, "pairs", lambda *_: None)
    for data in (base, more):
        by_class = Measurer(measured, TableSource(data, Choosing(), "f"))  # pyright: ignore
        measuring.choose_pairs(
            by_class,
            AIMConfig(steps=20, components=4).fit_settings(50.0),
            rounds=1,
            choice_share=0.1,
            rng=np.random.default_rng(0),
            progress=lambda *_: None,
        )
        whole = Measurer(plain, TableSource(data, Choosing(), "f"))  # pyright: ignore
        mst_module._choose_tree(whole, 0.5, lambda *_: None)
    half = len(seen) // 2
    changes = [np.abs(x - y).max() for x, y in zip(seen[:half], seen[half:], strict=True)]
    assert max(changes) <= 1 + 1e-9
    assert max(changes) > 0.5  # the patient is in some table whatever rule is broken
