"""The samplers against exact laws.

Noise can't be seeded, so statistical tests draw fresh numbers each time: every one is set to a
false-alarm rate of 1e-7, and shows its power by rejecting 2/3 and 3/2 of the true scale.
"""

import inspect
import math
import re
from itertools import pairwise, permutations
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import pegai.privacy
from pegai.errors import PrivacyError
from pegai.privacy import SecureRandom, samplers

FALSE_ALARM = 1e-7
DRAWS = 200_000
RANDOM = SecureRandom()


def discrete_gaussian_pmf(sigma, reach):
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def rounded_gaussian_pmf(sigma, reach):
    k = np.arange(0, reach + 1)
    side = stats.norm.sf((k - 0.5) / sigma) - stats.norm.sf((k + 0.5) / sigma)
    return np.concatenate([side[:0:-1], side])


def discrete_laplace_pmf(scale, reach):
    ratio = math.exp(-1 / scale)
    return (1 - ratio) / (1 + ratio) * ratio ** np.abs(np.arange(-reach, reach + 1))


def rounded_laplace_pmf(scale, reach):
    k = np.arange(0, reach + 1)
    side = stats.laplace.sf(k - 0.5, scale=scale) - stats.laplace.sf(k + 0.5, scale=scale)
    return np.concatenate([side[:0:-1], side])


LAWS = {
    "discrete_gaussian": discrete_gaussian_pmf,
    "rounded_gaussian": rounded_gaussian_pmf,
    "discrete_laplace": discrete_laplace_pmf,
    "rounded_laplace": rounded_laplace_pmf,
}


def p_value(drawn, pmf, reach):
    """Chi-square of draws against a pmf on -reach..reach; thin bins are merged."""
    counts = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=2 * reach + 1)
    expected = pmf / pmf.sum() * drawn.size
    group = np.minimum(np.cumsum(expected) // 20, expected.sum() // 20 - 1).astype(int)
    seen = np.bincount(group, counts)
    due = np.bincount(group, expected)
    kept = due > 0
    return stats.chisquare(seen[kept], due[kept] * seen.sum() / due.sum()).pvalue


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("scale", [0.6, 1.0, 3.7, 30.0])
def test_draws_follow_their_law_and_no_other_scale(name, scale):
    drawn = getattr(RANDOM, name)(scale, DRAWS)
    assert drawn.dtype == np.int64
    reach = math.ceil(40 * scale * 1.5)
    assert p_value(drawn, LAWS[name](scale, reach), reach) > FALSE_ALARM
    for wrong in (scale * 2 / 3, scale * 3 / 2):
        assert p_value(drawn, LAWS[name](wrong, reach), reach) < 1e-12


def test_rounded_and_discrete_laws_are_told_apart():
    # Power of the chi-square against the subtlest mistake: the right scale, the wrong law.
    drawn = RANDOM.rounded_laplace(0.6, DRAWS)
    assert p_value(drawn, discrete_laplace_pmf(0.6, 60), 60) < 1e-12


def gauss(x, variance):
    return mpmath.exp(-(mpmath.mpf(x) ** 2) / (2 * mpmath.mpf(variance)))


def thresholds(table):
    return [(int(h) << 64) + int(low) for h, low in zip(table.high, table.low, strict=True)]


def total_variation(table, law):
    """Distance between a table and a law on all integers, at 300 bits."""
    with mpmath.workprec(300):
        one = mpmath.mpf(2) ** 128
        edges = [mpmath.mpf(0), *(mpmath.mpf(t) / one for t in thresholds(table)), mpmath.mpf(1)]
        held = [b - a for a, b in pairwise(edges)]
        true = [law(table.first + i) for i in range(len(held))]
        inside = mpmath.fsum(abs(a - b) for a, b in zip(held, true, strict=True))
        return (inside + abs(1 - mpmath.fsum(true))) / 2


@pytest.mark.parametrize("sigma", [0.05, 1.0, 13.7, 64.0])
def test_tables_of_the_rounded_gaussian_are_exact_to_the_stated_distance(sigma):
    def law(k):
        unit = mpmath.mpf(sigma) * mpmath.sqrt(2)
        k = abs(k)
        upper = mpmath.erfc((mpmath.mpf(k) - mpmath.mpf("0.5")) / unit)
        return (upper - mpmath.erfc((mpmath.mpf(k) + mpmath.mpf("0.5")) / unit)) / 2

    table = samplers._rounded_gaussian_table(sigma)
    assert total_variation(table, law) < samplers.TV_PER_DRAW / 8


@pytest.mark.parametrize("sigma", [0.05, 1.0, 13.7, 300.25])
def test_tables_of_the_discrete_gaussian_are_exact_to_the_stated_distance(sigma):
    with mpmath.workprec(300):
        reach = math.ceil(16 * sigma) + 2
        norm = 1 + 2 * mpmath.fsum(
            mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * mpmath.mpf(sigma) ** 2))
            for k in range(1, reach)
        )

    def law(k):
        return mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * mpmath.mpf(sigma) ** 2)) / norm

    table = samplers._discrete_gaussian_table(sigma)
    assert total_variation(table, law) < samplers.TV_PER_DRAW / 8


