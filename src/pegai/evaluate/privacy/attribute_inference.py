"""Attribute inference: does the synthetic table tell a secret of the patients it was made from?

The attacker has the synthetic table and, of one patient, the known columns (`scenario`); it guesses
the secret. Two attackers are run, one for memory and one for pattern:

* `lookup`: the best guess of the synthetic rows that agree on all known columns; where none does,
  of the nearest ones (all that are equally near).
* `model`: the best of k nearest neighbours, gradient boosting and a linear model, chosen by a split
  of the synthetic table, before any real patient is looked at.

Both guess for training patients and for holdout patients. The *leak* is the difference (see
`contrast`): what holdout patients are guessed as well tells of the population, not of the data. It
is given apart, as the gain over always guessing the most common value, and is utility. The larger
leak of the two attackers counts, its interval corrected for both; over secrets the same.

Sources: Stadler, Oprisanu and Troncoso (2022), "Synthetic Data - Anonymisation Groundhog Day"
(attribute inference with a control); Houssiau et al. (2022), TAPAS; the correction is Holm's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.evaluate.features import Encoded, stack
from pegai.evaluate.privacy.contrast import Leak, Outcome, by_patient, choose_patients, worst
from pegai.evaluate.privacy.guessing import MISSING, Secret, best_guess, best_guesses
from pegai.evaluate.privacy.neighbours import CodedPoints, Neighbours, nearest_neighbours
from pegai.evaluate.privacy.scenario import Scenario, restrict
from pegai.evaluate.tiers import Tier
from pegai.evaluate.utility.learners import Matrices, class_scores, matrices, predictions
from pegai.streams import Streams

ATTACKERS: dict[str, str] = {"lookup": "nearest records", "model": "trained model"}
"""The attackers and their titles."""

MAX_PATIENTS = 4_000
"""Patients a side that are attacked."""

MAX_MODEL_ROWS = 10_000
MAX_LEVELS = 12
"""Levels that a model tells apart: the most common ones of the synthetic table."""

_NEIGHBOURS = 10
_SPLIT_ROWS = 2_400
_MIN_SPLIT_ROWS = 20
_MIN_MISSING = 0.01
_TREES = 80
_MIN_ROUNDS, _MAX_ROUNDS = 8, 40
_EQUAL = 1e-9


@dataclass(frozen=True, eq=False)
class InferenceTargets:
    """The patients to attack, drawn once for all synthetic tables.

    Attributes:
        rows: Coded rows of both sides, members first.
        member: Whether each row is a training patient's; shape (rows,).
        secrets: The secrets that have a known column.
        scenario: Which columns are known for each.
        model_rows: Training rows of a model.
        streams: Seeds.
    """

    rows: Encoded
    member: np.ndarray
    secrets: tuple[Secret, ...]
    scenario: Scenario
    model_rows: int
    streams: Streams


@dataclass(frozen=True, eq=False)
class Inference:
    """What was guessed of one secret from one synthetic table.

    Attributes:
        outcomes: Attacker to its success.
        chosen: Which learner the model attacker is.
        gain: Success of the model attacker less that of the most common value, for each holdout
            patient, -1 to 1.
    """

    outcomes: dict[str, Outcome]
    chosen: str
    gain: np.ndarray


def fit_inference(
    train: Encoded,
    holdout: Encoded,
    scenario: Scenario,
    secrets: Sequence[Secret],
    streams: Streams,
    *,
    tier: Tier,
) -> InferenceTargets:
    """Choose the patients to attack."""
    rng = streams.child("attribute-inference").get("split")
    limit = min(tier.max_targets // 2, MAX_PATIENTS)
    members, others = choose_patients(train, limit, rng), choose_patients(holdout, limit, rng)
    return InferenceTargets(
        stack(members, others),
        np.arange(len(members) + len(others)) < len(members),
        tuple(s for s in secrets if scenario.known(s.name)),
        scenario,
        min(tier.max_model_rows // 2, MAX_MODEL_ROWS),
        streams,
    )


def infer_attributes(targets: InferenceTargets, synthetic: Encoded) -> dict[str, Inference]:
    """Attack every secret with one synthetic table; secret to what came of it."""
    # Loaded before the threads are limited: a limit does not reach what is loaded after it.
    import sklearn.ensemble  # noqa: F401

    found: dict[str, Inference] = {}
    by_known: dict[tuple[str, ...], list[Secret]] = {}
    for secret in targets.secrets:
        by_known.setdefault(targets.scenario.known(secret.name), []).append(secret)
    for known, secrets in by_known.items():
        reference, rows = restrict(synthetic, known), restrict(targets.rows, known)
        near = nearest_neighbours(CodedPoints(rows), CodedPoints(reference), _NEIGHBOURS)
        # Threads of small learners wait for each other longer than they work.
        with threadpool_limits(1):
            for secret in secrets:
                values = secret.values(synthetic)
                found[secret.name] = _attack(targets, secret, (reference, rows), values, near)
    return found


def _attack(
    targets: InferenceTargets,
    secret: Secret,
    sides: tuple[Encoded, Encoded],
    values: np.ndarray,
    near: Neighbours,
) -> Inference:
    reference, rows = sides
    truth = secret.values(targets.rows)
    rng = targets.streams.child(f"attribute-inference/{secret.name}").get("model")
    chosen = _choose_learner(reference, values, secret, rng)
    if chosen == "k_nearest_neighbours":
        modelled = _of_neighbours(values, near.index, secret)
    else:
        part = _some(len(reference), targets.model_rows, rng)
        modelled = _learned(chosen, reference.take(part), values[part], rows, secret, rng)
    guesses = {"lookup": _looked_up(sides, values, near, secret), "model": modelled}
    right = {name: secret.right(guess, truth) for name, guess in guesses.items()}
    common = secret.right(np.full(truth.shape, best_guess(values, secret)), truth)
    units, other = targets.rows.units, ~targets.member
    gain = right["model"].astype(np.float64) - common
    return Inference(
        {name: _outcome(targets, success) for name, success in right.items()},
        chosen,
        by_patient(units[other], gain[other]),
    )


def _outcome(targets: InferenceTargets, success: np.ndarray) -> Outcome:
    units, member = targets.rows.units, targets.member
    return Outcome(
        by_patient(units[member], success[member]), by_patient(units[~member], success[~member])
    )


def _looked_up(
    sides: tuple[Encoded, Encoded], values: np.ndarray, near: Neighbours, secret: Secret
) -> np.ndarray:
    """Guesses from rows that agree on the known columns, else from the nearest rows."""
    reference, rows = sides
    tied = near.distances <= near.distances[:, :1] + _EQUAL
    target = np.broadcast_to(np.arange(len(rows))[:, None], tied.shape)[tied]
    nearest = best_guesses(target, values[near.index[tied]], secret).of(
        np.arange(len(rows)), MISSING
    )
    exact = best_guesses(reference.keys, values, secret).of(rows.keys, np.nan)
    return np.where(np.isnan(exact), nearest, exact)


def _of_neighbours(values: np.ndarray, index: np.ndarray, secret: Secret) -> np.ndarray:
    """The best guess of each target's neighbours; shape (targets,)."""
    target = np.repeat(np.arange(index.shape[0]), index.shape[1])
    return best_guesses(target, values[index.ravel()], secret).of(
        np.arange(index.shape[0]), MISSING
    )


