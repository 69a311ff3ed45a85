"""Combinations of values that never occur, such as a pregnant man: public knowledge, as rules.

A rule has a list of levels for each of two or more columns; a row that matches all of them is
impossible. Rules come from knowledge of the field, never from a look at the data: that a
combination is absent from a table says something about the patients in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import polars as pl
from pydantic import ConfigDict, RootModel, model_serializer, model_validator

from pegai.schema.columns import Column

Level = str | int | bool | None
"""A level as it stands in the file; None is missing."""

SHOWN = 10


class Impossible(RootModel[tuple[tuple[str, tuple[Level, ...]], ...]]):
    """One rule: a row that has one of the levels in every column named does not exist.

    In the file and in Python it is a mapping of columns to lists of levels; it is held as pairs, so
    that a schema stays frozen.

    Example:
        >>> rule = Impossible.model_validate({"sex": ["m"], "pregnant": [True, None]})
        >>> rule.columns, rule.texts("pregnant"), str(rule)
        (('sex', 'pregnant'), ('true', None), 'sex=m, pregnant=true|missing')
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, raw: object) -> object:
        if not isinstance(raw, Mapping):
            raise ValueError(
                "a combination is an object of columns and their levels, as "
                f'{{"sex": ["m"], "pregnant": ["yes"]}}, not {_json(raw)}'
            )
        given = cast("Mapping[Any, Any]", raw)
        if len(given) < 2:
            raise ValueError(
                f"a combination needs at least two columns, not {_json(given)}; a value that never "
                "occurs by itself is left out of the column's categories"
            )
        return tuple((name, _levels(name, levels)) for name, levels in given.items())

    @model_serializer
    def _mapping(self) -> dict[str, list[Level]]:
        return {name: list(levels) for name, levels in self.root}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return tuple(name for name, _ in self.root)

    def texts(self, name: str) -> tuple[str | None, ...]:
        """The levels of a column as `Column.levels` has them; None is missing."""
        return tuple(_text(level) for level in dict(self.root)[name])

    def __str__(self) -> str:
        return ", ".join(f"{name}={'|'.join(map(_shown, levels))}" for name, levels in self.root)

    @property
    def content(self) -> frozenset[tuple[str, frozenset[str | None]]]:
        """What it says, whatever the order."""
        return frozenset((name, frozenset(self.texts(name))) for name in self.columns)

    @property
    def matches(self) -> pl.Expr:
        """True in the rows that break it, over columns of the schema's types."""
        return pl.all_horizontal([_is_one_of(name, self.texts(name)) for name in self.columns])

    def broken_by(self, values: Mapping[str, object]) -> bool:
        """Whether known values (texts of levels, None for missing) alone break it."""
        return all(n in values and values[n] in self.texts(n) for n in self.columns)

    def problem(self, columns: Sequence[Column], unit: str | None) -> str | None:
        """What is wrong with it in a table of these columns, with the way out; None is nothing."""
        by_name = {column.name: column for column in columns}
        for name in self.columns:
            if name not in by_name:
                return (
                    f"{name!r} is not one of the fields ({_some(list(by_name))}); correct the name"
                )
            column = by_name[name]
            if column.role == "identifier" or name == unit:
                return f"{name!r} identifies patients and is in no synthetic table; leave it out"
            if not column.is_discrete:
                return (
                    f"{name!r} has no levels (it is {column.kind}); give it categories, or leave "
                    "the combination out"
                )
            unknown = [text for text in self.texts(name) if not _is_level(column, text)]
            if unknown:
                return _unknown(column, unknown[0])
        return None


def check_rules(rules: Sequence[Impossible], columns: Sequence[Column], unit: str | None) -> None:
    """Refuse rules that do not go with the columns, and one that says what another says.

    Raises:
        ValueError: As said; the rule, the value and the way out.
    """
    for i, rule in enumerate(rules):
        problem = rule.problem(columns, unit)
        if problem:
            raise ValueError(f"impossible combination {i + 1} ({rule}): {problem}")
        twin = next((j for j in range(i) if rules[j].content == rule.content), None)
        if twin is not None:
            raise ValueError(
                f"impossible combination {i + 1} ({rule}) repeats number {twin + 1}; leave it out"
            )


def rules_after(
    rules: Sequence[Impossible],
    before: Sequence[Column],
    after: Sequence[Column],
    unit: str | None,
) -> tuple[Impossible, ...]:
    """The rules that still mean the same over other columns: all theirs are there, as they were.

    Where levels were joined or renamed, a level may stand for more than it did.
    """
    old, new = ({c.name: c.levels for c in columns} for columns in (before, after))
    return tuple(
        rule
        for rule in rules
        if rule.problem(after, unit) is None and all(old[n] == new[n] for n in rule.columns)
    )


def breaks_any(rules: Sequence[Impossible]) -> pl.Expr:
    """True in the rows that break one of the rules, of which there is at least one."""
    return pl.any_horizontal([rule.matches for rule in rules])


def _levels(name: object, raw: object) -> tuple[Level, ...]:
    if not isinstance(raw, (list, tuple)):
        raise ValueError(f"the levels of {name!r} are a list, as [{_json(raw)}], not {_json(raw)}")
    levels = cast("Sequence[Any]", raw)
    if not levels:
        raise ValueError(
            f"the levels of {name!r} are an empty list, which no row matches; list those that "
            "can't be, or leave the column out"
        )
    for level in levels:
        if level is not None and not isinstance(level, (str, int)):
            raise ValueError(
                f"the level {_json(level)} of {name!r} is neither text, a whole number, true, "
                "false nor null; write it as in the column's categories"
            )
    texts = [_text(level) for level in levels]
    twice = [level for i, level in enumerate(levels) if texts[i] in texts[:i]]
    if twice:
        raise ValueError(f"{name!r} lists {_json(twice[0])} twice; leave one out")
    return tuple(levels)


def _is_one_of(name: str, texts: tuple[str | None, ...]) -> pl.Expr:
    column = pl.col(name)
    present = [text for text in texts if text is not None]
    found = column.cast(pl.String).is_in(present).fill_null(False) if present else pl.lit(False)
    return found | column.is_null() if None in texts else found


def _is_level(column: Column, text: str | None) -> bool:
    return not column.constraints.required if text is None else text in column.levels


def _unknown(column: Column, text: str | None) -> str:
    if text is None:
        return f"{column.name!r} is required, so it is never missing; leave null out"
    return (
        f"{text!r} is no category of {column.name!r} ({_some(column.levels)}); "
        "correct it, or add it to the categories"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])


def _text(level: Level) -> str | None:
    if isinstance(level, bool):
        return str(level).lower()
    return None if level is None else str(level)


def _shown(level: Level) -> str:
    return _text(level) or ("missing" if level is None else "''")


def _json(raw: object) -> str:
    return json.dumps(raw, ensure_ascii=False, default=repr)
