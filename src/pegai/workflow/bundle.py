"""A release bundle as files: its manifest, its archive, and whether it is what was signed.

`MANIFEST.json` names every file with its SHA-256; `MANIFEST.sig` is the Ed25519 signature of the
manifest's bytes. Checking reads nothing but the bundle and needs no network.
"""

from __future__ import annotations

import datetime as dt
import json
import lzma
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pegai.data.atomic import atomic_path
from pegai.data.files import file_sha256
from pegai.data.signing import (
    RELEASE,
    fingerprint,
    is_signed_by,
    public_key_from,
    read_public_key,
)
from pegai.errors import DataError, PegaiError, UsageError
from pegai.privacy.guarantee import Guarantee

if TYPE_CHECKING:
    from pegai.privacy.ledger_chain import Entry

FORMAT = "pegai-release/1"
MANIFEST, SIGNATURE, PUBLIC_KEY = "MANIFEST.json", "MANIFEST.sig", "PUBLIC_KEY.pem"
GUARANTEE, SCHEMA, REPORT, TWIN = (
    "GUARANTEE.json",
    "synthetic.schema.json",
    "release.html",
    "release.json",
)
CROISSANT, README, MODEL = "croissant.json", "README.md", "model"
APPROVED, REFUSED = "approved", "refused"

_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)
"""What reading a spoilt archive ends in: no one error of its own."""

