"""Lets docstrings use the little Markdown they hold: pipe tables and fenced blocks.

Sphinx reads docstrings as reStructuredText. Napoleon turns the Google sections into it; this runs
first and turns Markdown tables into list tables and fences into literal blocks, and escapes what
reStructuredText would take for markup (`|x|`, `*args`, a name with a trailing underscore).
"""

from __future__ import annotations

import re
from typing import Any

_RULE = re.compile(r"^\s*\|(\s*:?-+:?\s*\|)+\s*$")
_ROW = re.compile(r"^\s*\|.*\|\s*$")
_FENCE = re.compile(r"^(\s*)```\w*\s*$")
_EXAMPLE = re.compile(r"^Examples?:\s*$")
_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def convert(lines: list[str]) -> list[str]:
    """Docstring lines as reStructuredText that Napoleon can go on with."""
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        fence = _FENCE.match(line)
        if fence:
            end = _end_of_fence(lines, at + 1)
            out += _literal(lines[at + 1 : end], fence.group(1))
            at = end + 1
        elif _ROW.match(line) and at + 1 < len(lines) and _RULE.match(lines[at + 1]):
            end = at
            while end < len(lines) and _ROW.match(lines[end]):
                end += 1
            out += _table(lines[at:end])
            at = end
        elif _EXAMPLE.match(line) and at + 1 < len(lines) and ">>>" not in lines[at + 1]:
            end = _end_of_block(lines, at + 1)
            out += [
                line,
                "",
                "    .. code-block:: python",
                "",
                *[f"    {x}" for x in lines[at + 1 : end]],
                "",
            ]
            at = end
        else:
            out.append(line if line.lstrip().startswith(">>>") else _escaped(line))
            at += 1
    return _lists_apart(out)


def _end_of_block(lines: list[str], start: int) -> int:
    for at in range(start, len(lines)):
        if lines[at].strip() and not lines[at].startswith(" "):
            return at
    return len(lines)


def _end_of_fence(lines: list[str], start: int) -> int:
    for at in range(start, len(lines)):
        if _FENCE.match(lines[at]):
            return at
    return len(lines)


def _literal(lines: list[str], indent: str) -> list[str]:
    return [
        "",
        f"{indent}.. code-block:: text",
        "",
        *[f"{indent}   {x.strip(chr(10))}" for x in lines],
        "",
    ]


def _table(rows: list[str]) -> list[str]:
    indent = rows[0][: len(rows[0]) - len(rows[0].lstrip())]
    out = ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        marks = ["* -", *["  -"] * (len(cells) - 1)]
        out += [f"{indent}   {m} {_escaped(c)}" for m, c in zip(marks, cells, strict=True)]
    return [*out, ""]


def _escaped(line: str) -> str:
    """The line with its bars, stars and trailing underscores taken literally outside of code."""
    parts = _CODE.split(line)
    for i in range(0, len(parts), 2):
        text = re.sub(r"<(https?://[^>\s]+)>", r"\1", parts[i]).replace("|", r"\|")
        text = re.sub(r"(?<!\*)\*(?!\*)", r"\*", text)
        parts[i] = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", text)
    return "".join(parts)


def _lists_apart(lines: list[str]) -> list[str]:
    """Lists of dashes and stars with the blank line before them that Markdown does not need."""
    out: list[str] = []
    for line in lines:
        starts = re.match(r"^\s*(-|\\\*|\d+\.) \S", line)
        if starts:
            before = out[-1] if out else ""
            if (
                before.strip()
                and not re.match(r"^\s*(-|\*|\d+\.) ", before)
                and not _deeper(before, line)
            ):
                out.append("")
        out.append(re.sub(r"^(\s*)\\\* ", r"\1* ", line))
    return out


def _deeper(before: str, line: str) -> bool:
    """Whether the line before belongs to an item of the same list."""

    def indent(text: str) -> int:
        return len(text) - len(text.lstrip())

    return indent(before) > indent(line)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = convert(lines)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx, ahead of Napoleon."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"version": "1", "parallel_read_safe": True}
