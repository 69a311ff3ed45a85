"""Missingness: whether as much is missing, and in the same patterns.

What was not measured is a clinical fact. `rates` compares each column's missing rate, `patterns`
which columns are missing *together*: the total variation distance of the patterns of whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded


@dataclass(frozen=True, eq=False)
class Missingness:
    """How missing values differ.

    Attributes:
        names: The columns, numeric ones first.
        rates: Synthetic minus real missing rate; shape (columns, 1 + groups): against the whole
            holdout, then without each jackknife group.
        patterns: Total variation distance of row patterns; shape (1 + groups,).
        any: Whether anything is missing in either table.
    """

    names: tuple[str, ...]
    rates: np.ndarray
    patterns: np.ndarray
    any: bool

    @property
    def mean_rate(self) -> np.ndarray:
        """Mean absolute difference of the rates; shape (1 + groups,)."""
        return np.abs(self.rates).mean(axis=0)


def missingness(
    holdout: Encoded, group: np.ndarray, groups: int, synthetic: Encoded
) -> Missingness:
    """Compare what is missing.

    Args:
        holdout: Real patients.
        group: A jackknife group for each row, from 0.
        groups: How many groups.
        synthetic: The synthetic table.
    """
    real, fake = _mask(holdout), _mask(synthetic)
    member = np.eye(groups)[group]
    absent = with_out(member.T @ real)
    rows = with_out(member.sum(axis=0)[:, None])
    rates = fake.mean(axis=0) - absent / np.maximum(rows, 1)
    return Missingness(
        holdout.features.names, rates.T, _patterns(real, group, groups, fake),
        bool(real.any() or fake.any()),
    )  # fmt: skip


def with_out(parts: np.ndarray) -> np.ndarray:
    """The sum over parts, then the sum without each; shape (1 + parts, ...)."""
    total = parts.sum(axis=0, keepdims=True)
    return np.concatenate([total, total - parts])


def _patterns(real: np.ndarray, group: np.ndarray, groups: int, fake: np.ndarray) -> np.ndarray:
    # A random 64-bit key a column: their sum (modulo 2^64) stands for the pattern.
    keys = np.random.default_rng(0).integers(2**63, size=real.shape[1], dtype=np.uint64)
    both = np.vstack([real, fake]).astype(np.uint64)
    code = np.unique((both * keys).sum(axis=1, dtype=np.uint64), return_inverse=True)[1]
    label = np.concatenate([group, np.full(fake.shape[0], groups)])
    size = int(code.max(initial=0)) + 1
    counts = np.bincount(label * size + code, minlength=(groups + 1) * size)
    counts = counts.reshape(groups + 1, size).astype(float)
    reals = with_out(counts[:groups])
    reals /= np.maximum(reals.sum(axis=1, keepdims=True), 1)
    return np.abs(reals - counts[groups] / max(1, fake.shape[0])).sum(axis=1) / 2


def _mask(table: Encoded) -> np.ndarray:
    return np.hstack([np.isnan(table.numbers), table.codes < 0]).astype(float)
