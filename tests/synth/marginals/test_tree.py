"""The tree of marginals: projection, inference and exact conditionals."""

from __future__ import annotations

import numpy as np
import pytest

from pegai.synth.marginals.measurements import NoisyTable
from pegai.synth.marginals.tree import Tree, fit_tree, project, spanning

SIZES = (3, 2, 4, 2)


def chain(seed: int) -> np.ndarray:
    """The joint law of a tree 0 - 1, 1 - 2, 1 - 3."""
    rng = np.random.default_rng(seed)
    first = rng.dirichlet(np.ones(3))
    tables = [rng.dirichlet(np.ones(s), size=p) for p, s in ((3, 2), (2, 4), (2, 2))]
    return np.einsum("a,ab,bc,bd->abcd", first, *tables)


def tables_of(joint: np.ndarray, patients: float, deviation: float, seed: int) -> list[NoisyTable]:
    rng = np.random.default_rng(seed)
    found = []
    for columns in [(0,), (1,), (2,), (3,), (0, 1), (1, 2), (1, 3)]:
        others = tuple(i for i in range(4) if i not in columns)
        counts = patients * joint.sum(axis=others)[None]
        noisy = counts + deviation * rng.standard_normal(counts.shape)
        found.append(NoisyTable(columns, noisy, max(deviation, 1e-6)))
    return found


def law_of(tree: Tree) -> np.ndarray:
    tables = dict(zip(tree.order, tree.tables, strict=True))
    parents = dict(zip(tree.order, tree.parents, strict=True))
    law = np.zeros(SIZES)
    for codes in np.ndindex(*SIZES):
        share = 1.0
        for column, code in enumerate(codes):
            row = 0 if parents[column] < 0 else codes[parents[column]]
            share *= tables[column][row, code]
        law[codes] = share
    return law


def test_exact_tables_give_back_the_law() -> None:
    joint = chain(0)
    tree = fit_tree(SIZES, tables_of(joint, 1e6, 0.0, 0))
    assert law_of(tree) == pytest.approx(joint, abs=1e-5)


def test_noisy_tables_give_a_law_near_by() -> None:
    joint = chain(1)
    tree = fit_tree(SIZES, tables_of(joint, 1e4, 20.0, 1))
    law = law_of(tree)
    assert law.sum() == pytest.approx(1.0)
    assert 0.5 * np.abs(law - joint).sum() < 0.03


def test_conditional_samples_are_exact() -> None:
    joint = chain(2)
    tree = fit_tree(SIZES, tables_of(joint, 1e6, 0.0, 0))
    codes = tree.draw(100_000, np.random.default_rng(0), given={2: 3, 3: 1})
    assert set(codes[:, 2]) == {3}
    assert set(codes[:, 3]) == {1}
    known = joint[:, :, 3, 1] / joint[:, :, 3, 1].sum()
    found = np.zeros((3, 2))
    np.add.at(found, (codes[:, 0], codes[:, 1]), 1 / 100_000)
    assert np.abs(found - known).max() < 0.006


def test_what_the_tree_rules_out_can_still_be_given() -> None:
    certain = np.array([[1.0, 0.0]])
    tree = Tree((0, 1), (-1, 0), (certain, np.array([[1.0, 0.0], [0.5, 0.5]])))
    assert tree.draw(4, np.random.default_rng(0), given={1: 1})[:, 1].tolist() == [1] * 4


def test_projection_is_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        noisy = rng.normal(0.2, 0.5, 6)
        nearest = project(noisy)
        assert nearest.sum() == pytest.approx(1.0)
        assert nearest.min() >= 0
        others = rng.dirichlet(np.ones(6), size=500)
        assert np.linalg.norm(nearest - noisy) <= np.linalg.norm(others - noisy, axis=1).min()


def test_edges_are_offered_until_they_span() -> None:
    chosen: list[tuple[int, int]] = []
    while offered := spanning(4, chosen):
        chosen.append(offered[-1])
    assert len(chosen) == 3
