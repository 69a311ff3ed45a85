"""Fits and evaluations of a run, side by side in processes of their own.

A private fit opens its session, and charges the ledger, inside its own process: the ledger's lock
makes that safe, and a session can't cross a process. What comes back is a folder, as any other
reader of the model would get it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pegai.data.table import Table
from pegai.errors import BudgetExceededError
from pegai.evaluate.scores import Evaluation
from pegai.evaluate.suite import RealBaselines, evaluate, real_baselines
from pegai.evaluate.tiers import TierName, tier_named
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.ledger import Ledger
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.synth.base import Fitted, Synthesizer, learned_schema, table_bytes
from pegai.synth.catalog import load, make
from pegai.synth.running import Progress, Run, silent
from pegai.workflow.config import FitSection
from pegai.workflow.parallel import in_workers
from pegai.workflow.tune_origin import settings_for

Result = TypeVar("Result")

Watch = Callable[[str, float], None]
"""Called with what is done, such as `2 of 5`, and the share of all of it."""


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


def _synthesizer(fit: FitSection) -> Synthesizer:
    return make(fit.method, settings_for(fit.settings, private=fit.epsilon is not None))


def check_methods(fits: Sequence[FitSection]) -> None:
    """Refuse methods, settings and budgets that can't be, before the table is read.

    Raises:
        UsageError: No such method or setting.
        PrivacyError: An epsilon or delta is out of range, or settings of a private fit were tuned
            on private data without a charge.
    """
    for fit in fits:
        _synthesizer(fit)
        if fit.epsilon is not None and fit.delta is not None:
            Privacy(fit.epsilon, fit.delta)


def check_budget(tasks: Sequence[FitTask], train: Table) -> None:
    """Refuse a run whose fits together cost more than the data set has left.

    Raises:
        BudgetExceededError: Said before the first fit, so that no part of it is charged.
        LedgerError: The ledger is damaged or was edited.
        PegaiError: A fit can't be planned on this schema.
    """
    private = [t for t in tasks if t.privacy is not None]
    _check_settings(tasks, train.schema)
    if not private:
        return
    ledger, dataset = Ledger(tasks[0].ledger), tasks[0].dataset
    # The same table under another name counts too; a new ledger has nothing to compare with.
    fingerprint = ledger.fingerprint(table_bytes(train)) if ledger.entries() else ""
    account = ledger.account(dataset, fingerprint)
    plans = _plans(private, train.schema)
    if account.refusal(plans):
        spent, after = account.spent(), account.spent(plans)
        raise BudgetExceededError(
            f"{len(private)} private fit{'s' if len(private) > 1 else ''} of {dataset!r} cost "
            f"epsilon {after[0] - spent[0]:.4g} and delta {after[1] - spent[1]:.4g}; of the budget "
            f"of {account.epsilon:.4g} and {account.delta:.4g}, {spent[0]:.4g} and {spent[1]:.4g} "
            "are spent",
            hint="ask for less, or let whoever answers for the data raise the budget with pegai "
            "ledger budget: it is recorded in the ledger",
        )


def _check_settings(tasks: Sequence[FitTask], schema: Schema) -> None:
    for task in tasks:
        if task.replicate == 0:
            _synthesizer(task.fit).check(schema)


def _plans(private: Sequence[FitTask], schema: Schema) -> list[Plan]:
    """What every private fit will charge."""
    by_fit: dict[int, Plan] = {}
    for task in private:
        if task.position not in by_fit and task.privacy is not None:
            by_fit[task.position] = _synthesizer(task.fit).plan(
                learned_schema(schema), task.privacy
            )
    return [by_fit[task.position] for task in private]


def fit_one(task: FitTask, train: Table, progress: Progress = silent) -> float:
    """Fit and save one model; returns the wall seconds."""
    start = time.perf_counter()
    privacy = task.privacy
    seed = Streams(task.seed).get("model", 1000 * task.position + task.replicate)
    model = _synthesizer(task.fit).fit(
        train, privacy=privacy, rng=seed if privacy is None else None, run=Run(progress)
    )
    model.save(task.folder)
    return time.perf_counter() - start


def sample_one(model: Fitted, task: FitTask, rows: int) -> Table:
    """The replicate's synthetic table, always the same for the same model and seed."""
    rng = Streams(task.seed).get("sample", 1000 * task.position + task.replicate)
    return model.sample(rows, rng=rng)


def load_model(task: FitTask) -> Fitted:
    """The model that a task wrote."""
    return load(task.folder)


def fit_all(tasks: Sequence[FitTask], train: Table, *, jobs: int, watch: Watch) -> list[float]:
    """Fit every task; returns the seconds of each, in order."""
    calls = [(task, train) for task in tasks]
    names = [task.fit.title for task in tasks]
    return _all(fit_one, calls, names, jobs=jobs, watch=watch)


def evaluate_all(
    train: Table,
    holdout: Table,
    groups: Sequence[Sequence[Table]],
    *,
    names: Sequence[str],
    private: Sequence[bool],
    tier: TierName,
    seed: int,
    jobs: int,
    watch: Watch,
) -> list[Evaluation]:
    """Evaluate each group of replicates against the same real baselines."""
    cache = real_baselines(train, holdout, seed=seed, tier=tier_named(tier))
    calls = [
        (train, holdout, tuple(group), seed, cache, noisy)
        for group, noisy in zip(groups, private, strict=True)
    ]
    return _all(_evaluate, calls, names, jobs=jobs, watch=watch)


def _evaluate(
    train: Table,
    holdout: Table,
    group: tuple[Table, ...],
    seed: int,
    cache: RealBaselines,
    private: bool,
    progress: Progress,
) -> Evaluation:
    return evaluate(
        train, holdout, group, seed=seed, cache=cache, private=private, progress=progress
    )


def _all(
    function: Callable[..., Result],
    calls: Sequence[tuple[object, ...]],
    names: Sequence[str],
    *,
    jobs: int,
    watch: Watch,
) -> list[Result]:
    """Every result in the order of the calls; `watch` hears of steps inside of them too."""
    shares = [0.0] * len(calls)
    results: dict[int, Result] = {}
    stage = f"0 of {len(calls)}"

    def told(number: int, _stage: str, share: float) -> None:
        shares[number] = 0.99 * share
        watch(stage, sum(shares) / len(shares))

    # Closed by hand: an error here must end the workers before the run's folder goes.
    with closing(in_workers(function, calls, jobs=jobs, told=told)) as inside:
        for number, result in inside:
            results[number], shares[number] = result, 1.0
            stage = f"{len(results)} of {len(calls)}, last {names[number]}"
            watch(stage, sum(shares) / len(shares))
    return [results[number] for number in range(len(calls))]
