"""The records of a CSV file in blocks, each checked before Polars parses it.

Polars forgives what must not pass: it fills short rows and takes NUL bytes. So the structure is
checked first, vectorised over the bytes, which costs less than the parsing. Quotes follow RFC 4180:
around a whole cell, doubled inside it. Line ends are LF, CRLF or CR. Blank lines are skipped;
everything else that is not a record of the header's length is refused with its line number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pegai.data.csv_dialect import Dialect
from pegai.data.csv_encoding import utf8_chunks
from pegai.errors import DataError

MAX_RECORD_BYTES = 1 << 26
"""A record longer than this is taken for a quote that was never closed."""

_QUOTE, _LF, _CR = 34, 10, 13


@dataclass(frozen=True)
class Block:
    """Whole records in UTF-8, each with as many cells as there are names."""

    data: bytes
    rows: int


@dataclass(frozen=True, eq=False)
class _Piece:
    """Bytes to be checked, and what an error about them needs."""

    path: Path
    data: bytes
    line: int
    delimiter: int

    @property
    def cells(self) -> np.ndarray:
        return np.frombuffer(self.data, dtype=np.uint8)

    def error(self, position: int, message: str, hint: str) -> DataError:
        line = self.line + self.data.count(b"\n", 0, position)
        return DataError(f"{self.path}, line {line}: {message}", hint=hint)


def read_blocks(path: str | Path, dialect: Dialect) -> Iterator[Block]:
    """The records of a CSV file in blocks of about 8 MB, without header and blank lines.

    Raises:
        DataError: Naming the line: a record that is too short or too long, a NUL byte, a quote
            inside an unquoted cell or one that is never closed, text that does not decode.
    """
    path = Path(path)
    carry, line, skip = b"", 1, dialect.skip_lines
    for chunk in utf8_chunks(path, dialect.encoding):
        carry += chunk.replace(b"\r", b"\n") if dialect.line_end == "\r" else chunk
        while skip and (cut := carry.find(b"\n") + 1):
            carry, line, skip = carry[cut:], line + 1, skip - 1
        end = 0 if skip else _last_record_end(carry)
        if end:
            yield _check(_Piece(path, carry[:end], line, ord(dialect.delimiter)), dialect)
            line += carry.count(b"\n", 0, end)
            carry = carry[end:]
        elif len(carry) > MAX_RECORD_BYTES:
            raise _unclosed(_Piece(path, carry, line, ord(dialect.delimiter)))
    if carry and not skip:
        yield _check(_Piece(path, carry + b"\n", line, ord(dialect.delimiter)), dialect)


def _check(piece: _Piece, dialect: Dialect) -> Block:
    cells, width = piece.cells, len(dialect.names)
    if (at := piece.data.find(b"\0")) >= 0:
        raise piece.error(at, "holds a NUL byte", "it is damaged or binary; export it again")
    separators = _separators(piece)
    ends = np.flatnonzero(cells[separators] == _LF)  # record i ends at separators[ends[i]]
    widths = np.diff(ends, prepend=-1)
    starts = np.concatenate([[0], separators[ends[:-1]] + 1])
    lengths = separators[ends] - starts
    blank = (lengths == 0) | ((lengths == 1) & (cells[starts] == _CR))
    wrong = np.flatnonzero((widths != width) & ~blank)
    if wrong.size:
        raise piece.error(
            int(starts[wrong[0]]),
            f"{widths[wrong[0]]} cells, the header has {width}",
            "a cell that holds the delimiter or a line break must stand in double quotes",
        )
    data = _without(cells, starts[blank], separators[ends[blank]]) if blank.any() else piece.data
    return Block(data, int((~blank).sum()))


def _separators(piece: _Piece) -> np.ndarray:
    """Positions of the delimiters and line feeds that are outside quotes."""
    cells = piece.cells
    separators = np.flatnonzero((cells == piece.delimiter) | (cells == _LF))
    if b'"' not in piece.data:
        return separators
    _check_quotes(piece)
    # uint8 wraps at 256, which keeps the parity.
    inside = np.cumsum(cells == _QUOTE, dtype=np.uint8) & 1
    return separators[inside[separators] == 0]


def _check_quotes(piece: _Piece) -> None:
    """Every quote must open or close a cell, or be half of a doubled one."""
    cells = piece.cells
    quotes = np.flatnonzero(cells == _QUOTE)
    before = np.zeros(256, dtype=bool)
    before[[piece.delimiter, _LF, _QUOTE]] = True
    after = before.copy()
    after[_CR] = True
    opens, closes = quotes[0::2], quotes[1::2]
    bad_opens = opens[(opens > 0) & ~before[cells[opens - 1]]]
    bad_closes = closes[~after[cells[np.minimum(closes + 1, len(cells) - 1)]]]
    bad = np.concatenate([bad_opens, bad_closes])
    if bad.size:
        raise piece.error(
            int(bad.min()),
            "a double quote inside an unquoted cell, or text after a closing quote",
            'put the whole cell in quotes and double those inside it: "5"" tube"',
        )
    if quotes.size % 2:
        raise _unclosed(piece)


def _last_record_end(data: bytes) -> int:
    """Position after the last line feed outside quotes; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    if data.count(b'"', 0, end) % 2 == 0:
        return end
    cells = np.frombuffer(data, dtype=np.uint8)
    inside = np.cumsum(cells == _QUOTE, dtype=np.uint8) & 1
    ends = np.flatnonzero((cells == _LF) & (inside == 0))
    return int(ends[-1]) + 1 if ends.size else 0


def _without(cells: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> bytes:
    keep = np.ones(len(cells), dtype=bool)
    keep[ends] = False
    keep[starts] = False  # the carriage return of a blank CRLF line, else the line feed again
    return cells[keep].tobytes()


def _unclosed(piece: _Piece) -> DataError:
    return piece.error(
        piece.data.rfind(b'"'),
        "a double quote is opened and not closed",
        "close it, or double the quotes that belong to the text",
    )
