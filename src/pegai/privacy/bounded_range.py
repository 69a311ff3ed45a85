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

The largest is at t = epsilon / 2, where it is 2 z(1 / (1 + e^(-epsilon / 2))). Proof: write
x = e^-t, y = e^(t - epsilon), a = q and b = 1 - p, so that a = x (1 - b) and b = y (1 - a). The
derivative in t of z(1 - a) + z(1 - b) is, up to a positive factor, x / I(a) - y / I(b) with
I(u) = phi(z(u)). Where t > epsilon / 2, x < y and a < b <= 1 - a, and the derivative is negative
if h(a) > h(b) for h(u) = I(u) / (u (1 - u)). As h is symmetric about 1/2, it is enough that h falls
up to there; in w = z(1 - u) >= 0 and s = Phi(w) - 1/2 that says K(w) = 2 s phi(w) -
w (1/4 - s^2) >= 0. K is 0 at 0 and at infinity; K' = 2 phi^2 - 1/4 + s^2 is positive at 0, tends to
0, and falls, then rises, since K'' = 2 phi (s - 2 w phi) changes its sign once: so K rises, then
falls to 0, and is never negative. Where t < epsilon / 2, exchange P and Q. The tests check it on a
grid too.
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
    special = import_module("scipy.special")
    half = epsilon / 2
    if half < 1:
        # 1 / (1 + e^-half) = (1 + tanh(half / 2)) / 2, without taking a difference from 1/2.
        mu = 2.0 * math.sqrt(2.0) * float(special.erfinv(math.tanh(half / 2)))
    else:
        # The smaller tail keeps its digits where epsilon is large.
        mu = -2.0 * float(special.ndtri(1.0 / (1.0 + math.exp(half))))
    return mu * (1 + _MARGIN)


def bounded_range_epsilon(mu: float) -> float:
    """The range of a choice that costs at most mu, and at most `MAX_RANGE`.

    Raises:
        PrivacyError: Mu is not finite and positive.
    """
    if not is_positive(mu):
        raise PrivacyError(f"the mu of a choice must be finite and > 0, not {mu!r}")
    if mu >= bounded_range_mu(MAX_RANGE):
        return MAX_RANGE
    epsilon = 2.0 * _log_odds(mu / 2 / (1 + _MARGIN))
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


def _log_odds(w: float) -> float:
    """The logarithm of Phi(w) / (1 - Phi(w)) for w >= 0, with all its digits near 0."""
    special = import_module("scipy.special")
    if w < 1:
        return 2.0 * math.atanh(float(special.erf(w / math.sqrt(2.0))))
    tail = float(special.ndtr(-w))
    return math.log1p(-tail) - math.log(tail)
