"""The whole audit: every check on every method, and one report of what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pegai.audit.artefacts import scan
from pegai.audit.canaries import OneRun, gradient_canary, one_run
from pegai.audit.findings import Finding
from pegai.audit.gdp import Audited
from pegai.audit.layers import PARTS_MU, audit_layer, audit_parts, parts
from pegai.audit.mechanisms import check_parts
from pegai.audit.neighbours import audit_schema, base_table, neighbours
from pegai.audit.replay import Replayed, replay_all
from pegai.errors import UsageError
from pegai.privacy.guarantee import Privacy
from pegai.schema import Schema
from pegai.synth.base import Synthesizer, check_public, check_schema
from pegai.synth.catalog import PRIVATE, make

Check = Literal["parts", "replay", "gdp", "canaries", "artefacts"]
CHECKS: tuple[str, ...] = get_args(Check)

_STEPS: dict[str, Any] = {"privacy": {"steps": 5, "hidden": 8}}
_AIM: dict[str, Any] = {"steps": 20, "components": 4}
QUICK: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("gan", "ctgan", "tvae", "vaegan", "arm"), _STEPS),
    "pategan": {"student_steps": 2, "privacy": {"rounds": 2, "hidden": 8}},
    "aim": _AIM,
    "auto": {"aim": _AIM},
}
"""Settings that make a fit short: an audit asks what leaks, not how good the rows are."""

SCANNED_PATIENTS = 137
CANARY_SHARE = 5
"""A canary's step costs more than a mechanism by itself: one for so many runs."""

Told = Callable[[str, float], None]


@dataclass(frozen=True)
class AuditRequest:
    """What is audited, and how thoroughly.

    Attributes:
        methods: Names in the catalog; empty is all that have a private form.
        schemas: With public domains; empty is two that hold every kind of column, one with several
            rows a patient.
        checks: Which of `CHECKS`.
        epsilon: Of each fit.
        delta: Of each fit.
        runs: Of each mechanism in each of two worlds; more find smaller breaches.
    """

    methods: tuple[str, ...] = ()
    schemas: tuple[Schema, ...] = ()
    checks: tuple[str, ...] = CHECKS
    epsilon: float = 1.0
    delta: float = 1e-5
    runs: int = 10_000

    def __post_init__(self) -> None:
        unknown = [check for check in self.checks if check not in CHECKS]
        if unknown or not self.checks:
            raise UsageError(
                f"no check {unknown[0]!r}" if unknown else "no check was named",
                hint=f"there are: {', '.join(CHECKS)}",
            )
        if not 100 <= self.runs <= 10_000_000:
            raise UsageError(f"runs must lie between 100 and 10,000,000, not {self.runs}")
        self.privacy  # noqa: B018 - refuses an epsilon or a delta that is none
        for schema in self.schemas:
            check_schema(schema)
            check_public(schema)
        self.synthesizers()

    @property
    def privacy(self) -> Privacy:
        """The budget of each fit, whose ledger is thrown away."""
        return Privacy(self.epsilon, self.delta)

    def synthesizers(self) -> list[Synthesizer]:
        """The methods, with short settings."""
        return [make(name, QUICK.get(name)) for name in self.methods or PRIVATE]

    def domains(self) -> tuple[Schema, ...]:
        """The schemas."""
        return self.schemas or (audit_schema(), audit_schema(by_patient=False))


@dataclass(frozen=True)
class AuditReport:
    """What an audit gave.

    Attributes:
        replayed: One a method, schema and odd patient.
        audited: One a mechanism or method.
        canaries: One training with many canaries, where it was asked for.
        findings: Every breach; empty where none was found.
    """

    replayed: tuple[Replayed, ...]
    audited: tuple[Audited, ...]
    canaries: OneRun | None
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        replays = [
            {"method": r.method, "case": r.case, "uses": r.uses, "moved": r.moved}
            for r in self.replayed
        ]
        return {
            "replays": replays,
            "gdp": [a.to_dict() for a in self.audited],
            "one_run": None if self.canaries is None else self.canaries.to_dict(),
            "findings": [f.to_dict() for f in self.findings],
        }


def run_audit(request: AuditRequest, *, told: Told = lambda stage, share: None) -> AuditReport:
    """Attack every private path; see the modules of this package for how.

    Args:
        request: What is audited.
        told: Told the stage and the share of the checks that is done.
    """
    findings: list[Finding] = []
    replayed: list[Replayed] = []
    audited: list[Audited] = []
    canaries: OneRun | None = None
    stages = iter(range(_stages(request)))

    def tell(what: str) -> None:
        told(what, next(stages) / _stages(request))

    for check in request.checks:
        if check == "parts":
            tell("checking mechanisms")
            findings += check_parts()
        elif check == "replay":
            replayed += _replays(request, tell)
        elif check == "gdp":
            audited += audit_parts(runs=request.runs, told=tell)
            audited += _layers(request, tell)
        elif check == "canaries":
            tell("canaries in DP-SGD")
            audited.append(gradient_canary(runs=max(request.runs // CANARY_SHARE, 100)))
            canaries = one_run()
            findings += canaries.findings
        else:
            findings += _artefacts(request, tell)
    for part in (*replayed, *audited):
        findings += part.findings
    return AuditReport(tuple(replayed), tuple(audited), canaries, tuple(findings))


def _stages(request: AuditRequest) -> int:
    """How often a stage is told."""
    methods = len(request.synthesizers())
    fits = methods * len(request.domains())
    stages = {"replay": fits, "artefacts": fits, "gdp": methods + len(parts(PARTS_MU))}
    return sum(stages.get(check, 1) for check in request.checks)


def _replays(request: AuditRequest, tell: Callable[[str], None]) -> Iterator[Replayed]:
    for schema in request.domains():
        methods = request.synthesizers()
        yield from replay_all(methods, neighbours(schema), request.privacy, told=tell)


def _layers(request: AuditRequest, tell: Callable[[str], None]) -> Iterator[Audited]:
    schema = request.domains()[-1]
    for method in request.synthesizers():
        tell(f"measurement layer of {method.name}")
        yield audit_layer(method, schema, request.privacy, runs=request.runs)


def _artefacts(request: AuditRequest, tell: Callable[[str], None]) -> Sequence[Finding]:
    """Scan the folder of each method's model of a made-up table."""
    found: list[Finding] = []
    for schema in request.domains():
        table = base_table(schema, SCANNED_PATIENTS)
        for method in request.synthesizers():
            tell(f"model folder of {method.name}")
            with tempfile.TemporaryDirectory() as temporary:
                place = Path(temporary)
                privacy = replace(request.privacy, ledger=place / "ledger.jsonl")
                method.fit(table, privacy=privacy).save(place / method.name)
                found += scan(place / method.name, table)
    return found
