"""`pegai federation`: the coordinator's side of a federation between machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

app = typer.Typer(
    name="federation",
    help="Coordinate a federation between machines, on NVIDIA FLARE.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="The federation's folder.")]
PlanArgument = Annotated[str, typer.Argument(help="Of the plan's digest, the first digits.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, for all of the federation.")],
    study: Annotated[str, typer.Option(help="The federation's name.")],
    host: Annotated[str, typer.Option(help="The server's host name, as sites reach it.")],
    site: Annotated[list[str], typer.Option("--site", help="A site's name; once for each.")],
    port: Annotated[int, typer.Option(help="The server's one port.")] = 8002,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a federation: a key that signs plans, and certificates of the server and all sites.

    Example: pegai federation init heart --study heart --host fed.example.org --site aarhus
    --site bergen --site cadiz
    """
    from pegai.data.signing import fingerprint
    from pegai.federate.flare_kit import Address
    from pegai.federate.study import create_study

    made = create_study(folder, Address(study, host, port), site)
    mark = fingerprint(made.public_key)

    def text() -> None:
        show.say(f"made: {folder}, for {', '.join(made.sites)}", quiet=quiet)
        show.say(f"the key that signs plans: {mark}; tell it to the sites on another way")
        show.suggest("pegai", "federation", "kit", folder, made.sites[0], quiet=quiet)

    show.result(
        {"folder": str(folder), "sites": list(made.sites), "key": mark}, as_json=as_json, text=text
    )


@app.command()
def kit(
    folder: FolderArgument,
    site: Annotated[str, typer.Argument(help="The site's name.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Default: NAME.kit.zip.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write what one site needs to join: its certificates and the server's address.

    The kit holds the site's key to the network: send it by a way that only the site can read.

    Example: pegai federation kit heart aarhus
    """
    from pegai.federate.study import read_study, write_kit

    target = out or Path(f"{site}.kit.zip")
    write_kit(read_study(folder), site, target)
    show.result(
        {"kit": str(target)},
        as_json=as_json,
        text=lambda: show.say(f"written: {target}; only {site} may have it", quiet=quiet),
    )


@app.command()
def freeze(
    folder: FolderArgument,
    draft: Annotated[Path, typer.Argument(help="The draft of the plan, TOML.")],
    key: Annotated[list[Path], typer.Option("--key", help="NAME.site-key.json; once a site.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A copy to be sent.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Sign a plan with the keys of all its sites: what they approve, and what is run.

    Example: pegai federation freeze heart plan.toml --key aarhus.site-key.json --key
    bergen.site-key.json -o plan.json
    """
    from pegai.data.atomic import atomic_write_bytes
    from pegai.workflow.coordinating import freeze_files

    plan, path = freeze_files(folder, draft, key)
    if out is not None:
        atomic_write_bytes(out, path.read_bytes())
    shown = out or path

    def text() -> None:
        show.say(f"signed: {shown}; send it to {', '.join(plan.names)}", quiet=quiet)
        show.say(f"digest: {plan.digest}")

    show.result({"plan": str(shown), "digest": plan.digest}, as_json=as_json, text=text)


@app.command()
def up(folder: FolderArgument, quiet: QuietOption = False) -> None:
    """Run the server until it is stopped (Ctrl-C, or kill).

    Example: pegai federation up heart
    """
    from pegai.federate.flare_process import CONSOLE, run_until_stopped, start_server
    from pegai.federate.study import read_study

    study = read_study(folder)
    said = f"listening at {study.address.host}:{study.address.port}; Ctrl-C stops it"
    run_until_stopped(
        lambda: start_server(study),
        study.address,
        lambda: show.say(said, quiet=quiet),
        study.server / CONSOLE,
    )


@app.command()
def deploy(
    folder: FolderArgument,
    plan: PlanArgument,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a frozen plan over the connected sites, and write the model and its rows.

    Example: pegai federation deploy heart 3f9a
    """
    _run(folder, plan, again=False, as_json=as_json, quiet=quiet)


@app.command()
def resume(
    folder: FolderArgument,
    plan: PlanArgument,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was stopped; what was answered already costs nothing again.

    Example: pegai federation resume heart 3f9a
    """
    _run(folder, plan, again=True, as_json=as_json, quiet=quiet)


def _run(folder: Path, plan: str, *, again: bool, as_json: bool, quiet: bool) -> None:
    from pegai.workflow.coordinating import deploy as run

    with show.progress(quiet=quiet) as bar:
        done = run(folder, plan, bar, again=again)

    def text() -> None:
        show.say(
            f"finished in {done['exchanges']} exchanges with {_listed(done['participants'])}",
            quiet=quiet,
        )
        lost = done["lost"]
        for name, why in lost.items() if isinstance(lost, dict) else ():  # pyright: ignore
            show.say(f"lost on the way: {name} ({why})")
        files = done["files"]
        for kind, path in files.items() if isinstance(files, dict) else ():  # pyright: ignore
            show.say(f"{kind}: {path}")

    show.result(done, as_json=as_json, text=text)


def _listed(names: object) -> str:
    return ", ".join(str(name) for name in names) if isinstance(names, list) else str(names)  # pyright: ignore


@app.command()
def status(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Who is connected, and how each plan's run stands.

    Example: pegai federation status heart
    """
    from pegai.workflow.coordinating import status as look

    found = look(folder)

    def text() -> None:
        answers = "answers" if found["server_answers"] else "does not answer"
        show.say(f"{found['study']}: the server at {found['server']} {answers}")
        show.grid(
            ("site", "connected"),
            [(s["site"], "yes" if s["connected"] else "no") for s in found["sites"]],
        )
        rows = [
            (
                p["digest"][:12],
                p["method"],
                p["epsilon"],
                p["noise"],
                p["state"],
                p.get("stage", ""),
            )
            for p in found["plans"]
        ]
        show.grid(("plan", "method", "epsilon", "noise", "run", "stage"), rows)

    show.result(found, as_json=as_json, text=text)
