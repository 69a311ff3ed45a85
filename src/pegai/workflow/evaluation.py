"""Evaluating files: synthetic tables that exist already, against real ones, to a report."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pegai.data.atomic import atomic_path, check_file, check_folder
from pegai.data.conform import conform, load_table
from pegai.data.files import file_sha256, read_frame
from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.evaluate.privacy.shadow import Refit
from pegai.evaluate.privacy.vulnerable import VulnerableRecord
from pegai.evaluate.scores import Evaluation
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
    _check(request)
    fitted = None if request.model is None else load(request.model)
    declared = read_schema(request.schema)
    real = _read(request, declared)
    kept: list[VulnerableRecord] = []
    start = time.perf_counter()
    evaluation = _evaluate(request, real, fitted, progress=progress, kept=kept)
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
    content = _content(request, declared, candidate, commands)
    page, twin = write_report(content, request.out)
    if request.vulnerable is not None:
        _write_for_owner(request.vulnerable, _vulnerable_csv(kept))
    return content, {"report": page, "json": twin}


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the request's files hold."""

    train: Table
    holdout: Table
    synthetics: tuple[Table, ...]
    reference: Table | None


def _evaluate(
    request: EvaluationRequest,
    tables: _Tables,
    fitted: Fitted | None,
    *,
    progress: Progress,
    kept: list[VulnerableRecord],
) -> Evaluation:
    """The scores; training patients that stand out are added to `kept` if the request asks."""
    from pegai.evaluate.suite import evaluate

    guarantee = None if fitted is None else fitted.guarantee
    return evaluate(
        tables.train,
        tables.holdout,
        tables.synthetics,
        seed=request.seed,
        progress=progress,
        reference=tables.reference,
        tier=request.tier,
        population=request.population,
        refit=_refit(fitted, request) if request.tier == "audit" else None,
        sampler=_sampler(fitted) if request.tier != "quick" else None,
        private=guarantee is not None,
        delta=0.0 if guarantee is None else guarantee.delta,
        vulnerable=kept.extend if request.vulnerable is not None else None,
    )


def _content(
    request: EvaluationRequest, declared: Schema, candidate: Candidate, commands: Sequence[str]
) -> Content:
    """The report's content, judged by the request's policy."""
    rows = candidate.evaluation.rows
    dataset = declared.pegai.dataset or request.train.stem
    return build_content(
        [candidate],
        title=request.title,
        dataset=f"{dataset}: {rows['train']} training and {rows['holdout']} holdout rows",
        created=now(),
        split={"rows to learn": rows["train"], "holdout rows": rows["holdout"]},
        versions=versions(),
        seeds={"evaluation": request.seed},
        machine=machine(),
        lint=lint_rows(declared),
        commands=commands,
        domain=domain_rows(declared),
        tables=_hashes(request.synthetic),
    ).under(request.policy)


def _hashes(paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of every table by its name; of those of one name, by number too."""
    names = [path.name for path in paths]
    return {
        name if names.count(name) == 1 else f"{name} ({number})": file_sha256(path)
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


def _read(request: EvaluationRequest, declared: Schema) -> _Tables:
    train, holdout = (
        load_table(path, declared, extra="drop").evaluated()
        for path in (request.train, request.holdout)
    )
    modelled = declared.only_modelled()
    synthetics = tuple(
        conform(read_frame(path), modelled, name=str(path), extra="drop")
        for path in request.synthetic
    )
    reference = None
    if request.reference is not None:
        reference = load_table(request.reference, declared, extra="drop").evaluated()
    return _Tables(train, holdout, synthetics, reference)


def _sampler(fitted: Fitted | None) -> Any:
    if fitted is None:
        return None

    def sampler(given: Mapping[str, str | None], rows: int, rng: np.random.Generator) -> Table:
        return fitted.sample(rows, given=given, rng=rng)

    return sampler


def _refit(fitted: Fitted | None, request: EvaluationRequest) -> Refit | None:
    """Fits the model's method anew, with its budget, for shadows and canaries.

    The refits see the reference and made-up patients; they stay inside, end with the evaluation and
    are charged to no ledger.
    """
    if fitted is None:
        return None
    own = {k: v for k, v in fitted.to_file().settings.items() if k != "auto"}
    # No ledger is charged and nothing leaves: settings from any source will do.
    chosen = own
    if request.settings is not None:
        chosen = read_settings(request.settings, private=False)
    synthesizer = make(fitted.method, chosen)
    guarantee = fitted.guarantee

    def refit(table: Table, number: int) -> Table:
        streams = Streams(request.seed).child(f"refit-{number}")
        if guarantee is None:
            model = synthesizer.fit(table, rng=streams.get("model"))
        else:
            with tempfile.TemporaryDirectory() as folder:
                privacy = Privacy(
                    guarantee.epsilon,
                    guarantee.delta,
                    ledger=Path(folder) / "ledger.jsonl",
                    dataset="refit",
                )
                model = synthesizer.fit(table, privacy=privacy)
        return model.sample(len(table), rng=streams.get("sample"))

    return refit


def _write_for_owner(path: Path, text: str) -> None:
    """Write a list of patients that nobody but its owner can read, from the first byte on."""
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        if path.exists():
            path.chmod(0o600)  # a file that is replaced passes its mode on


def _vulnerable_csv(records: Sequence[VulnerableRecord]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(VulnerableRecord)])
    writer.writerows(astuple(record) for record in records)
    return text.getvalue()
