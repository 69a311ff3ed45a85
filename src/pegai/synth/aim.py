"""Marginals chosen to fit the data, measured once, and a mixture of products fitted to them.

After AIM (McKenna, Mullins, Sheldon and Miklau 2022, arXiv:2201.12677): one-way tables first, then
tables of two columns, by class where the schema names a target, so that what predicts it is learnt
(a label-aware workload). With few columns every pair is measured at once: no choice is better than
any choice where nothing must be left out. With many, pairs are chosen one by one where the model is
most wrong, by the exponential mechanism. In place of a graphical model, whose cost grows with its
cliques, a mixture of products is fitted (`marginals.mixture`), which takes under a second.

All looks are charged to one filter of Gaussian differential privacy: how it is divided may depend
on what was released before (Smith and Thakurta 2022, arXiv:2210.17520).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.table import TableEncoder, summarize
from pegai.errors import UsageError
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Column, Schema
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.files import ModelFile
from pegai.synth.grids import class_column
from pegai.synth.marginals.choosing import choose_price
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.measurements import Layout
from pegai.synth.marginals.measuring import (
    Measured,
    Measurer,
    add_look,
    choose_pairs,
    class_index,
    count_exactly,
    measure_clearest,
)
from pegai.synth.marginals.mixture import FitSettings, Mixture, fit_mixture
from pegai.synth.marginals.planning import MARGINALS, one_filter
from pegai.synth.marginals.preparing import Looking, prepare
from pegai.synth.marginals.sampling import draw
from pegai.synth.marginals.source import Source, TableSource
from pegai.synth.running import Progress, Run

CHUNK_ROWS = 262_144
EXACT_BINS = 20
SPLIT_SIGNAL = 50.0
"""Pairs are measured by class where the patients are this many deviations of a pair's noise."""

COMPONENTS_RATE = 8.0
"""Components are at most this many times the root of the signal."""

PAIR_SIGNAL = 12.0
"""Below so many, more and more of the budget goes to one-way tables, which pairs would drown."""

LOOK_SHARE = 0.5
"""Of the pairs' budget, for a look at all of them where the source can't choose among them."""

EXACT_DEVIATION = 1.0
"""Without privacy, in patients: cells need not be met more closely than this."""


