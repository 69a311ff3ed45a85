"""A maximum spanning tree of noisy two-way tables, in closed form.

MST (McKenna, Miklau and Sheldon 2021, "Winning the NIST contest", arXiv:2108.04978): one-way
tables, a tree of the pairs that depend most, chosen by the exponential mechanism, and the tables of
the tree's edges. Inference on a tree needs no iterative optimiser, so a fit takes well under a
second. It is the fastest private method here and the easiest to explain; `aim` is more accurate.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.table import TableEncoder, summarize
from pegai.errors import UsageError
from pegai.privacy.bounded_range import bounded_range_epsilon
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.files import ModelFile
from pegai.synth.marginals.counting import Counter
from pegai.synth.marginals.measurements import Array, Layout
from pegai.synth.marginals.measuring import (
    Measured,
    Measurer,
    add_look,
    count_exactly,
    look_at_pairs,
)
from pegai.synth.marginals.planning import MARGINALS, one_filter
from pegai.synth.marginals.preparing import Looking, prepare
from pegai.synth.marginals.source import Source, TableSource
from pegai.synth.marginals.tree import Tree, fit_tree, spanning
from pegai.synth.running import Progress, Run

CHUNK_ROWS = 262_144
EXACT_BINS = 20
LOOK_SHARE = 0.5
"""Of the pairs' budget, for a look at all of them where the source can't choose among them."""


@dataclass(frozen=True)
class MSTConfig:
    """Settings of the method; all of them public.

    Attributes:
        looking: The first looks, which set the codes.
        ones_share: Part of what is left for one-way tables.
        choice_share: Part of what is left then for choosing the tree; the rest is for its edges.
    """

    looking: Looking = field(default_factory=lambda: Looking(min_deviations=6.0))
    ones_share: float = 0.1
    choice_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("ones_share", "choice_share"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")


class MST(Synthesizer):
    """Tree of noisy marginals; see the module.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> model = MST().fit(load_heart_disease(site="cleveland"), rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "mst"
    title = "Maximum spanning tree of marginals"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: MSTConfig | None = None) -> None:
        self.config = config or MSTConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One filter, from which every look is taken."""
        return one_filter(schema, privacy)

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in the number of patients, and in the tables of the tree's edges.

        How the budget is divided after the first looks depends on what they release.
        """
        total = plan[MARGINALS].to_dict()["noise_multiplier"] ** -2
        patients = (self.config.looking.count_share * total) ** -0.5
        edge = self._edge_deviation(len(schema.modelled), total)
        return {"number of patients": patients, "cell of the tree's tables, about": edge}

    def _edge_deviation(self, columns: int, total: float) -> float:
        """Noise of an edge's table, in patients, with all that is left for edges."""
        share = (1 - self.config.ones_share) * (1 - self.config.choice_share)
        return (max(columns - 1, 1) / (share * total)) ** 0.5

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedMST:
        run.progress("counting", 0.0)
        if session is not None:
            return self.fit_source(TableSource(table, session, MARGINALS), rng, run)
        measured = _count(table)
        tree = fit_tree(measured.layout.sizes, measured.tables)
        run.progress("fitting the tree", 1.0)
        return FittedMST(measured.encoder, tree, self.settings(), None)

    def fit_source(
        self,
        source: Source,
        rng: np.random.Generator,
        run: Run,
    ) -> FittedMST:
        """Learn from noisy tables; spends all that the source has left.

        Args:
            source: Answers queries with noise.
            rng: Not used.
            run: Is told of progress.
        """
        measured = self._measure(source, run.progress)
        tree = fit_tree(measured.layout.sizes, measured.tables)
        run.progress("fitting the tree", 1.0)
        encoder = measured.encoder.smoothed(tree.ones())
        return FittedMST(encoder, tree, self.settings(), source.guarantee)

    def _measure(self, source: Source, progress: Progress) -> Measured:
        config, columns = self.config, len(source.schema.modelled)
        deviation = self._edge_deviation(columns, source.left)
        prepared = prepare(source, config.looking, pair_deviation=deviation, keep=None)
        measurer = Measurer(_start(prepared.encoder), source)
        if prepared.look is not None:
            add_look(measurer.measured, prepared.look, None)
        # A hair less than the whole, so that rounding can't ask for more than there is.
        left = measurer.left * (1 - 1e-9)
        if columns < 2:
            measurer.ones(left)
            return measurer.measured
        measurer.ones(config.ones_share * left)
        if source.can_choose:
            chosen = _choose_tree(measurer, config.choice_share * measurer.left, progress)
            measurer.pairs(chosen, measurer.left * (1 - 1e-9))
            return measurer.measured
        chosen = _clearest_tree(measurer, LOOK_SHARE * measurer.left)
        measurer.pairs(chosen, measurer.left * (1 - 1e-9))
        measurer.measured.keep_pairs(chosen)
        return measurer.measured


