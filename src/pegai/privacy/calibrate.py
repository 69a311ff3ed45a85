"""Calibration: from (epsilon, delta) to the noise that buys it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from pegai.errors import PrivacyError
from pegai.privacy.accountant import (
    COARSE,
    check_delta,
    compute_epsilon,
    epsilon_at_resolution,
    find_root,
    gaussian_delta,
    rough_epsilon,
    samplers_slack,
)
from pegai.privacy.events import Event, GaussianEvent, is_positive
from pegai.privacy.gaussian_calibrations import CALIBRATIONS, CLOSED_FORMS, Calibration

_SMALLEST, _LARGEST = 1e-3, 1e6
_CAP = 1e3


@lru_cache(maxsize=256)
def gaussian_noise_multiplier(
    epsilon: float, delta: float, calibration: Calibration = "analytic"
) -> float:
    """The noise multiplier of one Gaussian release; by default the smallest there is.

    The analytic Gaussian mechanism, Balle and Wang 2018, "Improving the Gaussian mechanism for
    differential privacy", theorem 8: it needs less noise than the closed formulas of
    `gaussian_calibrations` at every epsilon, and holds above epsilon 1, where the classic one does
    not. Every method of pegai takes it.

    Args:
        epsilon: Finite, > 0.
        delta: In (0, 1).
        calibration: `analytic`, `classic`, `zhao1` or `zhao2`.

    Returns:
        Standard deviation / L2 sensitivity, rounded up for the samplers' slack and for the
        rounding of doubles, so that `compute_epsilon` of it is at most epsilon.

    Raises:
        PrivacyError: Epsilon or delta is out of range, also of the calibration's, or there is no
            such calibration.
    """
    _check_epsilon(epsilon)
    check_delta(delta)
    if calibration not in CALIBRATIONS:
        raise PrivacyError(
            f"no Gaussian calibration {calibration!r}", hint=f"there are: {', '.join(CALIBRATIONS)}"
        )
    # What `compute_epsilon` sets aside for the samplers, so that the two agree on the answer.
    exact = delta - samplers_slack(epsilon + 1.0)
    if exact <= 0:
        raise _unreachable(epsilon, delta)
    closed = CLOSED_FORMS.get(calibration)
    multiplier = _analytic(epsilon, exact) if closed is None else closed(epsilon, exact)
    # The accountant has the last word, on closed formulas too; only rounding is put right.
    for _ in range(1000):
        if compute_epsilon([GaussianEvent("calibrated", multiplier)], delta) <= epsilon:
            return multiplier
        multiplier *= 1 + 1e-12
    raise PrivacyError(
        f"the calibration {calibration} gives too little noise at epsilon {epsilon!r} and delta "
        f"{delta!r}, by the accountant",
        hint="take analytic",
    )


def _analytic(epsilon: float, exact: float) -> float:
    """The noise multiplier at which the Gaussian's delta is `exact`, to the rounding of doubles."""
    low, high = 1.0, 1.0
    while gaussian_delta(1 / low, epsilon) < exact:
        low /= 2
    while gaussian_delta(1 / high, epsilon) > exact:
        high *= 2
    log_root = find_root(
        lambda x: gaussian_delta(math.exp(-x), epsilon) - exact,
        math.log(low) - 1e-9,
        math.log(high) + 1e-9,
        tolerance=1e-15,
    )
    return math.exp(log_root)


def calibrate(
    make_events: Callable[[float], Sequence[Event]],
    *,
    epsilon: float,
    delta: float,
    tolerance: float = 1e-3,
) -> float:
    """The smallest noise multiplier whose events cost at most epsilon.

    The search runs on coarse privacy-loss distributions, which err on the safe side; the answer is
    always checked by `compute_epsilon` at full resolution, and raised until it holds.

    Args:
        make_events: Events at a noise multiplier; more noise must not cost more.
        epsilon: Finite, > 0.
        delta: In (0, 1).
        tolerance: Relative width of the answer.

    Returns:
        A noise multiplier with compute_epsilon(make_events(it), delta) <= epsilon.

    Raises:
        PrivacyError: An argument is out of range, or no multiplier up to 1e6 is enough.
    """
    _check_epsilon(epsilon)
    check_delta(delta)
    if not 1e-9 <= tolerance <= 1:
        raise PrivacyError(f"tolerance must lie between 1e-9 and 1, not {tolerance!r}")
    start = _guess(make_events, epsilon, delta)
    log_root = _search(make_events, start=start, epsilon=epsilon, delta=delta, tolerance=tolerance)
    multiplier = math.exp(log_root + tolerance / 4)
    for _ in range(200):
        if compute_epsilon(make_events(multiplier), delta) <= epsilon:
            return multiplier
        multiplier *= 1 + tolerance / 4
    raise _unreachable(epsilon, delta)


def _search(
    make_events: Callable[[float], Sequence[Event]],
    *,
    start: float,
    epsilon: float,
    delta: float,
    tolerance: float,
) -> float:
    """The logarithm of the root; brackets by the distance in epsilon, then Brent."""

    def excess(x: float) -> float:
        spent = epsilon_at_resolution(make_events(math.exp(x)), delta, COARSE)
        return math.log(min(max(spent / epsilon, 1 / _CAP), _CAP))

    x = math.log(start)
    value = excess(x)
    if value == 0:
        return x
    # Epsilon falls about as 1 / multiplier, so the excess in logarithms is about the step.
    other, step = x, 1.2 * value + math.copysign(tolerance, value)
    other_value = value
    while other_value * value > 0:
        x, value = other, other_value
        other = x + step
        step *= 2
        if other > math.log(_LARGEST):
            raise _unreachable(epsilon, delta)
        if other < math.log(_SMALLEST):
            return math.log(_SMALLEST)
        other_value = excess(other)
    return find_root(excess, min(x, other), max(x, other), tolerance=tolerance / 8)


def _guess(make_events: Callable[[float], Sequence[Event]], epsilon: float, delta: float) -> float:
    """Where the central-limit guess meets epsilon; any answer does, better ones are faster."""
    low, high = math.log(_SMALLEST), math.log(_LARGEST)
    for _ in range(24):
        middle = (low + high) / 2
        if rough_epsilon(make_events(math.exp(middle)), delta) > epsilon:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _check_epsilon(epsilon: float) -> None:
    if not is_positive(epsilon):
        raise PrivacyError(f"epsilon must be finite and > 0, not {epsilon!r}")


def _unreachable(epsilon: float, delta: float) -> PrivacyError:
    return PrivacyError(
        f"no noise multiplier up to {_LARGEST:g} brings the events to epsilon {epsilon:g} "
        f"at delta {delta:g}",
        hint="fewer steps, a larger epsilon, or events whose cost falls with the multiplier",
    )
