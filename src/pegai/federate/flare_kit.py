"""What NVIDIA FLARE needs on disk: certificates, and policies that are ours.

FLARE's own provisioning makes the certificates. The rest is written here, by each side for itself:
a site takes from its kit the certificates and nothing else, so that no script and no policy comes
to it from outside.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pegai.errors import MissingExtraError

ADMIN = "coordinator@pegai.local"
ORGANISATION = "pegai"
CLIENT_CERTIFICATES = ("client.crt", "client.key", "rootCA.pem")
SERVER_CERTIFICATES = ("server.crt", "server.key", "rootCA.pem")

SITE_CLASSES = (
    "pegai.federate.flare.SiteApp",
    "nvflare.collab.runtime.executor.CollabExecutor",
)
SERVER_CLASSES = (
    "pegai.federate.flare.CoordinatorApp",
    "nvflare.collab.runtime.controller.CollabController",
)
"""The only classes that a job may name, by side."""

RIGHTS = (
    "submit_job",
    "clone_job",
    "manage_job",
    "download_job",
    "view",
    "operate",
    "shell_commands",
    "byoc",
    "server-predeployed-flwr",
)


@dataclass(frozen=True)
class Address:
    """Where the coordinator's server listens.

    Attributes:
        study: Name of the federation.
        host: As sites reach it, and as its certificate says.
        port: One, for everything.
    """

    study: str
    host: str
    port: int


def require_engine() -> None:
    """Refuse with the way out where FLARE is not installed.

    Raises:
        MissingExtraError: As said.
    """
    try:
        import nvflare.collab  # noqa: F401  # pyright: ignore
    except ImportError:
        raise MissingExtraError(
            "federations between machines need NVIDIA FLARE 2.9",
            hint="pip install 'pegai[federated]'",
        ) from None


def make_certificates(address: Address, sites: Sequence[str], folder: Path) -> None:
    """Make a certificate authority and certificates: `server/`, `admin/` and `sites/NAME/`.

    Args:
        address: Of the server.
        sites: Their names.
        folder: Is made.

    Raises:
        MissingExtraError: FLARE is not installed.
    """
    require_engine()
    from nvflare.lighter.impl.cert import CertBuilder  # pyright: ignore
    from nvflare.lighter.impl.static_file import StaticFileBuilder  # pyright: ignore
    from nvflare.lighter.impl.workspace import WorkspaceBuilder  # pyright: ignore
    from nvflare.lighter.provision import prepare_project  # pyright: ignore
    from nvflare.lighter.provisioner import Provisioner  # pyright: ignore

    people: list[dict[str, Any]] = [
        {
            "name": address.host,
            "type": "server",
            "org": ORGANISATION,
            "fed_learn_port": address.port,
            "admin_port": address.port,
        },
        {"name": ADMIN, "type": "admin", "org": ORGANISATION, "role": "project_admin"},
        *({"name": site, "type": "client", "org": ORGANISATION} for site in sites),
    ]
    project = {"api_version": 3, "name": address.study, "participants": people}
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        builders = [
            WorkspaceBuilder(),
            StaticFileBuilder(config_folder="config", scheme="http"),
            CertBuilder(),
        ]
        with redirect_stdout(io.StringIO()):
            Provisioner(work, builders).provision(prepare_project(project))
        made = Path(work) / address.study / "prod_00"
        sources = {"server": address.host, "admin": ADMIN}
        sources |= {f"sites/{site}": site for site in sites}
        for target, source in sources.items():
            names = SERVER_CERTIFICATES if target == "server" else CLIENT_CERTIFICATES
            (folder / target).mkdir(parents=True, mode=0o700)
            for name in names:
                shutil.copyfile(made / source / "startup" / name, folder / target / name)
                (folder / target / name).chmod(0o600)


def write_site(workspace: Path, address: Address, site: str, certificates: Path) -> None:
    """FLARE's folder of a site, with the policy: no code from outside, no looking in."""
    servers = [
        {
            "name": address.study,
            "service": {"target": f"{address.host}:{address.port}", "scheme": "http"},
            "identity": address.host,
        }
    ]
    client = {
        "ssl_private_key": "client.key",
        "ssl_cert": "client.crt",
        "ssl_root_cert": "rootCA.pem",
        "fqsn": site,
        "is_leaf": True,
        "connection_security": "mtls",
    }
    startup = {"format_version": 2, "servers": servers, "client": client}
    resources = {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(SITE_CLASSES),
        "allow_log_streaming": False,
        "client": {"retry_timeout": 30, "compression": "Gzip"},
        "components": [
            _component("resource_manager", f"{_MANAGERS}.GPUResourceManager", _NO_GPU),
            _component("resource_consumer", f"{_CONSUMERS}.GPUResourceConsumer"),
            _component("process_launcher", f"{_LAUNCHERS}.ClientProcessJobLauncher"),
        ],
    }
    may = {"submit_job": "any", "manage_job": "any"}
    _write_workspace(workspace, "fed_client.json", startup, resources, may)
    for name in CLIENT_CERTIFICATES:
        _copy_secret(certificates / name, workspace / "startup" / name)


