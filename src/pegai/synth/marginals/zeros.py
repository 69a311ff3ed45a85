"""Cells of a table that no row can fall into, by the impossible combinations of the schema.

They come from the public schema and from codes that were released before, so setting them to 0 in
a released table is post-processing. A code that joins several levels is impossible with another
only where each of its levels is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import chain

import numpy as np

from pegai.encode.categorical import CategoricalEncoder
from pegai.encode.table import ColumnEncoder, TableEncoder
from pegai.schema import Impossible
from pegai.synth.marginals.measurements import Array


def impossible_cells(encoder: TableEncoder, columns: Sequence[int]) -> Array | None:
    """Which cells of a table are impossible by the combinations of its own columns.

    Args:
        encoder: Codes of the columns, and their schema.
        columns: Positions in the encoder, one an axis of the table.

    Returns:
        Booleans of shape (codes of the first column, ...); None where every cell is possible.
    """
    names = {encoder.schema.names[column] for column in columns}
    rules = [rule for rule in encoder.schema.impossible if set(rule.columns) <= names]
    if not rules:
        return None
    sides = [_kinds(encoder.columns[column], rules) for column in columns]
    # Levels that no rule tells apart are one kind: columns of ten thousand levels stay small.
    possible = np.ones([kinds.shape[0] for kinds, _ in sides], bool)
    for number in range(len(rules)):
        possible &= ~reduce(np.multiply.outer, [kinds[:, number] for kinds, _ in sides])
    for _, members in sides:
        # The first axis of kinds becomes the last one, of codes: after all, the order is as before.
        found = np.tensordot(possible.astype(float), members.astype(float), axes=(0, 1))
        possible = found > 0
    return None if possible.all() else ~possible


def _kinds(encoder: ColumnEncoder, rules: list[Impossible]) -> tuple[Array, Array]:
    """The kinds of levels that rules tell apart, and which kinds a code holds.

    Returns:
        Whether a kind matches the column's part of a rule, shape (kinds, rules); whether a code has
        a level of the kind, shape (codes, kinds).
    """
    if not isinstance(encoder, CategoricalEncoder):
        return np.ones((1, len(rules)), bool), np.ones((encoder.size, 1), bool)
    groups: list[tuple[str | None, ...]] = [(level,) for level in encoder.common]
    groups += [encoder.rare] if encoder.rare else []
    groups += [(None,)] if encoder.missing else []
    codes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    matches = np.ones((len(codes), len(rules)), bool)
    for number, rule in enumerate(rules):
        if encoder.column.name in rule.columns:
            texts = set(rule.texts(encoder.column.name))
            matches[:, number] = [level in texts for level in chain.from_iterable(groups)]
    kinds, kind = np.unique(matches, axis=0, return_inverse=True)
    members = np.zeros((len(groups), len(kinds)), bool)
    members[codes, kind.ravel()] = True
    return kinds, members
