"""Identity risk: can a patient be found in the synthetic table, and does that tell anything new?

The measure of El Emam, Mosquera and Bass (2020), "Evaluating identity disclosure risk in fully
synthetic health data", J Med Internet Res 22(11):e23139, on the scale on which trial documents are
compared with 0.09 (EMA Policy 0070, Health Canada). What is computed, with n training patients:

    risk = (n / N) * (1 / n) * sum over patients s of  I_s * R_s / f_s

| symbol | meaning here |
|---|---|
| f_s | training patients with the quasi-identifiers of s, s included |
| I_s | 1 if a synthetic row agrees with s on all quasi-identifiers (missing agrees with missing) |
| R_s | 1 if the agreeing rows' best guess is right, and new, for 5 % of the secrets, at least one |
| n / N | sampling fraction; 1, the worst case, unless the size of the population is given |

A value is *new* if fewer than half of the training patients share it: that somebody has what most
have is no discovery; nor is it that nothing is recorded of the patient. Categories are shared and
guessed exactly, numbers within 1.48 median absolute deviations (about one standard deviation). A
patient with several rows counts with the worst one.

Taken differently from the paper: numbers are compared in a window around the patient's value, not
in clusters by k-means; class sizes of the population are those of the sample times N / n, so that
the two directions of attack (from a patient to the table, from the table to a patient) give one
figure. Left out: the discounts for attackers who can't verify a match (0.23 of matches are verified
in the paper's review of attacks) and for errors in the data. Both would make the figure smaller.

The threshold is one for *identity* disclosure; it says nothing about an attack's AUC or F1. The
baseline is the same figure of holdout patients, each put among the training patients: it is what a
table without memory gives. The difference of the two is given as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.privacy.contrast import Outcome
from pegai.evaluate.privacy.guessing import MISSING, Secret, best_guesses
from pegai.evaluate.privacy.scenario import Scenario, by_hash, restrict

THRESHOLD = 0.09
"""Of public releases of clinical trial documents; a policy's matter, shown beside the figure."""

NEW_BELOW = 0.5
SECRET_SHARE = 0.05
DEVIATIONS = 1.48
MAX_SECRETS = 20


@dataclass(frozen=True, eq=False)
class IdentityTargets:
    """Everything about the real patients.

    Attributes:
        known: The quasi-identifiers.
        secrets: What may be learned, with tolerances of this measure.
        train: The training side.
        holdout: The holdout side.
        fraction: The sampling fraction.
    """

    known: tuple[str, ...]
    secrets: tuple[Secret, ...]
    train: IdentitySide
    holdout: IdentitySide
    fraction: float


@dataclass(frozen=True, eq=False)
class IdentitySide:
    """One side's rows.

    Attributes:
        units: Patient of each row; shape (rows,).
        keys: Hash of the quasi-identifiers.
        size: f_s of each row.
        truth: Secret to values.
        new: Secret to whether fewer than half of the training patients share the value.
    """

    units: np.ndarray
    keys: np.ndarray
    size: np.ndarray
    truth: dict[str, np.ndarray]
    new: dict[str, np.ndarray]


def fit_identity(
    train: Encoded, holdout: Encoded, scenario: Scenario, *, population: int | None = None
) -> IdentityTargets | None:
    """Class sizes and novelty of the real patients; None without quasi-identifiers or secrets.

    Args:
        train: The training table.
        holdout: Patients never seen.
        scenario: Roles; without named secrets every other column is one, up to `MAX_SECRETS`.
        population: Patients of the population that the training patients were drawn from.
    """
    known = scenario.quasi_identifiers
    rest = [c for c in scenario.columns if c not in known]
    names = scenario.secrets if scenario.named else tuple(sorted(by_hash(rest)[:MAX_SECRETS]))
    if not known or not names:
        return None
    secrets = tuple(_secret(name, train) for name in names)
    classes, sizes = _class_sizes(restrict(train, known).keys, train.units)
    patients = int(np.unique(train.units).size)
    fraction = 1.0 if population is None else min(1.0, patients / max(1, population))
    sides = [
        _side(table, known, secrets, train, (classes, sizes + extra))
        for table, extra in ((train, 0), (holdout, 1))
    ]
    return IdentityTargets(known, secrets, sides[0], sides[1], fraction)


def _secret(name: str, train: Encoded) -> Secret:
    numbers = [c.name for c in train.features.numbers]
    if name not in numbers:
        return Secret(name, False, 0.0)
    values = train.numbers[:, numbers.index(name)]
    observed = values[~np.isnan(values)]
    if observed.size == 0:
        return Secret(name, True, 0.0)
    return Secret(name, True, DEVIATIONS * float(np.median(np.abs(observed - np.median(observed)))))


def _class_sizes(keys: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(classes, patients in each)."""
    pairs = np.unique(np.column_stack([keys, units.astype(np.uint64)]), axis=0)
    return np.unique(pairs[:, 0], return_counts=True)


def _side(
    table: Encoded,
    known: tuple[str, ...],
    secrets: Sequence[Secret],
    train: Encoded,
    classes: tuple[np.ndarray, np.ndarray],
) -> IdentitySide:
    keys = restrict(table, known).keys
    place = np.minimum(np.searchsorted(classes[0], keys), classes[0].size - 1)
    size = np.where(classes[0][place] == keys, classes[1][place], 1)
    truth = {s.name: s.values(table) for s in secrets}
    new = {s.name: _shared(truth[s.name], s.values(train), s) < NEW_BELOW for s in secrets}
    return IdentitySide(table.units, keys, size, truth, new)


def _shared(values: np.ndarray, training: np.ndarray, secret: Secret) -> np.ndarray:
    """The share of training rows that have each value."""
    ordered, reach = np.sort(training), secret.tolerance + 1e-9
    high = np.searchsorted(ordered, values + reach, side="right")
    return (high - np.searchsorted(ordered, values - reach, side="left")) / max(1, ordered.size)


def identity_risk(targets: IdentityTargets, synthetic: Encoded) -> Outcome:
    """I_s * R_s / f_s of the patients of both sides, against one synthetic table."""
    keys = restrict(synthetic, targets.known).keys
    sides = (targets.train, targets.holdout)
    learned = [np.zeros(side.keys.size) for side in sides]
    for secret in targets.secrets:
        guesses = best_guesses(keys, secret.values(synthetic), secret)
        for side, count in zip(sides, learned, strict=True):
            guess = guesses.of(side.keys, np.inf)
            right = secret.right(guess, side.truth[secret.name])
            recorded = side.truth[secret.name] != MISSING
            np.add(count, right & side.new[secret.name] & recorded, out=count)
    needed = max(1, math.ceil(SECRET_SHARE * len(targets.secrets)))
    risks = [
        _worst_row(side.units, (count >= needed) / side.size)
        for side, count in zip(sides, learned, strict=True)
    ]
    return Outcome(targets.fraction * risks[0], targets.fraction * risks[1])


def _worst_row(units: np.ndarray, risk: np.ndarray) -> np.ndarray:
    found, inverse = np.unique(units, return_inverse=True)
    worst = np.zeros(found.size)
    np.maximum.at(worst, inverse, risk)
    return worst
