"""A federation on FLARE with mTLS, on this machine: a real run, what is refused, and stops."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import pegai
from pegai.cli.main import run
from pegai.data.files import write_table
from pegai.errors import FederationError, UsageError
from pegai.federate.flare_kit import write_job
from pegai.federate.flare_process import session, wait_for
from pegai.federate.study import read_state
from pegai.privacy.ledger import Ledger
from pegai.schema import schema_from_dict, write_schema
from pegai.workflow.coordinating import deploy, status

from .flare import Machines, make_machines, running, wait_until
from .sites import NAMES, small_schema, small_table

pytest.importorskip("nvflare.collab")
# aiohttp, as FLARE calls it.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LIMIT_SECONDS = 180


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("flare")
    with running(make_machines(folder)) as found:
        yield found


def quiet(stage: str, share: float) -> None:
    pass


def charges(machines: Machines, name: str) -> int:
    path = machines.members[name].ledger
    return len([e for e in Ledger(path).entries() if e.kind == "charge"]) if path.exists() else 0


def all_charges(machines: Machines) -> list[int]:
    return [charges(machines, name) for name in NAMES]


def logs(machines: Machines) -> str:
    """What FLARE wrote down, at the server and at all sites."""
    folders = [machines.study.server, *(m.workspace for m in machines.members.values())]
    files = [p for f in folders for p in [*f.rglob("*log*.txt"), f / "console.txt"] if p.exists()]
    return "\n".join(path.read_text(errors="replace") for path in files)


def submitted(machines: Machines, change: Any) -> str:
    """How FLARE ended a job that was changed."""
    plan = machines.freeze(rows=777)
    folder = machines.folder / "job" / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    write_job(folder, plan.digest, plan.names, plan.least)
    change(folder)
    with session(machines.study) as opened:
        return wait_for(opened, opened.submit_job(str(folder)), lambda: False)


def test_a_run_to_a_released_model(machines: Machines) -> None:
    begun = time.monotonic()
    plan = machines.freeze()
    machines.approve(plan)
    done = deploy(machines.study.folder, plan.digest[:10], quiet, again=False)
    assert time.monotonic() - begun < LIMIT_SECONDS
    assert done["participants"] == list(NAMES)
    model = pegai.load(done["files"]["model"])
    assert model.guarantee.epsilon == pytest.approx(1.0)
    assert len(model.sample(50, rng=0)) == 50
    assert len(Path(done["files"]["synthetic"]).read_text().splitlines()) == plan.rows + 1
    assert all_charges(machines) == [1, 1, 1]
    report = Path(done["files"]["report"]).read_text()
    assert "charged epsilon 1 at delta 0.0001" in report
    assert "| 0 | the number of patients | 1 |" in report
    found = status(machines.study.folder)
    assert [s["connected"] for s in found["sites"]] == [True] * 3
    with pytest.raises(UsageError, match="is finished"):
        deploy(machines.study.folder, plan.digest, quiet, again=True)


def test_a_coordinator_that_plays_a_finished_run_again_is_refused(machines: Machines) -> None:
    (digest,) = [
        d for d in machines.study.plans if read_state(machines.study, d)["state"] == "finished"
    ]
    folder = machines.study.run_folder(digest)
    begun = json.loads((folder / "state.json").read_bytes())
    before = all_charges(machines)
    for part in ("exchanges", "opened.npz"):
        path = folder / "coordinator" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "state.json").write_text(json.dumps({"state": "stopped"}))
    with pytest.raises(FederationError, match="the run is over"):
        deploy(machines.study.folder, digest, quiet, again=True)
    assert all_charges(machines) == before
    (folder / "state.json").write_text(json.dumps(begun))


def test_a_plan_that_one_site_has_not_approved(machines: Machines) -> None:
    plan, before = machines.freeze(rows=500), all_charges(machines)
    machines.approve(plan, NAMES[:2])
    with pytest.raises(FederationError, match="'cadiz' refused hello: this site has not approved"):
        deploy(machines.study.folder, plan.digest, quiet, again=False)
    assert all_charges(machines) == before


def test_another_schema_is_another_plan(machines: Machines) -> None:
    plan, before = machines.freeze(rows=501), all_charges(machines)
    machines.approve(plan)
    raw = small_schema().to_dict()
    raw["fields"][0]["constraints"]["maximum"] += 1
    changed = machines.freeze(schema_from_dict(raw), rows=501)
    assert changed.digest != plan.digest
    with pytest.raises(FederationError, match="has not approved"):
        deploy(machines.study.folder, changed.digest, quiet, again=False)
    assert all_charges(machines) == before


def test_a_spent_budget(machines: Machines) -> None:
    """The coordinator learns that the site refused, and not what its ledger holds."""
    plan, before = machines.freeze(epsilon=9.5, rows=502), all_charges(machines)
    machines.approve(plan)
    with pytest.raises(FederationError, match=r"refused open: .*BudgetExceededError") as caught:
        deploy(machines.study.folder, plan.digest, quiet, again=False)
    assert "9.5" not in str(caught.value)
    assert all_charges(machines) == before


def test_code_in_the_job(machines: Machines) -> None:
    def change(folder: Path) -> None:
        (folder / "app" / "custom").mkdir()
        (folder / "app" / "custom" / "mine.py").write_text("print('here')")

    assert "COMPLETED" not in submitted(machines, change)
    assert "BYOC not permitted" in logs(machines)


def test_a_class_off_the_list(machines: Machines) -> None:
    named = "pegai.federate.site.SiteAgent"  # installed and ours, but not for jobs to name

    def change(folder: Path) -> None:
        path = folder / "app" / "config" / "config_fed_client.json"
        plain = json.loads(path.read_text())
        plain["components"].append({"id": "other", "path": named, "args": {}})
        path.write_text(json.dumps(plain))

    assert "COMPLETED" not in submitted(machines, change)
    assert named in logs(machines)


def test_no_certificate(machines: Machines) -> None:
    """Who shows none, or one of another authority, gets no word of the server's."""
    address, own = machines.study.address, machines.members["aarhus"].folder / "certificates"
    for certificate in (None, _another_authority(machines.folder / "other")):
        context = ssl.create_default_context(cafile=str(own / "rootCA.pem"))
        context.check_hostname = False
        if certificate is not None:
            context.load_cert_chain(certificate / "client.crt", certificate / "client.key")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _talk(context, address.host, address.port)
    context.load_cert_chain(own / "client.crt", own / "client.key")
    assert _talk(context, address.host, address.port) is not None


