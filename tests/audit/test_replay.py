from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegai.audit.neighbours import Neighbours, audit_schema, neighbours
from pegai.audit.replay import Call, Tape, distance, replay
from pegai.audit.suite import QUICK
from pegai.errors import PrivacyError
from pegai.privacy.guarantee import Privacy
from pegai.synth.catalog import PRIVATE, make

PAIRS = {
    f"{'patients' if by_patient else 'rows'}-{pair.name}": pair
    for by_patient in (True, False)
    for pair in neighbours(audit_schema(by_patient=by_patient))
}


@pytest.mark.parametrize("case", list(PAIRS))
@pytest.mark.parametrize("name", PRIVATE)
def test_nothing_but_charged_outputs_depends_on_a_patient(name: str, case: str) -> None:
    found = replay(make(name, QUICK.get(name)), PAIRS[case], Privacy(1.0, 1e-5))
    assert found.findings == ()
    assert found.uses > 0
    assert found.moved <= 1 + 1e-9


@pytest.mark.parametrize("name", PRIVATE)
def test_some_patient_moves_a_method_by_all_that_was_declared(name: str) -> None:
    """Else the replay would look where nothing happens."""
    method = make(name, QUICK.get(name))
    moved = replay(method, PAIRS["rows-a duplicate"], Privacy(1.0, 1e-5)).moved
    assert moved > 0.9


def test_pairs_differ_by_one_patient_and_cover_what_patients_can_be() -> None:
    assert {name.split("-")[1] for name in PAIRS} >= {
        "a duplicate",
        "everything missing",
        "new categories",
        "far above the range",
        "far below the range",
        "infinite",
        "not a number",
        "breaks constants",
        "the only patient",
        "impossible",
        "many rows",
        "more rows than declared",
        "many rows without an id",
    }
    for pair in PAIRS.values():
        assert isinstance(pair, Neighbours)
        before = len(pair.without)
        assert pair.with_one.frame.head(before).equals(pair.without.frame)
        assert len(pair.with_one) > before
        if (unit := pair.without.schema.unit) is not None:
            assert pair.with_one.frame[unit][before:].n_unique() == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gaussian", 5.0), ("laplace", 7.0), ("choose", 4.0), ("randomized_response", 2.0)],
)
def test_distances_are_those_of_the_mechanisms(kind: str, expected: float) -> None:
    calls = [Call("x", kind, np.array(v), 1.0, np.zeros(3)) for v in ([1, 2, 3], [4, 2, -1])]
    assert distance(*calls) == pytest.approx(expected)
    empty = [Call("x", kind, np.zeros(0), 1.0, np.zeros(0))] * 2
    assert distance(*empty) == 0.0


def test_a_model_of_an_audit_is_no_release(tmp_path: Path) -> None:
    pair = PAIRS["rows-a duplicate"]
    privacy = Privacy(1.0, 1e-5, ledger=tmp_path / "ledger.jsonl")
    model = make("independent").fit(pair.without, privacy=privacy, recorder=Tape())
    with pytest.raises(PrivacyError, match="audit"):
        model.save(tmp_path / "model")


def test_key_selections_are_compared_on_the_keys_that_both_have() -> None:
    from pegai.audit.replay import _comparable, _ways
    from pegai.privacy.key_selection import entries

    def call(keys: str, weights: list[int]) -> Call:
        values = entries(list(keys), np.array(weights))
        return Call("k", "select_keys", values, 1.0, values[:0])

    honest = [call("ab", [3, 4])], [call("bac", [5, 3, 1])]
    ((a, b),) = _comparable(*honest)
    assert distance(a, b) == 1.0
    assert list(_ways(*honest)) == []
    assert "changes it by 2" in next(_ways([call("ab", [3, 4])], [call("ab", [3, 6])]))
