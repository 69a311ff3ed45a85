"""Rounds of PATE-GAN: teachers vote, a student learns noisy labels, the generator the student.

Each teacher has its own weights, its own draws and its own patients, so that one patient can move
the votes of one teacher and nothing else before the noise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pegai.privacy.pate import TeacherPartition, noisy_votes, vote_counts, vote_deviation
from pegai.privacy.session import Session
from pegai.synth.grids import gaussian_multiplier
from pegai.synth.networks.adversarial import Rates, new_critic, optimizer
from pegai.synth.networks.layout import Start
from pegai.synth.networks.nets import ConditionalGenerator, linear
from pegai.synth.networks.private import FAKE_BATCH, Anchor
from pegai.synth.networks.training import TrainingOutcome, arrays_of, average
from pegai.synth.running import Run

TEACHER_HIDDEN = 16
TEACHER_BATCH = 64
TEACHER_RATE = 5e-3
REMEMBERED = 8
"""Rounds whose labels the student learns from: older ones are of another generator."""


Judge = Callable[[ConditionalGenerator], float]


@dataclass(frozen=True)
class Rounds:
    """What is done; all of it public or charged.

    Attributes:
        label: Of the planned votes.
        rounds: How often teachers vote.
        questions: Generated rows a round.
        teachers: How many.
        teacher_steps: Steps of each teacher a round.
        student_steps: Steps of student and generator a round.
    """

    label: str
    rounds: int
    questions: int
    teachers: int
    teacher_steps: int
    student_steps: int


class Teachers:
    """Discriminators on disjoint patients.

    Args:
        start: The layout.
        codes: Of the real rows, shape (rows, columns).
        patients: The id of each row's patient, or the row's number where a row is a patient.
        rounds: How many teachers, and their steps.
        rng: The key of the partition, and the seed of every teacher in every round.
    """

    def __init__(
        self,
        start: Start,
        codes: np.ndarray,
        patients: Iterable[str | int],
        rounds: Rounds,
        rng: np.random.Generator,
    ) -> None:
        self.layout, self.codes, self.steps = start.layout, codes, rounds.teacher_steps
        key = rng.bytes(32)
        self.partition = TeacherPartition.of(patients, rounds.teachers, key=key)
        width = start.layout.blocks.feature_width
        self.networks = [_teacher(width, int(s)) for s in _seeds(rng, rounds.teachers)]
        self.optimizers = [torch.optim.Adam(n.parameters(), TEACHER_RATE) for n in self.networks]

    def votes(self, fakes: Tensor, questions: Tensor, rng: np.random.Generator) -> np.ndarray:
        """What each teacher takes each question to be, 1 for real; (teachers, questions).

        Args:
            fakes: Generated features to learn from, shape (fakes, features).
            questions: Generated features to vote on, shape (questions, features).
            rng: The seeds of this round.
        """
        seeds = _seeds(rng, self.partition.teachers)

        def teach(teacher: int, rows: np.ndarray) -> np.ndarray:
            self._learn(teacher, rows, fakes, int(seeds[teacher]))
            with torch.no_grad():
                scores = self.networks[teacher](questions).squeeze(1)
            return (scores > 0).cpu().numpy().astype(np.int64)

        return self.partition.collect_votes(teach, questions=len(questions), classes=2)

    def _learn(self, teacher: int, rows: np.ndarray, fakes: Tensor, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        for _ in range(self.steps):
            own = rows[torch.randint(len(rows), (TEACHER_BATCH,), generator=draws).numpy()]
            real = self.layout.blocks.features(self.layout.blocks.one_hot(self.codes[own]))
            fake = fakes[torch.randint(len(fakes), (TEACHER_BATCH,), generator=draws)]
            network = self.networks[teacher]
            loss = F.softplus(network(fake)).mean() + F.softplus(-network(real)).mean()
            self.optimizers[teacher].zero_grad()
            loss.backward()
            self.optimizers[teacher].step()


def train_by_votes(
    start: Start,
    codes: np.ndarray,
    patients: Iterable[str | int],
    *,
    rates: Rates,
    rounds: Rounds,
    session: Session | None,
    judge: Judge | None,
    rng: np.random.Generator,
    run: Run,
) -> TrainingOutcome:
    """Train a generator by rounds of votes.

    Args:
        start: From class-conditional shares, charged where there is a session.
        codes: Of the real rows, shape (rows, columns); seen by teachers only.
        patients: The id of each row's patient, or the row's number where a row is a patient.
        rates: Of student and generator.
        rounds: What is done.
        session: Draws the noise on votes; None counts them as they are.
        judge: Says how good a generator is, so that the best round's is kept; None keeps the last.
        rng: Teachers: key, weights, batches.
        run: Told of the rounds; never of a loss of teachers.
    """
    teachers = Teachers(start, codes, patients, rounds, rng)
    student = new_critic(start)
    learning = optimizer(student, rates.learning_rate)
    slowed = replace(rates, learning_rate=rates.learning_rate * reliability(rounds, session))
    anchor, kept = Anchor(start, slowed, 1.0), copy.deepcopy(start.generator)
    asked: list[tuple[Tensor, Tensor]] = []
    best = TrainingOutcome(arrays_of(kept), 0, () if judge is None else (judge(kept),))
    for done in range(1, rounds.rounds + 1):
        fakes, questions = _features(start, 4 * FAKE_BATCH), _features(start, rounds.questions)
        votes = teachers.votes(fakes, questions, rng)
        labels = _labels(votes, session, rounds.label)
        asked = [*asked, (questions, labels.to(start.layout.device))][-REMEMBERED:]
        for _ in range(rounds.student_steps):
            _student_step(student, learning, asked)
            taught = F.softplus(-student(_features(start, FAKE_BATCH, grad=True))).mean()
            anchor.step(taught)
            average(kept, start.generator, rates.ema)
        best = _better(best, kept, done * rounds.student_steps, judge)
        run.log({"step": done, **({"held_back": best.held_back[-1]} if best.held_back else {})})
        run.progress("asking teachers, teaching the student", done / rounds.rounds)
    return best


def reliability(rounds: Rounds, session: Session | None) -> float:
    """How far labels can be trusted, from 0 to 1: teachers over teachers and noise, in votes.

    Where noise drowns the votes the student learns noise, and a generator that followed it at full
    speed would lose what it started with. Public, and charged.
    """
    if session is None:
        return 1.0
    multiplier = gaussian_multiplier(session.plan, rounds.label)
    noise = vote_deviation(multiplier, questions=rounds.questions, classes=2)
    return rounds.teachers / (rounds.teachers + noise)


def _better(
    best: TrainingOutcome, kept: ConditionalGenerator, steps: int, judge: Judge | None
) -> TrainingOutcome:
    """The better of the best so far and the generator of this round, with one look more."""
    if judge is None:
        return TrainingOutcome(arrays_of(kept), steps)
    looks = (*best.held_back, judge(kept))
    if looks[-1] >= max(looks):
        return TrainingOutcome(arrays_of(kept), steps, looks)
    return TrainingOutcome(best.weights, best.steps, looks)


def _labels(votes: np.ndarray, session: Session | None, label: str) -> Tensor:
    if session is None:
        found = vote_counts(votes, 2).argmax(axis=1)
    else:
        found = noisy_votes(session, label, votes, classes=2)
    return torch.from_numpy(found.astype(np.float32))


def _features(start: Start, n: int, *, grad: bool = False) -> Tensor:
    """What a discriminator sees of generated rows, shape (n, features)."""
    layout = start.layout
    with torch.set_grad_enabled(grad):
        classes = layout.draw_classes(n, start.draws)
        return layout.blocks.features(layout.fake(start.generator, classes, start.draws))


def _student_step(
    student: nn.Module, learning: torch.optim.Optimizer, asked: list[tuple[Tensor, Tensor]]
) -> None:
    rows = torch.cat([questions for questions, _ in asked])
    labels = torch.cat([found for _, found in asked])
    loss = F.binary_cross_entropy_with_logits(student(rows).squeeze(1), labels)
    learning.zero_grad()
    loss.backward()
    learning.step()


def _teacher(width: int, seed: int) -> nn.Sequential:
    draws = torch.Generator().manual_seed(seed)
    return nn.Sequential(
        linear(width, TEACHER_HIDDEN, draws), nn.LeakyReLU(0.2), linear(TEACHER_HIDDEN, 1, draws)
    )


def _seeds(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(2**62, size=count)
