"""The schema of a table: roles, the patient, and the rules between columns."""

import pytest

from pegai.errors import SchemaError
from pegai.schema import Schema, schema_from_dict

RAW = {
    "fields": [
        {"name": "pid", "type": "string", "pegai": {"role": "identifier"}},
        {"name": "age", "type": "integer", "pegai": {"role": "quasi-identifier"}},
        {"name": "site", "type": "string", "categories": ["a"], "pegai": {"role": "site"}},
        {"name": "y", "type": "boolean", "pegai": {"role": "target"}},
    ],
    "pegai": {"dataset": "ward", "unit": "pid", "max_rows_per_unit": 3},
}


def test_roles():
    schema = Schema.model_validate(RAW)
    assert schema.target is schema["y"]
    assert schema.site is schema["site"]
    assert schema.unit == "pid"
    assert [c.name for c in schema.modelled] == ["age", "site", "y"]
    assert schema.only_modelled().unit is None
    assert schema.only_modelled().pegai.dataset == "ward"
    assert "age" in schema
    assert "AGE" not in schema
    with pytest.raises(SchemaError, match="no column 'x'"):
        schema["x"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"fields": []}, "at least one column"),
        ({"fields": [RAW["fields"][0]] * 2}, "two fields are named 'pid'"),
        ({"fields": [*RAW["fields"], {**RAW["fields"][3], "name": "z"}]}, "role target"),
        ({"pegai": {"unit": "nobody"}}, "'nobody' is not one of the fields"),
        ({"pegai": {"max_rows_per_unit": 2}}, "needs a unit"),
        ({"pegai": {"unit": "pid", "max_rows_per_unit": 0}}, "greater than or equal to 1"),
    ],
)
def test_rules_between_columns(change, rule):
    with pytest.raises(SchemaError, match=rule):
        schema_from_dict({**RAW, **change})


def test_digest_is_of_the_content():
    schema = Schema.model_validate(RAW)
    assert schema.digest() == schema_from_dict(schema.to_dict()).digest()
    other = schema.replace_columns(schema.columns[:-1])
    assert other.digest() != schema.digest()
    assert len(schema.digest()) == 64


SURVIVAL = {
    "fields": [
        {"name": "months", "type": "number", "pegai": {"role": "time"}},
        {"name": "dead", "type": "boolean", "pegai": {"role": "event"}},
        {"name": "age", "type": "integer"},
    ]
}


def test_survival_roles_stand_once_and_together():
    fields = SURVIVAL["fields"]
    schema = schema_from_dict(SURVIVAL)
    assert [schema.with_role(role)[0].name for role in ("time", "event")] == ["months", "dead"]
    for field in fields[:2]:
        with pytest.raises(SchemaError, match="only one field may have the role"):
            schema_from_dict({"fields": [*fields, {**field, "name": "again"}]})
    with pytest.raises(SchemaError, match="needs another one with the role time"):
        schema_from_dict({"fields": fields[1:]})


def test_a_survival_role_that_no_longer_fits_is_given_up():
    schema = schema_from_dict(SURVIVAL)
    bands = schema["months"].model_copy(update={"type": "string", "categories": None})
    for columns in (schema.columns[1:], (bands, *schema.columns[1:])):
        changed = schema.replace_columns(columns)
        assert {c.role for c in changed.columns} == {"feature"}
        assert schema_from_dict(changed.to_dict()) == changed
    assert schema.replace_columns(schema.columns) == schema
