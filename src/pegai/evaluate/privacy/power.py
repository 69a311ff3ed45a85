"""Power: what this evaluation would have seen, had it been there.

An attack that finds nothing proves nothing, unless it is known what it would have found. Two
answers, for the very patients, columns and sizes of the evaluation:

* **Positive controls**: tables that leak on purpose go through the same panel. `planted` is columns
  drawn independently with a twentieth of the rows replaced by training records; `jitter` is the
  training records with a little noise on every number; `overfit` crosses each training record with
  a near one. A control that is not found (p >= 0.05) says that the instrument is blind here.
* **The minimum detectable leak**: the smallest number of verbatim copies that the panel's
  permutation test finds at the 5 % level in 95 % of tries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.evaluate.features import Encoded
from pegai.evaluate.privacy.attacks import Attacked, attack
from pegai.evaluate.privacy.membership import PanelTest, panel_test, permuted_statistics
from pegai.evaluate.privacy.neighbours import CodedPoints, nearest_neighbours
from pegai.evaluate.privacy.targets import Targets
from pegai.streams import Streams

CONTROLS: dict[str, str] = {
    "planted": "a twentieth of the rows are copies of training records",
    "jitter": "training records with 5 % noise on every number",
    "overfit": "each training record crossed with one of its nearest",
}
"""Names and what each control is."""

PLANTED_SHARE = 0.05
JITTER = 0.05
CROSSED = 0.3
TRIES = 60
NULL_LABELS = 200
POWER = 0.95


@dataclass(frozen=True)
class Control:
    """One positive control.

    Attributes:
        name: One of `CONTROLS`.
        p_value: Of the panel's permutation test.
        found_by: The attack with the largest statistic.
    """

    name: str
    p_value: float
    found_by: str

    @property
    def detected(self) -> bool:
        """Whether the leak was found."""
        return self.p_value < 0.05


def run_controls(train: Encoded, targets: Targets, streams: Streams) -> tuple[Control, ...]:
    """Send every control through the panel."""
    found = []
    for name in CONTROLS:
        table = control_table(name, train, targets, streams)
        test = panel_test([attack(targets, table).scores], targets.member, streams)
        found.append(Control(name, test.p_value, test.found_by))
    return tuple(found)


def control_table(name: str, train: Encoded, targets: Targets, streams: Streams) -> Encoded:
    """A table that leaks on purpose, as long as the training table.

    Args:
        name: One of `CONTROLS`.
        train: The coded training table.
        targets: The patients that are attacked: a planted leak is of these.
        streams: Seeds.
    """
    rng = streams.child(f"control/{name}").get("split")
    if name == "planted":
        return _planted(train, targets, rng)
    if name == "jitter":
        return _jittered(train, rng)
    return _crossed(train, rng)


def independent_columns(targets: Targets, rows: int, rng: np.random.Generator) -> Encoded:
    """Columns drawn one by one from all real patients, members and others: no memory of anyone."""
    pool = targets.population
    numbers, codes = (
        np.empty((rows, pool.numbers.shape[1])),
        np.empty((rows, pool.codes.shape[1]), dtype=pool.codes.dtype),
    )
    for made, real in ((numbers, pool.numbers), (codes, pool.codes)):
        for i in range(real.shape[1]):
            made[:, i] = real[rng.integers(len(pool), size=rows), i]
    return _table(pool, numbers, codes)


def _planted(train: Encoded, targets: Targets, rng: np.random.Generator) -> Encoded:
    rows = len(train)
    mixed = independent_columns(targets, rows, rng)
    count = max(1, round(PLANTED_SHARE * rows))
    own = np.flatnonzero(targets.member[targets.patient])
    source = targets.table.take(rng.choice(own, min(count, own.size), replace=False))
    kept = mixed.take(np.arange(rows - len(source)))
    return dataclasses.replace(
        mixed,
        numbers=np.vstack([kept.numbers, source.numbers]),
        codes=np.vstack([kept.codes, source.codes]),
        keys=np.concatenate([kept.keys, source.keys]),
    )


def _jittered(train: Encoded, rng: np.random.Generator) -> Encoded:
    """Noise on the numbers; where there is none, a new value in one column of each record."""
    if train.numbers.shape[1]:
        spread = np.array([number.spread for number in train.features.numbers])
        noise = rng.standard_normal(train.numbers.shape) * JITTER * spread
        return _table(train, train.numbers + noise, train.codes)
    codes = train.codes.copy()
    at = rng.integers(codes.shape[1], size=len(train))
    codes[np.arange(len(train)), at] = codes[rng.permutation(len(train)), at]
    return _table(train, train.numbers, codes)


def _crossed(train: Encoded, rng: np.random.Generator) -> Encoded:
    points = CodedPoints(train)
    near = nearest_neighbours(
        points, points, 5, target_units=train.units, reference_units=train.units
    )
    other = near.index[np.arange(len(train)), rng.integers(near.index.shape[1], size=len(train))]
    number = rng.random(train.numbers.shape) < CROSSED
    code = rng.random(train.codes.shape) < CROSSED
    return _table(
        train,
        np.where(number, train.numbers[other], train.numbers),
        np.where(code, train.codes[other], train.codes),
    )


def _table(like: Encoded, numbers: np.ndarray, codes: np.ndarray) -> Encoded:
    """Rows with keys of their own: equal rows have equal keys, none that of a real record."""
    frame = pl.DataFrame(
        {f"n{i}": pl.Series(numbers[:, i]) for i in range(numbers.shape[1])}
        | {f"c{i}": pl.Series(codes[:, i]) for i in range(codes.shape[1])}
    )
    keys = frame.hash_rows(seed=1).to_numpy().astype(np.uint64)
    rows = np.arange(numbers.shape[0])
    return Encoded(like.features, numbers, codes, rows, keys, rows)


@dataclass(frozen=True)
class DetectableLeak:
    """The smallest leak that the panel finds reliably.

    Attributes:
        copies: Training patients whose records would have to be copied; NaN where even copying all
            that were tried is not found.
        share: The same as a share of the attacked training patients.
    """

    copies: float
    share: float


def minimum_detectable_leak(
    attacked: Attacked, targets: Targets, panel: PanelTest, streams: Streams
) -> DetectableLeak:
    """How many verbatim copies the permutation test finds in `POWER` of the tries.

    Labels are permuted, so that there is nothing to find; the scores of some "members" are then
    replaced by those they would have as copies (`Attacked.if_copied`), and the largest standardised
    statistic is compared with the critical value of the permutation test. Attacks that do not look
    for copies are left out, so the figure is on the safe side.
    """
    rng = streams.child("detectable-leak").get("split")
    labels = rng.permuted(np.tile(targets.member, (TRIES, 1)), axis=1)
    order = np.argsort(np.where(labels, rng.random(labels.shape), 2.0), axis=1)
    null = rng.permuted(np.tile(targets.member, (NULL_LABELS, 1)), axis=1)

    def is_found(copies: int) -> bool:
        missed = 0
        for label, ranking in zip(labels, order, strict=True):
            found = _largest(attacked, np.vstack([label, null]), ranking[:copies])
            missed += found < panel.critical
            if missed > (1 - POWER) * TRIES:
                return False
        return True

    sizes = _sizes(targets.members)
    low, high = 0, len(sizes)
    while low < high:  # the more copies, the surer they are found
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(sizes[middle]) else (middle + 1, high)
    if low == len(sizes):
        return DetectableLeak(float("nan"), float("nan"))
    return DetectableLeak(float(sizes[low]), sizes[low] / targets.members)


def _sizes(members: int) -> Sequence[int]:
    """1, 2, 3, 4, 6, 8, 12, 16 ... up to a quarter of the members."""
    sizes = sorted({step << i for i in range(20) for step in (1, 3)} | {2})
    return [size for size in sizes if size <= max(1, members // 4)]


def _largest(attacked: Attacked, labels: np.ndarray, copied: np.ndarray) -> float:
    """The largest statistic of the first labelling, standardised by the other ones."""
    largest = -np.inf
    for name, planted in attacked.if_copied.items():
        scores = attacked.scores[name].copy()
        scores[copied] = planted[copied]
        found = permuted_statistics(scores, labels)
        spread = found[:, 1:].std(axis=1)
        usable = spread > 1e-12
        gain = (found[:, 0] - found[:, 1:].mean(axis=1))[usable] / spread[usable]
        largest = max(largest, float(gain.max(initial=-np.inf)))
    return largest
