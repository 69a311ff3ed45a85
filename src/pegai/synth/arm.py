"""Any-order autoregressive model: exact conditionals and imputation, also with privacy.

See `pegai.synth.networks.anyorder` for the network. Every column, given any set of the others, has
shares that the network states, so rows are drawn column by column, what is given is shown first,
and a table's missing cells can be filled in (`FittedARM.impute`).

With privacy the budget is spent on noisy class-conditional one-way tables on public grids, which
give codes and the naive Bayes mixture that the network adds to, and on DP-SGD for the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import Fitted, Synthesizer, as_generator
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.constraints.imputing import imputed, with_columns_of
from pegai.synth.files import ModelFile
from pegai.synth.grids import (
    class_column,
    class_shares,
    code_tables,
    gaussian_multiplier,
    look_deviation,
    noisy_look,
)
from pegai.synth.latent_config import DPSGDPrivacy
from pegai.synth.looks import COUNTS, counts_and_steps, hold_back, identity
from pegai.synth.rows import encode_rows, fit_encoder
from pegai.synth.running import Run

if TYPE_CHECKING:
    from pegai.synth.networks.anyorder import AnyOrder
    from pegai.synth.networks.blocks import Blocks

NETWORK = "network, DP-SGD"
CHUNK_ROWS = 16_384


@final
@dataclass(frozen=True)
class ARMConfig:
    """Settings of the any-order model.

    Attributes:
        max_bins: At most about this many bins a numeric column.
        min_count: Levels of fewer rows share a code (without privacy).
        max_levels: Levels of a column that have a code of their own, the most common ones; the
            rest share one (without privacy).
        hidden: Width of the hidden layers (without privacy).
        layers: How many hidden layers.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        ema: Decay of the averaged network.
        max_steps: Steps at most (without privacy); early stopping ends sooner.
        held_back: Share of the patients kept from training to choose the step by.
        privacy: What the guarantee depends on.
    """

    max_bins: int = 20
    min_count: int = 3
    max_levels: int = 500
    hidden: int = 256
    layers: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    ema: float = 0.995
    max_steps: int = 10_000
    held_back: float = 0.1
    privacy: DPSGDPrivacy = field(default_factory=DPSGDPrivacy)

    def __post_init__(self) -> None:
        smallest = min(self.max_bins, self.max_levels, self.hidden)
        if min(self.layers, self.max_steps) < 1 or smallest < 2:
            raise UsageError(
                "layers and max_steps must be at least 1, max_bins, max_levels and hidden at least "
                "2"
            )
        if not self.learning_rate > 0 or self.weight_decay < 0 or self.min_count < 0:
            raise UsageError(
                "learning_rate must be positive, weight_decay and min_count at least 0"
            )
        if not 0 <= self.ema < 1 or not 0 <= self.held_back < 1:
            raise UsageError("ema and held_back must be at least 0 and below 1")


@final
class ARM(Synthesizer):
    """Any-order autoregressive model; see the module.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> model = ARM(ARMConfig(max_steps=20, hidden=16)).fit(table, rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "arm"
    title = "Any-order autoregressive model"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: ARMConfig | None = None) -> None:
        self.config = config or ARMConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One Gaussian look at d one-way tables, then the steps of DP-SGD."""
        return counts_and_steps((NETWORK,), self.config.privacy, schema, privacy)

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in every cell of the one-way tables; that on gradients is no count."""
        return {COUNTS: look_deviation(schema, gaussian_multiplier(plan, COUNTS))}

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedARM:
        from pegai.synth.networks.blocks import one_thread

        with one_thread():
            if session is None:
                return self._fit_plain(table, rng, run)
            return self._fit_private(table, session, rng, run)

    def _fit_plain(self, table: Table, rng: np.random.Generator, run: Run) -> FittedARM:
        from pegai.synth.networks.anyorder import AnyOrderTrainee
        from pegai.synth.networks.blocks import torch_generator
        from pegai.synth.networks.checkpoint import Checkpoint
        from pegai.synth.networks.training import (
            MAX_HELD_BACK,
            Schedule,
            TrainingRows,
            batch_size,
            train,
        )

        config = self.config
        encoder = fit_encoder(
            table,
            max_bins=config.max_bins,
            min_count=config.min_count,
            max_levels=config.max_levels,
        )
        codes = encode_rows(table, encoder)
        units = table.unit_codes()
        checkpoint = Checkpoint.of(run, identity(self, table.schema, codes, units), rng)
        learned, held = hold_back(units, config.held_back, rng)
        tables = code_tables(encoder, codes[learned], class_column(table.schema, None))
        shares = class_shares(tables, smoothing=0.5)
        model, blocks = self._start(encoder, shares, config.hidden, run, rng)
        trainee = AnyOrderTrainee(
            model,
            blocks,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            ema=config.ema,
            draws=torch_generator(rng, blocks.device),
        )
        judged = rng.permutation(held if held.size else learned)[:MAX_HELD_BACK]
        schedule = Schedule(batch_size(len(learned)), config.max_steps, check_every=50)
        rows = TrainingRows(codes, learned, judged)
        outcome = train(trainee, schedule, rows, run=run, checkpoint=checkpoint)
        if checkpoint is not None:
            checkpoint.remove()
        return FittedARM(
            encoder, outcome.weights, self.settings(), None, outcome.steps, outcome.held_back
        )

    def _fit_private(
        self, table: Table, session: Session, rng: np.random.Generator, run: Run
    ) -> FittedARM:
        from pegai.synth.networks.anyorder_private import train_any_order
        from pegai.synth.networks.private import PrivateRows, PrivateSchedule

        settings = self.config.privacy
        condition = class_column(table.schema, None)
        look = noisy_look(session, COUNTS, table, bins=settings.grid_bins, split_by=condition)
        encoder = look.encoder(max_bins=settings.max_bins)
        shares = class_shares(look.code_tables(encoder), smoothing=look.deviation / 2)
        model, blocks = self._start(encoder, shares, settings.hidden, run, rng)
        weights = train_any_order(
            model,
            blocks,
            PrivateRows(encode_rows(table, encoder), table.unit_codes()),
            schedule=PrivateSchedule.of(settings, look.patients),
            learning_rate=self.config.learning_rate,
            ema=self.config.ema,
            session=session,
            label=NETWORK,
            rng=rng,
            progress=run.progress,
        )
        guarantee = session.guarantee()
        return FittedARM(encoder, weights, self.settings(), guarantee, settings.steps)

    def _start(
        self,
        encoder: TableEncoder,
        shares: Sequence[np.ndarray],
        hidden: int,
        run: Run,
        rng: np.random.Generator,
    ) -> tuple[AnyOrder, Blocks]:
        import torch

        from pegai.synth.networks.anyorder import AnyOrder
        from pegai.synth.networks.blocks import Blocks, device_of, torch_generator

        by_class = shares[0].sum(axis=1)
        inside = np.concatenate([part / by_class[:, None] for part in shares], axis=1)
        device = device_of(run.device)
        model = AnyOrder(
            torch.tensor(np.log(by_class), dtype=torch.float32),
            torch.tensor(np.log(inside), dtype=torch.float32),
            columns=len(encoder.sizes),
            hidden=hidden,
            layers=self.config.layers,
            rng=torch_generator(rng),
        )
        return model.to(device), Blocks.of(encoder, device)


