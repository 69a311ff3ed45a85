import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import distance_matrix, encode, fit_features
from pegai.evaluate.privacy.contrast import leak
from pegai.evaluate.privacy.linkability import KS, column_halves, fit_links, link
from pegai.evaluate.privacy.scenario import fit_scenario, restrict
from pegai.evaluate.tiers import QUICK
from pegai.streams import Streams


def attack(train, holdout, fake, *, seed=0):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    scenario = fit_scenario(train.schema, features, full=True)
    targets = fit_links(a, b, scenario, Streams(seed), tier=QUICK)
    assert targets is not None
    return targets, link(targets, encode(features, fake))


def both(first, second):
    return Table(pl.concat([first.frame, second.frame]), first.schema)


def test_halves_are_disjoint_and_fixed(train):
    scenario = fit_scenario(train.schema, fit_features(train), full=True)
    first, second = column_halves(scenario)
    assert sorted(first + second) == list(scenario.columns)
    assert abs(len(first) - len(second)) == 1
    shuffled = train.select(train.schema.names[::-1])
    assert column_halves(fit_scenario(shuffled.schema, fit_features(shuffled), full=True)) == (
        first,
        second,
    )


def test_a_copy_is_linked_and_fresh_patients_are_not(train, holdout, patients):
    _, copied = attack(train, holdout, train)
    assert copied[1].member_rate == 1.0
    assert leak("copy", [copied[1]]).low > 0.9
    _, fresh = attack(train, holdout, patients(260, 3))
    found = leak("fresh", [fresh[1]])
    assert found.low <= 0 <= found.high


def test_a_leak_of_five_percent_shows_as_five_percent(patients):
    train, holdout, fresh = (patients(n, s) for n, s in ((800, 1), (800, 2), (760, 3)))
    _, found = attack(train, holdout, both(fresh, train.head(40)))
    single = leak("leak", [found[1]])
    assert single.value == pytest.approx(0.05, abs=0.015)
    assert single.low > 0


def test_independent_columns_link_nobody(train, holdout):
    rng = np.random.default_rng(0)
    drawn = {c: train.frame[c].gather(rng.integers(0, 260, 260)) for c in train.frame.columns}
    _, found = attack(train, holdout, Table(pl.DataFrame(drawn), train.schema))
    single = leak("boot", [found[1]])
    assert single.low <= 0 <= single.high


def test_links_match_a_plain_search(patients):
    train, holdout, fake = patients(40, 1), patients(30, 2), patients(50, 3)
    targets, found = attack(train, holdout, both(fake, train.head(10)))
    synthetic = encode(targets.rows.features, both(fake, train.head(10)))
    gaps = []
    for half in targets.halves:
        a = distance_matrix(restrict(targets.rows, half))
        b = distance_matrix(restrict(synthetic, half))
        gaps.append(np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)))
    for k in KS:
        near = [g <= np.sort(g, axis=1)[:, k - 1 : k] + 1e-9 for g in gaps]
        linked = (near[0] & near[1]).any(axis=1)
        assert found[k].member_rate == pytest.approx(linked[targets.member].mean())
        assert found[k].holdout_rate == pytest.approx(linked[~targets.member].mean())


def test_fresh_patients_raise_few_alarms(patients):
    alarms, runs = 0, 40
    for seed in range(runs):
        tables = (patients(n, 100 + 3 * seed + i) for i, n in enumerate((150, 100, 150)))
        _, found = attack(*tables, seed=seed)
        single = leak("null", [found[5]])
        alarms += not single.low <= 0 <= single.high
    assert alarms <= 6  # 5 % of 40 is 2; more than 6 has probability 0.003


def test_few_columns_and_rows_are_survived(patients):
    one = patients(30, 1).select(["age"])
    features = fit_features(one)
    coded = encode(features, one)
    scenario = fit_scenario(one.schema, features, full=True)
    assert fit_links(coded, coded, scenario, Streams(0), tier=QUICK) is None
    _, found = attack(patients(5, 1), patients(5, 2), patients(2, 3))
    assert not found[1].enough
