"""Attacks: scores that say "this patient was trained on", from a synthetic table and a population.

| attack | score of a patient x | sees |
|---|---|---|
| `nn_ratio` | log of the usual distance around x, less log(s_1(x) + c) | copies, near copies |
| `exact_match` | how often x stands in the synthetic table beyond the population | copies |
| `dcr` | -s_1(x) | copies; misled by how crowded the neighbourhood is |
| `knn_density` | mean over k <= 5 of log(r_k + c) - log(s_k + c) | diffuse overfitting |
| `local_likelihood` | what x adds to the likelihood of synthetic rows around it | heavy jitter |
| `classifier` | log odds of "synthetic" against the population, boosting | overfitted trees |
| `forest` | the same by a forest grown to single rows | overfitted trees |
| `values` | log ratio of how often x's own values occur, column by column | values of one person |
| `marginals` | log ratio of two- and three-way tables | marginal methods |

s_k is the distance to the k-th nearest synthetic row, r_k to the k-th nearest row of the population
(`pegai.evaluate.privacy.targets`), c a twentieth of the median r_1: a common record that many
patients share is no evidence. The usual distance of `nn_ratio` is the geometric mean of all r_k and
of the s_k beyond the first: one r_1 alone is a noisy measure of how crowded a neighbourhood is.
`knn_density` is the nearest-neighbour form of DOMIAS (van Breugel
et al. 2023), `local_likelihood` the closed form of Gen-LRA (Ward et al. 2024), `classifier` LOGAN's
idea (Hayes et al. 2019), `marginals` the family of MAMA-MIA (Golob et al. 2024).

A patient with several rows has the score of the most exposed one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pegai.evaluate.features import Encoded, tree_matrix
from pegai.evaluate.fidelity.pair_trends import bin_codes
from pegai.evaluate.privacy.neighbours import CodedPoints, nearest_distances
from pegai.evaluate.privacy.targets import Targets

ATTACKS: dict[str, str] = {
    "nn_ratio": "nearest-neighbour ratio",
    "exact_match": "exact match",
    "dcr": "distance to the closest record",
    "knn_density": "neighbourhood density (DOMIAS)",
    "local_likelihood": "local likelihood (Gen-LRA)",
    "classifier": "gradient boosting (LOGAN)",
    "forest": "random forest (LOGAN)",
    "values": "values of single columns",
    "marginals": "two- and three-way likelihood ratio",
}
"""Names and titles; the first is the headline, fixed beforehand."""

HEADLINE = "nn_ratio"
FOLDS = 3
DENSITY_NEIGHBOURS = 5
MAX_TRIPLES = 200
MAX_BOOSTED_ROWS = 10_000
MAX_FOREST_ROWS = 4_000
_SMOOTHING = 0.5


@dataclass(frozen=True, eq=False)
class Attacked:
    """What the panel says of every target.

    Attributes:
        scores: Attack name to a score a patient, higher meaning "member"; shape (patients,) each.
        if_copied: The same for the attacks that look for copies, had the patient's rows been put
            into the synthetic table.
    """

    scores: dict[str, np.ndarray]
    if_copied: dict[str, np.ndarray]


def attack(targets: Targets, synthetic: Encoded) -> Attacked:
    """Run the panel against one synthetic table."""
    near = nearest_distances(CodedPoints(targets.table), CodedPoints(synthetic), DENSITY_NEIGHBOURS)
    fake, real = np.log(near + targets.offset), np.log(targets.real + targets.offset)
    copied = np.hstack([np.full((fake.shape[0], 1), np.log(targets.offset)), fake[:, :-1]])
    k = min(fake.shape[1], real.shape[1])
    by_row = {
        "nn_ratio": nn_ratio(fake, real),
        "exact_match": exact_match(targets, synthetic),
        "dcr": -near[:, 0],
        "knn_density": (real[:, :k] - fake[:, :k]).mean(axis=1),
        "local_likelihood": local_likelihood(targets, near),
        "classifier": classifier(targets, synthetic, _boosted, MAX_BOOSTED_ROWS),
        "forest": classifier(targets, synthetic, _forest, MAX_FOREST_ROWS),
        "values": values(targets, synthetic),
        "marginals": marginals(targets, synthetic),
    }
    planted = {
        "nn_ratio": nn_ratio(copied, real),
        "exact_match": exact_match(targets, synthetic, planted=1),
        "dcr": np.zeros(fake.shape[0]),
    }
    return Attacked(
        {name: targets.by_patient(by_row[name]) for name in ATTACKS},
        {name: targets.by_patient(scores) for name, scores in planted.items()},
    )


def headline_scores(targets: Targets, synthetic: Encoded) -> np.ndarray:
    """The headline attack alone, without the cost of the panel; shape (patients,)."""
    near = nearest_distances(CodedPoints(targets.table), CodedPoints(synthetic), DENSITY_NEIGHBOURS)
    fake, real = np.log(near + targets.offset), np.log(targets.real + targets.offset)
    return targets.by_patient(nn_ratio(fake, real))


def nn_ratio(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """How much nearer the first synthetic row is than rows usually are there.

    Args:
        fake: Log distances to the nearest synthetic rows; shape (targets, k), nearest first.
        real: Log distances to the nearest population rows; shape (targets, k).
    """
    usual = real.mean(axis=1)
    if fake.shape[1] > 1:
        usual = (usual + fake[:, 1:].mean(axis=1)) / 2
    return usual - fake[:, 0]


def exact_match(targets: Targets, synthetic: Encoded, *, planted: int = 0) -> np.ndarray:
    """How much more often a row stands in the synthetic table than in the population; 0 if less.

    Returns:
        log(1 + copies) less the log of one plus the copies that the population foretells.
    """
    copies = _count(targets.table.keys, synthetic.keys) + planted
    others = _count(targets.table.keys, targets.population.keys) - _own_count(targets)
    expected = others * len(synthetic) / max(1, len(targets.population))
    return np.maximum(np.log1p(copies) - np.log1p(expected), 0.0)


def _count(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    values, counts = np.unique(among, return_counts=True)
    place = np.searchsorted(values, keys)
    place[place == values.size] = 0
    return np.where(values[place] == keys, counts[place], 0) if values.size else np.zeros(keys.size)


def _own_count(targets: Targets) -> np.ndarray:
    """Rows of the target's own patient that equal it."""
    pairs = np.stack([targets.patient.astype(np.uint64), targets.table.keys])
    _, inverse, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    return counts[inverse.ravel()]


