"""The four Gaussian calibrations: each is enough, none beats the exact one, and by how much."""

import math
import re
import runpy
from pathlib import Path

import dp_accounting
import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.errors import PrivacyError
from pegai.privacy import GaussianEvent, compute_epsilon, gaussian_noise_multiplier
from pegai.privacy.gaussian_calibrations import CALIBRATIONS, CLOSED_FORMS, classic, zhao1, zhao2

EPSILONS = (0.01, 0.1, 0.5, 1.0, 3.0, 8.0, 20.0)
DELTAS = (0.3, 1e-2, 1e-3, 1e-5, 1e-9)


def exact_delta(multiplier, epsilon):
    """Theorem 8 of Balle and Wang at 60 digits: independent of the accountant's floats."""
    with mpmath.workdps(60):
        mu, e = 1 / mpmath.mpf(multiplier), mpmath.mpf(epsilon)
        first = mpmath.ncdf(mu / 2 - e / mu)
        return first - mpmath.exp(e) * mpmath.ncdf(-mu / 2 - e / mu)


def allowed(calibration, epsilon, delta):
    return not (calibration == "classic" and epsilon > 1)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_every_calibration_is_enough_on_a_grid(calibration):
    checked = 0
    for epsilon in EPSILONS:
        for delta in DELTAS:
            if not allowed(calibration, epsilon, delta):
                continue
            multiplier = gaussian_noise_multiplier(epsilon, delta, calibration)
            assert exact_delta(multiplier, epsilon) <= delta, (epsilon, delta)
            checked += 1
    assert checked >= 20


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_the_bare_formulas_are_enough_on_a_grid(name):
    # Without the accountant's last word, which would cover a wrong formula up.
    for epsilon in EPSILONS:
        for delta in DELTAS:
            if allowed(name, epsilon, delta):
                assert exact_delta(CLOSED_FORMS[name](epsilon, delta), epsilon) <= delta


@settings(max_examples=100, deadline=None)
@given(st.floats(0.005, 20), st.floats(1e-12, 0.49), st.sampled_from(["zhao1", "zhao2"]))
def test_zhao_is_enough_everywhere_and_never_below_the_exact_noise(epsilon, delta, name):
    bare = CLOSED_FORMS[name](epsilon, delta)
    assert exact_delta(bare, epsilon) <= delta
    assert bare >= dp_accounting.get_sigma_gaussian(epsilon, delta) * (1 - 2e-5)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.005, 1.0), st.floats(1e-12, 0.9))
def test_classic_is_enough_up_to_epsilon_one(epsilon, delta):
    assert exact_delta(classic(epsilon, delta), epsilon) <= delta


@pytest.mark.parametrize(
    ("calibration", "ratio"), [("classic", 1.30), ("zhao1", 1.235), ("zhao2", 1.275)]
)
def test_noise_over_the_exact_at_epsilon_one(calibration, ratio):
    least = gaussian_noise_multiplier(1.0, 1e-5)
    assert gaussian_noise_multiplier(1.0, 1e-5, calibration) / least == pytest.approx(
        ratio, abs=0.005
    )


def test_formulas_as_published():
    assert classic(0.5, 1e-5) == pytest.approx(math.sqrt(2 * math.log(1.25e5)) / 0.5)
    c = math.sqrt(math.log(2 / (math.sqrt(16e-3 + 1) - 1)))
    assert zhao1(2.0, 1e-3) == pytest.approx((c + math.sqrt(c * c + 2)) / (2 * math.sqrt(2)))
    c = math.sqrt(math.log(1 / 2e-3))
    assert zhao2(2.0, 1e-3) == pytest.approx((c + math.sqrt(c * c + 2)) / (2 * math.sqrt(2)))


@pytest.mark.parametrize("epsilon", [1.0000001, 8.0, 20.0])
def test_classic_is_refused_above_epsilon_one(epsilon):
    with pytest.raises(PrivacyError, match="up to epsilon 1"):
        gaussian_noise_multiplier(epsilon, 1e-5, "classic")


def test_classic_would_give_too_little_where_it_is_refused():
    for epsilon, delta in ((8.0, 1e-3), (10.0, 1e-5), (20.0, 1e-9)):
        unproven = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
        assert exact_delta(unproven, epsilon) > delta


@pytest.mark.parametrize("calibration", ["zhao1", "zhao2"])
def test_zhao_is_refused_at_deltas_of_a_half(calibration):
    with pytest.raises(PrivacyError, match="below 1/2"):
        gaussian_noise_multiplier(1.0, 0.5, calibration)
    assert gaussian_noise_multiplier(1.0, math.nextafter(0.5, 0), calibration) > 0


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [(0.0, 1e-5), (-1.0, 1e-5), (math.nan, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)],
)
def test_figures_out_of_range_are_refused(calibration, epsilon, delta):
    with pytest.raises(PrivacyError):
        gaussian_noise_multiplier(epsilon, delta, calibration)


def test_an_unknown_calibration_is_refused():
    with pytest.raises(PrivacyError, match="no Gaussian calibration 'gaussian'"):
        gaussian_noise_multiplier(1.0, 1e-5, "gaussian")


def test_methods_take_the_analytic_one():
    import pegai

    schema = pegai.datasets.heart_disease_schema()
    plan = pegai.Independent().plan(schema, pegai.Privacy(1.0, 1e-5))
    assert plan.events[0].noise_multiplier == gaussian_noise_multiplier(1.0, 1e-5)


@pytest.fixture
def without_cache():
    gaussian_noise_multiplier.cache_clear()
    yield
    gaussian_noise_multiplier.cache_clear()


@pytest.mark.usefixtures("without_cache")
def test_the_accountant_puts_rounding_right_and_refuses_a_wrong_formula(monkeypatch):
    exact = gaussian_noise_multiplier(1.0, 1e-5)
    monkeypatch.setitem(CLOSED_FORMS, "zhao2", lambda epsilon, delta: exact * (1 - 1e-10))
    multiplier = gaussian_noise_multiplier(1.0, 1e-5, "zhao2")
    assert compute_epsilon([GaussianEvent("a", multiplier)], 1e-5) <= 1.0
    monkeypatch.setitem(CLOSED_FORMS, "zhao1", lambda epsilon, delta: exact * 0.999)
    with pytest.raises(PrivacyError, match="too little noise"):
        gaussian_noise_multiplier(1.0, 1e-5, "zhao1")


def test_the_page_states_what_the_script_prints(capsys):
    root = Path(__file__).resolve().parents[2]
    script = runpy.run_path(str(root / "benchmarks" / "gaussian_calibrations.py"))
    script["print_tables"](list(script["rows"]()), list(script["classic_beyond"]()))
    printed = re.findall(r"^\| [\d.]+ \|.*$", capsys.readouterr().out, re.M)
    assert len(printed) == 21
    page = (root / "docs" / "explanation" / "gaussian-calibrations.md").read_text(encoding="utf-8")
    stated = page.splitlines()
    assert [row for row in printed if row not in stated] == []
