"""Every plot family: small, well-formed, deterministic, inert, and safe on odd data."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from pegai.evaluate.scores import Score
from pegai.report.plots.attack import plot_roc
from pegai.report.plots.correlation import plot_correlations
from pegai.report.plots.marginals import plot_marginals, variation_distance
from pegai.report.plots.picture import Picture, Style, draw, new_figure
from pegai.report.plots.scatter import plot_scatter
from pegai.report.plots.tradeoff import Point, plot_bounds, plot_tradeoff
from pegai.report.plots.utility import plot_classifiers, plot_confusion

HOSTILE = '<script>alert(1)</script> $x^{2}$ id="q" \x00\n日本'


def check(picture: Picture) -> ET.Element:
    root = ET.fromstring(picture.svg)  # noqa: S314
    assert root.get("role") == "img"
    assert root.find("title") is not None and root.find("desc") is not None
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i.startswith(picture.name) for i in ids)
    assert "<style" not in picture.svg
    assert "http" not in picture.svg
    for e in root.iter():
        target = e.get("href")
        assert target is None or target[1:] in ids
    return root


def bars(column="c", real=(0.5, 0.5), synthetic=(0.4, 0.6), **changes):
    base = {
        "column": column, "title": column, "kind": "categorical", "edges": None,
        "labels": [f"level {i}" for i in range(len(real))],
        "real": list(real), "synthetic": list(synthetic),
    }  # fmt: skip
    return base | changes


def test_marginals_of_the_fixture_are_small(make_evaluation):
    drawn = plot_marginals(make_evaluation().plots["marginals"])
    assert len(drawn.pictures) == 15 and drawn.left_out == 0
    for picture in drawn.pictures:
        check(picture)
    assert sum(len(p.svg) for p in drawn.pictures) < 300_000


def test_marginals_of_a_wide_table_show_the_worst(make_evaluation):
    columns = [bars(f"c{i}", synthetic=(0.5 - i / 200, 0.5 + i / 200)) for i in range(60)]
    drawn = plot_marginals(columns)
    assert len(drawn.pictures) == 24 and drawn.left_out == 36
    assert {p.title for p in drawn.pictures} == {f"Distribution of c{i}" for i in range(36, 60)}
    assert drawn.distances[0] == ("c59", pytest.approx(0.295))
    assert len(drawn.distances) == 60


def test_odd_marginals():
    columns = [
        bars(real=[1.0], synthetic=[1.0]),
        bars(real=[0.0, 0.0], synthetic=[0.0, 0.0]),
        bars(real=[None, 1.0], synthetic=[0.5, 0.5]),
        bars(real=[0.05] * 20, synthetic=[0.05] * 20),
        bars(labels=[], real=[0.5, 0.5], synthetic=[1.0, 0.0]),
        bars(edges=[3.0, 3.0], real=[1.0], synthetic=[1.0], kind="integer"),
        bars(edges=[0, 1, 2], real=[0.4, 0.3, 0.3], synthetic=[0.4, 0.3, 0.3],
             labels=["a", "b", "missing"], kind="continuous"),
        bars(edges=[18000, 18500, 19000], kind="date"),
        bars(edges=[-1e300, 0, 1e300], kind="continuous"),
        bars(real=[], synthetic=[]),
    ]  # fmt: skip
    drawn = plot_marginals(columns)
    assert len(drawn.pictures) == 9 and drawn.left_out == 1
    for picture in drawn.pictures:
        check(picture)
    assert "2019-04-14" in drawn.pictures[7].svg


def test_variation_distance():
    assert variation_distance(bars(real=(1, 0), synthetic=(0, 1))) == 1
    assert variation_distance(bars(real=(0.5, 0.5), synthetic=(0.5, 0.5))) == 0


@pytest.mark.parametrize("size", [1, 2, 15, 60])
def test_correlations(size):
    rng = np.random.default_rng(0)
    real = np.corrcoef(rng.normal(size=(size, 30))).reshape(size, size)
    synthetic = real + rng.normal(size=real.shape) * 0.1
    rows = [[None if math.isnan(v) else v for v in row] for row in synthetic.tolist()]
    names = [f"column {i}" for i in range(size)]
    drawn = plot_correlations({"columns": names, "real": real.tolist(), "synthetic": rows})
    assert [p.name for p in drawn.pictures] == [
        "correlation-real", "correlation-synthetic", "correlation-difference",
    ]  # fmt: skip
    for picture in drawn.pictures:
        check(picture)
    assert drawn.left_out == max(0, size - 24)
    assert sum(len(p.svg) for p in drawn.pictures) < 400_000


def test_correlations_with_nothing_defined_or_ragged():
    nothing = [[None, None], [None, None]]
    drawn = plot_correlations({"columns": ["a", "b"], "real": nothing, "synthetic": nothing})
    assert len(drawn.pictures) == 3 and drawn.worst == ()
    ragged = {"columns": ["a", "b"], "real": [[1], [1, 2]], "synthetic": [[1], [1, 2]]}
    assert plot_correlations(ragged).pictures == ()


def test_worst_pairs_come_first():
    real = np.eye(3)
    synthetic = real.copy()
    synthetic[0, 2] = synthetic[2, 0] = 0.5
    drawn = plot_correlations(
        {"columns": list("abc"), "real": real.tolist(), "synthetic": synthetic.tolist()}
    )
    assert drawn.worst == (("a", "c", 0.0, 0.5),)


def test_scatter():
    many = np.random.default_rng(0).normal(size=(5000, 2)).tolist()
    pictures = plot_scatter({"real": many, "synthetic": [[0, 0], [None, 1]], "explained": [0.3]})
    assert len(pictures) == 2
    assert check(pictures[0]) is not None
    assert pictures[0].svg.count("<use") == 400
    assert plot_scatter({"real": [], "synthetic": many, "explained": []}) == ()


def test_classifiers(make_evaluation):
    pictures = plot_classifiers(make_evaluation().plots["tstr"])
    assert [p.name for p in pictures] == ["tstr-auc", "tstr-accuracy", "tstr-f1"]
    for picture in pictures:
        check(picture)
    empty = {"classifier": "a", "title": "A", "metrics": {"auc": {"synthetic": None}}}
    assert plot_classifiers([empty]) == ()
    single = {"classifier": "a", "title": "A", "metrics": {"auc": {"synthetic": 0.7, "low": None,
              "high": None, "real": None}}}  # fmt: skip
    assert len(plot_classifiers([single])) == 1


@pytest.mark.parametrize("classes", [1, 2, 5, 12])
def test_confusion(classes):
    counts = np.random.default_rng(1).integers(0, 30, (classes, classes))
    counts[0] = 0  # a class without patients
    data = {"labels": [f"class {i}" for i in range(classes)], "real": counts.tolist(),
            "synthetic": counts.tolist()}  # fmt: skip
    for picture in plot_confusion(data):
        check(picture)
    assert plot_confusion({**data, "real": [[1, 2, 3]]}) != ()


def test_roc():
    fpr = np.linspace(0, 1, 5000)
    pictures = plot_roc({"fpr": fpr.tolist(), "tpr": np.sqrt(fpr).tolist()}, 0.66)
    assert len(pictures) == 2
    for picture in pictures:
        check(picture)
        assert len(picture.svg) < 30_000
    assert "0.660" in pictures[0].description
    assert plot_roc({"fpr": [0.0], "tpr": [0.0]}) == ()
    assert plot_roc({"fpr": [0, 1], "tpr": [0]}) == ()
    assert len(plot_roc({"fpr": [0, 0, 1], "tpr": [0, 1, 1]})) == 2


def score(value, low=math.nan, high=math.nan, baseline=math.nan):
    return Score("s", "utility", "s", value, low, high, baseline)


def test_tradeoff():
    points = [
        Point("a", "m", 1.0, True, score(0.8, 0.7, 0.9, 0.88), score(0.5, 0.45, 0.55)),
        Point("b", "m", 1.0, False, score(0.7), None),
        Point("c", "n", math.inf, False, score(math.nan), score(0.6)),
    ]
    pictures = plot_tradeoff(points)
    assert [p.name for p in pictures] == ["tradeoff-utility", "tradeoff-attack"]
    for picture in pictures:
        check(picture)
    assert "no DP" in pictures[0].svg


@pytest.mark.parametrize("epsilon", [math.inf, 0.5])
def test_tradeoff_of_one(epsilon):
    pictures = plot_tradeoff([Point("a", "m", epsilon, True, score(0.8), score(0.5))])
    assert len(pictures) == 2
    for picture in pictures:
        check(picture)
    assert plot_tradeoff([Point("a", "m", epsilon, True, None, None)]) == ()


def test_bounds_are_rounded_up():
    picture = plot_bounds([("a", 0.02701, True), ("b", None, False)])
    check(picture)
    assert "2.8 %" in picture.svg
    assert "no promise" in picture.svg


def test_hostile_text_is_inert():
    drawn = [
        *plot_marginals([bars(HOSTILE, labels=[HOSTILE, "b"])]).pictures,
        *plot_correlations({"columns": [HOSTILE], "real": [[1]], "synthetic": [[1]]}).pictures,
        *plot_confusion({"labels": [HOSTILE], "real": [[1]], "synthetic": [[1]]}),
        plot_bounds([(HOSTILE, 0.5, True)]),
    ]
    for picture in drawn:
        check(picture)
        assert "<script" not in picture.svg
        assert "\x00" not in picture.svg
    assert "$x^{2}$" in drawn[0].svg  # shown as it is, not set as mathematics


def test_equal_data_gives_equal_bytes_and_leaves_the_process_alone():
    before = dict(mpl.rcParams)
    first = plot_marginals([bars()]).pictures[0].svg
    assert plot_marginals([bars()]).pictures[0].svg == first
    assert dict(mpl.rcParams) == before


def test_the_style_is_given_back_after_an_error():
    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError), Style():
        _ = 1 / 0
    assert dict(mpl.rcParams) == before
    with Style():
        figure = new_figure(100, 80)
        figure.subplots()
        check(draw(figure, name="p", title="t", description="d"))
