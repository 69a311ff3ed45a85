"""Messages between sites and the coordinator: JSON and plain arrays in an npz, never a pickle.

Reading a message runs no code, reserves no more memory than the message has bytes, and takes
arrays of plain numbers only. Who sent it, and whether it may, is decided by its reader.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from pegai.errors import FederationError

BODY = "body"
MAX_BYTES = 2**31
KINDS = ("int64", "uint64", "float64", "float32", "uint8")


@dataclass(frozen=True, eq=False)
class Message:
    """One message.

    Attributes:
        body: JSON types.
        arrays: Of plain numbers, by name.
    """

    body: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def to_bytes(self) -> bytes:
        """As it travels."""
        content = {BODY: np.frombuffer(canonical(self.body), np.uint8), **self.arrays}
        for name, array in content.items():
            if array.dtype.name not in KINDS:
                raise TypeError(f"array {name!r} has the type {array.dtype}")
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **content)  # pyright: ignore[reportArgumentType]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Message:
        """Read what `to_bytes` wrote.

        Raises:
            FederationError: It is no such message.
        """
        if len(raw) > MAX_BYTES:
            raise FederationError(
                f"a message has {len(raw):,} bytes; at most {MAX_BYTES:,} are read"
            )
        try:
            arrays = _arrays(raw)
            body = json.loads(bytes(arrays.pop(BODY)).decode())
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, RecursionError) as e:
            raise FederationError(
                f"a message can't be read ({type(e).__name__})",
                hint="both ends must run the same version of pegai",
            ) from None
        if not isinstance(body, dict):
            raise FederationError("a message must hold an object")
        return cls(body, arrays)  # pyright: ignore[reportUnknownArgumentType]


def _arrays(raw: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz that is not compressed, so that it can't grow when it is read."""
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("compressed")
        if sum(member.file_size for member in members) > len(raw):
            raise ValueError("larger than it is")
    with np.load(io.BytesIO(raw), allow_pickle=False) as loaded:
        for name in loaded.files:
            array = loaded[name]
            if array.dtype.name not in KINDS:
                raise ValueError("type")
            arrays[name] = array
    return arrays


def canonical(body: Any) -> bytes:
    """JSON in one form, to be hashed.

    Raises:
        ValueError: It holds a NaN or an infinite number.
    """
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def digest(body: Any) -> str:
    """SHA-256 of JSON content, in hexadecimal."""
    return sha256(canonical(body)).hexdigest()
