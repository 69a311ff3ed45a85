"""Scores of identity: finding a real patient, distances, and how hidden the source's patients are.

| score | better | value | baseline |
|---|---|---|---|
| `identity_risk` | lower | meaningful identity disclosure, training patients | holdout |
| `identity_risk_excess` | lower | the difference of the two | 0 |
| `dcr_median`, `dcr_5pct` | higher | distance of synthetic rows to training rows | to holdout |
| `nndr_median`, `nndr_5pct` | higher | nearest to second nearest distance, training | holdout |
| `dcr_share` | half | synthetic rows closer to training than to holdout | 0.5 |
| `k_anonymity` | higher | the source's patients in the smallest class | none |
| `l_diversity/<column>` | higher | fewest values of a sensitive column in a class | none |
| `t_closeness/<column>` | lower | largest distance of a class from the table | none |

Distances are a diagnostic and never decide anything. The last three describe the *source*: who is
at risk by the quasi-identifiers. They say nothing about synthetic rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pegai.data.deidentify.anonymity import Anonymity, anonymity
from pegai.data.table import Table
from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import wilson
from pegai.evaluate.privacy.contrast import MIN_PATIENTS, Outcome, leak, with_seeds
from pegai.evaluate.privacy.distances import (
    FIGURES,
    MIN_ROWS,
    Distances,
    References,
    distances,
    fit_references,
)
from pegai.evaluate.privacy.identity_risk import (
    THRESHOLD,
    IdentityTargets,
    fit_identity,
    identity_risk,
)
from pegai.evaluate.privacy.scenario import Scenario
from pegai.evaluate.scores import Better, Score, joined, mean, mean_interval, values_note
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

_NO_ROLES = "not assessed: the schema names no quasi-identifiers"
_DIAGNOSTIC = "diagnostic, never gated: a table can pass it and give members away"
_SOURCE = "of the source table: who is at risk there, no proof about synthetic rows"


@dataclass(frozen=True, eq=False)
class IdentityPrepared:
    """What these scores need of the real tables.

    Attributes:
        targets: For the identity risk; None without quasi-identifiers or secrets.
        references: For the distances; None with too few rows.
        anonymity: Of the source table; None without quasi-identifiers.
    """

    targets: IdentityTargets | None
    references: References | None
    anonymity: Anonymity | None


@dataclass(frozen=True, eq=False)
class IdentityMeasured:
    """What one synthetic table gave.

    Attributes:
        risk: The identity risk of each patient; None where not assessed.
        distances: The distances; None where not assessed.
    """

    risk: Outcome | None
    distances: Distances | None


def prepare_identity(
    train_table: Table,
    train: Encoded,
    holdout: Encoded,
    scenario: Scenario,
    streams: Streams,
    *,
    tier: Tier,
    population: int | None = None,
) -> IdentityPrepared:
    """Compute what depends on the real tables only; arguments as of `prepare_disclosure`."""
    found = None
    schema = train_table.schema
    if schema.with_role("quasi-identifier"):
        secrets = scenario.secrets if scenario.named else ()
        quasi = [c.name for c in schema.with_role("quasi-identifier")]
        found = anonymity(train_table, quasi, sensitive=secrets)
    return IdentityPrepared(
        fit_identity(train, holdout, scenario, population=population),
        fit_references(train, holdout, streams, tier=tier),
        found,
    )


def measure_identity(prepared: IdentityPrepared, synthetic: Encoded) -> IdentityMeasured:
    """Measure one synthetic table."""
    targets, references = prepared.targets, prepared.references
    return IdentityMeasured(
        None if targets is None else identity_risk(targets, synthetic),
        None if references is None else distances(references, synthetic),
    )


def identity_scores(
    prepared: IdentityPrepared, measured: Sequence[IdentityMeasured]
) -> tuple[Score, ...]:
    """Identity, distances, source."""
    return (
        *_risk_scores(prepared, measured),
        *_distance_scores(measured),
        *_anonymity_scores(prepared.anonymity),
    )


def _empty(name: str, title: str, note: str, better: Better = "lower") -> Score:
    return Score(name, "privacy", title, math.nan, better=better, n=0, note=note)


def _risk_scores(prepared: IdentityPrepared, measured: Sequence[IdentityMeasured]) -> list[Score]:
    title = "Identity: training patients found by quasi-identifiers, and something new learned"
    excess = "Identity: training patients less holdout patients"
    tables = [m.risk for m in measured if m.risk is not None]
    if prepared.targets is None or not tables:
        note = joined(_NO_ROLES + ", or no other column")
        return [
            _empty("identity_risk", title, note),
            _empty("identity_risk_excess", excess, note),
        ]
    few = f"not assessed: {MIN_PATIENTS} patients a side are needed"
    if tables[0].member.size < MIN_PATIENTS:
        return [_empty("identity_risk", title, few), _empty("identity_risk_excess", excess, few)]
    risk = _risk(title, tables, prepared.targets)
    found = leak("identity", tables)
    if not found.assessed:
        return [risk, _empty("identity_risk_excess", excess, few)]
    difference = Score(
        "identity_risk_excess",
        "privacy",
        excess,
        found.value,
        found.low,
        found.high,
        0.0,
        "lower",
        len(found.values),
        found.values,
        values_note(len(found.values)),
    )
    return [risk, difference]


def _risk(title: str, tables: Sequence[Outcome], targets: IdentityTargets) -> Score:
    values = [table.member_rate for table in tables]
    patients, fraction = tables[0].member.size, targets.fraction
    low, high = wilson(mean(values) / fraction * patients, patients)
    low, high = with_seeds(values, low * fraction, high * fraction)
    sampled = (
        "population unknown: sampling fraction 1, the worst case"
        if fraction == 1.0
        else f"sampling fraction {fraction:.4g}"
    )
    note = joined(
        f"{patients:,} patients, {len(targets.known)} quasi-identifiers, "
        f"{len(targets.secrets)} secrets",
        sampled,
        "no discount for attackers who can't verify a match or for errors in the data",
        f"{THRESHOLD} is the limit that public releases of trial documents are compared with",
        values_note(len(values)),
    )
    return Score(
        "identity_risk",
        "privacy",
        title,
        mean(values),
        max(0.0, low),
        high,
        mean([table.holdout_rate for table in tables]),
        "lower",
        len(values),
        tuple(values),
        note,
    )


def _distance_scores(measured: Sequence[IdentityMeasured]) -> list[Score]:
    tables = [m.distances for m in measured if m.distances is not None]
    share = "Share of synthetic rows closer to training than to holdout rows"
    if not tables:
        note = f"not assessed: {MIN_ROWS} rows a side are needed"
        empty = [_empty(name, _distance_title(name), note, "higher") for name in FIGURES]
        return [*empty, _empty("dcr_share", share, note, "half")]
    found = [
        _diagnostic(
            name,
            _distance_title(name),
            [t.train[name] for t in tables],
            mean([t.holdout[name] for t in tables]),
            "higher",
        )
        for name in FIGURES
    ]
    return [*found, _diagnostic("dcr_share", share, [t.share for t in tables], 0.5, "half")]


def _distance_title(name: str) -> str:
    return f"Synthetic to training rows: {FIGURES[name]}"


def _diagnostic(
    name: str, title: str, values: list[float], baseline: float, better: Better
) -> Score:
    _, low, high = mean_interval(values)
    note = joined(_DIAGNOSTIC, values_note(len(values)))
    return Score(
        name,
        "privacy",
        title,
        mean(values),
        low,
        high,
        baseline,
        better,
        len(values),
        tuple(values),
        note,
    )


def _anonymity_scores(found: Anonymity | None) -> list[Score]:
    title = "Source table: patients in the smallest class of quasi-identifiers"
    if found is None:
        return [_empty("k_anonymity", title, _NO_ROLES, "higher")]
    note = joined(
        _SOURCE,
        f"{found.unique:,} of {found.patients:,} patients are alone in their class "
        f"({found.unique_share:.1%})",
    )
    scores = [Score("k_anonymity", "privacy", title, float(found.k), better="higher", note=note)]
    for single in found.diversity:
        name = single.column
        scores.append(
            Score(
                f"l_diversity/{name}",
                "privacy",
                f"Source table: fewest values of {name} in a class",
                float(single.distinct_l),
                better="higher",
                note=joined(_SOURCE, f"entropy l-diversity {single.entropy_l:.3g}"),
            )
        )
        scores.append(
            Score(
                f"t_closeness/{name}",
                "privacy",
                f"Source table: largest distance of a class from the table in {name}",
                single.t,
                better="lower",
                note=joined(_SOURCE, f"distance: {single.distance}"),
            )
        )
    return scores
