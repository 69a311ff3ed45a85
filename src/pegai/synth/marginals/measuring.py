"""What is measured: one-way tables from the look, then pairs, all at once or chosen one by one.

Everything here is decided by the schema, the settings and what was released before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from pegai.encode.table import TableEncoder
from pegai.privacy.bounded_range import bounded_range_epsilon
from pegai.schema import Column
from pegai.synth.grids import Look
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.measurements import Array, Layout, NoisyTable, Problem
from pegai.synth.marginals.mixture import FitSettings, Mixture, fit_mixture
from pegai.synth.marginals.source import Expected, Source, TablesQuery
from pegai.synth.marginals.zeros import impossible_cells
from pegai.synth.running import Progress

ROUND_STEPS = 100
ROUND_PRICE = 100.0
NOISE_DEVIATIONS = 3.0
"""Fewer patients of a missing class than this many deviations of the noise are taken for none."""

LISTED_DEVIATIONS = 0.5
"""A class of the schema has at least this many deviations of the noise."""


@dataclass(eq=False)
class Measured:
    """Noisy tables, and the codes they are on.

    Attributes:
        encoder: Codes of the table, with the class.
        layout: Codes without the class.
        classes: Number of classes; 1 without a class column.
        known_classes: The same without the one for a missing class, which is the last.
        tables: What was measured so far.
        totals: Measured patients a class with their variances, shape (classes,) each.
        signal: Patients over the standard deviation of a pair's noise.
        class_index: Where the class column stands in the encoder, or None.
    """

    encoder: TableEncoder
    layout: Layout
    classes: int
    known_classes: int
    tables: list[NoisyTable] = field(default_factory=list[NoisyTable])
    totals: list[tuple[Array, float]] = field(default_factory=list[tuple[Array, float]])
    signal: float = math.inf
    class_index: int | None = None

    def add(self, columns: tuple[int, ...], counts: Array, deviation: float | Array) -> None:
        """Note a table: counts in patients, shape (classes or 1, sizes...).

        Cells that the schema calls impossible become 0, with the deviation of the others.
        """
        impossible = self.impossible(columns, len(counts))
        counts = counts if impossible is None else np.where(impossible, 0.0, counts)
        self.tables.append(NoisyTable(columns, counts, deviation, impossible))
        if len(columns) == 1 and len(counts) == self.classes:
            variance = np.broadcast_to(np.square(deviation), counts.shape[1:]).sum()
            self.totals.append((counts.sum(axis=1), float(variance)))

    def impossible(self, columns: tuple[int, ...], classes: int) -> Array | None:
        """Impossible cells of a table, shape (classes, sizes...); None where there are none.

        Args:
            columns: Positions in the layout.
            classes: 1 for a table over all classes, else all of them.
        """
        at = self.class_index
        places = [c + (at is not None and c >= at) for c in columns]
        if at is not None and classes > 1:
            return impossible_cells(self.encoder, [at, *places])
        cells = impossible_cells(self.encoder, places)
        return None if cells is None else cells[None]

    def keep_pairs(self, chosen: Sequence[tuple[int, int]]) -> None:
        """Forget the other pairs; of one that was measured several times, keep the mean.

        The mean is by precision, which loses nothing.
        """
        kept = [t for t in self.tables if len(t.columns) < 2]
        for pair in chosen:
            same = [t for t in self.tables if t.columns == pair]
            weights = np.array([float(t.deviation) ** -2 for t in same])
            counts = sum(w * t.counts for w, t in zip(weights, same, strict=True)) / weights.sum()
            deviation = float(weights.sum() ** -0.5)
            kept.append(NoisyTable(pair, counts, deviation, same[0].impossible))
        self.tables = kept

    @property
    def problem(self) -> Problem:
        """What a model is fitted to."""
        return Problem.of(self.layout, self.class_totals, self.tables)

    @property
    def class_totals(self) -> Array:
        """Patients a class by precision; next to none are missing where noise explains it."""
        weights = np.array([1 / variance for _, variance in self.totals])
        counts = np.array([total for total, _ in self.totals])
        known = (weights[:, None] * counts).sum(axis=0) / weights.sum()
        noise = weights.sum() ** -0.5
        clear = np.where(known < NOISE_DEVIATIONS * noise, 0.0, known)
        # The schema says that the other classes exist: noise alone rules none of them out.
        listed = slice(0, self.known_classes)
        clear[listed] = np.maximum(known[listed], LISTED_DEVIATIONS * noise)
        return np.maximum(clear, 1e-3 * max(clear.sum(), 1.0) / self.classes)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs of columns, without the class."""
        return list(combinations(range(len(self.layout.sizes)), 2))


