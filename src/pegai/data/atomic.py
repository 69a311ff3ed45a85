"""Files and folders that are whole or absent: written under a temporary name, then renamed.

Whatever stops a write (a full disk, an error, Ctrl-C) leaves the old content as it was and removes
the temporary. Only a killed process can leave one behind: its name starts with a dot and ends in
`.part`, and nothing reads it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pegai.errors import DataError, UsageError

MODEL_MARKER = "model.json"
"""The file that tells a pegai model folder from any other folder."""


@contextmanager
def atomic_path(path: str | Path) -> Generator[Path]:
    """Give a temporary path next to `path` to write to; on leaving, it takes the place of `path`.

    Args:
        path: The final path. A symbolic link is followed; the mode of an existing file is kept.

    Raises:
        DataError: The folder is missing, the path is not a plain file, or the disk refused.
    """
    final = Path(os.path.realpath(path))
    _refuse_special(final)
    # Only the first 100 characters: the temporary name must fit the file system's limit as well.
    # It keeps the suffixes, since writers choose the format by them.
    temporary = final.with_name(f".{final.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        _sync(temporary)
        if final.exists():
            temporary.chmod(stat.S_IMODE(final.stat().st_mode))
        temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({_reason(error)})") from None
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes; the file is the old one or the new one, never a part.

    Raises:
        DataError: The file can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8 with the line ends it has; the file is the old or the new one.

    Raises:
        DataError: The file can't be written.
    """
    atomic_write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(
    path: str | Path, *, overwrite: bool = False, marker: str = MODEL_MARKER
) -> Generator[Path]:
    """Give a temporary folder to fill; on leaving, it takes the place of `path`.

    An absent or empty folder, and one that holds the file `marker` (an earlier result of the same
    kind), are replaced. Any other folder is refused, so that a mistyped `--out` deletes nothing.

    Args:
        path: The final folder; its parents are made.
        overwrite: Replace a folder of unknown content too.
        marker: Name of the file by which an earlier result is known.

    Raises:
        UsageError: The folder is in use by something else, or holds the working directory or home.
        DataError: The disk refused.
    """
    final = Path(os.path.realpath(path))
    _refuse_folder(final, overwrite=overwrite, marker=marker)
    token = secrets.token_hex(4)
    temporary = final.with_name(f".{final.name[:100]}.{token}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        # Asked again: something may have been put there while the model trained for an hour.
        _refuse_folder(final, overwrite=overwrite, marker=marker)
        _swap(temporary, final, final.with_name(f".{final.name[:100]}.{token}.old.part"))
    except OSError as error:
        raise DataError(f"{path}: can't be written ({_reason(error)})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_file(path: str | Path) -> None:
    """Refuse a path that could not be written, before hours of work go into its content.

    Raises:
        DataError: The folder is missing or can't be written, or the path is not a plain file.
    """
    final = Path(os.path.realpath(path))
    _refuse_special(final)
    _probe(final.parent, path)


def check_folder(path: str | Path, *, overwrite: bool = False, marker: str = MODEL_MARKER) -> None:
    """Refuse a folder that `atomic_folder` could not write, before there is anything to write.

    Raises:
        UsageError: The folder is in use by something else, or holds the working directory or home.
        DataError: It can't be written.
    """
    final = Path(os.path.realpath(path))
    _refuse_folder(final, overwrite=overwrite, marker=marker)
    _probe(next(part for part in final.parents if part.exists()), path)


def _probe(folder: Path, path: str | Path) -> None:
    # Asked by writing: permissions alone don't say whether a disk is read-only or full.
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{path}: can't be written ({_reason(error)})") from None


def _swap(new: Path, final: Path, aside: Path) -> None:
    if not final.exists():
        new.rename(final)
    else:
        final.rename(aside)
        try:
            new.rename(final)
        except BaseException:
            aside.rename(final)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync(final.parent)


def _refuse_special(final: Path) -> None:
    if final.is_dir():
        raise DataError(f"{final}: is a folder", hint="give the name of a file in it")
    if final.exists() and not final.is_file():
        # Renaming over /dev/null would replace the device.
        raise DataError(f"{final}: is not a plain file", hint="write to a file name")
    if not final.parent.is_dir():
        raise DataError(f"{final}: the folder {final.parent} does not exist", hint="make it first")


def _refuse_folder(final: Path, *, overwrite: bool, marker: str) -> None:
    if not final.exists():
        return
    if not final.is_dir():
        raise UsageError(f"{final}: is a file, a folder is to be written", hint="name another one")
    keep = (Path.cwd(), Path.home())
    if any(final == kept or final in kept.parents for kept in keep):
        raise UsageError(
            f"{final}: would be replaced, but it is or holds the working or home directory",
            hint="name a new folder",
        )
    if overwrite or (final / marker).is_file() or not any(final.iterdir()):
        return
    raise UsageError(
        f"{final}: is not empty and holds no {marker}",
        hint="name a new folder, or ask to overwrite it",
    )


def _sync(path: Path) -> None:
    """Make a file or a folder's entries survive a power cut, where the system can."""
    flags = os.O_RDONLY
    if path.is_dir():
        # Windows, and some network shares, can't open or sync a folder: nothing to be done there.
        with contextlib.suppress(OSError):
            _fsync(path, flags)
        return
    _fsync(path, os.O_RDWR if os.name == "nt" else flags)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
