"""Generators with a latent vector: what GAN, CTGAN, TVAE and VAE-GAN have in common.

A row is one code a column. A network gives, from a latent vector and a class, the shares of every
column's codes, and codes are drawn from them. Training starts at class-conditional shares, so that
only the dependence between columns is left to learn: that is what makes 200 rows enough.

With privacy the budget is spent on noisy class-conditional one-way tables on public grids (they
give bins, starting shares and classes), and on DP-SGD for every network that sees real rows, all in
one account.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.privacy.calibrate import calibrate, gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Column, Schema
from pegai.synth.base import Fitted, Synthesizer, taken_as_public
from pegai.synth.grids import (
    MAX_CLASSES,
    class_column,
    class_shares,
    code_tables,
    gaussian_multiplier,
    look_deviation,
    noisy_look,
)
from pegai.synth.latent_config import ConditionedConfig, LatentConfig
from pegai.synth.latent_fitted import FittedLatent
from pegai.synth.rows import encode_rows, fit_encoder
from pegai.synth.running import Run

if TYPE_CHECKING:
    from pegai.synth.networks.adversarial import Rates
    from pegai.synth.networks.layout import Start
    from pegai.synth.networks.private import Part, PrivateSchedule
    from pegai.synth.networks.training import Trainee

Config = TypeVar("Config", bound=LatentConfig)

COUNTS = "class-conditional one-way tables"


class LatentSynthesizer(Synthesizer, Generic[Config]):
    """A method whose generator has a latent vector.

    Attributes:
        fitted: What it gives.
        looks: Labels of its DP-SGD events.
    """

    config: Config
    fitted: ClassVar[type[FittedLatent]]
    looks: ClassVar[tuple[str, ...]]
    promise: ClassVar[str] = (
        "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without, nor with "
        "heuristic noise"
    )

    @abstractmethod
    def trainee(self, start: Start) -> Trainee:
        """What is trained without privacy."""

    @abstractmethod
    def parts(self, start: Start, session: Session, schedule: PrivateSchedule) -> Sequence[Part]:
        """What is trained with privacy, one entry a label of `looks`."""

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

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One Gaussian look at d one-way tables, then the steps of DP-SGD."""
        self.config.heuristic.refuse_with_privacy()
        settings = self.config.privacy
        whole = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
        tables = GaussianEvent(COUNTS, whole / settings.counts_share**0.5)

        def events(noise_multiplier: float) -> tuple[Event, ...]:
            return (
                tables,
                *(
                    SubsampledGaussianEvent(
                        label, noise_multiplier, settings.sampling_probability, settings.steps
                    )
                    for label in self.looks
                ),
            )

        chosen = calibrate(events, epsilon=privacy.epsilon, delta=privacy.delta)
        return Plan.make(events(chosen), delta=privacy.delta, public=taken_as_public(schema))

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in every cell of the one-way tables; that on gradients is no count."""
        return {COUNTS: look_deviation(schema, gaussian_multiplier(plan, COUNTS))}

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> Fitted:
        from pegai.synth.networks.blocks import one_thread

        with one_thread():
            if session is None:
                return self._fit_plain(table, rng, run)
            return self._fit_private(table, session, rng, run)

    def _fit_plain(self, table: Table, rng: np.random.Generator, run: Run) -> FittedLatent:
        from pegai.synth.networks.checkpoint import Checkpoint
        from pegai.synth.networks.training import MAX_HELD_BACK, Rows, Schedule, batch_size, train

        config = self.config
        encoder = fit_encoder(table, max_bins=config.max_bins, min_count=config.min_count)
        codes = encode_rows(table, encoder)
        checkpoint = Checkpoint.of(run, self._identity(table.schema, codes), rng)
        learned, held = hold_back(table.unit_codes(), config.held_back, rng)
        condition = self.condition(table.schema, private=False)
        shares = class_shares(code_tables(encoder, codes[learned], condition), smoothing=0.5)
        start = self._start(encoder, condition, shares, config.hidden, run, rng)
        trainee = self.trainee(start)
        judged = rng.permutation(held if held.size else learned)[:MAX_HELD_BACK]
        rows = Rows(codes, learned, judged)
        schedule = Schedule(batch_size(len(learned)), config.max_steps)
        outcome = train(trainee, schedule, rows, run=run, checkpoint=checkpoint)
        weights, prior = trainee.finish(outcome.weights, rows, rng)
        if checkpoint is not None:
            checkpoint.remove()
        return self.fitted(
            encoder,
            None if condition is None else condition.name,
            start.layout.class_shares.cpu().numpy(),
            config.heuristic.on_weights(weights, rng),
            prior=prior,
            settings=self.settings(),
            guarantee=None,
            steps=outcome.steps,
            held_back=outcome.held_back,
        )

    def _fit_private(
        self, table: Table, session: Session, rng: np.random.Generator, run: Run
    ) -> FittedLatent:
        from pegai.synth.networks.private import PrivateRows, PrivateSchedule, train_private

        settings = self.config.privacy
        condition = self.condition(table.schema, private=True)
        look = noisy_look(session, COUNTS, table, bins=settings.grid_bins, split_by=condition)
        encoder = look.encoder(max_bins=settings.max_bins)
        shares = class_shares(look.code_tables(encoder), smoothing=look.deviation / 2)
        start = self._start(encoder, condition, shares, settings.hidden, run, rng)
        schedule = PrivateSchedule(
            settings.steps,
            settings.clipping_norm,
            divisor=max(settings.sampling_probability * look.patients, 1.0),
        )
        outcome = train_private(
            start,
            self.parts(start, session, schedule),
            PrivateRows(encode_rows(table, encoder), table.unit_codes()),
            rates=self.rates(),
            schedule=schedule,
            session=session,
            progress=run.progress,
        )
        return self.fitted(
            encoder,
            None if condition is None else condition.name,
            start.layout.class_shares.cpu().numpy(),
            outcome.weights,
            prior=None,
            settings=self.settings(),
            guarantee=session.guarantee(),
            steps=outcome.steps,
        )

    def rates(self) -> Rates:
        """How the networks learn."""
        from pegai.synth.networks.adversarial import Rates

        return Rates(self.config.learning_rate, self.config.ema)

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

    def _identity(self, schema: Schema, codes: np.ndarray) -> dict[str, Any]:
        """What a checkpoint of this fit belongs to."""
        return {
            "method": self.name,
            "settings": self.settings(),
            "schema": schema.to_dict(),
            "rows": hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest(),
        }


def hold_back(
    units: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the fitted and of the held-back patients; none is held back below 20 patients."""
    patients = int(units.max()) + 1
    count = round(share * patients) if patients >= 20 else 0
    held = np.isin(units, rng.permutation(patients)[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)
