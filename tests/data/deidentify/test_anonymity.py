import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.data.datasets import load_heart_disease
from pegai.data.deidentify import anonymity, before_after
from pegai.errors import UsageError

# Table 3 of Li, Li and Venkatasubramanian 2007: three classes of three patients.
PAPER = pl.DataFrame(
    {
        "zip": ["476**"] * 3 + ["4790*"] * 3 + ["476*"] * 3,
        "age": ["2*"] * 3 + [">=40"] * 3 + ["3*"] * 3,
        "salary": [3, 4, 5, 6, 11, 8, 7, 9, 10],
        "disease": [
            *("gastric ulcer", "gastritis", "stomach cancer"),
            *("gastritis", "flu", "bronchitis"),
            *("bronchitis", "pneumonia", "stomach cancer"),
        ],
    }
)


def test_the_example_of_the_t_closeness_paper():
    # Section 5.1: the distance of {3k, 4k, 5k} is 0.375, that of {6k, 8k, 11k} is 0.167.
    found = anonymity(PAPER, ["zip", "age"], sensitive="salary").diversity[0]
    assert found.distance == "ordered"
    assert found.t == pytest.approx(0.375)
    rest = PAPER.with_columns(
        pl.when(pl.col("zip") == "4790*").then(pl.lit("b")).otherwise(pl.lit("a")).alias("zip")
    )
    found = anonymity(rest, ["zip"], sensitive="salary").diversity[0]
    assert found.t == pytest.approx(1 / 6)


def test_k_and_l_by_hand():
    found = anonymity(PAPER, ["zip", "age"], sensitive=["disease", "salary"])
    assert (found.k, found.classes, found.patients, found.unique) == (3, 3, 9, 0)
    assert found.sizes == ((3, 3),)
    disease = found.diversity[0]
    assert (disease.distinct_l, disease.distance) == (3, "total variation")
    assert disease.entropy_l == pytest.approx(3.0)
    # gastric ulcer 1/9, gastritis 2/9, stomach cancer 2/9, flu 1/9, bronchitis 2/9, pneumonia 1/9
    # first class: |1/3-1/9| + |1/3-2/9| + |1/3-2/9| + 1/9 + 2/9 + 1/9 = 8/9, halved 4/9
    assert disease.t == pytest.approx(4 / 9)


def test_uneven_entropy():
    frame = pl.DataFrame({"q": ["a"] * 4 + ["b"], "s": ["x", "x", "x", "y", "x"]})
    found = anonymity(frame, ["q"], sensitive="s")
    assert (found.k, found.unique, found.unique_share) == (1, 1, 0.2)
    assert found.diversity[0].entropy_l == 1.0
    only = anonymity(frame.head(4), ["q"], sensitive="s").diversity[0]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert only.entropy_l == pytest.approx(math.exp(entropy))
    assert only.t == 0.0


def test_missing_is_a_value():
    frame = pl.DataFrame({"q": ["a", None, "a", None], "s": [1.0, None, 1.0, 2.0]})
    found = anonymity(frame, ["q"], sensitive="s")
    assert (found.k, found.classes) == (2, 2)
    assert found.diversity[0].distinct_l == 1
    assert (
        anonymity(frame.filter(pl.col("q").is_null()), ["q"], sensitive="s").diversity[0].distinct_l
        == 2
    )


def test_patients_not_rows():
    frame = pl.DataFrame(
        {
            "id": ["p", "p", "p", "r", "r", None, None],
            "q": ["a", "a", "a", "a", "b", "c", "c"],
            "s": ["x", "x", "y", "x", "x", "x", "y"],
        }
    )
    found = anonymity(frame, ["q"], sensitive="s", unit="id")
    assert found.patients == 4
    assert found.sizes == ((1, 1), (2, 2))
    assert (found.k, found.unique) == (1, 1)
    rows = anonymity(frame, ["q"], sensitive="s")
    assert (rows.patients, rows.sizes) == (7, ((1, 1), (2, 1), (4, 1)))


