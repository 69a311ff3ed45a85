"""Fits and evaluations of a run, side by side in processes of their own.

A private fit opens its session, and charges the ledger, inside its own process: the ledger's lock
makes that safe, and a session can't cross a process. What comes back is a folder, as any other
reader of the model would get it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pegai.data.table import Table
from pegai.errors import BudgetExceededError
from pegai.evaluate.scores import Evaluation
from pegai.evaluate.suite import RealBaselines, evaluate, real_baselines
from pegai.privacy.guarantee import Privacy
from pegai.privacy.ledger import Ledger
from pegai.streams import Streams
from pegai.synth.base import Fitted, Progress
from pegai.synth.catalog import load, make
from pegai.workflow.config import FitSection


@dataclass(frozen=True)
class FitTask:
    """One fit of one replicate.

    Attributes:
        position: Which fit of the run.
        replicate: Which repeat of it.
        fit: Its section of the run file.
        ledger: Where a private fit is charged.
        dataset: Under which name.
        seed: Of the run.
        folder: Where the model is written.
    """

    position: int
    replicate: int
    fit: FitSection
    ledger: Path
    dataset: str
    seed: int
    folder: Path

    @property
    def privacy(self) -> Privacy | None:
        """The budget of the fit."""
        if self.fit.epsilon is None or self.fit.delta is None:
            return None
        return Privacy(self.fit.epsilon, self.fit.delta, ledger=self.ledger, dataset=self.dataset)


def check_budget(tasks: Sequence[FitTask]) -> None:
    """Refuse a run whose fits together cost more than the data set has left.

    Raises:
        BudgetExceededError: Said before the first fit, so that no part of it is charged.
    """
    asked = [t.privacy for t in tasks]
    private = [p for p in asked if p is not None]
    if not private:
        return
    ledger, dataset = Ledger(tasks[0].ledger), tasks[0].dataset
    spent, budget = ledger.spent(dataset), ledger.budget(dataset)
    needed = (sum(p.epsilon for p in private), sum(p.delta for p in private))
    if spent[0] + needed[0] > budget[0] + 1e-9 or spent[1] + needed[1] > budget[1] + 1e-15:
        raise BudgetExceededError(
            f"{len(private)} private fits of {dataset!r} need epsilon {needed[0]:g} and delta "
            f"{needed[1]:g}; of the budget of {budget[0]:g} and {budget[1]:g}, {spent[0]:g} and "
            f"{spent[1]:g} are spent",
            hint="ask for less, or let whoever owns the data raise it with pegai ledger budget",
        )


def fit_one(task: FitTask, train: Table, progress: Progress | None = None) -> float:
    """Fit and save one model; returns the wall seconds."""
    start = time.perf_counter()
    privacy = task.privacy
    seed = Streams(task.seed).get("model", 1000 * task.position + task.replicate)
    model = make(task.fit.method, task.fit.settings).fit(
        train,
        privacy=privacy,
        rng=seed if privacy is None else None,
        progress=progress or (lambda stage, share: None),
    )
    model.save(task.folder)
    return time.perf_counter() - start


def sample_one(model: Fitted, task: FitTask, rows: int) -> Table:
    """The replicate's synthetic table, always the same for the same model and seed."""
    rng = Streams(task.seed).get("sample", 1000 * task.position + task.replicate)
    return model.sample(rows, rng=rng)


def fit_all(
    tasks: Sequence[FitTask], train: Table, *, jobs: int, done: Callable[[FitTask], None]
) -> list[float]:
    """Fit every task; returns the seconds of each, in order."""
    seconds = [0.0] * len(tasks)
    calls = ((_fit_numbered, (i, task, train)) for i, task in enumerate(tasks))
    for i, took in _in_processes(calls, jobs):
        seconds[i] = took
        done(tasks[i])
    return seconds


def _fit_numbered(i: int, task: FitTask, train: Table) -> tuple[int, float]:
    return i, fit_one(task, train)


def evaluate_all(
    train: Table,
    holdout: Table,
    groups: Sequence[Sequence[Table]],
    *,
    seed: int,
    jobs: int,
    done: Callable[[int], None],
) -> list[Evaluation]:
    """Evaluate each group of replicates against the same real baselines."""
    cache = real_baselines(train, holdout, seed=seed)
    results: list[Evaluation | None] = [None] * len(groups)
    calls = (
        (_evaluate_numbered, (i, train, holdout, tuple(group), seed, cache))
        for i, group in enumerate(groups)
    )
    for i, evaluation in _in_processes(calls, jobs):
        results[i] = evaluation
        done(i)
    return [r for r in results if r is not None]


def _evaluate_numbered(
    i: int,
    train: Table,
    holdout: Table,
    group: tuple[Table, ...],
    seed: int,
    cache: RealBaselines,
) -> tuple[int, Evaluation]:
    return i, evaluate(train, holdout, group, seed=seed, cache=cache)


def _in_processes(
    calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]], jobs: int
) -> Iterable[Any]:
    """Results as they come; one process or one call runs in this one."""
    from joblib import Parallel, delayed

    workers = (os.cpu_count() or 1) if jobs < 1 else jobs
    listed = [delayed(function)(*arguments) for function, arguments in calls]
    if workers == 1 or len(listed) == 1:
        return (function(*args, **kwargs) for function, args, kwargs in listed)
    return Parallel(n_jobs=min(workers, len(listed)), return_as="generator_unordered")(listed)


def load_model(task: FitTask) -> Fitted:
    """The model that a task wrote."""
    return load(task.folder)
