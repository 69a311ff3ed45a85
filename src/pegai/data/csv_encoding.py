"""The text of a file as UTF-8, whatever it was written in.

The rule, over the *whole* file: a byte order mark decides. Without one, a NUL in every other byte
is UTF-16, and what is valid UTF-8 from end to end is UTF-8. Anything else is read as Windows-1252
(which holds Latin-1's letters), with a warning in the log, and only if it looks like it: its
non-ASCII bytes mostly stand alone, are defined there, and are not punctuation inside words.
Cyrillic, Greek, Asian, DOS and old Macintosh files fail this, and are refused until `encoding=`
says what they are: a name read wrong without a word is worse than an error.
"""

from __future__ import annotations

import codecs
import gzip
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from pegai.errors import DataError

CHUNK_BYTES = 1 << 23
SAMPLE_BYTES = 1 << 20

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDEFINED = np.isin(np.arange(256), [0x81, 0x8D, 0x8F, 0x90, 0x9D])
# 0x80-0x9F inside a word is an apostrophe or an oe in Western text, and a letter in other codes.
_ODD_INSIDE = (np.arange(256) >= 0x80) & (np.arange(256) < 0xA0)
_ODD_INSIDE[[0x92, 0x8C, 0x9C]] = False
_ASCII_LETTER = np.array([chr(i).isalpha() and i < 128 for i in range(256)])
_SAVE_AS = "save the file as UTF-8, or say encoding="

_log = logging.getLogger(__name__)


def detect_encoding(path: Path) -> str:
    """The encoding of a file by the module's rule, as a Python codec name.

    Raises:
        DataError: The file can't be read, or the rule finds no encoding.
    """
    chunks = raw_chunks(path)
    first = next(chunks, b"")
    for bom, name in _BOMS:
        if first.startswith(bom):
            return name
    head = np.frombuffer(first[:SAMPLE_BYTES], dtype=np.uint8)
    if head.size >= 2:
        even, odd = float((head[0::2] == 0).mean()), float((head[1::2] == 0).mean())
        if max(even, odd) > 0.4 and min(even, odd) < 0.1:
            return "utf-16-be" if even > odd else "utf-16-le"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(first)
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return _western(path)
    return "utf-8"


def known_encoding(name: str) -> str:
    """The codec of an encoding that the caller names; UTF-8 also takes a byte order mark.

    Raises:
        DataError: Python knows no such encoding.
    """
    try:
        found = codecs.lookup(name)
        if not isinstance("".encode(name), bytes):  # not text, such as base64
            raise LookupError
    except (LookupError, ValueError):
        raise DataError(f"{name!r} is not an encoding", hint="such as utf-8 or cp1252") from None
    return "utf-8-sig" if found.name == "utf-8" else found.name


def decode_sample(path: Path, encoding: str) -> str:
    """The first megabyte of text; a character cut at its end is left out.

    Raises:
        DataError: It does not decode.
    """
    chunk = next(raw_chunks(path), b"")[:SAMPLE_BYTES]
    try:
        return codecs.getincrementaldecoder(encoding)().decode(chunk)
    except UnicodeError:
        raise DataError(f"{path}: does not decode as {encoding}", hint=_SAVE_AS) from None


def utf8_chunks(path: Path, encoding: str) -> Iterator[bytes]:
    """The file as UTF-8 without byte order mark, in chunks; `utf-8` passes bytes on as they are.

    Raises:
        DataError: The file can't be read or does not decode.
    """
    if encoding == "utf-8":
        yield from raw_chunks(path)
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    try:
        for chunk in raw_chunks(path):
            yield decoder.decode(chunk).encode("utf-8")
        yield decoder.decode(b"", True).encode("utf-8")
    except UnicodeError:
        raise DataError(f"{path}: does not decode as {encoding}", hint=_SAVE_AS) from None


def raw_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed where its name ends in `.gz`.

    Raises:
        DataError: The file is missing, unreadable, or damaged gzip.
    """
    try:
        with path.open("rb") as file:
            packed = path.name.lower().endswith(".gz")
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="check the path") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path}: truncated or damaged gzip", hint="copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None


def _western(path: Path) -> str:
    high = runs = undefined = odd = 0
    for chunk in raw_chunks(path):
        cells = np.frombuffer(chunk, dtype=np.uint8)
        upper = cells >= 0x80
        high += int(upper.sum())
        runs += int((upper[1:] & upper[:-1]).sum())
        undefined += int(_UNDEFINED[cells].sum())
        letter = _ASCII_LETTER[cells]
        odd += int((_ODD_INSIDE[cells[1:-1]] & letter[:-2] & letter[2:]).sum())
    if undefined or 3 * (runs + odd) > high:
        raise DataError(
            f"{path}: is neither UTF-8 nor UTF-16, and does not look like Western European text",
            hint=_SAVE_AS + ', for example "cp1250" or "cp1251"',
        )
    _log.warning("%s is not UTF-8; it is read as Windows-1252", path.name)
    return "cp1252"
