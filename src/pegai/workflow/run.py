"""The whole way: read, de-identify, split, fit, sample, evaluate, report, write out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from pegai.data.atomic import atomic_write_text
from pegai.data.conform import conform, usual_delimiter
from pegai.data.files import file_sha256, read_frame, write_table
from pegai.data.splits import Split, split, split_independently
from pegai.data.table import Table
from pegai.privacy.guarantee import default_ledger
from pegai.report import Candidate, Content, build_content, domain_rows, write_report
from pegai.schema import read_schema, write_schema
from pegai.streams import Streams
from pegai.synth.base import check_public, check_table, known_patients
from pegai.workflow.config import RunConfig
from pegai.workflow.deidentification import Cleaned, clean
from pegai.workflow.facts import dataset_name, ledger_rows, machine, now, versions
from pegai.workflow.training import (
    FitTask,
    check_budget,
    check_methods,
    evaluate_all,
    fit_all,
    load_model,
    sample_one,
)
from pegai.workflow.workplace import publish, workplace

Progress = Callable[[str, float], None]
"""Called with the stage and the share of the whole run that is done."""


@dataclass(frozen=True)
class RunResult:
    """What a run wrote, and what it found.

    Attributes:
        folder: Where everything is.
        files: Path by what it is.
        content: The report's content.
        seconds: Wall time.
    """

    folder: Path
    files: Mapping[str, Path]
    content: Content
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be learned."""

    train: Table
    holdout: Table
    dataset: str
    cleaned: Cleaned


def run(
    config: RunConfig,
    *,
    progress: Progress = lambda stage, share: None,
    commands: Sequence[str] = (),
) -> RunResult:
    """Run everything that a run file asks for.

    Nothing is written into the output folder before all of it is ready, but for the ledger, where
    charges stay whatever happens. Several processes are used unless `config.jobs` is 1: a script
    has to call this under `if __name__ == "__main__":`.

    Args:
        config: The run file's content.
        progress: Told of the stage and the share of the whole run.
        commands: Shell commands that reproduce the run, for the report.

    Raises:
        PegaiError: Any rule of the parts; see `pegai.errors` for exit codes.
    """
    start = time.perf_counter()
    folder = config.output.folder
    check_methods(config.fit)
    with workplace(folder) as work:
        progress("reading and de-identifying", 0.0)
        prepared = prepare(config)
        tasks = _tasks(config, prepared.dataset, work)
        progress("checking the budget", 0.01)
        check_budget(tasks, prepared.train)
        seconds = fit_all(
            tasks, prepared.train, jobs=config.jobs, watch=_part("training", progress, 0.02, 0.62)
        )
        tables = _sample(config, tasks, progress)
        candidates = _evaluate(config, prepared, tasks, tables, seconds, progress)
        progress("writing the report", 0.97)
        content = _content(config, prepared, tasks, candidates, commands)
        ready = _write(config, tasks, tables, content, work / "ready")
        files = publish(ready, folder)
    if any(task.privacy is not None for task in tasks):
        files["ledger"] = tasks[0].ledger
    progress("done", 1.0)
    return RunResult(folder, files, content, time.perf_counter() - start)


def _part(name: str, progress: Progress, low: float, high: float) -> Progress:
    """The progress of a part of the run, as that of the whole."""
    return lambda stage, share: progress(f"{name}: {stage}", low + (high - low) * share)


def prepare(config: RunConfig) -> Prepared:
    """Read, clean and split the table, and refuse what can't be fitted before anything is spent."""
    schema = read_schema(config.data.schema_path)
    private = any(fit.epsilon is not None for fit in config.fit)
    frame = _read(config, private=private)
    # Shifts and fictitious values come from a secret seed: the run file's is no secret.
    cleaned = clean(frame, schema, config.deidentify, seed=None, private=private)
    table = conform(cleaned.frame, cleaned.schema, name=str(config.data.path), cell_by_cell=private)
    check_table(table)
    if private:
        check_public(table.schema)
        table = known_patients(table)
    parts = _split(table, config, private=private)
    dataset = dataset_name(schema, config.data.path, chosen=config.data.dataset)
    return Prepared(parts.train, parts.holdout, dataset, cleaned)


def _read(config: RunConfig, *, private: bool) -> pl.DataFrame:
    """The raw table; before a private fit nothing about the file is guessed from its content."""
    encoding, delimiter = config.data.encoding, config.data.delimiter
    if private:
        encoding = encoding or "utf-8"
        delimiter = delimiter or usual_delimiter(config.data.path)
    return read_frame(config.data.path, encoding=encoding, delimiter=delimiter)


