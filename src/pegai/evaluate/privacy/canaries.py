"""Canaries: made-up patients put into the training of refits, by coins, to see who is learnt.

A canary is a record that nobody has: every column has a value of its own, rare levels and far
numbers first, all from the schema's domain and none against its rules. Each is put among the
reference patients, or not, by a coin of its own; the method is refitted on them, and the headline
attack of the panel says which canaries were in. A method that learns odd patients by heart gives
them away; what epsilon the right guesses refute is in `one_run`.

The refits see the reference and made-up patients only: they say how the *method* treats an odd
patient, not how the released table treated the training patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.evaluate.features import Features, encode
from pegai.evaluate.fidelity.rules import named_rules
from pegai.evaluate.intervals import LEVEL
from pegai.evaluate.privacy.attacks import headline_scores
from pegai.evaluate.privacy.one_run import one_run_epsilon, right_guesses
from pegai.evaluate.privacy.shadow import MIN_PATIENTS, Refit
from pegai.evaluate.privacy.targets import fit_targets
from pegai.schema import Column, Schema
from pegai.streams import Streams

MOST = 100
FEWEST = 20
PATIENTS_A_CANARY = 3
CANARIES_A_GUESS = 4
"""Few guesses are right more often where a method learns some patients only."""

TAIL = 0.1
"""Share of a column's distinct numbers, at either end, that a canary's number is from."""

_TRIES = 20


@dataclass(frozen=True, eq=False)
class Planted:
    """One refit.

    Attributes:
        inside: Whether each canary was in the training table; shape (canaries,).
        scores: What the attack says of each, higher for "in"; shape (canaries,).
    """

    inside: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Guessed:
    """What the clearest guesses over all refits say.

    Attributes:
        correct: Right guesses.
        guesses: Guesses, half "in" and half "out", as many in every refit.
        canaries: All of them.
        epsilon: 95 % lower bound; 0 where chance explains the guesses.
    """

    correct: int
    guesses: int
    canaries: int
    epsilon: float


def guess(planted: Sequence[Planted], delta: float) -> Guessed:
    """Guess the clearest canaries of every refit, and bound epsilon at a delta.

    Coins and canaries are new in every refit, so that all refits together are one mechanism with
    the guarantee of one.
    """
    sizes = [p.inside.size // CANARIES_A_GUESS // 2 * 2 for p in planted]
    correct = sum(
        right_guesses(p.scores, p.inside, size) for p, size in zip(planted, sizes, strict=True)
    )
    canaries = sum(p.inside.size for p in planted)
    epsilon = one_run_epsilon(correct, sum(sizes), canaries=canaries, delta=delta, level=1 - LEVEL)
    return Guessed(correct, sum(sizes), canaries, epsilon)


def plant_canaries(
    reference: Table,
    features: Features,
    refit: Refit,
    streams: Streams,
    *,
    fits: int,
    first: int = 0,
) -> tuple[Planted, ...]:
    """Refit the method on the reference with canaries, new ones and new coins each time.

    Args:
        reference: Real patients, in neither the training table nor the holdout.
        features: The coding of the evaluation.
        refit: Fits the method and samples a table.
        streams: Seeds of canaries and coins.
        fits: Refits.
        first: Number of the first refit; no other refit of the evaluation may have it.

    Returns:
        One for each refit; none where patients or canaries are too few.
    """
    patients = int(reference.unit_codes().max(initial=-1)) + 1
    if patients < MIN_PATIENTS:
        return ()
    found: list[Planted] = []
    for number in range(fits):
        rng = streams.child("canaries").get("split", number)
        canaries = craft(reference, min(MOST, patients // PATIENTS_A_CANARY), rng)
        if len(canaries) < FEWEST:
            return ()
        inside = rng.random(len(canaries)) < 0.5
        members = pl.concat([reference.frame, canaries.take(inside).frame])
        released = refit(Table(members, reference.schema), first + number)
        scores = _scores(reference, canaries, released, features, streams.child(f"canary-{number}"))
        found.append(Planted(inside, scores))
    return tuple(found)


def _scores(
    reference: Table, canaries: Table, released: Table, features: Features, streams: Streams
) -> np.ndarray:
    """The headline attack's score of each canary; who was in plays no part."""
    coded = encode(features, canaries)
    nobody = coded.take(slice(0, 0))
    targets = fit_targets(coded, nobody, streams, reference=encode(features, reference), fewest=0)
    assert targets is not None  # noqa: S101  # it can only be refused for too few
    scores = np.empty(len(canaries))
    found = headline_scores(targets, encode(features, released))
    scores[coded.source] = found[targets.patient]
    return scores


def craft(reference: Table, count: int, rng: np.random.Generator) -> Table:
    """Records that nobody has, from values that some have.

    Every column is drawn on its own: levels with equal chance, however rare; numbers and dates from
    either end. Records that break a rule of the schema, and any that a patient or another canary
    has, are drawn anew.

    Args:
        reference: Where the values are from.
        count: Records.
        rng: A seeded stream.

    Returns:
        `count` records of one row and one patient each, or fewer where no more are left.
    """
    drawn = pl.DataFrame(
        [
            _ids(reference, column, _TRIES * count)
            if column.name == reference.schema.unit
            else _values(reference.frame[column.name], column, _TRIES * count, rng)
            for column in reference.columns
        ]
    )
    names = [column.name for column in reference.schema.modelled]
    kept = (
        drawn.filter(~_broken(drawn, reference.schema))
        .unique(names, keep="first", maintain_order=True)
        .join(reference.frame.select(names), on=names, how="anti", nulls_equal=True,
              maintain_order="left")
    )  # fmt: skip
    return Table(kept.head(count), reference.schema)


def _values(values: pl.Series, column: Column, count: int, rng: np.random.Generator) -> pl.Series:
    distinct = values.drop_nulls().unique().sort()
    if distinct.is_empty():
        return pl.Series(column.name, [None] * count, dtype=values.dtype)
    if column.is_discrete:
        # In the schema's order, so that other names of the levels give the same canaries.
        rank = {level: i for i, level in enumerate(column.levels)}
        places = [rank.get(text, len(rank)) for text in distinct.cast(pl.String)]
        distinct = distinct.gather(np.argsort(places, kind="stable"))
    places = np.arange(len(distinct))
    if column.is_numeric:
        end = max(1, int(TAIL * len(distinct)))
        places = np.unique(np.concatenate([places[:end], places[-end:]]))
    return distinct.gather(rng.choice(places, count))


def _ids(reference: Table, column: Column, count: int) -> pl.Series:
    """Patient ids that nobody has."""
    taken = reference.frame[column.name]
    if taken.dtype == pl.String:
        longest = int(taken.str.len_chars().max() or 0)  # pyright: ignore[reportArgumentType]
        return pl.Series(column.name, [f"{'c' * longest}{i}" for i in range(count)])
    start = int(taken.to_physical().max() or 0)  # pyright: ignore[reportArgumentType]
    return pl.Series(column.name, np.arange(1, count + 1) + start).cast(taken.dtype)


def _broken(frame: pl.DataFrame, schema: Schema) -> pl.Series:
    rules = [rule.broken.fill_null(value=False) for rule in named_rules(schema)]
    if not rules:
        return pl.repeat(value=False, n=frame.height, dtype=pl.Boolean(), eager=True)
    return frame.select(pl.any_horizontal(rules).alias("broken"))["broken"]
