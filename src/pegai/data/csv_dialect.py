"""How a CSV file is written: its encoding, delimiter, line ends and header.

- Delimiter: of `,`, `;`, tab and `|` the one that cuts the header and the first rows into equally
  many cells, and into the most. A name in `.tsv` means tab; a first line `sep=;`, as Excel writes
  it, decides.
- Header: names are stripped of blanks; an empty or doubled one is refused, and so is a first line
  that holds mostly numbers, since that is a patient and not a header.
- The encoding's rule is that of `csv_encoding`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pegai.data.csv_encoding import decode_sample, detect_encoding, known_encoding
from pegai.errors import DataError, UsageError

DELIMITERS = (",", ";", "\t", "|")

_SAMPLE_ROWS = 200
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_YEAR = re.compile(r"(19|20)\d\d")


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file is written.

    Attributes:
        encoding: A Python codec name.
        delimiter: One ASCII character.
        line_end: `"\n"` (also for CRLF) or `"\r"`.
        names: The header, or the names the caller gave.
        skip_lines: Physical lines before the first record.
    """

    encoding: str
    delimiter: str
    line_end: str
    names: tuple[str, ...]
    skip_lines: int


def sniff_csv(
    path: str | Path,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
) -> Dialect:
    """Decide how a CSV file is to be read, by the module's rules.

    Args:
        path: A name in `.gz` is decompressed.
        encoding: Don't guess it.
        delimiter: Don't guess it.
        header: The names of the columns, for a file that has no header line.

    Raises:
        DataError: The file can't be read or is empty, or its encoding or header breaks a rule.
        UsageError: `delimiter` is not one ASCII character.
    """
    path = Path(path)
    if delimiter is not None and (not delimiter.isascii() or delimiter in ("", '"', "\r", "\n")):
        raise UsageError(f"delimiter {delimiter!r} is not an ASCII character", hint="such as ;")
    if delimiter is not None and len(delimiter) != 1:
        raise UsageError(f"delimiter {delimiter!r} is not one character", hint="such as ;")
    found = known_encoding(encoding) if encoding else detect_encoding(path)
    text = decode_sample(path, found)
    if not text.strip():
        raise DataError(f"{path}: the file is empty", hint="it needs a header line")
    line_end = "\r" if "\n" not in text and "\r" in text else "\n"
    text = text.replace("\r", "\n") if line_end == "\r" else text
    rest, said = _after_preamble(text)
    tab = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    delimiter = delimiter or said or ("\t" if tab else _sniff_delimiter(rest))
    names = tuple(header) if header else ()
    if not names:
        names, rest = _read_header(path, rest, delimiter)
    _check_names(path, names)
    before = text[: len(text) - len(rest)]
    # A header that the file ends with has no line end of its own.
    skip = before.count("\n") + bool(before and not before.endswith("\n"))
    return Dialect(found, delimiter, line_end, names, skip)


def _after_preamble(text: str) -> tuple[str, str | None]:
    """The text without leading blank lines and `sep=`, and the delimiter that this named."""
    text = text.lstrip("\r\n")
    said = re.match(r"sep=([,;\t|])\r?\n", text)
    return (text[said.end() :], said[1]) if said else (text, None)


def _first_records(text: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows
    # The last record of the sample may be cut.
    return rows[:-1] if len(rows) > 1 and not text.endswith("\n") else rows


def _sniff_delimiter(text: str) -> str:
    records = {d: _first_records(text, d) or [[]] for d in DELIMITERS}
    fitting = {d: len(rows[0]) for d, rows in records.items() if len({len(r) for r in rows}) == 1}
    if fitting and max(fitting.values()) > 1:
        return max(fitting, key=lambda d: fitting[d])
    # None fits every row: take the header's, so that the check of the records names the line.
    return max(DELIMITERS, key=lambda d: len(records[d][0]))


def _read_header(path: Path, text: str, delimiter: str) -> tuple[tuple[str, ...], str]:
    """The names, and the text after the header."""
    stream = io.StringIO(text, newline="")
    try:
        row = next(csv.reader(stream, delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise DataError(f"{path}: the header line can't be read", hint="check its quotes") from None
    names = tuple(name.strip() for name in row)
    end = stream.tell()
    numbers = [n for n in names if _NUMBER.fullmatch(n) and not _YEAR.fullmatch(n)]
    # Names in quotes are meant as text: R and our own writer of odd names do that.
    if len(numbers) > len(names) / 2 and '"' not in text[:end]:
        raise DataError(
            f"{path}: the first line holds numbers, not the names of the columns",
            hint="add a header line, or pass header=[...] with the names; or quote the names",
        )
    return names, text[end:]


def _check_names(path: Path, names: tuple[str, ...]) -> None:
    """Names must be there and differ. One that looks like a number may be a cell: not shown."""
    empty = [str(i) for i, name in enumerate(names, 1) if not name]
    if empty:
        raise DataError(
            f"{path}: column {', '.join(empty[:5])} of {len(names)} has no name in the header",
            hint="name every column; a delimiter at the end of the line makes a nameless one",
        )
    if any("\0" in name for name in names):
        raise DataError(f"{path}, line 1: holds a NUL byte", hint="export the file again")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = [str(i) for i, name in enumerate(names, 1) if name == twice[0]]
        shown = "" if _NUMBER.fullmatch(twice[0]) else f" {twice[0]!r}"
        raise DataError(
            f"{path}: columns {' and '.join(places)} have the same name{shown}",
            hint="give every column its own name",
        )