def brute_force(frame, quasi, sensitive, *, ordered):
    values = sorted(set(frame[sensitive].drop_nulls()))
    levels = ([None] if frame[sensitive].null_count() else []) + values
    whole = [frame[sensitive].to_list().count(v) / frame.height for v in levels]
    worst = 0.0
    for _, part in frame.group_by(quasi):
        shares = [part[sensitive].to_list().count(v) / part.height for v in levels]
        gaps = np.array(shares) - np.array(whole)
        if ordered:
            away = np.abs(np.cumsum(gaps)).sum() / max(len(levels) - 1, 1)
        else:
            away = np.abs(gaps).sum() / 2
        worst = max(worst, float(away))
    return worst


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 7))),
        min_size=1,
        max_size=40,
    )
)
def test_t_equals_brute_force(rows):
    frame = pl.DataFrame(
        {"q": [r[0] for r in rows], "s": pl.Series([r[1] for r in rows], dtype=pl.Int64)}
    )
    ordered = anonymity(frame, ["q"], sensitive="s").diversity[0]
    assert ordered.t == pytest.approx(brute_force(frame, "q", "s", ordered=True), abs=1e-9)
    text = frame.with_columns(pl.col("s").cast(pl.String))
    nominal = anonymity(text, ["q"], sensitive="s").diversity[0]
    assert nominal.t == pytest.approx(brute_force(text, "q", "s", ordered=False), abs=1e-9)
    assert 0 <= ordered.t <= 1
    assert 0 <= nominal.t <= 1
    assert 1 <= nominal.entropy_l <= nominal.distinct_l + 1e-9 or nominal.entropy_l >= 1


def test_edges():
    empty = PAPER.clear()
    found = anonymity(empty, ["zip"], sensitive=["salary", "disease"])
    assert (found.k, found.classes, found.unique_share, found.sizes) == (0, 0, 0.0, ())
    assert all((d.distinct_l, d.entropy_l, d.t) == (0, 0.0, 0.0) for d in found.diversity)
    one = anonymity(PAPER.head(1), ["zip"], sensitive=["salary", "disease"])
    assert (one.k, one.unique_share) == (1, 1.0)
    assert all((d.distinct_l, d.t) == (1, 0.0) for d in one.diversity)
    nobody = PAPER.with_columns(pl.lit(None, dtype=pl.Int64).alias("salary"))
    assert anonymity(nobody, ["zip"], sensitive="salary").diversity[0].distinct_l == 1
    assert anonymity(PAPER, [], sensitive="salary").k == 9


def test_roles_of_a_table():
    found = anonymity(load_heart_disease())
    assert found.quasi_identifiers == ("age", "sex")
    assert [d.column for d in found.diversity] == ["num"]
    assert found.patients == 920
    assert found.k == 1
    grades = anonymity(load_heart_disease(target="num")).diversity[0]
    assert grades.distance == "ordered", "the grades are ordinal"


def test_before_after():
    coarse = PAPER.with_columns(pl.lit("4****").alias("zip")).drop("age")
    pair = before_after(PAPER, coarse, quasi_identifiers=["zip", "age"], sensitive="salary")
    assert (pair.before.k, pair.after.k) == (3, 9)
    assert pair.after.quasi_identifiers == ("zip",)
    rows = {name: (old, new) for name, old, new in pair.rows()}
    assert rows["smallest class (k)"] == (3, 9)
    assert rows["t of salary"] == (pytest.approx(0.375), pytest.approx(0.0))


def test_wrong_columns():
    with pytest.raises(UsageError, match="no column 'nobody'"):
        anonymity(PAPER, ["nobody"])
    with pytest.raises(UsageError, match="both"):
        anonymity(PAPER, ["zip"], sensitive="zip")
    with pytest.raises(UsageError, match="needs quasi_identifiers"):
        anonymity(PAPER)


def test_a_hundred_thousand_rows():
    rng = np.random.default_rng(0)
    n = 100_000
    frame = pl.DataFrame(
        {
            "q": rng.integers(0, 30_000, n),
            "s": rng.random(n),
            "c": rng.integers(0, 9, n).astype(str),
        }
    )
    found = anonymity(frame, ["q"], sensitive=["s", "c"])
    assert found.patients == n
    assert sum(size * count for size, count in found.sizes) == n
