"""Independent columns: the baseline that every generator must beat.

Each column is drawn from its own shares; nothing between columns is kept. With privacy the shares
come from one noisy look at all one-way tables on public grids.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import GaussianEvent
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import Fitted, Synthesizer, taken_as_public
from pegai.synth.conditions import Given, fix_given
from pegai.synth.files import ModelFile
from pegai.synth.grids import (
    class_shares,
    code_tables,
    gaussian_multiplier,
    look_deviation,
    noisy_look,
)
from pegai.synth.rows import chunks, decoded, fit_encoder, modelled
from pegai.synth.running import Run

COUNTS = "one-way tables"


@dataclass(frozen=True)
class IndependentConfig:
    """Settings of the baseline.

    Attributes:
        max_bins: At most about this many bins a numeric column.
        min_count: Levels of fewer rows share a code (without privacy).
        grid_bins: Cells of the public grid of a numeric column (with privacy).
    """

    max_bins: int = 20
    min_count: int = 3
    grid_bins: int = 32

    def __post_init__(self) -> None:
        if self.max_bins < 2 or self.grid_bins < 2 or self.min_count < 0:
            raise UsageError("max_bins and grid_bins must be at least 2, min_count at least 0")


class Independent(Synthesizer):
    """Every column by itself."""

    name = "independent"
    title = "Independent columns (baseline)"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: IndependentConfig | None = None) -> None:
        self.config = config or IndependentConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One Gaussian look at d one-way tables."""
        multiplier = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
        return Plan.make(
            (GaussianEvent(COUNTS, multiplier),),
            delta=privacy.delta,
            public=taken_as_public(schema),
        )

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in every cell of the one-way tables."""
        return {COUNTS: look_deviation(schema, gaussian_multiplier(plan, COUNTS))}

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedIndependent:
        if session is None:
            encoder = fit_encoder(
                table, max_bins=self.config.max_bins, min_count=self.config.min_count
            )
            tables = _count(table, encoder)
        else:
            look = noisy_look(session, COUNTS, table, bins=self.config.grid_bins, split_by=None)
            encoder = look.encoder(max_bins=self.config.max_bins)
            tables = look.code_tables(encoder)
        run.progress("counting", 1.0)
        shares = tuple(part[0] for part in class_shares(tables, smoothing=0.0))
        guarantee = None if session is None else session.guarantee()
        return FittedIndependent(encoder, shares, self.settings(), guarantee)


def _count(table: Table, encoder: TableEncoder) -> list[np.ndarray]:
    """Exact one-way tables, counted chunk by chunk."""
    parts = (code_tables(encoder, encoder.encode(c), None) for c in chunks(modelled(table)))
    return [np.sum(columns, axis=0) for columns in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class FittedIndependent(Fitted):
    """Shares of every column.

    Attributes:
        encoder: Codes of the table.
        shares: For each column the shares of its codes.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
    """

    method: ClassVar[str] = "independent"

    encoder: TableEncoder
    shares: tuple[np.ndarray, ...]
    settings: dict[str, Any]
    guarantee: Guarantee | None

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        def draw(rows: int) -> np.ndarray:
            codes = [rng.choice(len(p), size=rows, p=p / p.sum()) for p in self.shares]
            return np.column_stack(codes)

        return fix_given(decoded(self.encoder, n, draw, rng), given)

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        arrays = {f"shares.{i:04d}": part for i, part in enumerate(self.shares)}
        state = {"encoder": self.encoder.to_dict()}
        return ModelFile(self.method, self.schema, self.settings, state, arrays, self.guarantee)

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedIndependent:
        """The model that a folder holds."""
        return cls(
            TableEncoder.from_dict(model.state["encoder"], model.schema),
            tuple(model.weights[name] for name in sorted(model.weights)),
            model.settings,
            model.guarantee,
        )
