"""Scores of realism: how many real patients a table is worth, and where it differs from them.

| score | better | value | baseline |
|---|---|---|---|
| `equivalent_sample` | higher | the headline: equivalent patients over training patients | 1 |
| `equivalent_patients` | higher | the same as a number of patients | all of them |
| `tvd_1way`, `tvd_2way`, `tvd_3way` | lower | mean total variation distance of tables | real |
| `ks`, `wasserstein` | lower | mean over numeric columns, of observed values | real |
| `correlation_difference` | lower | Spearman's correlation, mean absolute difference | real |
| `contingency_difference` | lower | Cramer's V of all other pairs, the same | real |
| `missing_rates`, `missing_patterns` | lower | what is missing, and missing together | real |
| `density`, `coverage` | higher | synthetic rows among patients, and the other way round | real |
| `pmse_ratio` | lower | S_pMSE, a diagnostic | real |
| `rule_violations` | lower | the largest excess of broken rules over the holdout | real |
| `rule_violations/<rule>` | lower | of each rule and impossible combination | real |

Everything is against the holdout; the baseline "real" has the training table in place of the
synthetic one. Intervals are over patients (jackknife) and seeds together; those of rules are
Newcombe's, that of S_pMSE is over seeds only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.evaluate.fidelity.equivalent_sample import SMALLEST
from pegai.evaluate.fidelity.rules import excess_interval
from pegai.evaluate.intervals import LEVEL, combine_jackknife
from pegai.evaluate.realism import (
    RealismMeasured,
    RealismPrepared,
    measure_realism,
    prepare_realism,
)
from pegai.evaluate.scores import Better, Score, mean_interval

__all__ = [
    "RealismMeasured",
    "RealismPrepared",
    "measure_realism",
    "prepare_realism",
    "realism_plots",
    "realism_scores",
]

WORST = 10
_LIMITS = {
    "1way": "single columns",
    "2way": "pairs of columns",
    "3way": "triples of columns",
    "conditionals": "predicting columns from the others",
}
_COPIES = "fidelity alone: a copy of the training rows is worth all of them; see the privacy scores"


@dataclass(frozen=True)
class _Figure:
    name: str
    title: str
    better: Better = "lower"
    bounds: tuple[float, float] = (0.0, 1.0)


_FIGURES = (
    _Figure("tvd_1way", "Single columns (mean total variation distance to the holdout)"),
    _Figure("tvd_2way", "Pairs of columns (mean total variation distance to the holdout)"),
    _Figure("tvd_3way", "Triples of columns (mean total variation distance to the holdout)"),
    _Figure("ks", "Numeric columns (mean Kolmogorov-Smirnov distance to the holdout)"),
    _Figure(
        "wasserstein",
        "Numeric columns (mean Wasserstein distance, in interquartile ranges)",
        bounds=(0.0, math.inf),
    ),
    _Figure("correlation_difference", "Correlations (mean absolute difference)", bounds=(0.0, 2.0)),
    _Figure("contingency_difference", "Contingency (mean absolute difference of Cramer's V)"),
    _Figure("missing_rates", "Missing rates (mean absolute difference)"),
    _Figure("missing_patterns", "Patterns of missing values (total variation distance)"),
    _Figure("density", "Density (synthetic rows among patients)", "higher", bounds=(0.0, math.inf)),
    _Figure("coverage", "Coverage (patients among synthetic rows)", "higher"),
    _Figure("pmse_ratio", "S_pMSE (propensity error over chance)", bounds=(0.0, math.inf)),
)


def realism_scores(
    prepared: RealismPrepared, measured: Sequence[RealismMeasured]
) -> tuple[Score, ...]:
    """All scores of realism, the headline first.

    Args:
        prepared: From `prepare_realism`.
        measured: From `measure_realism`, one a synthetic table.
    """
    figures = tuple(_score(prepared, measured, figure) for figure in _FIGURES)
    return (*_equivalent(prepared, measured), *figures, *_rules(prepared, measured))


def _score(
    prepared: RealismPrepared, measured: Sequence[RealismMeasured], figure: _Figure
) -> Score:
    found = np.array([m.figures[figure.name] for m in measured])
    if prepared.too_few:
        found = np.full_like(found, math.nan)
    low, high = combine_jackknife(found[:, 0], found[:, 1:], bounds=figure.bounds)
    if figure.name == "pmse_ratio":
        _, low, high = mean_interval(found[:, 0].tolist())
    baseline = prepared.baseline
    return Score(
        figure.name,
        "fidelity",
        figure.title,
        _mean(found[:, 0]),
        low,
        high,
        baseline.figures[figure.name][0] if baseline and not prepared.too_few else math.nan,
        figure.better,
        len(measured),
        tuple(found[:, 0].tolist()),
        prepared.too_few or _note(measured, figure),
    )


def _note(measured: Sequence[RealismMeasured], figure: _Figure) -> str:
    notes = [m.reasons.get(figure.name, "") for m in measured]
    if figure.name == "density":
        notes.append("near the baseline is right: above it, rows crowd where patients are densest")
    if figure.name != "pmse_ratio":
        notes.append(_one_table(measured))
    return "; ".join(dict.fromkeys(note for note in notes if note))


def _one_table(measured: Sequence[RealismMeasured]) -> str:
    one = "one synthetic table: the interval covers the patients, not the seeds"
    return one if len(measured) == 1 else ""


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _equivalent(
    prepared: RealismPrepared, measured: Sequence[RealismMeasured]
) -> tuple[Score, Score]:
    found = np.array([m.figures["equivalent_patients"] for m in measured])
    total = prepared.curve.patients if prepared.curve is not None else math.nan
    values = found[:, 0]
    low, high = math.nan, math.nan
    if prepared.curve is not None:
        # Sizes spread by factors, not by differences.
        bounds = (math.log(SMALLEST), math.log(total))
        down, up = combine_jackknife(np.log(values), np.log(found[:, 1:]), bounds=bounds)
        low, high = (min(math.exp(down), _mean(values)), max(math.exp(up), _mean(values)))
    notes = _equivalent_note(prepared, measured, _mean(values), total)
    patients = Score(
        "equivalent_patients",
        "fidelity",
        "Equivalent real patients",
        _mean(values),
        low,
        high,
        total,
        "higher",
        len(measured),
        tuple(values.tolist()),
        notes,
    )
    share = Score(
        "equivalent_sample",
        "fidelity",
        "Equivalent real sample (share of the training patients)",
        _mean(values) / total,
        low / total,
        high / total,
        1.0 if prepared.curve is not None else math.nan,
        "higher",
        len(measured),
        tuple((values / total).tolist()),
        notes,
    )
    return share, patients


def _equivalent_note(
    prepared: RealismPrepared,
    measured: Sequence[RealismMeasured],
    value: float,
    total: float,
) -> str:
    if math.isnan(value):
        reasons = [prepared.too_few, *(m.reasons.get("equivalent_patients", "") for m in measured)]
        return next((r for r in reasons if r), "not assessed: too few columns")
    if value >= total:
        size = f"at least all {total:.0f} training patients"
    elif value <= SMALLEST:
        size = f"{SMALLEST} of {total:.0f} training patients or fewer"
    else:
        size = f"about {value:.0f} of {total:.0f} training patients"
    limits = [m.equivalent.limit for m in measured if m.equivalent is not None]
    limit = max(dict.fromkeys(limits), key=limits.count)
    notes = [
        f"as close to the holdout as {size}",
        "" if value >= total else f"held down by {_LIMITS[limit]}",
        _COPIES,
        _one_table(measured),
    ]
    return "; ".join(note for note in notes if note)


def _rules(prepared: RealismPrepared, measured: Sequence[RealismMeasured]) -> tuple[Score, ...]:
    if not prepared.rules:
        return (
            _no_rules(
                "not assessed: the schema has no rules; write what must hold under pegai.rules, as "
                '{"name": "stay", "check": "discharge >= admission"}'
            ),
        )
    if prepared.too_few:
        return (_no_rules(prepared.too_few),)
    count = len(prepared.rules)
    single = [_rule(prepared, measured, i, LEVEL) for i in range(count)]
    worst = max(range(count), key=lambda i: single[i].value)
    # The worst of several is sought out: its interval allows for that (Bonferroni).
    level = 1 - (1 - LEVEL) / count
    found = _rule(prepared, measured, worst, level)
    overall = Score(
        "rule_violations",
        "fidelity",
        "Broken rules (largest excess over the holdout)",
        found.value,
        found.low,
        found.high,
        found.baseline,
        "lower",
        found.n,
        found.values,
        f"the worst of {count}: {prepared.rules[worst].title}; {found.note}"
        if count > 1
        else f"{prepared.rules[worst].title}; {found.note}",
    )
    return (overall, *single)


def _no_rules(note: str) -> Score:
    title = "Broken rules (largest excess over the holdout)"
    return Score("rule_violations", "fidelity", title, math.nan, better="lower", note=note)


def _rule(
    prepared: RealismPrepared, measured: Sequence[RealismMeasured], i: int, level: float
) -> Score:
    rule, real = prepared.rules[i], float(prepared.violations.shares[i])
    shares = [float(m.violations.shares[i]) for m in measured]
    values = [share - real for share in shares]
    centre = float(np.mean(values))
    rows = round(float(np.mean([m.violations.patients for m in measured])))
    low, high = excess_interval(
        float(np.mean(shares)), rows, real, prepared.violations.patients, level=level
    )
    low, high = _over_seeds(values, low, high, level)
    baseline = prepared.baseline
    return Score(
        f"rule_violations/{rule.name}",
        "fidelity",
        rule.title,
        centre,
        low,
        high,
        float(baseline.violations.shares[i]) - real if baseline else math.nan,
        "lower",
        len(values),
        tuple(values),
        f"broken by {np.mean(shares):.2%} of synthetic rows and {real:.2%} of the holdout's",
    )


def _over_seeds(
    values: Sequence[float], low: float, high: float, level: float
) -> tuple[float, float]:
    """Widen an interval over patients by Student's over the seeds (square and add)."""
    centre, least, most = mean_interval(list(values), level=level)
    if math.isnan(least):
        return low, high
    down, up = math.hypot(centre - low, centre - least), math.hypot(high - centre, most - centre)
    return max(-1.0, centre - down), min(1.0, centre + up)


