"""Priors of latents: standard normal, or a mixture of normals for each class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROWS_A_PART = 20
MAX_PARTS = 32
MAX_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class LatentMixture:
    """A mixture of normals with diagonal covariance for each class.

    Attributes:
        shares: Of the parts, shape (classes, parts), each row summing to 1.
        means: Shape (classes, parts, latent).
        deviations: Shape (classes, parts, latent).
    """

    shares: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    @classmethod
    def fit(
        cls,
        means: np.ndarray,
        deviations: np.ndarray,
        classes: np.ndarray,
        *,
        count: int,
        rng: np.random.Generator,
    ) -> LatentMixture:
        """Fit to encoded rows.

        Args:
            means: Of each row's latent, shape (rows, latent).
            deviations: Of each row's latent, shape (rows, latent); added to the spread.
            classes: Of each row, shape (rows,).
            count: How many classes there are.
            rng: Which rows are taken where there are many, and where parts start.
        """
        latent = means.shape[1]
        shares = np.zeros((count, MAX_PARTS), np.float32)
        centres = np.zeros((count, MAX_PARTS, latent), np.float32)
        spread = np.ones((count, MAX_PARTS, latent), np.float32)
        for label in range(count):
            mine = np.flatnonzero(classes == label)
            mine = rng.permutation(mine)[:MAX_ROWS]
            parts = min(max(len(mine) // ROWS_A_PART, 1), MAX_PARTS)
            shares[label, 0] = 1.0
            if len(mine) >= ROWS_A_PART:
                drawn = means[mine] + deviations[mine] * rng.standard_normal((len(mine), latent))
                found = _mixture(drawn, parts, rng)
                shares[label, :parts], centres[label, :parts], spread[label, :parts] = found
        return cls(shares, centres, spread)

    @classmethod
    def joined(cls, mixtures: Sequence[LatentMixture], rows: np.ndarray) -> LatentMixture:
        """One mixture of the parts of several.

        Args:
            mixtures: Fitted to the rows of several places.
            rows: Of each place and class, shape (places, classes). Where a place has fewer of a
                class than a part needs it has no say, unless all have.
        """
        heard = np.where(rows >= ROWS_A_PART, rows, 0.0)
        heard = np.where(heard.sum(axis=0) > 0, heard, 1.0)
        weights = heard / heard.sum(axis=0)
        shares = [m.shares * w[:, None] for m, w in zip(mixtures, weights, strict=True)]
        return cls(
            np.concatenate(shares, axis=1, dtype=np.float32),
            np.concatenate([m.means for m in mixtures], axis=1),
            np.concatenate([m.deviations for m in mixtures], axis=1),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """By the name of the attribute."""
        return {"shares": self.shares, "means": self.means, "deviations": self.deviations}

    def draw(self, classes: Tensor, rng: torch.Generator) -> Tensor:
        """Latents of one-hot classes (rows, classes); shape (rows, latent)."""
        device = classes.device
        label = classes.argmax(1)
        shares = torch.from_numpy(self.shares).to(device)[label]
        part = torch.multinomial(shares, 1, generator=rng).squeeze(1)
        mean = torch.from_numpy(self.means).to(device)[label, part]
        deviation = torch.from_numpy(self.deviations).to(device)[label, part]
        noise = torch.randn(mean.shape, generator=rng, device=device)
        return mean + noise * deviation


def _mixture(
    rows: np.ndarray, parts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        parts,
        covariance_type="diag",
        reg_covar=1e-3,
        random_state=int(rng.integers(2**31)),
        max_iter=50,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    shares, means, variances = (
        np.asarray(part, np.float32) for part in (model.weights_, model.means_, model.covariances_)
    )
    return shares, means, np.sqrt(variances)
