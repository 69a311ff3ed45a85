"""The accountant: upper bounds on epsilon and delta of composed events.

Adjacency is "add or remove one patient" throughout. Three ways, the tightest sound one is taken:

- Only Gaussian events: exact, in closed form. k Gaussians with mu_i = 1 / noise_multiplier_i are
  one Gaussian with mu = sqrt(sum mu_i^2) (Dong, Roth and Su 2022, "Gaussian differential privacy",
  corollary 3.3), and delta(epsilon) is that of Balle and Wang 2018, theorem 8.
- Only pure events: the sum, or the privacy-loss distribution where that is smaller.
- Else: the privacy-loss distribution (PLD) of `dp_accounting`, discretized pessimistically
  ("connect the dots", Doroshenko et al. 2022), so that every figure is an upper bound whatever
  the discretization.

A key selection is a Gaussian beside a chance that all is told (`events.KeySelectionEvent`). The
chances of all uses are summed and added to every delta: 1 - prod(1 - d_i) <= sum d_i.

A vector released by the Laplace mechanism costs no more than one number of the same sensitivity:
1 - delta(epsilon) is log-concave in the shift (Prekopa, since the minimum of two log-concave
densities is log-concave), so the worst shift is a corner of the L1 ball.

**Slack of the samplers.** Noise is drawn within total variation `samplers.TV_PER_DRAW` of its exact
law. A mechanism within total variation t of an (epsilon, delta)-DP one is
(epsilon, delta + (1 + e^epsilon) t)-DP. With at most `samplers.MAX_DRAWS` draws in a plan this adds
(1 + e^epsilon) 2^-72 to delta; `Session` refuses further draws. An epsilon beyond about 45 can
therefore not be certified and is given as infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module

from pegai.errors import PrivacyError
from pegai.privacy.composition import Composition, loss_distribution
from pegai.privacy.events import (
    Event,
    KeySelectionEvent,
    is_positive,
)
from pegai.privacy.samplers import MAX_DRAWS, TV_PER_DRAW

PLD_NUMERICAL_SLACK = 1e-12
"""Taken off delta before a PLD is asked: rounding of its Fourier transforms and sums."""

FINE, COARSE = 40.0, 12.0
"""Discretization points per standard deviation of the loss, when reporting and when searching."""

_HOPELESS_MU = 40.0


def compute_epsilon(events: Sequence[Event], delta: float) -> float:
    """The epsilon that the events cost together at a delta; an upper bound.

    Args:
        events: Any mix of events; none cost 0.
        delta: In (0, 1).

    Returns:
        Epsilon >= 0, or infinity where no useful bound can be given.

    Raises:
        PrivacyError: Delta is out of range.
    """
    check_delta(delta)
    return epsilon_at_resolution(events, delta, FINE)


def compute_delta(events: Sequence[Event], epsilon: float) -> float:
    """The delta that the events cost together at an epsilon; an upper bound, at most 1.

    Raises:
        PrivacyError: Epsilon is negative or not a number.
    """
    if not epsilon >= 0:
        raise PrivacyError(f"epsilon must be >= 0, not {epsilon!r}")
    whole = Composition.of(events)
    if whole.is_empty:
        return 0.0
    if math.isinf(epsilon):
        return min(1.0, whole.lost)
    return min(1.0, _delta(whole, float(epsilon)) + whole.lost + samplers_slack(epsilon))


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of mu-GDP at an epsilon: Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu), exact.

    Args:
        mu: Sensitivity / standard deviation, >= 0.
        epsilon: Any real number >= 0.
    """
    if mu == 0:
        return 0.0
    log_ndtr: Callable[[float], float] = import_module("scipy.special").log_ndtr
    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    # A difference of near-equal numbers, taken in logarithms so that no digit is lost.
    return math.exp(first) * -math.expm1(min(second - first, 0.0))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon >= 0 at which mu-GDP has at most this delta; never below the truth."""
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    high = mu * (mu / 2 + math.sqrt(2 * math.log(1 / delta))) + 1e-6
    while gaussian_delta(mu, high) > delta:
        high *= 2
    root = find_root(lambda e: gaussian_delta(mu, e) - delta, 0.0, high, tolerance=1e-14)
    while gaussian_delta(mu, root) > delta:
        root += 1e-12 * max(root, 1e-3)
    return root


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest mu whose Gaussian differential privacy has this delta at this epsilon.

    The inverse of `gaussian_delta`; never above the truth. The samplers' slack is not in it:
    `calibrate.gaussian_noise_multiplier` takes it off.

    Args:
        epsilon: Finite, >= 0.
        delta: In (0, 1).

    Raises:
        PrivacyError: A figure is out of range.
    """
    if not (epsilon == 0 or is_positive(epsilon)):
        raise PrivacyError(f"epsilon must be finite and >= 0, not {epsilon!r}")
    check_delta(delta)
    low, high = 1.0, 1.0
    while gaussian_delta(low, epsilon) > delta:
        low /= 2
    while gaussian_delta(high, epsilon) < delta:
        high *= 2
    root = find_root(lambda mu: gaussian_delta(mu, epsilon) - delta, low, high, tolerance=1e-300)
    while gaussian_delta(root, epsilon) > delta:
        root *= 1 - 1e-14
    return root


def exact_mu_squared(events: Sequence[Event]) -> float | None:
    """The squared mu of events that are all Gaussian; None where one is not.

    A key selection is not: its delta is beside its mu.
    """
    whole = Composition.of(events)
    other = whole.laplace or whole.pure or whole.subsampled or whole.lost
    return None if other else whole.mu_squared


