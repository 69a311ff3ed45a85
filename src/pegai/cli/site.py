"""`pegai site`: a hospital's side of a federation between machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.workflow.site_office import Request

app = typer.Typer(
    name="site",
    help="Take part in a federation: nothing leaves this site that its people did not approve.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="This site's folder.")]


@app.command()
def join(
    kit: Annotated[Path, typer.Argument(help="The kit that the coordinator sent.")],
    folder: Annotated[Path, typer.Argument(help="A new folder, for all of this site.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Unpack a kit, and make this site's own key.

    From the kit come certificates and an address, and no program or policy. The site's public key,
    in NAME.site-key.json, goes to the coordinator.

    Example: pegai site join aarhus.kit.zip aarhus
    """
    from pegai.data.signing import fingerprint
    from pegai.federate.membership import join as unpack

    member = unpack(kit, folder)
    sent = folder / f"{member.site}.site-key.json"
    mark = fingerprint(member.coordinator_key)

    def text() -> None:
        show.say(f"joined {member.address.study} as {member.site}: {folder}", quiet=quiet)
        show.say(f"the coordinator's key: {mark}; have it read out on the telephone")
        show.say(f"send to the coordinator: {sent}")

    content = {"site": member.site, "key": str(sent), "coordinator": mark}
    show.result(content, as_json=as_json, text=text)


@app.command()
def check(
    folder: FolderArgument,
    plan: Annotated[Path | None, typer.Option(help="A signed plan.")] = None,
    data: Annotated[Path | None, typer.Option(help="Read this file with its schema.")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="Compare this site's copy of the schema with it.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at certificate, connection, plan and data; nothing leaves the site.

    Exit code 1 if something does not hold.

    Example: pegai site check aarhus --plan plan.json --data patients.csv
    """
    from pegai.workflow.site_office import check_site

    found = check_site(folder, plan=plan, data=data, schema=schema)

    def text() -> None:
        for one in found:
            show.say(f"{'ok' if one.passed else 'NO'}  {one.what}: {one.said}")

    checks = [{"what": c.what, "passed": c.passed, "said": c.said} for c in found]
    show.result({"checks": checks}, as_json=as_json, text=text)
    if not all(one.passed for one in found):
        raise typer.Exit(1)


@app.command()
def approve(
    folder: FolderArgument,
    plan: Annotated[Path, typer.Argument(help="The signed plan that the coordinator sent.")],
    data: Annotated[Path, typer.Option(help="This site's patients.")],
    dataset: Annotated[
        str | None, typer.Option(help="Name in the ledger; default: the schema's.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Default: ledger.jsonl in the folder.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often it may be run.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask; for scripts.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a plan asks and what it costs, and ask for a yes.

    The plan is run on made-up patients first, so that each question is shown with what it alone
    would cost. Nothing leaves the site, and nothing is charged before the run.

    Example: pegai site approve aarhus plan.json --data patients.csv
    """
    import sys

    from pegai.errors import UsageError
    from pegai.workflow.site_office import request_approval, say_yes

    with show.progress(quiet=quiet) as bar:
        request = request_approval(
            folder, plan, data, bar, dataset=dataset, ledger=ledger, runs=runs
        )
    if not as_json and not (quiet and yes):
        _show_request(request)
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise UsageError(
                "nobody said yes: nothing was approved",
                hint="in a terminal you are asked; a script says --yes",
            )
        if not typer.confirm("Approve?"):
            raise UsageError("nothing was approved")
    say_yes(request)

    def text() -> None:
        show.say(f"approved: {request.plan.digest[:12]}", quiet=quiet)
        show.suggest("pegai", "site", "up", folder, quiet=quiet)

    show.result({**request.told, "approved": True}, as_json=as_json, text=text)


def _show_request(request: Request) -> None:
    from pegai.cli.federate import questions

    told = request.told
    show.say(f"Plan {told['digest']}")
    show.say(f"by the coordinator with the key {told['coordinator']}")
    show.say(f"{told['study']}: {told['method']} over {', '.join(told['sites'])}")
    show.say(f"data: {told['data']}, {told['rows']:,} rows; columns {', '.join(told['columns'])}")
    show.say("")
    questions(told["questions"])
    show.say("")
    left = "nothing charged yet" if told["left"] is None else f"{told['left']:.4g} left before it"
    show.say(
        f"Together each {told['unit']} is charged epsilon {told['epsilon']:.4g} at delta "
        f"{told['delta']:.3g}, {told['runs']} time{'s' if told['runs'] > 1 else ''}, as "
        f"{told['dataset']!r} in {told['ledger']} ({left})."
    )
    for sentence in (*told["in_words"], "It takes as public:", *told["rests_on"]):
        show.say(f"  {sentence}")
    show.say("")


@app.command()
def up(folder: FolderArgument, quiet: QuietOption = False) -> None:
    """Connect to the server and answer what was approved, until stopped (Ctrl-C, or kill).

    Example: pegai site up aarhus
    """
    from pegai.federate.flare_process import CONSOLE, run_until_stopped, start_site
    from pegai.federate.membership import read_membership

    member = read_membership(folder)
    address = f"{member.address.host}:{member.address.port}"
    run_until_stopped(
        lambda: start_site(member),
        None,
        lambda: show.say(f"{member.site} connects to {address}; Ctrl-C stops it", quiet=quiet),
        member.workspace / CONSOLE,
    )


@app.command()
def ledger(folder: FolderArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """What this site's patients were charged, and what is left.

    Example: pegai site ledger aarhus
    """
    from pegai.cli.ledger import show_
    from pegai.federate.membership import read_membership

    show_(read_membership(folder).ledger, None, as_json, quiet)


@app.command()
def revoke(
    folder: FolderArgument,
    plan: Annotated[str, typer.Argument(help="Of the plan's digest, the first digits.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take an approval back; a run that is under way is refused at its next message.

    What left already has left, and what was charged stays charged.

    Example: pegai site revoke aarhus 3f9a
    """
    from pegai.federate.membership import read_membership

    member = read_membership(folder)
    digest = member.find(plan)
    member.revoke(digest)
    show.result(
        {"revoked": digest},
        as_json=as_json,
        text=lambda: show.say(f"revoked: {digest[:12]}", quiet=quiet),
    )
