"""Sequential trees: each column drawn from those before it, by decision trees that copy nobody.

The sequential CART of synthpop (Reiter 2005; Nowok, Raab and Dibben 2016) draws the training rows'
own values from small leaves, and so repeats patients. Here every column is coded so that a code
stands for several patients (`trees_coding`), missing being a code like any other, and leaves
foretell codes by hierarchical shrinkage (`trees_leaves`).

There is no private form: which questions trees ask, and where values are cut, comes from the data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.numeric import NumericEncoder
from pegai.encode.table import TableEncoder
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.files import ModelFile
from pegai.synth.rows import encode_rows
from pegai.synth.running import Run
from pegai.synth.trees_coding import fit_coding
from pegai.synth.trees_config import TreesConfig
from pegai.synth.trees_fitting import Learner
from pegai.synth.trees_groups import Groups, fit_groups
from pegai.synth.trees_ordering import MAX_ROWS, coarse, dependence, ordering
from pegai.synth.trees_sampling import ColumnTrees, draw_codes

CHUNK_ROWS = 65_536


class Trees(Synthesizer):
    """Sequential trees; see the module.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> model = Trees().fit(load_heart_disease(site="cleveland"), rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "trees"
    title = "Sequential decision trees"
    promise = "no formal guarantee; refuses --epsilon"
    private = False

    def __init__(self, config: TreesConfig | None = None) -> None:
        self.config = config or TreesConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return {**asdict(self.config), "shrinkages": list(self.config.shrinkages)}

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """Refused: there is no private form.

        Raises:
            PrivacyError: Always.
        """
        raise self.has_no_private_form()

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedTrees:
        if session is not None:
            raise self.has_no_private_form()
        run.progress("coding", 0.0)
        columns, units = table.modelled(), table.unit_codes()
        encoder = fit_coding(columns, units, self.config)
        missing = tuple(e.missing for e in encoder.columns)
        codes = encode_rows(columns, encoder)
        groups = fit_groups(codes, encoder.sizes, missing)
        learner = Learner(
            groups.apply(codes),
            groups.sizes(encoder.sizes),
            tuple(
                isinstance(e, NumericEncoder) or e.column.categories_ordered
                for e in encoder.columns
            ),
            missing,
            units,
            self.config,
        )
        del codes
        order, trees = _fit_columns(learner, columns.schema, rng, run)
        return FittedTrees(encoder, groups, order, trees, self.settings())


def _fit_columns(
    learner: Learner, schema: Schema, rng: np.random.Generator, run: Run
) -> tuple[tuple[int, ...], tuple[ColumnTrees, ...]]:
    """The order, and the trees of each column in it."""
    tells = _dependence(learner, rng)
    target = next((i for i, c in enumerate(schema.columns) if c.pegai.role == "target"), None)
    numeric = [i for i, c in enumerate(schema.columns) if c.is_numeric and not c.is_discrete]
    order = ordering(learner.sizes, target, numeric, tells)
    found: list[ColumnTrees] = []
    for place, column in enumerate(order):
        run.progress("growing trees", place / len(order))
        before = sorted(order[:place], key=lambda i: (-tells[column, i], i))
        trees = learner.fit(column, before, rng)
        found.append(trees)
        run.log({"column": schema.names[column], "held_out_log_likelihood": trees.score})
    run.progress("growing trees", 1.0)
    return tuple(order), tuple(found)


def _dependence(learner: Learner, rng: np.random.Generator) -> np.ndarray:
    rows = len(learner.codes)
    chosen = np.sort(rng.choice(rows, MAX_ROWS, replace=False)) if rows > MAX_ROWS else slice(None)
    cells = [
        coarse(c[chosen], size, ordered=ordered, missing=missing)
        for c, size, ordered, missing in zip(
            learner.codes.T, learner.sizes, learner.ordered, learner.missing, strict=True
        )
    ]
    return dependence(np.column_stack(cells))


@dataclass(frozen=True, eq=False)
class FittedTrees(Fitted):
    """Fitted trees.

    Attributes:
        encoder: Codes of the table.
        groups: Groups of codes in columns of many.
        order: Positions of the columns, as they are drawn.
        trees: Of each column, in this order.
        settings: The method's settings.
        guarantee: None: the method promises nothing.
    """

    method: ClassVar[str] = "trees"

    encoder: TableEncoder
    groups: Groups
    order: tuple[int, ...]
    trees: tuple[ColumnTrees, ...]
    settings: dict[str, Any]
    guarantee: Guarantee | None = None

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        known = known_codes(self.encoder, given)
        wanted = {i: self.groups.of(i, code) for i, code in known.items()}
        parts: list[pl.DataFrame] = []
        for start in range(0, n, CHUNK_ROWS):
            rows = min(CHUNK_ROWS, n - start)
            codes = draw_codes(self.order, self.trees, wanted, rows, rng)
            parts.append(self.encoder.decode(self.groups.draw(codes.T, rng), rng).frame)
        return fix_given(Table(pl.concat(parts), self.schema), given)

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {
            "encoder": self.encoder.to_dict(),
            "order": list(self.order),
            "grouped": list(self.groups.columns),
        }
        arrays = {k: v for i, t in enumerate(self.trees) for k, v in t.arrays(i).items()}
        for i, (group, shares) in enumerate(
            zip(self.groups.group, self.groups.shares, strict=True)
        ):
            arrays |= {f"groups.{i:04d}": group, f"shares.{i:04d}": shares}
        return ModelFile(self.method, self.schema, self.settings, state, arrays, None)

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedTrees:
        """The model that a folder holds."""
        grouped = tuple(model.state["grouped"])
        groups = Groups(
            grouped,
            tuple(model.weights[f"groups.{i:04d}"] for i in range(len(grouped))),
            tuple(model.weights[f"shares.{i:04d}"] for i in range(len(grouped))),
        )
        order = tuple(int(i) for i in model.state["order"])
        trees = tuple(ColumnTrees.from_arrays(model.weights, i) for i in range(len(order)))
        encoder = TableEncoder.from_dict(model.state["encoder"], model.schema)
        return cls(encoder, groups, order, trees, model.settings)
