"""Generators in a few lines each, whose leaks and gaps are known: what evaluations are tried on.

None is private, and none is meant for use. All take and give a `Table`; missing values stay values.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pegai.data.table import Table


def independent(train: Table, rng: np.random.Generator) -> Table:
    """Each column resampled by itself: right marginals, no dependence."""
    rows = len(train)
    return Table(
        pl.DataFrame([s.gather(rng.integers(rows, size=rows)) for s in train.frame.get_columns()]),
        train.schema,
    )


def leaked(fresh: Table, train: Table, rows: int, rng: np.random.Generator) -> Table:
    """Fresh real rows, of which some are replaced by copies of training rows."""
    chosen = rng.choice(len(train), rows, replace=False)
    kept = fresh.frame.head(len(fresh) - rows)
    return Table(pl.concat([kept, train.frame[chosen.tolist()]]), train.schema)


def jittered(train: Table, scale: float, rng: np.random.Generator) -> Table:
    """The training rows, their numbers moved by normal noise of `scale` standard deviations."""
    columns = []
    for column in train.schema.modelled:
        series = train.frame[column.name]
        if column.is_numeric and series.dtype.is_numeric():
            values = series.cast(pl.Float64).to_numpy()
            moved = values + rng.normal(size=values.size) * scale * np.nanstd(values)
            if series.dtype.is_integer():
                moved = np.round(moved)
            series = pl.Series(series.name, moved).fill_nan(None).cast(series.dtype)
        columns.append(series)
    return Table(pl.DataFrame(columns), train.schema)


def codes_of(train: Table) -> tuple[list[str], np.ndarray, list[bool]]:
    """Columns as numbers, NaN for missing: (names, matrix, which are numeric)."""
    names, columns, numeric = [], [], []
    for column in train.schema.modelled:
        names.append(column.name)
        numeric.append(column.is_numeric)
        if column.is_numeric:
            columns.append(train.numbers(column.name))
            continue
        texts = train.texts(column.name)
        levels = {level: i for i, level in enumerate(sorted(texts.drop_nulls().unique()))}
        coded = texts.replace_strict(levels, default=None, return_dtype=pl.Float64)
        columns.append(coded.fill_null(np.nan).to_numpy())
    return names, np.column_stack(columns), numeric


def rows_of(train: Table, names: list[str], sources: np.ndarray) -> Table:
    """A table whose cell (i, j) is the training table's cell (sources[i, j], j)."""
    return Table(
        pl.DataFrame([train.frame[n].gather(sources[:, j]) for j, n in enumerate(names)]),
        train.schema,
    )


def sequential_trees(train: Table, leaf: int, rng: np.random.Generator) -> Table:
    """CART column by column, each cell drawn from the leaf's training rows (synthpop's way)."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    names, matrix, numeric = codes_of(train)
    rows, columns = matrix.shape
    filled = np.where(np.isnan(matrix), -1e9, matrix)
    sources = np.empty((rows, columns), dtype=np.int64)
    made = np.empty((rows, columns))
    for j in range(columns):
        if j == 0:
            sources[:, 0] = rng.integers(rows, size=rows)
        else:
            kind = DecisionTreeRegressor if numeric[j] else DecisionTreeClassifier
            tree = kind(min_samples_leaf=leaf, random_state=int(rng.integers(2**31)))
            tree.fit(filled[:, :j], filled[:, j])
            ours, theirs = tree.apply(filled[:, :j]), tree.apply(made[:, :j])
            order = np.argsort(ours, kind="stable")
            low = np.searchsorted(ours[order], theirs, side="left")
            high = np.searchsorted(ours[order], theirs, side="right")
            sources[:, j] = order[low + (rng.random(rows) * (high - low)).astype(np.int64)]
        made[:, j] = filled[sources[:, j], j]
    return rows_of(train, names, sources)


def gaussian_copula(train: Table, rng: np.random.Generator) -> Table:
    """Normal scores with the training table's correlation, and its own marginals."""
    from scipy import stats

    names, matrix, _ = codes_of(train)
    rows = matrix.shape[0]
    filled = np.where(np.isnan(matrix), -1e9, matrix)
    # Ties broken at random: a category is a stretch of the normal line.
    ranks = np.column_stack(
        [np.lexsort((rng.random(rows), column)).argsort() for column in filled.T]
    )
    scores = stats.norm.ppf((ranks + 0.5) / rows)
    draws = rng.multivariate_normal(np.zeros(len(names)), np.corrcoef(scores.T), size=rows)
    place = np.minimum((stats.norm.cdf(draws) * rows).astype(np.int64), rows - 1)
    order = np.argsort(ranks, axis=0)
    return rows_of(train, names, np.take_along_axis(order, place, axis=0))
