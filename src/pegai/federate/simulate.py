"""A federated run in one process: keys, agents and a coordinator, and every message as bytes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pegai.data.table import Table
from pegai.errors import FederationError, UsageError
from pegai.federate.coordinator import Coordinator, FederatedFit
from pegai.federate.inprocess import InProcess
from pegai.federate.journal import write_whole
from pegai.federate.plan import FederationPlan, plan_from_dict
from pegai.federate.site import SiteAgent, SiteHome, SitePolicy
from pegai.synth.running import Run

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEYS_FILE = "simulation-keys.json"
PLAN_FILE = "plan.json"


@dataclass(frozen=True, eq=False)
class SiteData:
    """What a simulated site has.

    Attributes:
        table: Its rows, read with the plan's schema.
        ledger: Where its charge is recorded.
        dataset: Name of the table in the ledger.
    """

    table: Table
    ledger: Path
    dataset: str


def simulate(
    draft: FederationPlan, sites: Mapping[str, SiteData], folder: Path, run: Run | None = None
) -> FederatedFit:
    """Run a plan on tables that are all here; a run begun in the folder is gone on with.

    Args:
        draft: The plan; keys are made here.
        sites: What each site of the plan has.
        folder: For the frozen plan, the keys, journals, and what the coordinator saw.
        run: Is told of progress.

    Raises:
        UsageError: Sites are missing or too many.
        FederationError: The folder holds a run of another plan, or a site refused.
    """
    return simulated(draft, sites, folder).fit(run)


def simulated(draft: FederationPlan, sites: Mapping[str, SiteData], folder: Path) -> Coordinator:
    """The coordinator of such a run, with all sites in this process; as for `simulate`."""
    if sorted(sites) != list(draft.names):
        raise UsageError(
            f"the plan has the sites {', '.join(draft.names)}; given are "
            f"{', '.join(sorted(sites)) or 'none'}",
            hint="name a file for each: --site NAME=FILE",
        )
    folder.mkdir(parents=True, exist_ok=True)
    keys = _keys(folder / KEYS_FILE, draft)
    plan = draft.with_keys({n: k.public_key().public_bytes_raw() for n, k in keys.items()})
    _freeze(folder / PLAN_FILE, plan)
    policy = SitePolicy({plan.digest: 1}, central_noise=True)
    agents = {
        name: SiteAgent(
            SiteHome(
                name, site.table, folder / "sites" / name, site.ledger, site.dataset, keys[name]
            ),
            plan,
            policy,
        )
        for name, site in sites.items()
    }
    return Coordinator(plan, InProcess(agents), folder / "coordinator")


def _keys(path: Path, plan: FederationPlan) -> dict[str, Ed25519PrivateKey]:
    """The private keys of all sites, which only a simulation has in one place."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        made = {name: Ed25519PrivateKey.generate().private_bytes_raw() for name in plan.names}
        plain = {name: base64.b64encode(raw).decode() for name, raw in made.items()}
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(json.dumps(plain))
    try:
        plain = json.loads(path.read_text("ascii"))
        return {
            name: Ed25519PrivateKey.from_private_bytes(base64.b64decode(plain[name]))
            for name in plan.names
        }
    except (ValueError, KeyError, TypeError):
        raise FederationError(
            f"{path}: holds no keys of this plan's sites", hint="name a new folder"
        ) from None


def _freeze(path: Path, plan: FederationPlan) -> None:
    """Write the plan with its keys, or make sure that it is the one of the run begun here."""
    if not path.exists():
        write_whole(path, plan.to_bytes())
    if plan_from_dict(json.loads(path.read_bytes()), name=str(path)).digest != plan.digest:
        raise FederationError(
            f"{path}: the folder holds a run of another plan", hint="name a new folder"
        )
