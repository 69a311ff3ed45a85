"""Shadow stacking: an attacker who knows the generator's method and refits it on patients it knows.

The attacker owns a reference table of other real patients. It fits the generator on random halves
of it (shadow fits), attacks each shadow as the panel attacks the release, and so learns, from
patients whose membership it knows, how to weigh the attacks against each other; the learned
weighing then scores the release (Shokri et al. 2017; stacking as in Stadler et al. 2022). The
targets take no part in it, so the permutation test of the stacked score is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.features import Features, encode
from pegai.evaluate.privacy.attacks import ATTACKS, Attacked, attack
from pegai.evaluate.privacy.targets import Targets, fit_targets
from pegai.streams import Streams

MIN_PATIENTS = 100
"""Reference patients below which shadows say nothing."""

Refit = Callable[[Table, int], Table]
"""A training table and the number of the shadow to a synthetic table of the same size."""


@dataclass(frozen=True, eq=False)
class ShadowModel:
    """How to weigh the attacks, learned from shadow fits; `model` is the fitted classifier."""

    model: Any

    def scores(self, attacked: Attacked) -> np.ndarray:
        """The stacked score of every target; higher means "member"; shape (patients,)."""
        return np.asarray(self.model.predict_proba(_places(attacked)))[:, 1].round(9)


def _places(attacked: Attacked) -> np.ndarray:
    """The rank of each target in each attack, as a logit; shape (patients, attacks).

    Ranks are among the targets themselves, whose labels take no part, so that shadows of another
    size than the release can be learned from.
    """
    from scipy.stats import rankdata

    ranks = np.column_stack([rankdata(attacked.scores[name]) for name in ATTACKS])
    share = ranks / (ranks.shape[0] + 1)
    return np.log(share / (1 - share))


def fit_shadows(
    reference: Table, features: Features, refit: Refit, streams: Streams, *, fits: int
) -> ShadowModel | None:
    """Refit the generator `fits` times on halves of the reference and learn from the outcome.

    Args:
        reference: Other real patients, in neither the training table nor the holdout.
        features: The coding of the evaluation.
        refit: Fits the method and samples a table.
        streams: Seeds.
        fits: Shadow fits.

    Returns:
        None where there are too few reference patients.
    """
    coded = encode(features, reference)
    if np.unique(coded.units).size < MIN_PATIENTS:
        return None
    units = reference.unit_codes()
    found: list[tuple[Attacked, Targets]] = []
    for number in range(fits):
        rng = streams.child("shadow").get("split", number)
        ids = rng.permutation(np.unique(units))
        inside = np.isin(units, ids[: ids.size // 2])
        member, other = (reference.take(np.flatnonzero(side)) for side in (inside, ~inside))
        sides = [encode(features, side) for side in (member, other)]
        targets = fit_targets(sides[0], sides[1], streams.child(f"shadow-{number}"))
        if targets is None:
            return None
        synthetic = encode(features, refit(member, number))
        found.append((attack(targets, synthetic), targets))
    return _learn(found)


def _learn(found: list[tuple[Attacked, Targets]]) -> ShadowModel:
    from sklearn.ensemble import HistGradientBoostingClassifier

    matrix = np.vstack([_places(attacked) for attacked, _ in found])
    label = np.concatenate([targets.member for _, targets in found])
    model = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        monotonic_cst=[1] * len(ATTACKS),  # a higher score never speaks for a non-member
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=0,
    )
    return ShadowModel(model.fit(matrix, label))
