"""The schema of a table: its columns, its privacy unit, and the rules between them."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, model_validator

from pegai.errors import SchemaError
from pegai.schema.columns import Column, Role, _Frozen  # pyright: ignore[reportPrivateUsage]
from pegai.schema.impossible import Impossible, check_rules, rules_after
from pegai.schema.rules import Rule, check_checks, checks_after

PROFILE = "https://datapackage.org/profiles/2.0/tableschema.json"


class TablePrivacy(_Frozen):
    """What pegai adds to a table.

    Attributes:
        dataset: A name for the source of the data, under which the ledger adds up spending.
        unit: The column that says which patient a row belongs to; None is "one row a patient".
        max_rows_per_unit: The most rows one patient may contribute.
        impossible: Combinations of levels that never occur, from knowledge and not from the data.
        rules: Conditions that hold in every row, from knowledge and not from the data.
    """

    dataset: str | None = None
    unit: str | None = None
    max_rows_per_unit: Annotated[int, Field(ge=1)] = 1
    impossible: tuple[Impossible, ...] = ()
    rules: tuple[Rule, ...] = ()


class Schema(_Frozen):
    """A table's columns and whose privacy is protected; frozen, and equal to its file.

    Attributes:
        fields: The columns, in the order of the table.
        missing_values: Texts that mean "missing" in every column.
        title: A name for people.
        description: What the table holds.
        pegai: Data set name, privacy unit, rows a patient, impossible combinations, rules.
    """

    profile: Annotated[str, Field(alias="$schema")] = PROFILE
    title: str | None = None
    description: str | None = None
    fields: tuple[Column, ...]  # pyright: ignore[reportIncompatibleVariableOverride]
    missing_values: Annotated[tuple[str, ...], Field(alias="missingValues")] = ("",)
    pegai: TablePrivacy = TablePrivacy()

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        names = self.names
        if not names:
            raise ValueError("fields is empty: a table needs at least one column")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two fields are named {twice[0]!r}")
        for role in ("target", "time", "event", "site"):
            named = [c.name for c in self.fields if c.role == role]
            if len(named) > 1:
                raise ValueError(f"only one field may have the role {role}, not {named}")
        if self.with_role("event") and not self.with_role("time"):
            raise ValueError("a field with the role event needs another one with the role time")
        if self.pegai.unit is not None and self.pegai.unit not in names:
            raise ValueError(f"unit {self.pegai.unit!r} is not one of the fields")
        if self.pegai.unit is None and self.pegai.max_rows_per_unit != 1:
            raise ValueError("max_rows_per_unit above 1 needs a unit: the column of the patient id")
        check_rules(self.impossible, self.fields, self.unit)
        check_checks(self.rules, self.fields, self.unit)
        return self

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.fields]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in order."""
        return self.fields

    def __getitem__(self, name: str) -> Column:
        for column in self.fields:
            if column.name == name:
                return column
        raise SchemaError(
            f"the schema has no column {name!r}",
            hint=f"its columns are {', '.join(self.names)}",
        )

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def with_role(self, role: Role) -> tuple[Column, ...]:
        """The columns that have a role."""
        return tuple(column for column in self.fields if column.role == role)

    @property
    def target(self) -> Column | None:
        """The column that a classifier is to predict, if one is named."""
        return next(iter(self.with_role("target")), None)

    @property
    def site(self) -> Column | None:
        """The column that names the hospital, if there is one."""
        return next(iter(self.with_role("site")), None)

    @property
    def unit(self) -> str | None:
        """The column of the patient id; None means one row a patient."""
        return self.pegai.unit

    @property
    def impossible(self) -> tuple[Impossible, ...]:
        """Combinations of levels that no row has."""
        return self.pegai.impossible

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Conditions that every row keeps."""
        return self.pegai.rules

    @property
    def modelled(self) -> tuple[Column, ...]:
        """The columns a generator learns: all but identifiers and the privacy unit."""
        return tuple(c for c in self.fields if c.role != "identifier" and c.name != self.unit)

    def replace_columns(self, columns: tuple[Column, ...]) -> Schema:
        """The same schema over other columns.

        A unit that is gone is forgotten, and so is an impossible combination or a rule where one
        of its columns is gone, or has another type or other levels. A time or an event that can't
        play its part any more becomes a feature.
        """
        columns, privacy = _fitting_roles(columns), self.pegai
        if privacy.unit is not None and privacy.unit not in [c.name for c in columns]:
            privacy = privacy.model_copy(update={"unit": None, "max_rows_per_unit": 1})
        kept = {
            "impossible": rules_after(privacy.impossible, self.fields, columns, privacy.unit),
            "rules": checks_after(privacy.rules, self.fields, columns, privacy.unit),
        }
        privacy = privacy.model_copy(update=kept)
        return self.model_copy(update={"fields": tuple(columns), "pegai": privacy})

    def only_modelled(self) -> Schema:
        """The schema of what a generator gives back."""
        return self.replace_columns(self.modelled)

    def to_dict(self) -> dict[str, Any]:
        """The file's content: JSON types only, defaults left out."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"$schema": self.profile, **plain}

    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal; equal schemas have equal digests."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _fitting_roles(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """A time that is no number now, an event without two levels or without a time: features."""
    timed = any(c.role == "time" and not c.role_problem for c in columns)
    lost = [c for c in columns if c.role_problem or (c.role == "event" and not timed)]
    return tuple(
        c.model_copy(update={"pegai": c.pegai.model_copy(update={"role": "feature"})})
        if c in lost
        else c
        for c in columns
    )
