"""Generators with a latent vector: what GAN, CTGAN, TVAE, VAE-GAN and PATE-GAN have in common.

A row is one code a column. A network gives, from a latent vector and a class, the shares of every
column's codes, and codes are drawn from them. Training starts at class-conditional shares, so that
only the dependence between columns is left to learn: that is what makes 200 rows enough.

With privacy the budget is spent on noisy class-conditional one-way tables on public grids (they
give bins, starting shares and classes), and on DP-SGD for every network that sees real rows, all in
one account.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Column, Schema
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.grids import (
    MAX_CLASSES,
    Look,
    class_column,
    class_shares,
    code_tables,
    gaussian_multiplier,
    look_deviation,
    noisy_look,
)
from pegai.synth.latent_config import ConditionedConfig, LatentConfig
from pegai.synth.latent_fitted import FittedLatent
from pegai.synth.looks import COUNTS, counts_and_steps, hold_back, identity
from pegai.synth.rows import encode_rows, fit_encoder
from pegai.synth.running import Run

if TYPE_CHECKING:
    from pegai.synth.networks.adversarial import Rates
    from pegai.synth.networks.layout import Start
    from pegai.synth.networks.priors import LatentMixture
    from pegai.synth.networks.private import Gradients, PrivatePart, PrivateSchedule
    from pegai.synth.networks.training import Trainee, TrainingOutcome

Config = TypeVar("Config", bound=LatentConfig)


@dataclass(frozen=True, eq=False)
class Begun:
    """A fit before its networks are trained.

    Attributes:
        encoder: The codes.
        condition: The class column, or None.
        start: Layout and first generator.
        patients: How many there are: counted, or charged and noisy.
        shares: At which a private start began.
    """

    encoder: TableEncoder
    condition: Column | None
    start: Start
    patients: float
    shares: tuple[np.ndarray, ...] = ()


class LatentMethod(Synthesizer, Generic[Config]):
    """A method whose generator has a latent vector, however that is trained.

    Attributes:
        fitted: What it gives.
    """

    config: Config
    fitted: ClassVar[type[FittedLatent]]
    promise: ClassVar[str] = (
        "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without, nor with "
        "heuristic noise"
    )

    def condition(self, schema: Schema, *, private: bool) -> Column | None:
        """The column whose class the generator is given."""
        config = self.config
        name = config.condition if isinstance(config, ConditionedConfig) else None
        return class_column(schema, name)

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def check(self, schema: Schema) -> None:
        """Refuse a condition that is no column with few classes, before anything is charged."""
        name = self.settings().get("condition")
        if name is not None and class_column(schema, name) is None:
            raise UsageError(
                f"condition {name!r} is no discrete column of at most {MAX_CLASSES} levels",
                hint="name another column, or leave it out to take the target",
            )

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in every cell of the one-way tables; that on training is no count."""
        return {COUNTS: look_deviation(schema, gaussian_multiplier(plan, COUNTS))}

    def rates(self) -> Rates:
        """How the networks learn."""
        from pegai.synth.networks.adversarial import Rates

        return Rates(self.config.learning_rate, self.config.ema)

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> Fitted:
        from pegai.synth.networks.blocks import one_thread

        with one_thread():
            if session is None:
                return self._fit_plain(table, rng, run)
            return self._fit_private(table, session, rng, run)

    @abstractmethod
    def _fit_plain(self, table: Table, rng: np.random.Generator, run: Run) -> FittedLatent: ...

    @abstractmethod
    def _fit_private(
        self, table: Table, session: Session, rng: np.random.Generator, run: Run
    ) -> FittedLatent: ...

    def _encoder(self, table: Table) -> TableEncoder:
        """The codes that a table's rows are learned as, without privacy."""
        config = self.config
        return fit_encoder(
            table,
            max_bins=config.bins(len(table)),
            min_count=config.min_count,
            max_levels=config.max_levels,
        )

    def _look(self, table: Table, session: Session) -> Look:
        """Charged class-conditional tables on public grids."""
        split_by = self.condition(table.schema, private=True)
        bins = self.config.privacy.grid_bins
        return noisy_look(session, COUNTS, table, bins=bins, split_by=split_by)

    def begin_private(self, look: Look, rng: np.random.Generator, run: Run) -> Begun:
        """Networks that start at a look's shares."""
        encoder = look.encoder(max_bins=self.config.privacy.max_bins)
        shares = class_shares(look.code_tables(encoder), smoothing=look.deviation / 2)
        return self.begin_at(encoder, shares, look.patients, rng, run)

    def begin_at(
        self,
        encoder: TableEncoder,
        shares: list[np.ndarray],
        patients: float,
        rng: np.random.Generator,
        run: Run,
        *,
        private: bool = True,
    ) -> Begun:
        """Networks that start at given shares, which are charged where the fit is private.

        Args:
            encoder: The codes.
            shares: Joint shares of class and code, one array (classes, size) a column.
            patients: How many there are; charged, likewise.
            rng: Initial weights, and the seed of what is drawn in training.
            run: Names the device.
            private: Whether the networks are those of a private fit.
        """
        condition = self.condition(encoder.schema, private=private)
        hidden = self.config.privacy.hidden if private else self.config.hidden
        start = self._start(encoder, condition, shares, hidden, run, rng)
        return Begun(encoder, condition, start, patients, tuple(shares))

    def _start(
        self,
        encoder: TableEncoder,
        condition: Column | None,
        shares: list[np.ndarray],
        hidden: int,
        run: Run,
        rng: np.random.Generator,
    ) -> Start:
        from pegai.synth.networks.blocks import device_of
        from pegai.synth.networks.layout import Shape, start

        shape = Shape(self.config.latent, hidden, self.config.temperature)
        return start(encoder, condition, shares, shape, device=device_of(run.device), rng=rng)

    def done(
        self,
        begun: Begun,
        outcome: TrainingOutcome,
        prior: LatentMixture | None,
        guarantee: Guarantee | None,
    ) -> FittedLatent:
        """The model of what was trained."""
        return self.fitted(
            begun.encoder,
            None if begun.condition is None else begun.condition.name,
            begun.start.layout.class_shares.cpu().numpy(),
            outcome.weights,
            prior=prior,
            settings=self.settings(),
            guarantee=guarantee,
            steps=outcome.steps,
            held_back=outcome.held_back,
        )