@pytest.mark.parametrize("scale", [0.05, 1.0, 7.3, 64.0])
def test_tables_of_the_geometric_are_exact_to_the_stated_distance(scale):
    def law(k):
        ratio = mpmath.exp(-1 / mpmath.mpf(scale))
        return (1 - ratio) * ratio**k

    table = samplers._geometric_table(scale, cut=False)
    assert total_variation(table, law) < samplers.TV_PER_DRAW / 8


def test_a_digit_of_the_geometric_is_the_geometric_cut_at_the_base():
    def law(k):
        ratio = mpmath.exp(-1 / mpmath.mpf(900.0))
        return (1 - ratio) * ratio**k / (1 - ratio**256)

    table = samplers._geometric_table(900.0, cut=True)
    assert len(table.high) == 255
    assert total_variation(table, law) < samplers.TV_PER_DRAW / 8


def test_largest_table_has_fewer_entries_than_its_error_bound_assumes():
    assert samplers._discrete_gaussian_table(samplers.TABLE_SIGMA).high.size < 2**16


@settings(max_examples=200, deadline=None)
@given(st.floats(samplers.TABLE_SIGMA, samplers.LARGEST_SCALE, exclude_min=True))
def test_convolutions_are_wide_enough_to_be_flat_at_every_level(sigma):
    for _level in range(6):
        stride, inner, outer = samplers.convolution(sigma)
        assert stride >= 1
        assert outer <= samplers.TABLE_SIGMA
        assert inner * outer / sigma >= 2 * (1 - 1e-12)
        assert math.isclose(stride**2 * inner**2 + outer**2, sigma**2, rel_tol=1e-14)
        if inner <= samplers.TABLE_SIGMA:
            return
        sigma = inner
    pytest.fail("more levels than the error bound assumes")


def test_a_convolution_is_the_wide_gaussian_to_the_stated_distance(monkeypatch):
    monkeypatch.setattr(samplers, "TABLE_SIGMA", 16.0)
    sigma = 40.0
    stride, inner, outer = samplers.convolution(sigma)
    assert stride > 1
    with mpmath.workprec(300):
        norm = [
            mpmath.fsum(gauss(k, s * s) for k in range(-1000, 1001)) for s in (inner, outer, sigma)
        ]
        scale = norm[0] * norm[1] / norm[2]
        for x in (0, 1, 2, 3, stride, 41, 157):
            made = mpmath.fsum(
                gauss(k, inner**2) * gauss(x - stride * k, outer**2) for k in range(-400, 401)
            )
            # 1e-15: s1 and s2 are doubles, so sigma is met to that; the lattice adds 2^-112.
            assert abs(made / scale / gauss(x, sigma**2) - 1) < 1e-13


def test_convolved_draws_follow_the_exact_law(monkeypatch):
    monkeypatch.setattr(samplers, "TABLE_SIGMA", 16.0)
    drawn = RANDOM.discrete_gaussian(60.0, DRAWS)
    assert p_value(drawn, discrete_gaussian_pmf(60.0, 1200), 1200) > FALSE_ALARM
    for wrong in (40.0, 90.0):
        assert p_value(drawn, discrete_gaussian_pmf(wrong, 1200), 1200) < 1e-12


@pytest.mark.parametrize("sigma", [70.0, 3000.0, 3e5, 1e7, 2.0**47])
def test_wide_gaussians_have_their_moments_and_shape(sigma):
    drawn = RANDOM.grid_gaussian(sigma, DRAWS) / sigma
    assert abs(drawn.mean()) < 6 / math.sqrt(DRAWS)
    assert abs(drawn.var() - 1) < 6 * math.sqrt(2 / DRAWS) + 4 / sigma**2
    assert abs((drawn**4).mean() - 3) < 6 * math.sqrt(96 / DRAWS) + 24 / sigma**2
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, DRAWS) / sigma
    assert stats.kstest(drawn + jitter, "norm").pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(drawn / wrong, "norm").pvalue < 1e-12


@pytest.mark.parametrize("modulus", [2, 7, 147, 256])
def test_wide_gaussians_show_no_trace_of_the_stride(modulus):
    # sigma 3e5 is made with stride 147: residues must be uniform all the same.
    drawn = RANDOM.discrete_gaussian(3e5, DRAWS)
    counts = np.bincount(drawn % modulus, minlength=modulus)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", ["discrete_laplace", "rounded_laplace"])
