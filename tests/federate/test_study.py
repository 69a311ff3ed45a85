"""The coordinator's folder and the sites' folders: kits, keys, signed plans and approvals."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest

from pegai.errors import FederationError, UsageError
from pegai.federate.agreement import read_signed
from pegai.federate.flare_kit import Address, write_job, write_site
from pegai.federate.membership import join, read_membership, read_site_key
from pegai.federate.plan import plan_from_dict
from pegai.federate.site import COORDINATOR
from pegai.federate.study import create_study, freeze, read_state, read_study, run_plan, write_kit
from pegai.federate.wire import Message

from .flare import Machines, make_machines
from .sites import NAMES, small_schema

pytest.importorskip("nvflare.collab")


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return make_machines(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_open_to_nobody_else(machines: Machines) -> None:
    study, member = machines.study, machines.members["aarhus"]
    secret = [
        study.folder / "coordinator.key",
        study.folder / "certificates" / "server" / "server.key",
        study.folder / "certificates" / "sites" / "aarhus" / "client.key",
        machines.folder / "aarhus.kit.zip",
        member.folder / "site.key",
        member.folder / "certificates" / "client.key",
    ]
    assert [mode(path) for path in secret] == [0o600] * len(secret)
    assert mode(study.folder) == mode(member.folder) == 0o700


def test_a_kit_holds_certificates_and_nothing_that_runs(machines: Machines) -> None:
    with zipfile.ZipFile(machines.folder / "aarhus.kit.zip") as archive:
        names = set(archive.namelist())
    assert names == {"kit.json", "coordinator.pub", "client.crt", "client.key", "rootCA.pem"}


@pytest.mark.parametrize("damage", ["more", "less", "no zip", "address"])
def test_a_kit_that_is_none(machines: Machines, tmp_path: Path, damage: str) -> None:
    kit, made = machines.folder / "aarhus.kit.zip", tmp_path / "made.zip"
    with zipfile.ZipFile(kit) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if damage == "more":
        files["sub_start.sh"] = b"#!/bin/sh"
    elif damage == "less":
        del files["client.key"]
    elif damage == "address":
        files["kit.json"] = b'{"study": "heart", "host": "a b", "port": 1, "site": "aarhus"}'
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    if damage == "no zip":
        made.write_bytes(b"PK\x03\x04 not quite")
    with pytest.raises(UsageError, match=r"kit"):
        join(made, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_folders_are_never_overwritten(machines: Machines) -> None:
    with pytest.raises(UsageError, match="exists"):
        join(machines.folder / "aarhus.kit.zip", machines.folder / "aarhus")
    with pytest.raises(UsageError, match="exists"):
        create_study(machines.study.folder, machines.study.address, NAMES)
    with pytest.raises(UsageError, match="exists"):
        write_kit(machines.study, "aarhus", machines.folder / "aarhus.kit.zip")


@pytest.mark.parametrize(
    ("address", "sites"),
    [
        (Address("heart", "localhost", 70_000), NAMES),
        (Address("heart", "local host", 1), NAMES),
        (Address("../heart", "localhost", 1), NAMES),
        (Address("heart", "localhost", 1), ("aarhus",)),
        (Address("heart", "localhost", 1), ("aarhus", "aarhus")),
        (Address("heart", "localhost", 1), ("aarhus", "server")),
        (Address("heart", "localhost", 1), ("aarhus", "a/b")),
    ],
)
def test_names_and_addresses(tmp_path: Path, address: Address, sites: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        create_study(tmp_path / "new", address, sites)
    assert not (tmp_path / "new").exists()


def test_a_plan_is_frozen_with_the_keys_of_its_sites(machines: Machines) -> None:
    plan = machines.freeze()
    path = machines.study.plan_path(plan.digest)
    for member in machines.members.values():
        assert read_signed(path, member.coordinator_key).digest == plan.digest
    assert machines.study.plan(plan.digest).digest == plan.digest
    assert machines.study.find(plan.digest[:6]) == plan.digest
    with pytest.raises(UsageError, match="no plan here"):
        machines.study.find("zz")


def test_a_plan_that_was_changed_on_its_way(machines: Machines, tmp_path: Path) -> None:
    plan = machines.freeze()
    content = json.loads(machines.study.plan_path(plan.digest).read_bytes())
    content["plan"]["epsilon"] = 9.0
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    with pytest.raises(FederationError, match="is not signed by the coordinator"):
        read_signed(changed, machines.members["aarhus"].coordinator_key)
    machines.study.plan_path(plan.digest).write_text(json.dumps(content))
    with pytest.raises(FederationError, match="is not signed"):
        machines.study.plan(plan.digest)


def test_a_plan_by_another_coordinator(machines: Machines, tmp_path: Path) -> None:
    other = make_machines(tmp_path / "other")
    plan = other.freeze()
    with pytest.raises(FederationError, match="is not signed by the coordinator"):
        read_signed(other.study.plan_path(plan.digest), machines.members["aarhus"].coordinator_key)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "pegai-signed-plan/1"}'])
def test_a_file_that_is_no_plan(machines: Machines, tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UsageError, match="is no signed plan"):
        read_signed(tmp_path / "plan.json", machines.study.public_key)


def test_what_can_t_be_frozen(machines: Machines) -> None:
    keys = dict(read_site_key(path, "heart") for path in machines.key_files())
    draft = {
        "study": "heart",
        "schema": small_schema().to_dict(),
        "epsilon": 1.0,
        "delta": 1e-4,
        "sites": [{"name": name} for name in NAMES],
    }
    with pytest.raises(UsageError, match="no key of cadiz"):
        freeze(machines.study, plan_from_dict(draft), {n: keys[n] for n in NAMES[:2]})
    more = [*draft["sites"], {"name": "dublin"}]
    with pytest.raises(UsageError, match="the plan names dublin"):
        freeze(machines.study, plan_from_dict(draft | {"sites": more}), keys)
    with pytest.raises(FederationError, match="simulations only"):
        freeze(machines.study, plan_from_dict(draft | {"noise": "central"}), keys)
    with pytest.raises(UsageError, match="not of"):
        read_site_key(machines.key_files()[0], "lungs")
    (machines.folder / "bad.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no site's key"):
        read_site_key(machines.folder / "bad.json", "heart")


def test_an_agent_needs_an_approval_that_holds(machines: Machines) -> None:
    plan, member = machines.freeze(), machines.members["aarhus"]
    for ask in (member.agent, member.plan, member.approval):
        with pytest.raises(FederationError, match="has not approved"):
            ask(plan.digest)
    machines.approve(plan)
    body = {"plan": plan.digest, "run": "0" * 32}
    agent = member.agent(plan.digest)
    answer = agent.handle("hello", Message(body).to_bytes(), caller=COORDINATOR)
    assert Message.from_bytes(answer).body["ready"]
    member.revoke(plan.digest)
    with pytest.raises(FederationError, match="has revoked"):
        member.approval(plan.digest)
    machines.approve(plan)  # a yes again
    machines.data("aarhus").write_text(machines.data("aarhus").read_text() + "60,1,4,1\n")
    with pytest.raises(FederationError, match="data changed since"):
        member.agent(plan.digest)
    with pytest.raises(FederationError, match="64 hexadecimal"):
        member.approval("../../etc")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no federation"):
        read_study(tmp_path)
    with pytest.raises(UsageError, match="is no site's folder"):
        read_membership(tmp_path)
    (tmp_path / "study.json").write_text("{")
    (tmp_path / "member.json").write_text("[]")
    with pytest.raises(UsageError, match="can't be read"):
        read_study(tmp_path)
    with pytest.raises(UsageError, match="can't be read"):
        read_membership(tmp_path)


def test_a_site_s_policy_lets_nothing_in(machines: Machines) -> None:
    member = machines.members["aarhus"]
    write_site(member.workspace, member.address, "aarhus", member.folder / "certificates")
    local = member.workspace / "local"
    rules = json.loads((local / "authorization.json").read_text())["permissions"]
    for role, may in rules.items():
        for right in ("byoc", "shell_commands", "view", "operate", "download_job", "clone_job"):
            assert may[right] == "none", (role, right)
    resources = json.loads((local / "resources.json").read_text())
    assert resources["class_list_enforcement_mode"] == "enforce"
    assert resources["allow_log_streaming"] is False
    assert len(resources["class_allow_list"]) == 2
    assert "log_streamer" not in json.dumps(resources)
    startup = json.loads((member.workspace / "startup" / "fed_client.json").read_text())
    assert startup["client"]["connection_security"] == "mtls"


def test_a_job_brings_no_code(tmp_path: Path) -> None:
    write_job(tmp_path / "job", "f" * 64, NAMES, 2)
    files = sorted(str(p.relative_to(tmp_path / "job")) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "app/config/config_fed_client.json",
        "app/config/config_fed_server.json",
        "meta.json",
    ]
    assert json.loads((tmp_path / "job" / "meta.json").read_text())["min_clients"] == 2


def test_a_run_says_how_it_stands(machines: Machines) -> None:
    from pegai.federate.inprocess import InProcess

    plan = machines.freeze()
    assert read_state(machines.study, plan.digest) == {"state": "new"}
    machines.approve(plan, NAMES[:2])
    agents = {name: machines.members[name].agent(plan.digest) for name in NAMES[:2]}
    with pytest.raises(FederationError, match="quorum"):
        run_plan(machines.study, plan.digest, InProcess(agents))
    assert read_state(machines.study, plan.digest)["state"] == "stopped"
    machines.approve(plan)
    agents = {name: machines.members[name].agent(plan.digest) for name in NAMES}
    fit = run_plan(machines.study, plan.digest, InProcess(agents))
    assert fit.participants == NAMES
    assert read_state(machines.study, plan.digest)["state"] == "finished"
    with pytest.raises(FederationError, match="is finished"):
        run_plan(machines.study, plan.digest, InProcess(agents))
