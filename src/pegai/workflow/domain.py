"""Estimate what a draft of a schema lacks under differential privacy: charge, read, estimate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pegai.data.atomic import check_file
from pegai.data.conform import load_table, table_from
from pegai.data.table import Table
from pegai.encode.domain import (
    DomainEstimate,
    estimate_domain,
    is_measured,
    plan_domain,
    without_private,
)
from pegai.errors import UsageError
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.ledger import Ledger
from pegai.privacy.recorder import Recorder
from pegai.privacy.session import Session
from pegai.schema import Schema, read_schema, schema_from_dict, write_schema
from pegai.synth.base import known_patients, table_bytes
from pegai.synth.running import Progress, silent
from pegai.workflow.facts import dataset_name

LABEL = "estimate schema"


@dataclass(frozen=True)
class EstimatedSchema:
    """A schema whose domain is public or was estimated.

    Attributes:
        schema: Fit for a private fit, but for the unresolved columns.
        estimated: Columns whose bounds or categories were estimated.
        unresolved: Columns of which nothing stood out of the noise.
        guarantee: What the estimate rests on; None where there was nothing to estimate.
    """

    schema: Schema
    estimated: tuple[str, ...]
    unresolved: tuple[str, ...]
    guarantee: Guarantee | None

    def found(self, name: str) -> str:
        """What was found of a column, in words that show no category."""
        column = self.schema[name]
        if name in self.unresolved:
            return "nothing stood out"
        if is_measured(column):
            return f"{column.constraints.minimum} to {column.constraints.maximum}"
        count = len(column.levels)
        return "1 category" if count == 1 else f"{count} categories"

    @property
    def advice(self) -> str:
        """The way out for unresolved columns; empty where there are none."""
        if not self.unresolved or self.guarantee is None:
            return ""
        names, spent = ", ".join(self.unresolved), self.guarantee
        return (
            f"not estimated: {names}. At epsilon {spent.epsilon:.4g} and delta {spent.delta:.3g} "
            "nothing of them stood out of the noise; the charge stays. Declare their bounds or "
            "categories by hand, give them the role identifier, or estimate again from this "
            "schema, which looks at these columns only"
        )


def estimate_schema(
    frame: Any, draft: Schema, *, privacy: Privacy, recorder: Recorder | None = None
) -> EstimatedSchema:
    """Estimate the bounds and categories that a draft lacks.

    Guarantee: the schema returned is (epsilon, delta)-differentially private under adding or
    removing one patient, given that all else of the draft is public: names, types, which columns
    have categories, roles, decimals, formats, missing texts, rows a patient.

    Args:
        frame: A pandas, Polars or Arrow frame with the draft's columns; others are dropped. Cells
            are read one by one, and what can't be read is missing.
        draft: What a person vouches for; sources that are public stay as they are.
        privacy: The budget; the ledger is charged before anything is drawn.
        recorder: Only for audits.

    Raises:
        BudgetExceededError: The ledger does not cover the budget.
        DataError: The frame lacks a column of the draft.
    """
    plan = plan_domain(draft, privacy)
    if plan is None:
        return _nothing(draft)
    table = table_from(frame, without_private(draft), extra="drop", cell_by_cell=True)
    return _estimate(table, draft, plan, privacy=privacy, recorder=recorder)


def estimate_schema_file(
    data: Path,
    draft: Path,
    out: Path,
    *,
    privacy: Privacy,
    overwrite: bool,
    progress: Progress = silent,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> EstimatedSchema:
    """Estimate what a draft lacks from a file, and write the schema.

    Args:
        data: The table, read as before a private fit: UTF-8 and commas unless said otherwise.
        draft: The draft's file.
        out: Where to write; the file is complete or absent. What was charged stays charged.
        privacy: As in `estimate_schema`; without a `dataset` it is that of the draft, or the name
            of the file.
        overwrite: Replace an existing `out`.
        progress: Told what is being done.
        encoding: Of a CSV.
        delimiter: Of a CSV.

    Raises:
        UsageError: `out` exists, or is what is read.
        PegaiError: As `estimate_schema`.
    """
    if out.resolve() in (data.resolve(), draft.resolve()):
        raise UsageError(f"{out}: would be written over, it is read", hint="name a new file")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists", hint="--force replaces it, or choose another --out")
    check_file(out)
    declared = read_schema(draft)
    privacy = replace(privacy, dataset=privacy.dataset or dataset_name(declared, data))
    progress("calibrating the noise", 0.0)
    plan = plan_domain(declared, privacy)
    if plan is None:
        done = _nothing(declared)
    else:
        Ledger(privacy.ledger_path).check(dataset=str(privacy.dataset), plan=plan)
        progress("reading", 0.1)
        table = load_table(
            data,
            without_private(declared),
            extra="drop",
            encoding=encoding,
            delimiter=delimiter,
            cell_by_cell=True,
        )
        progress("estimating", 0.5)
        done = _estimate(table, declared, plan, privacy=privacy)
    write_schema(done.schema, out)
    return done


def _nothing(draft: Schema) -> EstimatedSchema:
    return EstimatedSchema(without_private(draft), (), (), None)


def _estimate(
    table: Table,
    draft: Schema,
    plan: Plan,
    *,
    privacy: Privacy,
    recorder: Recorder | None = None,
) -> EstimatedSchema:
    table = known_patients(table)
    session = Session.open(
        plan,
        privacy,
        dataset=draft.pegai.dataset or "unnamed",
        fingerprint_chunks=table_bytes(table),
        label=LABEL,
        recorder=recorder,
    )
    found: DomainEstimate = estimate_domain(table, draft, session)
    # Read back, so that what is written is a schema, whatever was released.
    schema = schema_from_dict(found.schema.to_dict())
    return EstimatedSchema(schema, found.estimated, found.unresolved, session.guarantee())
