"""The trees of one column: grown on most patients, held against the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pegai.synth.trees_config import TreesConfig
from pegai.synth.trees_growing import Forest, grow, image_of, joined
from pegai.synth.trees_leaves import foretold, kept, node_counts, node_patients
from pegai.synth.trees_sampling import ColumnTrees, steps_of
from pegai.synth.trees_scores import FOLDS, Scores, fit_scores

GROWN_SHARE = 0.8
"""Of the patients, that a tree is grown on."""

MIN_SCORED = 1_000
"""Patients from which on columns get additive scores: on Cleveland's two hundred, these hid what
tells most, the target, among what tells little."""

MAX_SCORED = 64
"""Columns that an additive score sums up, at most."""

MAX_GROWN = 30_000
"""Patients that a tree is grown on, at most. All patients count in its leaves, as in any table."""

MAX_CELLS = 2_000_000
"""Fewer trees a column are grown where rows times columns are more than this."""

ROOT_LEAF = 6
"""A leaf holds at least the root of the number of patients over this."""

ENOUGH = 0.95
"""Of the gain of the best shrinkage, that a weaker one keeps."""

PRIOR_ROWS = 10.0
"""Rows of the whole table that a category is mixed with where categories are put in order."""


@dataclass(frozen=True, eq=False)
class Learner:
    """What the trees of all columns are fitted on.

    Attributes:
        codes: Shape (rows, columns), uint8.
        sizes: Codes a column.
        ordered: Whether the order of a column's codes means something.
        missing: Whether a column's last code stands for missing.
        units: The patient of each row, from 0; shape (rows,).
        config: The settings.
    """

    codes: np.ndarray
    sizes: tuple[int, ...]
    ordered: tuple[bool, ...]
    missing: tuple[bool, ...]
    units: np.ndarray
    config: TreesConfig

    @property
    def patients(self) -> int:
        """Patients in the table."""
        return int(self.units.max(initial=-1)) + 1

    @property
    def trees(self) -> int:
        """Trees a column."""
        return int(np.clip(MAX_CELLS // max(self.codes.size, 1), 1, self.config.trees))

    @property
    def min_leaf(self) -> int:
        """Patients in a leaf, at least."""
        return max(self.config.min_leaf, math.ceil(self.patients**0.5 / ROOT_LEAF))

    def fit(self, column: int, before: list[int], seeds: np.random.Generator) -> ColumnTrees:
        """The trees of one column.

        Args:
            column: Its position.
            before: Columns that it may be drawn from, those that tell most about it first.
            seeds: Who is left out, and ties.
        """
        features = before[: self.config.max_features]
        summed = before[:MAX_SCORED] if self.patients >= MIN_SCORED else []
        own, size = self.codes[:, column], self.sizes[column]
        image = self._image(column)
        shown = image[own]
        ranks = np.stack([self._ranks(f, shown) for f in features] or [np.zeros(256)])
        images = [self._image(f) for f in summed]
        fold = (seeds.permutation(self.patients) % FOLDS)[self.units]
        scores, cells = fit_scores(self.codes, summed, images, shown, fold)
        asked = np.hstack([_ranked(self.codes, features, ranks), cells])
        grown = [self._grow(asked, image[own], own, size, seeds) for _ in range(self.trees)]
        shrinkage, keep, score = self._shrinkage(grown, self.missing[column])
        parts = []
        for part, asks in zip(grown, keep, strict=True):
            shares = foretold(part.forest, part.counts, shrinkage, missing=self.missing[column])
            forest, nodes = part.forest.cut(asks)
            parts.append((forest, shares[nodes]))
        return _column_trees(features, ranks.astype(np.uint8), scores, parts, score)

    def _image(self, column: int) -> np.ndarray:
        """What a tree is shown of each code of a column; shape (codes, outputs)."""
        return image_of(
            np.bincount(self.codes[:, column], minlength=self.sizes[column]).astype(float),
            ordered=self.ordered[column],
            missing=self.missing[column],
        )

    def _ranks(self, feature: int, images: np.ndarray) -> np.ndarray:
        """The rank of each code of a feature, by which trees split it; shape (256,).

        Unordered codes are ordered by the first axis of what goes with them (Fisher 1958: for one
        output, the best split is one of that order).
        """
        found = np.arange(256)
        if self.ordered[feature]:
            return found
        codes, size = self.codes[:, feature], self.sizes[feature]
        rows = np.bincount(codes, minlength=size)
        mean = images.mean(axis=0)
        sums = np.column_stack([np.bincount(codes, weights=i, minlength=size) for i in images.T])
        means = (sums + PRIOR_ROWS * mean) / (rows + PRIOR_ROWS)[:, None] - mean
        _, _, axes = np.linalg.svd((means * rows[:, None]).T @ means)
        found[np.argsort(means @ axes[0], kind="stable")] = np.arange(size)
        return found

    def _grow(
        self,
        asked: np.ndarray,
        images: np.ndarray,
        own: np.ndarray,
        size: int,
        seeds: np.random.Generator,
    ) -> _Grown:
        places = seeds.permutation(self.patients)[self.units]
        most = min(math.ceil(GROWN_SHARE * self.patients), MAX_GROWN)
        inside = places < most
        # As many rows of those it is grown on as leave `min_leaf` patients of all in the leaf.
        least = self.min_leaf * most / self.patients * len(own) / self.patients
        forest = grow(
            asked[inside],
            images[inside],
            min_leaf=max(1, math.ceil(least)),
            max_depth=self.config.max_depth,
            seed=int(seeds.integers(2**31)),
        )
        leaf = forest.descend(asked, np.zeros(len(own), np.int32))
        counts = node_counts(forest, leaf, own, size)
        left_out = node_counts(forest, leaf[~inside], own[~inside], size)
        several = self.patients < len(own)
        patients = node_patients(forest, leaf, self.units) if several else counts.sum(axis=1)
        return _Grown(forest, counts, left_out, patients >= self.min_leaf)

    def _shrinkage(
        self, grown: list[_Grown], missing: bool
    ) -> tuple[float, list[np.ndarray], float]:
        """The shrinkage, where the trees stop by it, and nats a left-out row.

        The least one is taken that keeps `ENOUGH` of what the best one gains over the root alone:
        the best forecast is drawn to the mean further than rows should be that look real.
        """
        rows = max(sum(g.left_out[0].sum() for g in grown), 1.0)
        # A patient of ten rows is in a leaf ten times: the node above must weigh as much more.
        weight = len(self.codes) / self.patients
        tried = [s * weight for s in sorted(self.config.shrinkages)]
        found = [[g.kept(s, missing, self.config.tolerance) for g in grown] for s in tried]
        scores = np.array([sum(f[1] for f in trees) for trees in found]) / rows
        root = sum(f[2] for f in found[0]) / rows
        least = scores.max() - (1 - ENOUGH) * max(scores.max() - root, 0.0)
        at = int(np.argmax(scores >= least))
        return tried[at], [f[0] for f in found[at]], float(scores[at])


@dataclass(frozen=True, eq=False)
class _Grown:
    """A tree, rows of each node and code, the left-out rows of these, and which nodes may stay."""

    forest: Forest
    counts: np.ndarray
    left_out: np.ndarray
    large: np.ndarray

    def kept(
        self, shrinkage: float, missing: bool, tolerance: float
    ) -> tuple[np.ndarray, float, float]:
        """As of `trees_leaves.kept`; and the log-likelihood by the shares of the whole table."""
        shares = foretold(self.forest, self.counts, shrinkage, missing=missing, held_out=True)
        scores = (self.left_out * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
        return *kept(self.forest, scores, self.large, tolerance), float(scores[0])


def _ranked(codes: np.ndarray, features: list[int], ranks: np.ndarray) -> np.ndarray:
    """The features' ranks in all rows, shape (rows, features), uint8."""
    found = np.empty((len(codes), len(features)), np.uint8)
    for i, feature in enumerate(features):
        found[:, i] = ranks[i][codes[:, feature]]
    return found


def _column_trees(
    features: list[int],
    ranks: np.ndarray,
    scores: Scores,
    parts: list[tuple[Forest, np.ndarray]],
    score: float,
) -> ColumnTrees:
    """Trees and the shares of their nodes, shape (nodes, codes), in the form that is kept."""
    forest = joined([f for f, _ in parts])
    leaf = forest.is_leaf
    shares = np.concatenate([s for _, s in parts])[leaf]
    asked, width = np.unique(forest.feature[~leaf]), len(features)
    used = asked[asked < width]
    place = np.zeros(width + scores.count + 1, np.int16)
    place[used] = np.arange(len(used))
    place[width : width + scores.count] = len(used) + np.arange(scores.count)
    row = np.where(leaf, np.cumsum(leaf) - 1, 0).astype(np.int32)
    return ColumnTrees(
        np.array([features[i] for i in used], np.int16),
        ranks[used],
        scores,
        Forest(place[forest.feature], forest.threshold, forest.left, forest.roots),
        row,
        steps_of(shares),
        score,
    )