@pytest.mark.parametrize("scale", [100.0, 5e4, 2.0**46])
def test_wide_laplaces_have_their_shape(name, scale):
    drawn = getattr(RANDOM, name)(scale, DRAWS) / scale
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, DRAWS) / scale
    assert stats.kstest(drawn + jitter, "laplace").pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        assert stats.kstest(drawn / wrong, "laplace").pvalue < 1e-12


def test_wide_grid_noise_is_a_gaussian_randomly_rounded():
    """The claim of `grid_gaussian`: D(sigma^2 + 4) is N(0, sigma^2) then D(4) around it."""
    sigma = mpmath.mpf(6)
    with mpmath.workdps(50):
        norm = mpmath.fsum(gauss(k, sigma**2 + 4) for k in range(-120, 121))
        lattice = {
            shift: mpmath.fsum(gauss(k - shift, 4) for k in range(-40, 41))
            for shift in (mpmath.mpf(0), mpmath.mpf(1) / 2)
        }
        for x in (0, 1, 5, 17):
            # The trapezoid sum converges geometrically on a Gaussian integrand.
            step = mpmath.mpf(1) / 2
            grid = [i * step for i in range(-130, 131)]
            made = step * mpmath.fsum(
                gauss(y, sigma**2) * gauss(x - y, 4) / lattice[y - mpmath.floor(y)] for y in grid
            )
            made /= mpmath.sqrt(2 * mpmath.pi) * sigma
            assert abs(made / (gauss(x, sigma**2 + 4) / norm) - 1) < 1e-30


def test_grid_noise_widens_what_it_randomly_rounds(monkeypatch):
    asked = []
    for name in ("rounded_gaussian", "discrete_gaussian"):
        monkeypatch.setattr(
            SecureRandom, name, lambda self, sigma, size, name=name: asked.append((name, sigma))
        )
    for sigma in (0.5, 64.0, 64.5, 3e5):
        RANDOM.grid_gaussian(sigma, 1)
    assert asked[:2] == [("rounded_gaussian", 0.5), ("rounded_gaussian", 64.0)]
    assert asked[2:] == [
        ("discrete_gaussian", math.sqrt(64.5**2 + 4)),
        ("discrete_gaussian", math.sqrt(9e10 + 4)),
    ]


def test_a_tie_in_64_bits_is_decided_by_the_next_64():
    table = samplers.InversionTable.of(10, [1, 1, 1])  # thresholds at 1/3 and 2/3 of 2^128
    word, rest = int(table.high[0]), int(table.low[0])
    words = np.array([word - 1, word, word, word + 1], np.uint64)
    for second, drawn in ((rest - 1, [10, 10, 10, 11]), (rest, [10, 11, 11, 11])):
        more = np.array([second], np.uint64)
        assert table.lookup(words, lambda n, more=more: more).tolist() == drawn


def test_thresholds_that_share_their_high_half_are_told_apart():
    # Two outcomes of probability 2^-100 lie between two thresholds of one 64-bit word.
    table = samplers.InversionTable.of(0, [1 << 99, 1, 1, (1 << 99) - 2])
    first, second, third = thresholds(table)
    assert table.high[0] == table.high[1] == table.high[2]
    for low, outcome in ((first - 1, 0), (first, 1), (second, 2), (third, 3)):
        words = np.array([low >> 64], np.uint64)
        rest = np.array([low & (2**64 - 1)], np.uint64)
        assert table.lookup(words, lambda n, rest=rest: rest).tolist() == [outcome]


def test_a_point_mass_is_always_drawn():
    assert (RANDOM.rounded_gaussian(0.01, 1000) == 0).all()
    assert samplers.InversionTable.of(4, [9]).lookup(RANDOM.words(3), RANDOM.words).tolist() == [
        4,
        4,
        4,
    ]


@pytest.mark.parametrize("size", [0, 1, (0, 3), (2, 3), 70_000, (2, 40_000)])
def test_shapes(size):
    shape = size if isinstance(size, tuple) else (size,)
    for drawn in (
        RANDOM.grid_gaussian(5.0, size),
        RANDOM.grid_gaussian(5e5, size),
        RANDOM.rounded_laplace(5e5, size),
        RANDOM.discrete_laplace(5.0, size),
        RANDOM.bernoulli(0.5, size),
        RANDOM.bernoulli(1.0, size),
    ):
        assert drawn.shape == shape


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 2.0**49])
@pytest.mark.parametrize("name", [*LAWS, "grid_gaussian"])
def test_scales_out_of_range_are_refused(name, scale):
    with pytest.raises(PrivacyError):
        getattr(RANDOM, name)(scale, 3)


