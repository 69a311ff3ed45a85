"""Scores of disclosure: what the synthetic table, or a released model, tells of training patients.

| score | better | value | baseline |
|---|---|---|---|
| `attribute_inference` | lower | the worst secret's leak, corrected for all | 0 |
| `attribute_inference/<secret>` | lower | guessed for training less for holdout patients | 0 |
| `attribute_inference_population/<secret>` | higher | gain over the commonest value; utility | 0 |
| `linkability` | lower | halves linked by the nearest row, training less holdout | 0 |
| `linkability/k2` ... `linkability/k5` | lower | the same by the k nearest rows | 0 |
| `singling_out` | lower | the worse of the two below, corrected for both | 0 |
| `singling_out/values` | lower | values of one patient that reappear, training less holdout | 0 |
| `singling_out/combinations` | lower | the same for combinations of columns | 0 |
| `model_inversion` | lower | the worst secret's leak through the released model | 0 |
| `model_inversion/<secret>` | lower | the leak of each | 0 |

The scores of identity, distances and the source table are in `score_identity`. All attacks judge
training patients against holdout patients; see each file of `pegai.evaluate.privacy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pegai.data.table import Table
from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import LEVEL
from pegai.evaluate.privacy.attribute_inference import (
    ATTACKERS,
    Inference,
    InferenceTargets,
    fit_inference,
    infer_attributes,
    secret_leak,
    worst_secret,
)
from pegai.evaluate.privacy.contrast import MIN_PATIENTS, Leak, Outcome, leak, with_seeds, worst
from pegai.evaluate.privacy.guessing import fit_secret
from pegai.evaluate.privacy.linkability import KS, LinkTargets, fit_links, link
from pegai.evaluate.privacy.model_inversion import (
    Inversion,
    InversionTargets,
    Sampler,
    fit_inversion,
    invert,
)
from pegai.evaluate.privacy.scenario import Scenario, fit_scenario
from pegai.evaluate.privacy.singling_out import (
    ATTACKS as SINGLING,
)
from pegai.evaluate.privacy.singling_out import (
    SinglingOut,
    SinglingTargets,
    fit_singling,
    single_out,
)
from pegai.evaluate.score_identity import (
    IdentityMeasured,
    IdentityPrepared,
    identity_scores,
    measure_identity,
    prepare_identity,
)
from pegai.evaluate.scores import Score, joined, values_note
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

_FEW = f"not assessed: training and holdout need {MIN_PATIENTS} patients each"


@dataclass(frozen=True, eq=False)
class Disclosure:
    """What the disclosure attacks need of the real tables, once a split.

    Attributes:
        scenario: Known columns and secrets.
        inference: Patients whose secrets are guessed.
        links: Patients whose halves are linked; None with fewer than two columns.
        singling: What only one real patient has.
        inversion: Patients and queries for a released model; None without quasi-identifiers or
            secrets.
        identity: The parts of `score_identity`.
    """

    scenario: Scenario
    inference: InferenceTargets
    links: LinkTargets | None
    singling: SinglingTargets
    inversion: InversionTargets | None
    identity: IdentityPrepared


@dataclass(frozen=True, eq=False)
class DisclosureMeasured:
    """What the attacks achieved with one synthetic table.

    Attributes:
        inferred: Secret to what was guessed.
        links: Neighbours to success; empty where not assessed.
        singled: Singling out.
        inversion: Through the released model; None without one.
        identity: The parts of `score_identity`.
    """

    inferred: dict[str, Inference]
    links: dict[int, Outcome]
    singled: SinglingOut
    inversion: Inversion | None
    identity: IdentityMeasured


def prepare_disclosure(
    train_table: Table,
    holdout_table: Table,
    train: Encoded,
    holdout: Encoded,
    streams: Streams,
    *,
    tier: Tier,
    population: int | None = None,
) -> Disclosure:
    """Compute everything that does not depend on a synthetic table.

    Args:
        train_table: The real training table; its schema's roles make the scenario.
        holdout_table: Patients drawn at random before training; only its schema is looked at.
        train: The coded training table.
        holdout: The coded holdout.
        streams: Seeds.
        tier: Limits.
        population: Patients that the training patients were drawn from, if it is known; the
            identity risk takes the worst case otherwise.
    """
    schema = train_table.schema
    scenario = fit_scenario(schema, train.features, full=tier.full)
    secrets = tuple(fit_secret(name, train) for name in scenario.secrets)
    return Disclosure(
        scenario,
        fit_inference(train, holdout, scenario, secrets, streams, tier=tier),
        fit_links(train, holdout, scenario, streams, tier=tier),
        fit_singling(train, holdout, streams, tier=tier),
        fit_inversion(train, holdout, schema, scenario, secrets, streams, tier=tier),
        prepare_identity(
            train_table, train, holdout, scenario, streams, tier=tier, population=population
        ),
    )


def measure_disclosure(
    prepared: Disclosure,
    synthetic_table: Table,
    synthetic: Encoded,
    *,
    sampler: Sampler | None = None,
) -> DisclosureMeasured:
    """Run every attack on one synthetic table.

    Args:
        prepared: From `prepare_disclosure`.
        synthetic_table: The synthetic table; its coded form is what is attacked.
        synthetic: The coded synthetic table.
        sampler: The released model, as a function that draws rows given values of columns; None
            where the model stays inside.
    """
    inversion = None
    if sampler is not None and prepared.inversion is not None:
        inversion = invert(prepared.inversion, synthetic, sampler)
    return DisclosureMeasured(
        infer_attributes(prepared.inference, synthetic),
        {} if prepared.links is None else link(prepared.links, synthetic),
        single_out(prepared.singling, synthetic),
        inversion,
        measure_identity(prepared.identity, synthetic),
    )


def disclosure_scores(
    prepared: Disclosure, measured: Sequence[DisclosureMeasured]
) -> tuple[Score, ...]:
    """Every disclosure score, over the synthetic tables of one generator."""
    return (
        *_inference_scores(prepared, measured),
        *_link_scores(prepared, measured),
        *_singling_scores(prepared, measured),
        *_inversion_scores(prepared, measured),
        *identity_scores(prepared.identity, [m.identity for m in measured]),
    )


def leak_score(
    name: str, title: str, found: Leak | None, *, note: str = "", missing: str = _FEW
) -> Score:
    """A leak as a score; None, or one that was not assessed, is NaN with the reason."""
    if found is None or not found.assessed:
        text = missing if missing.startswith("not assessed") else f"not assessed: {missing}"
        return Score(name, "privacy", title, math.nan, better="lower", n=0, note=joined(text, note))
    rates = (
        f"success on {found.patients[0]:,} training patients {found.member_rate:.4f}, on "
        f"{found.patients[1]:,} holdout patients {found.holdout_rate:.4f}"
    )
    return Score(
        name,
        "privacy",
        title,
        found.value,
        found.low,
        found.high,
        0.0,
        "lower",
        len(found.values),
        found.values,
        joined(rates, note, values_note(len(found.values))),
    )


def _inference_scores(prepared: Disclosure, measured: Sequence[DisclosureMeasured]) -> list[Score]:
    scenario, tables = prepared.scenario, [m.inferred for m in measured]
    title = "Attribute inference: training patients guessed better than holdout patients"
    if not tables[0]:
        missing = "not assessed: no secret with a known column beside it"
        return [leak_score("attribute_inference", title, None, missing=missing)]
    top = worst_secret(tables)
    named = "" if top is None else f"worst: {top.name}"
    correction = f"interval corrected for {len(tables[0])} x {len(ATTACKERS)} secrets and attackers"
    found = [
        leak_score("attribute_inference", title, top, note=joined(named, correction, scenario.note))
    ]
    for secret in tables[0]:
        single = [table[secret] for table in tables]
        result = secret_leak(secret, single)
        learners = ", ".join(sorted({table.chosen for table in single}))
        note = joined(
            "" if result is None else f"attacker: {result.name.rsplit(', ', 1)[1]}",
            f"model: {learners}",
            scenario.note,
        )
        found.append(
            leak_score(f"attribute_inference/{secret}", f"{title}: {secret}", result, note=note)
        )
    return found + [_population_score(name, [t[name] for t in tables]) for name in tables[0]]


def _population_score(secret: str, tables: Sequence[Inference]) -> Score:
    """What the synthetic table teaches about patients it never saw."""
    name = f"attribute_inference_population/{secret}"
    title = f"Learned of the population: {secret} of holdout patients"
    gains = np.mean([table.gain for table in tables], axis=0)
    if gains.size < MIN_PATIENTS:
        return Score(name, "utility", title, math.nan, n=0, note=_FEW)
    values = [float(table.gain.mean()) for table in tables]
    mean, half = float(gains.mean()), float(stats.sem(gains))
    half *= float(stats.t.ppf(0.5 + LEVEL / 2, gains.size - 1))
    low, high = with_seeds(values, max(-1.0, mean - half), min(1.0, mean + half))
    note = joined(
        "utility, not leakage: success on holdout patients less that of always guessing the most "
        "common value",
        values_note(len(values)),
    )
    return Score(
        name, "utility", title, mean, low, high, 0.0, "higher", len(values), tuple(values), note
    )


def _link_scores(prepared: Disclosure, measured: Sequence[DisclosureMeasured]) -> list[Score]:
    title = "Linkability: halves of training records meet more often than halves of holdout records"
    if prepared.links is None:
        missing = "not assessed: two columns are needed"
        return [leak_score("linkability", title, None, missing=missing)]
    first, second = prepared.links.halves
    by_role = bool(prepared.scenario.quasi_identifiers) and first == (
        prepared.scenario.quasi_identifiers
    )
    halves = (
        f"quasi-identifiers ({len(first)}) against the other columns ({len(second)})"
        if by_role
        else f"{len(first)} against {len(second)} columns, by a hash of their names"
    )
    found = []
    for k in KS:
        outcome = leak(f"k{k}", [m.links[k] for m in measured])
        name = "linkability" if k == KS[0] else f"linkability/k{k}"
        suffix = "" if k == KS[0] else f", {k} nearest rows"
        found.append(leak_score(name, title + suffix, outcome, note=halves))
    return found


def _singling_scores(prepared: Disclosure, measured: Sequence[DisclosureMeasured]) -> list[Score]:
    title = "Singling out: what one training patient has reappears, beyond chance"
    attacks = {name: [m.singled.outcomes[name] for m in measured] for name in SINGLING}
    usable = {n: o for n, o in attacks.items() if all(single.enough for single in o)}
    missing = (
        f"not assessed: {MIN_PATIENTS} patients a side need a value or combination that no other "
        "real patient has"
    )
    top = worst(usable) if usable else None
    note = "" if top is None else f"worst: {SINGLING[top.name]}; interval corrected for both"
    found = [leak_score("singling_out", title, top, note=note, missing=missing)]
    for name, detail in SINGLING.items():
        single = leak(name, attacks[name])
        text = _worst_column(measured) if name == "values" else _combinations(prepared)
        found.append(
            leak_score(
                f"singling_out/{name}", f"{title}: {detail}", single, note=text, missing=missing
            )
        )
    return found


def _worst_column(measured: Sequence[DisclosureMeasured]) -> str:
    names = measured[0].singled.by_column
    excess = {name: float(np.mean([m.singled.by_column[name] for m in measured])) for name in names}
    known = {name: value for name, value in excess.items() if not math.isnan(value)}
    if not known:
        return ""
    top = max(known, key=lambda name: known[name])
    return f"largest excess of a column: {top}, {known[top]:.4f}"


def _combinations(prepared: Disclosure) -> str:
    return f"{len(prepared.singling.cells)} combinations of two and three columns, numbers in bins"


def _inversion_scores(prepared: Disclosure, measured: Sequence[DisclosureMeasured]) -> list[Score]:
    title = "Model inversion: training patients guessed better through the released model"
    tables = [m.inversion for m in measured if m.inversion is not None]
    if prepared.inversion is None:
        missing = "not assessed: the schema names no quasi-identifiers, or there is no secret"
        return [leak_score("model_inversion", title, None, missing=missing)]
    if len(tables) < len(measured):
        missing = (
            "not assessed: no model is released; what the synthetic rows alone tell is "
            "attribute_inference"
        )
        return [leak_score("model_inversion", title, None, missing=missing)]
    attacks = {secret: [t.outcomes[secret] for t in tables] for secret in tables[0].outcomes}
    refused = sum(t.refused for t in tables)
    asked = len(prepared.inversion.queries) * len(tables)
    note = joined(f"{asked:,} queries, {refused:,} refused by the model", prepared.scenario.note)
    top = worst(attacks)
    named = "" if top is None else f"worst: {top.name}"
    correction = f"interval corrected for secrets: {len(attacks)}"
    found = [leak_score("model_inversion", title, top, note=joined(named, correction, note))]
    for secret, outcomes in attacks.items():
        single = leak(secret, outcomes)
        found.append(
            leak_score(f"model_inversion/{secret}", f"{title}: {secret}", single, note=note)
        )
    return found
