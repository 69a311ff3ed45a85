"""Schema files: JSON in and out, with errors that name the file, the field and the rule."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pegai.errors import SchemaError
from pegai.schema.table_schema import Schema


def read_schema(path: str | Path) -> Schema:
    """Read a Frictionless Table Schema v2 file with `pegai` keys.

    Raises:
        SchemaError: The file is missing, is not JSON, or breaks a rule.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SchemaError(
            f"{path}: no such file", hint="draft one: pegai schema infer data.csv -o schema.json"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: can't be read as UTF-8 text ({type(error).__name__})") from None
    except json.JSONDecodeError as error:
        raise SchemaError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    return schema_from_dict(raw, name=str(path))


def schema_from_dict(raw: Any, *, name: str = "schema") -> Schema:
    """Validate the content of a schema file; `name` stands in the error for the file.

    Raises:
        SchemaError: A rule is broken; every broken rule is listed with its field.
    """
    try:
        return Schema.model_validate(raw)
    except ValidationError as error:
        lines = [f"{_place(e['loc'], raw)}: {_rule(e)}" for e in error.errors()]
        raise SchemaError(
            f"{name}: {len(lines)} rule{'s' if len(lines) > 1 else ''} broken\n    "
            + "\n    ".join(lines),
            hint="the format is described in docs/reference/schema",
        ) from None


def write_schema(schema: Schema, path: str | Path) -> None:
    """Write a schema; the file is complete or absent, never half-written.

    Raises:
        SchemaError: The file can't be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    text = json.dumps(schema.to_dict(), indent=2, ensure_ascii=False) + "\n"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SchemaError(f"{path}: can't be written ({reason})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _rule(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _place(location: tuple[int | str, ...], raw: Any) -> str:
    """`("fields", 3, "type")` as `field 'cp', type`."""
    parts: list[str] = []
    rest = list(location)
    if len(rest) >= 2 and rest[0] == "fields" and isinstance(rest[1], int):
        try:
            label = repr(raw["fields"][rest[1]]["name"])
        except (KeyError, TypeError, IndexError):
            label = f"number {rest[1] + 1}"
        parts.append(f"field {label}")
        rest = rest[2:]
    elif rest[:2] == ["pegai", "impossible"] and len(rest) > 2 and isinstance(rest[2], int):
        parts.append(f"impossible combination {rest[2] + 1}")
        rest = rest[3:]
    if rest:
        parts.append(".".join(str(part) for part in rest))
    return ", ".join(parts) or "table"
