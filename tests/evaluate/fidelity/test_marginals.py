"""Tables of columns, distances of numbers, associations and missingness against known answers."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.fidelity.associations import (
    associations,
    contingency_difference,
    correlation_difference,
    cramers_v,
)
from pegai.evaluate.fidelity.conditionals import conditional_errors, real_conditionals
from pegai.evaluate.fidelity.marginal_tables import binned, choose_marginals
from pegai.evaluate.fidelity.marginals import growing_distances, marginal_distances, real_tables
from pegai.evaluate.fidelity.missingness import missingness
from pegai.evaluate.fidelity.numbers import number_distances
from pegai.evaluate.fidelity.pair_trends import fit_pair_bins
from pegai.schema import schema_from_dict

FIELDS = [
    {"name": "x", "type": "number"},
    *({"name": n, "type": "string", "categories": ["a", "b"]} for n in "cde"),
]


def make(**columns):
    schema = schema_from_dict({"fields": [f for f in FIELDS if f["name"] in columns]})
    return Table(pl.DataFrame({c.name: columns[c.name] for c in schema.columns}), schema)


def letters(bits):
    return np.where(np.asarray(bits) == 1, "b", "a")


def prepared(real, *others, group=None):
    features = fit_features(real)
    coded = [encode(features, t) for t in (real, *others)]
    marginals = choose_marginals(
        features.names,
        fit_pair_bins(coded[0]),
        np.random.default_rng(0),
        max_pairs=99,
        max_triples=99,
    )
    bins = [binned(marginals, t) for t in coded]
    group = np.zeros(len(real), dtype=np.int64) if group is None else group
    return marginals, coded, bins, real_tables(marginals, bins[0], group), group


def xor_tables():
    """All marginals and pairs equal, the three-way table as far off as can be."""
    c, d = np.array([0, 0, 1, 1] * 25), np.array([0, 1, 0, 1] * 25)
    real = make(c=letters(c), d=letters(d), e=letters(c ^ d))
    fake = make(c=letters(c), d=letters(d), e=letters(1 - (c ^ d)))
    return real, fake


def test_what_pairs_cannot_see_triples_do():
    _, _, bins, real, _ = prepared(*xor_tables())
    found = marginal_distances(real, bins[1])
    assert [found.means(order)[0] for order in (1, 2, 3)] == pytest.approx([0, 0, 1])
    assert found.worst(3) == [(("c", "d", "e"), 1.0)]
    assert [d for _, d in found.worst(2)] == [0, 0, 0]
    same = marginal_distances(real, bins[0])
    assert [same.means(order)[0] for order in (1, 2, 3)] == [0, 0, 0]


def test_distances_are_shares_of_patients_that_move():
    real = make(c=letters([0] * 6 + [1] * 4), d=letters([0] * 10))
    fake = make(c=letters([0] * 3 + [1] * 2), d=["a"] * 4 + [None])
    _, _, bins, tables, _ = prepared(real, fake)
    found = marginal_distances(tables, bins[1])
    assert found.worst(1) == [(("d",), pytest.approx(0.2)), (("c",), pytest.approx(0.0))]
    # b, missing is a cell of its own.
    assert found.worst(2) == [(("c", "d"), pytest.approx(0.2))]
    assert np.isnan(found.means(3)).all()


def test_leaving_a_group_out_is_counting_without_it():
    rng = np.random.default_rng(0)
    columns = {n: letters(rng.integers(0, 2, 60)) for n in "cde"}
    real = make(x=rng.normal(size=60), **columns)
    fake = make(x=rng.normal(size=40), **{n: letters(rng.integers(0, 2, 40)) for n in "cde"})
    features = fit_features(real)
    order = encode(features, real)
    group = order.units % 3
    marginals, coded, bins, tables, _ = prepared(real, fake, group=group)
    found = marginal_distances(tables, bins[1])
    strength = associations(marginals, coded[0], bins[0], group)
    theirs = associations(marginals, coded[1], bins[1])
    numbers = number_distances(coded[0], group, 3, coded[1])
    for g in range(3):
        rest = coded[0].take(group != g)
        none = np.zeros(len(rest), dtype=np.int64)
        alone = real_tables(marginals, binned(marginals, rest), none)
        again = marginal_distances(alone, bins[1])
        for k in (1, 2, 3):
            assert found.means(k)[1 + g] == pytest.approx(again.means(k)[0])
        other = associations(marginals, rest, binned(marginals, rest))
        assert strength.v[1 + g] == pytest.approx(other.v[0])
        assert contingency_difference(strength, theirs)[1 + g] == pytest.approx(
            contingency_difference(other, theirs)[0]
        )
        single = number_distances(rest, none, 1, coded[1])
        assert numbers.ks[:, 1 + g] == pytest.approx(single.ks[:, 0])
        assert numbers.wasserstein[:, 1 + g] == pytest.approx(single.wasserstein[:, 0])


def test_growing_subsamples_end_with_the_whole():
    real, fake = xor_tables()
    _, _, bins, tables, _ = prepared(real, fake)
    part = np.arange(100) % 4
    grown = growing_distances(tables, bins[1], 2, part, 4)
    assert grown.shape == (3, 4, 2)
    whole = marginal_distances(tables, bins[1]).distances[1]
    assert grown[:, -1, 0] == pytest.approx(whole[:, 0])


def test_tables_are_chosen_without_the_data():
    real, _ = xor_tables()
    features = fit_features(real)
    bins = fit_pair_bins(encode(features, real))
    names = tuple("abcdefghij")
    wide = [
        choose_marginals(names, bins, np.random.default_rng(1), max_pairs=20, max_triples=3)
        for _ in range(2)
    ]
    assert wide[0].sets == wide[1].sets
    assert [len(s) for s in wide[0].sets] == [10, 20, 3]
    assert len(set(wide[0].sets[1])) == 20
    many = tuple(str(i) for i in range(60))
    drawn = choose_marginals(many, bins, np.random.default_rng(1), max_pairs=50, max_triples=300)
    assert [len(set(s)) for s in drawn.sets] == [60, 50, 300]


def test_ks_and_wasserstein_match_scipy():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=80).round(1), rng.normal(1, 2, size=50).round(1)
    x[:5], y[:9] = np.nan, np.nan
    real, fake = (make(x=pl.Series(v).fill_nan(None)) for v in (x, y))
    _, coded, _, _, group = prepared(real, fake)
    found = number_distances(coded[0], group, 1, coded[1])
    a, b = coded[0].numbers[:, 0], coded[1].numbers[:, 0]
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    assert found.ks[0, 0] == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert found.wasserstein[0, 0] == pytest.approx(stats.wasserstein_distance(a, b))
    gone = encode(coded[0].features, make(x=pl.Series([None] * 9, dtype=pl.Float64)))
    empty = number_distances(coded[0], group, 1, gone)
    assert empty.ks[0, 0] == 1.0
    assert np.isnan(empty.wasserstein[0, 0])


def test_cramers_v_is_one_for_copies_and_zero_for_chance():
    assert cramers_v(np.array([[50, 0], [0, 50]])) == pytest.approx(1.0, abs=0.02)
    assert cramers_v(np.array([[25, 25], [25, 25]])) == 0.0
    assert cramers_v(np.array([[9, 0], [5, 0]])) == 0.0
    # Bergsma 2013, equations 6 to 8, by hand.
    counts = np.array([[20, 10], [5, 15]])
    chi = stats.chi2_contingency(counts, correction=False).statistic
    phi = max(0, chi / 50 - 1 / 49)
    assert cramers_v(counts) == pytest.approx(np.sqrt(phi / (2 - 1 / 49 - 1)))
    rng = np.random.default_rng(3)
    draws = rng.multinomial(60, np.full(25, 1 / 25), size=400).reshape(400, 5, 5)
    assert cramers_v(draws).mean() < 0.1  # uncorrected: 0.26


def test_lost_dependence_shows_in_associations():
    rng = np.random.default_rng(4)
    c = rng.integers(0, 2, 300)
    x = c + rng.normal(size=300)
    real = make(x=x, c=letters(c), d=letters(c))
    fake = make(x=rng.permutation(x), c=letters(c), d=letters(rng.permutation(c)))
    marginals, coded, bins, _, _ = prepared(real, fake)
    ours, theirs = (associations(marginals, t, b) for t, b in zip(coded, bins, strict=True))
    assert np.isnan(correlation_difference(ours, theirs)[0])
    assert contingency_difference(ours, theirs)[0] > 0.5
    assert contingency_difference(ours, ours)[0] == 0.0


def test_missing_patterns_are_of_whole_rows():
    half = [None, "a"] * 10
    real = make(c=half, d=half, e=["a"] * 20)
    apart = make(c=half, d=half[::-1], e=["a"] * 20)
    _, coded, _, _, group = prepared(real, apart)
    found = missingness(coded[0], group, 1, coded[1])
    assert found.mean_rate[0] == 0.0
    assert found.patterns[0] == pytest.approx(1.0)
    gone = pl.Series([None] * 20, dtype=pl.String)
    more = encode(coded[0].features, make(c=gone, d=half, e=["a"] * 20))
    rates = missingness(coded[0], group, 1, more)
    assert dict(zip(rates.names, rates.rates[:, 0], strict=True)) == pytest.approx(
        {"c": 0.5, "d": 0.0, "e": 0.0}
    )


def test_conditionals_are_ridge_regressions():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(5)
    c = rng.integers(0, 2, 200)
    flip = rng.random((2, 200)) < 0.2
    tables = make(c=letters(c), d=letters(c ^ flip[0]), e=letters(c ^ flip[1]))
    marginals, _, bins, _, group = prepared(tables)
    real = real_conditionals(marginals, bins[0], group, np.random.default_rng(0))
    found = conditional_errors(real, bins[0])[0, 0]
    hot = [np.eye(size)[codes] for codes, size in zip(bins[0].short, real.sizes, strict=True)]
    errors = []
    for i, target in enumerate(hot):
        others = np.hstack([block for j, block in enumerate(hot) if j != i])
        # The joint penalty on the inverse Gram matrix is ridge regression of the same strength.
        guess = Ridge(alpha=5.0, solver="cholesky").fit(others, target).predict(others)
        errors.append(((target - guess) ** 2).sum(axis=1).mean())
    assert found == pytest.approx(np.mean(errors), rel=1e-5)


def test_one_column_has_no_conditionals():
    marginals, _, bins, _, group = prepared(make(c=letters([0, 1] * 20)))
    real = real_conditionals(marginals, bins[0], group, np.random.default_rng(0))
    assert np.isnan(conditional_errors(real, bins[0])).all()
