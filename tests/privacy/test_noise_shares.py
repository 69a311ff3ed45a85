"""Parts of noise: together they are the noise that was planned, and a session spends them once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import PlanError, PrivacyError
from pegai.privacy import (
    GaussianFilterEvent,
    GaussianMechanism,
    LaplaceEvent,
    Ledger,
    Plan,
    Privacy,
    Session,
)
from pegai.privacy.noise_shares import LARGEST, MAX_SITES, SMOOTH_PART, GaussianShareMechanism

FALSE_ALARM = 1e-7
DRAWS = 20_000
PLAN = Plan.make([GaussianFilterEvent("f", 2.0)], 1e-4)


def summed(mechanism: GaussianShareMechanism, sites: int, values: np.ndarray) -> np.ndarray:
    """What the sum of all sites is, in units of the values; they hold the same ones."""
    parts = [mechanism.release(values) for _ in range(sites)]
    assert all(part.dtype == np.int64 for part in parts)
    return np.sum(parts, axis=0) / mechanism.scale


@pytest.mark.parametrize("honest", [1, 2, 4])
@pytest.mark.parametrize(("multiplier", "sensitivity"), [(0.3, 1.0), (3.0, 1.0), (2.0, 300.0)])
def test_honest_parts_add_up_to_the_planned_noise(
    honest: int, multiplier: float, sensitivity: float
) -> None:
    """Kolmogorov-Smirnov against N(0, sigma^2), which the fine grid is near enough to.

    False alarms below 1e-7; two thirds and three halves of the width are told apart.
    """
    mechanism = GaussianShareMechanism(sensitivity, multiplier, honest)
    noise = summed(mechanism, honest, np.zeros(DRAWS, np.int64))
    sigma = multiplier * sensitivity
    assert stats.kstest(noise / sigma, "norm").pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(noise / sigma / wrong, "norm").pvalue < FALSE_ALARM


@settings(max_examples=80, deadline=None)
@given(
    st.floats(1.0, 1e9),
    st.floats(0.05, 1e3),
    st.integers(1, MAX_SITES),
)
def test_the_parts_are_wide_enough_and_hardly_wider(
    sensitivity: float, multiplier: float, honest: int
) -> None:
    """Never below the planned noise; rounding adds 0.1 % of the variance for one site, at most."""
    mechanism = GaussianShareMechanism(sensitivity, multiplier, honest)
    planned = multiplier * sensitivity
    together = mechanism.part_deviation * honest**0.5
    assert planned < together < planned * (1 + 0.001 * honest**-1 + 1e-6)
    assert mechanism.part_deviation * mechanism.scale >= SMOOTH_PART
    assert mechanism.scale & (mechanism.scale - 1) == 0


def test_missing_parts_are_missed() -> None:
    """With one part less than was counted on, noise is short; with one more, it is wider."""
    mechanism = GaussianShareMechanism(1.0, 8.0, 3)
    widths = {sites: summed(mechanism, sites, np.zeros(DRAWS, int)).std() for sites in (2, 3, 4)}
    for sites, width in widths.items():
        # Six standard errors of a standard deviation.
        assert width == pytest.approx(8.0 * (sites / 3) ** 0.5, rel=6 / (2 * DRAWS) ** 0.5)


def test_values_keep_their_place_and_shape() -> None:
    mechanism = GaussianShareMechanism(1.0, 0.01, 2)
    values = np.array([[0, 5, -7], [2**40, 1, 0]])
    assert summed(mechanism, 2, values) / 2 == pytest.approx(values, abs=0.2)


def test_values_beyond_the_ring_are_clamped_alike() -> None:
    """Whatever a site holds, sums of all sites fit 64 bits."""
    mechanism = GaussianShareMechanism(1.0, 1.0, 2)
    biggest = mechanism.release(np.array([2**62, -(2**62)]))
    assert np.abs(biggest).max() < 2 * LARGEST
    assert 2 * LARGEST * MAX_SITES <= 2**62


@pytest.mark.parametrize(
    ("values", "text"), [(np.zeros(3), "integers"), (np.array(["a"]), "integers")]
)
def test_floats_are_refused(values: np.ndarray, text: str) -> None:
    with pytest.raises(PrivacyError, match=text):
        GaussianShareMechanism(1.0, 1.0, 2).release(values)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"l2_sensitivity": 0.5}, "l2_sensitivity"),
        ({"l2_sensitivity": float("nan")}, "l2_sensitivity"),
        ({"noise_multiplier": 0.0}, "noise_multiplier"),
        ({"noise_multiplier": float("inf")}, "noise_multiplier"),
        ({"honest": 0}, "honest"),
        ({"honest": True}, "honest"),
        ({"honest": MAX_SITES + 1}, "honest"),
    ],
)
def test_settings_that_promise_nothing_are_refused(changes: dict[str, float], text: str) -> None:
    with pytest.raises(PrivacyError, match=text):
        GaussianShareMechanism(
            **({"l2_sensitivity": 1.0, "noise_multiplier": 1.0, "honest": 2} | changes)  # pyright: ignore
        )


def opened(folder: Path, plan: Plan = PLAN) -> tuple[Session, Privacy]:
    privacy = Privacy(20.0, 1e-4, ledger=folder / "ledger.jsonl")
    session = Session.open(
        plan, privacy, dataset="d", fingerprint_chunks=[b"x"], label="run of a federation"
    )
    return session, privacy


def share(session: Session, multiplier: float = 2.5) -> np.ndarray:
    values = np.arange(5)
    return session.gaussian_share(
        "f", values, l2_sensitivity=1.0, honest=2, noise_multiplier=multiplier
    )


def test_a_part_costs_what_the_whole_costs(tmp_path: Path) -> None:
    session, _ = opened(tmp_path)
    share(session)
    assert session.filter_left("f") == pytest.approx(0.25 - 0.16)
    with pytest.raises(PlanError, match="can't spend"):
        share(session)


def test_a_part_is_drawn_afresh_each_time(tmp_path: Path) -> None:
    session, _ = opened(tmp_path)
    first, second = share(session, 10.0), share(session, 10.0)
    assert not np.array_equal(first, second)


def test_a_value_with_floats_is_spent_all_the_same(tmp_path: Path) -> None:
    session, _ = opened(tmp_path)
    with pytest.raises(PrivacyError, match="integers"):
        session.gaussian_share("f", np.zeros(2), l2_sensitivity=1.0, honest=2, noise_multiplier=2.5)
    assert session.filter_left("f") == pytest.approx(0.09)


def test_another_process_goes_on_where_the_first_was_stopped(tmp_path: Path) -> None:
    """It spends what is left and no more, and the ledger has one charge."""
    session, privacy = opened(tmp_path)
    share(session)
    later = Session.resume(PLAN, privacy, charge_hash=session.charge.hash, spent={"f": [2.5**-2]})
    assert later.filter_left("f") == pytest.approx(0.09)
    assert later.guarantee().epsilon == session.guarantee().epsilon
    with pytest.raises(PlanError, match="can't spend"):
        share(later)
    assert [e.kind for e in Ledger(privacy.ledger_path).entries()].count("charge") == 1


@pytest.mark.parametrize(
    ("plan", "charge", "spent", "text"),
    [
        (PLAN, "0" * 64, [], "no such charge"),
        (PLAN, None, [0.2, 0.2], "can't spend"),
        (Plan.make([GaussianFilterEvent("f", 1.0)], 1e-4), None, [], "its own plan"),
        (Plan.make([LaplaceEvent("f", 4.0)], 1e-4), None, [], "only plans of Gaussian"),
    ],
)
def test_no_more_is_gone_on_with_than_was_charged(
    tmp_path: Path, plan: Plan, charge: str | None, spent: list[float], text: str
) -> None:
    session, privacy = opened(tmp_path)
    known = session.charge.hash if charge is None else charge
    with pytest.raises(PlanError, match=text):
        Session.resume(plan, privacy, charge_hash=known, spent={"f": spent})


def test_the_other_mechanism_is_as_wide() -> None:
    """Shares of one honest site alone are no narrower than the mechanism of one site."""
    mechanism = GaussianMechanism(4.0, 5.0)
    alone = mechanism.release(np.zeros(DRAWS, int)).std()
    part = summed(GaussianShareMechanism(4.0, 5.0, 1), 1, np.zeros(DRAWS, int)).std()
    assert part == pytest.approx(alone, rel=6 / DRAWS**0.5)