def _some(rows: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(rows) if rows <= limit else np.sort(rng.choice(rows, limit, replace=False))


def _choose_learner(
    reference: Encoded, values: np.ndarray, secret: Secret, rng: np.random.Generator
) -> str:
    """The learner that guesses best on a third of the synthetic rows from the other two."""
    linear = "linear_regression" if secret.is_number else "logistic_regression"
    names = ("k_nearest_neighbours", "gradient_boosting", linear)
    part = _some(len(reference), _SPLIT_ROWS, rng)
    if part.size < _MIN_SPLIT_ROWS:
        return names[0]
    part = rng.permutation(part)
    test, fit = np.sort(part[: part.size // 3]), np.sort(part[part.size // 3 :])
    left, right = reference.take(fit), reference.take(test)
    near = nearest_neighbours(CodedPoints(right), CodedPoints(left), _NEIGHBOURS)
    hits = {names[0]: secret.right(_of_neighbours(values[fit], near.index, secret), values[test])}
    for name in names[1:]:
        guess = _learned(name, left, values[fit], right, secret, rng)
        hits[name] = secret.right(guess, values[test])
    return max(names, key=lambda name: hits[name].mean())


def _learned(
    name: str,
    training: Encoded,
    values: np.ndarray,
    test: Encoded,
    secret: Secret,
    rng: np.random.Generator,
) -> np.ndarray:
    """Guesses of a learner; shape (test rows,)."""
    if not secret.is_number:
        return _classified(name, training, values, test, rng)
    absent = values == MISSING
    linear = "logistic_regression" if name == "linear_regression" else name
    if absent.all():
        return np.full(len(test), MISSING)
    kept = training.take(~absent)
    data = matrices(kept, test)
    if name == "gradient_boosting":
        guess = _boosted(data, values[~absent], 1, rng)
    else:
        guess = predictions(name, data, values[~absent], rng)
    guess = _nearest_value(np.unique(values[~absent]), guess)
    if absent.mean() < _MIN_MISSING:
        return guess
    missing = _classified(linear, training, absent.astype(np.float64), test, rng)
    return np.where(missing > 0.5, MISSING, guess)


def _classified(
    name: str, training: Encoded, values: np.ndarray, test: Encoded, rng: np.random.Generator
) -> np.ndarray:
    levels, counts = np.unique(values, return_counts=True)
    levels = np.sort(levels[np.argsort(-counts, kind="stable")[:MAX_LEVELS]])
    kept = np.isin(values, levels)
    code = np.searchsorted(levels, values[kept])
    data = matrices(training.take(kept), test)
    if name == "gradient_boosting" and levels.size > 1:
        return levels[_boosted(data, code, levels.size, rng).astype(np.int64)]
    return levels[class_scores(name, data, code, levels.size, rng).argmax(axis=1)]


def _boosted(
    data: Matrices, target: np.ndarray, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Predicted classes or numbers of a booster of about `_TREES` trees, whatever the classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    left, right = data.trees
    if left.shape[1] == 0 or target.size < 2:
        return np.full(right.shape[0], np.bincount(target).argmax() if classes > 1 else target[0])
    kind = HistGradientBoostingClassifier if classes > 1 else HistGradientBoostingRegressor
    rounds = _TREES // (classes if classes > 2 else 1)
    model: Any = kind(
        max_iter=min(_MAX_ROUNDS, max(_MIN_ROUNDS, rounds)),
        learning_rate=0.2,
        max_leaf_nodes=12,
        min_samples_leaf=min(20, max(2, target.size // 20)),
        l2_regularization=1.0,
        categorical_features=data.nominal,  # pyright: ignore[reportArgumentType]
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=int(rng.integers(2**31)),
    )
    model.fit(left, target)
    return np.asarray(model.predict(right), dtype=np.float64)


def _nearest_value(known: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Each guess moved to the nearest value that the synthetic table has."""
    place = np.clip(np.searchsorted(known, guess), 1, max(1, known.size - 1))
    below, above = known[place - 1], known[np.minimum(place, known.size - 1)]
    return np.where(guess - below <= above - guess, below, above)


def secret_leak(name: str, tables: Sequence[Inference]) -> Leak | None:
    """The larger leak of the two attackers for one secret; None is not assessed."""
    return worst({f"{name}, {a}": [table.outcomes[a] for table in tables] for a in ATTACKERS})


def worst_secret(tables: Sequence[Mapping[str, Inference]]) -> Leak | None:
    """The largest leak of all secrets and attackers, corrected for all of them."""
    attacks = {
        f"{secret}, {attacker}": [table[secret].outcomes[attacker] for table in tables]
        for secret in tables[0]
        for attacker in ATTACKERS
    }
    return worst(attacks)