def split_lost(events: Sequence[Event]) -> tuple[list[Event], float]:
    """The events without what they add to every delta, and the sum of that; an upper bound."""
    rest: list[Event] = [e.gaussian_part if isinstance(e, KeySelectionEvent) else e for e in events]
    return rest, Composition.of(events).lost


def delta_curve(events: Sequence[Event], epsilons: Sequence[float]) -> list[float]:
    """Upper bounds of delta at many epsilons, without the samplers' slack, by one PLD.

    Args:
        events: Any mix of events.
        epsilons: >= 0, rising.

    Returns:
        As many deltas; 1 where no useful bound can be given.
    """
    whole = Composition.of(events)
    if whole.is_empty:
        return [0.0] * len(epsilons)
    if whole.rough_mu > _HOPELESS_MU:
        return [1.0] * len(epsilons)
    found = loss_distribution(whole, FINE).get_delta_for_epsilon(
        [epsilon * (1 - 1e-9) for epsilon in epsilons]
    )
    return [min(1.0, float(delta) + whole.lost + PLD_NUMERICAL_SLACK) for delta in found]


def find_root(
    function: Callable[[float], float], low: float, high: float, *, tolerance: float
) -> float:
    """Brent's method; imported late, since scipy.optimize takes 0.4 s of the start-up."""
    brentq: Callable[..., float] = import_module("scipy.optimize").brentq
    return float(brentq(function, low, high, xtol=tolerance, rtol=1e-14))


def attack_bound(epsilon: float, delta: float, fpr: float) -> float:
    """The largest true-positive rate of any membership attack at a false-positive rate.

    Kairouz, Oh and Viswanath 2015, theorem 2.1: min(e^eps fpr + delta, 1 - e^-eps (1 - delta -
    fpr)), at most 1. It holds whatever the attacker knows besides.

    Args:
        epsilon: >= 0.
        delta: In [0, 1].
        fpr: False-positive rate in [0, 1].
    """
    if not (epsilon >= 0 and 0 <= delta <= 1 and 0 <= fpr <= 1):
        raise PrivacyError(
            f"attack_bound needs epsilon >= 0 and delta and fpr in [0, 1], "
            f"not {epsilon!r}, {delta!r}, {fpr!r}"
        )
    low = math.exp(min(epsilon, 700.0)) * fpr + delta
    high = 1.0 - math.exp(-epsilon) * (1.0 - delta - fpr)
    return max(0.0, min(1.0, low, high))


def check_delta(delta: float) -> None:
    """Refuse a delta outside (0, 1).

    Raises:
        PrivacyError: As said.
    """
    if not (is_positive(delta) and delta < 1):
        raise PrivacyError(
            f"delta must lie strictly between 0 and 1, not {delta!r}",
            hint="below 1 / (10 x patients) is usual, such as 1e-5",
        )


def epsilon_at_resolution(events: Sequence[Event], delta: float, resolution: float) -> float:
    """`compute_epsilon` at a discretization; sound at each, tighter when finer."""
    whole = Composition.of(events)
    if whole.is_empty:
        return 0.0
    delta -= whole.lost
    if delta <= 0:
        return math.inf
    # The slack grows with epsilon: allow for one more than the first answer, then check.
    first = _epsilon(whole, delta, resolution)
    slack = samplers_slack(first + 1.0)
    if slack >= delta:
        return math.inf
    second = _epsilon(whole, delta - slack, resolution)
    return second if second <= first + 1.0 else math.inf


def rough_epsilon(events: Sequence[Event], delta: float) -> float:
    """A guess by the central limit theorem, to start searches from; NOT a bound."""
    whole = Composition.of(events)
    left = max(delta - whole.lost, 1e-3 * delta)
    return gaussian_epsilon(min(whole.rough_mu, _HOPELESS_MU), left)


def samplers_slack(epsilon: float) -> float:
    """What the samplers' distance from their exact laws adds to delta at an epsilon."""
    if epsilon > 100:
        return 1.0
    return (1.0 + math.exp(epsilon)) * MAX_DRAWS * TV_PER_DRAW


def _epsilon(whole: Composition, delta: float, resolution: float) -> float:
    simple = math.inf
    if not whole.subsampled:
        gaussian = gaussian_epsilon(math.sqrt(whole.mu_squared), delta) if whole.mu_squared else 0.0
        simple = gaussian + whole.pure_sum
        if not (whole.laplace or whole.pure) or (not whole.mu_squared and whole.uses == 1):
            return simple
    if whole.rough_mu > _HOPELESS_MU or delta <= PLD_NUMERICAL_SLACK:
        return simple
    loss = loss_distribution(whole, resolution)
    found = float(loss.get_epsilon_for_delta(delta - PLD_NUMERICAL_SLACK))
    return min(simple, found * (1 + 1e-9))


def _delta(whole: Composition, epsilon: float) -> float:
    simple = 1.0
    if not whole.subsampled:
        left = epsilon - whole.pure_sum
        if left >= 0:
            simple = gaussian_delta(math.sqrt(whole.mu_squared), left)
        if not (whole.laplace or whole.pure) or simple == 0:
            return simple
    if whole.rough_mu > _HOPELESS_MU:
        return simple
    loss = loss_distribution(whole, FINE)
    found = float(loss.get_delta_for_epsilon(epsilon * (1 - 1e-9)))
    return min(simple, found + PLD_NUMERICAL_SLACK)
