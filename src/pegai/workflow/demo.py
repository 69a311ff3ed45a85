"""The demonstration: the whole way on bundled public data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pegai.data.datasets import heart_disease_schema, load_heart_disease
from pegai.data.files import write_table
from pegai.privacy.ledger import Ledger
from pegai.schema import write_schema
from pegai.workflow.config import DataSection, FitSection, OutputSection, RunConfig
from pegai.workflow.run import RunResult, run

DELTA = 1e-3
REPLICATES = 5
EPSILONS = (1.0, 3.0, 10.0)
ROWS = 920


def run_demo(
    out: Path, *, seed: int = 0, progress: Callable[[str, float], None] = lambda stage, share: None
) -> RunResult:
    """Go the whole way on UCI Heart Disease and write the results into `out`.

    The data are public, so the budget is set to what the demonstration spends: on private data five
    replicates of three budgets would be charged, and refused.
    """
    source = out / "input"
    source.mkdir(parents=True, exist_ok=True)
    write_table(load_heart_disease(), source / "heart_disease.csv")
    write_schema(heart_disease_schema(), source / "schema.json")
    config = demo_config(out, seed=seed)
    _allow(config)
    return run(config, progress=progress, commands=(f"pegai demo --seed {seed}",))


def demo_config(out: Path, *, seed: int) -> RunConfig:
    """The run file of the demonstration."""
    private = tuple(
        FitSection(
            method="ctgan",
            epsilon=epsilon,
            delta=DELTA,
            replicates=REPLICATES,
            release=epsilon == EPSILONS[0],
        )
        for epsilon in EPSILONS
    )
    open_fits = tuple(
        FitSection(method=method, replicates=REPLICATES) for method in ("ctgan", "independent")
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
