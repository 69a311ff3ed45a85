"""One column of a table: type, categories or bounds, role, and where its domain came from.

The classes mirror the file format, Frictionless Table Schema v2 (<https://datapackage.org>), plus a
`pegai` object a field. What is in memory is what is in the file.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

FieldType = Literal["string", "integer", "number", "boolean", "date", "datetime"]
Role = Literal[
    "identifier", "quasi-identifier", "sensitive", "target", "time", "event", "site", "feature"
]
Kind = Literal[
    "categorical", "ordinal", "boolean", "integer", "continuous", "date", "datetime", "text"
]

SOURCES = ("standard", "dictionary", "expert", "public-data", "dp-estimate", "private")
"""Where bounds or categories came from; a detail may follow a colon, as in `standard:hipaa`."""

Bound = int | float | str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Category(_Frozen):
    """One category: the value as it stands in the table, and a label for people."""

    value: str | int
    label: str | None = None


class Constraints(_Frozen):
    """The Frictionless constraints that pegai reads.

    Attributes:
        required: Whether every row must have a value.
        unique: Whether no two rows may share a value.
        minimum: Smallest valid value; dates as ISO 8601 text.
        maximum: Largest valid value.
    """

    required: bool = False
    unique: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None


class ColumnPrivacy(_Frozen):
    """What pegai adds to a field.

    Attributes:
        role: The part the column plays. `identifier` columns never reach a model.
        source: Where the bounds or categories came from: one of `SOURCES`, with an optional
            detail after a colon. `private` is refused by a fit with privacy.
        decimals: Decimal places of a `number` column; None keeps full precision.
    """

    role: Role = "feature"
    source: Annotated[str, Field(pattern=rf"^({'|'.join(SOURCES)})(:.+)?$")] = "private"
    decimals: Annotated[int, Field(ge=0, le=15)] | None = None


class Column(_Frozen):
    """One column.

    Attributes:
        name: As in the header of the table.
        type: The Frictionless type.
        title: A name for people.
        description: What the column means, with its unit.
        format: A strptime pattern for dates; `default` is ISO 8601.
        categories: The full list of values, for categorical and ordinal columns.
        categories_ordered: True makes the column ordinal.
        missing_values: Texts that mean "missing" in this column, besides those of the table.
        constraints: Bounds and whether a value is required.
        pegai: Role and source.
    """

    name: Annotated[str, Field(min_length=1)]
    type: FieldType
    title: str | None = None
    description: str | None = None
    format: str | None = None
    categories: tuple[Category, ...] | None = None
    categories_ordered: Annotated[bool, Field(alias="categoriesOrdered")] = False
    missing_values: Annotated[tuple[str, ...] | None, Field(alias="missingValues")] = None
    constraints: Constraints = Constraints()
    pegai: ColumnPrivacy = ColumnPrivacy()

    @model_validator(mode="before")
    @classmethod
    def _plain_categories(cls, raw: object) -> object:
        """Accept `["a", "b"]` for `[{"value": "a"}, {"value": "b"}]`, as the format does."""
        if not isinstance(raw, dict):
            return raw
        fields = cast("dict[str, Any]", raw)
        if not isinstance(fields.get("categories"), (list, tuple)):
            return fields
        given = cast("list[Any]", fields["categories"])
        listed: list[Any] = [c if isinstance(c, (dict, Category)) else {"value": c} for c in given]
        return {**fields, "categories": listed}

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.categories is not None:
            self._check_categories()
        if self.role_problem:
            raise ValueError(self.role_problem)
        low, high = self.constraints.minimum, self.constraints.maximum
        if low is None and high is None:
            return self
        if self.categories is not None or self.type in ("string", "boolean"):
            raise ValueError(f"minimum and maximum do not apply to a {self.kind} column")
        if low is not None and high is not None and self.as_number(low) > self.as_number(high):
            raise ValueError(f"minimum {low} is above maximum {high}")
        return self

    def _check_categories(self) -> None:
        if self.type not in ("string", "integer"):
            raise ValueError(f"categories need type string or integer, not {self.type}")
        levels = self.levels
        if not levels:
            raise ValueError("categories is empty")
        twice = sorted({level for level in levels if levels.count(level) > 1})
        if twice:
            raise ValueError(f"categories lists {twice[0]!r} twice")
        if self.type == "integer":
            for level in levels:
                if not level.lstrip("-").isdigit():
                    raise ValueError(f"category {level!r} of an integer column is not an integer")

    @property
    def kind(self) -> Kind:
        """How the column is modelled."""
        if self.categories is not None:
            return "ordinal" if self.categories_ordered else "categorical"
        return {
            "string": "text",
            "integer": "integer",
            "number": "continuous",
            "boolean": "boolean",
            "date": "date",
            "datetime": "datetime",
        }[self.type]  # pyright: ignore[reportReturnType]

    @property
    def levels(self) -> tuple[str, ...]:
        """Category values as text, in the schema's order; booleans are `false`, `true`."""
        if self.type == "boolean":
            return ("false", "true")
        return tuple(str(category.value) for category in self.categories or ())

    @property
    def labels(self) -> dict[str, str]:
        """Category value to its label; the value itself where there is none."""
        return {str(c.value): c.label or str(c.value) for c in self.categories or ()}

    @property
    def is_discrete(self) -> bool:
        """Whether the column has a list of levels."""
        return self.kind in ("categorical", "ordinal", "boolean")

    @property
    def is_numeric(self) -> bool:
        """Whether the column has an order and a distance: numbers and dates."""
        return self.kind in ("integer", "continuous", "date", "datetime")

    @property
    def role(self) -> Role:
        """The part the column plays."""
        return self.pegai.role

    @property
    def role_problem(self) -> str:
        """Why the column can't play its part in a survival analysis; empty if it can."""
        if self.role == "time" and self.kind not in ("integer", "continuous"):
            return (
                f"the role time is for a number (days, months until the event or the end of "
                f"follow-up), not for a {self.kind} column"
            )
        if self.role == "event" and not (self.is_discrete and len(self.levels) == 2):
            return (
                "the role event is for a boolean or for two categories, of which the second is "
                f"the event, not for a {self.kind} column with {len(self.levels)} levels"
            )
        return ""

    @property
    def minimum(self) -> float | None:
        """Lower bound as a number; dates in days, datetimes in seconds since 1970-01-01."""
        low = self.constraints.minimum
        return None if low is None else self.as_number(low)

    @property
    def maximum(self) -> float | None:
        """Upper bound as a number; dates in days, datetimes in seconds since 1970-01-01."""
        high = self.constraints.maximum
        return None if high is None else self.as_number(high)

    @property
    def is_public(self) -> bool:
        """Whether the domain was declared without looking at the private data."""
        return not self.pegai.source.startswith("private")

    @property
    def has_domain(self) -> bool:
        """Whether every valid value is covered by levels or by two bounds."""
        if self.is_discrete:
            return True
        return self.is_numeric and self.minimum is not None and self.maximum is not None

    def as_number(self, bound: Bound) -> float:
        """A bound as the number it is modelled as.

        Raises:
            ValueError: The text is not a date or datetime in ISO 8601.
        """
        if self.type == "date":
            return float((dt.date.fromisoformat(str(bound)) - dt.date(1970, 1, 1)).days)
        if self.type == "datetime":
            moment = dt.datetime.fromisoformat(str(bound))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            return moment.timestamp()
        return float(bound)
