"""A plan run in FLARE's simulator: the real classes and messages, on one machine, without TLS."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pegai.errors import FederationError
from pegai.federate.coordinator import FederatedFit
from pegai.federate.exchanges import seen_in
from pegai.federate.flare_kit import Address, write_job, write_simulator
from pegai.federate.flare_process import SIMULATED_SITES_VARIABLE, STUDY_VARIABLE, stop
from pegai.federate.membership import (
    approve,
    join,
    new_approval,
    read_membership,
    read_site_key,
)
from pegai.federate.plan import FederationPlan
from pegai.federate.study import Study, create_study, freeze, read_state, read_study, write_kit
from pegai.synth.catalog import load
from pegai.synth.running import Progress

SIMULATOR = "nvflare.private.fed.app.simulator.simulator"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SiteFile:
    """What a simulated site has.

    Attributes:
        data: Its file.
        ledger: Where its charge is recorded.
        dataset: Name of the table in the ledger.
    """

    data: Path
    ledger: Path
    dataset: str


def simulate_on_flare(
    draft: FederationPlan, sites: Mapping[str, SiteFile], folder: Path, progress: Progress
) -> FederatedFit:
    """Run a plan; a run begun in the folder is gone on with.

    Every site is a process of its own, with a folder, keys and an approval as between machines.

    Args:
        draft: The plan; keys are made here.
        sites: What each site of the plan has.
        folder: For everything.
        progress: Is told of stages.

    Raises:
        MissingExtraError: FLARE is not installed.
        FederationError: A site refused, or the simulator ended before the run did.
    """
    study, plan = _prepared(draft, sites, folder.resolve())
    if read_state(study, plan.digest)["state"] != "finished":
        _run(study, plan, folder.resolve(), progress)
    state = read_state(study, plan.digest)
    if state["state"] != "finished":
        raise FederationError(
            f"the run did not come to an end: {state.get('reason', state['state'])}",
            hint=f"the engine's output: {folder / 'simulator.txt'}",
        )
    run = study.run_folder(plan.digest)
    seen = seen_in(run / "coordinator")
    participants = tuple(str(name) for name in state["participants"])
    return FederatedFit(load(run / "model"), seen, participants, state["lost"], plan.digest)


def _prepared(
    draft: FederationPlan, sites: Mapping[str, SiteFile], folder: Path
) -> tuple[Study, FederationPlan]:
    """The folders of coordinator and sites, with approvals; those of a run that was begun."""
    if (folder / "study").exists():
        study = read_study(folder / "study")
        return study, study.plan(study.find(""))
    folder.mkdir(parents=True, exist_ok=True)
    study = create_study(folder / "study", Address(draft.study, "localhost", 1), draft.names)
    members = {}
    for name in draft.names:
        kit = folder / f"{name}.kit.zip"
        write_kit(study, name, kit)
        members[name] = join(kit, folder / "sites" / name)
        kit.unlink()
    keys = dict(
        read_site_key(member.folder / f"{name}.site-key.json", draft.study)
        for name, member in members.items()
    )
    plan = freeze(study, draft, keys)
    signed = study.plan_path(plan.digest).read_bytes()
    for name, member in members.items():
        site = sites[name]
        approval = new_approval(
            member, plan, site.data, dataset=site.dataset, ledger=site.ledger, runs=1
        )
        approve(read_membership(member.folder), plan, signed, approval)
    return study, plan


def _run(study: Study, plan: FederationPlan, folder: Path, progress: Progress) -> None:
    job = folder / "job"
    write_job(job, plan.digest, plan.names, plan.least)
    write_simulator(folder / "engine")
    command = [sys.executable, "-m", SIMULATOR, str(job), "-w", str(folder / "engine")]
    names = ",".join(plan.names)
    extra = {
        STUDY_VARIABLE: str(study.folder),
        SIMULATED_SITES_VARIABLE: str(folder / "sites"),
    }
    with (folder / "simulator.txt").open("ab") as output:
        process = subprocess.Popen(
            [*command, "-c", names, "-t", str(len(plan.names))],
            cwd=folder,
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            progress("starting the engine", 0.0)
            while process.poll() is None:
                state = read_state(study, plan.digest)
                if state.get("stage"):
                    progress(str(state["stage"]), float(state["share"]))
                time.sleep(POLL_SECONDS)
        finally:
            stop(process)
