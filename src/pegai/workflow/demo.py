"""The demonstration: the whole way on bundled public data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pegai.data.datasets import heart_disease_schema, load_heart_disease
from pegai.data.files import write_table
from pegai.privacy.ledger import Ledger
from pegai.schema import write_schema
from pegai.workflow.config import DataSection, FitSection, OutputSection, RunConfig
from pegai.workflow.run import Progress, RunResult, run
from pegai.workflow.workplace import workplace

DELTA = 1e-3
EPSILONS = (1.0, 3.0, 10.0)
ROWS = 920


@dataclass(frozen=True)
class DemoSize:
    """How much the demonstration does.

    Attributes:
        replicates: Fits of each kind; three or more give intervals.
        aim: Settings of the released method.
        ctgan: Settings of the conditional GAN.
        jobs: Processes; -1 is one a core.
        tier: How much the evaluation does.
    """

    replicates: int = 5
    aim: dict[str, Any] = field(default_factory=dict[str, Any])
    ctgan: dict[str, Any] = field(default_factory=dict[str, Any])
    jobs: int = -1
    tier: Literal["quick", "standard"] = "standard"


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    size: DemoSize | None = None,
    progress: Progress = lambda stage, share: None,
    commands: Sequence[str] = (),
) -> RunResult:
    """Go the whole way on UCI Heart Disease and write the results into `out`.

    The data are public, so the budget is set to what the demonstration spends: on private data five
    replicates of three budgets would be charged, and refused.

    Args:
        out: Folder for the results.
        seed: Of the split and of what is not private.
        size: A smaller demonstration, for tests.
        progress: Told of the stage and the share of the whole.
        commands: Shell commands that reproduce it, for the report.
    """
    config = demo_config(out, seed=seed, size=size)
    source = out / "input"
    with workplace(out):
        source.mkdir(exist_ok=True)
        write_table(load_heart_disease(), config.data.path)
        write_schema(heart_disease_schema(), config.data.schema_path)
        _allow(config)
    return run(config, progress=progress, commands=commands)


def demo_config(out: Path, *, seed: int, size: DemoSize | None = None) -> RunConfig:
    """The run file of the demonstration."""
    size = size or DemoSize()
    private = tuple(
        FitSection(
            method=method,
            epsilon=epsilon,
            delta=DELTA,
            replicates=size.replicates,
            release=(method, epsilon) == ("aim", EPSILONS[0]),
            settings=settings,
        )
        for method, settings in (("aim", size.aim), ("ctgan", size.ctgan))
        for epsilon in EPSILONS
    )
    open_fits = (
        FitSection(method="ctgan", replicates=size.replicates, settings=size.ctgan),
        FitSection(method="independent", replicates=size.replicates),
    )
    return RunConfig(
        data=DataSection.model_validate(
            {
                "path": out / "input" / "heart_disease.csv",
                "schema": out / "input" / "schema.json",
                "seed": seed,
            }
        ),
        fit=private + open_fits,
        jobs=size.jobs,
        tier=size.tier,
        output=OutputSection(
            folder=out,
            rows=ROWS,
            ledger=out / "ledger.jsonl",
            title="Synthetic heart disease patients from four hospitals",
        ),
    )


def _allow(config: RunConfig) -> None:
    """Raise the budget of the public data by what this run spends; the ledger shows it."""
    dataset = heart_disease_schema().pegai.dataset or "uci-heart-disease"
    ledger = Ledger(config.output.ledger or "ledger.jsonl")
    spent = ledger.spent(dataset)
    private = [fit for fit in config.fit if fit.epsilon is not None and fit.delta is not None]
    ledger.set_budget(
        dataset,
        spent[0] + sum((fit.epsilon or 0) * fit.replicates for fit in private),
        spent[1] + sum((fit.delta or 0) * fit.replicates for fit in private),
    )
