"""The contract of every generator: fit, sample, save, and what is refused before a row is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast, final

import numpy as np
import polars as pl

from pegai.data.stream import TableStream
from pegai.data.table import Table
from pegai.errors import (
    DataError,
    IdentifierError,
    PrivacyError,
    PrivateDomainError,
    SeedRefusedError,
    UsageError,
)
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.recorder import Recorder
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.synth.conditions import Given, check_given, keeping_rules
from pegai.synth.constraints.forms import Forms
from pegai.synth.constraints.possible import require_any_row
from pegai.synth.files import ModelFile, write_model
from pegai.synth.rows import chunks
from pegai.synth.running import Run

MAX_ROWS = 1_000_000_000
AUDIT_SEED = 0
"""Of what is not privacy in a fit that is recorded, which is never released."""


class Fitted(ABC):
    """A trained generator; there is no "not fitted" state.

    Attributes:
        method: The name in the catalog.
        schema: The schema of what `sample` returns.
        guarantee: What is promised; None means no formal guarantee.
    """

    method: ClassVar[str]
    schema: Schema
    guarantee: Guarantee | None

    def sample(
        self,
        n: int,
        *,
        given: Given | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> Table:
        """Synthetic rows.

        Args:
            n: How many; chosen by the caller, never the private row count.
            given: Values that every row must have, as `{"sex": "1", "age": 63}`.
            rng: Seed or generator; the same seed gives the same rows.

        Returns:
            n rows. Each keeps the schema's rules, and none is a combination that it calls
            impossible.

        Raises:
            UsageError: n is not positive, `given` names an unknown column or value, or the schema
                leaves no row at all, or none with what is given.
        """
        if not 1 <= n <= MAX_ROWS:
            raise UsageError(f"n must lie between 1 and {MAX_ROWS:,}, not {n}")
        checked = check_given(given or {}, self.schema)
        generator = as_generator(rng, "sample")
        return keeping_rules(
            lambda rows: self._sample(rows, checked, generator),
            int(n),
            schema=self.schema,
            given=checked,
            rng=generator,
        )

    @property
    def heuristic(self) -> str:
        """What was done in place of a guarantee, in words that say it is none; mostly empty."""
        return ""

    @abstractmethod
    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table: ...

    @abstractmethod
    def to_file(self) -> ModelFile:
        """The content of the model folder."""

    @final
    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model as safetensors and JSON; the folder is complete or absent.

        Raises:
            PrivacyError: The model was fitted for an audit, so that its guarantee is void.
            UsageError: The folder holds something else, and `overwrite` is False.
        """
        if self.guarantee is not None:
            self.guarantee.require_releasable()
        write_model(self.to_file(), folder, overwrite=overwrite)


