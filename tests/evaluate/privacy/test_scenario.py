import numpy as np

from pegai.evaluate.features import encode, fit_features
from pegai.evaluate.privacy.scenario import by_hash, fit_scenario, restrict


def with_roles(table, roles):
    columns = [
        c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": roles[c.name]})})
        if c.name in roles
        else c
        for c in table.schema.columns
    ]
    return table.schema.replace_columns(tuple(columns))


def test_roles_make_the_scenario(train):
    roles = {"age": "quasi-identifier", "sex": "quasi-identifier", "lab": "sensitive"}
    schema = with_roles(train, roles)
    found = fit_scenario(schema, fit_features(train), full=True)
    assert found.quasi_identifiers == ("age", "sex")
    assert found.secrets == ("lab", "outcome")
    assert found.known("lab") == ("age", "sex")
    assert found.note == ""


def test_without_quasi_identifiers_everything_else_is_known(train):
    found = fit_scenario(train.schema, fit_features(train), full=True)
    assert found.secrets == ("outcome",)
    assert found.known("outcome") == tuple(c for c in found.columns if c != "outcome")
    assert "no quasi-identifiers named" in found.note


def test_without_secrets_some_columns_are_tried_and_the_note_says_so(train):
    schema = with_roles(train, {"outcome": "feature"})
    found = fit_scenario(schema, fit_features(train), full=True)
    assert len(found.secrets) == 3
    assert "tried 3 of 9 columns" in found.note
    assert found.known(found.secrets[0]) == tuple(c for c in found.columns if c != found.secrets[0])
    assert by_hash(["b", "a"]) == by_hash(["a", "b"])


def test_restricted_keys_are_of_the_columns_kept(train):
    coded = encode(fit_features(train), train)
    two = restrict(coded, ["sex", "age"])
    assert two.features.names == ("age", "sex")
    pairs = {(a, s) for a, s in zip(two.numbers[:, 0], two.codes[:, 0], strict=True)}
    assert np.unique(two.keys).size == len(pairs)
    assert np.unique(restrict(coded, []).keys).size == 1
