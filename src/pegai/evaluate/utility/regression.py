"""Regression: coefficients and standard errors of linear, logistic and Cox models.

Newton's method in numpy. Where a logistic model is separated (a term tells the outcome for sure),
Firth's (1993) penalty by Jeffreys' prior gives finite estimates (Heinze and Schemper 2002). Several
rows a patient get standard errors that are robust to it (Liang and Zeger 1986). The Cox model takes
ties by Efron's (1977) approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pegai.evaluate.utility.design import independent_columns

Family = Literal["linear", "logistic"]

_STEPS = 30
_SEPARATED = 15.0  # logits; a risk of one in three million


@dataclass(frozen=True, eq=False)
class Estimates:
    """Coefficients of one table.

    Attributes:
        values: NaN for what the table can't estimate; shape (terms,).
        errors: Naive standard errors, as if the rows were patients.
        rows: How many rows there were.
        note: What to know of the fit; empty if nothing.
    """

    values: np.ndarray
    errors: np.ndarray
    rows: int
    note: str = ""


def fit_regression(
    matrix: np.ndarray, outcome: np.ndarray, units: np.ndarray, family: Family
) -> Estimates:
    """Linear or logistic regression with an intercept, which is not given back.

    Args:
        matrix: The terms; shape (rows, terms).
        outcome: Numbers, or 0 and 1; shape (rows,).
        units: The patient of each row.
        family: Which model.
    """
    rows, terms = matrix.shape
    nothing = np.full(terms, np.nan)
    if rows <= terms + 2 or np.ptp(outcome) == 0:
        return Estimates(nothing, nothing.copy(), rows, "too few rows, or one outcome only")
    kept = independent_columns(matrix)
    full = np.column_stack([np.ones(rows), matrix[:, kept]])
    if family == "linear":
        beta, covariance, note = *_linear(full, outcome, units), ""
    else:
        beta, covariance, note = _logistic(full, outcome, units)
    values, errors = nothing, nothing.copy()
    values[kept] = beta[1:]
    errors[kept] = np.sqrt(np.maximum(np.diag(covariance)[1:], 0.0))
    return Estimates(values, errors, rows, note)


def _linear(
    full: np.ndarray, outcome: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    bread = np.linalg.pinv(full.T @ full)
    beta = bread @ (full.T @ outcome)
    residual = outcome - full @ beta
    variance = float(residual @ residual) / (full.shape[0] - full.shape[1])
    return beta, _sandwich(bread, full * residual[:, None], units, bread * variance)


def _sandwich(
    bread: np.ndarray, scores: np.ndarray, units: np.ndarray, naive: np.ndarray
) -> np.ndarray:
    """The naive covariance where every row is another patient, else the robust one."""
    _, place = np.unique(units, return_inverse=True)
    patients = int(place.max()) + 1
    if patients == units.size or patients < 2:
        return naive
    sums = np.zeros((patients, scores.shape[1]))
    np.add.at(sums, place, scores)
    return bread @ (sums.T @ sums) @ bread * (patients / (patients - 1))


def _logistic(
    full: np.ndarray, outcome: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    beta, note = _newton(full, outcome, firth=False), ""
    if beta is None or np.abs(full @ beta).max() > _SEPARATED:
        beta = _newton(full, outcome, firth=True)
        note = "separated: Firth's penalised estimates"
    if beta is None:
        nothing = np.full(full.shape[1], np.nan)
        return nothing, np.diag(nothing), "the regression did not converge"
    risk = _sigmoid(full @ beta)
    bread = np.linalg.pinv((full * (risk * (1 - risk))[:, None]).T @ full)
    return beta, _sandwich(bread, full * (outcome - risk)[:, None], units, bread), note


def _newton(full: np.ndarray, outcome: np.ndarray, *, firth: bool) -> np.ndarray | None:
    """Newton steps of at most one logit a term; None without convergence."""
    beta = np.zeros(full.shape[1])
    share = float(np.clip(outcome.mean(), 1e-3, 1 - 1e-3))
    beta[0] = np.log(share / (1 - share))
    for _ in range(_STEPS * (4 if firth else 1)):
        risk = _sigmoid(full @ beta)
        weight = risk * (1 - risk)
        information = (full * weight[:, None]).T @ full
        inverse = np.linalg.pinv(information, hermitian=True)
        gap = outcome - risk
        if firth:
            leverage = weight * ((full @ inverse) * full).sum(axis=1)
            gap = gap + leverage * (0.5 - risk)
        step = inverse @ (full.T @ gap)
        step /= max(1.0, float(np.abs(step).max()) / 2.0)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            return beta
        if np.abs(beta).max() > 30 and not firth:
            return None
    return beta if firth and np.abs(step).max() < 1e-3 else None


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


@dataclass(frozen=True, eq=False)
class _Risks:
    """Rows by rising time, and what Efron's sums need of their ties.

    Attributes:
        matrix: Terms; shape (rows, terms).
        died: 0 or 1; shape (rows,).
        group: The distinct time of each row; shape (rows,).
        deaths: Rows with an event; shape (deaths,).
        part: Which share of its tie has gone before each death; shape (deaths,).
    """

    matrix: np.ndarray
    died: np.ndarray
    group: np.ndarray
    deaths: np.ndarray
    part: np.ndarray


def fit_cox(matrix: np.ndarray, time: np.ndarray, event: np.ndarray) -> Estimates:
    """Cox's proportional hazards: log hazard ratios and their standard errors.

    Args:
        matrix: The terms; shape (rows, terms).
        time: Follow-up; shape (rows,).
        event: 0 or 1; shape (rows,).
    """
    rows, terms = matrix.shape
    nothing = np.full(terms, np.nan)
    if event.sum() <= terms + 1 or np.ptp(time) == 0:
        return Estimates(nothing, nothing.copy(), rows, "too few events")
    kept = independent_columns(matrix)
    risks = _risks(matrix[:, kept], time, event)
    penalty, note = 0.0, ""
    found = _cox_newton(risks, penalty)
    if found is None:  # a term that ranks all events has no finite hazard ratio
        penalty, note = 0.5, "separated: penalised estimates"
        found = _cox_newton(risks, penalty)
    if found is None:
        return Estimates(nothing, nothing.copy(), rows, "the regression did not converge")
    values, errors = nothing, nothing.copy()
    values[kept], errors[kept] = found
    return Estimates(values, errors, rows, note)


def _risks(matrix: np.ndarray, time: np.ndarray, event: np.ndarray) -> _Risks:
    order = np.lexsort((event, time))
    died = event[order].astype(np.float64)
    group = np.unique(time[order], return_inverse=True)[1]
    deaths = np.flatnonzero(died)
    tied = np.bincount(group, weights=died)
    first = np.searchsorted(group[deaths], np.arange(tied.size))
    rank = np.arange(deaths.size) - first[group[deaths]]
    return _Risks(matrix[order], died, group, deaths, rank / tied[group[deaths]])


def _cox_newton(risks: _Risks, penalty: float) -> tuple[np.ndarray, np.ndarray] | None:
    beta = np.zeros(risks.matrix.shape[1])
    for _ in range(_STEPS):
        gradient, information = _cox_step(risks, beta)
        information = information + penalty * np.eye(beta.size)
        inverse = np.linalg.pinv(information, hermitian=True)
        step = inverse @ (gradient - penalty * beta)
        step /= max(1.0, float(np.abs(step).max(initial=0.0)) / 2.0)
        beta = beta + step
        if np.abs(step).max(initial=0.0) < 1e-8:
            return beta, np.sqrt(np.maximum(np.diag(inverse), 0.0))
        if np.abs(beta).max() > 20:
            return None
    return None


def _cox_step(risks: _Risks, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and information of Efron's partial likelihood, without a loop over times."""
    x, group, deaths = risks.matrix, risks.group, risks.deaths
    weight = np.exp(np.clip(x @ beta, -30, 30))
    starts = np.searchsorted(group, np.arange(group[-1] + 1))
    weighted = np.column_stack([weight, x * weight[:, None]])
    at_risk = np.cumsum(weighted[::-1], axis=0)[::-1][starts][group[deaths]]
    tied = np.add.reduceat(weighted * risks.died[:, None], starts, axis=0)[group[deaths]]
    sums = at_risk - risks.part[:, None] * tied
    mean = sums[:, 1:] / sums[:, :1]
    share = 1 / sums[:, 0]
    groups = starts.size
    passed = np.cumsum(np.bincount(group[deaths], weights=share, minlength=groups))
    own = np.bincount(group[deaths], weights=share * risks.part, minlength=groups)
    hazard = weight * (passed[group] - risks.died * own[group])
    information = (x * hazard[:, None]).T @ x - mean.T @ mean
    return x[deaths].sum(axis=0) - mean.sum(axis=0), information