class Synthesizer(ABC):
    """A method with its settings, ready to fit."""

    name: ClassVar[str]
    title: ClassVar[str]
    promise: ClassVar[str]
    """What the method guarantees, in a sentence for `pegai methods`."""
    private: ClassVar[bool] = True
    """Whether there is a private form; without one, `fit` and `plan` refuse a budget."""

    @final
    def fit(
        self,
        table: Table | TableStream,
        *,
        privacy: Privacy | None = None,
        rng: np.random.Generator | int | None = None,
        run: Run | None = None,
        recorder: Recorder | None = None,
    ) -> Fitted:
        """Learn a table.

        Args:
            table: One row a visit or patient; identifiers and the patient id are left out. A
                stream gives the same model as the table in memory.
            privacy: The budget; None fits without a guarantee.
            rng: Seed or generator for a fit without privacy. A private fit refuses it: whoever
                knows the seed of the noise can take the noise away.
            run: Whom to tell of progress and losses, the device, where to keep checkpoints.
            recorder: Sees and may replay what mechanisms release, for audits; a model that was
                fitted with one carries no guarantee.

        Raises:
            DataError: The table has no columns to learn, or, without privacy, no rows.
            IdentifierError: A column is free text.
            PrivateDomainError: With privacy, bounds or categories came from the private data.
            UsageError: No row was found that keeps the schema's rules.
            PrivacyError: With privacy, the method has no private form; nothing is charged.
            SeedRefusedError: With privacy, a seed was given.
            BudgetExceededError: The ledger does not cover the budget asked for.
        """
        run = run or Run()
        check_schema(table.schema)
        if table.schema.rules:
            require_any_row(table.schema, {})
        self.check(table.schema)
        if privacy is None:
            check_rows(table)
            run = replace(run, seeded=rng is not None)
            forms = Forms.of(table.schema, _shown_to_forms(table))
            rows = _in_forms(table, forms)
            learned = self._fit(rows, None, as_generator(rng, "model"), run)
            return _in_form(learned, forms)
        if not self.private:
            raise self.has_no_private_form()
        if rng is not None:
            raise SeedRefusedError(
                "a private fit takes its noise from the operating system and accepts no seed",
                hint="leave the seed out; sampling from the fitted model may be seeded",
            )
        check_public(table.schema)
        table = known_patients(table) if isinstance(table, Table) else table.known_patients()
        # Of the schema alone: a form that a patient's missing value chose would tell of them.
        forms = Forms.of(table.schema)
        if run.checkpoint is not None:
            raise PrivacyError(
                "a private fit keeps no checkpoint: whoever goes on from one twice spends twice",
                hint="leave the checkpoint out; a private fit that was stopped is begun anew, and "
                "charged anew",
            )
        run = run.without_losses()
        run.progress("calibrating the noise", 0.0)
        session = Session.open(
            private_plan(self, table.schema, privacy),
            privacy,
            dataset=privacy.dataset or table.schema.pegai.dataset or "unnamed",
            fingerprint_chunks=table_bytes(table),
            label=f"fit {self.name}",
            recorder=recorder,
        )
        # An audit compares two fits that differ by a patient: nothing else may differ.
        streams = Streams.fresh() if recorder is None else Streams(AUDIT_SEED)
        learned = self._fit(_in_forms(table, forms), session, streams.get("model"), run)
        return _in_form(learned, forms)

    def check(self, schema: Schema) -> None:  # noqa: B027
        """Refuse settings that do not go with a schema, before anything is charged.

        Raises:
            UsageError: As said.
        """

    @final
    def has_no_private_form(self) -> PrivacyError:
        """What a method raises that is given a budget and has no private form."""
        return PrivacyError(
            f"the method {self.name} has no private form and takes no budget",
            hint="use aim or mst for a guarantee, or leave the budget out and promise nothing",
        )

    @abstractmethod
    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """Every mechanism that a private fit runs, from public quantities only."""

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """What the noise of a plan means: its standard deviation in patients, by what is counted.

        From the schema and the settings alone, for `pegai privacy plan`.

        Args:
            schema: What would be fitted.
            plan: As `plan` made it.

        Returns:
            By a label for people, for what can be told before any data are looked at; the labels of
            planned events where one event is one kind of count.
        """
        return {}

    @abstractmethod
    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> Fitted: ...

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return {}


def _shown_to_forms(table: Table | TableStream) -> Table:
    """What of a table forms look at: which cells are missing beside which, in columns of rules."""
    if isinstance(table, Table):
        return table
    ruled = {name for rule in table.schema.rules for name in rule.columns}
    if not ruled:
        return next(table.chunks(1))
    return table.missing_patterns([name for name in table.schema.names if name in ruled])


def _in_forms(table: Table | TableStream, forms: Forms) -> Table:
    """The table as it is learned. A stream offers all that a method may ask of a table."""
    if isinstance(table, Table):
        return forms.table(table)
    if not forms.forms:
        return cast("Table", table)
    return cast("Table", table.changed(forms.table, forms.learned_schema))


def _in_form(model: Fitted, forms: Forms) -> Fitted:
    """The model, giving back the columns of the user's schema."""
    if not forms.forms:
        return model
    # Such a model is a `Fitted` itself, so that its module needs this one.
    from pegai.synth.constraints.fitted import FittedInForm

    return FittedInForm(model, forms)


def in_users_form(model: Fitted, schema: Schema) -> Fitted:
    """A privately fitted model of the learned schema, giving back the columns of the user's."""
    return _in_form(model, Forms.of(schema))


def learned_schema(schema: Schema) -> Schema:
    """What a private fit learns of a schema: its columns in the form that rules give them.

    `Synthesizer.plan` is asked about it before a fit, and so should be whoever foretells a fit.
    """
    return Forms.of(schema).learned_schema


