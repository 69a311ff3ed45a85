"""Closed formulas for the noise of the Gaussian mechanism, and what each of them takes to hold.

All give the standard deviation of the noise / L2 sensitivity for one release at (epsilon, delta).
None is ever below the exact one, `analytic`, which pegai takes: they stand here to be compared with
it, and to read what other software did.

- `classic`: sqrt(2 ln(1.25 / delta)) / epsilon (Dwork and Roth 2014, theorem A.1). Proven up to
  epsilon 1 only. Above, it is refused: at epsilon 8 and delta 1e-3 its noise is too little.
- `zhao1` and `zhao2`: (c + sqrt(c^2 + epsilon)) / (epsilon sqrt(2)), at any epsilon (Zhao et al.
  2019, arXiv:1911.12060, mechanisms 1 and 2), with

      zhao1: c^2 = ln(2 / (sqrt(16 delta + 1) - 1)),        zhao2: c^2 = ln(1 / (2 delta)).

Why the last two hold: with mu = 1 / noise multiplier, the delta of the Gaussian mechanism is at
most Phi(mu / 2 - epsilon / mu) = erfc(c) / 2 for c sqrt(2) = epsilon / mu - mu / 2, and the noise
multiplier that solves this for mu is the formula above. So it is enough that erfc(c) <= 2 delta;
`zhao1` takes c from erfc(c) <= (exp(-2 c^2) + exp(-c^2)) / 2 (Chiani et al. 2003, equation 14), a
quadratic in exp(-c^2), and `zhao2` from erfc(c) <= exp(-c^2). Both need delta < 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from pegai.errors import PrivacyError

Calibration = Literal["analytic", "classic", "zhao1", "zhao2"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)

CLASSIC_MAX_EPSILON = 1.0
"""The proof of the classic formula ends here."""

ZHAO_MAX_DELTA = 0.5


def classic(epsilon: float, delta: float) -> float:
    """Dwork and Roth 2014, theorem A.1.

    Raises:
        PrivacyError: Epsilon is above 1.
    """
    if epsilon > CLASSIC_MAX_EPSILON:
        raise PrivacyError(
            f"the classic Gaussian calibration is proven up to epsilon 1 only, not at {epsilon!r}: "
            "above, it can give too little noise",
            hint="analytic holds at any epsilon and needs less noise",
        )
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def zhao1(epsilon: float, delta: float) -> float:
    """Zhao et al. 2019, mechanism 1.

    Raises:
        PrivacyError: Delta is 1/2 or more.
    """
    _check_zhao("zhao1", delta)
    # (sqrt(1 + x) - 1) = x / (sqrt(1 + x) + 1), which loses no digit where delta is small.
    least = 16 * delta / (math.sqrt(16 * delta + 1) + 1)
    return _from_square(math.log(2 / least), epsilon)


def zhao2(epsilon: float, delta: float) -> float:
    """Zhao et al. 2019, mechanism 2.

    Raises:
        PrivacyError: Delta is 1/2 or more.
    """
    _check_zhao("zhao2", delta)
    return _from_square(-math.log(2 * delta), epsilon)


CLOSED_FORMS: dict[str, Callable[[float, float], float]] = {
    "classic": classic,
    "zhao1": zhao1,
    "zhao2": zhao2,
}


def _from_square(square: float, epsilon: float) -> float:
    # Delta just below 1/2 brings the square to 0, or a rounding below it.
    square = max(square, 0.0)
    return (math.sqrt(square) + math.sqrt(square + epsilon)) / (epsilon * math.sqrt(2))


def _check_zhao(name: str, delta: float) -> None:
    if delta >= ZHAO_MAX_DELTA:
        raise PrivacyError(
            f"the calibration {name} holds for delta below 1/2, not at {delta!r}",
            hint="analytic holds at any delta",
        )
