"""The finished cells of a comparison on disk, so that a stopped one goes on where it was.

Each fit and each evaluation has a folder `cells/<digest>/` that is complete or absent. The digest
covers all that its content depends on: what has another digest is another cell, so that changed
arguments, data or versions never meet old results. Nothing is pickled: models are model folders,
tables are Parquet, all else is JSON. The folder is for its user only: there are models without a
guarantee in it, and figures on real patients.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pegai._version import __version__
from pegai.data.atomic import atomic_folder, atomic_write_text
from pegai.data.conform import conform
from pegai.data.files import read_frame, write_table
from pegai.data.table import Table
from pegai.errors import BudgetExceededError, DataError, PegaiError
from pegai.evaluate.scores import Evaluation
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.synth.base import table_bytes
from pegai.synth.catalog import load, make
from pegai.workflow.config import FitSection
from pegai.workflow.parallel import Tell, as_told
from pegai.workflow.training import FitTask, fit_one, sample_one

FORMAT = "pegai-cell/1"
CELLS = "cells"
CELL = "cell.json"
MODEL = "model"
EVALUATION = "evaluation.json"
_BEGUN = ".begun"


@dataclass(frozen=True)
class FitCell:
    """One fit of one method at one epsilon.

    Attributes:
        task: What to fit; its folder is where the model will be.
        place: The cell's folder.
        rows: Rows of the synthetic table.
    """

    task: FitTask
    place: Path
    rows: int

    @property
    def is_done(self) -> bool:
        """Whether the model is there: then it is never fitted, and charged, again."""
        return (self.place / CELL).is_file()

    @property
    def was_begun(self) -> bool:
        """Whether a fit that was to be charged began and did not end."""
        return self.mark.exists() and not self.is_done

    @property
    def mark(self) -> Path:
        """A file that is there while a private fit runs."""
        return self.place.with_name(self.place.name + _BEGUN)

    @property
    def table_path(self) -> Path:
        """Where the synthetic table is."""
        return self.place / f"synthetic-{self.rows}.parquet"


@dataclass(frozen=True)
class FitRecord:
    """What is known of a finished fit without loading its model."""

    seconds: float
    guarantee: Guarantee | None
    heuristic: str


def data_digest(table: Table) -> str:
    """SHA-256 of a table's content and schema."""
    digest = hashlib.sha256(table.schema.digest().encode())
    for chunk in table_bytes(table):
        digest.update(chunk)
    return digest.hexdigest()


def digest_of(content: Any) -> str:
    """A name for what is described by JSON types; equal content gives the equal name."""
    whole = {"format": FORMAT, "version": __version__, "content": content}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fit_cells(
    cells: Sequence[FitSection],
    *,
    folder: Path,
    learned: str,
    seed: int,
    rows: int,
    ledger: Path,
    dataset: str,
) -> list[FitCell]:
    """Every fit of every cell, in order; `learned` is the digest of the training table."""
    found: list[FitCell] = []
    for cell in cells:
        whole = {
            "kind": "fit",
            "data": learned,
            "method": cell.method,
            "settings": make(cell.method, cell.settings).settings(),
            "epsilon": cell.epsilon,
            "delta": cell.delta,
            "seed": seed,
        }
        if cell.epsilon is not None:
            # A fit that was charged elsewhere is none of this ledger's.
            whole |= {"ledger": str(ledger.resolve()), "dataset": dataset}
        # A seed of its own, whatever other cells there are.
        own = Streams(seed).child(f"compare/{cell.title}").seed
        for replicate in range(cell.replicates):
            place = folder / CELLS / digest_of({**whole, "replicate": replicate})
            task = FitTask(0, replicate, cell, ledger, dataset, own, place / MODEL)
            found.append(FitCell(task, place, rows))
    return found


def finish_fit(cell: FitCell, train: Table, tell: Tell) -> PegaiError | None:
    """Fit what is missing, sample, and write it; the error that stopped it, else None.

    An error of any kind is given back, not raised: it must not end the fits beside it, whose
    charges would be lost.
    """
    try:
        if not cell.is_done:
            _fit(cell, train, tell)
        cell.mark.unlink(missing_ok=True)
        if not cell.table_path.exists():
            table = sample_one(load(cell.place / MODEL), cell.task, cell.rows)
            write_table(table, cell.table_path)
    except BudgetExceededError as error:
        cell.mark.unlink(missing_ok=True)  # nothing was charged
        return named(error, cell.task.fit.title)
    except Exception as error:
        return named(as_told(error), cell.task.fit.title)
    return None


