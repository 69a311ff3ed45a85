"""Tuning on the private data themselves: every look is charged before the first one is taken.

All settings that will be tried are drawn at random beforehand, so the whole series is one plan:
each trial's private fit, and one noisy score of each. The ledger is charged with it at once. The
choice among the scores, and everything that is written, is made from released figures only; but
`study.jsonl` holds when the series ended, and is internal.

**What it costs.** K fits of (epsilon, delta) and K scores, composed by the accountant: where all
noise is Gaussian, sqrt(K + 1) times the mu of one fit. The final fit is charged by itself, and
comes on top; the budget must cover both, or nothing is run. Charging by the selection among a
random number of trials (Papernot and Steinke 2022, arXiv:2110.03620) would need Renyi accounting,
which this accountant does not do: plain composition may cost more and is always right.

**The score.** For each row, how well synthetic rows foretell it, by the quadratic rule
2 p(x) - sum p^2 of a forecast p for what happened x (Brier 1950; it is largest on average where p
is right): the mean over pairs of columns, with p the synthetic share of each pair's cells, and,
with a target, the mean of that and the same of a classifier trained on synthetic rows. Each row's
score lies in [-1, 1]; a patient's k rows weigh 1/k each. So adding or removing a patient changes
the sum by at most 1. Cells are those of public grids. The noise of each sum is that of K Gaussian
looks which together cost as much as one fit.

**No holdout.** Private fits remember too little of a patient for the difference between their own
rows and held-back ones to matter here, and a split has sides that may be empty, which would show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pegai.data.table import Table
from pegai.errors import BudgetExceededError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.ledger import Ledger
from pegai.privacy.ledger_chain import Entry
from pegai.privacy.recorder import Recorder
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.synth.base import (
    AUDIT_SEED,
    Synthesizer,
    check_public,
    check_schema,
    known_patients,
    learned_schema,
    table_bytes,
    taken_as_public,
)
from pegai.synth.constraints.forms import Forms
from pegai.synth.grids import Grid
from pegai.synth.running import Run

SCORES = "scores of the trials"
GRID_BINS = 8
MAX_PAIRS = 300
MAX_CLASSES = 32
MAX_CELLS = 1_000_000
"""Of the public grid of a pair that is looked at: more would need memory in plenty."""

ROWS = 5_000
"""Synthetic rows that each trial draws; public, whatever the size of the private table."""

Array = NDArray[Any]


class TrialSession:
    """The part of a charged session that one trial may use: its own events, by their own labels.

    Every call goes on to the session that was charged, which admits each planned look once.
    """

    def __init__(self, whole: Session, name: str, plan: Plan) -> None:
        self._whole = whole
        self._name = name
        self.plan = plan
        self.privacy = whole.privacy

    def gaussian(
        self,
        label: str,
        values: Array,
        *,
        l2_sensitivity: float,
        noise_multiplier: float | None = None,
    ) -> Array:
        """As `Session.gaussian`."""
        return self._whole.gaussian(
            self._full(label),
            values,
            l2_sensitivity=l2_sensitivity,
            noise_multiplier=noise_multiplier,
        )

    def laplace(self, label: str, values: Array, *, l1_sensitivity: float) -> Array:
        """As `Session.laplace`."""
        return self._whole.laplace(self._full(label), values, l1_sensitivity=l1_sensitivity)

    def choose(
        self, label: str, scores: Array, *, sensitivity: float, epsilon: float | None = None
    ) -> int:
        """As `Session.choose`."""
        return self._whole.choose(
            self._full(label), scores, sensitivity=sensitivity, epsilon=epsilon
        )

    def randomized_response(self, label: str, codes: Array) -> Array:
        """As `Session.randomized_response`."""
        return self._whole.randomized_response(self._full(label), codes)

    def select_keys(
        self, label: str, keys: Sequence[str], weights: Array, *, whole: int, max_keys: int
    ) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """As `Session.select_keys`."""
        return self._whole.select_keys(
            self._full(label), keys, weights, whole=whole, max_keys=max_keys
        )

    def poisson_sample(self, label: str, population: int) -> NDArray[np.bool_]:
        """As `Session.poisson_sample`."""
        return self._whole.poisson_sample(self._full(label), population)

    def remaining(self, label: str) -> int:
        """As `Session.remaining`."""
        return self._whole.remaining(self._full(label))

    def filter_left(self, label: str) -> float:
        """As `Session.filter_left`."""
        return self._whole.filter_left(self._full(label))

    def guarantee(self) -> Guarantee:
        """What the whole series of trials guarantees."""
        return self._whole.guarantee()

    def _full(self, label: str) -> str:
        return _labelled(self._name, label)


def _labelled(name: str, label: str) -> str:
    return f"{name}: {label}"


@dataclass(frozen=True)
class Series:
    """Trials that are charged together.

    Attributes:
        names: Of the trials, unique.
        synthesizers: One a trial.
        plans: What each one's fit costs.
        whole: What all of it costs.
        noise: Standard deviation of the noise in each score.
    """

    names: tuple[str, ...]
    synthesizers: tuple[Synthesizer, ...]
    plans: tuple[Plan, ...]
    whole: Plan
    noise: float

    @classmethod
    def of(
        cls, synthesizers: Sequence[Synthesizer], schema: Schema, privacy: Privacy, *, first: int
    ) -> Series:
        """Plan trials from public quantities.

        Args:
            synthesizers: One a trial.
            schema: Public.
            privacy: Of each trial's fit, and of the final one.
            first: Number of the first trial, for the labels.

        Raises:
            PrivacyError: The method has no private form, or a fit can't be planned on this schema.
        """
        names = tuple(f"trial {first + i}" for i in range(len(synthesizers)))
        learned = learned_schema(schema)
        plans = tuple(s.plan(learned, privacy) for s in synthesizers)
        noise = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
        noise *= math.sqrt(len(synthesizers))
        events: list[Event] = [GaussianEvent(SCORES, noise, len(synthesizers))]
        for name, plan in zip(names, plans, strict=True):
            events += [_relabelled(event, name) for event in plan.events]
        public = taken_as_public(schema)
        if schema.rules:
            public = (*public, "the rules that every row keeps")
        whole = Plan.make(events, privacy.delta, public)
        return cls(names, tuple(synthesizers), plans, whole, noise)


def _relabelled(event: Event, name: str) -> Event:
    return cast("Event", replace(cast("Any", event), label=_labelled(name, event.label)))


def refuse_uncovered(series: Series, final: Plan, privacy: Privacy, table: Table) -> None:
    """Refuse trials that would leave too little for the fit that they are for.

    Raises:
        BudgetExceededError: Said before anything is charged.
        LedgerError: The ledger is damaged or was edited.
    """
    ledger, dataset = Ledger(privacy.ledger_path), privacy.dataset or "unnamed"
    # Of the rows that `run_series` charges. The same table under another name counts too; a new
    # ledger has nothing to compare with.
    fingerprint = ledger.fingerprint(table_bytes(known_patients(table))) if ledger.entries() else ""
    account = ledger.account(dataset, fingerprint)
    plans = [series.whole, final]
    if not account.refusal(plans):
        return
    spent, after = account.spent(), account.spent(plans)
    raise BudgetExceededError(
        f"{len(series.plans)} charged trials of {dataset!r} and the fit after them cost epsilon "
        f"{after[0] - spent[0]:.4g} and delta {after[1] - spent[1]:.4g}; of the budget of "
        f"{account.epsilon:.4g} and {account.delta:.4g}, {spent[0]:.4g} and {spent[1]:.4g} are "
        "spent",
        hint="fewer trials, or --private-mode simulate, which costs nothing",
    )


@dataclass(frozen=True)
class Watch:
    """Whom a series tells.

    Attributes:
        charged: Told of the ledger's entry, before the first look.
        scored: Told of the position of a trial and its noisy score, as it is released.
        progress: Told of the position of a trial and the share of it that is done.
    """

    charged: Callable[[Entry], None]
    scored: Callable[[int, float], None]
    progress: Callable[[int, float], None]


def run_series(
    series: Series,
    table: Table,
    privacy: Privacy,
    *,
    method: str,
    watch: Watch,
    recorder: Recorder | None = None,
) -> None:
    """Charge a series and run it.

    Args:
        series: As planned.
        table: Private.
        privacy: Of each fit; the charge is that of the whole series.
        method: For the ledger's label.
        watch: Told of what is charged, released and done.
        recorder: Only for audits.

    Raises:
        PrivacyError: The domain is not public, or the budget does not cover the series.
    """
    check_schema(table.schema)
    check_public(table.schema)
    # Made before the charge: whatever could go wrong with it costs nothing.
    rule = ScoringRule.of(learned_schema(table.schema))
    table = known_patients(table)
    asked = replace(privacy, epsilon=series.whole.epsilon, delta=series.whole.delta)
    session = Session.open(
        series.whole,
        asked,
        dataset=privacy.dataset or table.schema.pegai.dataset or "unnamed",
        fingerprint_chunks=table_bytes(table),
        label=f"tune {method}: {len(series.plans)} trials",
        recorder=recorder,
    )
    watch.charged(session.charge)
    streams = Streams.fresh() if recorder is None else Streams(AUDIT_SEED)
    # As in `Synthesizer.fit`: what is learnt has the form that the schema's rules give it, and so
    # has what is scored, so that nothing needs to be turned back.
    table = Forms.of(table.schema).table(table)
    for i, synthesizer in enumerate(series.synthesizers):
        part = TrialSession(session, series.names[i], series.plans[i])
        run = Run(lambda _, share, n=i: watch.progress(n, 0.9 * share)).without_losses()
        # What `Synthesizer.fit` does but for the charge, which is the series' own.
        model = synthesizer._fit(table, cast("Session", part), streams.get("model", i), run)  # pyright: ignore[reportPrivateUsage]
        drawn = model.sample(ROWS, rng=streams.get("sample", i))
        total = np.array([rule.sum_of(drawn, table)])
        watch.scored(i, float(session.gaussian(SCORES, total, l2_sensitivity=1.0)[0]))


@dataclass(frozen=True)
class ScoringRule:
    """The quadratic rule on public grids; see the module.

    Attributes:
        schema: Public.
        grids: Of the modelled columns.
        pairs: Positions of the columns that are looked at together.
        target: Position of the column to be foretold, or None.
    """

    schema: Schema
    grids: tuple[Grid, ...]
    pairs: tuple[tuple[int, int], ...]
    target: int | None

    @classmethod
    def of(cls, schema: Schema) -> ScoringRule:
        """The rule of a schema: no pairs of very many cells; of very many pairs a part."""
        columns = schema.modelled
        grids = tuple(Grid.of(c, GRID_BINS, zero=True) for c in columns)
        pairs = [
            (i, j)
            for i, j in combinations(range(len(columns)), 2)
            if grids[i].size * grids[j].size <= MAX_CELLS
        ]
        # A column by itself is a pair with itself.
        pairs = pairs or [(i, i) for i in range(len(columns))]
        if len(pairs) > MAX_PAIRS:
            chosen = np.random.default_rng(0).choice(len(pairs), MAX_PAIRS, replace=False)
            pairs = [pairs[i] for i in np.sort(chosen)]
        named = [i for i, c in enumerate(columns) if c.role == "target"]
        target = next((i for i in named if grids[i].size <= MAX_CLASSES), None)
        return cls(schema, grids, tuple(pairs), target if len(columns) > 1 else None)

    def sum_of(self, synthetic: Table, real: Table) -> float:
        """The sum over real rows; adding or removing a patient changes it by at most 1."""
        if len(real) == 0:
            return 0.0
        units = real.unit_codes()
        weights = 1.0 / np.bincount(units)[units]
        return float(weights @ np.clip(self.scores(synthetic, real), -1.0, 1.0))

    def scores(self, synthetic: Table, real: Table) -> np.ndarray:
        """The score of each real row, in [-1, 1]; shape (rows,)."""
        known = self._codes(synthetic)
        asked = self._codes(real)
        found = np.zeros(len(real))
        for i, j in self.pairs:
            size, cells, wanted = self.grids[i].size, known[:, i], asked[:, i]
            if i != j:
                size, width = size * self.grids[j].size, self.grids[j].size
                cells, wanted = cells * width + known[:, j], wanted * width + asked[:, j]
            shares = np.bincount(cells, minlength=size) / len(known)
            seen = shares[wanted]
            found += 2 * seen - (shares**2).sum()
        found /= len(self.pairs)
        if self.target is None:
            return found
        return (found + self._foretold(known, asked, self.target)) / 2

    def _codes(self, table: Table) -> np.ndarray:
        return np.column_stack([grid.codes(table) for grid in self.grids]).astype(np.int64)

    def _foretold(self, known: np.ndarray, asked: np.ndarray, target: int) -> np.ndarray:
        """The quadratic rule of a classifier that learnt from synthetic rows."""
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits

        classes = self.grids[target].size
        others = [i for i in range(len(self.grids)) if i != target]
        present = np.unique(known[:, target])
        chances = np.zeros((len(asked), classes))
        if present.size < 2:
            chances[:, present] = 1.0
        else:
            model = HistGradientBoostingClassifier(
                max_iter=60,
                max_leaf_nodes=15,
                early_stopping=False,  # pyright: ignore[reportArgumentType]
                random_state=0,
            )
            with threadpool_limits(1):
                model.fit(known[:, others], known[:, target])
                chances[:, present] = model.predict_proba(asked[:, others])
        happened = chances[np.arange(len(asked)), asked[:, target]]
        return 2 * happened - (chances**2).sum(axis=1)
