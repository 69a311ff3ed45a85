"""`pegai release`, `verify`, `keygen` and `policy`: what leaves the house, and how to check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.workflow.bundle import Check
    from pegai.workflow.release import Released, ReleaseRequest

PolicyOption = Annotated[
    str | None,
    typer.Option(help="Release policy: a name, or a TOML or JSON file. Else public-2."),
]

policy = typer.Typer(
    name="policy", help="Release policies: the limits of one kind of release.", no_args_is_help=True
)


def release(
    run: Annotated[Path | None, typer.Argument(help="The folder of a run.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")] = Path(
        "release"
    ),
    data: Annotated[Path | None, typer.Option(help="The synthetic table.")] = None,
    schema: Annotated[Path | None, typer.Option("--schema", "-s", help="Its schema file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="report.json of its evaluation, which stays inside.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="The model folder, for its guarantee.")] = None,
    policy: PolicyOption = None,
    key: Annotated[Path | None, typer.Option(help="Private key to sign with.")] = None,
    title: Annotated[str, typer.Option(help='Headline; else "Synthetic patients".')] = "",
    recipient: Annotated[str, typer.Option(help="Who gets the data, and where they stay.")] = "",
    intended_use: Annotated[str, typer.Option(help="What they are for.")] = "",
    approved_by: Annotated[str, typer.Option(help="Who signs for the residual risk.")] = "",
    include_verdict: Annotated[
        bool, typer.Option("--include-verdict", help="Let the verdict leave: one bit of real data.")
    ] = False,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Put the model in; it needs a guarantee.")
    ] = False,
    zipped: Annotated[bool, typer.Option("--zip", help="Write one file too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the bundle that leaves: data, schema, guarantee, release report, hashes, signature.

    The evaluation is judged anew by the policy. The bundle holds nothing that was computed from
    real patients outside the guarantee; report.html and report.json stay inside. If the policy
    forbids the release everything is written all the same, but marked as refused and not signed.

    Exit code 1 if the verdict is DO NOT RELEASE or NOT ASSESSED.
    """
    from dataclasses import replace

    from pegai.report import DEFAULT_POLICY, find_policy
    from pegai.workflow.release import release as build

    asked = replace(
        _request(run, out, data, schema, report, model),
        policy=DEFAULT_POLICY if policy is None else find_policy(policy),
        key=key,
        title=title,
        recipient=recipient,
        intended_use=intended_use,
        approved_by=approved_by,
        include_verdict=include_verdict,
        with_model=with_model,
        zipped=zipped,
        overwrite=force,
    )
    done = build(asked)
    content = {
        "folder": str(done.folder),
        "archive": None if done.archive is None else str(done.archive),
        "verdict": done.verdict.decision,
        "policy": done.verdict.policy,
        "approved": done.approved,
        "signed_by": done.signed_by or None,
        "files": list(done.files),
        "remarks": list(done.remarks),
    }
    show.result(content, as_json=as_json, text=lambda: _tell(done, quiet=quiet))
    if not done.approved:
        raise typer.Exit(1)


def _request(
    run: Path | None,
    out: Path,
    data: Path | None,
    schema: Path | None,
    report: Path | None,
    model: Path | None,
) -> ReleaseRequest:
    """A run's folder, or the single parts; a part that is named goes before the run's."""
    from dataclasses import replace

    from pegai.errors import UsageError
    from pegai.workflow.release import ReleaseRequest, from_run

    named = {"data": data, "schema": schema, "report": report, "model": model}
    given = {name: path for name, path in named.items() if path is not None}
    if run is not None:
        return replace(from_run(run, out), **given)
    if data is None or schema is None or report is None:
        raise UsageError(
            "a release needs the folder of a run, or --data, --schema and --report",
            hint="as in: pegai release demo --out bundle --key house.key",
        )
    return ReleaseRequest(data, schema, report, out, model)


