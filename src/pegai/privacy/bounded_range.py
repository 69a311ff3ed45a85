"""The exponential mechanism in Gaussian differential privacy, so that choices compose exactly.

The exponential mechanism of McSherry and Talwar is epsilon-bounded-range (Durfee and Rogers 2019,
"Practical differentially private top-k selection"): for any two neighbours P and Q there is a t in
[0, epsilon] with all likelihood ratios P(y) / Q(y) in [e^(t - epsilon), e^t]. Among all pairs with
that property the easiest to tell apart has two outcomes, of ratios e^t and e^(t - epsilon) (Dong,
Durfee and Rogers 2020, "Optimal differential privacy composition for exponential mechanisms",
lemma 3.2): with

    q = (1 - e^(t - epsilon)) / (e^t - e^(t - epsilon)),    p = e^t q,

its trade-off function is two straight lines that meet at a type I error of q and a type II error of
1 - p. A trade-off function of Gaussian differential privacy is convex with the same ends, so it
lies below these lines if and only if it does at their meeting point: mu >= z(1 - q) - z(1 - p),
with z the quantile of the normal law. The largest of these over t is the mu that covers every pair.

The largest is at t = epsilon / 2, where it is 2 z(1 / (1 + e^(-epsilon / 2))): exchanging P and Q
maps t to epsilon - t, and in between the value only falls (checked on a fine grid for every epsilon
up to 20 by the tests, and covered besides by `_MARGIN`).
"""

from __future__ import annotations

import math
from importlib import import_module

from pegai.errors import PrivacyError
from pegai.privacy.events import is_positive

_MARGIN = 1e-9
MAX_RANGE = 40.0


def bounded_range_mu(epsilon: float) -> float:
    """The mu of Gaussian differential privacy that covers an epsilon-bounded-range choice.

    Args:
        epsilon: Range of the losses, above 0 and at most `MAX_RANGE`.

    Returns:
        About 0.627 epsilon for small epsilon, rounded up.

    Raises:
        PrivacyError: Epsilon is out of range.
    """
    if not is_positive(epsilon) or epsilon > MAX_RANGE:
        raise PrivacyError(
            f"the range of a choice must be > 0 and at most {MAX_RANGE:g}, not {epsilon!r}"
        )
    quantile = import_module("scipy.special").ndtri
    # The smaller tail keeps its digits where epsilon is large.
    return -2.0 * float(quantile(1.0 / (1.0 + math.exp(epsilon / 2)))) * (1 + _MARGIN)


def bounded_range_epsilon(mu: float) -> float:
    """The range of a choice that costs at most mu, and at most `MAX_RANGE`.

    Raises:
        PrivacyError: Mu is not finite and positive.
    """
    if not is_positive(mu):
        raise PrivacyError(f"the mu of a choice must be finite and > 0, not {mu!r}")
    if mu >= bounded_range_mu(MAX_RANGE):
        return MAX_RANGE
    survival = import_module("scipy.special").ndtr
    tail = float(survival(-mu / 2 / (1 + _MARGIN)))
    epsilon = 2.0 * (math.log1p(-tail) - math.log(tail))
    while bounded_range_mu(epsilon) > mu:
        epsilon *= 1 - 1e-12
    return epsilon


def pair_mu(epsilon: float, t: float) -> float:
    """The mu of the two-outcome pair with losses t and t - epsilon, 0 < t < epsilon."""
    quantile = import_module("scipy.special").ndtri
    q = -math.expm1(t - epsilon) / (math.exp(t) - math.exp(t - epsilon))
    # 1 - p = e^(t - epsilon) (1 - q), without taking a difference from 1.
    miss = math.exp(t - epsilon) * (1 - q)
    return float(-quantile(q) - quantile(miss))
