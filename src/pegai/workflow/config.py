"""The run file: one TOML that describes the whole way from a table to a report."""

from __future__ import annotations

import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pegai.errors import UsageError

ActionName = Literal["keep", "drop", "blank", "replace", "year", "offset", "zip3", "topcode"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Strict):
    """Where the table is and how it is split.

    Attributes:
        path: CSV, TSV or Parquet; relative paths start at the run file.
        schema_path: The schema file, `schema` in TOML.
        dataset: A name for the ledger; the schema's name goes before the file's.
        encoding: Of a CSV; left out it is detected, or UTF-8 if any fit is private.
        delimiter: Of a CSV; left out it is detected, or a comma (tab for .tsv) if any is private.
        holdout: Share of the patients that no generator sees.
        seed: Of the split, of fits without privacy, of sampling and of the evaluation.
    """

    path: Path
    schema_path: Annotated[Path, Field(alias="schema")]
    dataset: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    seed: Annotated[int, Field(ge=0)] = 0


class DeidentifySection(_Strict):
    """What is done to identifiers.

    Attributes:
        enabled: False skips the step; the report then says so.
        drop_free_text: Drop free text columns; otherwise they are refused.
        dates: What is done to dates: one secret offset a patient, the year only, or drop.
        columns: The action for single columns.
        reasons: Why a column with the action `keep` is kept.
    """

    enabled: bool = True
    drop_free_text: bool = False
    dates: Literal["offset", "year", "drop"] = "offset"
    columns: dict[str, ActionName] = {}
    reasons: dict[str, str] = {}


class FitSection(_Strict):
    """One generator to train.

    Attributes:
        method: A name of `pegai methods`.
        name: What the report calls it; made from method and epsilon if left out.
        epsilon: With it the fit is private; left out, there is no formal guarantee.
        delta: Goes with epsilon.
        replicates: Independent fits, for intervals. Each replicate of a private fit is charged.
        release: Whether its first replicate is written out; the first private fit otherwise.
        settings: Settings of the method.
    """

    method: str
    name: str = ""
    epsilon: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    release: bool = False
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _both_or_none(self) -> FitSection:
        if (self.epsilon is None) != (self.delta is None):
            raise ValueError("epsilon and delta go together: give both, or neither")
        return self

    @property
    def title(self) -> str:
        """The name for people."""
        if self.name:
            return self.name
        if self.epsilon is None:
            return f"{self.method}, not private"
        return f"{self.method}, epsilon {self.epsilon:g}"


class OutputSection(_Strict):
    """What is written.

    Attributes:
        folder: Relative paths start at the run file.
        rows: Synthetic rows; a public number, never the private row count.
        ledger: The privacy ledger.
        title: The headline of the report.
    """

    folder: Path = Path("pegai-run")
    rows: Annotated[int, Field(ge=1)] = 1000
    ledger: Path | None = None
    title: str | None = None


class RunConfig(_Strict):
    """The whole run."""

    data: DataSection
    deidentify: DeidentifySection = DeidentifySection()
    fit: Annotated[tuple[FitSection, ...], Field(min_length=1)]
    output: OutputSection = OutputSection()
    jobs: Annotated[int, Field(ge=-1)] = -1
    tier: Literal["quick", "standard"] = "standard"

    @model_validator(mode="after")
    def _one_release(self) -> RunConfig:
        if sum(fit.release for fit in self.fit) > 1:
            raise ValueError("only one fit may have release = true")
        titles = [fit.title for fit in self.fit]
        if len(set(titles)) < len(titles):
            raise ValueError("two fits have the same name: give each a name")
        return self

    @property
    def released(self) -> int:
        """Position of the fit that is written out."""
        for wanted in (lambda f: f.release, lambda f: f.epsilon is not None, lambda f: True):
            for position, fit in enumerate(self.fit):
                if wanted(fit):
                    return position
        raise AssertionError("there is at least one fit")

    def below(self, folder: Path) -> RunConfig:
        """The same run with relative paths starting at `folder`."""
        data = self.data.model_copy(
            update={
                "path": folder / self.data.path,
                "schema_path": folder / self.data.schema_path,
            }
        )
        ledger = None if self.output.ledger is None else folder / self.output.ledger
        output = self.output.model_copy(
            update={"folder": folder / self.output.folder, "ledger": ledger}
        )
        return self.model_copy(update={"data": data, "output": output})


def read_config(path: str | Path) -> RunConfig:
    """Read a run file; relative paths in it start at its folder.

    Raises:
        UsageError: The file is missing, is not TOML, or breaks a rule; each is named.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file", hint="an example is in docs/reference/config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read as UTF-8 ({type(error).__name__})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    return config_from_dict(raw, name=str(path)).below(path.parent)


def config_from_dict(raw: dict[str, Any], *, name: str = "run file") -> RunConfig:
    """Validate the content of a run file.

    Raises:
        UsageError: A rule is broken; every broken rule is listed with its place.
    """
    with config_error(name):
        return RunConfig.model_validate(raw)


@contextmanager
def config_error(name: str) -> Generator[None]:
    """Turn a broken rule of a config into an error that names file, place and rule."""
    try:
        yield
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(p) for p in e['loc']) or 'file'}: "
            f"{str(e['msg']).removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise UsageError(
            f"{name}: {len(lines)} rule{'s' if len(lines) > 1 else ''} broken\n    "
            + "\n    ".join(lines),
            hint="the format is described in docs/reference/config",
        ) from None
