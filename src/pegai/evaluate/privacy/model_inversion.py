"""Model inversion: does the released model tell a secret of the patients it was trained on?

Where the model is released, an attacker can ask it. It draws rows given a patient's
quasi-identifiers and takes the value of the secret that is right most often among them: the maximum
a posteriori estimate of Fredrikson et al. (2015), "Model inversion attacks that exploit confidence
information", with the model's own conditional distribution in place of confidences. Success on
training patients less success on holdout patients is the leak (`contrast`).

Queries cost time, so they are limited: patients are taken from both sides in turn until their
distinct combinations of quasi-identifiers use the limit up. A query that the model refuses (a value
outside of its domain) is answered by the most common value of the synthetic table, and counted.

With the synthetic table alone there is nothing to invert: guessing a secret from rows is
`attribute_inference`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pegai.data.table import Table
from pegai.errors import PegaiError
from pegai.evaluate.features import Encoded, Features, encode, stack
from pegai.evaluate.privacy.contrast import Outcome, by_patient
from pegai.evaluate.privacy.guessing import MISSING, Secret, best_guess
from pegai.evaluate.privacy.scenario import Scenario, restrict
from pegai.evaluate.tiers import Tier
from pegai.schema import Column, Schema
from pegai.streams import Streams

Sampler = Callable[[Mapping[str, str | None], int, np.random.Generator], Table]
"""`sampler(given, rows, rng)`: rows that a released model draws given values of some columns."""

MAX_QUERIES = 200
QUICK_QUERIES = 40
ROWS = 100
"""Rows drawn a query."""


@dataclass(frozen=True, eq=False)
class InversionTargets:
    """The patients to attack and the queries that this needs.

    Attributes:
        rows: Coded rows of both sides, members first.
        member: Whether each row is a training patient's; shape (rows,).
        queries: Values of the quasi-identifiers, as `given` of a sampler takes them.
        query: The query of each row; shape (rows,).
        secrets: The secrets to guess.
        features: The coding of the whole table.
        streams: Seeds.
    """

    rows: Encoded
    member: np.ndarray
    queries: tuple[dict[str, str | None], ...]
    query: np.ndarray
    secrets: tuple[Secret, ...]
    features: Features
    streams: Streams


@dataclass(frozen=True, eq=False)
class Inversion:
    """What one released model gave away.

    Attributes:
        outcomes: Secret to success.
        refused: Queries that the model refused.
    """

    outcomes: dict[str, Outcome]
    refused: int


def fit_inversion(
    train: Encoded,
    holdout: Encoded,
    schema: Schema,
    scenario: Scenario,
    secrets: Sequence[Secret],
    streams: Streams,
    *,
    tier: Tier,
) -> InversionTargets | None:
    """Choose patients and queries; None without quasi-identifiers or secrets."""
    if not scenario.quasi_identifiers or not secrets:
        return None
    rng = streams.child("model-inversion").get("split")
    real, limit = stack(train, holdout), MAX_QUERIES if tier.full else QUICK_QUERIES
    keys = restrict(real, scenario.quasi_identifiers).keys
    member = np.arange(len(real)) < len(train)
    rows = _within_limit(real.units, keys, member, limit, rng)
    _, first, query = np.unique(keys[rows], return_index=True, return_inverse=True)
    queries = tuple(_given(real, schema, scenario.quasi_identifiers, int(rows[i])) for i in first)
    return InversionTargets(
        real.take(rows), member[rows], queries, query, tuple(secrets), real.features, streams
    )


def _within_limit(
    units: np.ndarray, keys: np.ndarray, member: np.ndarray, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows of patients taken from both sides in turn, with at most `limit` distinct keys."""
    sides = [rng.permutation(np.unique(units[member])), rng.permutation(np.unique(units[~member]))]
    size = min(side.size for side in sides)
    rank = np.full(int(units.max()) + 1, size)
    for side in sides:
        rank[side] = np.arange(side.size)
    order = np.lexsort([units, rank[units]])
    order = order[rank[units[order]] < size]
    _, first = np.unique(keys[order], return_index=True)
    distinct = np.cumsum(np.isin(np.arange(order.size), first))
    over = order[distinct > limit]
    stop = int(rank[units[over]].min()) if over.size else size
    return np.sort(order[rank[units[order]] < stop])


def _given(table: Encoded, schema: Schema, names: Sequence[str], row: int) -> dict[str, str | None]:
    """The raw values of one row, as text; a level outside of the coding is left out."""
    spec, found = table.features, dict[str, str | None]()
    for i, number in enumerate(spec.numbers):
        if number.name in names:
            value = float(table.numbers[row, i])
            raw = number.centre + number.scale * value
            found[number.name] = None if np.isnan(value) else _as_text(schema[number.name], raw)
    for i, levels in enumerate(spec.discrete):
        code = int(table.codes[row, i])
        if levels.name in names and code < len(levels.levels):
            found[levels.name] = None if code < 0 else levels.levels[code]
    return found


def _as_text(column: Column, value: float) -> str:
    if column.kind == "date":
        return (dt.date(1970, 1, 1) + dt.timedelta(days=round(value))).isoformat()
    if column.kind == "datetime":
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=round(value, 6))
        return moment.isoformat()
    if column.kind == "integer":
        return str(round(value))
    decimals = column.pegai.decimals
    return repr(round(value, 9 if decimals is None else decimals))


def invert(targets: InversionTargets, synthetic: Encoded, sampler: Sampler) -> Inversion:
    """Ask a released model and compare its guesses with the truth."""
    fallback = {s.name: best_guess(s.values(synthetic), s) for s in targets.secrets}
    guesses = {s.name: np.empty(len(targets.queries)) for s in targets.secrets}
    spent, refused = targets.streams.child("model-inversion"), 0
    for i, given in enumerate(targets.queries):
        drawn = _ask(sampler, given, targets.features, spent.get("sample", i))
        refused += drawn is None
        for secret in targets.secrets:
            known = np.zeros(0) if drawn is None else secret.values(drawn)
            guess = best_guess(known, secret) if known.size else fallback[secret.name]
            guesses[secret.name][i] = MISSING if np.isnan(guess) else guess
    outcomes = {}
    for secret in targets.secrets:
        truth = secret.values(targets.rows)
        success = secret.right(guesses[secret.name][targets.query], truth)
        outcomes[secret.name] = _outcome(targets, success)
    return Inversion(outcomes, refused)


def _ask(
    sampler: Sampler, given: dict[str, str | None], features: Features, rng: np.random.Generator
) -> Encoded | None:
    try:
        table = sampler(given, ROWS, rng)
    except PegaiError:
        return None
    return encode(features, table) if len(table) else None


def _outcome(targets: InversionTargets, success: np.ndarray) -> Outcome:
    units, member = targets.rows.units, targets.member
    return Outcome(
        by_patient(units[member], success[member]), by_patient(units[~member], success[~member])
    )
