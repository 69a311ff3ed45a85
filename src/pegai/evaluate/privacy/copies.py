"""Copies: training patients whose record stands verbatim in the synthetic table.

Real tables with few levels repeat themselves, so a match alone proves nothing. The yardstick is the
holdout's own rate: a patient that the generator never saw is matched by chance only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    Numbers are equal to nine decimals of the training table's interquartile range; missing equals
    missing; free text, where a table has it, is compared too.
    """
    return Copies(
        _patients_found(train, synthetic.keys),
        _patients_found(holdout, synthetic.keys),
        int(np.isin(synthetic.keys, train.keys).sum()),
        len(synthetic),
    )


def _patients_found(real: Encoded, keys: np.ndarray) -> np.ndarray:
    found = np.zeros(int(real.units.max(initial=-1)) + 1, dtype=bool)
    found[real.units[np.isin(real.keys, keys)]] = True
    # `take` may leave gaps in the numbering of patients.
    return found[np.unique(real.units)]
