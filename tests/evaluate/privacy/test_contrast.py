import math

import numpy as np
import pytest

from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.intervals import newcombe
from pegai.evaluate.privacy.contrast import Outcome, by_patient, choose_patients, leak, worst


def outcome(a, n, b, m):
    return Outcome(np.arange(n) < a, np.arange(m) < b)


def test_a_leak_is_the_difference_with_newcombes_interval():
    found = leak("x", [outcome(56, 70, 48, 80)])
    assert found.value == pytest.approx(56 / 70 - 48 / 80)
    # Newcombe 1998, table II, example (a), method 10.
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert found.patients == (70, 80)
    swapped = leak("x", [outcome(48, 80, 56, 70)])
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_few_patients_are_not_assessed():
    found = leak("x", [outcome(5, 19, 5, 100)])
    assert math.isnan(found.value)
    assert not found.assessed
    assert worst({"x": [outcome(5, 19, 5, 100)]}) is None
    assert math.isnan(Outcome(np.zeros(0), np.zeros(0)).difference)


def test_seeds_widen_the_interval():
    one = leak("x", [outcome(30, 100, 20, 100)])
    equal = leak("x", [outcome(30, 100, 20, 100)] * 3)
    spread = leak("x", [outcome(a, 100, 20, 100) for a in (20, 30, 40)])
    assert (equal.low, equal.high) == pytest.approx((one.low, one.high))
    assert spread.value == pytest.approx(one.value)
    assert spread.low < one.low < one.high < spread.high


def test_the_worst_of_many_is_corrected_for_all():
    attacks = {"a": [outcome(30, 100, 20, 100)], "b": [outcome(20, 100, 22, 100)]}
    found = worst(attacks)
    assert found is not None
    assert found.name == "a"
    assert found.value == pytest.approx(0.1)
    expected = newcombe(30, 100, 20, 100, level=0.975)
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_worst_of_eight_null_attacks_raises_few_alarms():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        attacks = {
            str(i): [Outcome(rng.random(300) < 0.3, rng.random(200) < 0.3)] for i in range(8)
        }
        found = worst(attacks)
        assert found is not None
        alarms += found.low > 0
    assert alarms <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_patients_have_the_mean_of_their_rows():
    units = np.array([3, 0, 3, 7])
    assert by_patient(units, np.array([1, 0, 0, 1])).tolist() == [0.0, 0.5, 1.0]


def test_all_rows_of_a_chosen_patient_are_kept(train):
    coded = encode(fit_features(train), train)
    grouped = coded.take(np.repeat(np.arange(100), 2))
    rng = np.random.default_rng(0)
    assert choose_patients(grouped, 1_000, rng) is grouped
    chosen = choose_patients(grouped, 30, rng)
    assert len(chosen) == 60
    assert np.unique(chosen.units).size == 30
