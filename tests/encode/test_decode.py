"""Decoding by gathers and one search: the same values as by the rule, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from pegai.encode.categorical import CategoricalEncoder
from pegai.encode.numeric import KNOTS, NumericEncoder
from pegai.schema import Column

ROWS = 4000


class Draws:
    """A generator whose uniform draws are kept."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kept: list[np.ndarray] = []

    def random(self, size: int) -> np.ndarray:
        self.kept.append(self.rng.random(size))
        return self.kept[-1]


@pytest.mark.parametrize("missing", [False, True])
def test_shared_values_come_by_their_shares(missing: bool) -> None:
    column = Column.model_validate({"name": "x", "type": "number"})
    knots = (
        np.sort(np.random.default_rng(0).normal(size=(4, KNOTS)), axis=1)
        + 10.0 * np.arange(4)[:, None]
    )
    encoder = NumericEncoder(
        column,
        np.array([5.0, 15.0, 25.0]),
        knots,
        ((), (11.0, 12.0, 13.0), (20.5,), (31.0, 33.0)),
        ((), (0.2, 0.3, 0.1), (1.0,), (0.0, 0.25)),
        missing,
    )
    codes = np.random.default_rng(1).integers(0, encoder.size, ROWS).astype(np.uint8)
    draws = Draws(2)
    found = encoder.decode(codes, draws)  # pyright: ignore[reportArgumentType]
    place, choice = draws.kept
    for row, code in enumerate(codes):
        if code == len(knots):
            assert np.isnan(found[row])
            continue
        at = place[row] * (KNOTS - 1)
        expected = np.interp(at, np.arange(KNOTS), knots[code])
        below = 0.0
        for value, share in zip(encoder.spikes[code], encoder.spike_shares[code], strict=True):
            if below <= choice[row] < below + share:
                expected = value
            below += share
        assert found[row] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("rare", [(), ("c", "d", "e")])
def test_texts_of_codes(missing: bool, rare: tuple[str, ...]) -> None:
    column = Column.model_validate({"name": "x", "type": "string", "categories": list("abcde")})
    shares = (0.5, 0.5, 0.0)[: len(rare)]
    encoder = CategoricalEncoder(column, ("a", "b"), rare, shares, missing)
    codes = np.random.default_rng(1).integers(0, encoder.size, ROWS)
    found = encoder.decode(codes, np.random.default_rng(2))
    again = encoder.decode(codes.astype(np.uint8), np.random.default_rng(2))
    assert found.equals(again)
    assert found.name == "x"
    for code, text in zip(codes, found, strict=True):
        if code < 2:
            assert text == "ab"[code]
        elif rare and code == 2:
            assert text in ("c", "d")
        else:
            assert text is None
    if rare:
        assert 0.4 < (found == "c").sum() / (codes == 2).sum() < 0.6
