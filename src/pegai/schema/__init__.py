"""Schemas: what is public about a table, with the source of every bound and category."""

from pegai.schema.check import Finding, check
from pegai.schema.columns import SOURCES, Category, Column, ColumnPrivacy, Constraints, Kind, Role
from pegai.schema.files import read_schema, schema_from_dict, write_schema
from pegai.schema.impossible import Impossible, breaks_any
from pegai.schema.infer import infer
from pegai.schema.parse import Reading, read_column
from pegai.schema.rules import Rule
from pegai.schema.table_schema import Schema, TablePrivacy

__all__ = [
    "SOURCES",
    "Category",
    "Column",
    "ColumnPrivacy",
    "Constraints",
    "Finding",
    "Impossible",
    "Kind",
    "Reading",
    "Role",
    "Rule",
    "Schema",
    "TablePrivacy",
    "breaks_any",
    "check",
    "infer",
    "read_column",
    "read_schema",
    "schema_from_dict",
    "write_schema",
]