def local_likelihood(targets: Targets, near: np.ndarray) -> np.ndarray:
    """Gen-LRA in closed form, over the k nearest synthetic rows s of a target x.

    Adding x to the n population rows changes the density p at s from p_0(s) to
    (n p_0(s) + K(s - x)) / (n + 1); the score is the sum of the logarithms of the two's ratio.
    K is a normal kernel as wide as the population's neighbourhood of x, and n p_0 is the sum of the
    kernels of the nearest population rows at x, which stands for its neighbour s.

    Args:
        targets: The attacked patients.
        near: Distances to the nearest synthetic rows; shape (rows, k).
    """
    width = np.maximum(targets.real[:, :DENSITY_NEIGHBOURS].mean(axis=1), targets.offset)[:, None]
    # `+ 1e-3`: where nobody is near, the density is small but not zero.
    mass = np.exp(-0.5 * (targets.real / width) ** 2).sum(axis=1, keepdims=True) + 1e-3
    kernel = np.exp(-0.5 * (near / width) ** 2)
    n = len(targets.population)
    return np.log1p(kernel / mass).sum(axis=1) - near.shape[1] * np.log1p(1 / n)


Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(matrix, whether synthetic, rows to score, unordered columns) to scores."""


def classifier(targets: Targets, synthetic: Encoded, learner: Learner, max_rows: int) -> np.ndarray:
    """Scores of a classifier, synthetic against population; shape (rows,).

    A patient is scored by a model that was trained without it. The trees are large on purpose: what
    is to be found is what a generator learned by heart.
    """
    rng = targets.streams.child("classifier").get("model")
    limit = min(max_rows, targets.tier.max_model_rows)
    fake = tree_matrix(synthetic.take(_rows(len(synthetic), limit, rng)))[0]
    asked, nominal = tree_matrix(targets.table)
    fold_of = rng.permutation(targets.member.size) % FOLDS
    scores = np.zeros(len(targets.table))
    for fold in range(FOLDS):
        inside = fold_of[targets.patient] == fold
        others = np.flatnonzero((targets.own < 0) | (fold_of[targets.own] != fold))
        others = others[_rows(others.size, limit, rng)]
        real = tree_matrix(targets.population.take(others))[0]
        matrix = np.vstack([fake, real])
        usable = ~np.isnan(matrix).all(axis=0)
        if not usable.any() or min(len(fake), len(real)) < 2:
            return scores
        label = np.repeat([1, 0], [len(fake), len(real)])
        scores[inside] = learner(
            matrix[:, usable], label, asked[inside][:, usable], nominal[usable]
        )
    return scores


def _rows(available: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    if available <= limit:
        return np.arange(available)
    return np.sort(rng.choice(available, limit, replace=False))


def _boosted(
    matrix: np.ndarray, label: np.ndarray, asked: np.ndarray, nominal: np.ndarray
) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=80,
        learning_rate=0.25,
        max_leaf_nodes=63,
        min_samples_leaf=3,
        categorical_features=nominal,  # pyright: ignore[reportArgumentType]
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=0,
    )
    return np.asarray(model.fit(matrix, label).decision_function(asked))


def _forest(
    matrix: np.ndarray, label: np.ndarray, asked: np.ndarray, nominal: np.ndarray
) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(60, random_state=0, n_jobs=1).fit(matrix, label)
    return np.asarray(model.predict_proba(asked))[:, 1]


def values(targets: Targets, synthetic: Encoded) -> np.ndarray:
    """Sum over columns of log p_synthetic - log p_population at x's own value, exact to the digit.

    Resampled columns give away who holds a value that nobody else has, even where no two columns go
    together.
    """
    tables = (targets.table, synthetic, targets.population)
    scores = np.zeros(len(targets.table))
    for i in range(targets.table.numbers.shape[1]):
        # Missing is a value too; np.unique takes NaN for equal to itself.
        distinct, codes = np.unique(
            np.concatenate([t.numbers[:, i] for t in tables]), return_inverse=True
        )
        parts = np.split(codes, np.cumsum([len(t) for t in tables])[:-1])
        scores += _log_ratio(targets, parts, distinct.size)
    for i in range(targets.table.codes.shape[1]):
        parts = [t.codes[:, i] + 1 for t in tables]
        scores += _log_ratio(targets, parts, max(int(p.max(initial=0)) for p in parts) + 1)
    return scores


def marginals(targets: Targets, synthetic: Encoded) -> np.ndarray:
    """Sum over two- and three-way tables of log p_synthetic - log p_population at x's cell."""
    coded = [bin_codes(targets.bins, t) for t in (targets.table, synthetic, targets.population)]
    sizes = np.array(targets.bins.sizes)
    scores = np.zeros(len(targets.table))
    for columns in _tables(sizes.size, targets):
        cells = [_cells(codes, sizes, columns) for codes in coded]
        scores += _log_ratio(targets, cells, int(sizes[list(columns)].prod()))
    return scores


