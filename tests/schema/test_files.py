"""Schema files: a golden one, the round trip, and errors that name file, field and rule."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.errors import SchemaError
from pegai.schema import Schema, infer, read_schema, schema_from_dict, write_schema

GOLDEN = """{
  "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
  "fields": [
    {
      "name": "Größe",
      "type": "number",
      "constraints": {
        "minimum": 50.0,
        "maximum": 250.0
      },
      "pegai": {
        "source": "expert:Müller",
        "decimals": 1
      }
    },
    {
      "name": "sex",
      "type": "integer",
      "categories": [
        {
          "value": 0,
          "label": "female"
        },
        {
          "value": 1,
          "label": "male"
        }
      ],
      "pegai": {
        "role": "quasi-identifier",
        "source": "dictionary"
      }
    }
  ],
  "missingValues": [
    "",
    "?"
  ],
  "pegai": {
    "dataset": "ward"
  }
}
"""


def test_golden_file(tmp_path):
    (tmp_path / "s.json").write_text(GOLDEN, encoding="utf-8")
    schema = read_schema(tmp_path / "s.json")
    assert schema["Größe"].maximum == 250
    assert schema["sex"].labels == {"0": "female", "1": "male"}
    write_schema(schema, tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == GOLDEN
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.json", "t.json"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["1", "2.5", "a", "", "2021-03-04", "yes", "NA"]), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)
def test_any_draft_survives_its_file(tmp_path_factory, cells, name):
    import polars as pl

    schema = infer(pl.DataFrame({name: pl.Series(cells, dtype=pl.String)}), dataset="d")
    path = tmp_path_factory.mktemp("s") / "s.json"
    write_schema(schema, path)
    assert read_schema(path) == schema
    assert read_schema(path).digest() == schema.digest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "line 1: not JSON"),
        (b"\xff\xff", "can't be read as UTF-8"),
        (b"[]", "s.json: 1 rule broken"),
        (b'{"fields": [{"name": "a", "type": "int"}]}', "field 'a', type"),
        (b'{"fields": [{"type": "integer"}]}', "field number 1, name"),
        (b'{"fields": [{"name": "a", "type": "integer", "categories": ["x"]}]}', "field 'a'"),
        (b'{"field": []}', "fields: Field required"),
    ],
)
def test_errors_name_file_field_and_rule(tmp_path, text, message):
    (tmp_path / "s.json").write_bytes(text)
    with pytest.raises(SchemaError, match=r"s\.json") as caught:
        read_schema(tmp_path / "s.json")
    assert message in str(caught.value)


def test_missing_file_says_how_to_draft_one(tmp_path):
    with pytest.raises(SchemaError, match="no such file") as caught:
        read_schema(tmp_path / "absent.json")
    assert "pegai schema infer" in caught.value.hint


def test_every_broken_rule_is_listed():
    raw = {"fields": [{"name": "a", "type": "x"}, {"name": "b", "type": "y", "more": 1}]}
    with pytest.raises(SchemaError, match="3 rules broken"):
        schema_from_dict(raw)


def test_plain_categories_and_byte_order_mark(tmp_path):
    raw = {"fields": [{"name": "a", "type": "string", "categories": ["x", "y"]}]}
    (tmp_path / "s.json").write_text("\ufeff" + json.dumps(raw), encoding="utf-8")
    schema = read_schema(tmp_path / "s.json")
    assert isinstance(schema, Schema)
    assert schema["a"].levels == ("x", "y")
