"""Compare generators: every method at every epsilon, on one split, with the curve and the table.

`plan -> read and split once -> sum up the cost -> fit what is missing -> evaluate -> page, JSON,
CSV`. What is finished stays, whatever stops the rest: the next call with the same arguments does
only what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pegai.data.table import Table
from pegai.errors import PegaiError
from pegai.evaluate.suite import RealBaselines, evaluate, real_baselines
from pegai.evaluate.tiers import TierName, tier_named
from pegai.report import Candidate, build_content
from pegai.report.comparison import Comparison, Trial, write_comparison
from pegai.workflow.compare_cells import (
    CELLS,
    MODEL,
    EvaluationCell,
    FitCell,
    begun,
    data_digest,
    evaluation_cells,
    finish_fit,
    fit_cells,
    named,
    open_cells,
    read_evaluation,
    read_fit,
    read_synthetic,
    sweep_cells,
    write_evaluation,
)
from pegai.workflow.compare_plan import (
    CompareConfig,
    Spending,
    allow,
    cells_for,
    check_config,
    refuse_overspending,
    run_config,
    spending_of,
)
from pegai.workflow.facts import ledger_rows, machine, now, versions
from pegai.workflow.parallel import Tell, as_told, in_workers
from pegai.workflow.run import Prepared, Progress, prepare
from pegai.workflow.workplace import workplace

Notice = Callable[[str], None]
"""Called with a sentence for people, before what it is about happens."""

FITTED, EVALUATED = 0.6, 0.97
"""Share of a comparison that is done after the fits, and after the evaluations."""


@dataclass(frozen=True)
class CompareResult:
    """What a comparison wrote and found.

    Attributes:
        folder: Where everything is.
        files: Path by what it is.
        comparison: The content of the page.
        spending: What the private fits of this call cost; None where none was missing.
        fitted: Fits that this call made.
        evaluated: Evaluations that this call made.
        seconds: Wall time.
    """

    folder: Path
    files: Mapping[str, Path]
    comparison: Comparison
    spending: Spending | None
    fitted: int
    evaluated: int
    seconds: float


def compare(
    config: CompareConfig,
    *,
    progress: Progress = lambda stage, share: None,
    notice: Notice = lambda text: None,
    commands: Sequence[str] = (),
) -> CompareResult:
    """Fit, sample and evaluate every method at every epsilon, and write the comparison.

    Writes `compare.html`, `compare.json` and `compare.csv` into the folder when all is done, and
    each finished fit and evaluation into `cells/` at once. Several processes are used unless
    `config.jobs` is 1.

    Args:
        config: What is compared.
        progress: Told of the stage and the share of the whole.
        notice: Told, before the first fit, what will be spent, what is left out, and what is
            charged once more since an earlier call was stopped.
        commands: Shell commands that reproduce the comparison, for the page.

    Raises:
        UsageError: An argument can't be, or another comparison works in the folder.
        BudgetExceededError: The missing private fits cost more than is left; nothing was charged.
        PegaiError: A fit or an evaluation failed; the others are finished first, and kept.
    """
    start = time.perf_counter()
    check_config(config)
    with workplace(config.folder):
        progress("reading and splitting", 0.0)
        prepared = prepare(run_config(config))
        cells, left_out = cells_for(config, prepared.train.schema)
        for text in left_out:
            notice(text)
        fits = fit_cells(
            cells,
            folder=config.folder,
            learned=data_digest(prepared.train),
            seed=config.seed,
            rows=config.rows,
            ledger=config.ledger_path,
            dataset=prepared.dataset,
        )
        progress("checking the budget", 0.01)
        spending = _settle(config, prepared, fits, notice)
        open_cells(config.folder)
        sweep_cells(config.folder)
        fitted = _fit_missing(config, fits, prepared.train, progress)
        judged = evaluation_cells(
            fits,
            folder=config.folder,
            held_out=data_digest(prepared.holdout),
            seed=config.seed,
            tier=config.tier,
        )
        evaluated = _evaluate_missing(config, judged, prepared, progress)
        progress("writing", EVALUATED)
        comparison = _comparison(config, prepared, judged, left_out, commands)
        files = dict(write_comparison(comparison, config.folder))
    if config.is_private:
        files["ledger"] = config.ledger_path
    progress("done", 1.0)
    seconds = time.perf_counter() - start
    return CompareResult(config.folder, files, comparison, spending, fitted, evaluated, seconds)


def _settle(
    config: CompareConfig, prepared: Prepared, fits: Sequence[FitCell], notice: Notice
) -> Spending | None:
    """Say what the missing fits cost and refuse what does not fit, before any of it is spent."""
    missing = [fit for fit in fits if not fit.is_done]
    sections = [fit.task.fit for fit in missing]

    def cost() -> Spending | None:
        return spending_of(
            sections, prepared.train, ledger=config.ledger_path, dataset=prepared.dataset
        )

    if len(missing) < len(fits):
        notice(f"{len(fits) - len(missing)} of {len(fits)} fits are there already and are kept")
    spending = cost()
    if spending is None:
        return None
    if config.public_data and allow(spending, config.ledger_path):
        notice(
            f"the data are said to be public: the budget of {spending.dataset!r} is raised to what "
            "the comparison spends, as a line of the ledger"
        )
        spending = cost() or spending
    refuse_overspending(spending)
    again = begun(missing)
    if again:
        notice(
            f"{len(again)} private fit{'s' if len(again) > 1 else ''} began in an earlier call and "
            "did not end. If charged, the charge stays, since nothing is refunded, and "
            f"{'they are' if len(again) > 1 else 'it is'} charged again"
        )
    notice(f"{spending.in_words}. Nothing is refunded, whatever becomes of the comparison")
    return spending


def _fit_missing(
    config: CompareConfig, fits: Sequence[FitCell], train: Table, progress: Progress
) -> int:
    """Fit and sample what is missing; returns how many fits."""
    new = sum(not fit.is_done for fit in fits)
    missing = [fit for fit in fits if not (fit.is_done and fit.table_path.exists())]
    names = [fit.task.fit.title for fit in missing]
    calls = [(fit, train) for fit in missing]
    _all(finish_fit, calls, names, config.jobs, _part("fitting", progress, 0.02, FITTED))
    return new


def _evaluate_missing(
    config: CompareConfig,
    cells: Sequence[EvaluationCell],
    prepared: Prepared,
    progress: Progress,
) -> int:
    """Evaluate what is missing; returns how many."""
    missing = [cell for cell in cells if not cell.is_done]
    if not missing:
        return 0
    train, holdout = prepared.train.evaluated(), prepared.holdout.evaluated()
    progress("evaluating: models of real patients", FITTED)
    cache = real_baselines(train, holdout, seed=config.seed, tier=tier_named(config.tier))
    calls = [(cell, train, holdout, config.seed, config.tier, cache) for cell in missing]
    names = [cell.name for cell in missing]
    watch = _part("evaluating", progress, FITTED + 0.02, EVALUATED)
    _all(_evaluate, calls, names, config.jobs, watch)
    return len(missing)


def _evaluate(
    cell: EvaluationCell,
    train: Table,
    holdout: Table,
    seed: int,
    tier: TierName,
    cache: RealBaselines,
    tell: Tell,
) -> PegaiError | None:
    """Evaluate all replicates of a cell and write it; the error that stopped it, else None."""
    try:
        tables = [read_synthetic(fit, train.schema.only_modelled()) for fit in cell.fits]
        found = evaluate(train, holdout, tables, seed=seed, progress=tell, cache=cache, tier=tier)
        write_evaluation(cell, found)
    except Exception as error:
        return named(as_told(error), cell.name)
    return None


def _part(name: str, progress: Progress, low: float, high: float) -> Progress:
    """The progress of a part, as that of the whole."""
    return lambda stage, share: progress(f"{name}: {stage}", low + (high - low) * share)


def _all(
    function: Callable[..., PegaiError | None],
    calls: Sequence[tuple[Any, ...]],
    names: Sequence[str],
    jobs: int,
    watch: Progress,
) -> None:
    """Make all calls; the first error is raised when all have ended."""
    shares = [0.0] * len(calls)
    errors: list[PegaiError] = []
    done, stage = 0, f"0 of {len(calls)}"

    def told(number: int, _stage: str, share: float) -> None:
        shares[number] = 0.99 * share
        watch(stage, sum(shares) / len(shares))

    with closing(in_workers(function, calls, jobs=jobs, told=told)) as inside:
        for number, error in inside:
            errors += [] if error is None else [error]
            shares[number], done = 1.0, done + 1
            stage = f"{done} of {len(calls)}, last {names[number]}"
            watch(stage, sum(shares) / len(shares))
    if errors:
        raise errors[0]


def _comparison(
    config: CompareConfig,
    prepared: Prepared,
    judged: Sequence[EvaluationCell],
    left_out: Sequence[str],
    commands: Sequence[str],
) -> Comparison:
    rows = {"train": len(prepared.train), "holdout": len(prepared.holdout)}
    content = build_content(
        [_candidate(cell) for cell in judged],
        title=f"Generators compared on {prepared.dataset}",
        dataset=f"{prepared.dataset}: {sum(rows.values())} rows, "
        f"{len(prepared.train.schema.modelled)} columns",
        created=now(),
        split={
            "unit": prepared.train.schema.unit or "one row a patient",
            "holdout share": config.holdout,
            "rows to learn": rows["train"],
            "holdout rows": rows["holdout"],
        },
        versions=versions(),
        seeds={"split, sampling, evaluation and fits without privacy": config.seed},
        machine=machine(),
        ledger=ledger_rows(config.ledger_path, prepared.dataset) if config.is_private else (),
        lint=prepared.cleaned.lint,
        commands=commands,
    )
    return Comparison(
        content=content,
        trials=tuple(_trial(cell) for cell in judged),
        tier=config.tier,
        rows=config.rows,
        public=config.public_data,
        left_out=tuple(left_out),
    )


def _candidate(cell: EvaluationCell) -> Candidate:
    records = [read_fit(fit) for fit in cell.fits]
    section = cell.fits[0].task.fit
    return Candidate(
        name=cell.name,
        title=cell.name,
        method=section.method,
        evaluation=read_evaluation(cell),
        guarantee=records[0].guarantee,
        heuristic=records[0].heuristic,
        settings={**section.settings, "replicates": section.replicates},
        seconds=sum(record.seconds for record in records) / len(records),
    )


def _trial(cell: EvaluationCell) -> Trial:
    section = cell.fits[0].task.fit
    return Trial(
        method=section.method,
        epsilon=section.epsilon,
        delta=section.delta,
        seconds=tuple(read_fit(fit).seconds for fit in cell.fits),
        models=tuple(f"{CELLS}/{fit.place.name}/{MODEL}" for fit in cell.fits),
    )
