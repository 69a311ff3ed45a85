"""The folder that a run writes into: one run at a time, and nothing of a killed one left.

A run works in a hidden folder that only its user may read, since models without a guarantee and
private tables pass through it. Leaving it, it is removed; what a killed run left is removed by the
next run, which can tell by the lock that nobody works there any more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pegai.data.atomic import MODEL_MARKER
from pegai.errors import DataError, UsageError
from pegai.privacy.file_lock import try_lock, unlock

LOCK = ".pegai-lock"
WORK = ".work-"
FILES = (
    "synthetic.csv",
    "synthetic.schema.json",
    "run.json",
    "report.html",
    "report.json",
)
MODEL = "model"


@contextmanager
def workplace(folder: Path) -> Generator[Path]:
    """A private folder inside `folder` to work in; removed at the end, whatever happens.

    Raises:
        UsageError: `folder` is a file, holds something else under a name that the run will write,
            or another run works in it.
        DataError: `folder` can't be made or written.
    """
    _refuse_occupied(folder)
    made = _missing_parts(folder)
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            sweep(folder)
            with _writing(folder):
                work = tempfile.TemporaryDirectory(prefix=WORK, dir=folder)
            with work as name:
                yield Path(name)
    finally:
        # A run that came to nothing leaves no empty folders either.
        for part in made:
            with contextlib.suppress(OSError):
                part.rmdir()


@contextmanager
def _writing(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise DataError(
            f"{folder}: can't be written ({said})", hint="name a folder that you may write"
        ) from None


def sweep(folder: Path) -> int:
    """Remove what a killed run left in a folder that is locked; returns how many things."""
    old = [path for path in folder.glob(f"{WORK}*") if path.is_dir() and not path.is_symlink()]
    for name in (*FILES, MODEL):
        old += folder.glob(f".{name}.*.part")
    for path in old:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(old)


def publish(ready: Path, folder: Path) -> dict[str, Path]:
    """Move the finished files and the model from `ready` into `folder`; returns their places.

    Everything was written before, on the same disk, so that only renames are left, and the table,
    its schema and the model in the folder are of one run.
    """
    model, old = folder / MODEL, ready.parent / "old-model"
    if model.exists():
        model.rename(old)
    try:
        (ready / MODEL).rename(model)
    except BaseException:
        if old.exists():
            old.rename(model)
        raise
    for name in FILES:
        (ready / name).replace(folder / name)
    return {
        "synthetic": folder / "synthetic.csv",
        "schema": folder / "synthetic.schema.json",
        "model": model,
        "run": folder / "run.json",
        "report": folder / "report.html",
        "json": folder / "report.json",
    }


def _missing_parts(folder: Path) -> list[Path]:
    """The folders that would have to be made, innermost first."""
    return [part for part in (folder, *folder.parents) if not part.exists()]


def _refuse_occupied(folder: Path) -> None:
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise UsageError(
                f"{part}: is a file, a folder is to be written", hint="name another folder"
            )
    model = folder / MODEL
    if model.exists() and not (model / MODEL_MARKER).is_file():
        if model.is_dir() and not any(model.iterdir()):
            return
        raise UsageError(
            f"{model}: is there already and is no pegai model", hint="name another folder"
        )
    for name in FILES:
        if (folder / name).is_dir():
            raise UsageError(
                f"{folder / name}: is a folder, a file is to be written",
                hint="name another folder",
            )


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    path = folder / LOCK
    with _writing(folder):
        file = path.open("ab")
    with file:
        if not try_lock(file.fileno()) or os.fstat(file.fileno()).st_nlink == 0:
            raise UsageError(
                f"{folder}: another run is writing into it",
                hint="wait for it to end, or name another folder",
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            unlock(file.fileno())
