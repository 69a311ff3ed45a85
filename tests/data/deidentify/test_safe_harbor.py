import pytest

from pegai.data.datasets import heart_disease_schema
from pegai.data.deidentify import DISCLAIMER, lint
from pegai.schema import schema_from_dict


def schema(*fields, **table):
    return schema_from_dict({"fields": list(fields), **table})


def letters(*fields, **table):
    found = lint(schema(*fields, {"name": "chol", "type": "number"}, **table))
    return [(f.column, f.identifier_class.letter if f.identifier_class else "*") for f in found]


def test_heart_schema_is_clean():
    assert lint(heart_disease_schema()) == []


@pytest.mark.parametrize(
    ("field", "letter"),
    [
        ({"name": "seen", "type": "date"}, "C"),
        ({"name": "seen", "type": "datetime"}, "C"),
        ({"name": "birthday", "type": "string"}, "C"),
        ({"name": "age", "type": "integer"}, "C"),
        ({"name": "age", "type": "integer", "constraints": {"maximum": 120}}, "C"),
        ({"name": "age", "type": "integer", "categories": [20, 95]}, "C"),
        ({"name": "zip", "type": "string"}, "B"),
        ({"name": "zip", "type": "string", "categories": ["02139", "10001"]}, "B"),
        ({"name": "city", "type": "string", "categories": ["Boston", "Springfield"]}, "B"),
        ({"name": "latitude", "type": "number"}, "B"),
        ({"name": "mrn", "type": "string"}, "H"),
        ({"name": "last_name", "type": "string"}, "A"),
        ({"name": "fax", "type": "string"}, "E"),
        ({"name": "record_id", "type": "integer"}, "R"),
        ({"name": "remarks", "type": "string"}, "*"),
        ({"name": "clinic", "type": "string", "categories": ["a@example.org", "other"]}, "R"),
    ],
)
def test_open_classes(field, letter):
    assert letters(field) == [(field["name"], letter)]


@pytest.mark.parametrize(
    "field",
    [
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 90}},
        {"name": "zip3", "type": "string", "categories": ["021", "000"]},
        {
            "name": "birth_year",
            "type": "integer",
            "constraints": {"minimum": 1930, "maximum": 2020},
        },
        {"name": "mrn", "type": "string", "pegai": {"role": "identifier"}},
        {"name": "state", "type": "string", "categories": ["MA", "NY"]},
        {"name": "sex", "type": "string", "categories": ["f", "m"]},
        {"name": "email_consent", "type": "boolean"},
    ],
)
def test_closed_classes(field):
    assert letters(field) == []


def test_the_patient_id_never_reaches_a_model():
    field = {"name": "patient_id", "type": "string"}
    assert letters(field, pegai={"unit": "patient_id"}) == []


def test_it_says_what_it_is():
    assert "not a legal finding" in DISCLAIMER
    (found,) = lint(schema({"name": "seen", "type": "date"}))
    assert found.reason
    assert found.hint
