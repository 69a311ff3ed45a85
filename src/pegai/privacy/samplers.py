"""Exact integer samplers fed by the operating system's CSPRNG: the only source of private noise.

Floating-point noise leaks through its holes (Mironov 2012), so noise is drawn on the integers, by
inversion of tables whose thresholds are held to 128 bits. A 64-bit word decides nearly every draw;
where it equals a threshold's upper half, a second word decides. Of the 64 bits the first 16 are
drawn alone, since in most cases no threshold begins with them and they have decided already. No
seed is accepted anywhere.

**What is drawn, and why its cost is exactly that of the continuous mechanism**

- `rounded_gaussian`: a Gaussian rounded to the nearest integer. For integer x, x + round(N) is
  round(x + N): post-processing of the Gaussian mechanism, so it costs no more, at any composition
  and any sub-sampling.
- `discrete_gaussian`: P(k) proportional to exp(-k^2 / (2 sigma^2)). Up to `TABLE_SIGMA` by table,
  above by the convolution X = a X1 + X2 (Peikert 2010, theorem 3.1; Micciancio and Walter 2017).
  Completing the square, P(X = x) is exp(-x^2 / (2 sigma^2)) with sigma^2 = a^2 s1^2 + s2^2, times a
  sum over a shifted lattice of a Gaussian of width tau = s1 s2 / sigma, which by Poisson's formula
  is constant up to a factor 1 +- e, e = 2 exp(-2 pi^2 tau^2) < 2^-112 for tau >= 2.
- `grid_gaussian`: what mechanisms use. Small sigma: the rounded Gaussian. Large sigma: the discrete
  Gaussian of variance sigma^2 + 4. By the same theorem that is N(0, sigma^2), randomly rounded by a
  discrete Gaussian of standard deviation 2, up to e: post-processing again.
- `rounded_laplace`: a Laplace rounded to the nearest integer; post-processing of the Laplace
  mechanism. (`discrete_laplace` is pure DP too, but on an integer grid its losses are always at the
  maximum, so composing it as Laplace in (epsilon, delta) would claim too much.)

**Distance from the exact law, a draw**: tables are cut where less than 2^-115 remains, and their
n < 2^16 thresholds are rounded by 2^-128 each; up to 5 convolutions add 2^-112 each. Together less
than 13 x 2^-112 < 2^-108 = `TV_PER_DRAW`, which the accountant charges.

Not covered: timing and other side channels of the machine that runs this.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.errors import PrivacyError

TV_PER_DRAW = 2.0**-108
"""Total variation between one drawn value and its exact law; an upper bound."""

MAX_DRAWS = 2**36
"""The most values a plan may draw: MAX_DRAWS x TV_PER_DRAW is the slack the accountant adds."""

ROUNDED_SIGMA = 64.0
"""Up to here `grid_gaussian` is the rounded Gaussian; above, 0.05 % more noise at most."""

TABLE_SIGMA = 2048.0
"""Largest sigma of one table; wider Gaussians are convolved."""

MAX_CANDIDATES = 2**16
"""The most candidates of one choice, for which the bound on the distance holds."""

LARGEST_SCALE = 2.0**48
"""Largest sigma or scale in grid units: noise and values then fit 64 bits together."""

_TAIL = 12.8  # standard deviations beyond which a Gaussian has less than 2^-115
_FRACTION = 256  # bits of the fixed-point weights
_SMOOTH = 2.0  # standard deviation at which a lattice Gaussian is flat up to 2^-112
_BASE = 256  # digits of the geometric sampler and of the gaps of a choice
_DIGIT_BITS = 8
_CHUNK = 1 << 16
_CELL_BITS = 16
_FEW = 4096  # below this many draws the cells of a table are not worth making

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Shape = int | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class InversionTable:
    """A distribution on consecutive integers, for drawing by inversion of 128-bit thresholds.

    Attributes:
        first: The smallest integer.
        high: Upper 64 bits of the cumulative thresholds, shape (integers - 1,).
        low: Lower 64 bits of them.
    """

    first: int
    high: Words
    low: Words

    @classmethod
    def of(cls, first: int, weights: Sequence[int]) -> InversionTable:
        """The table of integers from `first` with the given weights, which need no common sum."""
        total = sum(weights)
        high: list[int] = []
        low: list[int] = []
        cumulated = 0
        for weight in weights[:-1]:
            cumulated += weight
            # A point mass puts the threshold at 2^128, which no 128-bit number reaches.
            threshold = min((cumulated << 128) // total, (1 << 128) - 1)
            high.append(threshold >> 64)
            low.append(threshold & 0xFFFFFFFFFFFFFFFF)
        return cls(first, np.array(high, np.uint64), np.array(low, np.uint64))

    def lookup(self, words: Words, more: Callable[[int], Words]) -> Integers:
        """The integers that uniform words stand for.

        Args:
            words: Uniform 64-bit words, shape (n,).
            more: Gives that many further words; asked where a word equals a threshold's high half.
        """
        if not self.high.size:
            return np.full(words.shape, self.first, np.int64)
        index = np.searchsorted(self.high, words, side="right")
        undecided = np.flatnonzero(self.high.take(index - 1, mode="wrap") == words)
        for place in undecided:
            equal = self.high[: index[place]] == words[place]
            below = self.low[: index[place]] > more(1)[0]
            index[place] -= np.count_nonzero(equal & below)
        index += self.first
        return index

    @cached_property
    def cells(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """What the first 16 bits of a word say, shapes (65536,) each.

        The place among the thresholds of the smallest word that begins so; and how many thresholds
        begin so, 2 meaning two or more. Where none does, all such words compare alike with every
        threshold and none equals a threshold's high half: they have decided.
        """
        heads = self.high >> np.uint64(64 - _CELL_BITS)
        counts = np.bincount(heads.astype(np.int64), minlength=1 << _CELL_BITS)
        places = np.cumsum(counts) - counts
        return places.astype(np.int32), np.minimum(counts, 2).astype(np.uint8)

    def draw_many(self, random: SecureRandom, count: int) -> Integers:
        """Independent integers, by 16 bits where these decide, by the whole word elsewhere.

        One comparison is enough where one threshold begins with the 16 bits, unless the word equals
        its high half.
        """
        heads = np.frombuffer(os.urandom(2 * count), np.uint16)
        places, counts = self.cells
        drawn = places.take(heads).astype(np.int64)
        undecided = np.flatnonzero(counts.take(heads))
        heads = heads[undecided]
        words = random.words(undecided.size) >> np.uint64(_CELL_BITS)
        words |= heads.astype(np.uint64) << np.uint64(64 - _CELL_BITS)
        place = drawn[undecided]
        threshold = self.high[place]
        place += words > threshold
        drawn += self.first
        place += self.first
        hard = np.flatnonzero((counts.take(heads) > 1) | (words == threshold))
        place[hard] = self.lookup(words[hard], random.words)
        drawn[undecided] = place
        return drawn


class SecureRandom:
    """Random integers from `os.urandom`. It has no state, and there is no way to seed it.

    Example:
        >>> int(SecureRandom().bernoulli(1.0, 5).sum())
        5
        >>> SecureRandom().grid_gaussian(3.5, (2, 3)).shape
        (2, 3)
    """

    __slots__ = ()

    def words(self, count: int) -> Words:
        """Uniform 64-bit words, shape (count,)."""
        return np.frombuffer(os.urandom(8 * count), np.uint64)

    def rounded_gaussian(self, sigma: float, size: Shape) -> Integers:
        """N(0, sigma^2) rounded to the nearest integer; sigma up to `TABLE_SIGMA`.

        Raises:
            PrivacyError: Sigma is out of range.
        """
        return self._draw(_rounded_gaussian_table(_checked(sigma, TABLE_SIGMA)), size)

    def discrete_gaussian(self, sigma: float, size: Shape) -> Integers:
        """P(k) proportional to exp(-k^2 / (2 sigma^2)) on the integers.

        Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential privacy".

        Raises:
            PrivacyError: Sigma is not in (0, 2^48].
        """
        sigma = _checked(sigma, LARGEST_SCALE)
        if sigma <= TABLE_SIGMA:
            return self._draw(_discrete_gaussian_table(sigma), size)
        stride, inner, outer = convolution(sigma)
        total = self.discrete_gaussian(inner, size)
        total *= stride
        total += self._draw(_discrete_gaussian_table(outer), size)
        return total

    def grid_gaussian(self, sigma: float, size: Shape) -> Integers:
        """Integer noise whose sum with integers is post-processing of the Gaussian mechanism.

        Its standard deviation is at least sigma, and at most 0.05 % above that of the rounded
        Gaussian; see the module's docstring.
        """
        if sigma <= ROUNDED_SIGMA:
            return self.rounded_gaussian(sigma, size)
        return self.discrete_gaussian(math.sqrt(sigma * sigma + _SMOOTH * _SMOOTH), size)

    def discrete_laplace(self, scale: float, size: Shape) -> Integers:
        """P(k) proportional to exp(-|k| / scale): the difference of two geometrics.

        Raises:
            PrivacyError: Scale is not in (0, 2^48].
        """
        scale = _checked(scale, LARGEST_SCALE)
        return self._geometric(scale, size) - self._geometric(scale, size)

    def rounded_laplace(self, scale: float, size: Shape) -> Integers:
        """Laplace noise of a scale, rounded to the nearest integer.

        Its magnitude is 0 with probability 1 - exp(-1 / (2 scale)), else 1 plus a geometric.

        Raises:
            PrivacyError: Scale is not in (0, 2^48].
        """
        scale = _checked(scale, LARGEST_SCALE)
        magnitude = self._geometric(scale, size) + 1
        magnitude *= self._draw(_half_step_table(scale), size)
        signs = self._draw(InversionTable.of(0, (1, 1)), size)
        return magnitude * (1 - 2 * signs)

    def bernoulli(self, probability: float, size: Shape) -> NDArray[np.bool_]:
        """True with a probability, rounded down to a multiple of 2^-64; exact at 0 and 1.

        Raises:
            PrivacyError: The probability is not in [0, 1].
        """
        if not 0 <= probability <= 1:
            raise PrivacyError(f"a probability must lie in [0, 1], not {probability!r}")
        if probability == 1:
            return np.ones(size, np.bool_)
        threshold = np.uint64(math.floor(math.ldexp(probability, 64)))
        count = _count(size)
        hits = np.empty(count, np.bool_)
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            hits[start:stop] = self.words(stop - start) < threshold
        return hits.reshape(size)

    def uniform(self, categories: int, size: Shape) -> Integers:
        """Integers from 0 to categories - 1, all equally likely; up to `MAX_CANDIDATES` of them.

        Raises:
            PrivacyError: There are more or none.
        """
        if not 1 <= categories <= MAX_CANDIDATES:
            raise PrivacyError(f"a draw is among 1 to {MAX_CANDIDATES}, not {categories}")
        return self._draw(InversionTable.of(0, [1] * categories), size)

    def permute_and_flip(self, gaps: Integers, rate: float) -> int:
        """An index, by accepting in random order with probability exp(-rate x gap).

        McKenna and Sheldon 2020, "Permute-and-flip: a new mechanism for differentially private
        selection", algorithm 1: never worse in expected error than the exponential mechanism.

        Args:
            gaps: The best score minus each score, in grid units, >= 0 with at least one 0; (n,).
            rate: epsilon / (2 sensitivity in grid units), >= 0.
        """
        order = [int(i) for i in range(gaps.size)]
        for done in range(len(order)):
            other = done + secrets.randbelow(len(order) - done)
            order[done], order[other] = order[other], order[done]
            if secrets.randbits(128) < _exp_threshold(int(gaps[order[done]]), rate):
                return order[done]
        raise PrivacyError("permute-and-flip needs at least one candidate with gap 0")

    def exponential_choice(self, gaps: Integers, rate: float, count: int = 1) -> Integers:
        """Indices with probability proportional to exp(-rate x gap), by one inversion table.

        McSherry and Talwar 2007, "Mechanism design via differential privacy". Weights are right to
        2^-240, so that up to 2^16 candidates the distance from the exact law stays below
        `TV_PER_DRAW`.

        Args:
            gaps: The best score minus each score, in grid units, >= 0 with at least one 0; (n,).
            rate: epsilon / (2 sensitivity in grid units), >= 0.
            count: Independent choices; one is what a mechanism makes.

        Returns:
            Shape (count,).

        Raises:
            PrivacyError: There are more candidates than the bound holds for.
        """
        if not 1 <= gaps.size <= MAX_CANDIDATES:
            raise PrivacyError(
                f"a choice is among 1 to {MAX_CANDIDATES} candidates, not {gaps.size}"
            )
        table = InversionTable.of(0, _exp_weights([int(gap) for gap in gaps], rate))
        return self._draw(table, count)

    def _geometric(self, scale: float, size: Shape) -> Integers:
        """P(k) proportional to exp(-k / scale), k >= 0, by digits in base 256.

        The digits of a geometric number are independent, each geometric and cut at the base, so
        wide ones need no wide table and nothing is lost.
        """
        total = np.zeros(size, np.int64)
        weight = 1
        while scale > 64.0:
            total += weight * self._draw(_geometric_table(scale, cut=True), size)
            scale /= _BASE
            weight *= _BASE
        total += weight * self._draw(_geometric_table(scale, cut=False), size)
        return total

    def _draw(self, table: InversionTable, size: Shape) -> Integers:
        count = _count(size)
        if count < _FEW:
            return table.lookup(self.words(count), self.words).reshape(size)
        drawn = np.empty(count, np.int64)
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            drawn[start:stop] = table.draw_many(self, stop - start)
        return drawn.reshape(size)


def convolution(sigma: float) -> tuple[int, float, float]:
    """How a wide discrete Gaussian is made: (a, s1, s2) with a^2 s1^2 + s2^2 = sigma^2.

    s2 has a table, s1 is as near to a table's width as s1 s2 / sigma >= 2 allows.
    """
    outer = TABLE_SIGMA / math.sqrt(2)
    rest = math.sqrt(sigma * sigma - outer * outer)
    most = math.floor(rest * outer / (_SMOOTH * sigma))
    stride = min(math.ceil(rest / TABLE_SIGMA), most)
    return stride, rest / stride, outer


def _checked(scale: float, largest: float) -> float:
    if not (math.isfinite(scale) and 0 < scale <= largest):
        raise PrivacyError(
            f"the noise scale must be > 0 and at most {largest:g} grid units, not {scale!r}"
        )
    return float(scale)


def _count(size: Shape) -> int:
    return math.prod(size) if isinstance(size, tuple) else int(size)


def _mpmath() -> Any:
    """The library, imported late (0.15 s) and untyped."""
    return import_module("mpmath")


@lru_cache(maxsize=32)
def _discrete_gaussian_table(sigma: float) -> InversionTable:
    """w(k) = exp(-k^2 / (2 sigma^2)) by w(k + 1) = w(k) r(k), r(k + 1) = r(k) exp(-1 / sigma^2)."""
    ratio = _fixed_exp(-0.5, sigma)
    decay = _fixed_exp(-1.0, sigma)
    side: list[int] = []
    weight = 1 << _FRACTION
    for _ in range(math.ceil(_TAIL * sigma) + 1):
        weight = (weight * ratio) >> _FRACTION
        ratio = (ratio * decay) >> _FRACTION
        side.append(weight)
    return InversionTable.of(-len(side), [*reversed(side), 1 << _FRACTION, *side])


@lru_cache(maxsize=32)
def _rounded_gaussian_table(sigma: float) -> InversionTable:
    """w(k) = Phi((k + 1/2) / sigma) - Phi((k - 1/2) / sigma)."""
    mpmath = _mpmath()
    with mpmath.workprec(_FRACTION):
        unit = 1 / (mpmath.mpf(sigma) * mpmath.sqrt(2))
        count = math.ceil(_TAIL * sigma) + 2
        tails = [mpmath.erfc((2 * k + 1) * unit / 2) for k in range(count + 1)]
        # Twice every weight: the factor cancels.
        side = [int(mpmath.ldexp(a - b, _FRACTION - 8)) for a, b in pairwise(tails)]
        middle = int(mpmath.ldexp(2 * (1 - tails[0]), _FRACTION - 8))
    return InversionTable.of(-count, [*reversed(side), middle, *side])


@lru_cache(maxsize=32)
def _geometric_table(scale: float, *, cut: bool) -> InversionTable:
    """w(k) = exp(-k / scale), for one digit (cut at the base) or to the end of the tail."""
    ratio = _fixed_exp_inverse(scale)
    weights = [1 << _FRACTION]
    for _ in range(_BASE - 1 if cut else math.ceil(84 * scale) + 2):
        weights.append((weights[-1] * ratio) >> _FRACTION)
    return InversionTable.of(0, weights)


@lru_cache(maxsize=32)
def _half_step_table(scale: float) -> InversionTable:
    """0 with probability 1 - exp(-1 / (2 scale)), else 1."""
    one = _fixed_exp_inverse(2 * scale)
    return InversionTable.of(0, [(1 << _FRACTION) - one, one])


def _fixed_exp(numerator: float, sigma: float) -> int:
    """exp(numerator / sigma^2) x 2^256 for the exact double sigma."""
    mpmath = _mpmath()
    with mpmath.workprec(2 * _FRACTION):
        return int(
            mpmath.ldexp(mpmath.exp(mpmath.mpf(numerator) / mpmath.mpf(sigma) ** 2), _FRACTION)
        )


def _fixed_exp_inverse(scale: float) -> int:
    """exp(-1 / scale) x 2^256."""
    mpmath = _mpmath()
    with mpmath.workprec(2 * _FRACTION):
        return int(mpmath.ldexp(mpmath.exp(-1 / mpmath.mpf(scale)), _FRACTION))


def _exp_weights(gaps: Sequence[int], rate: float) -> list[int]:
    """exp(-rate x gap) x 2^256 for each gap, by its digits in base 256.

    Each power of a digit is one product of 256-bit numbers, rounded down: 255 of them, and the 8 of
    a gap, leave less than 2^-244.
    """
    most = max((gap for gap in gaps if gap * rate <= 180.0), default=0)  # beyond: below 2^-256
    powers: list[list[int]] = []
    while most >> (_DIGIT_BITS * len(powers)):
        powers.append(_exp_powers(1 << (_DIGIT_BITS * len(powers)), rate))
    return [0 if gap > most else _exp_product(gap, powers) for gap in gaps]


def _exp_product(gap: int, powers: Sequence[Sequence[int]]) -> int:
    weight = 1 << _FRACTION
    for power in powers:
        weight = (weight * power[gap & (_BASE - 1)]) >> _FRACTION
        gap >>= _DIGIT_BITS
    return weight


def _exp_powers(unit: int, rate: float) -> list[int]:
    """exp(-rate x unit x digit) x 2^256 for each digit."""
    mpmath = _mpmath()
    with mpmath.workprec(2 * _FRACTION):
        exponent = mpmath.mpf(rate) * unit
        one = int(mpmath.ldexp(mpmath.exp(-exponent), _FRACTION))
    powers = [1 << _FRACTION]
    for _ in range(_BASE - 1):
        powers.append((powers[-1] * one) >> _FRACTION)
    return powers


def _exp_threshold(gap: int, rate: float) -> int:
    """exp(-rate x gap) x 2^128, rounded down."""
    mpmath = _mpmath()
    with mpmath.workprec(_FRACTION):
        return int(mpmath.ldexp(mpmath.exp(-mpmath.mpf(gap) * mpmath.mpf(rate)), 128))
