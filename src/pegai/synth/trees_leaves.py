"""What a leaf foretells: its counts, drawn to those of the nodes above, along the codes too.

**Down the tree.** The shares of a node are its counts mixed with `shrinkage` pseudo-patients that
are shared out as in the node above (a chain of Dirichlet priors; hierarchical shrinkage, Agarwal et
al. 2022, arXiv:2202.00858, in the form of a posterior mean). A single patient moves a leaf of ten a
little, and its root not at all.

**Along the codes.** Whether a value is missing, then its half of the codes, its quarter and so on
are each foretold in this way (a Polya tree, Lavine 1992). So a leaf of ten patients says whether
the blood pressure is high, while which of the hundred bins it falls into is taken from larger
nodes: the neighbourhood of a patient is not copied, though the bins are fine.

**Held out.** Trees are grown on half of the patients. The others say where a tree stops and how
strong the shrinkage is: each is foretold from the counts of everybody else.
"""

from __future__ import annotations

import numpy as np

from pegai.synth.trees_growing import Forest

ROOT_SHRINKAGE = 1e-3
"""Pseudo-rows above a root, which are spread evenly."""


def node_counts(forest: Forest, leaf: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    """Rows of each node of a tree and code, shape (nodes, size).

    Args:
        forest: One tree.
        leaf: The leaf of each row, shape (rows,).
        codes: Shape (rows,).
        size: Number of codes.
    """
    nodes = len(forest.left)
    flat = np.bincount(leaf.astype(np.int64) * size + codes, minlength=nodes * size)
    counts = flat.reshape(nodes, size).astype(np.float64)
    parents = forest.parents()
    for level in forest.levels()[:0:-1]:
        counts[parents[level[::2]]] = counts[level[::2]] + counts[level[1::2]]
    return counts


def node_patients(forest: Forest, leaf: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Patients of each node of a tree, shape (nodes,), whose rows may lie in several leaves.

    Args:
        forest: One tree.
        leaf: The leaf of each row, shape (rows,).
        units: The patient of each row, from 0; shape (rows,).
    """
    width = int(units.max(initial=0)) + 1
    parents = forest.parents().astype(np.int64)
    pairs = np.unique(leaf * np.int64(width) + units)
    found = np.zeros(len(parents))
    # Up one level at a time, from the deepest: a node is complete once its children are.
    for level in [*forest.levels()[:0:-1], forest.roots]:
        here = np.isin(pairs // width, level)
        nodes = pairs[here] // width
        found += np.bincount(nodes, minlength=len(found))
        above = parents[nodes] * width + pairs[here] % width
        pairs = np.unique(np.concatenate([pairs[~here], above]))
    return found


def foretold(
    forest: Forest,
    counts: np.ndarray,
    shrinkage: float,
    *,
    missing: bool,
    held_out: bool = False,
) -> np.ndarray:
    """Shares of the codes in every node, shape (nodes, codes).

    Args:
        forest: One tree.
        counts: Rows of each node and code, shape (nodes, codes).
        shrinkage: Pseudo-rows of the node above.
        missing: Whether the last code stands for missing.
        held_out: Give, instead, what a row of each code is foretold with by all other rows. Such
            shares do not add up to one.
    """
    own = float(held_out)
    total = counts.sum(axis=1)
    if not missing:
        return _halves(forest, counts, shrinkage, own)
    known = total - counts[:, -1]
    absent = _chain(forest, counts[:, -1:], total[:, None], shrinkage, own, 0.5)
    present = _chain(forest, known[:, None], total[:, None], shrinkage, own, 0.5)
    inside = _halves(forest, counts[:, :-1], shrinkage, own)
    return np.hstack([present * inside, absent])


def _halves(forest: Forest, counts: np.ndarray, shrinkage: float, own: float) -> np.ndarray:
    """Shares from repeated halving of the codes."""
    size = counts.shape[1]
    width = 1 << max(size - 1, 0).bit_length()
    sums = np.zeros((len(counts), width))
    sums[:, :size] = counts
    real = np.zeros(width)
    real[:size] = 1.0
    shares = np.ones((len(counts), width))
    while width > 1:
        above, above_real = sums[:, ::2] + sums[:, 1::2], real[::2] + real[1::2]
        prior = real / np.maximum(np.repeat(above_real, 2), 1.0)
        part = _chain(forest, sums, np.repeat(above, 2, axis=1), shrinkage, own, prior)
        shares *= np.repeat(part, shares.shape[1] // width, axis=1)
        sums, real, width = above, above_real, width // 2
    return shares[:, :size]


def _chain(
    forest: Forest,
    part: np.ndarray,
    whole: np.ndarray,
    shrinkage: float,
    own: float,
    prior: np.ndarray | float,
) -> np.ndarray:
    """Shares of a part in a whole, from the root down; shape of `part`."""
    less_part, less_whole = np.maximum(part - own, 0.0), np.maximum(whole - own, 0.0)
    shares = np.empty(part.shape)
    # Hardly any above the root: a code that nobody has must not come out.
    shares[:1] = (less_part[:1] + ROOT_SHRINKAGE * prior) / (less_whole[:1] + ROOT_SHRINKAGE)
    parents = forest.parents()
    for here in forest.levels()[1:]:
        above = shares[parents[here]]
        shares[here] = (less_part[here] + shrinkage * above) / (less_whole[here] + shrinkage)
    return shares


def kept(
    forest: Forest, scores: np.ndarray, large: np.ndarray, tolerance: float
) -> tuple[np.ndarray, float]:
    """Which nodes of a tree ask: splits that harm left-out rows are cut, from the bottom up.

    Args:
        forest: One tree.
        scores: Log-likelihood of the left-out rows of each node by its shares, shape (nodes,).
        large: Which nodes hold enough patients, shape (nodes,).
        tolerance: Nats that a split may cost.

    Returns:
        Shape (nodes,); and the log-likelihood of the left-out rows.
    """
    best, keep, inner = scores.copy(), np.zeros(len(scores), bool), ~forest.is_leaf
    for level in forest.levels()[::-1]:
        here = level[inner[level]]
        left = forest.left[here]
        split = best[left] + best[left + 1]
        keep[here] = (split > best[here] - tolerance) & large[left] & large[left + 1]
        best[here] = np.where(keep[here], split, best[here])
    return keep, float(best[0])
