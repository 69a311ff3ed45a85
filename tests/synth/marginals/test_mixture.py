"""The mixture of products: its objective, its fit, its samples and its price."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pegai.synth.marginals import mixture as mixtures
from pegai.synth.marginals.choosing import choose_price, dearest_near_best
from pegai.synth.marginals.measurements import Cells, Layout, NoisyTable, Problem
from pegai.synth.marginals.mixture import FitSettings, Mixture, fit_mixture, misfit
from pegai.synth.marginals.sampling import draw, spread

LAYOUT = Layout((3, 2, 4))
CLASSES = 2


def some_mixture(seed: int, components: int = 2) -> Mixture:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(CLASSES * components)).reshape(CLASSES, components)
    parts = [rng.dirichlet(np.ones(s), size=(CLASSES, components)) for s in LAYOUT.sizes]
    return Mixture(LAYOUT, weights, np.concatenate(parts, axis=2))


def measured(mixture: Mixture, patients: float, deviation: float, seed: int) -> Problem:
    """All one-way and two-way tables, whole and by class, with noise."""
    rng = np.random.default_rng(seed)
    tables: list[NoisyTable] = []

    def add(columns: tuple[int, ...], counts: np.ndarray) -> None:
        noisy = counts + deviation * rng.standard_normal(counts.shape)
        tables.append(NoisyTable(columns, noisy, deviation))

    ones = patients * mixture.ones
    for i in range(3):
        add((i,), ones[:, LAYOUT.span(i)])
        add((i,), ones[:, LAYOUT.span(i)].sum(axis=0, keepdims=True))
        for j in range(i + 1, 3):
            add((i, j), patients * mixture.pair(i, j))
            add((i, j), patients * mixture.pair(i, j).sum(axis=0, keepdims=True))
    return Problem.of(LAYOUT, patients * mixture.weights.sum(axis=1), tables)


def test_the_slopes_are_those_of_the_objective() -> None:
    """Against finite differences of the misfit and the three prices, in float64."""
    problem = measured(some_mixture(0), 400.0, 15.0, 1)
    rng = np.random.default_rng(2)
    logits, gates = rng.normal(size=(2, 3, 9)), rng.normal(size=(2, 3))
    shares_of = problem.totals / problem.totals.sum()

    def objective(at_logits: np.ndarray, at_gates: np.ndarray) -> float:
        shares, _ = mixtures._softmax_blocks(at_logits, LAYOUT)
        weights = mixtures._softmax(at_gates) * shares_of[:, None]
        fitted = Mixture(LAYOUT, weights, shares)
        inside = fitted.ones / shares_of[:, None]
        pooled = fitted.ones.sum(axis=0)
        told = (weights[:, :, None] * shares * np.log(shares / inside[:, None, :])).sum()
        by_class = (fitted.ones * np.log(inside / pooled)).sum()
        even = (pooled * np.log(pooled)).sum()
        prices = 50 * told + mixtures.CLASS_PRICE * by_class + mixtures.UNIFORM_PRICE * even
        return misfit(fitted, problem) + prices

    fit = mixtures._Fit(problem, 50.0)
    shares, logs = mixtures._softmax_blocks(logits, LAYOUT)
    slope, gate_slope = fit.gradient(shares, logs, mixtures._softmax(gates))
    slope = mixtures._through_softmax(slope, shares, LAYOUT)
    for place in [(0, 0, 0), (0, 2, 4), (1, 1, 8), (1, 0, 3)]:
        step = np.zeros_like(logits)
        step[place] = 1e-5
        found = (objective(logits + step, gates) - objective(logits - step, gates)) / 2e-5
        assert slope[place] == pytest.approx(found, rel=2e-3, abs=1e-3)
    for place in [(0, 1), (1, 2)]:
        step = np.zeros_like(gates)
        step[place] = 1e-5
        found = (objective(logits, gates + step) - objective(logits, gates - step)) / 2e-5
        assert gate_slope[place] == pytest.approx(found, rel=2e-3, abs=1e-3)


def test_little_noise_is_fitted_and_much_noise_is_not_taken_for_dependence() -> None:
    truth = some_mixture(3)
    rng = np.random.default_rng(0)
    clear = fit_mixture(measured(truth, 1e5, 5.0, 1), FitSettings(8, 800, price=1.0), rng)
    far = max(np.abs(clear.pair(i, j) - truth.pair(i, j)).max() for i, j in [(0, 1), (1, 2)])
    assert far < 0.003
    noisy = measured(truth, 100.0, 200.0, 1)
    drowned = fit_mixture(noisy, FitSettings(8, 800, price=3000.0), rng)
    inside = drowned.ones / drowned.weights.sum(axis=1)[:, None]
    told = drowned.weights[:, :, None] * drowned.shares
    information = (told * np.log(drowned.shares / inside[:, None, :])).sum()
    assert information < 0.01


def test_a_second_look_is_joined_by_precision() -> None:
    cells = Cells.none(1, 2)
    whole = (slice(None), slice(None))
    cells.join(np.array([[10.0, 20.0]]), 1.0, whole)
    cells.join(np.array([[40.0, 50.0]]), 2.0, whole)
    assert cells.counts == pytest.approx(np.array([[16.0, 26.0]]))
    assert cells.precision == pytest.approx(np.full((1, 2), 1.25))


def test_thinned_parts_are_independent_with_the_variance_they_claim() -> None:
    rng = np.random.default_rng(0)
    noise = 3.0 * rng.standard_normal((200, 500))
    cells = Cells(100 + noise, np.full(noise.shape, 1 / 9))
    fitted, judging = cells.thinned(0.5, rng)
    for part in (fitted, judging):
        scaled = (part.counts - 100) * np.sqrt(part.precision)
        assert scaled.std() == pytest.approx(1.0, abs=0.02)  # 9 deviations of the estimate
    both = np.corrcoef(fitted.counts.ravel(), judging.counts.ravel())[0, 1]
    assert abs(both) < 0.02


def test_the_price_rises_with_the_noise() -> None:
    truth = some_mixture(4, components=4)
    settings = FitSettings(8, 400)
    chosen = [
        choose_price(measured(truth, n, 30.0, 5), settings, np.random.default_rng(1), told=print)
        for n in (1e5, 60.0)
    ]
    assert chosen[0] < chosen[1]


def test_the_dearest_price_within_an_error_of_the_best_is_taken() -> None:
    losses = np.array([[5.0, 1.0, 1.1, 9.0], [5.0, 1.0, 0.9, 9.0], [5.2, 1.0, 1.05, 9.0]])
    assert dearest_near_best(losses) == 2


def test_spread_rows_have_the_law_of_their_group_and_less_error_than_independent_ones() -> None:
    inside = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    group = np.repeat([0, 1, 0], [500, 1000, 500])
    codes = spread(inside, group, np.random.default_rng(0))
    for z, rows in ((0, 1000), (1, 1000)):
        counts = np.bincount(codes[group == z], minlength=3)
        assert np.abs(counts - rows * inside[z]).max() <= 1.0 + 1e-9
    # The first row alone: its law over seeds; false alarm below 1e-6.
    first = [spread(inside, group[:5], np.random.default_rng(s))[0] for s in range(4000)]
    shares = np.bincount(first, minlength=3) / 4000
    assert np.abs(shares - inside[0]).max() < 0.04


def test_samples_have_the_mixtures_tables() -> None:
    mixture = some_mixture(5)
    drawn = draw(mixture, 200_000, np.random.default_rng(1))
    found = np.zeros((2, 3, 4))
    np.add.at(found, (drawn.classes, drawn.codes[:, 0], drawn.codes[:, 2]), 1 / 200_000)
    assert np.abs(found - mixture.pair(0, 2)).max() < 0.004


@pytest.mark.parametrize("given_class", [None, 1])
def test_conditional_samples_are_exact(given_class: int | None) -> None:
    """Against the enumerated joint law."""
    mixture = some_mixture(6)
    joint = np.zeros((2, 3, 2, 4))
    for c, k in product(range(2), range(2)):
        parts = [mixture.shares[c, k, LAYOUT.span(i)] for i in range(3)]
        joint[c] += mixture.weights[c, k] * np.einsum("a,b,d->abd", *parts)
    known = joint[:, :, :, 2]
    if given_class is not None:
        known = known * (np.arange(2) == given_class)[:, None, None]
    known = known / known.sum()
    drawn = draw(mixture, 100_000, np.random.default_rng(2), given={2: 2}, given_class=given_class)
    assert set(drawn.codes[:, 2]) == {2}
    found = np.zeros((2, 3, 2))
    np.add.at(found, (drawn.classes, drawn.codes[:, 0], drawn.codes[:, 1]), 1 / 100_000)
    assert np.abs(found - known).max() < 0.006
