import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.plots import (
    MAX_POINTS,
    associations,
    bin_edges,
    correlation,
    marginals,
    scatter,
)
from pegai.schema import schema_from_dict


def test_marginals_sum_to_one_and_name_what_is_missing(patients):
    real = patients(200, 1)
    bars = {b["column"]: b for b in marginals(real, [patients(150, 2), patients(90, 3)])}
    assert list(bars) == real.schema.names
    for bar in bars.values():
        assert sum(bar["real"]) == pytest.approx(1, abs=1e-4)
        assert sum(bar["synthetic"]) == pytest.approx(1, abs=1e-4)
        assert len(bar["labels"]) == len(bar["real"]) == len(bar["synthetic"])
    assert bars["lab"]["labels"][-1] == "missing"
    assert bars["age"]["labels"][-1] != "missing"
    assert bars["outcome"]["labels"] == ["alive", "dead"]
    assert bars["outcome"]["edges"] is None
    assert len(bars["lab"]["edges"]) == len(bars["lab"]["labels"])
    assert bars["visit"]["labels"][0].startswith("2019-")


def test_rare_categories_are_put_together_and_unknown_ones_are_shown():
    names = [f"l{i}" for i in range(40)]
    schema = schema_from_dict({"fields": [{"name": "c", "type": "string", "categories": names}]})
    real = Table(pl.DataFrame({"c": names}), schema)
    (bar,) = marginals(real, [Table(pl.DataFrame({"c": ["odd"] * 5}), schema)])
    assert bar["labels"][-1] == "22 others"
    assert bar["synthetic"][-1] == 1.0


@pytest.mark.parametrize(
    ("values", "whole"),
    [([], False), ([2.0], False), ([0.0, 0.0], True), ([1, 2, 3], True), ([0, 5000], True)],
)
def test_edges_cover_awkward_columns(values, whole):
    edges = bin_edges(np.array(values, dtype=float), whole=whole)
    assert np.all(np.diff(edges) > 0)
    assert 2 <= edges.size <= 23
    if whole:
        assert np.all(edges == np.round(edges))
    if values:
        assert edges[0] <= np.median(values) <= edges[-1]


def test_associations_are_symmetric_bounded_and_see_dependence(patients, independent):
    real = patients(400, 1)
    features = fit_features(real)
    linked = associations(encode(features, real))
    loose = associations(encode(features, independent(real, 0)))
    assert np.allclose(linked, linked.T)
    assert np.abs(linked).max() <= 1
    assert np.all(np.diag(linked) == 1)
    ward, grade = features.names.index("ward"), features.names.index("grade")
    assert linked[ward, grade] > 0.6
    assert loose[ward, grade] < 0.2
    age, pressure = features.names.index("age"), features.names.index("pressure")
    assert linked[age, pressure] > 0.3 > abs(loose[age, pressure])
    found = correlation(
        features, real.schema.names, encode(features, real), [encode(features, real)]
    )
    assert found["columns"] == real.schema.names
    assert found["real"] == found["synthetic"]


def test_scatter_is_bounded_and_repeats_itself(patients):
    real, fake = patients(600, 1), patients(30, 2)
    features = fit_features(real)
    both = encode(features, real), encode(features, fake)
    first = scatter(*both, np.random.default_rng(0))
    assert (len(first["real"]), len(first["synthetic"])) == (MAX_POINTS, 30)
    assert first == scatter(*both, np.random.default_rng(0))
    assert 0 < first["explained"][1] <= first["explained"][0] < 1


def test_scatter_of_one_constant_column():
    schema = schema_from_dict({"fields": [{"name": "x", "type": "number"}]})
    real = Table(pl.DataFrame({"x": [1.0, 1.0]}), schema)
    coded = encode(fit_features(real), real)
    found = scatter(coded, coded, np.random.default_rng(0))
    assert found["explained"] == [0.0, 0.0]
    assert found["real"] == [[0.0, 0.0], [0.0, 0.0]]