def named(error: PegaiError, title: str) -> PegaiError:
    """The same error, saying which cell it is about."""
    return type(error)(f"{title}: {error.message}", hint=error.hint)


def _fit(cell: FitCell, train: Table, tell: Tell) -> None:
    if cell.task.privacy is not None:
        cell.mark.touch()
    with atomic_folder(cell.place, marker=CELL) as building:
        task = replace(cell.task, folder=building / MODEL)
        seconds = fit_one(task, train, tell)
        model = load(task.folder)
        guarantee = model.guarantee
        content = {
            "format": FORMAT,
            "kind": "fit",
            "method": task.fit.method,
            "epsilon": task.fit.epsilon,
            "delta": task.fit.delta,
            "replicate": task.replicate,
            "seconds": seconds,
            "guarantee": None if guarantee is None else guarantee.to_dict(),
            "heuristic": model.heuristic,
        }
        _write(building / CELL, content)


def read_fit(cell: FitCell) -> FitRecord:
    """The record of a finished fit.

    Raises:
        DataError: The cell is damaged.
    """
    content = _read(cell.place / CELL)
    try:
        guarantee = content["guarantee"]
        return FitRecord(
            seconds=float(content["seconds"]),
            guarantee=None if guarantee is None else Guarantee.from_dict(guarantee),
            heuristic=str(content["heuristic"]),
        )
    except (KeyError, TypeError, ValueError, PegaiError) as error:
        raise _damaged(cell.place / CELL, error) from None


def read_synthetic(cell: FitCell, schema: Schema) -> Table:
    """The synthetic table of a finished fit."""
    return conform(read_frame(cell.table_path), schema, name=str(cell.table_path))


@dataclass(frozen=True)
class EvaluationCell:
    """The evaluation of one method at one epsilon.

    Attributes:
        name: What people call it.
        fits: Its fits, one a replicate.
        place: The cell's folder.
    """

    name: str
    fits: tuple[FitCell, ...]
    place: Path

    @property
    def is_done(self) -> bool:
        """Whether the evaluation is there."""
        return (self.place / EVALUATION).is_file()


def evaluation_cells(
    fits: Sequence[FitCell], *, folder: Path, held_out: str, seed: int, tier: str
) -> list[EvaluationCell]:
    """One evaluation for all replicates of a cell, in order of the fits."""
    groups: dict[str, list[FitCell]] = {}
    for fit in fits:
        groups.setdefault(fit.task.fit.title, []).append(fit)
    return [
        EvaluationCell(
            title,
            tuple(group),
            folder
            / CELLS
            / digest_of(
                {
                    "kind": "evaluation",
                    "fits": [fit.place.name for fit in group],
                    "rows": group[0].rows,
                    "data": held_out,
                    "seed": seed,
                    "tier": tier,
                }
            ),
        )
        for title, group in groups.items()
    ]


def write_evaluation(cell: EvaluationCell, evaluation: Evaluation) -> None:
    """Write an evaluation; its folder is complete or absent."""
    with atomic_folder(cell.place, marker=EVALUATION) as building:
        _write(building / EVALUATION, {"format": FORMAT, **evaluation.to_dict()})


def read_evaluation(cell: EvaluationCell) -> Evaluation:
    """A finished evaluation.

    Raises:
        DataError: The cell is damaged.
    """
    path = cell.place / EVALUATION
    try:
        return Evaluation.from_dict(_read(path))
    except DataError as error:
        raise _damaged(path, error) from None


def open_cells(folder: Path) -> None:
    """Make the folder of the cells, for its user only."""
    cells = folder / CELLS
    try:
        cells.mkdir(parents=True, exist_ok=True)
        cells.chmod(0o700)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise DataError(f"{cells}: can't be written ({said})", hint="name another folder") from None


def sweep_cells(folder: Path) -> None:
    """Remove what a killed comparison left half-written in a folder that is locked."""
    cells = folder / CELLS
    for path in (*cells.glob(".*.part"), *cells.glob("*/.*.part")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def begun(fits: Iterable[FitCell]) -> list[FitCell]:
    """Private fits that began in an earlier call and did not end."""
    return [fit for fit in fits if fit.was_begun]


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(path, None)
    return content


def _damaged(path: Path, error: Exception | None) -> DataError:
    why = f" ({type(error).__name__})" if error is not None else ""
    return DataError(
        f"{path}: is no finished cell of this version{why}",
        hint=f"remove {path.parent}: it is made again, and a private fit is charged again",
    )
