"""The release: from an evaluated table to a bundle that says what it is and can be checked.

The verdict is computed anew from the report's scores, by the policy that is given. Everything is
written all the same where the policy forbids the release, but then the bundle says that it is
refused, carries no signature, and fails its check.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pegai.audit.artefacts import scan
from pegai.data.atomic import atomic_folder, check_folder
from pegai.data.conform import load_table
from pegai.data.files import file_sha256
from pegai.data.signing import RELEASE, fingerprint, public_pem, read_private_key, sign
from pegai.errors import DataError, GateFailedError, PrivacyError, UsageError
from pegai.evaluate.scores import Evaluation
from pegai.privacy.guarantee import Guarantee
from pegai.report import DEFAULT_POLICY, ReleasePolicy, Verdict, decide
from pegai.report.content import FORMAT as REPORT_FORMAT
from pegai.report.domain import public_schema
from pegai.report.release import (
    ReleaseContent,
    croissant,
    render_guarantee,
    render_readme,
    render_release_html,
    render_release_json,
)
from pegai.schema import Schema, read_schema, write_schema
from pegai.synth.base import Fitted
from pegai.synth.catalog import load
from pegai.synth.files import read_model, write_model
from pegai.workflow import bundle as b
from pegai.workflow.deidentification import lint_rows
from pegai.workflow.facts import now

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NEUTRAL_TITLE = "Synthetic patients"
"""The headline where none is given: that of the report names the private file."""

RELEASABLE = ("RELEASE", "RELEASE WITH CONTROLS")


@dataclass(frozen=True)
class ReleaseRequest:
    """What is to be released, and what people decided about it.

    Attributes:
        data: The synthetic table.
        schema: Its schema.
        report: `report.json` of its evaluation.
        out: The bundle's folder.
        model: The model folder, for its guarantee; None takes the report's word for it.
        policy: The release policy.
        key: Private key to sign with; None leaves the bundle unsigned.
        title: Headline; empty takes one that names no source.
        recipient: Who gets the data, and where they are used.
        intended_use: What for.
        approved_by: Who signs for the residual risk.
        license: The licence's name or address, for catalogues.
        include_verdict: Whether the verdict, one bit of real data, may leave.
        with_model: Whether the model goes along.
        zipped: Whether the bundle is also written as one file.
        overwrite: Whether something else at `out` may be replaced.
    """

    data: Path
    schema: Path
    report: Path
    out: Path
    model: Path | None = None
    policy: ReleasePolicy = DEFAULT_POLICY
    key: Path | None = None
    title: str = ""
    recipient: str = ""
    intended_use: str = ""
    approved_by: str = ""
    license: str = ""
    include_verdict: bool = False
    with_model: bool = False
    zipped: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Released:
    """What was written.

    Attributes:
        folder: The bundle.
        archive: The bundle as one file, where it was asked for.
        verdict: By the policy, computed anew.
        approved: Whether it may leave.
        signed_by: Fingerprint of the key; empty without a signature.
        files: Every file of the bundle.
        remarks: What whoever releases has to know.
    """

    folder: Path
    archive: Path | None
    verdict: Verdict
    approved: bool
    signed_by: str
    files: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """The candidate of a report that is about to leave."""

    method: str
    evaluation: Evaluation
    guarantee: Guarantee | None
    heuristic: str
    lint: tuple[Mapping[str, Any], ...] | None
    tables: Mapping[str, str]


def from_run(folder: Path, out: Path, **more: Any) -> ReleaseRequest:
    """The request that releases what `pegai run` wrote.

    Raises:
        UsageError: The folder lacks a part of a run.
    """
    parts = {
        "data": folder / "synthetic.csv",
        "schema": folder / "synthetic.schema.json",
        "report": folder / "report.json",
        "model": folder / "model",
    }
    for part in parts.values():
        if not part.exists():
            raise UsageError(
                f"{folder}: is no folder of a run, {part.name} is missing",
                hint="give a run's folder, or --data, --schema and --report",
            )
    return ReleaseRequest(**parts, out=out, **more)


def release(request: ReleaseRequest) -> Released:
    """Judge a table by the policy and write its bundle.

    Raises:
        UsageError: A part is missing, or does not belong to the others.
        DataError: The table does not fit its schema, or the disk refused.
        PrivacyError: The guarantee is none, or costs more than it claims.
        GateFailedError: The model folder holds what no method writes.
    """
    check_folder(request.out, overwrite=request.overwrite, marker=b.MANIFEST)
    _refuse_inside(request)
    key = None if request.key is None else read_private_key(request.key)
    schema = read_schema(request.schema)
    fitted = None if request.model is None else load(request.model)
    judged = _judged(request.report, fitted)
    if judged.guarantee is not None:
        judged.guarantee.require_releasable()
    _check_model(request, judged.guarantee)
    _check_table(request, judged)
    table = load_table(request.data, schema.only_modelled(), extra="refuse")
    verdict = decide(
        judged.evaluation,
        judged.guarantee,
        policy=request.policy,
        lint=lint_rows(schema.only_modelled()) if judged.lint is None else judged.lint,
        heuristic=judged.heuristic,
    )
    approved = verdict.decision in RELEASABLE
    content = _content(request, judged, schema, len(table), verdict, refused=not approved)
    remarks = tuple(_remarks(request, judged, verdict, signed=key is not None and approved))
    signed_by = fingerprint(key.public_key()) if key is not None and approved else ""
    with atomic_folder(request.out, overwrite=request.overwrite, marker=b.MANIFEST) as folder:
        _fill(folder, request, content)
        facts = {
            "created": content.created,
            "policy": request.policy.name,
            "signed_by": signed_by or None,
            "status": b.APPROVED if approved else b.REFUSED,
        }
        _seal(folder, facts, key if approved else None)
    archive = _archive(request)
    if archive is not None:
        b.write_zip(request.out, archive)
    files = sorted(
        p.relative_to(request.out).as_posix() for p in request.out.rglob("*") if p.is_file()
    )
    return Released(request.out, archive, verdict, approved, signed_by, tuple(files), remarks)


def _seal(folder: Path, facts: Mapping[str, Any], key: Ed25519PrivateKey | None) -> None:
    """The manifest of a filled folder, and its signature where there is a key."""
    if key is not None:
        (folder / b.PUBLIC_KEY).write_bytes(public_pem(key.public_key()))
    manifest = b.manifest_text(folder, facts).encode()
    (folder / b.MANIFEST).write_bytes(manifest)
    if key is not None:
        (folder / b.SIGNATURE).write_text(sign(key, manifest, context=RELEASE), encoding="ascii")


def _archive(request: ReleaseRequest) -> Path | None:
    """Where the bundle goes as one file, if it is asked for: beside its folder."""
    return request.out.with_name(request.out.name + ".zip") if request.zipped else None


def _refuse_inside(request: ReleaseRequest) -> None:
    """A bundle must not be written over, around or into what it is made of."""
    archive = _archive(request)
    for target in (request.out, archive):
        if target is None:
            continue
        place = target.resolve()
        for path in (request.data, request.schema, request.report, request.model, request.key):
            if path is not None and place in (path.resolve(), *path.resolve().parents):
                raise UsageError(f"{path}: lies in {target}, which would be replaced")
        if request.model is not None and request.model.resolve() in place.parents:
            raise UsageError(
                f"{target}: would lie in the model's folder {request.model}",
                hint="name another folder with --out",
            )
    if archive is None or not (archive.exists() or archive.is_symlink()):
        return
    if archive.is_symlink() or not archive.is_file():
        raise UsageError(f"{archive}: exists and is no plain file", hint="name another --out")
    if not request.overwrite:
        raise UsageError(
            f"{archive}: exists already", hint="name another --out, or replace it with --force"
        )


def _judged(path: Path, fitted: Fitted | None) -> _Judged:
    """The released candidate of a report, with the model's own guarantee where there is one."""
    raw = _report(path)
    try:
        candidates = {str(c["name"]): c for c in raw["candidates"]}
        chosen = candidates[str(raw["subject"])]
        guarantee = chosen["guarantee"]
        judged = _Judged(
            method=str(chosen["method"]),
            evaluation=Evaluation.from_dict(chosen["evaluation"]),
            guarantee=None if guarantee is None else Guarantee.from_dict(guarantee),
            heuristic=str(chosen.get("heuristic") or ""),
            lint=None if raw["lint"] is None else tuple(raw["lint"]),
            tables={str(k): str(v) for k, v in (raw.get("tables") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, PrivacyError, DataError) as error:
        raise UsageError(
            f"{path}: lacks a part of a report ({type(error).__name__})",
            hint="write it anew: pegai evaluate",
        ) from None
    if fitted is not None:
        stated = None if fitted.guarantee is None else fitted.guarantee.to_dict()
        if stated != (None if judged.guarantee is None else judged.guarantee.to_dict()):
            raise UsageError(
                f"{path}: is not about this model, their guarantees differ",
                hint="evaluate again with --model",
            )
    return judged


def _report(path: Path) -> Any:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", hint="evaluate first: pegai evaluate") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be read as JSON ({type(error).__name__})") from None
    if not isinstance(raw, dict) or raw.get("format") != REPORT_FORMAT:
        raise UsageError(f"{path}: is no report of pegai", hint="it is the report.json of a run")
    return raw


def _check_model(request: ReleaseRequest, guarantee: Guarantee | None) -> None:
    """A model leaves only with a guarantee, and only if it holds what a method writes."""
    if not request.with_model:
        return
    if request.model is None:
        raise UsageError("--with-model needs --model", hint="name the model's folder")
    if guarantee is None:
        raise PrivacyError(
            "a model without a formal guarantee holds what it learnt of patients and must not leave"
        )
    findings = scan(request.model)
    if findings:
        listed = "; ".join(finding.what for finding in findings[:5])
        raise GateFailedError(
            f"{request.model}: holds what must not leave: {listed}",
            hint="pegai audit --model FOLDER lists everything; fit the model again",
        )


def _check_table(request: ReleaseRequest, judged: _Judged) -> None:
    """The table is byte for byte one that the report judged; a report that names none is none."""
    if not judged.tables:
        raise UsageError(
            f"{request.report}: does not say which file it judged, so it may be about any",
            hint="evaluate this table again: pegai evaluate",
        )
    try:
        found = file_sha256(request.data)
    except OSError as error:
        raise DataError(f"{request.data}: can't be read ({error.strerror})") from None
    if found not in judged.tables.values():
        raise UsageError(
            f"{request.data}: is not the table that {request.report} judged",
            hint="evaluate this table, or release the one that was evaluated",
        )


def _content(
    request: ReleaseRequest,
    judged: _Judged,
    schema: Schema,
    rows: int,
    verdict: Verdict,
    *,
    refused: bool,
) -> ReleaseContent:
    shown = {"decision": verdict.decision} if request.include_verdict else {}
    return ReleaseContent(
        title=request.title or NEUTRAL_TITLE,
        created=now(),
        method=judged.method,
        schema=public_schema(schema),
        rows=rows,
        guarantee=judged.guarantee,
        policy=request.policy,
        heuristic=judged.heuristic,
        recipient=request.recipient,
        intended_use=request.intended_use,
        approved_by=request.approved_by,
        license=request.license,
        verdict=shown,
        refused=refused,
    )


def _fill(folder: Path, request: ReleaseRequest, content: ReleaseContent) -> None:
    """Everything but the manifest."""
    name = data_name(request.data)
    try:
        shutil.copyfile(request.data, folder / name)
    except OSError as error:
        raise DataError(f"{request.data}: can't be copied ({error.strerror})") from None
    write_schema(content.schema, folder / b.SCHEMA)
    texts = {
        b.GUARANTEE: render_guarantee(content),
        b.REPORT: render_release_html(content),
        b.TWIN: render_release_json(content),
        b.README: render_readme(content, name),
        b.CROISSANT: croissant(
            content,
            data_name=name,
            sha256=file_sha256(folder / name),
            size=(folder / name).stat().st_size,
        ),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
    if request.with_model and request.model is not None:
        _copy_model(request.model, folder / b.MODEL)


def _copy_model(model: Path, place: Path) -> None:
    """The model as it was, but for the name of its source in the ledger, which stays inside."""
    whole = read_model(model)
    privacy = whole.schema.pegai.model_copy(update={"dataset": None})
    write_model(replace(whole, schema=whole.schema.model_copy(update={"pegai": privacy})), place)
    load(place)


def data_name(data: Path) -> str:
    """The released table's name: `synthetic` with the suffixes of its format."""
    suffixes = [s for s in data.suffixes[-2:] if s.lower() in (".csv", ".tsv", ".txt", ".gz")]
    return "synthetic" + ("".join(suffixes).lower() or data.suffix.lower())


def _remarks(
    request: ReleaseRequest, judged: _Judged, verdict: Verdict, *, signed: bool
) -> Iterator[str]:
    if judged.guarantee is None:
        yield "no formal guarantee: the bundle says so on its first line"
    if verdict.decision == "RELEASE WITH CONTROLS" and not request.recipient:
        yield "the policy asks for controls, and --recipient is not stated"
    if not signed:
        yield "not signed: recipients can't tell who made it"
