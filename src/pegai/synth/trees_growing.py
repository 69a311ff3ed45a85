"""Trees over codes: grown by scikit-learn on a numeric image of the column, kept as plain arrays.

A column of up to 255 codes is no class label to grow on: split search over so many classes is slow
and takes nodes times classes of memory. It is shown to the tree as a few numbers a row
(`image_of`), for which variance reduction over several outputs is the same as, or close to, the
Gini index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEW = 12
"""Up to so many codes, a column is shown as one indicator a code."""

WAVES = 4
"""Cosines of the rank that show an ordered column of more codes."""

HEAVY = 2
"""Codes of an ordered column that get an indicator, at most: zero, a cap, a default."""

HEAVY_SHARE = 0.05


MAX_LEAVES = 4096
"""Leaves of a tree, at most."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees in one set of arrays.

    Attributes:
        feature: What a node asks about, as a position in the column's features; shape (nodes,).
        threshold: Codes up to this one go left; shape (nodes,), uint8.
        left: The node on the left; the right one follows it. A leaf is its own left node, and its
            threshold is 255.
        roots: Where the trees begin, shape (trees,).
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    roots: np.ndarray

    @property
    def is_leaf(self) -> np.ndarray:
        """Which nodes are leaves, shape (nodes,)."""
        return self.left == np.arange(len(self.left))

    def descend(self, ranks: np.ndarray, tree: np.ndarray) -> np.ndarray:
        """The leaf of each row, all rows at once, level by level.

        Args:
            ranks: Features of the rows, shape (rows, features).
            tree: The tree that each row takes, shape (rows,).

        Returns:
            Nodes, shape (rows,).
        """
        node = self.roots[tree]
        flat, width = np.ascontiguousarray(ranks).ravel(), ranks.shape[1]
        leaf = self.is_leaf
        rows = np.flatnonzero(~leaf[node])
        here = node[rows]
        while rows.size:
            right = flat[rows * width + self.feature[here]] > self.threshold[here]
            here = self.left[here] + right
            inner = ~leaf[here]
            node[rows] = here
            rows, here = rows[inner], here[inner]
        return node

    def parents(self) -> np.ndarray:
        """The node above each; a root is its own."""
        found = np.arange(len(self.left), dtype=np.int32)
        inner = np.flatnonzero(~self.is_leaf)
        found[self.left[inner]] = inner
        found[self.left[inner] + 1] = inner
        return found

    def levels(self) -> list[np.ndarray]:
        """Nodes by depth, from the roots; siblings stand side by side."""
        found = [self.roots]
        while True:
            inner = found[-1][~self.is_leaf[found[-1]]]
            if not inner.size:
                return found
            left = self.left[inner]
            found.append(np.column_stack([left, left + 1]).ravel())

    def cut(self, keep: np.ndarray) -> tuple[Forest, np.ndarray]:
        """One tree, where only the nodes in `keep`, shape (nodes,), ask; and its old nodes."""
        left = np.where(keep, self.left, -1)
        return relinked(self.feature, self.threshold, left, left + 1)


def joined(trees: list[Forest]) -> Forest:
    """Several forests as one."""
    before = np.cumsum([0, *(len(t.left) for t in trees[:-1])]).astype(np.int32)
    return Forest(
        np.concatenate([t.feature for t in trees]),
        np.concatenate([t.threshold for t in trees]),
        np.concatenate([t.left + b for t, b in zip(trees, before, strict=True)]),
        np.concatenate([t.roots + b for t, b in zip(trees, before, strict=True)]),
    )


def image_of(counts: np.ndarray, *, ordered: bool, missing: bool) -> np.ndarray:
    """What a tree sees of each code; shape (codes, outputs).

    Columns are scaled by the inverse root of their share, as in correspondence analysis, so that
    rare codes are looked for too.

    Args:
        counts: Rows of each code, shape (codes,).
        ordered: Whether the order of the codes means something, missing (the last) aside.
        missing: Whether the last code stands for missing.
    """
    shares = counts / max(counts.sum(), 1.0)
    size = len(counts)
    if size <= FEW or not ordered:
        shown = np.sort(np.argsort(-shares, kind="stable")[:FEW])
        if len(shown) == size and size > 1:
            shown = shown[:-1] if size == 2 else shown
        flags = np.zeros((size, len(shown)))
        flags[shown, np.arange(len(shown))] = 1 / np.sqrt(np.maximum(shares[shown], 0.01))
        return flags
    known = shares[: size - missing]
    ranks = (np.cumsum(known) - known / 2) / max(known.sum(), 1e-300)
    waves = np.cos(np.pi * np.outer(ranks, np.arange(1, WAVES + 1)))
    heavy = [c for c in np.argsort(-known, kind="stable")[:HEAVY] if known[c] >= HEAVY_SHARE]
    if missing:
        waves = np.vstack([waves, np.zeros(WAVES)])
        heavy.append(size - 1)
    flags = np.zeros((size, len(heavy)))
    flags[heavy, np.arange(len(heavy))] = 1 / np.sqrt(np.maximum(shares[heavy], 0.01))
    return np.hstack([waves, flags])


def grow(
    ranks: np.ndarray, images: np.ndarray, *, min_leaf: int, max_depth: int, seed: int
) -> Forest:
    """One tree.

    Args:
        ranks: Features, shape (rows, features).
        images: Of the column's codes, shape (rows, outputs).
        min_leaf: Rows in a leaf, at least.
        max_depth: Questions above a leaf, at most.
        seed: Of ties.
    """
    from sklearn.tree import DecisionTreeRegressor

    if ranks.shape[1] == 0 or len(ranks) < 2 * min_leaf:
        none = np.full(1, -1)
        return relinked(none, none, none, none)[0]
    grower = DecisionTreeRegressor(
        min_samples_leaf=min_leaf,
        max_depth=max_depth,
        max_leaf_nodes=MAX_LEAVES if len(ranks) > MAX_LEAVES * min_leaf else None,
        random_state=seed,
    )
    tree = grower.fit(ranks.astype(np.float32), images).tree_
    return relinked(
        tree.feature, np.floor(tree.threshold), tree.children_left, tree.children_right
    )[0]


def relinked(
    feature: np.ndarray, threshold: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[Forest, np.ndarray]:
    """A tree with its nodes in breadth-first order, siblings side by side.

    Args:
        feature: Shape (nodes,); node 0 is the root.
        threshold: Shape (nodes,).
        left: Shape (nodes,); below 0 at a leaf.
        right: Shape (nodes,).

    Returns:
        The tree, and the old position of each of its nodes.
    """
    order, links, start = [np.zeros(1, np.int64)], [], 0
    while True:
        here = order[-1]
        inner = np.flatnonzero(left[here] >= 0)
        total = start + len(here)
        link = np.arange(start, total)
        link[inner] = total + 2 * np.arange(len(inner))
        links.append(link)
        if inner.size == 0:
            break
        order.append(np.column_stack([left[here[inner]], right[here[inner]]]).ravel())
        start = total
    nodes, link = np.concatenate(order), np.concatenate(links)
    leaf = left[nodes] < 0
    forest = Forest(
        np.where(leaf, 0, feature[nodes]).astype(np.int16),
        np.where(leaf, 255, np.clip(threshold[nodes], 0, 254)).astype(np.uint8),
        link.astype(np.int32),
        np.zeros(1, np.int32),
    )
    return forest, nodes
