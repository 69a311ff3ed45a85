"""What events cost in Gaussian differential privacy, so that whole releases compose by it.

Any events are brought to one currency, `GaussianCost(mu_squared, remainder)`: together they are no
easier to tell apart than a Gaussian of that mu beside an event of chance `remainder` that tells
all, which is to say that for every epsilon >= 0

    delta(epsilon) <= remainder + (1 - remainder) gaussian_delta(mu, epsilon)

with neighbours either way round; for epsilon < 0 it follows, as both sides are symmetric. A pair
with that property dominates the mechanism, also under adaptive composition (Zhu, Dong and Wang
2022, "Optimal accounting of differential privacy via characteristic function", theorem 10). Events
that are all Gaussian have their exact mu and no remainder; a key selection is such a pair by its
proof (`key_selection`), so its delta is all remainder. The privacy-loss distribution of DP-SGD
with its many steps is so near a Gaussian's (Bu, Dong, Long and Su 2020) that its mu is within about
1 % of that of its epsilon and delta.

**Costs add up, also where each was chosen after what was released before.** The sums of mu^2 and of
remainders may be compared with a budget (m, d) that was fixed beforehand. Let V(g; m, d) be the
delta at epsilon ln g of the pair G x R, a Gaussian of mu = sqrt(m) and an event of chance d. By
induction over the releases that are left, nothing that stays within (m, d) exceeds V(g; m, d): the
first release, of cost (m', d'), is dominated by its own pair, what follows stays within (m - m',
d - d') whatever was released, and pair and rest together are at most V, since Gaussians compose to
mu^2 = m' + (m - m') and chances to no more than their sum. This is the Gaussian filter of Smith and
Thakurta 2022 and of Koskela, Tobaben and Honkela 2023, with a remainder beside it.

**The budget must be fixed, and the rule too.** To accept what fits *either* this budget *or* a sum
of epsilons would not be sound: which one a series of releases ends by may depend on what was
released, and then the two deltas add up; 1.67 times the delta that was allowed in the series of the
tests. So a data set is under one of the two, from its start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError
from pegai.privacy.accountant import compute_epsilon, delta_curve, exact_mu_squared, split_lost
from pegai.privacy.events import Event, is_positive

Floats = NDArray[np.float64]

_POINTS = 4096
_MARGIN = 1e-9
_LARGEST_MU = 100.0


@dataclass(frozen=True)
class GaussianCost:
    """A bound on all that one or more releases tell.

    Attributes:
        mu_squared: Of the Gaussian that covers them; may be infinite.
        remainder: The chance that is left out of it.
    """

    mu_squared: float
    remainder: float

    @classmethod
    def sum(cls, costs: Sequence[GaussianCost]) -> GaussianCost:
        """The cost of releases, each chosen after those before it."""
        return cls(
            math.fsum(cost.mu_squared for cost in costs), math.fsum(c.remainder for c in costs)
        )


def gaussian_cost(events: Sequence[Event], remainder: float) -> GaussianCost:
    """The least mu that covers the events but for a chance, and that chance.

    The samplers' slack is not in it; see `accountant.samplers_slack`.

    Args:
        events: Planned events; none cost nothing.
        remainder: In (0, 1); not used where all events are Gaussian or key selections. A hundredth
            of the delta that counts does well. The deltas of key selections come on top of it.

    Returns:
        An upper bound; of infinite mu where none can be given.

    Raises:
        PrivacyError: The remainder is out of range.
    """
    if not (is_positive(remainder) and remainder < 1):
        raise PrivacyError(f"a remainder must lie strictly between 0 and 1, not {remainder!r}")
    rest, lost = split_lost(events)
    exact = exact_mu_squared(rest)
    if exact is not None:
        return GaussianCost(exact, lost)
    return GaussianCost.sum([_covered(tuple(rest), float(remainder)), GaussianCost(0.0, lost)])


@lru_cache(maxsize=64)
def _covered(events: tuple[Event, ...], remainder: float) -> GaussianCost:
    """Both sides fall in epsilon: each step of the grid compares its start with its end.

    The curve ends where delta is below the remainder, from where on nothing is left to cover.
    """
    end = compute_epsilon(events, remainder)
    if not math.isfinite(end):
        return GaussianCost(math.inf, remainder)
    grid = np.linspace(0.0, end, _POINTS + 1)
    deltas = np.array(delta_curve(events, grid[:-1].tolist()))
    wanted = np.clip((deltas - remainder) / (1.0 - remainder), 0.0, None)
    low, high = np.zeros(_POINTS), np.full(_POINTS, _LARGEST_MU)
    for _ in range(64):
        middle = (low + high) / 2
        enough = _gaussian_deltas(middle, grid[1:]) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    mu = float(high.max()) * (1 + _MARGIN)
    return GaussianCost(math.inf if mu > _LARGEST_MU * (1 - _MARGIN) else mu * mu, remainder)


def _gaussian_deltas(mu: Floats, epsilons: Floats) -> Floats:
    """`accountant.gaussian_delta`, elementwise."""
    log_ndtr: Any = import_module("scipy.special").log_ndtr
    first = log_ndtr(mu / 2 - epsilons / mu)
    second = epsilons + log_ndtr(-mu / 2 - epsilons / mu)
    return np.exp(first) * -np.expm1(np.minimum(second - first, 0.0))
