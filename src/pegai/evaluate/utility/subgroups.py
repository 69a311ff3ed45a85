"""Subgroups: whether synthetic patients serve women, the old or one hospital worse than others.

Subgroups come from columns that the schema calls quasi-identifier or site, and from those named sex
or age. Ages in years are cut at 45 and 65, which are public; other numbers at the training table's
thirds. What is missing is a subgroup of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegai.evaluate.features import Encoded
from pegai.schema import Schema

MIN_PATIENTS = 20
"""Holdout rows below which a subgroup is not assessed."""

MAX_COLUMNS = 8
MAX_LEVELS = 8
AGE_CUTS = (45.0, 65.0)
_NAMED = ("sex", "gender", "age", "race", "ethnicity")
_AGES = ("age", "age_years", "age_at_admission", "age_at_diagnosis")
_ROUND = 1e-8


@dataclass(frozen=True)
class Subgroups:
    """How one column parts the patients.

    Attributes:
        column: The table's column.
        title: Its name for people.
        labels: The subgroups' names.
        place: Position among the coded numbers or discrete columns.
        cuts: Cut points in the coding's units; empty for a discrete column.
        codes: For a discrete column the code of each subgroup; the last subgroup is missing.
    """

    column: str
    title: str
    labels: tuple[str, ...]
    place: int
    cuts: tuple[float, ...] = ()
    codes: tuple[int, ...] = ()

    def members(self, table: Encoded) -> np.ndarray:
        """Mask of each subgroup; shape (subgroups, rows)."""
        if self.codes:
            return table.codes[:, self.place][None] == np.array(self.codes)[:, None]
        values = table.numbers[:, self.place]
        # A value on a cut belongs to the middle; the coding rounds to nine decimals.
        low, high = values < self.cuts[0] - _ROUND, values > self.cuts[1] + _ROUND
        absent = np.isnan(values)
        return np.array([low, ~low & ~high & ~absent, high, absent])


def find_subgroups(schema: Schema, train: Encoded) -> list[Subgroups]:
    """The columns by which figures are broken down, in the schema's order; eight at most."""
    found: list[Subgroups] = []
    for column in schema.modelled:
        named = column.name.lower() in (*_NAMED, *_AGES)
        if not named and column.role not in ("quasi-identifier", "site"):
            continue
        title = column.title or column.name
        if column.is_discrete:
            found += _discrete(train, column.name, title, column.labels)
        elif column.kind in ("integer", "continuous"):
            found += _cut(train, column.name, title)
    return found[:MAX_COLUMNS]


def _discrete(train: Encoded, name: str, title: str, names: dict[str, str]) -> list[Subgroups]:
    place = [c.name for c in train.features.discrete].index(name)
    spec = train.features.discrete[place]
    counts = np.bincount(train.codes[:, place] + 1, minlength=spec.size + 1)[1:-1]
    largest = np.argsort(-counts, kind="stable")[:MAX_LEVELS]
    codes = sorted(int(k) for k in largest if counts[k] > 0)
    if len(codes) < 2:
        return []
    labels = (*(names.get(spec.levels[k], spec.levels[k]) for k in codes), "missing")
    return [Subgroups(name, title, labels, place, codes=(*codes, -1))]


def _cut(train: Encoded, name: str, title: str) -> list[Subgroups]:
    place = [c.name for c in train.features.numbers].index(name)
    spec = train.features.numbers[place]
    values = train.numbers[:, place]
    observed = values[~np.isnan(values)]
    if observed.size < MIN_PATIENTS:
        return []
    if name.lower() in _AGES:
        cuts = tuple((cut - spec.centre) / spec.scale for cut in AGE_CUTS)
        labels = ("below 45", "45 to 65", "above 65", "missing")
    else:
        first, second = np.quantile(observed, [1 / 3, 2 / 3], method="lower")
        if first >= second:
            return []
        cuts = (float(first), float(second))
        labels = ("low third", "middle third", "high third", "missing")
    return [Subgroups(name, title, labels, place, cuts=cuts)]


def share_ratio(count: float, rows: int, real: float, real_rows: int) -> tuple[float, float, float]:
    """Share among synthetic over share among real patients, with a 95 % interval.

    The interval is on the logarithm (Katz et al. 1978), with half a patient added to every count
    where one is 0; NaN where no real patient is in the subgroup.
    """
    if real == 0 or rows == 0:
        return float("nan"), float("nan"), float("nan")
    ratio = (count / rows) / (real / real_rows)
    a, b = (count, real) if count > 0 else (0.5, real + 0.5)
    log = np.log((a / rows) / (b / real_rows))
    half = 1.959964 * np.sqrt(max(0.0, 1 / a - 1 / rows + 1 / b - 1 / real_rows))
    low, high = float(np.exp(log - half)), float(np.exp(log + half))
    return float(ratio), min(low, float(ratio)), max(high, float(ratio))
