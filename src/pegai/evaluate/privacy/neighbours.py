"""Neighbours: exact distances from patients to their nearest rows, in chunks of one matrix product.

Targets may be subsampled by the caller; the reference never is, since a copy whose source was left
out can't be seen.
"""

from __future__ import annotations

import numpy as np

_CELLS = 4_000_000  # distances held at once: 32 MB


def nearest_distances(
    targets: np.ndarray,
    reference: np.ndarray,
    k: int,
    *,
    target_units: np.ndarray | None = None,
    reference_units: np.ndarray | None = None,
) -> np.ndarray:
    """Euclidean distances to the k nearest reference rows, nearest first.

    The neighbours are found by |a|^2 - 2ab + |b|^2 and their distances then computed from the
    differences, so that the distance of a copy is 0 and not a rounding error.

    Args:
        targets: Shape (targets, dimensions), no NaN.
        reference: Shape (rows, dimensions).
        k: Neighbours; fewer where the reference has fewer rows.
        target_units: Patient of each target; with `reference_units`, rows of the same patient are
            not neighbours.
        reference_units: Patient of each reference row.

    Returns:
        Shape (targets, min(k, rows)); infinite where all rows are of the same patient.
    """
    rows, k = reference.shape[0], min(k, reference.shape[0])
    found = np.empty((targets.shape[0], k))
    if k == 0 or targets.shape[0] == 0:
        return found
    squares = np.einsum("ij,ij->i", reference, reference)
    chunk = max(1, _CELLS // rows)
    for start in range(0, targets.shape[0], chunk):
        part = targets[start : start + chunk]
        approximate = part @ reference.T
        approximate *= -2.0
        approximate += squares
        own = None
        if target_units is not None and reference_units is not None:
            own = target_units[start : start + chunk, None] == reference_units[None, :]
            approximate[own] = np.inf
        index = _smallest(approximate, k)
        exact = np.sqrt(((reference[index] - part[:, None, :]) ** 2).sum(axis=2))
        if own is not None:
            exact[np.take_along_axis(own, index, axis=1)] = np.inf
        found[start : start + chunk] = np.sort(exact, axis=1)
    return found


def _smallest(distances: np.ndarray, k: int) -> np.ndarray:
    if k == 1:
        return distances.argmin(axis=1)[:, None]
    if k >= distances.shape[1]:
        return np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    return np.argpartition(distances, k - 1, axis=1)[:, :k]
