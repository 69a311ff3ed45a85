"""Density and coverage against the definition, and their defects seen."""

import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import distance_matrix, encode, fit_features
from pegai.evaluate.fidelity.coverage import coverage, fit_balls
from pegai.evaluate.fidelity.propensity import propensity
from pegai.schema import schema_from_dict


def points(values):
    values = np.asarray(values, dtype=float).reshape(-1, 2)
    schema = schema_from_dict({"fields": [{"name": n, "type": "number"} for n in "xy"]})
    return Table(pl.DataFrame({"x": values[:, 0], "y": values[:, 1]}), schema)


def measure(real, fake, max_rows=1000):
    features = fit_features(real)
    a, b = encode(features, real), encode(features, fake)
    balls = fit_balls(a, np.random.default_rng(0), max_rows=max_rows)
    return coverage(balls, len(a), b, np.random.default_rng(1)), a, b


def test_the_definition():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(40, 2)), rng.normal(0.5, 1, size=(40, 2))
    found, a, b = measure(points(real), points(fake))
    x, y = distance_matrix(a), distance_matrix(b)
    between = np.linalg.norm(x[:, None] - x[None], axis=2)
    radius = np.sort(between, axis=1)[:, 5]  # the nearest is the patient itself
    inside = np.linalg.norm(x[:, None] - y[None], axis=2) <= radius[:, None]
    assert np.mean(found.inside) == pytest.approx(inside.sum() / (5 * 40))
    assert np.mean(found.covered) == pytest.approx(inside.any(axis=1).mean())


def test_fresh_patients_and_planted_defects():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(400, 2))
    fresh, _, _ = measure(points(real), points(rng.normal(size=(400, 2))))
    assert np.mean(fresh.inside) == pytest.approx(1.0, abs=0.1)
    assert np.mean(fresh.covered) > 0.93
    half, _, _ = measure(points(real), points(np.abs(rng.normal(size=(400, 2)))))
    assert np.mean(half.covered) < 0.5  # three quadrants are empty
    assert np.mean(half.inside) > 0.7
    far, _, _ = measure(points(real), points(rng.normal(9, 1, size=(400, 2))))
    assert np.mean(far.inside) == np.mean(far.covered) == 0.0


def test_copies_of_ties_are_inside():
    real = np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0)
    found, _, _ = measure(points(real), points(real))
    assert np.mean(found.covered) == 1.0


def test_rows_in_any_order_and_more_of_them():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(300, 2)), rng.normal(0.3, 1, size=(900, 2))
    first, _, _ = measure(points(real), points(fake))
    second, _, _ = measure(points(rng.permutation(real)), points(rng.permutation(fake)))
    assert first.inside.tobytes() == second.inside.tobytes()
    few, _, _ = measure(points(real), points(fake), max_rows=100)
    assert np.isnan(few.covered).sum() == 200


def test_too_few_patients():
    few = points(np.arange(20))
    features = fit_features(few)
    assert fit_balls(encode(features, few), np.random.default_rng(0), max_rows=99) is None


def ratio(real, fake, seed=0):
    features = fit_features(real)
    found = propensity(
        encode(features, real),
        encode(features, fake),
        np.random.default_rng(seed),
        max_rows=500,
        permutations=8,
    )
    return None if found is None else found.ratio


def test_propensity_is_one_for_patients_and_sees_interactions():
    rng = np.random.default_rng(3)
    null = [
        ratio(points(rng.normal(size=(200, 2))), points(rng.normal(size=(200, 2))), seed)
        for seed in range(6)
    ]
    assert np.mean(null) == pytest.approx(1.0, abs=0.3)  # one has a standard deviation of 0.25
    x = rng.normal(size=(2, 300, 1))
    real = np.hstack([x[0], x[0] + 0.3 * rng.normal(size=(300, 1))])
    fake = np.hstack([x[1], rng.permutation(x[1])])  # the same marginals
    assert ratio(points(real), points(fake)) > 2.5
    assert ratio(points(real), points(fake)) == ratio(points(real), points(fake))
    assert ratio(points(real), points(np.arange(10))) is None
    constant = points(np.ones(100))
    assert ratio(constant, constant) == 1.0
