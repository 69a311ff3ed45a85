"""PATE: labels from a noisy vote of teachers, each taught by patients of its own.

Papernot et al. 2017 (arXiv:1610.05755) and 2018 (arXiv:1802.08908), algorithm GNMax: the patients
are divided among teachers; each teacher votes for a class; Gaussian noise is added to the numbers
of votes; the class with the most is the label. Whatever learns from the labels is post-processing.

**What one patient can change.** A patient's rows all go to one teacher, by a rule that looks at
this patient alone (`TeacherPartition`), so adding or removing the patient changes the training set
of that teacher and of no other. The teacher may then vote anyhow. The number of teachers, and so
of votes, is fixed: on one question a vote moves from a class to another, one count falls by 1 and
one rises by 1, which is sqrt(2) in L2. With two classes one count tells both, and changes by 1; the
lead of a class then has the same noise, by half the draws. On q questions asked together the same
teacher may move all its votes: sqrt(2 q), or sqrt(q) with two classes. (Sensitivity 1 with more
than two classes, as is often written, is that of a patient who only adds a vote.)

**Accounting** is that of the Gaussian mechanism, by `Session.gaussian`: t releases of noise
multiplier z are (sqrt(t) / z)-GDP, whatever the votes are. The data-dependent accounting of the
papers, which charges less where teachers agree, is private itself and is not offered: it would have
to be released under privacy too.

**What must not depend on the data**: the number of teachers, of questions and of classes. A teacher
without rows, or one that fails on its rows, votes by a public rule.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import DataError, PrivacyError
from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import GaussianEvent
from pegai.privacy.session import Session

Integers = NDArray[np.int64]

KEY_BYTES = 32
MAX_TEACHERS = 2**20

Teach = Callable[[int, Integers], NDArray[Any]]
"""Votes of a teacher on all questions, shape (questions,), from its number and its rows alone."""


@dataclass(frozen=True, eq=False)
class TeacherPartition:
    """Which teacher each row belongs to; all rows of a patient to one.

    A patient's teacher is a keyed hash (BLAKE2b) of the patient's id, whoever else is in the table:
    adding a patient moves nobody. Where a row is a patient and has no id, its number in the table
    takes the id's place: over the secret key the assignment is one independent draw a row, so that
    a row more or less can be thought in at any place without moving another.

    Sizes of the parts are private.

    Attributes:
        teacher_of: The teacher of each row, shape (rows,).
        teachers: How many there are; public.
    """

    teacher_of: Integers
    teachers: int

    @classmethod
    def of(
        cls, patients: Iterable[str | int], teachers: int, *, key: bytes | None = None
    ) -> TeacherPartition:
        """Divide patients among teachers.

        Args:
            patients: The patient's id of each row; `range(rows)` where a row is a patient.
            teachers: How many; a public choice, such as one for each 20 patients expected.
            key: 32 secret bytes; None draws them. The guarantee does not rest on their secrecy: a
                later call with the same key divides the same way, which audits use.

        Raises:
            PrivacyError: The number of teachers or the key is out of range.
        """
        _check_whole("teachers", teachers, 2, MAX_TEACHERS)
        key = secrets.token_bytes(KEY_BYTES) if key is None else key
        if len(key) != KEY_BYTES:
            raise PrivacyError(f"the key of a partition has {KEY_BYTES} bytes, not {len(key)}")
        found = [_teacher(str(patient), teachers, key) for patient in patients]
        return cls(np.array(found, np.int64), teachers)

    def rows(self, teacher: int) -> Integers:
        """The rows of one teacher, in the table's order; may be none."""
        return np.flatnonzero(self.teacher_of == teacher).astype(np.int64)

    def collect_votes(self, teach: Teach, *, questions: int, classes: int) -> Integers:
        """Ask every teacher.

        A teacher without rows, one that raises for what its rows are (`DataError`, `ValueError`,
        `ArithmeticError`), and each single vote that is no class, give way to `public_vote`: were
        it an error instead, one patient could be seen in it.

        Args:
            teach: Called with a teacher's number and its rows, shape (its rows,), int64; gives its
                votes on all questions. It must use nothing private besides these rows.
            questions: How many; public.
            classes: How many; public.

        Returns:
            Votes, int64 of shape (teachers, questions); private.

        Raises:
            PrivacyError: A number is out of range, or a teacher gives votes of another shape.
        """
        _check_whole("questions", questions, 1, 2**40)
        _check_classes(classes)
        votes = np.empty((self.teachers, questions), np.int64)
        for teacher in range(self.teachers):
            rule = public_vote(teacher, questions, classes)
            votes[teacher] = _asked(teach, teacher, self.rows(teacher), rule, classes)
        return votes


def public_vote(teacher: int, questions: int, classes: int) -> Integers:
    """How a teacher votes that has nothing to go by: classes in turn, so that none is favoured."""
    return (teacher + np.arange(questions, dtype=np.int64)) % classes


