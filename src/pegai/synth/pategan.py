"""PATE-GAN: a generator that learns from a student, who learns from the noisy votes of teachers.

Yoon et al. 2019 (ICLR). The patients are divided among teachers, each a discriminator of its own
patients' rows from generated ones. Round by round the teachers vote on generated rows, noise is
added to the numbers of votes (GNMax, Papernot et al. 2018), and a student discriminator learns the
labels. The student sees generated rows and noisy labels only, and the generator the student, so
that everything after the votes is post-processing.

What differs from the published one: the generator starts from charged class-conditional one-way
tables and is held to them; the number of teachers follows from the charged number of patients; how
far the generator follows the student falls with the noise on votes; one patient is counted as
moving all votes of its teacher, whatever the votes are (see `privacy.pate`).

Teachers need many patients: with a few hundred, noise drowns the votes, and what the model knows is
what the tables say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import GaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import taken_as_public
from pegai.synth.grids import class_shares, code_tables
from pegai.synth.latent import Begun, LatentMethod
from pegai.synth.latent_config import ConditionedConfig
from pegai.synth.latent_fitted import FittedLatent
from pegai.synth.looks import COUNTS, hold_back
from pegai.synth.rows import encode_rows
from pegai.synth.running import Run

if TYPE_CHECKING:
    from pegai.synth.networks.teachers import Judge, Rounds
    from pegai.synth.networks.training import TrainingOutcome

VOTES = "votes of teachers, GNMax"
HAIR = 1e-9


@final
@dataclass(frozen=True)
class PATEPrivacy:
    """Settings that the guarantee depends on; all public, none read from the data.

    Attributes:
        rounds: How often teachers vote.
        questions: Generated rows a round.
        patients_a_teacher: About how many patients a teacher gets.
        counts_share: Share of the budget (in mu^2 of Gaussian DP) for the one-way tables.
        grid_bins: Cells of the public grid of a numeric column.
        max_bins: At most about this many bins, made by joining cells of the grid.
        hidden: Width of student and generator.
    """

    rounds: int = 30
    questions: int = 128
    patients_a_teacher: int = 40
    counts_share: float = 0.6
    grid_bins: int = 24
    max_bins: int = 8
    hidden: int = 64

    def __post_init__(self) -> None:
        if min(self.rounds, self.questions, self.patients_a_teacher) < 1:
            raise UsageError("rounds, questions and patients_a_teacher must be at least 1")
        if not 0 < self.counts_share < 1 or min(self.grid_bins, self.max_bins, self.hidden) < 2:
            raise UsageError("counts_share must lie between 0 and 1, bins and hidden be at least 2")


@final
@dataclass(frozen=True)
class PATEGANConfig(ConditionedConfig):
    """Settings of PATE-GAN, besides those of `ConditionedConfig`.

    `max_steps` is not used: there are as many steps as rounds ask for.

    Attributes:
        teacher_steps: Steps of each teacher before it votes.
        student_steps: Steps of the student, and of the generator, after a vote.
        privacy: What the guarantee depends on.
    """

    teacher_steps: int = 5
    student_steps: int = 20
    privacy: PATEPrivacy = field(default_factory=PATEPrivacy)  # pyright: ignore

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.teacher_steps, self.student_steps) < 1:
            raise UsageError("teacher_steps and student_steps must be at least 1")


@final
@dataclass(frozen=True, eq=False)
class FittedPATEGAN(FittedLatent):
    """A trained PATE-GAN."""

    method: ClassVar[str] = "pategan"


@final
class PATEGAN(LatentMethod[PATEGANConfig]):
    """Teachers, a student and a generator.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> model = PATEGAN(PATEGANConfig(privacy=PATEPrivacy(rounds=2))).fit(table, rng=0)
        >>> len(model.sample(5, rng=0))
        5
    """

    name = "pategan"
    title = "PATE-GAN"
    fitted = FittedPATEGAN

    def __init__(self, config: PATEGANConfig | None = None) -> None:
        self.config = config or PATEGANConfig()

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """One Gaussian look at d one-way tables, then the rounds of votes."""
        self.config.heuristic.refuse_with_privacy()
        settings = self.config.privacy
        # The accountant adds 1 / z^2 up in floats: a hair more noise keeps the sum below.
        whole = gaussian_noise_multiplier(privacy.epsilon, privacy.delta) * (1 + HAIR)
        votes = whole * (settings.rounds / (1 - settings.counts_share)) ** 0.5
        events = (
            GaussianEvent(COUNTS, whole / settings.counts_share**0.5),
            GaussianEvent(VOTES, votes, settings.rounds),
        )
        return Plan.make(events, delta=privacy.delta, public=taken_as_public(schema))

    def _fit_plain(self, table: Table, rng: np.random.Generator, run: Run) -> FittedLatent:
        from pegai.synth.networks.adversarial import explained
        from pegai.synth.networks.training import MAX_HELD_BACK

        config = self.config
        encoder = self._encoder(table)
        codes, units = encode_rows(table, encoder), table.unit_codes()
        learned, held = hold_back(units, config.held_back, rng)
        condition = self.condition(table.schema, private=False)
        shares = class_shares(code_tables(encoder, codes[learned], condition), smoothing=0.5)
        start = self._start(encoder, condition, shares, config.hidden, run, rng)
        begun = Begun(encoder, condition, start, float(units.max()) + 1)
        judged = codes[rng.permutation(held if held.size else learned)[:MAX_HELD_BACK]]
        outcome = self._taught(
            table.take(learned),
            codes[learned],
            begun,
            judge=lambda model: explained(model, start.layout, judged),
            session=None,
            rng=rng,
            run=run,
        )
        noisy = config.heuristic.on_weights(outcome.weights, rng)
        return self.done(begun, replace(outcome, weights=noisy), None, None)

    def _fit_private(
        self, table: Table, session: Session, rng: np.random.Generator, run: Run
    ) -> FittedLatent:
        begun = self.begin_private(self._look(table, session), rng, run)
        codes = encode_rows(table, begun.encoder)
        outcome = self._taught(table, codes, begun, judge=None, session=session, rng=rng, run=run)
        return self.done(begun, outcome, None, session.guarantee())

    def _taught(
        self,
        table: Table,
        codes: np.ndarray,
        begun: Begun,
        *,
        judge: Judge | None,
        session: Session | None,
        rng: np.random.Generator,
        run: Run,
    ) -> TrainingOutcome:
        from pegai.synth.networks.teachers import train_by_votes

        return train_by_votes(
            begun.start,
            codes,
            _patients(table),
            rates=self.rates(),
            rounds=self._rounds(begun.patients),
            session=session,
            judge=judge,
            rng=rng,
            run=run,
        )

    def _rounds(self, patients: float) -> Rounds:
        """What the rounds are, for a number of patients that is charged or needs no charge."""
        from pegai.synth.networks.teachers import Rounds

        settings = self.config.privacy
        wanted = round(max(patients, 0.0) / settings.patients_a_teacher)
        return Rounds(
            label=VOTES,
            rounds=settings.rounds,
            questions=settings.questions,
            teachers=int(np.clip(wanted, 2, 2000)),
            teacher_steps=self.config.teacher_steps,
            student_steps=self.config.student_steps,
        )


def _patients(table: Table) -> Iterable[str | int]:
    """Ids, so that one patient more moves no other to another teacher; row numbers without ids."""
    if table.schema.unit is None:
        return range(len(table))
    return [str(name) for name in table.frame[table.schema.unit].to_list()]