def write_server(workspace: Path, address: Address, certificates: Path) -> None:
    """FLARE's folder of the server; jobs and snapshots stay in it."""
    server = {
        "name": address.study,
        "service": {"target": f"{address.host}:{address.port}", "scheme": "http"},
        "admin_server": address.host,
        "admin_port": address.port,
        "ssl_private_key": "server.key",
        "ssl_cert": "server.crt",
        "ssl_root_cert": "rootCA.pem",
        "connection_security": "mtls",
    }
    startup = {"format_version": 2, "servers": [server]}
    store = f"{_STORES}.FilesystemStorage"
    resources = {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(SERVER_CLASSES),
        "allow_log_streaming": False,
        "servers": [{"admin_storage": "transfer", "max_num_clients": 100, "admin_timeout": 10.0}],
        "snapshot_persistor": {
            "path": f"{_PERSISTORS}.StorageStatePersistor",
            "args": {
                "uri_root": "/",
                "storage": {
                    "path": store,
                    "args": {"root_dir": str(workspace / "snapshots"), "uri_root": "/"},
                },
            },
        },
        "components": [
            _component("job_scheduler", f"{_SCHEDULERS}.DefaultJobScheduler", {"max_jobs": 1}),
            _component(
                "job_manager",
                "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                {"uri_root": str(workspace / "jobs"), "job_store_id": "job_store"},
            ),
            _component("job_store", store),
            _component("process_launcher", f"{_LAUNCHERS_OF_SERVER}.ServerProcessJobLauncher"),
        ],
    }
    may = {"submit_job": "any", "manage_job": "any", "view": "any", "operate": "any"}
    _write_workspace(workspace, "fed_server.json", startup, resources, may)
    for name in SERVER_CERTIFICATES:
        _copy_secret(certificates / name, workspace / "startup" / name)


def write_admin(folder: Path, address: Address, certificates: Path) -> None:
    """FLARE's folder of the one who sends jobs."""
    admin = {
        "project_name": address.study,
        "username": ADMIN,
        "server_identity": address.host,
        "scheme": "http",
        "host": address.host,
        "port": address.port,
        "connection_security": "mtls",
        "uid_source": "user_input",
        "with_file_transfer": True,
        "upload_dir": "transfer",
        "download_dir": "transfer",
        "client_key": "client.key",
        "client_cert": "client.crt",
        "ca_cert": "rootCA.pem",
    }
    waits = {"idle_timeout": 900.0, "login_timeout": 10.0, "authenticate_msg_timeout": 2.0}
    _write(folder / "startup" / "fed_admin.json", {"format_version": 1, "admin": admin})
    settings = {"format_version": 1, "admin": {**waits, "with_debug": False, "prompt": "> "}}
    _write(folder / "local" / "resources.json", settings)
    (folder / "transfer").mkdir(exist_ok=True)
    for name in CLIENT_CERTIFICATES:
        _copy_secret(certificates / name, folder / "startup" / name)


