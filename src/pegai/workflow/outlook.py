"""What a private fit would cost and how exact it would be, from the schema alone."""

from __future__ import annotations

from pathlib import Path

from pegai.privacy.guarantee import Privacy
from pegai.privacy.outlook import Outlook
from pegai.schema import read_schema
from pegai.synth.base import check_public, check_schema, learned_schema
from pegai.synth.catalog import make
from pegai.workflow.steps import read_settings


def method_outlook(
    method: str, schema: Path, privacy: Privacy, *, settings: Path | None = None
) -> Outlook:
    """The plan of a method for a schema; no table is read and nothing is charged.

    Args:
        method: A name in the catalog.
        schema: The schema file.
        privacy: What would be asked for.
        settings: TOML file with settings of the method.

    Raises:
        PegaiError: What `Synthesizer.fit` would refuse before it reads a row.
    """
    synthesizer, declared = make(method, read_settings(settings, private=True)), read_schema(schema)
    check_schema(declared)
    synthesizer.check(declared)
    check_public(declared)
    learned = learned_schema(declared)
    plan = synthesizer.plan(learned, privacy)
    return Outlook.of_plan(plan, privacy, synthesizer.expected_noise(learned, plan))