def _tell(done: Released, *, quiet: bool) -> None:
    show.say(
        f"verdict by policy {done.verdict.policy}: {done.verdict.decision}",
        quiet=quiet,
        style="bold",
    )
    show.say(done.verdict.summary, quiet=quiet)
    if not done.approved:
        show.say("REFUSED: the bundle is marked as such and not signed; it must not leave.")
    for remark in done.remarks:
        show.say(f"note: {remark}", quiet=quiet)
    for control in done.verdict.controls:
        show.say(f"asked for: {control}", quiet=quiet)
    if done.signed_by:
        show.say(f"signed by {done.signed_by}", quiet=quiet)
    show.say(f"wrote {done.archive or done.folder}", quiet=quiet)
    if done.approved:
        show.suggest("pegai", "verify", done.archive or done.folder, quiet=quiet)


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle: its folder or its .zip.")],
    key: Annotated[
        Path | None, typer.Option(help="A public key that you trust, got on another way.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Your own ledger, to look for the charge in.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a bundle: every file, the signature, and that the guarantee costs what it says.

    Needs no network. Without a key a bundle can be intact and still be from anyone.

    Exit code 1 if anything fails.
    """
    from pegai.workflow.bundle import verify_bundle

    checks = verify_bundle(bundle, key=key, ledger=ledger)
    fine = all(check.ok is not False for check in checks)
    content = {
        "bundle": str(bundle),
        "intact": fine,
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks],
    }
    show.result(
        {**content}, as_json=as_json, text=lambda: _print_checks(checks, fine=fine, quiet=quiet)
    )
    if not fine:
        raise typer.Exit(1)


def _print_checks(checks: tuple[Check, ...], *, fine: bool, quiet: bool) -> None:
    words = {True: "ok", False: "FAILED", None: "note"}
    if not quiet or not fine:
        show.grid(("check", "", "found"), [(c.name, words[c.ok], c.detail) for c in checks])
    show.say("the bundle is intact" if fine else "the bundle FAILED its check", quiet=quiet)


def keygen(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; .pub goes beside it.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make an Ed25519 key pair to sign releases with.

    The private key is readable by you alone (mode 0600) and is never overwritten; set
    PEGAI_KEY_PASSPHRASE to keep it encrypted. Give the .pub file to recipients on another way than
    the data.
    """
    from pegai.data.signing import new_key

    public, mark = new_key(path)
    content = {"private_key": str(path), "public_key": str(public), "fingerprint": mark}

    def text() -> None:
        show.say(f"private key: {path} (keep it)\npublic key:  {public} (give it away)")
        show.say(f"fingerprint: {mark}")
        show.suggest("pegai", "release", "RUN", "--key", path, "--out", "bundle", quiet=quiet)

    show.result(content, as_json=as_json, text=text)


@policy.command("list")
def list_policies(as_json: JsonOption = False) -> None:
    """List the policies that pegai has."""
    from pegai.report import DEFAULT_POLICY, POLICIES

    rows = [
        (name, found.title, "default" if found is DEFAULT_POLICY else "")
        for name, found in POLICIES.items()
    ]
    content = {"policies": [{"name": n, "title": t, "default": bool(d)} for n, t, d in rows]}
    show.result(content, as_json=as_json, text=lambda: show.grid(("name", "for", ""), rows))


@policy.command("show")
def show_policy(
    name: Annotated[str, typer.Argument(help="A name, or a policy file, which is checked.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it into this file, to be edited.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a policy as TOML, with comments: a file to start from.

    Example: pegai policy show public-2 -o ours.toml
    """
    from dataclasses import asdict

    from pegai.data.atomic import atomic_write_text
    from pegai.report import find_policy, policy_toml

    found = find_policy(name)
    toml = policy_toml(found)
    if out is not None:
        atomic_write_text(out, toml)
    show.result(
        {"policy": asdict(found), "file": None if out is None else str(out)},
        as_json=as_json,
        text=lambda: typer.echo(
            policy_toml(found) if out is None else f"wrote {out}", nl=bool(out)
        ),
    )