def _tables(columns: int, targets: Targets) -> list[tuple[int, ...]]:
    """All pairs, and all triples or a sample that no data were looked at for."""
    pairs: list[tuple[int, ...]] = list(combinations(range(columns), 2))
    triples = columns * (columns - 1) * (columns - 2) // 6
    if triples <= MAX_TRIPLES:
        return pairs + list(combinations(range(columns), 3)) or [(i,) for i in range(columns)]
    rng = targets.streams.child("triples").get("split")
    drawn = rng.permuted(np.tile(np.arange(columns), (MAX_TRIPLES, 1)), axis=1)[:, :3]
    chosen = sorted({tuple(sorted(int(c) for c in row)) for row in drawn})
    return [*pairs[: 20 * MAX_TRIPLES], *chosen]


def _cells(codes: np.ndarray, sizes: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    cell = codes[:, columns[0]].astype(np.int64)
    for column in columns[1:]:
        cell = cell * sizes[column] + codes[:, column]
    return cell


def _log_ratio(targets: Targets, cells: list[np.ndarray], size: int) -> np.ndarray:
    asked, fake, real = cells
    ours = np.bincount(fake, minlength=size)[asked] + _SMOOTHING
    theirs = np.bincount(real, minlength=size)[asked] + _SMOOTHING
    theirs = theirs - _same_patient(targets, asked)
    return np.log(ours / (fake.size + 1)) - np.log(theirs / (real.size + 1))


def _same_patient(targets: Targets, cells: np.ndarray) -> np.ndarray:
    """Rows of the target's own patient in its cell."""
    if targets.member.size == cells.size:
        return np.ones(cells.size)
    pair = targets.patient * np.int64(int(cells.max(initial=0)) + 1) + cells
    _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
    return counts[inverse]
