"""What a report says, apart from how it looks: the content of the page and of its JSON twin.

`build_content` is pure: it gathers what the workflow hands over, decides by a release policy and
gives a frozen `Content`. Nothing here reads a file, a clock or a table.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from pegai.errors import UsageError
from pegai.evaluate.scores import Evaluation
from pegai.report.policy import DEFAULT_POLICY, ReleasePolicy
from pegai.report.verdict import Verdict, decide

if TYPE_CHECKING:
    from pegai.privacy.guarantee import Guarantee

FORMAT = "pegai-report/1"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One synthetic data set that could be released.

    Attributes:
        name: A short unique name, as in `ctgan, epsilon 1`.
        title: The name for people.
        method: The generator's name in the catalog.
        evaluation: Its scores and the data of its plots.
        guarantee: The formal guarantee; None where the fit was not private.
        heuristic: Noise by a chosen scale, in words that say it is no guarantee; empty without.
        released: Whether this one is meant to leave the house.
        settings: What the generator was told (public configuration).
        seconds: Wall time of fit and sampling.
    """

    name: str
    title: str
    method: str
    evaluation: Evaluation
    guarantee: Guarantee | None = None
    released: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = math.nan
    heuristic: str = ""

    @property
    def epsilon(self) -> float:
        """The epsilon of the guarantee; infinity where there is none."""
        return math.inf if self.guarantee is None else float(self.guarantee.epsilon)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "name": self.name,
            "title": self.title,
            "method": self.method,
            "released": self.released,
            "guarantee": None if self.guarantee is None else plain(self.guarantee.to_dict()),
            "heuristic": self.heuristic or None,
            "settings": plain(self.settings),
            "seconds": plain(self.seconds),
            "evaluation": self.evaluation.to_dict(),
        }


@dataclass(frozen=True)
class Content:
    """Everything a report shows.

    Attributes:
        title: The headline.
        dataset: What the data are, in one line.
        created: When, as ISO 8601 text (handed over, so that equal content gives equal bytes).
        candidates: At least one. The first released one is what the page is about.
        verdicts: One a candidate, in the same order.
        policy: The policy the verdicts follow.
        deidentification: One row a column: column, class, evidence, action, cells; None where the
            step was not run.
        anonymity_before: k, l and t of the source's quasi-identifiers before de-identification.
        anonymity_after: The same afterwards.
        split: Facts of the split: unit, shares, rows, seed.
        versions: Package name to version.
        seeds: Purpose to seed.
        machine: What it ran on.
        ledger: One row a charge.
        lint: One row a Safe Harbor class; None where the lint was not run.
        commands: Shell commands that reproduce the run.
        domain: One row a column: what is known of it, and from where; None where not handed over.
        tables: SHA-256 by name of the synthetic files that were judged, so that a release can tell
            whether it is about one of them.
    """

    title: str
    dataset: str
    created: str
    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]
    policy: ReleasePolicy = DEFAULT_POLICY
    deidentification: tuple[Row, ...] | None = None
    anonymity_before: Mapping[str, Any] = field(default_factory=dict)
    anonymity_after: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    ledger: tuple[Row, ...] = ()
    lint: tuple[Row, ...] | None = None
    commands: tuple[str, ...] = ()
    domain: tuple[Row, ...] | None = None
    tables: Mapping[str, str] = field(default_factory=dict)

    def under(self, policy: ReleasePolicy) -> Content:
        """The same content, judged by another policy."""
        verdicts = tuple(
            decide(c.evaluation, c.guarantee, policy=policy, lint=self.lint, heuristic=c.heuristic)
            for c in self.candidates
        )
        return replace(self, policy=policy, verdicts=verdicts)

    @property
    def subject_index(self) -> int:
        """Which candidate the page is about: the first released one, else the first."""
        return next((i for i, c in enumerate(self.candidates) if c.released), 0)

    @property
    def subject(self) -> Candidate:
        """The candidate the page is about."""
        return self.candidates[self.subject_index]

    @property
    def verdict(self) -> Verdict:
        """The verdict on the candidate the page is about."""
        return self.verdicts[self.subject_index]

    def to_dict(self) -> dict[str, Any]:
        """The JSON twin: plain values, NaN as None, with a `format` and who it is for."""
        rows = {
            name: None if value is None else plain(value)
            for name, value in (
                ("deidentification", self.deidentification),
                ("lint", self.lint),
                ("ledger", self.ledger),
                ("split", self.split),
                ("versions", self.versions),
                ("seeds", self.seeds),
                ("machine", self.machine),
                ("commands", self.commands),
                ("domain", self.domain),
                ("tables", self.tables),
            )
        }
        return {
            "format": FORMAT,
            "audience": "internal",
            "title": self.title,
            "dataset": self.dataset,
            "created": self.created,
            "subject": self.subject.name,
            "policy": plain(asdict(self.policy)),
            "candidates": [
                {**candidate.to_dict(), "verdict": plain(asdict(verdict))}
                for candidate, verdict in zip(self.candidates, self.verdicts, strict=True)
            ],
            "anonymity": {
                "before": plain(self.anonymity_before),
                "after": plain(self.anonymity_after),
            },
            **rows,
        }