@final
@dataclass(frozen=True, eq=False)
class FittedARM(Fitted):
    """A trained any-order model.

    Attributes:
        encoder: Codes of the table.
        weights: The network's arrays by name.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
        steps: Steps of the kept network.
        held_back: What each look at held-back rows said; empty with privacy.
    """

    method: ClassVar[str] = "arm"

    encoder: TableEncoder
    weights: dict[str, np.ndarray]
    settings: dict[str, Any]
    guarantee: Guarantee | None
    steps: int
    held_back: tuple[float, ...] = ()

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables."""
        return self.encoder.schema

    @cached_property
    def model(self) -> AnyOrder:
        """The network."""
        from pegai.synth.networks.anyorder import AnyOrder

        return AnyOrder.from_arrays(self.weights)

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        columns = len(self.encoder.sizes)
        wanted = known_codes(self.encoder, given)
        codes = np.zeros((n, columns), np.int64)
        known = np.zeros((n, columns), bool)
        for place, code in wanted.items():
            codes[:, place], known[:, place] = code, True
        drawn = self._completed(codes, known, rng)
        return fix_given(self.encoder.decode(drawn, rng), given)

    def _completed(
        self, codes: np.ndarray, known: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        from pegai.synth.networks.anyorder import complete
        from pegai.synth.networks.blocks import Blocks, one_thread, torch_generator

        blocks, draws = Blocks.of(self.encoder), torch_generator(rng)
        done = np.empty_like(codes)
        with one_thread():
            for start in range(0, len(codes), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                done[part] = complete(self.model, blocks, codes[part], known[part], rng=draws)
        return done

    def impute(self, table: Table, *, rng: np.random.Generator | int | None = None) -> Table:
        """A table with its missing cells drawn given the cells of the same row that are there.

        Where the model takes missing to be likely, a cell may stay missing: missing is a value.
        Filled rows keep the schema's rules and none is a combination that it calls impossible; a
        row that can't be filled so (its known cells break a rule) stays as it is.

        Args:
            table: With the modelled columns of the schema; others are left out.
            rng: Seed or generator.

        Raises:
            DataError: The columns are not those of the model.
        """
        part, generator = with_columns_of(table, self.schema), as_generator(rng, "sample")
        return imputed(part, lambda rows: self._filled(rows, generator), generator)

    def _filled(self, part: Table, rng: np.random.Generator) -> Table:
        """Rows with their missing cells drawn, whatever the rules say."""
        names = self.schema.names
        known = np.column_stack([part[name].is_not_null().to_numpy() for name in names])
        drawn = self._completed(self.encoder.encode(part).astype(np.int64), known, rng)
        filled = self.encoder.decode(drawn, rng).frame
        columns = [pl.coalesce(part[name], filled[name]).alias(name) for name in names]
        return Table(part.frame.select(columns), self.schema)

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {
            "encoder": self.encoder.to_dict(),
            "steps": self.steps,
            "held_back": list(self.held_back),
        }
        return ModelFile(
            self.method, self.schema, self.settings, state, self.weights, self.guarantee
        )

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedARM:
        """The model that a folder holds."""
        return cls(
            TableEncoder.from_dict(model.state["encoder"], model.schema),
            model.weights,
            model.settings,
            model.guarantee,
            int(model.state["steps"]),
            tuple(model.state["held_back"]),
        )
