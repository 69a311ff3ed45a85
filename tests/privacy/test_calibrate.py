"""Calibration: tight, and always checked by the accountant."""

import math
from importlib import import_module

import dp_accounting
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.errors import PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    LaplaceEvent,
    SubsampledGaussianEvent,
    calibrate,
    compute_epsilon,
    gaussian_noise_multiplier,
)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0, 10.0, 20.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_analytic_gaussian_agrees_with_dp_accounting(epsilon, delta):
    due = dp_accounting.get_sigma_gaussian(epsilon, delta)
    assert gaussian_noise_multiplier(epsilon, delta) == pytest.approx(due, rel=2e-5)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 20), st.floats(1e-10, 0.4))
def test_analytic_gaussian_is_enough_and_no_more(epsilon, delta):
    multiplier = gaussian_noise_multiplier(epsilon, delta)
    assert compute_epsilon([GaussianEvent("a", multiplier)], delta) <= epsilon
    assert compute_epsilon([GaussianEvent("a", multiplier * (1 - 1e-4))], delta) > epsilon


def test_analytic_gaussian_beats_the_classic_formula_where_that_is_valid():
    classic = math.sqrt(2 * math.log(1.25 / 1e-5))
    assert classic / gaussian_noise_multiplier(1.0, 1e-5) == pytest.approx(1.30, abs=0.01)
    # And where it is not: at epsilon 8 the classic one gives too little noise.
    too_little = math.sqrt(2 * math.log(1.25 / 1e-3)) / 8
    assert gaussian_noise_multiplier(8.0, 1e-3) > too_little


FAMILIES = {
    "gaussians": lambda m: [GaussianEvent("a", m, 20), GaussianEvent("b", 2 * m)],
    "laplace": lambda m: [LaplaceEvent("a", m, 3)],
    "subsampled": lambda m: [SubsampledGaussianEvent("a", m, 0.2, 300)],
    "mixed": lambda m: [
        GaussianEvent("a", 3 * m, 2),
        SubsampledGaussianEvent("b", m, 0.05, 200),
        LaplaceEvent("c", 4 * m),
    ],
    "exponential": lambda m: [ExponentialEvent("a", 1 / m, 30)],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_calibrated_noise_is_enough_and_no_more(family, epsilon):
    make = FAMILIES[family]
    multiplier = calibrate(make, epsilon=epsilon, delta=1e-4)
    assert compute_epsilon(make(multiplier), 1e-4) <= epsilon
    assert compute_epsilon(make(multiplier * 0.995), 1e-4) > epsilon


def test_a_single_gaussian_is_the_analytic_one():
    multiplier = calibrate(lambda m: [GaussianEvent("a", m)], epsilon=1.0, delta=1e-5)
    assert multiplier == pytest.approx(gaussian_noise_multiplier(1.0, 1e-5), rel=1e-3)


def test_tolerance_narrows_the_answer():
    make = FAMILIES["subsampled"]
    fine = calibrate(make, epsilon=2.0, delta=1e-5, tolerance=1e-4)
    rough = calibrate(make, epsilon=2.0, delta=1e-5, tolerance=0.05)
    assert fine <= rough <= fine * 1.05
    assert compute_epsilon(make(rough), 1e-5) <= 2.0


def test_the_accountant_has_the_last_word(monkeypatch):
    # Were the search far off, the answer would be raised until the accountant agrees.
    module = import_module("pegai.privacy.calibrate")  # the package shows the function
    monkeypatch.setattr(module, "_search", lambda *_, start, **__: math.log(start * 0.97))
    make = FAMILIES["subsampled"]
    multiplier = calibrate(make, epsilon=1.0, delta=1e-5, tolerance=0.01)
    assert compute_epsilon(make(multiplier), 1e-5) <= 1.0


def test_noise_that_can_never_be_enough_is_refused():
    fixed = [ExponentialEvent("fixed", 2.0)]
    with pytest.raises(PrivacyError, match="no noise multiplier"):
        calibrate(lambda m: [*fixed, GaussianEvent("a", m)], epsilon=1.0, delta=1e-5)


def test_events_that_cost_nothing_much_take_the_least_noise():
    multiplier = calibrate(lambda m: [GaussianEvent("a", 1e6 * m)], epsilon=1.0, delta=1e-5)
    assert multiplier <= 1.01e-3


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, "1"])
def test_epsilons_out_of_range_are_refused(epsilon):
    with pytest.raises(PrivacyError):
        gaussian_noise_multiplier(epsilon, 1e-5)
    with pytest.raises(PrivacyError):
        calibrate(FAMILIES["gaussians"], epsilon=epsilon, delta=1e-5)


@pytest.mark.parametrize(("delta", "tolerance"), [(0.0, 1e-3), (1.0, 1e-3), (1e-5, 0.0), (1e-5, 2)])
def test_other_figures_out_of_range_are_refused(delta, tolerance):
    with pytest.raises(PrivacyError):
        calibrate(FAMILIES["gaussians"], epsilon=1.0, delta=delta, tolerance=tolerance)
