"""What an evaluation gives: scores with intervals and baselines, and the data of its plots.

Plain frozen values, so that a report (and any other reader) needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats

from pegai.errors import DataError

Group = Literal["fidelity", "utility", "privacy"]
Better = Literal["higher", "lower", "half"]


@dataclass(frozen=True)
class Score:
    """One figure of an evaluation.

    Attributes:
        name: What was measured, as `metric` or `metric/detail`, unique in an evaluation.
        group: fidelity, utility or privacy.
        title: The name for people.
        value: The mean over synthetic tables (seeds); NaN is "not assessed".
        low: Lower end of the 95 % interval; NaN where there is none.
        high: Upper end of the 95 % interval.
        baseline: The same figure with real data in place of synthetic; NaN where there is none.
        better: Which way is good: higher, lower, or as near to one half as possible.
        n: How many values the mean is over.
        values: The single values, one a synthetic table.
        note: Why it was not assessed, or what to know when reading it.
    """

    name: str
    group: Group
    title: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    better: Better = "higher"
    n: int = 1
    values: tuple[float, ...] = ()
    note: str = ""

    @property
    def assessed(self) -> bool:
        """Whether there was enough evidence for a figure."""
        return not math.isnan(self.value)


def mean_interval(values: list[float], *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and two-sided Student-t interval over independent repeats.

    Returns:
        (mean, low, high); the interval is NaN for fewer than two values.
    """
    finite = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    if finite.size == 0:
        return math.nan, math.nan, math.nan
    mean = float(finite.mean())
    if finite.size < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.5 + level / 2, finite.size - 1) * stats.sem(finite))
    return mean, mean - half, mean + half


def values_note(tables: int) -> str:
    """What to know of an interval over few tables."""
    if tables == 1:
        return "one synthetic table: the interval covers the patients, not the seeds"
    return ""


def joined(*notes: str) -> str:
    """Notes that are not empty, as one text."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def mean(values: Sequence[float]) -> float:
    """Mean over tables that were assessed; NaN if none was."""
    found = [v for v in values if not np.isnan(v)]
    return float(np.mean(found)) if found else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """The scores of one release candidate, and the data behind its plots.

    Attributes:
        scores: Every figure, in the order of the report.
        plots: JSON-ready data by plot name; see the module that makes each.
        rows: Row counts of train, holdout and synthetic tables.
        seeds: The seeds of the evaluation itself (classifiers, subsamples).
        seconds: Wall time.
    """

    scores: tuple[Score, ...]
    plots: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0

    def __getitem__(self, name: str) -> Score:
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    def get(self, name: str) -> Score | None:
        """The score of a name, or None."""
        return next((s for s in self.scores if s.name == name), None)

    def group(self, group: Group) -> tuple[Score, ...]:
        """The scores of a group."""
        return tuple(s for s in self.scores if s.group == group)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; NaN becomes None. `from_dict` is the inverse."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Evaluation:
        """Read what `to_dict` wrote; fields that this version does not know are left out.

        Figures that are None are "not assessed" again. Data of plots stay as JSON has them.

        Raises:
            DataError: A field is missing or has the wrong type.
        """
        try:
            return cls(
                scores=tuple(_score(score) for score in raw["scores"]),
                plots=dict(raw["plots"]),
                rows={str(name): int(count) for name, count in raw["rows"].items()},
                seeds=tuple(int(seed) for seed in raw["seeds"]),
                seconds=_number(raw["seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"the evaluation can't be read: {type(error).__name__} at {error}",
                hint="evaluate again",
            ) from None


def _score(raw: dict[str, Any]) -> Score:
    known = {key: raw[key] for key in Score.__dataclass_fields__ if key in raw}
    figures = {key: _number(known[key]) for key in ("value", "low", "high", "baseline")}
    values = tuple(_number(value) for value in known["values"])
    return Score(**{**known, **figures, "values": values})


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
