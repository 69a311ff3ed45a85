"""Evaluating files: synthetic tables that exist already, against real ones, to a report."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pegai.data.atomic import atomic_write_text, check_file, check_folder
from pegai.data.conform import conform, load_table
from pegai.data.files import read_frame
from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.evaluate.privacy.shadow import Refit
from pegai.evaluate.privacy.vulnerable import VulnerableRecord
from pegai.evaluate.tiers import TierName
from pegai.privacy.guarantee import Privacy
from pegai.report import (
    DEFAULT_POLICY,
    Candidate,
    Content,
    ReleasePolicy,
    build_content,
    domain_rows,
    write_report,
)
from pegai.schema import Schema, read_schema
from pegai.streams import Streams
from pegai.synth.base import Fitted
from pegai.synth.catalog import load, make
from pegai.synth.running import Progress
from pegai.workflow.bundle import sha256_file
from pegai.workflow.deidentification import lint_rows
from pegai.workflow.facts import machine, now, versions
from pegai.workflow.steps import read_settings


@dataclass(frozen=True)
class EvaluationRequest:
    """What is to be evaluated against what.

    Attributes:
        train: The rows that the generator learned.
        holdout: Rows that it never saw.
        synthetic: Synthetic tables of one generator, one a seed.
        schema: The schema file.
        out: Folder for the report.
        model: The model folder, for its guarantee and for model inversion.
        reference: Other real patients, in neither table.
        population: Patients that the training rows were drawn from, for the identity risk.
        tier: How much is done.
        policy: The limits of a release.
        vulnerable: File for the training patients that stand out most; it is never released.
        settings: The method's settings, to refit it in the audit tier.
        title: Headline of the report.
        seed: Seed of the evaluation.
    """

    train: Path
    holdout: Path
    synthetic: Sequence[Path]
    schema: Path
    out: Path
    model: Path | None = None
    reference: Path | None = None
    population: int | None = None
    tier: TierName = "standard"
    policy: ReleasePolicy = DEFAULT_POLICY
    vulnerable: Path | None = None
    settings: Path | None = None
    title: str = "Synthetic patients"
    seed: int = 0


def evaluate_files(
    request: EvaluationRequest, *, progress: Progress, commands: Sequence[str] = ()
) -> tuple[Content, dict[str, Path]]:
    """Evaluate synthetic files against real ones and write the report.

    Raises:
        UsageError: A file that is to be written is read too, or a refit has no model.
        DataError: A table does not fit the schema.
    """
    from pegai.evaluate.suite import evaluate

    _check(request)
    fitted = None if request.model is None else load(request.model)
    declared = read_schema(request.schema)
    train, holdout, tables, reference = _read(request, declared)
    start = time.perf_counter()
    kept: list[VulnerableRecord] = []
    evaluation = evaluate(
        train,
        holdout,
        tables,
        seed=request.seed,
        progress=progress,
        reference=reference,
        tier=request.tier,
        population=request.population,
        refit=_refit(fitted, request) if request.tier == "audit" else None,
        sampler=_sampler(fitted) if request.tier != "quick" else None,
        private=fitted is not None and fitted.guarantee is not None,
        vulnerable=kept.extend if request.vulnerable is not None else None,
    )
    candidate = Candidate(
        name=request.synthetic[0].stem,
        title=", ".join(path.name for path in request.synthetic),
        method="as given" if fitted is None else fitted.method,
        evaluation=evaluation,
        guarantee=None if fitted is None else fitted.guarantee,
        heuristic="" if fitted is None else fitted.heuristic,
        released=True,
        seconds=time.perf_counter() - start,
    )
    dataset = declared.pegai.dataset or request.train.stem
    content = build_content(
        [candidate],
        title=request.title,
        dataset=f"{dataset}: {len(train)} training and {len(holdout)} holdout rows",
        created=now(),
        split={"rows to learn": len(train), "holdout rows": len(holdout)},
        versions=versions(),
        seeds={"evaluation": request.seed},
        machine=machine(),
        lint=lint_rows(declared),
        commands=commands,
        domain=domain_rows(declared),
        tables=_hashes(request.synthetic),
    ).under(request.policy)
    page, twin = write_report(content, request.out)
    if request.vulnerable is not None:
        atomic_write_text(request.vulnerable, _vulnerable_csv(kept))
    return content, {"report": page, "json": twin}


def _hashes(paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of every table by its name; of those of one name, by number too."""
    names = [path.name for path in paths]
    return {
        name if names.count(name) == 1 else f"{name} ({number})": sha256_file(path)
        for number, (name, path) in enumerate(zip(names, paths, strict=True), start=1)
    }


def _check(request: EvaluationRequest) -> None:
    check_folder(request.out, overwrite=True)
    if request.vulnerable is None:
        return
    check_file(request.vulnerable)
    inputs = [request.train, request.holdout, *request.synthetic, request.schema]
    if request.vulnerable.resolve() in [path.resolve() for path in inputs]:
        raise UsageError(
            f"{request.vulnerable}: would be written over, it is read", hint="name a new file"
        )


def _read(
    request: EvaluationRequest, declared: Schema
) -> tuple[Table, Table, list[Table], Table | None]:
    train, holdout = (
        load_table(path, declared, extra="drop").evaluated()
        for path in (request.train, request.holdout)
    )
    modelled = declared.only_modelled()
    tables = [
        conform(read_frame(path), modelled, name=str(path), extra="drop")
        for path in request.synthetic
    ]
    reference = None
    if request.reference is not None:
        reference = load_table(request.reference, declared, extra="drop").evaluated()
    return train, holdout, tables, reference


def _sampler(fitted: Fitted | None) -> Any:
    if fitted is None:
        return None

    def sampler(given: Mapping[str, str | None], rows: int, rng: np.random.Generator) -> Table:
        return fitted.sample(rows, given=given, rng=rng)

    return sampler


def _refit(fitted: Fitted | None, request: EvaluationRequest) -> Refit | None:
    """Fits the model's method anew, with its budget: the shadows stay inside and end with them."""
    if fitted is None:
        return None
    synthesizer = make(fitted.method, read_settings(request.settings))
    guarantee = fitted.guarantee

    def refit(table: Table, number: int) -> Table:
        streams = Streams(request.seed).child(f"shadow-{number}")
        if guarantee is None:
            model = synthesizer.fit(table, rng=streams.get("model"))
        else:
            with tempfile.TemporaryDirectory() as folder:
                privacy = Privacy(
                    guarantee.epsilon,
                    guarantee.delta,
                    ledger=Path(folder) / "ledger.jsonl",
                    dataset="shadow",
                )
                model = synthesizer.fit(table, privacy=privacy)
        return model.sample(len(table), rng=streams.get("sample"))

    return refit


def _vulnerable_csv(records: Sequence[VulnerableRecord]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(VulnerableRecord)])
    writer.writerows(astuple(record) for record in records)
    return text.getvalue()