def build_content(
    candidates: Iterable[Candidate],
    *,
    title: str,
    dataset: str,
    created: str,
    policy: ReleasePolicy = DEFAULT_POLICY,
    deidentification: Iterable[Any] | None = None,
    anonymity_before: Mapping[str, Any] | None = None,
    anonymity_after: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    versions: Mapping[str, Any] | None = None,
    seeds: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    ledger: Iterable[Any] = (),
    lint: Iterable[Any] | None = None,
    commands: Sequence[str] = (),
    domain: Iterable[Any] | None = None,
    tables: Mapping[str, str] | None = None,
) -> Content:
    """Gathers the content of a report and decides on every candidate by the policy.

    Rows are mappings or frozen dataclasses; what the columns are called is up to the caller.

    Args:
        candidates: The release candidates, in the order they are shown.
        title: The headline.
        dataset: What the data are.
        created: When, as ISO 8601 text.
        policy: The release policy.
        deidentification: Rows of what was done to which column; None if the step was not run.
        anonymity_before: k, l, t before de-identification.
        anonymity_after: k, l, t afterwards.
        split: Facts of the split.
        versions: Package versions.
        seeds: Seeds by purpose.
        machine: What it ran on.
        ledger: Rows of the privacy ledger.
        lint: Rows of the Safe Harbor lint, one for each thing it leaves open; a row with
            `status` other than `open` counts as settled. None if it was not run.
        commands: Commands that reproduce the run.
        domain: Rows of what is known of each column; see `pegai.report.domain.domain_rows`.
        tables: SHA-256 by name of the synthetic files.

    Raises:
        UsageError: There is no candidate, or two have the same name.
    """
    chosen = tuple(candidates)
    _check_candidates(chosen)
    lint_rows = None if lint is None else tuple(_row(row) for row in lint)
    verdicts = tuple(
        decide(c.evaluation, c.guarantee, policy=policy, lint=lint_rows, heuristic=c.heuristic)
        for c in chosen
    )
    removed = None if deidentification is None else tuple(_row(r) for r in deidentification)
    return Content(
        title=title,
        dataset=dataset,
        created=created,
        candidates=chosen,
        verdicts=verdicts,
        policy=policy,
        deidentification=removed,
        anonymity_before=dict(anonymity_before or {}),
        anonymity_after=dict(anonymity_after or {}),
        split=dict(split or {}),
        versions=dict(versions or {}),
        seeds=dict(seeds or {}),
        machine=dict(machine or {}),
        ledger=tuple(_row(row) for row in ledger),
        lint=lint_rows,
        commands=tuple(commands),
        domain=None if domain is None else tuple(_row(row) for row in domain),
        tables=dict(tables or {}),
    )


def _row(row: Any) -> dict[str, Any]:
    """A row as a dict of plain values, in the row's own order of columns."""
    if is_dataclass(row) and not isinstance(row, type):
        row = {
            f.name.replace("identifier_class", "class"): getattr(row, f.name) for f in fields(row)
        }
    return plain(row)


def _check_candidates(candidates: tuple[Candidate, ...]) -> None:
    if not candidates:
        raise UsageError(
            "a report needs at least one release candidate, got none",
            hint="Evaluate a synthetic table first.",
        )
    names = [c.name for c in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"the names of release candidates must differ, got {twice[0]!r} more than once",
            hint="Name each candidate after its method and epsilon.",
        )


def plain(value: Any) -> Any:
    """JSON-ready copy of nested values: NaN and infinity as None, dates as ISO 8601 text."""
    if isinstance(value, Enum):
        letter, title = getattr(value, "letter", ""), getattr(value, "title", None)
        # A plain text enumeration has a method of that name.
        return f"{letter}: {title}" if isinstance(title, str) else plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(v) for v in items]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else value