def realism_plots(prepared: RealismPrepared, measured: Sequence[RealismMeasured]) -> dict[str, Any]:
    """`equivalent_sample` (the curve), `worst_1way`, `worst_2way`, `worst_3way`, `worst_missing`.

    The worst are lists of `{"columns", "distance", "baseline"}`, worst first; the curve has, for
    each question, the distances of real subsamples by size, and each synthetic table's.
    """
    found: dict[str, Any] = {"equivalent_sample": _curve(prepared, measured)}
    baseline = prepared.baseline
    for order in (1, 2, 3):
        name = f"worst_{order}way"
        if prepared.too_few or baseline is None:
            found[name] = []
            continue
        ours = np.mean([m.marginals.distances[order - 1][:, 0] for m in measured], axis=0)
        theirs = baseline.marginals.distances[order - 1][:, 0]
        names = prepared.tables.marginals.names
        sets = prepared.tables.marginals.sets[order - 1]
        found[name] = [
            {
                "columns": [names[c] for c in sets[i]],
                "distance": float(ours[i]),
                "baseline": float(theirs[i]),
            }
            for i in np.argsort(-ours, kind="stable")[:WORST]
        ]
    found["worst_missing"] = _worst_missing(prepared, measured)
    return found


def _worst_missing(
    prepared: RealismPrepared, measured: Sequence[RealismMeasured]
) -> list[dict[str, Any]]:
    if prepared.too_few or prepared.baseline is None:
        return []
    ours = np.mean([m.missing.rates[:, 0] for m in measured], axis=0)
    theirs = prepared.baseline.missing.rates[:, 0]
    return [
        {
            "columns": [measured[0].missing.names[i]],
            "distance": float(ours[i]),
            "baseline": float(theirs[i]),
        }
        for i in np.argsort(-np.abs(ours), kind="stable")[:WORST]
        if ours[i] != 0
    ]


def _curve(prepared: RealismPrepared, measured: Sequence[RealismMeasured]) -> dict[str, Any] | None:
    if prepared.curve is None:
        return None
    curve = prepared.curve
    worths = [m.equivalent for m in measured if m.equivalent is not None]
    return {
        "patients": curve.sizes.tolist(),
        "questions": [
            {
                "name": name,
                "title": _LIMITS[name],
                "real": errors[:, 0].tolist(),
                "synthetic": [float(w.errors[name][0]) for w in worths],
                "equivalent": [float(w.patients[name][0]) for w in worths],
            }
            for name, errors in curve.errors.items()
            if not np.isnan(errors[:, 0]).any()
        ],
    }
