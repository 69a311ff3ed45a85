"""Additive scores: what many columns tell together, and nothing that they tell by chance."""

from __future__ import annotations

import numpy as np

from pegai.synth.trees_growing import image_of
from pegai.synth.trees_scores import CELLS, FOLDS, Scores, fit_scores

COLUMNS = 40


def rows_of(n: int, weight: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of forty columns of two levels, and those of one to which each adds a little."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(2, size=(n, COLUMNS)).astype(np.uint8)
    total = weight * (codes - 0.5).sum(axis=1) + rng.normal(size=n)
    own = np.searchsorted(np.quantile(total, [0.25, 0.5, 0.75]), total).astype(np.uint8)
    return codes, own


def fitted(codes: np.ndarray, own: np.ndarray) -> tuple[Scores, np.ndarray]:
    def image(column: np.ndarray) -> np.ndarray:
        counts = np.bincount(column).astype(float)
        return image_of(counts, ordered=True, missing=False)

    images = [image(column) for column in codes.T]
    fold = np.random.default_rng(1).permutation(len(codes)) % FOLDS
    return fit_scores(codes, list(range(COLUMNS)), images, image(own)[own], fold)


def correlation(cells: np.ndarray, own: np.ndarray) -> float:
    return float(np.corrcoef(cells[:, 0], own)[0, 1])


def told(cells: np.ndarray, own: np.ndarray) -> float:
    """Share of the column's variance that all scores tell, by least squares."""
    basis = np.column_stack([np.ones(len(own)), cells]).astype(float)
    left = own - basis @ np.linalg.lstsq(basis, own.astype(float), rcond=None)[0]
    return float(1 - left.var() / own.var())


def test_forty_columns_that_each_tell_a_little_make_a_score_that_tells_much() -> None:
    codes, own = rows_of(4000, 0.5)
    scores, cells = fitted(codes, own)
    one = max(abs(float(np.corrcoef(column, own)[0, 1])) for column in codes.T)
    assert correlation(cells, own) ** 2 > 0.6
    assert one**2 < 0.1
    others, hidden = rows_of(4000, 0.5, seed=2)
    found = scores.cells(others.T)
    assert abs(correlation(found, hidden)) > 0.77
    assert int(cells.max()) < CELLS


def test_rows_are_scored_without_their_own_patient() -> None:
    # Nothing is to be told, yet a regression that has seen a row fits some of it by chance.
    codes, own = rows_of(400, 0.0)
    scores, cells = fitted(codes, own)
    assert scores.count
    assert told(cells, own) < 0.03
    assert told(scores.cells(codes.T), own) > 0.06


def test_a_score_is_the_same_after_its_arrays() -> None:
    codes, own = rows_of(1500, 0.5)
    scores, _ = fitted(codes, own)
    again = Scores.from_arrays(scores.arrays())
    np.testing.assert_array_equal(again.cells(codes.T), scores.cells(codes.T))
    assert again.count == scores.count > 0


def test_the_first_column_has_no_score() -> None:
    scores, cells = fit_scores(
        np.zeros((10, 1), np.uint8), [], [], np.zeros((10, 1)), np.arange(10) % FOLDS
    )
    assert scores.count == 0
    assert cells.shape == (10, 0)
    assert scores.cells(np.zeros((1, 7), np.uint8)).shape == (7, 0)
