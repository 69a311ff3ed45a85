"""Survival: Kaplan-Meier curves and restricted mean survival times of two tables.

Curves are exact steps, never interpolated. The horizon is the last time at which the *holdout* and
the training table both still have patients enough under observation, so that no figure rests on the
last few. Sources: Kaplan and Meier 1958; Greenwood 1926; Royston and Parmar 2013 (restricted mean).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_AT_RISK = 10
AT_RISK_SHARE = 0.10


@dataclass(frozen=True, eq=False)
class Curve:
    """A Kaplan-Meier curve.

    Attributes:
        times: Distinct times with an event, rising; shape (steps,).
        survival: Just after each; shape (steps,).
        at_risk: Patients under observation just before each.
        deaths: Events at each.
    """

    times: np.ndarray
    survival: np.ndarray
    at_risk: np.ndarray
    deaths: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Survival at times; shape as given."""
        place = np.searchsorted(self.times, times, side="right")
        return np.concatenate([[1.0], self.survival])[place]

    def band(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise 95 % band on the scale of log(-log), by Greenwood's variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = self.deaths / (self.at_risk * (self.at_risk - self.deaths))
            place = np.searchsorted(self.times, times, side="right")
            variance = np.concatenate([[0.0], np.cumsum(steps)])[place]
            survival = self.at(times)
            width = 1.959964 * np.sqrt(variance) / np.abs(np.log(survival))
            low, high = survival ** np.exp(width), survival ** np.exp(-width)
        inside = (survival > 0) & (survival < 1) & np.isfinite(variance)
        return np.where(inside, low, survival), np.where(inside, high, survival)


def kaplan_meier(time: np.ndarray, event: np.ndarray) -> Curve:
    """The survival curve of patients.

    Args:
        time: Follow-up, not negative; shape (rows,).
        event: 1 where it ended with the event, 0 where the patient was censored.
    """
    found, place = np.unique(time, return_inverse=True)
    deaths = np.bincount(place, weights=event, minlength=found.size)
    leaving = np.bincount(place, minlength=found.size)
    at_risk = time.size - np.concatenate([[0], np.cumsum(leaving)[:-1]]) if found.size else leaving
    stepping = deaths > 0
    deaths, at_risk = deaths[stepping], at_risk[stepping].astype(np.float64)
    return Curve(found[stepping], np.cumprod(1 - deaths / at_risk), at_risk, deaths)


def horizon(time: np.ndarray) -> float:
    """The last time at which a tenth of the patients, and ten, are still observed; NaN if none."""
    needed = max(MIN_AT_RISK, int(np.ceil(AT_RISK_SHARE * time.size)))
    if time.size < needed:
        return float("nan")
    return float(np.sort(time)[time.size - needed])


def curve_distance(first: Curve, second: Curve, until: float) -> float:
    """Mean absolute difference of two curves from 0 to the horizon."""
    times = np.unique(np.concatenate([first.times, second.times]))
    edges = np.concatenate([[0.0], times[(times > 0) & (times < until)], [until]])
    gap = np.abs(first.at(edges[:-1]) - second.at(edges[:-1]))
    return float((gap * np.diff(edges)).sum() / until)


def restricted_mean(curve: Curve, until: float) -> tuple[float, float]:
    """Mean survival time up to the horizon, and its variance by Greenwood's formula."""
    inside = curve.times < until
    times = curve.times[inside]
    edges = np.concatenate([[0.0], times, [until]])
    areas = np.concatenate([[1.0], curve.survival[inside]]) * np.diff(edges)
    left = np.cumsum(areas[::-1])[::-1][1:]  # area after each step
    deaths, at_risk = curve.deaths[inside], curve.at_risk[inside]
    step = np.divide(
        deaths,
        at_risk * (at_risk - deaths),
        out=np.zeros_like(deaths),
        where=at_risk > deaths,
    )
    return float(areas.sum()), float((left**2 * step).sum())
