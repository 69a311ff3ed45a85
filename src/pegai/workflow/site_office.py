"""What a site's people do before they say yes: checks, and the plan in plain words."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pegai.data.signing import fingerprint, read_public_key
from pegai.errors import FederationError, PegaiError, UsageError
from pegai.federate.agreement import public_text, read_signed
from pegai.federate.membership import (
    Approval,
    Membership,
    approve,
    new_approval,
    read_membership,
    read_site_table,
)
from pegai.federate.plan import FederationPlan
from pegai.privacy.explain import explain
from pegai.privacy.ledger import Ledger
from pegai.schema import read_schema
from pegai.synth.running import Progress
from pegai.workflow.rehearsal import rehearse

CONNECT_SECONDS = 5.0
EXPIRY_DAYS = 30


@dataclass(frozen=True)
class SiteCheck:
    """One thing that was looked at.

    Attributes:
        what: In words.
        passed: Whether it holds; None where it was not looked at.
        said: What was found, or the way out.
    """

    what: str
    passed: bool | None
    said: str


def check_site(
    folder: Path,
    *,
    plan: Path | None = None,
    data: Path | None = None,
    schema: Path | None = None,
) -> list[SiteCheck]:
    """Certificates, connection, and the plan with this site's data; nothing leaves the site.

    Args:
        folder: Of the site.
        plan: A signed plan.
        data: The site's file, to be read with the plan's schema.
        schema: The site's own copy of the schema, to be compared with the plan's.

    Raises:
        UsageError: The folder is no site's, or `data` or `schema` is given without `plan`.
    """
    member = read_membership(folder)
    found = [_certificate(member), _connection(member)]
    if plan is None:
        if data or schema:
            raise UsageError("--data and --schema are compared with a plan: give --plan, too")
        return found
    try:
        read = read_signed(plan, member.coordinator_key)
    except PegaiError as error:
        return [*found, SiteCheck("the plan", False, str(error))]
    found.append(SiteCheck("the plan", True, f"signed by the coordinator; digest {read.digest}"))
    found.append(_own_key(member, read))
    if schema is not None:
        found.append(_same_schema(schema, read))
    if data is not None:
        found.append(_data(data, read))
    return found


def _certificate(member: Membership) -> SiteCheck:
    from cryptography import x509

    what = "this site's certificate"
    try:
        raw = (member.folder / "certificates" / "client.crt").read_bytes()
        ends = x509.load_pem_x509_certificate(raw).not_valid_after_utc
    except (OSError, ValueError):
        return SiteCheck(what, False, "can't be read; join again with the kit")
    left = (ends - datetime.now(UTC)).days
    if left < 0:
        return SiteCheck(what, False, f"ended on {ends:%Y-%m-%d}; ask for a new kit")
    soon = "; ask for a new kit soon" if left < EXPIRY_DAYS else ""
    return SiteCheck(what, True, f"valid until {ends:%Y-%m-%d}{soon}")


def _connection(member: Membership) -> SiteCheck:
    """A handshake with the server, each showing its certificate."""
    address, folder = member.address, member.folder / "certificates"
    what = f"the server at {address.host}:{address.port}"
    context = ssl.create_default_context(cafile=str(folder / "rootCA.pem"))
    context.check_hostname = False  # its certificate is checked against the federation's own root
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    try:
        with (
            socket.create_connection(
                (address.host, address.port), timeout=CONNECT_SECONDS
            ) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as wrapped,
        ):
            return SiteCheck(what, True, f"answers, with its certificate ({wrapped.version()})")
    except ssl.SSLError as error:
        return SiteCheck(what, False, f"answers with another certificate ({error.reason})")
    except OSError as error:
        said = error.strerror or type(error).__name__
        return SiteCheck(
            what,
            False,
            f"can't be reached ({said}); this site must be able to open connections to it",
        )


def _own_key(member: Membership, plan: FederationPlan) -> SiteCheck:
    what = "this site in the plan"
    own = public_text(read_public_key(member.folder / "site.key.pub"))
    known = {site.name: site.key for site in plan.sites}
    if member.site not in known:
        return SiteCheck(what, False, f"{member.site!r} is not one of {', '.join(plan.names)}")
    if known[member.site] != own:
        return SiteCheck(
            what, False, f"the plan has another key; send {member.site}.site-key.json again"
        )
    return SiteCheck(what, True, f"{member.site!r}, with its own key")


def _same_schema(path: Path, plan: FederationPlan) -> SiteCheck:
    own, agreed = read_schema(path), plan.schema_
    if own.digest() == agreed.digest():
        return SiteCheck("the schema", True, "the same as in the plan")
    mine = {column.name: column for column in own.columns}
    theirs = {column.name: column for column in agreed.columns}
    differing = [n for n in theirs if n in mine and mine[n] != theirs[n]]
    parts = {
        "only in the plan": [n for n in theirs if n not in mine],
        "only here": [n for n in mine if n not in theirs],
        "described otherwise": differing,
    }
    said = "; ".join(f"{key}: {', '.join(names)}" for key, names in parts.items() if names)
    return SiteCheck("the schema", False, said or "rules or metadata differ")


def _data(path: Path, plan: FederationPlan) -> SiteCheck:
    try:
        table = read_site_table(path, plan)
    except PegaiError as error:
        return SiteCheck("the data", False, str(error))
    return SiteCheck("the data", True, f"{len(table):,} rows fit the plan's schema")


@dataclass(frozen=True, eq=False)
class Request:
    """What a site's people are asked to say yes to.

    Attributes:
        member: The site.
        plan: As it was signed.
        signed: The file's bytes.
        approval: What would be written down.
        told: All of it for people and machines: `who`, `epsilon`, `delta`, `noise`, `questions`
            (each with what it asks and what it alone would cost), `in_words`, `rests_on`, `left`.
    """

    member: Membership
    plan: FederationPlan
    signed: bytes
    approval: Approval
    told: dict[str, Any]


def request_approval(
    folder: Path,
    plan_file: Path,
    data: Path,
    progress: Progress,
    *,
    dataset: str | None = None,
    ledger: Path | None = None,
    runs: int = 1,
) -> Request:
    """Read everything, and say what it means; nothing is written and nothing leaves.

    Raises:
        UsageError: A file is missing or none of its kind.
        FederationError: The plan is not by the coordinator, or not for this site.
        PegaiError: The data do not fit the plan's schema.
    """
    if runs < 1:
        raise UsageError(f"--runs {runs}: must be at least 1")
    member = read_membership(folder)
    plan = read_signed(plan_file, member.coordinator_key)
    own = _own_key(member, plan)
    if not own.passed:
        raise FederationError(own.said, hint="nothing was approved")
    table = read_site_table(data, plan)
    name = dataset or plan.schema_.pegai.dataset or plan.study
    approval = new_approval(
        member, plan, data, dataset=name, ledger=ledger or member.ledger, runs=runs
    )
    rehearsal = rehearse(plan, progress)
    told = {
        "study": plan.study,
        "site": member.site,
        "digest": plan.digest,
        "coordinator": fingerprint(member.coordinator_key),
        "data": str(data),
        "rows": len(table),
        "dataset": name,
        "ledger": approval.ledger,
        "left": _left(Path(approval.ledger), name),
        "method": plan.method,
        "noise": plan.noise,
        "sites": list(plan.names),
        "quorum": plan.least,
        "runs": runs,
        "epsilon": plan.privacy.epsilon,
        "delta": plan.privacy.delta,
        "unit": plan.unit,
        "columns": list(plan.schema_.only_modelled().names),
        "questions": [dict(question) for question in rehearsal.questions],
        "in_words": explain(plan.privacy.epsilon, plan.privacy.delta).in_words(),
        "rests_on": list(plan.privacy.public),
    }
    return Request(member, plan, plan_file.read_bytes(), approval, told)


def _left(path: Path, dataset: str) -> float | None:
    """What the ledger has left for the data set; None before its first entry."""
    ledger = Ledger(path)
    if not path.exists() or dataset not in {entry.dataset for entry in ledger.entries()}:
        return None
    account = ledger.account(dataset)
    return account.epsilon - account.spent()[0]


def say_yes(request: Request) -> None:
    """Write the approval down."""
    approve(request.member, request.plan, request.signed, request.approval)