def _start(encoder: TableEncoder) -> Measured:
    """Nothing measured yet; there are no classes."""
    return Measured(encoder, Layout(encoder.sizes), 1, 1)


def _count(table: Table) -> Measured:
    """Exact tables of the best tree, without privacy."""
    summary = summarize([table.modelled()])
    encoder = TableEncoder.fit(summary, max_bins=EXACT_BINS, min_count=0.0)
    measured, counter = _start(encoder), Counter.of(table, encoder, None)
    count_exactly(measured, counter, 1.0)
    pairs = [t for t in measured.tables if len(t.columns) == 2]
    gains = {t.columns: _information(t.counts[0]) for t in pairs}
    chosen: list[tuple[int, int]] = []
    while open_pairs := spanning(len(counter.sizes), chosen):
        chosen.append(max(open_pairs, key=lambda pair: gains[pair]))
    measured.tables = [t for t in measured.tables if len(t.columns) == 1 or t.columns in chosen]
    return measured


def _clearest_tree(measurer: Measurer, budget: float) -> list[tuple[int, int]]:
    """The tree of the pairs that a look at all of them shows to depend most."""
    columns = len(measurer.measured.layout.sizes)
    scores = look_at_pairs(measurer, budget)
    chosen: list[tuple[int, int]] = []
    while open_pairs := spanning(columns, chosen):
        chosen.append(max(open_pairs, key=lambda pair: scores[pair]))
    return sorted(chosen)


def _information(counts: Array) -> float:
    """Mutual information of a two-way table, in nats."""
    joint = counts / max(counts.sum(), 1e-300)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint * np.log(np.maximum(joint, 1e-300) / np.maximum(apart, 1e-300))).sum())


def _choose_tree(measurer: Measurer, budget: float, progress: Progress) -> list[tuple[int, int]]:
    """The edges of a spanning tree, one by one; spends `budget`.

    A pair's quality is the L1 distance of its counts from those of independent columns with the
    measured one-way tables; one patient changes it by at most 1, since the latter are released.
    Cells that the schema calls impossible count as empty.
    """
    sizes = measurer.measured.layout.sizes
    apart = fit_tree(sizes, measurer.measured.tables)
    nodes = {c: t[0] for c, t in zip(apart.order, apart.tables, strict=True)}
    patients = float(measurer.measured.class_totals.sum())
    rounds = len(sizes) - 1
    epsilon = bounded_range_epsilon(math.sqrt(budget / rounds))
    chosen: list[tuple[int, int]] = []
    for done in range(rounds):
        candidates = spanning(len(sizes), chosen)
        due = [(patients * nodes[i][:, None] * nodes[j][None, :])[None] for i, j in candidates]
        place = measurer.choose(candidates, due, offset=0.0, epsilon=epsilon)
        chosen.append(candidates[place])
        progress("choosing the tree", (done + 1) / rounds)
    return sorted(chosen)


@dataclass(frozen=True, eq=False)
class FittedMST(Fitted):
    """A fitted tree.

    Attributes:
        encoder: Codes of the table.
        tree: The model of the codes.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
    """

    method: ClassVar[str] = "mst"

    encoder: TableEncoder
    tree: Tree
    settings: dict[str, Any]
    guarantee: Guarantee | None

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        known = known_codes(self.encoder, given)
        parts: list[pl.DataFrame] = []
        for start in range(0, n, CHUNK_ROWS):
            codes = self.tree.draw(min(CHUNK_ROWS, n - start), rng, given=known)
            parts.append(self.encoder.decode(codes, rng).frame)
        return fix_given(Table(pl.concat(parts), self.schema), given)

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {
            "encoder": self.encoder.to_dict(),
            "order": list(self.tree.order),
            "parents": list(self.tree.parents),
        }
        arrays = {f"tables.{i:04d}": table for i, table in enumerate(self.tree.tables)}
        return ModelFile(self.method, self.schema, self.settings, state, arrays, self.guarantee)

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedMST:
        """The model that a folder holds."""
        tree = Tree(
            tuple(model.state["order"]),
            tuple(model.state["parents"]),
            tuple(model.weights[name] for name in sorted(model.weights)),
        )
        encoder = TableEncoder.from_dict(model.state["encoder"], model.schema)
        return cls(encoder, tree, model.settings, model.guarantee)
