"""What a data set's charges add up to: which lines belong together, and by which of two rules.

`sums` adds epsilons and deltas up. That holds for any mechanisms, each chosen after what was
released before (Rogers, Roth, Ullman and Vadhan 2016, "Privacy odometers and filters", theorem
3.6).

`gaussian` adds up squared mu of Gaussian differential privacy, and remainders (`gaussian_cost`), so
that releases of equal cost grow with the square root of their number. The budget of (epsilon,
delta) stands for a fixed box: `REMAINDER_SHARE` of delta for the remainders; of what is left, after
the slack of the samplers in up to `MAX_CHARGES` charges, the largest mu with that delta at epsilon.
What is said to be spent is the epsilon at which the mu so far has that delta.

Which of the two is part of the budget and fixed before the first charge; `gaussian_cost` says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pegai.errors import LedgerError
from pegai.privacy.accountant import gaussian_epsilon, samplers_slack
from pegai.privacy.gaussian_cost import GaussianCost, gaussian_cost
from pegai.privacy.guarantee import Plan
from pegai.privacy.ledger_chain import Entry

Composition = Literal["sums", "gaussian"]

COMPOSITIONS: tuple[Composition, ...] = ("sums", "gaussian")
DEFAULT_EPSILON, DEFAULT_DELTA = 10.0, 1e-2
"""The budget of a data set for which none was set; its charges are summed."""

ROUNDING = 1 + 1e-9
"""0.1 + 0.2 must not exceed a budget of 0.3."""

REMAINDER_SHARE = 1 / 8
"""The part of a budget's delta that is kept for what Gaussians don't cover."""

MAX_CHARGES = 4096
"""The most charges of a data set whose costs add up by `gaussian`."""

_REMAINDER_OF_CHARGE = 1 / 1024  # of the smaller delta: 128 charges fit the share
_SMALLEST_REMAINDER = 1e-11  # below, the discretized distributions can't tell


@dataclass(frozen=True)
class Account:
    """The charges of a data set and of all that is linked to it, and its budget.

    Attributes:
        charges: Under the same name or the same fingerprint, and those linked to them in turn.
        epsilon: The strictest budget among the names.
        delta: The strictest budget among the names.
        composition: How charges add up.
    """

    charges: tuple[Entry, ...]
    epsilon: float
    delta: float
    composition: Composition

    @classmethod
    def of(cls, entries: Sequence[Entry], dataset: str, fingerprint: str = "") -> Account:
        """The account of a data set.

        Raises:
            LedgerError: It would join data sets whose charges add up by different rules.
        """
        names = _linked_names(entries, dataset, fingerprint)
        charges = tuple(e for e in entries if e.kind == "charge" and e.dataset in names)
        allowed = dict.fromkeys(names, (DEFAULT_EPSILON, DEFAULT_DELTA))
        declared: dict[str, str] = {}
        for entry in entries:
            if entry.kind == "budget" and entry.dataset in names:
                allowed[entry.dataset] = (entry.epsilon, entry.delta)
                declared[entry.dataset] = entry.composition or declared.get(entry.dataset, "")
        # Names that declare nothing take the rule of the data that they are linked to.
        rules = {charge.composition for charge in charges} | {r for r in declared.values() if r}
        if len(rules) > 1:
            raise LedgerError(
                f"data set {dataset!r} shares its data with another, whose charges add up by "
                "another rule",
                hint="use the name under which the data were charged first",
            )
        return cls(
            charges,
            min(epsilon for epsilon, _ in allowed.values()),
            min(delta for _, delta in allowed.values()),
            "gaussian" if rules == {"gaussian"} else "sums",
        )

    def spent(self, plans: Sequence[Plan] = ()) -> tuple[float, float]:
        """Epsilon and delta that are spent, or would be after further plans; upper bounds."""
        if not (self.charges or plans):
            return 0.0, 0.0
        if self.composition == "sums":
            both = (*self.charges, *plans)
            return math.fsum(x.epsilon for x in both), math.fsum(x.delta for x in both)
        known = [GaussianCost(charge.mu_squared, charge.remainder) for charge in self.charges]
        costs = [*known, *(self.cost(plan) for plan in plans)]
        total = GaussianCost.sum(costs)
        delta = self.delta * (1 - REMAINDER_SHARE)
        exact = delta - MAX_CHARGES * samplers_slack(self.epsilon)
        if exact <= 0 or len(costs) > MAX_CHARGES or not math.isfinite(total.mu_squared):
            return math.inf, delta + total.remainder
        return gaussian_epsilon(math.sqrt(total.mu_squared), exact), delta + total.remainder

    def cost(self, plan: Plan) -> GaussianCost:
        """What a plan adds where charges add up by `gaussian`."""
        remainder = min(plan.delta, self.delta) * _REMAINDER_OF_CHARGE
        return gaussian_cost(plan.events, max(remainder, _SMALLEST_REMAINDER))

    def refusal(self, plans: Sequence[Plan]) -> str:
        """Why further plans don't fit the budget; empty if they do."""
        used, after = self.spent(), self.spent(plans)
        for name, limit, before, total in (
            ("epsilon", self.epsilon, used[0], after[0]),
            ("delta", self.delta, used[1], after[1]),
        ):
            if not total <= limit * ROUNDING:
                left = f"{max(limit - before, 0.0):.4g} left of {limit:.4g}"
                if self.composition == "sums":
                    return f"{name} {total - before:.4g} asked for, {left}"
                return f"{name} would be {total:.4g} in all, {left}"
        return ""


def _linked_names(entries: Sequence[Entry], dataset: str, fingerprint: str) -> set[str]:
    """Names that lead to the same data, directly or through others."""
    names, prints = {dataset}, {fingerprint} - {""}
    charges = [entry for entry in entries if entry.kind == "charge"]
    size = 0
    while size != len(names) + len(prints):
        size = len(names) + len(prints)
        for entry in charges:
            if entry.dataset in names or entry.fingerprint in prints:
                names.add(entry.dataset)
                prints |= {entry.fingerprint} - {""}
    return names