MAX_JSON_BYTES = 64 * 2**20
MAX_FILES = 1000
MAX_UNPACKED_BYTES = 64 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: True if it holds, False if not; None is a remark, such as an unknown key.
        detail: What was found, in words.
    """

    name: str
    ok: bool | None
    detail: str


def manifest_text(folder: Path, facts: Mapping[str, Any]) -> str:
    """The manifest of what a folder holds: sorted, so that equal content gives equal bytes."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in (folder / MANIFEST, folder / SIGNATURE)
    }
    content = {"format": FORMAT, **facts, "files": files}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_zip(folder: Path, archive: Path) -> None:
    """The bundle as one file; equal content gives equal bytes."""
    with (
        atomic_path(archive) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with path.open("rb") as source, packed.open(info, "w", force_zip64=True) as target:
                while block := source.read(2**20):
                    target.write(block)


@contextmanager
def opened(bundle: Path) -> Generator[Path]:
    """The folder of a bundle; an archive is unpacked into a temporary one.

    Raises:
        UsageError: It is neither a folder nor an archive of one, or unpacks to something else.
        DataError: The archive is damaged.
    """
    if bundle.is_dir():
        yield bundle
        return
    if not bundle.is_file() or not zipfile.is_zipfile(bundle):
        raise UsageError(f"{bundle}: is no release bundle", hint="give its folder or its .zip")
    with tempfile.TemporaryDirectory(prefix="pegai-verify-") as place:
        yield _unpack(bundle, Path(place))


def _unpack(bundle: Path, place: Path) -> Path:
    try:
        with zipfile.ZipFile(bundle) as packed:
            infos = packed.infolist()
            names = [PurePosixPath(info.filename) for info in infos]
            # The archive is from someone else: it may name ../../etc, or hold a petabyte.
            odd = (
                len(infos) > MAX_FILES
                or len(set(names)) < len(names)
                or sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES
            )
            odd |= any(
                name.is_absolute()
                or ".." in name.parts
                or "\\" in str(name)
                or ":" in str(name)
                or stat.S_ISLNK(info.external_attr >> 16)
                for name, info in zip(names, infos, strict=True)
            )
            tops = {name.parts[0] for name in names if name.parts}
            if odd or len(tops) != 1:
                raise UsageError(f"{bundle}: is no archive of a release bundle")
            packed.extractall(place)
    except _DAMAGES as error:
        raise DataError(
            f"{bundle}: is damaged, or can't be unpacked ({type(error).__name__})",
            hint="copy it anew",
        ) from None
    return place / next(iter(tops))


def verify_bundle(
    bundle: Path, *, key: Path | None = None, ledger: Path | None = None
) -> tuple[Check, ...]:
    """Whether a bundle is whole, unchanged, approved, and signed by whom.

    Args:
        bundle: Its folder or archive.
        key: A public key that is trusted, got on another way than the bundle.
        ledger: The house's own ledger, to look for the charge of the guarantee.

    Raises:
        UsageError: There is no bundle, or the key can't be read.
    """
    trusted = None if key is None else read_public_key(key)
    try:
        with opened(bundle) as folder:
            return tuple(_checks(folder, trusted, ledger))
    except DataError as error:
        return (Check("archive", False, error.message),)


def _checks(folder: Path, trusted: Any, ledger: Path | None) -> Generator[Check]:
    """Every check of a folder, up to the one after which the others say nothing."""
    manifest = _json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        yield Check("manifest", False, f"{MANIFEST} is missing, damaged or unknown")
        return
    yield Check("manifest", True, f"{MANIFEST} is readable")
    yield _status(manifest)
    files = _files(folder, manifest)
    yield from files
    if any(check.ok is False for check in files):
        return
    yield from _signature(folder, manifest, trusted)
    guarantee = _guarantee(folder)
    yield from guarantee
    if ledger is not None and all(check.ok is not False for check in guarantee):
        yield _ledger(folder, ledger)


def _json(path: Path) -> Any:
    try:
        # A pipe would be waited for.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _status(manifest: Mapping[str, Any]) -> Check:
    status = manifest.get("status")
    if status == APPROVED:
        return Check("status", True, f"approved under policy {manifest.get('policy')}")
    return Check("status", False, "not approved: the policy forbids this release")


def _files(folder: Path, manifest: Mapping[str, Any]) -> list[Check]:
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        return [Check("files", False, f"{MANIFEST} lists no files")]
    links, found, odd = set[str](), set[str](), set[str]()
    wanted_folders = {str(part) for name in listed for part in PurePosixPath(name).parents}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links.add(name)
            found.add(name)
        elif path.is_file():
            found.add(name)
        elif not path.is_dir() or name not in wanted_folders:
            odd.add(name)
    found -= {MANIFEST, SIGNATURE}
    checks = [
        Check("files", False, f"{what}: {', '.join(sorted(names)[:10])}")
        for what, names in (
            ("missing", listed.keys() - found),
            ("not in the manifest", found - listed.keys()),
            ("links to elsewhere", links),
            ("neither a file nor a folder of one", odd),
        )
        if names
    ]
    changed = [
        name
        for name in sorted(listed.keys() & found)
        if name not in links and not _same(folder / name, listed[name])
    ]
    if changed:
        checks.append(Check("files", False, f"changed: {', '.join(changed[:10])}"))
    return checks or [Check("files", True, f"{len(listed)} files, each as in the manifest")]


def _same(path: Path, wanted: Any) -> bool:
    try:
        return isinstance(wanted, dict) and file_sha256(path) == wanted.get("sha256")
    except UsageError:
        return False


def _signature(folder: Path, manifest: Mapping[str, Any], trusted: Any) -> list[Check]:
    claimed = manifest.get("signed_by")
    signature = folder / SIGNATURE
    if claimed is None and not signature.exists():
        if trusted is not None:
            return [Check("signature", False, "not signed, though a key was given")]
        return [Check("signature", None, "intact, but not signed: anyone may have made it")]
    try:
        pem = (folder / PUBLIC_KEY).read_bytes()
        key = public_key_from(pem, name=PUBLIC_KEY)
        good = is_signed_by(
            key, (folder / MANIFEST).read_bytes(), signature.read_bytes(), context=RELEASE
        )
    except (OSError, UsageError):
        return [Check("signature", False, "the signature or its key is missing or damaged")]
    mark = fingerprint(key)
    if not good or claimed != mark:
        return [Check("signature", False, "the signature is not of this manifest")]
    if trusted is None:
        said = f"intact, but signed by an unknown key: {mark}. Compare it on another way, or --key"
        return [Check("signature", True, "of this manifest"), Check("signer", None, said)]
    if fingerprint(trusted) != mark:
        said = f"signed by {mark}, not by the key that was given: {fingerprint(trusted)}"
        return [Check("signer", False, said)]
    return [Check("signature", True, "of this manifest"), Check("signer", True, f"{mark}, trusted")]


def _guarantee(folder: Path) -> list[Check]:
    """Whether the guarantee is one, costs what it says, and is the same wherever it stands."""
    content = _json(folder / GUARANTEE)
    if not isinstance(content, dict):
        return [Check("guarantee", False, f"{GUARANTEE} is missing or damaged")]
    twin, model = _json(folder / TWIN), _json(folder / MODEL / "model.json")
    for name, other in ((TWIN, twin), (f"{MODEL}/model.json", model)):
        if isinstance(other, dict) and other.get("guarantee") != content.get("guarantee"):
            return [Check("guarantee", False, f"{GUARANTEE} and {name} differ")]
    if not isinstance(twin, dict):
        return [Check("guarantee", False, f"{TWIN} is missing or damaged")]
    if content.get("guarantee") is None:
        if content.get("formal") is not False:
            return [Check("guarantee", False, f"{GUARANTEE} claims what it does not hold")]
        return [Check("guarantee", None, "no formal guarantee, as the bundle says itself")]
    try:
        guarantee = Guarantee.from_dict(content["guarantee"])
        guarantee.require_releasable()
    except PegaiError as error:
        return [Check("guarantee", False, error.message)]
    except (ArithmeticError, ValueError, TypeError, MemoryError) as error:
        # Its figures are anyone's: the accountant may not get through.
        return [Check("guarantee", False, f"can't be computed anew ({type(error).__name__})")]
    said = (
        f"epsilon {guarantee.epsilon:g}, delta {guarantee.delta:g}, computed anew from its events"
    )
    return [Check("guarantee", True, said)]


def _ledger(folder: Path, path: Path) -> Check:
    from pegai.privacy.ledger import Ledger

    content = (_json(folder / GUARANTEE) or {}).get("guarantee")
    if content is None:
        return Check("ledger", None, "without a guarantee there is no charge to look for")
    guarantee = Guarantee.from_dict(content)
    if not path.exists():
        return Check("ledger", False, f"{path}: no such file")
    ledger = Ledger(path)
    problems = ledger.verify()
    if problems:
        return Check("ledger", False, f"{path}: damaged or edited")
    lines = [e.index + 1 for e in ledger.entries() if _may_be_of(e, guarantee)]
    if not lines:
        said = "holds no charge of these events, this epsilon and this unit before the fit ended"
        return Check("ledger", False, f"{path}: {said}")
    if len(lines) > 1:
        listed = ", ".join(map(str, lines[-10:]))
        said = (
            f"charged, but by one of {len(lines)} equal charges, which can't be told apart: lines"
        )
        return Check("ledger", None, f"{said} {listed}")
    return Check("ledger", True, f"charged in line {lines[0]}")


def _may_be_of(entry: Entry, guarantee: Guarantee) -> bool:
    """Whether a line can be the charge of this very fit: what it paid, and paid beforehand.

    A guarantee names no line, so that two fits with equal plans can't be told apart by more.
    """
    if entry.kind != "charge" or not entry.events or entry.events != guarantee.events:
        return False
    same = (entry.epsilon, entry.delta, entry.unit)
    if same != (guarantee.epsilon, guarantee.delta, guarantee.unit):
        return False
    try:
        paid, ended = (dt.datetime.fromisoformat(t) for t in (entry.time, guarantee.created))
        # A guarantee's time is in whole seconds, cut off.
        return paid < ended + dt.timedelta(seconds=1)
    except (ValueError, TypeError, OverflowError):
        return False