def _talk(context: ssl.SSLContext, host: str, port: int) -> bytes:
    """With TLS 1.3 a server's refusal shows when something is read."""
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        wrapped.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = wrapped.recv(100)
        if not found:
            raise ConnectionError("closed")
        return found


def _another_authority(folder: Path) -> Path:
    from pegai.federate.flare_kit import Address, make_certificates

    if not folder.exists():
        folder.mkdir()
        make_certificates(Address("heart", "localhost", 1), NAMES, folder / "made")
    return folder / "made" / "sites" / "aarhus"


def test_a_killed_site_and_a_run_that_goes_on(machines: Machines) -> None:
    plan, before = (
        machines.freeze(rows=503, noise="local", method="aim", timeout_seconds=5),
        all_charges(machines),
    )
    machines.approve(plan)
    exchanges = machines.study.run_folder(plan.digest) / "coordinator" / "exchanges"

    def kill() -> None:
        wait_until((exchanges / "000000.npz").exists)
        machines.kill("cadiz")

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(FederationError):
        deploy(machines.study.folder, plan.digest, quiet, again=False)
    killer.join()
    kept = (exchanges / "000000.npz").read_bytes()
    machines.start_site("cadiz")
    machines.wait_for_sites()
    done = deploy(machines.study.folder, plan.digest, quiet, again=True)
    assert done["participants"] == list(NAMES)
    assert (exchanges / "000000.npz").read_bytes() == kept
    assert all_charges(machines) == [count + 1 for count in before]


def test_a_killed_server_and_a_run_that_goes_on(machines: Machines) -> None:
    """With the sums that it had: what the model is made of does not change."""
    plan, before = machines.freeze(rows=504, method="aim"), all_charges(machines)
    machines.approve(plan)
    exchanges = machines.study.run_folder(plan.digest) / "coordinator" / "exchanges"

    def kill() -> None:
        wait_until((exchanges / "000001.npz").exists)
        machines.kill("server")

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(FederationError, match="the server went away"):
        deploy(machines.study.folder, plan.digest, quiet, again=False)
    killer.join()
    kept = [(exchanges / f"00000{i}.npz").read_bytes() for i in (0, 1)]
    machines.start_server()
    machines.wait_for_sites()
    done = deploy(machines.study.folder, plan.digest, quiet, again=True)
    assert done["participants"] == list(NAMES)
    assert [(exchanges / f"00000{i}.npz").read_bytes() for i in (0, 1)] == kept
    assert all_charges(machines) == [count + 1 for count in before]


def test_sites_say_nothing_to_the_server_s_people(machines: Machines) -> None:
    """No log, no file and no command of a site's machine is open to who sends jobs."""
    with session(machines.study) as opened:
        for ask in (
            lambda: opened.tail_target_log("aarhus"),
            lambda: opened.ls_target("aarhus"),
            lambda: opened.cat_target("aarhus", file="local/resources.json"),
        ):
            try:
                said = str(ask())
            except Exception as error:
                said = str(error)
            assert "class_allow_list" not in said
            assert "INFO" not in said
            assert "startup" not in said


def test_the_simulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every site a process of its own, the same files as without FLARE."""
    write_schema(small_schema(), tmp_path / "heart.schema.json")
    sites: list[str] = []
    for number, name in enumerate(NAMES):
        write_table(small_table(number), tmp_path / f"{name}.csv")
        sites += ["--site", f"{name}={tmp_path / name}.csv"]
    named = ", ".join(f'{{ name = "{name}" }}' for name in NAMES)
    (tmp_path / "plan.toml").write_text(
        'study = "heart"\nschema = "heart.schema.json"\nmethod = "mst"\nepsilon = 1.0\n'
        f'delta = 1e-3\nnoise = "secagg"\nsites = [{named}]\n'
    )
    out, ledger = tmp_path / "out", tmp_path / "ledger.jsonl"
    given = ["--out", str(out), "--ledger", str(ledger), "--engine", "flare", "--json", "--quiet"]
    assert run(["federate", "simulate", str(tmp_path / "plan.toml"), *sites, *given]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["participants"] == list(NAMES)
    assert told["exchanges"] >= 3
    charged = [e.dataset for e in Ledger(ledger).entries() if e.kind == "charge"]
    assert sorted(charged) == [f"uci-heart-disease at {name}" for name in NAMES]
    assert pegai.load(out / "model").guarantee is not None
    assert not (out / "run" / "data").exists()