@dataclass(frozen=True)
class AIMConfig:
    """Settings of the method; all of them public.

    Attributes:
        selection: `one-shot` measures all pairs, `adaptive` chooses; `auto` takes the first up to
            `one_shot_columns` columns.
        one_shot_columns: As said.
        rounds: Pairs that `adaptive` chooses; None is two for each column.
        looking: The first looks, which set the codes.
        ones_share: Part of what is left for one-way tables by class; the rest is for pairs. More
            where few patients would make pairs drown in noise, and where pairs are only just clear
            enough to be measured by class: what tells the classes apart is then held by these.
        choice_share: Part of the pairs' budget for choosing, where pairs are chosen.
        split_share: Part of the pairs' budget that measures them by class, in `one-shot`.
        components: Most products in the mixture, for each class; fewer where noise is high.
        steps: Of the fit.
    """

    selection: Literal["auto", "one-shot", "adaptive"] = "auto"
    one_shot_columns: int = 25
    rounds: int | None = None
    looking: Looking = field(default_factory=Looking)
    ones_share: float = 0.3
    choice_share: float = 0.1
    split_share: float = 0.7
    components: int = 128
    steps: int = 1000

    def __post_init__(self) -> None:
        for name in ("ones_share", "choice_share"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if not 0 <= self.split_share <= 1:
            raise UsageError(f"split_share must lie in [0, 1], not {self.split_share}")
        for name in ("components", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.rounds is not None and self.rounds < 1:
            raise UsageError(f"rounds must be at least 1, not {self.rounds}")

    def fit_settings(self, signal: float) -> FitSettings:
        """How the mixture is fitted where patients are `signal` deviations of a pair's noise.

        Components that noise would only fill with noise are not worth their time.
        """
        wanted = COMPONENTS_RATE * min(signal, 1e6) ** 0.5
        components = max(min(self.components, round(wanted)), min(self.components, 8))
        return FitSettings(components, self.steps)

    def measures_all(self, columns: int) -> bool:
        """Whether all pairs of so many columns are measured at once."""
        if self.selection == "auto":
            return columns <= self.one_shot_columns
        return self.selection == "one-shot"


class AIM(Synthesizer):
    """Mixture of products from noisy marginals; see the module.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> model = AIM(AIMConfig(steps=20)).fit(table, rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "aim"
    title = "Adaptive marginals, mixture of products"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: AIMConfig | None = None) -> None:
        self.config = config or AIMConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One filter, from which every look is taken."""
        return one_filter(schema, privacy)

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in the number of patients, and in a table of two columns if all are measured.

        How the budget is divided after the first looks depends on what they release.
        """
        total = plan[MARGINALS].to_dict()["noise_multiplier"] ** -2
        patients = (self.config.looking.count_share * total) ** -0.5
        pair = self._pair_deviation(len(schema.modelled), total)
        return {"number of patients": patients, "cell of all tables of two columns, about": pair}

    def _pair_deviation(self, columns: int, total: float) -> float:
        """Noise of a pair, in patients, were all measured with what is left for pairs."""
        pairs = max(columns * (columns - 1) / 2, 1.0)
        return (pairs / ((1 - self.config.ones_share) * total)) ** 0.5

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedAIM:
        run.progress("counting", 0.0)
        if session is not None:
            return self.fit_source(TableSource(table, session, MARGINALS), rng, run)
        condition = class_column(table.schema, None)
        measured = self._count(table, condition)
        return self._fitted(measured, self._mixture(measured, rng, run.progress), None)

    def fit_source(self, source: Source, rng: np.random.Generator, run: Run) -> FittedAIM:
        """Learn from noisy tables; spends all that the source has left.

        Args:
            source: Answers queries with noise.
            rng: Of the model.
            run: Is told of progress.
        """
        measured = self._measure(source, rng, run.progress)
        mixture = self._mixture(measured, rng, run.progress)
        encoder = measured.encoder.smoothed(_column_shares(mixture, measured.class_index))
        return self._fitted(replace(measured, encoder=encoder), mixture, source.guarantee)

    def _fitted(
        self, measured: Measured, mixture: Mixture, guarantee: Guarantee | None
    ) -> FittedAIM:
        encoder, at = measured.encoder, measured.class_index
        condition = None if at is None else encoder.schema.names[at]
        return FittedAIM(encoder, condition, mixture, self.settings(), guarantee)

    def _count(self, table: Table, condition: Column | None) -> Measured:
        """Exact tables, without privacy."""
        summary = summarize([table.modelled()])
        encoder = TableEncoder.fit(summary, max_bins=EXACT_BINS, min_count=0.0)
        measured = _start(encoder, condition)
        counter = Counter.of(table, encoder, measured.class_index)
        count_exactly(measured, counter, EXACT_DEVIATION)
        return measured

    def _measure(self, source: Source, rng: np.random.Generator, progress: Progress) -> Measured:
        condition = class_column(source.schema, None)
        deviation = self._pair_deviation(len(source.schema.modelled), source.left)
        looking = self.config.looking
        prepared = prepare(source, looking, pair_deviation=deviation, keep=condition)
        measured = _start(prepared.encoder, condition)
        if prepared.look is not None:
            add_look(measured, prepared.look, measured.class_index)
        measured.signal = prepared.signal
        self._measure_tables(Measurer(measured, source), rng, progress)
        return measured

    def _measure_tables(
        self, measurer: Measurer, rng: np.random.Generator, progress: Progress
    ) -> None:
        """One-way tables by class, then pairs, until the filter is empty."""
        config, signal = self.config, measurer.measured.signal
        columns = len(measurer.measured.layout.sizes)
        progress("measuring marginals", 0.0)
        by_class = signal > SPLIT_SIGNAL and config.measures_all(columns)
        more = 1 + SPLIT_SIGNAL / signal if by_class else (PAIR_SIGNAL / signal) ** 0.5
        share = config.ones_share * max(1.0, more)
        # A hair less than the whole, so that rounding can't ask for more than there is.
        total = measurer.left * (1 - 1e-9)
        if columns < 2 or share >= 1:
            measurer.ones(total)
            return
        measurer.ones(share * total)
        if config.measures_all(columns):
            split_share = config.split_share if by_class else 0.0
            measurer.all_pairs(measurer.left * (1 - 1e-9), split_share=split_share)
            return
        rounds = config.rounds or 2 * columns
        if not measurer.source.can_choose:
            measure_clearest(measurer, pairs=rounds, look_share=LOOK_SHARE)
            return
        choose_pairs(
            measurer,
            config.fit_settings(signal),
            rounds=rounds,
            choice_share=config.choice_share,
            rng=rng,
            progress=progress,
        )

    def _mixture(self, measured: Measured, rng: np.random.Generator, progress: Progress) -> Mixture:
        problem, settings = measured.problem, self.config.fit_settings(measured.signal)
        price = choose_price(
            problem, settings, rng, told=lambda done: progress("choosing the price", done)
        )
        return fit_mixture(
            problem,
            replace(settings, price=price),
            rng,
            told=lambda done: progress("fitting the mixture", done),
        )


def _column_shares(mixture: Mixture, at: int | None) -> dict[int, np.ndarray]:
    """The mixture's one-way shares, by the column's place in the table; `at` is the class's."""
    ones = mixture.ones.sum(axis=0)
    places = range(len(mixture.layout.sizes))
    return {i + (at is not None and i >= at): ones[mixture.layout.span(i)] for i in places}


def _start(encoder: TableEncoder, condition: Column | None) -> Measured:
    """Nothing measured yet."""
    at = class_index(encoder, condition)
    layout = Layout(tuple(s for i, s in enumerate(encoder.sizes) if i != at))
    classes = 1 if at is None else encoder.sizes[at]
    known = classes - (condition is not None and not condition.constraints.required)
    return Measured(encoder, layout, classes, known, class_index=at)


@dataclass(frozen=True, eq=False)
class FittedAIM(Fitted):
    """A fitted mixture of products.

    Attributes:
        encoder: Codes of the table.
        condition: The class column, or None.
        mixture: The model of the codes.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
    """

    method: ClassVar[str] = "aim"

    encoder: TableEncoder
    condition: str | None
    mixture: Mixture
    settings: dict[str, Any]
    guarantee: Guarantee | None

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        parts: list[pl.DataFrame] = []
        for start in range(0, n, CHUNK_ROWS):
            codes = self._codes(min(CHUNK_ROWS, n - start), given, rng)
            parts.append(self.encoder.decode(codes, rng).frame)
        return fix_given(Table(pl.concat(parts), self.schema), given)

    def _codes(self, n: int, given: Given, rng: np.random.Generator) -> np.ndarray:
        known = known_codes(self.encoder, given)
        at = None if self.condition is None else self.encoder.index(self.condition)
        fixed = {i - (at is not None and i > at): c for i, c in known.items() if i != at}
        drawn = draw(
            self.mixture, n, rng, given=fixed, given_class=None if at is None else known.get(at)
        )
        if at is None:
            return drawn.codes
        return np.insert(drawn.codes, at, drawn.classes, axis=1)

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {"encoder": self.encoder.to_dict(), "condition": self.condition}
        arrays = {"weights": self.mixture.weights, "shares": self.mixture.shares}
        return ModelFile(self.method, self.schema, self.settings, state, arrays, self.guarantee)

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedAIM:
        """The model that a folder holds."""
        encoder = TableEncoder.from_dict(model.state["encoder"], model.schema)
        condition = model.state["condition"]
        at = None if condition is None else encoder.index(condition)
        sizes = tuple(s for i, s in enumerate(encoder.sizes) if i != at)
        mixture = Mixture(Layout(sizes), model.weights["weights"], model.weights["shares"])
        return cls(encoder, condition, mixture, model.settings, model.guarantee)
