"""Conditional tabular GAN for small clinical tables, and its differentially private form.

After Xu et al. 2019 (arXiv:1907.00503).

What differs from the published one, and why: numeric columns are quantile bins with shared values
kept as spikes (clinical numbers are heaped); the generator starts from class-conditional shares, so
that adversarial training has only the dependence left to learn; the step that explains held-back
rows best is kept; conditioning draws latents by how well they explain what is given, so it needs no
rejection. Published defaults take one step an epoch on 213 rows and learn nothing.

The private form spends its budget twice: once on noisy class-conditional one-way tables on public
grids (they give bins, starting shares and the conditional vector), once on DP-SGD for the critic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.encode.table import TableEncoder, summarize
from pegai.errors import UsageError
from pegai.privacy.calibrate import calibrate, gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Column, Schema
from pegai.synth.base import Fitted, Synthesizer, taken_as_public
from pegai.synth.conditions import Given, fix_given, known_codes
from pegai.synth.ctgan_config import CTGANConfig, CTGANPrivacy
from pegai.synth.files import ModelFile
from pegai.synth.grids import (
    MAX_CLASSES,
    class_column,
    class_shares,
    code_tables,
    gaussian_multiplier,
    look_deviation,
    noisy_look,
)
from pegai.synth.heuristic import HeuristicNoise
from pegai.synth.running import Progress, Run

if TYPE_CHECKING:
    from pegai.synth.ctgan_game import Game, Outcome
    from pegai.synth.ctgan_nets import ConditionalGenerator

__all__ = ["CTGAN", "CTGANConfig", "CTGANPrivacy", "FittedCTGAN"]

COUNTS = "class-conditional one-way tables"
CRITIC = "critic, DP-SGD"
CHUNK_ROWS = 16_384


class CTGAN(Synthesizer):
    """Conditional tabular GAN; see the module for what it does.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> model = CTGAN(CTGANConfig(max_steps=20)).fit(table, rng=0)
        >>> len(model.sample(5, given={"sex": "1"}, rng=0))
        5
    """

    name = "ctgan"
    title = "Conditional tabular GAN"
    promise = (
        "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without, nor with "
        "heuristic noise"
    )

    def __init__(self, config: CTGANConfig | None = None) -> None:
        self.config = config or CTGANConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def check(self, schema: Schema) -> None:
        """Refuse a condition that is no column with few classes, before anything is charged."""
        name = self.config.condition
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
            steps = SubsampledGaussianEvent(
                CRITIC, noise_multiplier, settings.sampling_probability, settings.steps
            )
            return (tables, steps)

        chosen = calibrate(events, epsilon=privacy.epsilon, delta=privacy.delta)
        return Plan.make(
            events(chosen),
            delta=privacy.delta,
            public=taken_as_public(schema),
        )

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """The noise in every cell of the one-way tables; that on the critic is no count."""
        return {COUNTS: look_deviation(schema, gaussian_multiplier(plan, COUNTS))}

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> FittedCTGAN:
        from pegai.synth.blocks import one_thread

        condition = class_column(table.schema, self.config.condition)
        with one_thread():
            if session is None:
                return self._fit_plain(table, condition, rng, run.progress)
            return self._fit_private(table, condition, session, rng, run.progress)

    def _fit_plain(
        self, table: Table, condition: Column | None, rng: np.random.Generator, progress: Progress
    ) -> FittedCTGAN:
        from pegai.synth.ctgan_game import start
        from pegai.synth.ctgan_training import Schedule, train

        config, columns = self.config, table.modelled()
        learned, held = _hold_back(table.unit_codes(), config.held_back, rng)
        encoder = TableEncoder.fit(
            summarize([columns]), max_bins=config.max_bins, min_count=config.min_count
        )
        codes = encoder.encode(columns)
        shares = class_shares(code_tables(encoder, codes[learned], condition), smoothing=0.5)
        game, generator = start(config, encoder, condition, shares, rng)
        outcome = train(
            generator,
            game,
            Schedule(batch=_batch_size(int(learned.sum())), max_steps=config.max_steps),
            learned=codes[learned],
            held_back=rng.permutation(codes[held if held.any() else learned]),
            rng=rng,
            progress=progress,
        )
        fitted = self._fitted(encoder, condition, game, outcome, None)
        noisy = config.heuristic.on_weights(fitted.weights, rng)
        return replace(fitted, weights=noisy)

    def _fit_private(
        self,
        table: Table,
        condition: Column | None,
        session: Session,
        rng: np.random.Generator,
        progress: Progress,
    ) -> FittedCTGAN:
        from pegai.synth.ctgan_game import start
        from pegai.synth.ctgan_private import PrivateSchedule, train_private

        settings = self.config.privacy
        look = noisy_look(session, COUNTS, table, bins=settings.grid_bins, split_by=condition)
        encoder = look.encoder(max_bins=settings.max_bins)
        shares = class_shares(look.code_tables(encoder), smoothing=look.deviation / 2)
        config = replace(self.config, hidden=settings.hidden)
        game, generator = start(config, encoder, condition, shares, rng)
        outcome = train_private(
            generator,
            game,
            PrivateSchedule(
                settings.steps,
                settings.clipping_norm,
                divisor=max(settings.sampling_probability * look.patients, 1.0),
            ),
            codes=encoder.encode(table.modelled()),
            units=table.unit_codes(),
            session=session,
            label=CRITIC,
            rng=rng,
            progress=progress,
        )
        return self._fitted(encoder, condition, game, outcome, session.guarantee())

    def _fitted(
        self,
        encoder: TableEncoder,
        condition: Column | None,
        game: Game,
        outcome: Outcome,
        guarantee: Guarantee | None,
    ) -> FittedCTGAN:
        weights = {k: v.numpy() for k, v in outcome.generator.state_dict().items()}
        return FittedCTGAN(
            encoder,
            None if condition is None else condition.name,
            game.class_shares.numpy(),
            weights,
            settings=self.settings(),
            guarantee=guarantee,
            steps=outcome.steps,
            held_back=outcome.held_back,
        )


@dataclass(frozen=True, eq=False)
class FittedCTGAN(Fitted):
    """A trained conditional tabular GAN.

    Attributes:
        encoder: Codes of the table.
        condition: The column that the generator is conditioned on, or None.
        class_shares: How often each of its classes is drawn, shape (classes,).
        weights: The generator's arrays by name.
        settings: The method's settings.
        guarantee: What is promised; None without privacy.
        steps: Generator steps of the kept generator.
        held_back: Mean log-likelihood of held-back rows at each look; empty with privacy.
    """

    method: ClassVar[str] = "ctgan"

    encoder: TableEncoder
    condition: str | None
    class_shares: np.ndarray
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
    def generator(self) -> ConditionalGenerator:
        """The network that is sampled."""
        from pegai.synth.ctgan_nets import ConditionalGenerator

        noise = HeuristicNoise.of_settings(self.settings)
        return ConditionalGenerator.from_arrays(self.weights, latent_scale=noise.latent_scale)

    @property
    def heuristic(self) -> str:
        """Noise by a chosen scale, in words with their label; empty without."""
        return HeuristicNoise.of_settings(self.settings).label

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        from pegai.synth.blocks import one_thread

        parts: list[pl.DataFrame] = []
        with one_thread():
            for start in range(0, n, CHUNK_ROWS):
                rows = min(CHUNK_ROWS, n - start)
                parts.append(self.encoder.decode(self._codes(rows, given, rng), rng).frame)
        return fix_given(Table(pl.concat(parts), self.schema), given)

    def _codes(self, n: int, given: Given, rng: np.random.Generator) -> np.ndarray:
        """Codes of n rows, each with what is given.

        A pool of latents is weighted by the probability of what is given, and n are drawn from it
        (sampling-importance-resampling, Rubin 1987): the cost is fixed, however rare the condition.
        """
        from pegai.synth.blocks import Blocks, torch_generator
        from pegai.synth.ctgan_sampling import draw_codes

        wanted = known_codes(self.encoder, given)
        index = None if self.condition is None else self.encoder.index(self.condition)
        return draw_codes(
            self.generator,
            Blocks.of(self.encoder),
            class_block=index,
            class_shares=self.class_shares,
            wanted=wanted,
            n=n,
            rng=torch_generator(rng),
        )

    def to_file(self) -> ModelFile:
        """The content of the model folder."""
        state = {
            "encoder": self.encoder.to_dict(),
            "condition": self.condition,
            "steps": self.steps,
            "held_back": list(self.held_back),
        }
        arrays = {**self.weights, "class_shares": self.class_shares}
        return ModelFile(
            self.method,
            self.schema,
            self.settings,
            state,
            arrays,
            self.guarantee,
            heuristic=self.heuristic,
        )

    @classmethod
    def from_file(cls, model: ModelFile) -> FittedCTGAN:
        """The model that a folder holds."""
        weights = dict(model.weights)
        return cls(
            TableEncoder.from_dict(model.state["encoder"], model.schema),
            model.state["condition"],
            weights.pop("class_shares"),
            weights,
            settings=model.settings,
            guarantee=model.guarantee,
            steps=int(model.state["steps"]),
            held_back=tuple(model.state["held_back"]),
        )


def _hold_back(
    units: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row masks of the fitted and the held-back patients; none is held back below 20 patients."""
    patients = int(units.max()) + 1
    count = round(share * patients) if patients >= 20 else 0
    held = np.isin(units, rng.permutation(patients)[:count])
    return ~held, held


def _batch_size(rows: int) -> int:
    """A power of two, a fifth to two fifths of the rows, from 32 to 512."""
    return int(np.clip(2 ** int(np.log2(max(rows, 4) / 2.5)), 32, 512))