class LatentSynthesizer(LatentMethod[Config]):
    """A method that is trained step by step, with DP-SGD where it is private.

    Attributes:
        looks: Labels of its DP-SGD events.
    """

    looks: ClassVar[tuple[str, ...]]

    @abstractmethod
    def trainee(self, start: Start) -> Trainee:
        """What is trained without privacy."""

    @abstractmethod
    def parts(self, start: Start) -> Sequence[PrivatePart]:
        """What is trained with privacy, one entry a label of `looks`."""

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One Gaussian look at d one-way tables, then the steps of DP-SGD."""
        self.config.heuristic.refuse_with_privacy()
        return counts_and_steps(self.looks, self.config.privacy, schema, privacy)

    def _fit_plain(self, table: Table, rng: np.random.Generator, run: Run) -> FittedLatent:
        from pegai.synth.networks.checkpoint import Checkpoint
        from pegai.synth.networks.training import MAX_HELD_BACK, Schedule, TrainingRows, train

        config = self.config
        encoder = self._encoder(table)
        codes, units = encode_rows(table, encoder), table.unit_codes()
        checkpoint = Checkpoint.of(run, identity(self, table.schema, codes, units), rng)
        learned, held = hold_back(units, config.held_back, rng)
        condition = self.condition(table.schema, private=False)
        shares = class_shares(code_tables(encoder, codes[learned], condition), smoothing=0.5)
        start = self._start(encoder, condition, shares, config.hidden, run, rng)
        trainee = self.trainee(start)
        judged = rng.permutation(held if held.size else learned)[:MAX_HELD_BACK]
        rows = TrainingRows(codes, learned, judged)
        schedule = Schedule.of(len(learned), len(judged), config.max_steps)
        outcome = train(trainee, schedule, rows, run=run, checkpoint=checkpoint)
        weights, prior = trainee.finish(outcome.weights, rows, rng)
        if checkpoint is not None:
            checkpoint.remove()
        outcome = replace(outcome, weights=config.heuristic.on_weights(weights, rng))
        begun = Begun(encoder, condition, start, float(units.max()) + 1)
        return self.done(begun, outcome, prior, None)

    def _fit_private(
        self, table: Table, session: Session, rng: np.random.Generator, run: Run
    ) -> FittedLatent:
        from pegai.synth.networks.private import PrivateRows, SessionGradients

        begun = self.begin_private(self._look(table, session), rng, run)
        rows = PrivateRows(encode_rows(table, begun.encoder), table.unit_codes())

        def gradients(parts: Sequence[PrivatePart], schedule: PrivateSchedule) -> Gradients:
            return SessionGradients(begun.start, parts, rows, schedule, session)

        return self.train_private(begun, gradients, session.guarantee(), run)

    def train_private(
        self,
        begun: Begun,
        gradients: Callable[[Sequence[PrivatePart], PrivateSchedule], Gradients],
        guarantee: Guarantee,
        run: Run,
    ) -> FittedLatent:
        """Train with DP-SGD, wherever the noisy gradients of real rows come from.

        Args:
            begun: From a charged look.
            gradients: Makes their source, for what learns and its schedule.
            guarantee: Of look and gradients together.
            run: Is told of progress.
        """
        from pegai.synth.networks.private import PrivateSchedule, train_private

        schedule = PrivateSchedule.of(self.config.privacy, begun.patients)
        parts = self.parts(begun.start)
        outcome = train_private(
            begun.start,
            parts,
            gradients(parts, schedule),
            rates=self.rates(),
            schedule=schedule,
            progress=run.progress,
        )
        return self.done(begun, outcome, None, guarantee)
