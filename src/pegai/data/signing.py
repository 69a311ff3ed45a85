"""Ed25519 keys of a house, and signatures over releases and plans.

A private key is a PKCS#8 PEM file that only its user may read (mode 0600); one that others can read
is refused, since anyone could then sign in the house's name. The public key beside it goes to
recipients on another way than the data: by it they know who made a bundle.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pegai.errors import DataError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PASSPHRASE_VARIABLE = "PEGAI_KEY_PASSPHRASE"  # noqa: S105 - a name, not a phrase
"""Where set, a private key is written and read encrypted with it."""

RELEASE = b"pegai-release/1\n"
PLAN = b"pegai-federation-plan/1\n"
"""Contexts: put before what is signed, so that a signature of one kind is one of nothing else."""


def new_key(path: Path) -> tuple[Path, str]:
    """Make a key pair: the private key at `path`, the public one at `path` with `.pub` added.

    Returns:
        The path of the public key, and its fingerprint.

    Raises:
        UsageError: One of the files exists: a key is never overwritten.
        DataError: They can't be written.
    """
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(path.name + ".pub")
    for part in (path, public_path):
        if part.exists() or part.is_symlink():
            raise UsageError(
                f"{part}: exists, and a key is never overwritten", hint="name a new file"
            )
    phrase = _passphrase()
    key = Ed25519PrivateKey.generate()
    locked = s.BestAvailableEncryption(phrase) if phrase else s.NoEncryption()
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, locked)
    _write_new(path, private, 0o600)
    _write_new(public_path, public_pem(key.public_key()), 0o644)
    return public_path, fingerprint(key.public_key())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet; its mode holds from the first byte on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from None


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that nobody else can read.

    Raises:
        UsageError: It is missing, readable by others, encrypted otherwise, or no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise UsageError(
            f"{path}: the private key is open to other users (mode {mode:04o})",
            hint=f"chmod 600 {path}; if others could have read it, make a new key",
        )
    try:
        key = load_pem_private_key(raw, _passphrase())
    except (ValueError, TypeError):
        raise UsageError(
            f"{path}: is no private key, or needs another passphrase",
            hint=f"make one: pegai keygen FILE; an encrypted key needs {PASSPHRASE_VARIABLE}",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: is no Ed25519 key", hint="make one: pegai keygen FILE")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM form.

    Raises:
        UsageError: It is missing or no Ed25519 key.
    """
    return public_key_from(_read(path), name=str(path))


def public_key_from(pem: bytes, *, name: str) -> Ed25519PublicKey:
    """A public key from the bytes of a PEM file; `name` stands in the error for the file.

    Raises:
        UsageError: They are no Ed25519 public key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{name}: is no Ed25519 public key", hint="it is the file ending in .pub")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None


def _passphrase() -> bytes | None:
    phrase = os.environ.get(PASSPHRASE_VARIABLE, "")
    return phrase.encode() if phrase else None


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    from cryptography.hazmat.primitives import serialization as s

    return key.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: Ed25519PublicKey) -> str:
    """`SHA256:` and the base64 of the key's hash: short enough to be read out on the telephone."""
    from cryptography.hazmat.primitives import serialization as s

    raw = key.public_bytes(s.Encoding.Raw, s.PublicFormat.Raw)
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def sign(key: Ed25519PrivateKey, content: bytes, *, context: bytes) -> str:
    """The signature of some bytes, as base64 text; `context` is `RELEASE` or `PLAN`."""
    return base64.b64encode(key.sign(context + content)).decode() + "\n"


def is_signed_by(
    key: Ed25519PublicKey, content: bytes, signature: bytes, *, context: bytes
) -> bool:
    """Whether a signature is of these bytes in this context, and by this key."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), context + content)
    except (InvalidSignature, ValueError):
        return False
    return True