@pytest.mark.parametrize("probability", [0.0, 1e-3, 0.3, 0.9999, 1.0])
def test_bernoulli_hits_as_often_as_it_should(probability):
    hits = int(RANDOM.bernoulli(probability, DRAWS).sum())
    assert stats.binomtest(hits, DRAWS, probability).pvalue > FALSE_ALARM
    if 0.1 < probability < 1:
        assert stats.binomtest(hits, DRAWS, probability * 2 / 3).pvalue < 1e-7


def test_bernoulli_compares_below_the_exact_threshold(monkeypatch):
    edge = 3 << 62  # 3/4 of 2^64
    words = np.array([edge - 1, edge, 0, 2**64 - 1], np.uint64)
    monkeypatch.setattr(SecureRandom, "words", lambda self, n: words[:n])
    assert RANDOM.bernoulli(0.75, 4).tolist() == [True, False, True, False]
    # Rounded down, so that no patient is sampled more often than accounted.
    assert RANDOM.bernoulli(2.0**-64 * 1.999, 4).tolist() == [False, False, True, False]


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_bernoulli_refuses_what_is_no_probability(probability):
    with pytest.raises(PrivacyError):
        RANDOM.bernoulli(probability, 1)


def permute_and_flip_law(accepted):
    """The exact law, by all orders; accepted[i] is the chance of i when its turn comes."""
    law = np.zeros(len(accepted))
    orders = list(permutations(range(len(accepted))))
    for order in orders:
        left = 1.0
        for i in order:
            law[i] += left * accepted[i] / len(orders)
            left *= 1 - accepted[i]
    return law


def test_permute_and_flip_follows_its_exact_law():
    gaps, rate, runs = np.array([3, 0, 1, 7]), 0.5, 8000
    counts = np.bincount([RANDOM.permute_and_flip(gaps, rate) for _ in range(runs)], minlength=4)
    law = permute_and_flip_law(np.exp(-rate * gaps))
    assert stats.chisquare(counts, law * runs).pvalue > FALSE_ALARM
    for wrong in (2 / 3, 3 / 2):
        other = permute_and_flip_law(np.exp(-rate * wrong * gaps))
        assert stats.chisquare(counts, other * runs).pvalue < 1e-7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**61), min_size=1, max_size=5), st.floats(1e-12, 10))
def test_weights_of_a_choice_are_right_to_2_to_the_minus_240(gaps, rate):
    found = samplers._exp_weights([0, *gaps, 3, 255, 256, 65537], rate)
    with mpmath.workprec(700):
        for gap, weight in zip([0, *gaps, 3, 255, 256, 65537], found, strict=True):
            exact = mpmath.exp(-mpmath.mpf(rate) * gap)
            assert abs(exact - mpmath.ldexp(weight, -256)) <= mpmath.ldexp(1, -240)


def test_a_choice_is_drawn_by_its_exact_weights_and_among_a_bounded_number():
    assert RANDOM.exponential_choice(np.array([2**61, 0, 2**61]), 1.0) == 1
    assert RANDOM.exponential_choice(np.zeros(1, np.int64), 1.0) == 0
    for count in (0, samplers.MAX_CANDIDATES + 1):
        with pytest.raises(PrivacyError, match="candidates"):
            RANDOM.exponential_choice(np.zeros(count, np.int64), 1.0)
        with pytest.raises(PrivacyError, match="draw"):
            RANDOM.uniform(count, 1)


def test_permute_and_flip_at_its_ends():
    assert RANDOM.permute_and_flip(np.array([5]) * 0, 1.0) == 0
    assert RANDOM.permute_and_flip(np.array([2**61, 0, 2**61]), 1.0) == 1
    with pytest.raises(PrivacyError):
        RANDOM.permute_and_flip(np.array([], np.int64), 1.0)


def test_nothing_can_be_seeded():
    for arguments in ((1,), (None,)):
        with pytest.raises(TypeError):
            SecureRandom(*arguments)
    with pytest.raises(AttributeError):
        RANDOM.seed = 1
    for name in pegai.privacy.__all__:
        public = getattr(pegai.privacy, name)
        functions = [public] if inspect.isfunction(public) else []
        if inspect.isclass(public):
            functions += [f for _, f in inspect.getmembers(public, inspect.isroutine)]
        for function in functions:
            if not hasattr(function, "__code__"):
                continue
            parameters = set(inspect.signature(function).parameters)
            assert not parameters & {"seed", "rng", "random_state", "generator", "random"}


def test_no_other_source_of_randomness_is_imported():
    folder = Path(inspect.getfile(pegai.privacy)).parent
    pattern = re.compile(r"np\.random|default_rng|^import random|from random|pegai\.streams", re.M)
    for name in ("samplers", "mechanisms", "session", "ledger", "accountant", "calibrate"):
        assert not pattern.search((folder / f"{name}.py").read_text()), name
