"""Copies: training patients whose record stands verbatim in the synthetic table.

Real tables with few levels repeat themselves, so a match alone proves nothing. The yardstick is the
holdout's own rate: a patient that the generator never saw is matched by chance only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.features import Encoded
from pegai.evaluate.intervals import newcombe


@dataclass(frozen=True, eq=False)
class Copies:
    """Verbatim matches between real patients and one synthetic table.

    Attributes:
        train: Whether each training patient has a record in the synthetic table.
        holdout: The same for each holdout patient.
        rows: Synthetic rows that equal a training record.
        size: Synthetic rows.
    """

    train: np.ndarray
    holdout: np.ndarray
    rows: int
    size: int

    @property
    def train_rate(self) -> float:
        """Share of training patients found in the synthetic table."""
        return float(self.train.mean()) if self.train.size else float("nan")

    @property
    def holdout_rate(self) -> float:
        """Share of holdout patients found in it: what chance alone gives."""
        return float(self.holdout.mean()) if self.holdout.size else float("nan")

    @property
    def excess(self) -> float:
        """Training rate minus holdout rate; 0 is what a generator without memory gives."""
        return self.train_rate - self.holdout_rate

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's 95 % interval of the excess, over patients."""
        return newcombe(
            float(self.train.sum()), self.train.size, float(self.holdout.sum()), self.holdout.size
        )


def exact_copies(train: Encoded, holdout: Encoded, synthetic: Encoded) -> Copies:
    """Search every real patient's records in a synthetic table; all columns must be equal.

    Numbers are equal to nine decimals of the interquartile range; missing equals missing; free text
    is not compared here (`text_copies`).
    """
    return Copies(
        _patients_found(train, synthetic.keys),
        _patients_found(holdout, synthetic.keys),
        int(np.isin(synthetic.keys, train.keys).sum()),
        len(synthetic),
    )


@dataclass(frozen=True)
class UniqueRows:
    """Rows that equal the record of exactly one training patient.

    Attributes:
        synthetic: How many synthetic rows do, and how many there are.
        holdout: The same of the holdout's rows: what chance alone gives.
    """

    synthetic: tuple[int, int]
    holdout: tuple[int, int]

    @property
    def excess(self) -> float:
        """Share of synthetic rows less share of holdout rows."""
        return self.synthetic[0] / max(1, self.synthetic[1]) - self.holdout[0] / max(
            1, self.holdout[1]
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's 95 % interval of the excess, over rows."""
        return newcombe(*self.synthetic, *self.holdout)


def unique_rows(train: Encoded, holdout: Encoded, synthetic: Encoded) -> UniqueRows:
    """Count rows that stand for one training patient and nobody else.

    It sees one patient's record repeated three hundred times, which is one patient's share only of
    `exact_copies`, and a table of training and holdout records together.
    """
    pairs = np.unique(np.stack([train.keys, train.units.astype(np.uint64)]), axis=1)
    keys, patients = np.unique(pairs[0], return_counts=True)
    single = keys[patients == 1]
    return UniqueRows(
        (int(np.isin(synthetic.keys, single).sum()), len(synthetic)),
        (int(np.isin(holdout.keys, single).sum()), len(holdout)),
    )


@dataclass(frozen=True, eq=False)
class TextCopies:
    """Texts of single training patients that stand in a synthetic column.

    Attributes:
        column: The free-text column.
        train: Texts that one training patient has, and how many are found.
        holdout: The same for the holdout.
    """

    column: str
    train: tuple[int, int]
    holdout: tuple[int, int]

    @property
    def excess(self) -> float:
        """Share of training texts found, less that of holdout texts."""
        (found, texts), (others, other_texts) = self.train, self.holdout
        return found / max(1, texts) - others / max(1, other_texts)

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's 95 % interval of the excess."""
        return newcombe(*self.train, *self.holdout)


def text_copies(
    train: Table, holdout: Table, synthetic: Table, columns: Sequence[str]
) -> tuple[TextCopies, ...]:
    """Search every text of a single patient, cell by cell; blanks at the ends don't count."""
    found = []
    for name in columns:
        made = synthetic.texts(name).str.strip_chars().unique()
        sides = []
        for table in (train, holdout):
            texts = table.texts(name).str.strip_chars().drop_nulls()
            single = texts.filter((texts != "") & texts.is_unique())
            sides.append((int(single.is_in(made.implode()).sum()), len(single)))
        found.append(TextCopies(name, sides[0], sides[1]))
    return tuple(found)


def _patients_found(real: Encoded, keys: np.ndarray) -> np.ndarray:
    found = np.zeros(int(real.units.max(initial=-1)) + 1, dtype=bool)
    found[real.units[np.isin(real.keys, keys)]] = True
    # `take` may leave gaps in the numbering of patients.
    return found[np.unique(real.units)]
