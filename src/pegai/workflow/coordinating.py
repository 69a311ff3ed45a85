"""What the coordinator of a federation does, from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pegai.data.atomic import atomic_write_text
from pegai.errors import FederationError, UsageError
from pegai.federate.exchanges import seen_in
from pegai.federate.flare_process import connected, session, submit, wait_for
from pegai.federate.membership import read_site_key
from pegai.federate.plan import FederationPlan, read_plan
from pegai.federate.study import Study, freeze, read_state, read_study
from pegai.synth.running import Progress
from pegai.workflow.federation import what_was_charged, what_was_seen


def freeze_files(folder: Path, draft: Path, keys: Sequence[Path]) -> tuple[FederationPlan, Path]:
    """Sign a draft with the keys that sites sent; gives the plan and its file.

    Raises:
        PegaiError: The draft breaks a rule, or a key is missing or of another federation.
    """
    study = read_study(folder)
    found = dict(read_site_key(path, study.address.study) for path in keys)
    plan = freeze(study, read_plan(draft), found)
    return plan, study.plan_path(plan.digest)


def deploy(folder: Path, start: str, progress: Progress, *, again: bool) -> dict[str, Any]:
    """Run a frozen plan over the sites that are connected, and wait for its end.

    Args:
        folder: Of the federation.
        start: Of the plan's digest.
        progress: Is told of stages.
        again: Go on with a run that was begun.

    Raises:
        FederationError: The server can't be reached, too few sites are connected, or the run
            stopped; what it has is kept.
    """
    study = read_study(folder)
    digest = study.find(start)
    plan = study.plan(digest)
    before = _check_state(study, digest, again=again)
    with session(study) as opened:
        there = connected(opened)
        missing = [name for name in plan.names if name not in there]
        if len(plan.names) - len(missing) < plan.least:
            raise FederationError(
                f"not connected: {', '.join(missing)}; the plan's quorum is {plan.least} of "
                f"{len(plan.names)} sites",
                hint="each site starts with: pegai site up FOLDER",
            )
        progress("sending the job", 0.0)
        job = submit(opened, digest, plan.names, plan.least)
        status = wait_for(opened, job, lambda: _tell(study, digest, before, progress))
    return _ended(study, digest, status, job)


def _check_state(study: Study, digest: str, *, again: bool) -> dict[str, Any]:
    found = read_state(study, digest)
    state = found["state"]
    if state == "finished":
        raise UsageError(
            f"the run of plan {digest[:12]} is finished: {study.run_folder(digest)}",
            hint="freeze another plan for another run; each spends its whole budget",
        )
    if state == "new" and again:
        raise UsageError(
            f"plan {digest[:12]} has no run to go on with", hint="pegai federation deploy"
        )
    if state != "new" and not again:
        raise UsageError(
            f"plan {digest[:12]} has a run that was begun",
            hint=f"pegai federation resume {study.folder} {digest[:12]}",
        )
    return found


def _tell(study: Study, digest: str, before: dict[str, Any], progress: Progress) -> bool:
    """Tell of progress; whether the run is over by its own word."""
    state = read_state(study, digest)
    if state["state"] == "running" and state.get("stage"):
        progress(str(state["stage"]), float(state["share"]))
    return state["state"] != "running" and state != before


def _ended(study: Study, digest: str, status: str, job: str) -> dict[str, Any]:
    state = read_state(study, digest)
    if state["state"] == "finished":
        folder = study.run_folder(digest)
        names = {"model": "model", "synthetic": "synthetic.csv", "report": "federation.md"}
        atomic_write_text(folder / "federation.md", _report(study.plan(digest), state, folder))
        files = {kind: str(folder / name) for kind, name in names.items()}
        return {"digest": digest, "files": files, **state}
    if state["state"] == "stopped":
        raise FederationError(
            f"the run stopped: {state.get('reason', '')}",
            hint=f"once that is mended: pegai federation resume {study.folder} {digest[:12]}",
        )
    raise FederationError(
        f"the engine ended the run ({status}) before it came to an end",
        hint=f"a site went away or refused the job: see {study.server / job} and "
        f"{study.server / 'log.txt'}; then pegai federation resume {study.folder} {digest[:12]}",
    )


def _report(plan: FederationPlan, state: dict[str, Any], folder: Path) -> str:
    """What was charged and what was seen: of charged outputs only, so it may leave."""
    lines = [f"# Federated run: {plan.study}", "", f"Plan {plan.digest}.", ""]
    lines += what_was_charged(plan, state["participants"])
    lines += [f"Lost on the way: {name} ({why})." for name, why in state["lost"].items()]
    lines += what_was_seen(plan, seen_in(folder / "coordinator"))
    return "\n".join(lines) + "\n"


def status(folder: Path) -> dict[str, Any]:
    """Who is connected, and how each plan's run stands.

    Raises:
        UsageError: The folder is no federation.
    """
    study = read_study(folder)
    try:
        with session(study) as opened:
            there: dict[str, float] | None = connected(opened)
    except FederationError:
        there = None
    sites = [
        {"site": site, "connected": there is not None and site in there} for site in study.sites
    ]
    plans: list[dict[str, Any]] = []
    for digest in study.plans:
        plan, state = study.plan(digest), read_state(study, digest)
        plans.append(
            {
                "digest": digest,
                "method": plan.method,
                "epsilon": plan.epsilon,
                "noise": plan.noise,
                **state,
            }
        )
    return {
        "study": study.address.study,
        "server": f"{study.address.host}:{study.address.port}",
        "server_answers": there is not None,
        "sites": sites,
        "plans": plans,
    }
