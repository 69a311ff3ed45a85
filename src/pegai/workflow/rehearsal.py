"""A plan run on made-up patients, so that what will be asked is known before a real row is read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pegai.data.files import column_names
from pegai.federate.exchanges import SeenTogether, together
from pegai.federate.plan import FederationPlan, plan_from_dict
from pegai.federate.simulate import SiteData, simulate
from pegai.privacy.accountant import compute_epsilon, gaussian_epsilon
from pegai.synth.running import Progress, Run
from pegai.workflow.tune_simulate import Population

SEED = 0


@dataclass(frozen=True)
class Rehearsal:
    """What a plan asks for.

    Attributes:
        questions: Of each exchange: what, how many numbers, noise in patients (standard deviation
            in a cell of the sum), epsilon of this exchange alone, bytes from a site, seconds.
            Those after the first may differ somewhat in a real run, which asks for other tables.
        disagreements: By site, what its file's header does not share with the schema.
        seconds: The whole run.
    """

    questions: tuple[Mapping[str, Any], ...]
    disagreements: Mapping[str, tuple[str, ...]]
    seconds: float


def rehearse(
    plan: FederationPlan,
    progress: Progress,
    *,
    patients: int = 200,
    files: Mapping[str, Path] | None = None,
) -> Rehearsal:
    """Run a plan on patients that are made up from its schema. No ledger is charged.

    Args:
        plan: A draft or a frozen plan.
        progress: Is told of stages.
        patients: Of each site.
        files: Real files whose headers, and nothing else, are compared with the schema.

    Raises:
        PegaiError: The plan can't be run.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(SEED)
    population = Population.random(plan.schema_, rng)
    bare = [{"name": name} for name in plan.names]
    draft = plan_from_dict(plan.to_dict() | {"sites": bare, "wait_seconds": 0.0})
    with tempfile.TemporaryDirectory() as work:
        sites = {
            name: SiteData(
                population.patients(patients, rng), Path(work) / f"{name}.jsonl", "made up"
            )
            for name in plan.names
        }
        fit = simulate(draft, sites, Path(work) / "run", Run(progress))
    seconds = time.perf_counter() - start
    questions = tuple(_question(seen, plan) for seen in together(fit.seen))
    compared = {name: _compared(path, plan) for name, path in (files or {}).items()}
    return Rehearsal(questions, compared, seconds)


def _question(seen: SeenTogether, plan: FederationPlan) -> dict[str, Any]:
    return {
        "exchange": seen.numbered,
        "what": seen.what,
        "numbers": seen.numbers,
        "noise_in_patients": seen.deviation,
        "epsilon_alone": _epsilon_alone(seen, plan),
        "bytes_from_a_site": seen.received,
        "seconds": seen.seconds,
    }


def _epsilon_alone(seen: SeenTogether, plan: FederationPlan) -> float:
    """Of these exchanges, if there were no others."""
    if not plan.by_steps:
        return gaussian_epsilon(seen.budget**0.5, plan.privacy.delta)
    from pegai.federate.networks import label_of

    return compute_epsilon([plan.privacy[label_of(plan, seen.first)]], plan.privacy.delta)


def _compared(path: Path, plan: FederationPlan) -> tuple[str, ...]:
    """What a file's header lacks, and what it has besides."""
    header = column_names(path)
    needed = plan.schema_.names
    missing = [f"no column {name!r}" for name in needed if name not in header]
    besides = [f"column {name!r} will be left out" for name in header if name not in needed]
    return (*missing, *besides)
