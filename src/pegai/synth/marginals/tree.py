"""A tree of two-way tables: closed-form inference, and exact conditional sampling.

A maximum spanning tree over the columns (Chow and Liu 1968) needs no iterative inference: given
node and edge tables that agree, the joint law is the product of the root's shares and of each
child's shares given its parent. Noisy tables are made to agree in closed form: a node's shares are
the mean of all its measurements by precision, projected onto the simplex; an edge's table is
then scaled to its two nodes (iterative proportional fitting, which for one table converges in a
few rounds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pegai.synth.marginals.measurements import Array, NoisyTable
from pegai.synth.marginals.sampling import spread

FITTING_ROUNDS = 50
FLOOR = 1e-9


@dataclass(frozen=True, eq=False)
class Tree:
    """Shares of a root and of each other column given its parent.

    Attributes:
        order: Columns, parents before children.
        parents: The parent of each column in `order`; -1 for a root.
        tables: For each column in `order`: shape (1, size) for a root, else (parent size, size);
            rows sum to 1.
    """

    order: tuple[int, ...]
    parents: tuple[int, ...]
    tables: tuple[Array, ...]

    def draw(
        self, n: int, rng: np.random.Generator, *, given: Mapping[int, int] | None = None
    ) -> Array:
        """Codes of n rows, int32 of shape (n, columns), in random order.

        Given values are conditioned on exactly: messages go from the leaves to the root (Pearl
        1982), and rows are drawn from the root down.
        """
        known = self._known(given or {})
        messages = self._messages(known)
        codes = np.zeros((n, len(self.order)), np.int32)
        for column, parent, table in zip(self.order, self.parents, self.tables, strict=True):
            group = np.zeros(n, np.intp) if parent < 0 else codes[:, parent].astype(np.intp)
            inside = table * messages[column]
            # What is given may be ruled out by the tree: then it stands, and the rest is as likely
            # as without it.
            empty = inside.sum(axis=1, keepdims=True) <= 0
            inside = np.where(empty, known[column] * (table + FLOOR), inside)
            codes[:, column] = spread(inside, group, rng)
        return codes[rng.permutation(n)]

    def ones(self) -> dict[int, Array]:
        """Every column's shares."""
        shares: dict[int, Array] = {}
        for column, parent, table in zip(self.order, self.parents, self.tables, strict=True):
            shares[column] = table[0] if parent < 0 else shares[parent] @ table
        return shares

    def _known(self, given: Mapping[int, int]) -> dict[int, Array]:
        """For each column, 1 at the codes it may have."""
        known: dict[int, Array] = {}
        for column, table in zip(self.order, self.tables, strict=True):
            codes = np.arange(table.shape[1])
            known[column] = (codes == given.get(column, codes)).astype(float)
        return known

    def _messages(self, known: dict[int, Array]) -> dict[int, Array]:
        """For each column, how likely what is known in and below it is, by its code."""
        messages = dict(known)
        edges = list(zip(self.order, self.parents, self.tables, strict=True))
        for column, parent, table in reversed(edges):
            if parent >= 0:
                messages[parent] = messages[parent] * (table @ messages[column])
        return messages


def fit_tree(sizes: tuple[int, ...], tables: list[NoisyTable]) -> Tree:
    """Infer a tree from noisy one-way tables and the two-way tables of its edges.

    Args:
        sizes: Codes of each column.
        tables: Of one class: counts have shape (1, size) or (1, size, size).
    """
    nodes = [_node(i, size, tables) for i, size in enumerate(sizes)]
    edges = {t.columns: t for t in tables if len(t.columns) == 2}
    joints = {(i, j): _agree(table, nodes[i], nodes[j]) for (i, j), table in edges.items()}
    order, parents, found = [], [], []
    for column, parent in _downwards(len(sizes), list(joints)):
        order.append(column)
        parents.append(parent)
        if parent < 0:
            found.append(nodes[column][None, :])
            continue
        joint = joints[(parent, column)] if parent < column else joints[(column, parent)].T
        found.append(_conditional(joint, nodes[column]))
    return Tree(tuple(order), tuple(parents), tuple(found))


def project(noisy: Array) -> Array:
    """The nearest shares to noisy ones, in squared distance (Held, Wolfe and Crowder 1974)."""
    total = np.sort(noisy)[::-1]
    excess = (np.cumsum(total) - 1) / np.arange(1, len(total) + 1)
    last = np.flatnonzero(total > excess)[-1]
    return np.maximum(noisy - excess[last], 0.0)


def _node(column: int, size: int, tables: list[NoisyTable]) -> Array:
    """A column's shares from all tables that hold it."""
    counts, precision = np.zeros(size), np.zeros(size)
    for table in tables:
        if column not in table.columns:
            continue
        known = table.counts[0]
        weight = np.broadcast_to(np.square(table.deviation), known.shape[-1:]) ** -1.0
        if known.ndim == 2:
            # A sum over the other column's cells has their noise added up.
            known = known.sum(axis=1 if table.columns[0] == column else 0)
            weight = np.full(size, weight[0] * size / table.counts.size)
        counts += weight * known
        precision += weight
    known = counts / precision
    total = max(known.sum(), 1.0)
    shares = project(known / total) + FLOOR
    return shares / shares.sum()


def _agree(table: NoisyTable, left: Array, right: Array) -> Array:
    """A noisy two-way table scaled to the shares of its columns, with 0 where it is impossible.

    Zeros may rule the shares out; then the second column's are met, and the first one's nearly.
    """
    counts = table.counts[0]
    joint = project((counts / max(counts.sum(), 1.0)).ravel()).reshape(counts.shape)
    # Cells of a row or column that noise emptied get what independence gives them, faintly.
    joint = joint + 1e-6 * left[:, None] * right[None, :]
    if table.impossible is not None:
        joint[table.impossible[0]] = 0.0
    for _ in range(FITTING_ROUNDS):
        joint *= _ratio(left, joint.sum(axis=1))[:, None]
        joint *= _ratio(right, joint.sum(axis=0))[None, :]
    return joint


def _ratio(wanted: Array, found: Array) -> Array:
    """What scales one to the other; 0 where all is impossible."""
    return np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)


def _conditional(joint: Array, child: Array) -> Array:
    """Shares of the child given its parent; its own where the parent's code is impossible."""
    known = joint.sum(axis=1, keepdims=True)
    return np.where(known > 0, joint / np.where(known > 0, known, 1.0), child)


def _downwards(columns: int, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(column, parent) with parents first; -1 where a tree of the forest begins."""
    near: dict[int, list[int]] = {i: [] for i in range(columns)}
    for i, j in edges:
        near[i].append(j)
        near[j].append(i)
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    for root in range(columns):
        waiting = [(root, -1)] if root not in seen else []
        while waiting:
            column, parent = waiting.pop()
            seen.add(column)
            found.append((column, parent))
            waiting += [(other, column) for other in near[column] if other not in seen]
    return found


def spanning(columns: int, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs of columns that edges chosen so far do not connect."""
    group = list(range(columns))
    for i, j in edges:
        old, new = group[j], group[i]
        group = [new if g == old else g for g in group]
    return [(i, j) for i in range(columns) for j in range(i + 1, columns) if group[i] != group[j]]