def _split(table: Table, config: RunConfig, *, private: bool) -> Split:
    """Patients one by one where a guarantee is to hold for the whole source table."""
    share, seed = config.data.holdout, config.data.seed
    if private:
        return split_independently(table, holdout=share, seed=seed)
    return split(table, holdout=share, rng=Streams(seed).get("split"))


def _tasks(config: RunConfig, dataset: str, work: Path) -> list[FitTask]:
    ledger = config.output.ledger or default_ledger()
    return [
        FitTask(
            position,
            replicate,
            fit,
            ledger,
            dataset,
            config.data.seed,
            work / f"model-{position}-{replicate}",
        )
        for position, fit in enumerate(config.fit)
        for replicate in range(fit.replicates)
    ]


def _sample(config: RunConfig, tasks: list[FitTask], progress: Progress) -> list[Table]:
    tables: list[Table] = []
    for count, task in enumerate(tasks):
        progress("sampling", 0.62 + 0.02 * count / len(tasks))
        tables.append(sample_one(load_model(task), task, config.output.rows))
    return tables


def _evaluate(
    config: RunConfig,
    prepared: Prepared,
    tasks: list[FitTask],
    tables: list[Table],
    seconds: list[float],
    progress: Progress,
) -> list[Candidate]:
    groups = [
        [table for task, table in zip(tasks, tables, strict=True) if task.position == position]
        for position in range(len(config.fit))
    ]
    progress("evaluating: models of real patients", 0.64)
    evaluations = evaluate_all(
        prepared.train.evaluated(),
        prepared.holdout.evaluated(),
        groups,
        names=[fit.title for fit in config.fit],
        private=[fit.epsilon is not None for fit in config.fit],
        tier=config.tier,
        seed=config.data.seed,
        jobs=config.jobs,
        watch=_part("evaluating", progress, 0.66, 0.97),
    )
    pairs = zip(reversed(tasks), reversed(seconds), strict=True)
    first = {task.position: (task, took) for task, took in pairs}
    return [
        Candidate(
            name=fit.title,
            title=fit.title,
            method=fit.method,
            evaluation=evaluations[position],
            guarantee=load_model(first[position][0]).guarantee,
            heuristic=load_model(first[position][0]).heuristic,
            released=position == config.released,
            settings={**fit.settings, "replicates": fit.replicates},
            seconds=first[position][1],
        )
        for position, fit in enumerate(config.fit)
    ]


def _content(
    config: RunConfig,
    prepared: Prepared,
    tasks: list[FitTask],
    candidates: list[Candidate],
    commands: Sequence[str],
) -> Content:
    cleaned = prepared.cleaned
    rows = {"train": len(prepared.train), "holdout": len(prepared.holdout)}
    return build_content(
        candidates,
        title=config.output.title or f"Synthetic patients from {prepared.dataset}",
        dataset=f"{prepared.dataset}: {sum(rows.values())} rows, "
        f"{len(prepared.train.schema.modelled)} columns",
        created=now(),
        deidentification=cleaned.actions,
        anonymity_before=cleaned.anonymity_before,
        anonymity_after=cleaned.anonymity_after,
        split={
            "unit": prepared.train.schema.unit or "one row a patient",
            "holdout share": config.data.holdout,
            "rows to learn": rows["train"],
            "holdout rows": rows["holdout"],
        },
        versions=versions(),
        seeds={"split, sampling, evaluation and fits without privacy": config.data.seed},
        machine=machine(),
        ledger=ledger_rows(tasks[0].ledger, prepared.dataset),
        lint=cleaned.lint,
        commands=commands,
        domain=domain_rows(prepared.train.schema),
    )


def _write(
    config: RunConfig, tasks: list[FitTask], tables: list[Table], content: Content, ready: Path
) -> Path:
    """Write all results into a new folder, under the names they will have."""
    released = next(
        i for i, t in enumerate(tasks) if t.position == config.released and t.replicate == 0
    )
    ready.mkdir()
    load_model(tasks[released]).save(ready / "model")
    write_table(tables[released], ready / "synthetic.csv")
    write_schema(tables[released].schema, ready / "synthetic.schema.json")
    text = config.model_dump_json(indent=1, by_alias=True)
    atomic_write_text(ready / "run.json", text + "\n")
    known = {"synthetic.csv": file_sha256(ready / "synthetic.csv")}
    write_report(replace(content, tables=known), ready)
    return ready