def class_index(encoder: TableEncoder, condition: Column | None) -> int | None:
    """Where the class column stands, if there is one."""
    return None if condition is None else encoder.index(condition.name)


def add_look(measured: Measured, look: Look, at: int | None) -> None:
    """The look's one-way tables, moved to the encoder's codes.

    Where a code joins several cells of the grid, their noise adds up.

    Args:
        measured: Gets the tables.
        look: Not split by class.
        at: Where the class column stands.
    """
    tables = look.code_tables(measured.encoder)
    joined = look.joined_cells(measured.encoder)
    place = 0
    for index, (counts, cells) in enumerate(zip(tables, joined, strict=True)):
        if index == at:
            measured.totals.append((counts[0], look.deviation**2))
            continue
        deviation = look.deviation * np.sqrt(np.maximum(cells, 1.0))
        measured.add((place,), counts, deviation)
        place += 1


def count_exactly(measured: Measured, counter: Counter, deviation: float) -> None:
    """All tables without noise, as if measured with a small one: for a fit without privacy."""
    whole = counter.weights.whole
    for i in range(len(measured.layout.sizes)):
        measured.add((i,), counter.one(i) / whole, deviation)
    measured.totals.append((counter.totals / whole, deviation**2))
    for i, j in measured.pairs:
        measured.add((i, j), counter.pair(i, j) / whole, deviation)


@dataclass(frozen=True, eq=False)
class Measurer:
    """Asks a source for tables.

    Attributes:
        measured: Gets the tables.
        source: Answers with noise.
    """

    measured: Measured
    source: Source

    @property
    def left(self) -> float:
        """What the source's budget has left, in squared mu."""
        return self.source.left

    def ones(self, budget: float) -> None:
        """Measure every column by class; without other columns, the classes."""
        columns = range(len(self.measured.layout.sizes))
        if not columns:
            noisy, deviations = self.source.ask(self.query([()]), budget)
            self.measured.totals.append((noisy[0], deviations[0] ** 2))
        else:
            self._measure([(i,) for i in columns], budget)

    def all_pairs(self, budget: float, *, split_share: float) -> None:
        """Measure all pairs, a share of the budget by class and the rest over all classes."""
        pairs = self.measured.pairs
        share = split_share if self.measured.classes > 1 else 0.0
        if share > 0:
            self._measure(pairs, share * budget)
        if share < 1:
            self._measure(pairs, (1 - share) * budget, by_class=False)

    def pairs(self, chosen: Sequence[tuple[int, int]], budget: float) -> None:
        """Measure some pairs by class."""
        self._measure(chosen, budget)

    def choose(
        self,
        candidates: Sequence[tuple[int, int]],
        due: Sequence[Array],
        *,
        offset: float,
        epsilon: float,
    ) -> int:
        """The place of a pair that is nearly the farthest from what is due, by class.

        Args:
            candidates: Pairs of columns.
            due: What a model expects of each, in patients; shape (classes, size, size).
            offset: For each possible cell, taken off the distance: what noise would add to it.
            epsilon: Of the choice.
        """
        expected: list[Expected] = []
        for pair, counts in zip(candidates, due, strict=True):
            impossible = self.measured.impossible(pair, self.measured.classes)
            cells = counts.size if impossible is None else int((~impossible).sum())
            expected.append(Expected(counts, impossible, offset * cells))
        return self.source.choose(self.query(candidates), expected, epsilon=epsilon)

    def query(self, tables: Sequence[tuple[int, ...]], *, by_class: bool = True) -> TablesQuery:
        """What is asked for some tables."""
        measured = self.measured
        return TablesQuery(
            self.source.schema, measured.encoder, measured.class_index, tuple(tables), by_class
        )

    def _measure(
        self, columns: Sequence[tuple[int, ...]], budget: float, *, by_class: bool = True
    ) -> None:
        noisy, deviations = self.source.ask(self.query(columns, by_class=by_class), budget)
        for place, counts, deviation in zip(columns, noisy, deviations, strict=True):
            self.measured.add(place, counts, deviation)


