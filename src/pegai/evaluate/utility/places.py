"""One model of each training table, tested on the patients of several places.

The headline learner of TSTR is trained once and asked everywhere, so that many places cost little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.baselines import single_threaded
from pegai.evaluate.features import Encoded, encode, fit_features
from pegai.evaluate.utility.learners import HEADLINE, fit_classifier, fit_coding
from pegai.evaluate.utility.metrics import class_auc
from pegai.evaluate.utility.tstr import Target, find_target, target_values
from pegai.streams import Streams


def auc_by_place(
    training: Sequence[Table], real: Table, places: Mapping[str, Table], *, seed: int
) -> dict[str, float]:
    """Area under the ROC curve at each place, the mean over training tables.

    Args:
        training: What models are trained on, each for itself.
        real: Real training patients, by whom columns are coded.
        places: Real patients of each place, whom no generator has seen.
        seed: Of the learner.

    Returns:
        By place; NaN where the target is no class, or a place has too few patients of a class.
    """
    features = fit_features(real)
    encoded = {name: encode(features, table) for name, table in places.items()}
    target, _ = find_target(real.schema, encode(features, real), next(iter(encoded.values())))
    if target is None or not target.is_class:
        return dict.fromkeys(places, math.nan)
    with single_threaded():
        found = [_tested(encode(features, table), encoded, target, seed) for table in training]
    return {name: float(np.mean([f[name] for f in found])) for name in places}


def _tested(
    training: Encoded, places: Mapping[str, Encoded], target: Target, seed: int
) -> dict[str, float]:
    values = target_values(training, target)
    rows = np.flatnonzero(values >= 0)
    coded = training.take(rows).without(target.name)
    coding = fit_coding(coded)
    model = fit_classifier(
        HEADLINE,
        coding.side(coded),
        coding.nominal,
        values[rows],
        classes=len(target.levels),
        rng=Streams(seed).child("utility/places").get("model"),
    )
    found: dict[str, float] = {}
    for name, place in places.items():
        truth = target_values(place, target)
        known = np.flatnonzero(truth >= 0)
        scores = model.scores(coding.side(place.take(known).without(target.name)))
        found[name] = float(class_auc(scores, truth[known], np.ones((1, len(known))))[0])
    return found