def private_plan(
    method: Synthesizer, schema: Schema, privacy: Privacy, *, also_public: Sequence[str] = ()
) -> Plan:
    """What a private fit charges.

    Args:
        method: What is fitted.
        schema: Of the user's table.
        privacy: What is asked for.
        also_public: What else is taken as known, in sentences.
    """
    plan = method.plan(learned_schema(schema), privacy)
    rules = ("the rules that every row keeps",) if schema.rules else ()
    return replace(plan, public=(*plan.public, *rules, *also_public))


def private_rows(table: Table) -> Table:
    """What a private fit learns of a table: rows of known patients, in the form of the rules.

    Raises:
        DataError: No columns besides identifiers.
        IdentifierError: A column is free text.
        PrivateDomainError: Bounds or categories came from the private data.
    """
    check_schema(table.schema)
    check_public(table.schema)
    return Forms.of(table.schema).table(known_patients(table))


def as_generator(rng: np.random.Generator | int | None, name: str) -> np.random.Generator:
    """A generator from a seed, a generator or nothing (a secret seed)."""
    if isinstance(rng, np.random.Generator):
        return rng
    streams = Streams.fresh() if rng is None else Streams(int(rng))
    return streams.get("model" if name == "model" else "sample")


def check_table(table: Table | TableStream) -> None:
    """Refuse tables that no method can learn.

    Raises:
        DataError: No rows, or no columns besides identifiers.
        IdentifierError: Free text.
    """
    check_rows(table)
    check_schema(table.schema)


def check_rows(table: Table | TableStream) -> None:
    """Refuse a table without rows; a private fit must not, since that tells there are none.

    Raises:
        DataError: As said.
    """
    if len(table) == 0:
        raise DataError("the table has no rows", hint="check the file and the schema's columns")


def check_schema(schema: Schema) -> None:
    """Refuse schemas that no method can learn.

    Raises:
        DataError: No columns besides identifiers.
        IdentifierError: Free text.
    """
    if not schema.modelled:
        raise DataError(
            "the schema leaves no column to learn: all are identifiers",
            hint="give at least one column another role",
        )
    texts = [c.name for c in schema.modelled if c.kind == "text"]
    if texts:
        raise IdentifierError(
            f"free text may hold anything about a patient and is refused: {', '.join(texts)}",
            hint="list the column's categories in the schema, give it the role identifier, "
            "or drop it with pegai deidentify",
        )


def taken_as_public(schema: Schema) -> tuple[str, ...]:
    """What a guarantee rests on, in words."""
    whose = f"whose row is whose: the column {schema.unit!r}"
    rules = "which combinations of levels are impossible"
    found = [c.name for c in schema.modelled if c.pegai.source.startswith("dp-estimate")]
    earlier = (
        "bounds and categories that were estimated from the data before, under a charge of their "
        f"own in the ledger: {', '.join(found)}"
    )
    return (
        "the schema: columns, types, categories, bounds, decimals, where a value is required",
        *((earlier,) if found else ()),
        *((rules,) if schema.impossible else ()),
        whose if schema.unit is not None else "that each row is one patient",
        "the settings of the method",
    )


def known_patients(table: Table) -> Table:
    """The rows whose patient is known, where the schema names a column of patient ids.

    Rows without an id can't be counted to a patient: taken one by one, fifty of them that are one
    patient's would weigh as fifty patients.
    """
    unit = table.schema.unit
    if unit is None:
        return table
    return Table(table.frame.filter(pl.col(unit).is_not_null()), table.schema)


def check_public(schema: Schema) -> None:
    """Refuse a private fit whose domain was read from the private data.

    Raises:
        PrivateDomainError: A column's source is `private`, or a numeric column lacks a bound.
    """
    private = [c.name for c in schema.modelled if not c.is_public]
    if private:
        raise PrivateDomainError(
            f"bounds or categories of {len(private)} columns come from the private data "
            f"(source: private): {', '.join(private)}",
            hint="set them from a standard, a data dictionary or an expert, and name it as source",
        )
    unbounded = [c.name for c in schema.modelled if not c.has_domain]
    if unbounded:
        raise PrivateDomainError(
            f"a private fit needs a public minimum and maximum: {', '.join(unbounded)}",
            hint="add constraints.minimum and constraints.maximum to the schema",
        )


def table_bytes(table: Table | TableStream, chunk_rows: int = 100_000) -> Iterator[bytes]:
    """The table's content as bytes, for the ledger's keyed fingerprint."""
    for part in chunks(table, chunk_rows):
        yield part.frame.write_csv(include_header=False).encode()
