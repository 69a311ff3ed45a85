"""FLARE's processes, started and spoken to: the server, a site, and who sends jobs."""

from __future__ import annotations

import io
import logging
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from pegai.errors import FederationError, UsageError
from pegai.federate.flare_kit import (
    ADMIN,
    ORGANISATION,
    Address,
    require_engine,
    write_admin,
    write_job,
    write_server,
    write_site,
)
from pegai.federate.membership import Membership
from pegai.federate.study import Study

STUDY_VARIABLE = "PEGAI_STUDY"
SITE_VARIABLE = "PEGAI_SITE"
SIMULATED_SITES_VARIABLE = "PEGAI_SIMULATED_SITES"
OVER = ("FINISHED", "FAILED", "ABORTED", "ABNORMAL")
CONSOLE = "console.txt"
GRACE_SECONDS = 15.0


def start_server(study: Study) -> subprocess.Popen[bytes]:
    """Start the coordinator's server; it listens until it is stopped.

    Raises:
        MissingExtraError: FLARE is not installed.
    """
    workspace = study.server.resolve()
    write_server(workspace, study.address, study.folder / "certificates" / "server")
    module = "nvflare.private.fed.app.server.server_train"
    extra = {STUDY_VARIABLE: str(study.folder.resolve())}
    return _start(module, workspace, "fed_server.json", [], extra)


def start_site(member: Membership) -> subprocess.Popen[bytes]:
    """Start a site; it stays connected until it is stopped.

    Raises:
        MissingExtraError: FLARE is not installed.
    """
    workspace = member.workspace.resolve()
    write_site(workspace, member.address, member.site, member.folder / "certificates")
    module = "nvflare.private.fed.app.client.client_train"
    extra = {SITE_VARIABLE: str(member.folder.resolve())}
    return _start(module, workspace, "fed_client.json", [f"uid={member.site}"], extra)


def _start(
    module: str, workspace: Path, startup: str, options: list[str], extra: dict[str, str]
) -> subprocess.Popen[bytes]:
    """One of FLARE's programs, in a process group of its own, its output in a file."""
    require_engine()
    for stale in ("shutdown.fl", "restart.fl"):
        (workspace / stale).unlink(missing_ok=True)
    settings = ["secure_train=true", f"org={ORGANISATION}", "config_folder=config", *options]
    command = [sys.executable, "-u", "-m", module, "-m", str(workspace), "-s", startup, "--set"]
    with (workspace / CONSOLE).open("ab") as output:
        return subprocess.Popen(
            [*command, *settings],
            cwd=workspace,
            env={**os.environ, **extra, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], *, patience: float = 10.0) -> None:
    """End a program of FLARE's and all that it has started, which may have left its group."""
    import psutil

    try:
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
    except psutil.NoSuchProcess:
        family = []
    for one in family:
        _signal(one, "terminate")
    process.poll()  # else it stays, waiting to be asked how it ended
    _, left = psutil.wait_procs(family, timeout=patience)
    for one in left:
        _signal(one, "kill")
    process.wait()


def _signal(process: Any, how: str) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        getattr(process, how)()


def is_listening(address: Address, *, timeout: float = 2.0) -> bool:
    """Whether anything answers at the server's port."""
    try:
        with socket.create_connection((address.host, address.port), timeout=timeout):
            return True
    except OSError:
        return False


@contextmanager
def session(study: Study, *, timeout: float = 15.0) -> Generator[Any]:
    """A connection to the server as the one who sends jobs.

    Raises:
        MissingExtraError: FLARE is not installed.
        FederationError: The server can't be reached.
    """
    require_engine()
    from nvflare.fuel.flare_api.flare_api import new_secure_session  # pyright: ignore

    write_admin(study.admin, study.address, study.folder / "certificates" / "admin")
    if not is_listening(study.address):
        raise FederationError(
            f"nothing answers at {study.address.host}:{study.address.port}",
            hint=f"start the server: pegai federation up {study.folder}",
        )
    logging.getLogger("nvflare").setLevel(logging.CRITICAL)  # what goes wrong is said below
    try:
        with redirect_stdout(io.StringIO()):
            opened: Any = new_secure_session(ADMIN, str(study.admin.resolve()), timeout=timeout)
    except Exception as error:
        raise FederationError(
            f"the server let nobody in ({type(error).__name__}: {error})",
            hint=f"its log: {study.server / 'log.txt'}",
        ) from None
    try:
        yield opened
    except Exception as error:
        if not type(error).__module__.startswith("nvflare."):
            raise
        raise FederationError(
            f"the server went away, or refused ({type(error).__name__}: {error})",
            hint=f"start it again: pegai federation up {study.folder}; then, if a run was under "
            "way: pegai federation resume",
        ) from None
    finally:
        with redirect_stdout(io.StringIO()), suppress(Exception):
            opened.close()


def connected(opened: Any) -> dict[str, float]:
    """Sites that are connected, each with when it was last heard of (seconds since 1970)."""
    info = opened.get_system_info()
    return {str(c.name): float(c.last_connect_time) for c in info.client_info}


def submit(opened: Any, digest: str, sites: tuple[str, ...], quorum: int) -> str:
    """Send the job of a plan; gives its id."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / f"plan-{digest[:12]}"
        write_job(folder, digest, sites, quorum)
        return str(opened.submit_job(str(folder)))


def wait_for(
    opened: Any, job: str, is_over: Callable[[], bool], *, poll_seconds: float = 0.5
) -> str:
    """Wait until a job is over; gives FLARE's word for how it ended.

    Args:
        opened: A session.
        job: Its id.
        is_over: Whether the run is over by its own word. FLARE then has `GRACE_SECONDS` to end the
            job, and is told to: it may wait long for a site that is gone.
        poll_seconds: Between two looks.
    """
    over_since: float | None = None
    while True:
        status = str(opened.get_job_meta(job).get("status", ""))
        if any(word in status for word in OVER):
            return status
        if over_since is None and is_over():
            over_since = time.monotonic()
        if over_since is not None and time.monotonic() - over_since > GRACE_SECONDS:
            opened.abort_job(job)
            over_since = math.inf
        time.sleep(poll_seconds)


def run_until_stopped(
    start: Callable[[], subprocess.Popen[bytes]],
    address: Address | None,
    ready: Callable[[], None],
    console: Path,
) -> None:
    """Run one of FLARE's programs in front; it ends with this one.

    Args:
        start: Starts it.
        address: Where it must listen before it is ready; None where it connects.
        ready: Is called then.
        console: Where its output goes.

    Raises:
        FederationError: It ended by itself.
        UsageError: Something else listens there.
    """
    if address is not None and is_listening(address):
        raise UsageError(
            f"something listens at {address.host}:{address.port} already",
            hint="stop it, or make the federation with another --port",
        )
    process = start()
    try:
        while address is not None and not is_listening(address) and process.poll() is None:
            time.sleep(0.2)
        if process.poll() is None:
            ready()
        while process.poll() is None:
            time.sleep(0.5)
    finally:
        stop(process)
    raise FederationError(
        f"the engine ended by itself, with code {process.returncode}", hint=f"see {console}"
    )
