"""The single steps of the command line: from files to files."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pegai.audit.artefacts import scan
from pegai.audit.findings import Finding
from pegai.data.atomic import MODEL_MARKER, atomic_write_text, check_file, check_folder
from pegai.data.conform import load_table
from pegai.data.files import check_output, read_frame, write_frame, write_table
from pegai.data.splits import split, split_independently
from pegai.data.stream import TableStream, cells, is_parquet, open_stream
from pegai.data.table import Table
from pegai.errors import DataError, SeedRefusedError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.schema import Schema, read_schema, write_schema
from pegai.schema.infer import infer
from pegai.streams import Streams
from pegai.synth.base import Fitted, Given, check_public
from pegai.synth.catalog import load, make
from pegai.synth.running import Log, Progress, Run, unlogged
from pegai.workflow.config import DeidentifySection, config_error
from pegai.workflow.deidentification import Cleaned, clean
from pegai.workflow.facts import dataset_name
from pegai.workflow.sampling import Sampled, sample_to_file
from pegai.workflow.tune_origin import settings_for

STREAMED_CELLS = 20_000_000
"""Parquet of more cells than this, a million rows of 20 columns, is read as a stream."""


def fit_file(
    data: Path,
    schema: Path,
    out: Path,
    *,
    method: str,
    epsilon: float | None,
    delta: float | None,
    ledger: Path | None,
    dataset: str | None,
    settings: Path | None,
    overwrite: bool,
    seed: int | None,
    progress: Progress,
    encoding: str | None = None,
    delimiter: str | None = None,
    stream: bool | None = None,
    run: Run | None = None,
) -> tuple[Fitted, float]:
    """Fit a method on a file and write the model folder; returns it and the seconds.

    `stream` reads Parquet chunk by chunk, as often as it takes, instead of whole: the same model in
    less memory. None does so for a folder, and beyond `STREAMED_CELLS`. Of `run`, `progress` takes
    the place.

    Raises:
        UsageError: epsilon without delta or the other way round, or the folder is in the way.
        PrivacyError: With epsilon, the settings were tuned on private data without a charge.
        PegaiError: As `Synthesizer.fit`.
    """
    start = time.perf_counter()
    synthesizer = make(method, read_settings(settings, private=epsilon is not None))
    declared = read_schema(schema)
    privacy = _privacy(epsilon, delta, seed)
    if privacy is not None:
        name = dataset or dataset_name(declared, data)
        privacy = replace(privacy, ledger=ledger, dataset=name)
        check_public(declared)
    if (out / MODEL_MARKER).exists() and not overwrite:
        raise UsageError(
            f"{out} holds a model", hint="--force replaces it, or choose another --out"
        )
    check_folder(out, overwrite=overwrite)
    progress("reading", 0.0)
    table: Table | TableStream
    if _is_streamed(data, declared, stream):
        table = open_stream(data, declared, cell_by_cell=privacy is not None)
    else:
        table = load_table(
            data,
            declared,
            extra="drop",
            encoding=encoding,
            delimiter=delimiter,
            cell_by_cell=privacy is not None,
        )
    run = replace(run or Run(), progress=progress)
    model = synthesizer.fit(table, privacy=privacy, rng=seed, run=run)
    model.save(out, overwrite=overwrite)
    return model, time.perf_counter() - start


def _is_streamed(data: Path, schema: Schema, stream: bool | None) -> bool:
    if stream is not None:
        return stream
    if data.is_dir():
        return True
    return is_parquet(data) and data.exists() and cells(data, schema) > STREAMED_CELLS


@contextmanager
def json_lines(path: Path | None) -> Generator[Log]:
    """A log that writes each line of figures to a file at once, behind what is there.

    Raises:
        DataError: It can't be opened for writing.
    """
    if path is None:
        yield unlogged
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from None

    def log(figures: Mapping[str, float | int | str]) -> None:
        # NaN is no JSON.
        plain = {k: None if v != v else v for k, v in figures.items()}  # noqa: PLR0124
        file.write(json.dumps(plain, ensure_ascii=False) + "\n")
        file.flush()

    with file:
        yield log


def _privacy(epsilon: float | None, delta: float | None, seed: int | None) -> Privacy | None:
    if epsilon is None and delta is None:
        return None
    if epsilon is None or delta is None:
        raise UsageError(
            "epsilon and delta go together",
            hint="give both for a private fit (delta at most 1 / (10 x patients)), or neither",
        )
    if seed is not None:
        raise SeedRefusedError(
            "a private fit takes its noise from the operating system and accepts no seed",
            hint="leave --seed out; sampling from the fitted model may be seeded",
        )
    return Privacy(epsilon, delta)


def read_settings(path: Path | None, *, private: bool | None = None) -> dict[str, Any]:
    """The settings of a method from a TOML file; none without one.

    Args:
        path: The file.
        private: Whether a fit with a budget will use them. None leaves what the file says about
            where they come from in, for `tune_origin.settings_for`; no method takes it.

    Raises:
        UsageError: There is no such file, or it is not TOML.
        PrivacyError: For a private fit, they were tuned on private data without a charge.
    """
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return found if private is None else settings_for(found, private=private)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def scan_model(folder: Path, *, data: Path | None, schema: Path | None) -> list[Finding]:
    """Look for what must not be in a model folder; with a table, also for its values.

    Raises:
        UsageError: A table without its schema.
        ModelError: The folder is missing or damaged.
    """
    load(folder)
    if data is None:
        return scan(folder)
    if schema is None:
        raise UsageError("--data needs --schema, to be read", hint="give the table's schema file")
    table = load_table(data, read_schema(schema), extra="drop", cell_by_cell=True)
    return scan(folder, table)


def sample_file(
    model: Path,
    rows: int,
    out: Path,
    *,
    given: Sequence[str],
    seed: int | None,
    progress: Progress,
    jobs: int | None = None,
) -> Sampled:
    """Sample a model folder to a file, as `sample_to_file`; `given` as on a command line."""
    return sample_to_file(
        model, rows, out, given=parse_given(given), seed=seed, jobs=jobs, progress=progress
    )


def _refuse_input(inputs: Sequence[Path | None], outputs: Sequence[Path | None]) -> None:
    """Refuse to write over what is read, or two results into one file."""
    places = [path.resolve() for path in outputs if path is not None]
    for path in outputs:
        if path is not None and path.resolve() in [i.resolve() for i in inputs if i is not None]:
            raise UsageError(f"{path}: would be written over, it is read", hint="name a new file")
        if path is not None and places.count(path.resolve()) > 1:
            raise UsageError(f"{path}: two results can't go into one file", hint="name two files")


def parse_given(given: Sequence[str]) -> Given:
    """`["sex=1", "ca="]` as `{"sex": "1", "ca": None}`.

    Raises:
        UsageError: A part has no equals sign, or a column is named twice.
    """
    wanted: dict[str, str | None] = {}
    for part in given:
        name, sign, value = part.partition("=")
        if not sign or not name:
            raise UsageError(f"--given {part!r} is not column=value", hint="as in --given sex=1")
        if name in wanted:
            raise UsageError(f"--given names {name!r} twice")
        wanted[name] = value or None
    return wanted


def split_file(
    data: Path,
    schema: Path,
    train: Path,
    holdout: Path,
    *,
    share: float,
    stratify: bool,
    seed: int | None,
) -> dict[str, int]:
    """Split a file by patient into two files; returns their row counts.

    `stratify` keeps the shares of target and site exact, but then one patient more can move others,
    and a guarantee of a fit on the first file does not hold for the source.
    """
    _refuse_input([data, schema], [train, holdout])
    check_output(train)
    check_output(holdout)
    table = load_table(data, read_schema(schema), extra="drop")
    streams = Streams.fresh() if seed is None else Streams(seed)
    if stratify:
        parts = split(table, holdout=share, rng=streams.get("split"))
    else:
        parts = split_independently(table, holdout=share, seed=streams.seed)
    write_table(parts.train, train)
    write_table(parts.holdout, holdout)
    return {"train": len(parts.train), "holdout": len(parts.holdout)}


def deidentify_file(
    data: Path,
    out: Path,
    *,
    schema: Path | None,
    schema_out: Path | None,
    report: Path | None,
    drop_free_text: bool,
    dates: str,
    actions: Sequence[str],
    keep: Sequence[str],
    seed: int | None,
) -> Cleaned:
    """De-identify a file; without a schema one is drafted to know missing values and ids."""
    outputs = [path for path in (out, schema_out, report) if path is not None]
    _refuse_input([data, schema], outputs)
    check_output(out)
    for path in outputs:
        check_file(path)
    frame = read_frame(data)
    declared = read_schema(schema) if schema is not None else infer(frame)
    reasons = dict(_pair(k, "--keep", "COLUMN=REASON") for k in keep)
    columns = dict(_pair(a, "--action", "COLUMN=ACTION") for a in actions)
    section = _section(
        {
            "drop_free_text": drop_free_text,
            "dates": dates,
            "columns": {**columns, **dict.fromkeys(reasons, "keep")},
            "reasons": reasons,
        }
    )
    cleaned = clean(frame, declared, section, seed=seed, private=False)
    write_frame(cleaned.frame, out)
    if schema_out is not None:
        write_schema(cleaned.schema, schema_out)
    if report is not None:
        content = {
            "actions": cleaned.actions,
            "lint": cleaned.lint,
            "anonymity": {"before": cleaned.anonymity_before, "after": cleaned.anonymity_after},
        }
        atomic_write_text(report, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return cleaned


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise UsageError(f"{option} {text!r} is not {form}")
    return name, value


def _section(raw: dict[str, Any]) -> DeidentifySection:
    with config_error("deidentify"):
        return DeidentifySection.model_validate(raw)