def plan_votes(label: str, *, epsilon: float, delta: float, releases: int) -> GaussianEvent:
    """The event of a series of noisy votes that costs (epsilon, delta) as a whole.

    Args:
        label: Of the event.
        epsilon: Of all releases together.
        delta: Of all releases together.
        releases: How often `noisy_votes` will run, on any number of questions each time.

    Raises:
        PrivacyError: A figure is out of range.
    """
    _check_whole("releases", releases, 1, 2**40)
    # The accountant adds 1 / z^2 up in floats: a hair more noise keeps the sum below.
    multiplier = gaussian_noise_multiplier(epsilon, delta) * releases**0.5 * (1 + 1e-12)
    return GaussianEvent(label, multiplier, releases)


def vote_sensitivity(questions: int, classes: int) -> float:
    """L2 bound on what one patient changes of the numbers of votes that are released."""
    _check_classes(classes)
    return (questions * (1.0 if classes == 2 else 2.0)) ** 0.5


def vote_deviation(noise_multiplier: float, *, questions: int, classes: int) -> float:
    """Standard deviation, in votes, of the noise between two classes; public.

    It is to be compared with the lead of a class over the next: with fewer teachers than several
    times this, labels are noise.
    """
    # Two classes: the lead is 2 n - teachers, for one noisy count n. More: of two noisy counts.
    of_lead = 2.0 if classes == 2 else 2.0**0.5
    return noise_multiplier * vote_sensitivity(questions, classes) * of_lead


def noisy_votes(session: Session, label: str, votes: Integers, *, classes: int) -> Integers:
    """The labels that teachers vote for, under noise (GNMax); one use of a planned event.

    Args:
        session: Admits `label`.
        label: A planned Gaussian event, as by `plan_votes`.
        votes: A class for each teacher and question, shape (teachers, questions).
        classes: How many there are; public.

    Returns:
        Labels, int64 of shape (questions,); the smaller class wins a tie.

    Raises:
        PrivacyError: Votes are of the wrong shape, or not classes.
        PlanError: No such planned event, or it is used up.
    """
    return noisy_vote_counts(session, label, votes, classes=classes).argmax(axis=1)


def noisy_vote_counts(session: Session, label: str, votes: Integers, *, classes: int) -> Integers:
    """The numbers of votes with noise, shape (questions, classes); costs what `noisy_votes` does.

    With two classes the rows sum to the number of teachers.
    """
    counts = vote_counts(votes, classes)
    teachers, questions = votes.shape
    released = counts[:, :1] if classes == 2 else counts
    noisy = session.gaussian(
        label, released, l2_sensitivity=vote_sensitivity(questions, classes)
    ).astype(np.int64)
    return np.hstack([noisy, teachers - noisy]) if classes == 2 else noisy


def vote_counts(votes: Integers, classes: int) -> Integers:
    """How many teachers vote for each class, shape (questions, classes); private.

    Raises:
        PrivacyError: Votes are of the wrong shape, or not classes.
    """
    _check_classes(classes)
    if votes.ndim != 2 or votes.dtype.kind not in "iu" or 0 in votes.shape:
        raise PrivacyError("votes are whole numbers of shape (teachers, questions), not empty")
    if votes.min() < 0 or votes.max() >= classes:
        raise PrivacyError(
            f"a vote is none of the {classes} classes",
            hint="TeacherPartition.collect_votes lets the public rule vote instead",
        )
    questions = votes.shape[1]
    cells: Integers = np.arange(questions, dtype=np.int64) * classes + votes.astype(np.int64)
    flat = np.bincount(cells.ravel(), minlength=questions * classes)
    return flat.reshape(questions, classes).astype(np.int64)


def _teacher(patient: str, teachers: int, key: bytes) -> int:
    # "surrogatepass": an id may be any text, and none may be an error.
    raw = patient.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(raw, key=key, digest_size=16, person=b"pegai-teachers").digest()
    return int.from_bytes(digest, "big") % teachers


def _asked(teach: Teach, teacher: int, rows: Integers, rule: Integers, classes: int) -> Integers:
    """The votes of one teacher, with the public rule wherever it has none."""
    if rows.size == 0:
        return rule
    try:
        given = np.asarray(teach(teacher, rows)).astype(np.float64)
    except (DataError, ValueError, ArithmeticError):
        return rule
    if given.shape != rule.shape:
        # The shape is the caller's code, not the data: this says nothing about a patient.
        raise PrivacyError(f"a teacher gives votes of shape {rule.shape}, not {given.shape}")
    valid = (given >= 0) & (given < classes) & (given == np.floor(given))
    return np.where(valid, given, rule).astype(np.int64)


def _check_classes(classes: int) -> None:
    _check_whole("classes", classes, 2, 2**20)


def _check_whole(name: str, value: int, least: int, most: int) -> None:
    # By its type, not by its value: a count that is a float comes from a mistake.
    if type(value) is not int or not least <= value <= most:
        raise PrivacyError(f"{name} must be a whole number from {least} to {most:,}, not {value!r}")
