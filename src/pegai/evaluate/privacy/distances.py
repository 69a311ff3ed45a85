"""Distances: how near synthetic rows are to training rows, and to rows never seen; a diagnostic.

The distance to the closest record (DCR) and the ratio of the nearest to the second nearest distance
(NNDR) are what many tools call privacy. They aren't: tables that pass such tests give members away
("The DCR Delusion", ESORICS 2025), and a leak of one row in twenty moves the share that is closer
to training by two points. They are shown since readers ask for them, and never decide anything.

Training and holdout are cut to the same number of rows, since the nearest of more rows is nearer.
Rows equally far from both count one half to either: otherwise tables of categories, full of ties,
would look protected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.evaluate.privacy.neighbours import CodedPoints, nearest_distances
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

MAX_TARGETS = 5_000
"""Synthetic rows that are measured."""

MAX_REFERENCE = 50_000
MIN_ROWS = 20
QUANTILE = 0.05
_TIE = 1e-9

FIGURES: dict[str, str] = {
    "dcr_median": "distance to the closest record, median",
    "dcr_5pct": "distance to the closest record, 5 % quantile",
    "nndr_median": "nearest to second nearest distance, median",
    "nndr_5pct": "nearest to second nearest distance, 5 % quantile",
}
"""Figures that are given towards training (value) and towards the holdout (baseline)."""


@dataclass(frozen=True, eq=False)
class References:
    """Training and holdout rows, as many of one as of the other.

    Attributes:
        train: Coded training rows.
        holdout: Coded holdout rows.
        targets: Synthetic rows that are measured.
        streams: Seeds.
    """

    train: Encoded
    holdout: Encoded
    targets: int
    streams: Streams


@dataclass(frozen=True)
class Distances:
    """The figures of one synthetic table.

    Attributes:
        train: Figure to value towards the training rows.
        holdout: The same towards the holdout rows.
        share: Share of synthetic rows that are closer to training, ties one half.
    """

    train: dict[str, float]
    holdout: dict[str, float]
    share: float


def fit_references(
    train: Encoded, holdout: Encoded, streams: Streams, *, tier: Tier
) -> References | None:
    """Cut both sides to one size; None with too few rows."""
    size = min(len(train), len(holdout), MAX_REFERENCE)
    if size < MIN_ROWS:
        return None
    rng = streams.child("distances").get("split")
    cut = [
        side.take(np.sort(rng.choice(len(side), size, replace=False))) for side in (train, holdout)
    ]
    return References(cut[0], cut[1], min(tier.max_targets // 2, MAX_TARGETS), streams)


def distances(references: References, synthetic: Encoded) -> Distances:
    """Measure synthetic rows, at most `references.targets` of them drawn at random."""
    rows = np.arange(len(synthetic))
    if rows.size > references.targets:
        rng = references.streams.child("distances/rows").get("split")
        rows = np.sort(rng.choice(rows.size, references.targets, replace=False))
    points = CodedPoints(synthetic.take(rows))
    near, far = (
        nearest_distances(points, CodedPoints(side), 2)
        for side in (references.train, references.holdout)
    )
    gap = near[:, 0] - far[:, 0]
    share = float(np.where(np.abs(gap) <= _TIE, 0.5, gap < 0).mean()) if gap.size else math.nan
    return Distances(_figures(near), _figures(far), share)


def _figures(found: np.ndarray) -> dict[str, float]:
    """Quantiles are values that occur ("lower"), so that ties stay ties."""
    if found.shape[0] == 0:
        return dict.fromkeys(FIGURES, math.nan)
    # Two rows at distance 0: neither is singled out, the ratio is 1.
    ratio = np.where(
        found[:, 1] > 0, found[:, 0] / np.where(found[:, 1] > 0, found[:, 1], 1.0), 1.0
    )
    both = np.stack([found[:, 0], ratio])
    quantiles = np.quantile(both, [0.5, QUANTILE], axis=1, method="lower").T.ravel()
    return dict(zip(FIGURES, quantiles.tolist(), strict=True))
