"""Rebuilt columns brought to what is given: which drawn rows are near, and the move that is left.

A method learns `discharge` as the gap to `admission`, and `total` not at all, so it can't be told
what they are given as. Rows are drawn from the model without, their columns are rebuilt, and those
near the value given are drawn again by weight (sampling-importance-resampling, Rubin 1987): the
other columns then follow the model given the value, at a fixed cost. What is left of the distance
is moved away: a gap stays and the column that it hangs on moves; a difference of a total is spread
over its parts by the room that each has.

All of it looks at synthetic rows and the public schema only: post-processing, which costs no
budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pegai.schema import Schema
from pegai.synth.constraints.kinds import Gap, Rebuilt, Total
from pegai.synth.constraints.moves import Bools, Floats, limits, snapped, step_of

POOL_FACTOR = 8
"""Rows drawn for each row wanted."""

MIN_POOL = 8192

BLOCK_ROWS = 8192
"""Rows wanted of one pool: more take another pool, so that no pool is larger than 65,536 rows."""

NEAR_SHARE = 64
"""One row in so many of a pool carries weight, so that what is written has many different rows."""

MIN_NEAR = 64

EDGE = 2.0
"""The farthest row that carries weight has exp(-EDGE) of the nearest one's."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What rows will have in columns of forms.

    Attributes:
        values: Of rebuilt columns in their own numbers, NaN where a row has none; each (rows,).
        missing: Rebuilt columns that will be missing in all rows.
        held: Columns of which a row's own value stays, each (rows,).
    """

    values: Mapping[str, Floats]
    missing: frozenset[str]
    held: Mapping[str, Bools]

    def taken(self, places: NDArray[np.int64]) -> Targets:
        """Those of some rows, in that order."""
        values = {name: numbers[places] for name, numbers in self.values.items()}
        held = {name: mask[places] for name, mask in self.held.items()}
        return Targets(values, self.missing, held)

    def distances(self, built: Mapping[str, Floats]) -> Floats:
        """How far each row is from its targets, in standard deviations of the rows; shape (rows,).

        Infinite where a value is missing that will not be, or the other way round.
        """
        squares = np.zeros(len(next(iter(built.values()))))
        for name, aim in self.values.items():
            own = built[name]
            known = own[np.isfinite(own)]
            scale = float(known.std()) if known.size else 0.0
            far = np.where(np.isfinite(own), np.abs(own - aim) / (scale or 1.0), np.inf)
            squares += np.where(np.isfinite(aim), far, 0.0) ** 2
        for name in self.missing:
            squares[np.isfinite(built[name])] = np.inf
        return np.sqrt(squares)


def pool_rows(n: int) -> int:
    """Rows to draw where n are wanted."""
    return max(POOL_FACTOR * n, MIN_POOL)


def near(distances: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The rows of a pool that carry weight, and their weights; none where all are infinitely far.

    The width is that of the nearest rows of a fixed number, measured from the nearest one: a value
    that the model never draws is answered by what it draws next to it. Where that many rows are
    equally near, all of them have the same weight and no other has any.
    """
    finite = np.flatnonzero(np.isfinite(distances))
    if not finite.size:
        return finite, np.zeros(0)
    beyond = distances[finite] - distances[finite].min()
    wanted = min(max(MIN_NEAR, len(distances) // NEAR_SHARE), finite.size)
    width = np.partition(beyond, wanted - 1)[wanted - 1]
    inside = beyond <= width
    weights = np.exp(-EDGE * (beyond[inside] / (width or 1.0)) ** 2)
    return finite[inside], weights


def resampled(weights: Floats, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions drawn by weight, each as often as its share of n rounded up or down; shape (n,)."""
    upper = np.cumsum(weights)
    at = (np.arange(n) + rng.random()) / n * upper[-1]
    places = np.searchsorted(upper, at, side="right")
    return rng.permutation(np.minimum(places, np.flatnonzero(weights)[-1]))


def moved(
    rebuilt: Sequence[Rebuilt],
    built: Mapping[str, Floats],
    targets: Targets,
    *,
    schema: Schema,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Columns without a form, moved so that those rebuilt from them have their targets.

    Args:
        rebuilt: The forms.
        built: Every number of the rows, in its own units; each (rows,).
        targets: What the rows will have.
        schema: Of the rows.
        rng: Rounds.

    Returns:
        Columns that moved; as near as their bounds and grid let them come.
    """
    gaps = {form.name: form for form in rebuilt if isinstance(form, Gap)}
    totals = {form.name: form for form in rebuilt if isinstance(form, Total)}
    aims = {name: aim for name, aim in targets.values.items() if name in totals}
    rows = len(next(iter(built.values())))
    held = {name: targets.held.get(name, np.zeros(rows, bool)).copy() for name in schema.names}
    found: dict[str, Floats] = {}
    for name in gaps:
        if name not in targets.values:
            continue
        root, shift = _root(name, gaps), targets.values[name] - built[name]
        moves = np.isfinite(shift) & ~held[root]
        ends = found.get(root, aims.get(root, built[root]))
        (aims if root in totals else found)[root] = np.where(moves, built[root] + shift, ends)
        held[root] |= moves & (root not in totals)
    for name, aim in aims.items():
        factors: dict[str, float] = {}
        for part, by in totals[name].factors:
            root = _root(part, gaps)
            factors[root] = factors.get(root, 0.0) + by
        free = {part: by for part, by in factors.items() if by and part not in totals}
        parts = {part: found.get(part, built[part]) for part in free}
        # As it adds up, not as it was rounded, and with what gaps have moved already.
        now = totals[name].computed(built)
        now = now + sum(by * (parts[part] - built[part]) for part, by in free.items())
        found |= _spread(aim - now, free, parts, held=held, schema=schema, rng=rng)
    return found


def _root(name: str, gaps: Mapping[str, Gap]) -> str:
    """The beginning of a chain of gaps."""
    while name in gaps:
        name = gaps[name].anchor
    return name


def _spread(
    difference: Floats,
    factors: Mapping[str, float],
    parts: dict[str, Floats],
    *,
    held: Mapping[str, Bools],
    schema: Schema,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Parts of a sum moved so that it changes by a difference, each by the room that it has."""
    rest = np.where(np.isfinite(difference), difference, 0.0)
    for turn in range(2):
        names = [list(factors)[i] for i in rng.permutation(len(factors))]
        left = {n: _room(n, rest / factors[n], parts[n], held[n], schema) for n in names}
        room = {name: left[name] * abs(factors[name]) for name in names}
        for place, name in enumerate(names):
            whole = np.sum([room[other] for other in names[place:]], axis=0)
            move = rest * np.divide(room[name], whole, out=np.zeros_like(whole), where=whole > 0)
            move = move / factors[name]
            if not turn and place < len(names) - 1:
                # Rounded up or down at random: no part always takes the odd one.
                step = step_of(schema[name]) or 0.0
                move = np.where(move == 0, 0.0, move + (rng.random(len(move)) - 0.5) * step)
            to = snapped(parts[name] + move, schema[name])
            to = np.where((room[name] > 0) & (move != 0), to, parts[name])
            rest = rest - factors[name] * (to - np.where(room[name] > 0, parts[name], to))
            parts[name] = to
    return parts


def _room(name: str, move: Floats, now: Floats, held: Bools, schema: Schema) -> Floats:
    """How far a part can go the way of a move; its own size where there is no bound; (rows,)."""
    low, high = limits(schema[name])
    room = np.where(move > 0, high - now, now - low)
    room = np.where(np.isfinite(room), np.maximum(room, 0.0), np.maximum(np.abs(now), 1.0))
    return np.where(held | ~np.isfinite(now) | (move == 0), 0.0, room)
