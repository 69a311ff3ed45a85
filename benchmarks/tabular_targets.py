"""What the generators were asked to reach, as data; `tabular.py` says of each whether it is met.

A bound is a number, another score of the same method (`copies_holdout`), or a score of another
method on the same table (`independent:tstr`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Sense = Literal["<=", ">="]
Medians = dict[str, dict[str, dict[str, float]]]
"""Case, method, score: the median over seeds."""

GRADIENTS = ("gan", "ctgan", "tvae", "vaegan")
PRIVATE = (*GRADIENTS, "pategan")
FITTED_OR_REFUSED = "fitted_or_refused"


@dataclass(frozen=True)
class Target:
    """One bound on one score.

    Attributes:
        case: The case of `tabular_cases.py`.
        method: A method of the catalog.
        score: The score.
        sense: Whether it must lie below or above.
        bound: See the module.
    """

    case: str
    method: str
    score: str
    sense: Sense
    bound: float | str


def _targets() -> Iterator[Target]:
    for method in GRADIENTS:
        yield Target("cleveland", method, "tstr", ">=", 0.86)
        yield Target("cleveland", method, "c2st", "<=", 0.68)
        yield Target("cleveland", method, "fit_cpu", "<=", 30)
    yield Target("cleveland", "auto", "tstr", ">=", 0.87)
    yield Target("cleveland", "auto", "c2st", "<=", 0.58)
    yield Target("cleveland", "auto", "membership_distance", "<=", 0.54)
    yield Target("cleveland", "auto", "membership_ratio", "<=", 0.54)
    yield Target("adult", "auto", "c2st", "<=", 0.53)
    yield Target("adult", "auto", "tstr", ">=", 0.915)
    yield Target("adult", "auto", "copies", "<=", "copies_holdout")
    yield Target("adult", "auto", "membership_distance", "<=", 0.512)
    yield Target("adult", "auto", "membership_ratio", "<=", 0.512)
    yield Target("adult", "auto", "fit_cpu", "<=", 60)
    for method in ("ctgan", "tvae"):
        yield Target("adult", method, "c2st", "<=", 0.85)
        yield Target("adult", method, "tstr", ">=", 0.895)
    yield Target("adult", "ctgan", "fit_cpu", "<=", 300)
    yield Target("adult-epoch", "ctgan", "epoch_speedup", ">=", 5)
    yield Target("support2", "auto", "c2st", "<=", 0.58)
    yield Target("support2", "auto", "missing_pairs_max", "<=", 0.02)
    for method in ("auto", "ctgan", "trees"):
        yield Target("adult", method, "million_wall", "<=", 10)
    yield Target("adult-private", "aim", "million_wall", "<=", 10)
    yield Target("wide", "auto", "fit_wall", "<=", 600)
    yield Target("wide", "auto", "fit_peak_mb", "<=", 4096)
    for method in PRIVATE:
        yield Target("adult-private", method, "tstr", ">=", 0.82)
        yield Target("adult-private", method, "tstr", ">=", "independent:tstr")
        yield Target("hospitals-private", method, "tstr", ">=", 0.80)


TARGETS = tuple(_targets())


def judged(medians: Medians, every: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Each target with what was found, where anything was.

    Args:
        medians: The scores.
        every: Case and method to how the run went (`done`, `refused`, ...), for the rule that each
            method fits the wide table or refuses it.

    Returns:
        Target, value, the bound as a number and `met`: True, False, or None (not run).
    """
    found = []
    for target in TARGETS:
        value = _value(medians, target.case, target.method, target.score)
        bound = _bound(medians, target)
        met = None
        if not (math.isnan(value) or math.isnan(bound)):
            met = value <= bound if target.sense == "<=" else value >= bound
        elif target.case in every and every[target.case].get(target.method, "done") != "done":
            met = False
        found.append({**vars(target), "value": _json(value), "limit": _json(bound), "met": met})
    for method, status in every.get("wide", {}).items():
        target = Target("wide", method, FITTED_OR_REFUSED, ">=", 1.0)
        value = float(status in ("done", "refused"))
        found.append({**vars(target), "value": value, "limit": 1.0, "met": bool(value)})
    return found


def _bound(medians: Medians, target: Target) -> float:
    if not isinstance(target.bound, str):
        return target.bound
    method, _, score = target.bound.rpartition(":")
    return _value(medians, target.case, method or target.method, score)


def _value(medians: Medians, case: str, method: str, score: str) -> float:
    return medians.get(case, {}).get(method, {}).get(score, math.nan)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