def write_simulator(workspace: Path) -> None:
    """What the simulator takes over to the server and all sites that it starts."""
    resources = {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [*SERVER_CLASSES, *SITE_CLASSES],
        "allow_log_streaming": False,
    }
    _write(workspace / "local" / "resources.json", resources)


def write_job(folder: Path, digest: str, sites: Sequence[str], quorum: int) -> None:
    """A job without code: it names two installed classes and the plan's digest."""
    controller = {
        "id": "controller",
        "path": SERVER_CLASSES[1],
        "args": {"server_obj_id": "_server", "collab_obj_ids": []},
    }
    server = {
        "format_version": 2,
        "workflows": [controller],
        "components": [_component("_server", SERVER_CLASSES[0], {"digest": digest})],
    }
    executor = {"path": SITE_CLASSES[1], "args": {"client_obj_id": "_client", "collab_obj_ids": []}}
    client = {
        "format_version": 2,
        "executors": [{"tasks": ["*"], "executor": executor}],
        "components": [_component("_client", SITE_CLASSES[0])],
    }
    meta = {
        "name": f"plan {digest[:12]}",
        "resource_spec": {},
        "deploy_map": {"app": ["server", *sites]},
        "min_clients": quorum,
        "mandatory_clients": [],
    }
    _write(folder / "meta.json", meta)
    _write(folder / "app" / "config" / "config_fed_server.json", server)
    _write(folder / "app" / "config" / "config_fed_client.json", client)


_MANAGERS = "nvflare.app_common.resource_managers.gpu_resource_manager"
_CONSUMERS = "nvflare.app_common.resource_consumers.gpu_resource_consumer"
_LAUNCHERS = "nvflare.app_common.job_launcher.client_process_launcher"
_LAUNCHERS_OF_SERVER = "nvflare.app_common.job_launcher.server_process_launcher"
_SCHEDULERS = "nvflare.app_common.job_schedulers.job_scheduler"
_STORES = "nvflare.app_common.storages.filesystem_storage"
_PERSISTORS = "nvflare.app_common.state_persistors.storage_state_persistor"
_NO_GPU = {"num_of_gpus": 0, "mem_per_gpu_in_GiB": 0, "expiration_period": 300}


def _component(name: str, path: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"id": name, "path": path, "args": dict(args or {})}


def _write_workspace(
    workspace: Path,
    name: str,
    startup: Mapping[str, Any],
    resources: Mapping[str, Any],
    may: Mapping[str, str],
) -> None:
    permissions = {"project_admin": {right: may.get(right, "none") for right in RIGHTS}}
    permissions |= {role: dict.fromkeys(RIGHTS, "none") for role in ("org_admin", "lead", "member")}
    _write(workspace / "startup" / name, startup)
    _write(workspace / "local" / "resources.json", resources)
    rules = {"format_version": "1.0", "permissions": permissions}
    _write(workspace / "local" / "authorization.json", rules)
    _write(workspace / "local" / "log_config.json", LOGGING)
    (workspace / "transfer").mkdir(exist_ok=True)


LOGGING: Mapping[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "baseFormatter": {
            "()": "nvflare.fuel.utils.log_utils.BaseFormatter",
            "fmt": "%(asctime)s - %(name)s - %(levelname)s - %(fl_ctx)s - %(message)s",
        }
    },
    "handlers": {
        "logFileHandler": {
            "class": "logging.handlers.RotatingFileHandler",
            "level": "INFO",
            "formatter": "baseFormatter",
            "filename": "log.txt",
            "mode": "a",
            "maxBytes": 20971520,
            "backupCount": 5,
        }
    },
    "loggers": {"root": {"level": "INFO", "handlers": ["logFileHandler"]}},
}
"""FLARE's log, on this machine's disk only."""


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _copy_secret(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)
