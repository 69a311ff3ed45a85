"""One column: its kind, levels, bounds, and the rules a schema file must keep."""

import pytest
from pydantic import ValidationError

from pegai.schema import Column


def column(**fields):
    return Column.model_validate({"name": "x", "type": "integer", **fields})


@pytest.mark.parametrize(
    ("fields", "kind", "discrete", "numeric"),
    [
        ({"type": "string"}, "text", False, False),
        ({"type": "string", "categories": ["a"]}, "categorical", True, False),
        ({"categories": [1, 2], "categoriesOrdered": True}, "ordinal", True, False),
        ({"type": "integer"}, "integer", False, True),
        ({"type": "number"}, "continuous", False, True),
        ({"type": "boolean"}, "boolean", True, False),
        ({"type": "date"}, "date", False, True),
        ({"type": "datetime"}, "datetime", False, True),
    ],
)
def test_kinds(fields, kind, discrete, numeric):
    made = column(**fields)
    assert (made.kind, made.is_discrete, made.is_numeric) == (kind, discrete, numeric)


def test_levels_and_labels():
    made = column(categories=[{"value": 0, "label": "female"}, 1])
    assert made.levels == ("0", "1")
    assert made.labels == {"0": "female", "1": "1"}
    assert column(type="boolean").levels == ("false", "true")


@pytest.mark.parametrize(
    ("type_", "low", "high", "numbers"),
    [
        ("integer", 0, 90, (0.0, 90.0)),
        ("number", -1.5, 2, (-1.5, 2.0)),
        ("date", "1970-01-02", "1970-02-01", (1.0, 31.0)),
        ("datetime", "1970-01-01T00:00:01", "1970-01-01T01:00:00+01:00", (None, None)),
    ],
)
def test_bounds_as_numbers(type_, low, high, numbers):
    if type_ == "datetime":
        assert column(type=type_, constraints={"minimum": low}).minimum == 1.0
        assert column(type=type_, constraints={"maximum": high}).maximum == 0.0
        return
    made = column(type=type_, constraints={"minimum": low, "maximum": high})
    assert (made.minimum, made.maximum) == numbers
    assert made.has_domain


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"constraints": {"minimum": 5, "maximum": 1}}, "minimum 5 is above maximum 1"),
        ({"type": "string", "constraints": {"minimum": 1}}, "do not apply to a text column"),
        ({"type": "boolean", "constraints": {"maximum": 1}}, "do not apply to a boolean column"),
        ({"categories": [1], "constraints": {"minimum": 1}}, "do not apply to a categorical"),
        ({"categories": []}, "categories is empty"),
        ({"categories": [1, 1]}, "lists '1' twice"),
        ({"categories": ["a"]}, "'a' of an integer column is not an integer"),
        ({"type": "number", "categories": [1]}, "need type string or integer"),
        ({"pegai": {"source": "hearsay"}}, "match"),
        ({"pegai": {"role": "king"}}, "quasi-identifier"),
        ({"type": "date", "pegai": {"role": "time"}}, "time is for a number .* not for a date"),
        ({"pegai": {"role": "event"}}, "event is for a boolean .* integer column with 0 levels"),
        ({"categories": [0, 1, 2], "pegai": {"role": "event"}}, "with 3 levels"),
        ({"pegai": {"decimals": 16}}, "less than or equal to 15"),
        ({"type": "text"}, "string"),
        ({"name": ""}, "at least 1 character"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_rules(fields, rule):
    with pytest.raises(ValidationError, match=rule):
        column(**fields)


def test_sources():
    assert not column().is_public
    assert not column(pegai={"source": "private:seen"}).is_public
    assert column(pegai={"source": "standard:hipaa"}).is_public
    assert not column(constraints={"minimum": 1}).has_domain


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        column().name = "y"
