"""Linear, logistic and Cox regression against independent implementations."""

import numpy as np
import pytest
from scipy import optimize

from pegai.evaluate.utility.design import independent_columns
from pegai.evaluate.utility.regression import fit_cox, fit_regression


def data(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[:, 2] = x[:, 2] > 0.3
    return rng, x, x @ np.array([0.8, -0.5, 1.0]) - 0.4


def test_linear_matches_least_squares():
    rng, x, eta = data()
    y = eta + rng.normal(size=400)
    found = fit_regression(x, y, np.arange(400), "linear")
    full = np.column_stack([np.ones(400), x])
    beta, residual, *_ = np.linalg.lstsq(full, y)
    errors = np.sqrt(np.diag(np.linalg.inv(full.T @ full)) * residual[0] / 396)
    assert found.values == pytest.approx(beta[1:])
    assert found.errors == pytest.approx(errors[1:])


def test_logistic_is_the_maximum_of_the_likelihood():
    rng, x, eta = data()
    y = (rng.random(400) < 1 / (1 + np.exp(-eta))).astype(float)
    found = fit_regression(x, y, np.arange(400), "logistic")
    full = np.column_stack([np.ones(400), x])

    def loss(beta):
        return np.logaddexp(0, full @ beta).sum() - y @ (full @ beta)

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7})
    risk = 1 / (1 + np.exp(-full @ best.x))
    errors = np.sqrt(np.diag(np.linalg.inv((full * (risk * (1 - risk))[:, None]).T @ full)))
    assert found.values == pytest.approx(best.x[1:], abs=1e-4)
    assert found.errors == pytest.approx(errors[1:], rel=1e-3)
    assert found.note == ""


def test_separation_gives_firths_estimates():
    # Heinze and Schemper 2002: a 2 by 2 table with an empty cell. Firth's estimate is the log odds
    # ratio after half a patient is added to each cell.
    cells = {(0, 0): 20, (0, 1): 10, (1, 1): 15}
    x = np.concatenate([np.full(n, a) for (a, _), n in cells.items()])[:, None].astype(float)
    y = np.concatenate([np.full(n, b) for (_, b), n in cells.items()]).astype(float)
    found = fit_regression(x, y, np.arange(45), "logistic")
    assert found.values[0] == pytest.approx(np.log((15.5 / 0.5) / (10.5 / 20.5)), abs=1e-4)
    assert np.isfinite(found.errors).all()
    assert "Firth" in found.note


def test_repeated_patients_do_not_make_an_estimate_surer():
    rng, x, eta = data()
    y = (rng.random(400) < 1 / (1 + np.exp(-eta))).astype(float)
    once = fit_regression(x, y, np.arange(400), "logistic")
    twice = fit_regression(
        np.repeat(x, 2, axis=0), np.repeat(y, 2), np.repeat(np.arange(400), 2), "logistic"
    )
    assert twice.values == pytest.approx(once.values)
    assert twice.errors == pytest.approx(once.errors, rel=0.15)


def test_what_cannot_be_estimated_is_nan():
    rng, x, eta = data()
    y = eta + rng.normal(size=400)
    doubled = np.column_stack([x, x[:, 0] * 2, np.ones(400)])
    found = fit_regression(doubled, y, np.arange(400), "linear")
    assert np.isnan(found.values).tolist() == [False, False, False, True, True]
    assert independent_columns(doubled).tolist() == [True, True, True, False, False]
    for matrix, outcome in ((x[:4], y[:4]), (x, np.ones(400)), (x[:0], y[:0] * 0 + 1)):
        if outcome.size:
            empty = fit_regression(matrix, outcome, np.arange(outcome.size), "logistic")
            assert np.isnan(empty.values).all()


def cox_data(n=300, decimals=None):
    rng, x, eta = data(n)
    died = rng.exponential(np.exp(-eta))
    censored = rng.exponential(2, n)
    time = np.minimum(died, censored)
    return x, time if decimals is None else time.round(decimals) + 0.1, (died <= censored) * 1.0


def test_cox_is_the_maximum_of_the_partial_likelihood():
    x, time, event = cox_data()
    found = fit_cox(x, time, event)

    def loss(beta):
        eta = x @ beta
        at_risk = [np.logaddexp.reduce(eta[time >= t]) for t in time[event == 1]]
        return np.sum(at_risk) - eta[event == 1].sum()

    best = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-6})
    assert found.values == pytest.approx(best.x, abs=1e-4)
    assert found.errors == pytest.approx(np.sqrt(np.diag(best.hess_inv)), rel=0.15)


def test_cox_with_ties_by_hand():
    # Efron: two of three die at time 1, one covariate; its score equation solved by bisection.
    x, time, event = np.array([1.0, 0.0, 1, 0, 0, 1, 0]), np.array([1.0, 1, 2, 2, 3, 4, 5]), None
    event = np.array([1.0, 1, 1, 0, 1, 1, 0])

    def score(beta):
        w = np.exp(beta * x)
        total = x[event == 1].sum()
        for t in np.unique(time[event == 1]):
            dead, risk = (time == t) & (event == 1), time >= t
            for j in range(dead.sum()):
                f = j / dead.sum()
                top = (w * x)[risk].sum() - f * (w * x)[dead].sum()
                total -= top / (w[risk].sum() - f * w[dead].sum())
        return total

    root = optimize.brentq(score, -5, 5)
    assert fit_cox(x[:, None], time, event).values[0] == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("decimals", [None, 1])
def test_cox_matches_lifelines(decimals):
    lifelines = pytest.importorskip("lifelines")
    pandas = pytest.importorskip("pandas")
    x, time, event = cox_data(decimals=decimals)
    frame = pandas.DataFrame(x, columns=list("abc")).assign(t=time, e=event)
    fitted = lifelines.CoxPHFitter().fit(frame, "t", "e")
    found = fit_cox(x, time, event)
    assert found.values == pytest.approx(fitted.params_.to_numpy(), abs=1e-4)
    assert found.errors == pytest.approx(fitted.standard_errors_.to_numpy(), abs=1e-4)


def test_cox_without_a_finite_hazard_ratio_or_events():
    x = np.repeat([1.0, 0.0], 20)[:, None]
    found = fit_cox(x, np.arange(40.0), np.ones(40))
    assert np.isfinite(found.values).all()
    assert "penalised" in found.note
    assert np.isnan(fit_cox(x, np.arange(40.0), np.zeros(40)).values).all()
