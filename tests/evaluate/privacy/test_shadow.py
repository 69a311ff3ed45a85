import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.attacks import attack
from pegai.evaluate.privacy.membership import observed_statistics
from pegai.evaluate.privacy.shadow import fit_shadows
from pegai.evaluate.privacy.targets import fit_targets
from pegai.evaluate.privacy.vulnerable import vulnerable_records
from pegai.streams import Streams


def overfitted(table, number):
    """Half of the records, and as many with the pressure of another."""
    rng = np.random.default_rng(number)
    kept = table.frame[rng.permutation(len(table))[: len(table) // 2].tolist()]
    moved = kept.with_columns(pl.col("pressure").shuffle(seed=number))
    return Table(pl.concat([kept, moved]), table.schema)


def fresh(table, number, patients):
    return patients(len(table), 900 + number)


@pytest.fixture(scope="module")
def split(patients):
    train, holdout = patients(200, 1), patients(200, 2)
    features = fit_features(train)
    targets = fit_targets(encode(features, train), encode(features, holdout), Streams(0))
    return train, features, targets


def test_shadows_learn_what_the_generator_gives_away(split, patients):
    train, features, targets = split
    model = fit_shadows(patients(240, 7), features, overfitted, Streams(0), fits=2)
    attacked = attack(targets, encode(features, overfitted(train, 99)))
    area = observed_statistics(model.scores(attacked), targets.member)[0]
    # Half of the members are copied: no attack can have more than about 0.75.
    assert area > 0.68


def test_shadows_of_a_safe_generator_find_nothing(split, patients):
    _, features, targets = split
    model = fit_shadows(
        patients(240, 7), features, lambda t, i: fresh(t, i, patients), Streams(0), fits=2
    )
    attacked = attack(targets, encode(features, patients(200, 3)))
    area = observed_statistics(model.scores(attacked), targets.member)[0]
    assert area == pytest.approx(0.5, abs=0.12)  # four standard errors


def test_too_few_reference_patients(split, patients):
    assert fit_shadows(patients(60, 7), split[1], overfitted, Streams(0), fits=1) is None


def test_the_copied_patients_are_the_vulnerable_ones(split, patients):
    train, features, targets = split
    rows = [5, 50, 150]
    table = Table(pl.concat([patients(197, 3).frame, train.frame[rows]]), train.schema)
    found = vulnerable_records(targets, [attack(targets, encode(features, table))], limit=6)
    assert set(rows) <= {record.row for record in found}
    assert all(record.false_positive_rate <= 0.02 for record in found[:3])
    assert [r.false_positive_rate for r in found] == sorted(r.false_positive_rate for r in found)