def choose_pairs(
    measurer: Measurer,
    settings: FitSettings,
    *,
    rounds: int,
    choice_share: float,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    """Measure the pairs where the model is most wrong, one a round; spends what is left.

    The quality of a pair is the L1 distance between its counts by class and the model's, less what
    the noise alone would give (AIM, equation 4); one patient changes it by at most 1. Cells that
    the schema calls impossible count as empty, and have no noise.

    Args:
        measurer: Has measured one-way tables.
        settings: Of the model.
        rounds: How many pairs.
        choice_share: Part of the budget for choosing.
        rng: For the model.
        progress: Told of the rounds.
    """
    measured = measurer.measured
    candidates = measured.pairs
    rounds = min(rounds, len(candidates))
    # A hair less than the whole, so that rounding can't ask for more than there is.
    a_round = measurer.left / rounds * (1 - 1e-9)
    epsilon = bounded_range_epsilon(math.sqrt(choice_share * a_round))
    budget = (1 - choice_share) * a_round
    offset = math.sqrt(2 / math.pi / budget)
    mixture = _round_fit(measured.problem, settings, rng, None)
    for done in range(rounds):
        patients = float(measured.class_totals.sum())
        due = [patients * mixture.pair(*pair) for pair in candidates]
        place = measurer.choose(candidates, due, offset=offset, epsilon=epsilon)
        measurer.pairs([candidates.pop(place)], budget)
        mixture = _round_fit(measured.problem, settings, rng, mixture)
        progress("choosing marginals", (done + 1) / rounds)


def _round_fit(
    problem: Problem, settings: FitSettings, rng: np.random.Generator, start: Mixture | None
) -> Mixture:
    steps = settings.steps if start is None else min(ROUND_STEPS, settings.steps)
    round_settings = FitSettings(settings.components, steps, 0.05, ROUND_PRICE)
    return fit_mixture(problem, round_settings, rng, start=start)


def look_at_pairs(measurer: Measurer, budget: float) -> dict[tuple[int, int], float]:
    """Measure all pairs over all classes, and say how far each is from independence.

    For sources that can't choose, where no one sees the exact counts: what a pair's released table
    shows is free to be looked at.

    Args:
        measurer: Has measured one-way tables.
        budget: Of this look.

    Returns:
        For each pair the L1 distance from what its one-way tables give, less what noise adds, in
        patients.
    """
    measured, before = measurer.measured, len(measurer.measured.tables)
    ones = measured.problem.known_ones
    spans = [ones[measured.layout.span(i)] for i in range(len(measured.layout.sizes))]
    shares = [span / max(span.sum(), 1e-300) for span in spans]
    patients = float(measured.class_totals.sum())
    measurer.all_pairs(budget, split_share=0.0)
    scores: dict[tuple[int, int], float] = {}
    for table in measured.tables[before:]:
        i, j = table.columns
        apart = patients * shares[i][:, None] * shares[j][None, :]
        noise = math.sqrt(2 / math.pi) * float(table.deviation)
        scores[i, j] = float((np.abs(table.counts[0] - apart) - noise).sum())
    return scores


def measure_clearest(measurer: Measurer, *, pairs: int, look_share: float) -> None:
    """Spend what is left on all pairs, and then on those that a first look shows best.

    Args:
        measurer: Has measured one-way tables; its source can't choose.
        pairs: How many are measured again, by class.
        look_share: Of the budget, for the first look.
    """
    scores = look_at_pairs(measurer, look_share * measurer.left)
    clearest = sorted(scores, key=lambda pair: -scores[pair])[:pairs]
    measurer.pairs(sorted(clearest), measurer.left * (1 - 1e-9))
