"""A scan of a model folder for what must not be in it: values of the private table, and traces.

Replay proves that a folder holds post-processing of charged outputs alone; this looks at the bytes
themselves, as a suspicious reader would. It finds texts, and numbers in text or as float32, float64
or int64, that stand in the private table and in no public place (the schema, the settings), the
exact number of rows and of patients, seeds, paths and the name of the user.
"""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pegai.audit.findings import Finding
from pegai.data.table import Table

CHECK = "artefact scan"
FILES = {"model.json", "weights.safetensors"}
KEYS = {
    "format",
    "method",
    "settings",
    "schema",
    "guarantee",
    "state",
    "sha256",
    "digest",
}
MIN_TEXT = 4
MIN_DIGITS = 6
"""Shorter texts and numbers occur by chance."""

MAX_VALUES = 20_000


def scan(folder: Path, table: Table | None = None) -> list[Finding]:
    """Everything in a model folder that should not be there.

    Args:
        folder: Written by `Fitted.save`.
        table: The private table, where values of it are to be looked for.
    """
    findings = list(_structure(folder))
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    findings += list(_traces(folder, content))
    if table is not None:
        findings += list(_values(folder, content, table))
    return findings


def _finding(folder: Path, what: str) -> Finding:
    return Finding(CHECK, folder.name, what)


def _structure(folder: Path) -> Iterator[Finding]:
    names = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    for name in sorted(names - FILES):
        yield _finding(folder, f"a file that no method writes: {name}")
    content: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for key in sorted(content.keys() - KEYS):
        yield _finding(folder, f"model.json has a part that no method writes: {key}")


def _traces(folder: Path, content: dict[str, Any]) -> Iterator[Finding]:
    for place, key, value in _walk(content, ""):
        if "seed" in key.lower() and value not in (None, ""):
            yield _finding(folder, f"{place} holds a seed")
        if isinstance(value, str) and not place.startswith(".schema"):
            if re.match(r"(/|[A-Za-z]:\\)[\w.]+[/\\]", value):
                yield _finding(folder, f"{place} holds a path of the machine")
            if re.search(r"\d\d:\d\d:\d\d[.,]\d", value):
                yield _finding(folder, f"{place} holds a time finer than a second")
    user = _user()
    text = json.dumps({k: v for k, v in content.items() if k != "schema"})
    if len(user) >= MIN_TEXT and user in text:
        yield _finding(folder, "the name of the user stands in model.json")


def _walk(node: Any, place: str, key: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(node, dict):
        for name, inside in node.items():
            yield from _walk(inside, f"{place}.{name}", str(name))
    elif isinstance(node, list):
        for i, inside in enumerate(node):
            yield from _walk(inside, f"{place}[{i}]", key)
    else:
        yield place, key, node


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return os.environ.get("USER", "")


def _values(folder: Path, content: dict[str, Any], table: Table) -> Iterator[Finding]:
    """Values of single columns, and counts, that stand in the folder's bytes."""
    public = json.dumps([content["schema"], content["settings"]], ensure_ascii=False)
    parts = {k: v for k, v in content.items() if k not in ("schema", "settings", "sha256")}
    # Texts alone: digits of a number are no text, and numbers are looked for as numbers.
    text = "\n".join(_texts(parts))
    weights = (folder / "weights.safetensors").read_bytes()
    numbers = _numbers(content["state"])
    for column in table.columns:
        values = table.frame[column.name].drop_nulls().unique()[:MAX_VALUES]
        if column.is_numeric:
            found = sum(_holds(float(v), numbers, weights) for v in _telling(table, column.name))
        else:
            texts = [str(v) for v in values if len(str(v)) >= MIN_TEXT]
            found = sum(t in text and t not in public for t in texts)
        if found:
            yield _finding(folder, f"{found} values of column {column.name!r} stand in the folder")
    patients = int(table.unit_codes().max(initial=-1)) + 1
    for name, count in (("rows", len(table)), ("patients", patients)):
        if count >= 100 and float(count) in numbers:
            yield _finding(folder, f"the exact number of {name} stands in model.json")


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, inside in node.items():
            yield str(name)
            yield from _texts(inside)
    elif isinstance(node, list):
        for inside in node:
            yield from _texts(inside)
    elif isinstance(node, str):
        yield node


def _numbers(node: Any) -> set[float]:
    return {float(v) for _, _, v in _walk(node, "") if isinstance(v, (int, float))}


def _telling(table: Table, name: str) -> np.ndarray:
    """Numbers of so many digits that chance does not put them in a folder."""
    numbers = table.numbers(name)
    numbers = np.unique(numbers[np.isfinite(numbers)])[:MAX_VALUES]
    digits = [len(np.format_float_positional(abs(v), trim="-").replace(".", "")) for v in numbers]
    return numbers[np.asarray(digits, int) >= MIN_DIGITS]


def _holds(value: float, numbers: set[float], weights: bytes) -> bool:
    if value in numbers:
        return True
    return np.float64(value).tobytes() in weights
