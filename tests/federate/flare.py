"""A federation on this machine: folders of a coordinator and three sites, and FLARE's processes."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pegai.data.files import write_table
from pegai.federate.flare_kit import Address
from pegai.federate.flare_process import (
    connected,
    is_listening,
    session,
    start_server,
    start_site,
    stop,
)
from pegai.federate.membership import (
    Membership,
    approve,
    join,
    new_approval,
    read_site_key,
)
from pegai.federate.plan import FederationPlan, plan_from_dict
from pegai.federate.study import Study, create_study, freeze, write_kit
from pegai.schema import Schema

from .sites import NAMES, small_schema, small_table

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@dataclass
class Machines:
    """The folders, and what runs."""

    folder: Path
    study: Study
    members: Mapping[str, Membership]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def data(self, site: str) -> Path:
        return self.folder / f"{site}.csv"

    def key_files(self) -> list[Path]:
        return [m.folder / f"{name}.site-key.json" for name, m in self.members.items()]

    def freeze(self, schema: Schema | None = None, **changes: Any) -> FederationPlan:
        draft = {
            "study": "heart",
            "schema": (schema or small_schema()).to_dict(),
            "method": "mst",
            "epsilon": 1.0,
            "delta": 1e-4,
            "noise": "secagg",
            "sites": [{"name": name} for name in NAMES],
            "timeout_seconds": 20,
            "wait_seconds": 0,
        }
        keys = dict(read_site_key(path, "heart") for path in self.key_files())
        return freeze(self.study, plan_from_dict(draft | changes), keys)

    def approve(self, plan: FederationPlan, sites: tuple[str, ...] = NAMES, runs: int = 1) -> None:
        raw = self.study.plan_path(plan.digest).read_bytes()
        for name in sites:
            member, data = self.members[name], self.data(name)
            approval = new_approval(
                member, plan, data, dataset="heart", ledger=member.ledger, runs=runs
            )
            approve(member, plan, raw, approval)

    def start_server(self) -> None:
        self.processes["server"] = start_server(self.study)
        wait_until(lambda: is_listening(self.study.address))

    def start_site(self, name: str) -> None:
        self.processes[name] = start_site(self.members[name])

    def stop(self, name: str) -> None:
        stop(self.processes.pop(name))

    def kill(self, name: str) -> None:
        """At once, with all that it has started."""
        process = self.processes.pop(name)
        family = psutil.Process(process.pid).children(recursive=True)
        for one in (psutil.Process(process.pid), *family):
            one.kill()
        process.wait()

    def wait_for_sites(self, names: tuple[str, ...] = NAMES) -> None:
        with session(self.study) as opened:
            wait_until(lambda: set(names) <= set(connected(opened)))


def wait_until(holds: Any, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def make_machines(folder: Path) -> Machines:
    """Folders only; nothing runs."""
    study = create_study(folder / "study", Address("heart", "localhost", free_port()), NAMES)
    members: dict[str, Membership] = {}
    for number, name in enumerate(NAMES):
        write_kit(study, name, folder / f"{name}.kit.zip")
        members[name] = join(folder / f"{name}.kit.zip", folder / name)
        write_table(small_table(number), folder / f"{name}.csv")
    return Machines(folder, study, members)


@contextmanager
def running(machines: Machines) -> Iterator[Machines]:
    """With a server and all sites connected."""
    try:
        machines.start_server()
        for name in NAMES:
            machines.start_site(name)
        machines.wait_for_sites()
        yield machines
    finally:
        for name in list(machines.processes):
            machines.stop(name)
