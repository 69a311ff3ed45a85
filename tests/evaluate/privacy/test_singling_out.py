import numpy as np
import polars as pl
import pytest

from pegai.data.table import Table
from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.contrast import leak
from pegai.evaluate.privacy.singling_out import fit_singling, single_out
from pegai.evaluate.tiers import QUICK
from pegai.schema import schema_from_dict
from pegai.streams import Streams


def attack(train, holdout, fake, *, seed=0):
    features = fit_features(train)
    a, b = encode(features, train), encode(features, holdout)
    targets = fit_singling(a, b, Streams(seed), tier=QUICK)
    return targets, single_out(targets, encode(features, fake))


def bootstrap(table, seed=0):
    rng, n = np.random.default_rng(seed), len(table)
    drawn = {c: table.frame[c].gather(rng.integers(0, n, n)) for c in table.frame.columns}
    return Table(pl.DataFrame(drawn), table.schema)


def test_values_of_one_patient_by_hand():
    schema = schema_from_dict({"fields": [{"name": "x", "type": "integer"}]})
    # 1 and 9 are a training patient's only, 5 and 6 a holdout patient's only; 2 and 3 are shared.
    train = Table(pl.DataFrame({"x": [1, 2, 2, 3, 9, None]}), schema)
    holdout = Table(pl.DataFrame({"x": [3, 5, 6]}), schema)
    fake = Table(pl.DataFrame({"x": [1, 1, 2, 5, None]}), schema)
    targets, found = attack(train, holdout, fake)
    assert targets.values[0].keys.size == 4
    assert sorted(found.outcomes["values"].member.tolist()) == [0.0, 1.0]
    assert sorted(found.outcomes["values"].holdout.tolist()) == [0.0, 1.0]
    assert found.by_column == {"x": 0.0}


def test_rows_of_one_patient_are_one_patient():
    schema = schema_from_dict(
        {
            "fields": [{"name": "id", "type": "string"}, {"name": "x", "type": "integer"}],
            "pegai": {"unit": "id", "max_rows_per_unit": 3},
        }
    )
    train = Table(pl.DataFrame({"id": list("aab"), "x": [7, 7, 8]}), schema)
    holdout = Table(pl.DataFrame({"id": list("cd"), "x": [8, 1]}), schema)
    targets, found = attack(train, holdout, train)
    assert targets.values[0].patient.size == 2  # 7 of a, 1 of d
    assert found.outcomes["values"].member.tolist() == [1.0]
    assert found.outcomes["values"].holdout.tolist() == [0.0]


def test_a_copy_singles_out_everybody(train, holdout):
    _, found = attack(train, holdout, train)
    for outcome in found.outcomes.values():
        assert outcome.member_rate == 1.0
        assert outcome.holdout_rate == 0.0


def test_bootstrapped_marginals_give_rare_values_away(train, holdout):
    _, found = attack(train, holdout, bootstrap(train))
    values = leak("values", [found.outcomes["values"]])
    assert values.value == pytest.approx(1 - np.exp(-1), abs=0.08)
    assert values.low > 0.5
    cells = leak("cells", [found.outcomes["combinations"]])
    assert cells.low < 0.05


def test_a_leak_of_a_fifth_shows_in_both(patients):
    train, holdout, fresh = (patients(n, s) for n, s in ((500, 1), (500, 2), (400, 3)))
    fake = Table(pl.concat([fresh.frame, train.frame.head(100)]), train.schema)
    _, found = attack(train, holdout, fake)
    assert found.outcomes["values"].difference > 0.1
    # A leaked combination counts only where no other synthetic row has it.
    assert found.outcomes["combinations"].difference > 0.04


def test_integers_on_a_full_grid_reappear_for_both_sides():
    schema = schema_from_dict({"fields": [{"name": "x", "type": "integer"}]})
    rng = np.random.default_rng(0)
    train, holdout = (
        Table(pl.DataFrame({"x": rng.integers(0, 3_000, n)}), schema) for n in (900, 300)
    )
    fake = Table(pl.DataFrame({"x": np.arange(3_000)}), schema)
    _, found = attack(train, holdout, fake)
    assert found.outcomes["values"].member_rate == found.outcomes["values"].holdout_rate == 1.0


def test_fresh_patients_raise_few_alarms_with_sides_of_any_size(patients):
    alarms, runs = {"values": 0, "combinations": 0}, 40
    for seed in range(runs):
        tables = (patients(n, 500 + 3 * seed + i) for i, n in enumerate((300, 80, 300)))
        _, found = attack(*tables, seed=seed)
        for name, outcome in found.outcomes.items():
            single = leak(name, [outcome])
            alarms[name] += single.assessed and not single.low <= 0 <= single.high
    assert max(alarms.values()) <= 6


def test_nothing_unique_is_not_assessed():
    schema = schema_from_dict({"fields": [{"name": n, "type": "boolean"} for n in "ab"]})
    rng = np.random.default_rng(0)
    table = Table(pl.DataFrame({n: rng.random(200) < 0.5 for n in "ab"}), schema)
    _, found = attack(table, table, table)
    assert not any(outcome.enough for outcome in found.outcomes.values())


def test_row_order_and_units_change_nothing(train, holdout, patients):
    fake = patients(260, 3)
    _, first = attack(train, holdout, fake)
    rng = np.random.default_rng(0)
    turned = [
        Table(t.frame.with_columns(pl.col("pressure") * 10 + 3), t.schema).take(
            rng.permutation(len(t))
        )
        for t in (train, holdout, fake)
    ]
    _, second = attack(*turned)
    for name, outcome in first.outcomes.items():
        assert second.outcomes[name].member_rate == pytest.approx(outcome.member_rate, abs=1e-12)
        assert second.outcomes[name].holdout_rate == pytest.approx(outcome.holdout_rate, abs=1e-12)
