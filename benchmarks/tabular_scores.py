"""Scores of synthetic rows against the real holdout.

| score | what |
|---|---|
| `c2st` | AUC of gradient boosting (scikit-learn's defaults, 3 folds) telling rows from holdout |
| `detection` | the same by pegai's evaluation: 5 folds, equal rows kept together |
| `tstr`, `trtr` | AUC on the holdout of boosting trained on synthetic, on real rows |
| `membership_distance` | AUC of the distance to the nearest synthetic row, train against holdout |
| `membership_ratio` | the same of pegai's headline attack, the ratio of distances |
| `membership_best` | the best of pegai's nine attacks, chosen on other patients |
| `copies`, `copies_holdout` | share of synthetic rows, of holdout rows, that equal a training row |
| `missing_pairs_max`, `_mean` | over pairs of columns, how far the rate of "both missing" is off |

`c2st_real` and `missing_pairs_real` are the training rows in place of synthetic ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl
from private_tables import tstr
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from pegai.data.table import Table
from pegai.evaluate.baselines import single_threaded
from pegai.evaluate.features import Encoded, Features, encode, fit_features, tree_matrix
from pegai.evaluate.fidelity.detection import detection
from pegai.evaluate.privacy.attacks import attack
from pegai.evaluate.privacy.membership import best_attack, observed_statistics, target_weights
from pegai.evaluate.privacy.targets import Targets, fit_targets
from pegai.evaluate.tiers import QUICK
from pegai.streams import Streams

FOLDS = 3
TIER = dataclasses.replace(QUICK, max_targets=10_000)
"""Attacks on up to 10,000 patients a side: the standard error of an area is then 0.004."""


@dataclass(frozen=True, eq=False)
class Real:
    """What depends on the real tables of a split only.

    Attributes:
        train: The training table.
        holdout: The holdout.
        features: The coding, fitted on both.
        coded: Both, coded.
        targets: Whom the attacks are tried on; None with too few patients.
        weights: Resamples of the targets.
        streams: Seeds of the attacks.
        scores: The baselines.
    """

    train: Table
    holdout: Table
    features: Features
    coded: tuple[Encoded, Encoded]
    targets: Targets | None
    weights: tuple[np.ndarray, np.ndarray] | None
    streams: Streams
    scores: dict[str, float]


def real(train: Table, holdout: Table, seed: int) -> Real:
    """Baselines of a split."""
    both = Table(pl.concat([train.frame, holdout.frame]), train.schema)
    features, streams = fit_features(both), Streams(seed).child("benchmark")
    coded = encode(features, train), encode(features, holdout)
    with single_threaded():
        targets = fit_targets(*coded, streams, tier=TIER)
        weights = None if targets is None else target_weights(targets, streams)
        scores = {
            "trtr": tstr(train, holdout, _target(train)),
            "c2st_real": c2st(coded[1], coded[0], seed),
            "copies_holdout": float(np.isin(coded[1].keys, coded[0].keys).mean()),
            "missing_pairs_real": float(missing_pairs(holdout, train).max(initial=0.0)),
        }
    return Real(train, holdout, features, coded, targets, weights, streams, scores)


def scores(made: Table, against: Real, seed: int) -> dict[str, float]:
    """Every score of one synthetic table, with the baselines beside."""
    coded, (train, holdout) = encode(against.features, made), against.coded
    off = missing_pairs(against.holdout, made)
    with single_threaded():
        found = {
            "c2st": c2st(holdout, coded, seed),
            "detection": detection(holdout, coded, against.streams).auc,
            "tstr": tstr(made, against.holdout, _target(made)),
            "copies": float(np.isin(coded.keys, train.keys).mean()),
            "missing_pairs_max": float(off.max(initial=0.0)),
            "missing_pairs_mean": float(off.mean()) if off.size else 0.0,
            **membership(against, coded),
        }
    return found | against.scores


def _target(table: Table) -> str:
    assert table.schema.target is not None
    return table.schema.target.name


def c2st(holdout: Encoded, made: Encoded, seed: int) -> float:
    """Cross-validated AUC, as many rows a side; three times on small tables, and averaged."""
    size = min(len(holdout), len(made))
    areas = []
    for repeat in range(3 if size <= 1_000 else 1):
        rng = np.random.default_rng([seed, repeat])
        sides = [t.take(rng.choice(len(t), size, replace=False)) for t in (holdout, made)]
        matrix, nominal = tree_matrix(sides[0])
        matrix = np.vstack([matrix, tree_matrix(sides[1])[0]])
        label = np.repeat([0, 1], size)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=repeat)
        for ours, theirs in folds.split(matrix, label):
            told = ~np.isnan(matrix[ours]).all(axis=0)
            model = HistGradientBoostingClassifier(
                categorical_features=nominal[told], random_state=0
            ).fit(matrix[ours][:, told], label[ours])
            likely = model.predict_proba(matrix[theirs][:, told])[:, 1]
            areas.append(roc_auc_score(label[theirs], likely))
    return float(np.mean(areas))


def membership(against: Real, coded: Encoded) -> dict[str, float]:
    """Attacks of pegai's panel, each patient scored once; nothing with too few patients."""
    if against.targets is None or against.weights is None:
        return {}
    found = attack(against.targets, coded).scores
    member = against.targets.member
    best = best_attack([found], member, against.weights, against.streams)
    return {
        "membership_distance": float(observed_statistics(found["dcr"], member)[0]),
        "membership_ratio": float(observed_statistics(found["nn_ratio"], member)[0]),
        "membership_best": float(best.values.mean()),
    }


def missing_pairs(holdout: Table, made: Table) -> np.ndarray:
    """How far the rate of rows in which both columns of a pair are missing is off; all pairs.

    A column counts as a pair with itself. Columns that are missing nowhere are left out.
    """
    masks = [
        np.column_stack([t.frame[n].is_null().to_numpy() for n in holdout.schema.names])
        for t in (holdout, made)
    ]
    ever = masks[0].any(axis=0) | masks[1].any(axis=0)
    rates = [m[:, ever].astype(float).T @ m[:, ever] / len(m) for m in masks]
    return np.abs(rates[0] - rates[1])[np.triu_indices(int(ever.sum()))]
