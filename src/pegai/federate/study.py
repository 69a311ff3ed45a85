"""The coordinator's folder of a federation: its key, certificates, plans and runs.

study.json            who takes part, and where the server listens
coordinator.key       signs plans; its public part is in every kit
certificates/         of the server, of who sends jobs, and of each site
server/ admin/        what FLARE needs, written anew whenever it starts
plans/DIGEST.json     frozen plans, signed
runs/DIGEST/          what came, and in the end the model and its rows
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pegai.data.atomic import atomic_folder, atomic_write_bytes
from pegai.data.files import write_table
from pegai.data.signing import new_key, read_private_key, read_public_key
from pegai.errors import FederationError, UsageError
from pegai.federate.agreement import read_signed, signed
from pegai.federate.coordinator import Coordinator, FederatedFit
from pegai.federate.flare_kit import CLIENT_CERTIFICATES, Address, make_certificates
from pegai.federate.journal import write_whole
from pegai.federate.plan import NAME, FederationPlan, key_bytes
from pegai.federate.transport import Transport
from pegai.federate.wire import canonical
from pegai.privacy.noise_shares import MAX_SITES
from pegai.streams import Streams
from pegai.synth.running import Progress, Run

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "pegai-study/1"
STUDY_FILE = "study.json"
KEY_FILE = "coordinator.key"
KIT_FILE = "kit.json"
STATE_FILE = "state.json"
DIGEST = re.compile(r"[0-9a-f]{64}")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Study:
    """A federation, on the coordinator's machine.

    Attributes:
        folder: Of all its files.
        address: Of the server.
        sites: Names.
    """

    folder: Path
    address: Address
    sites: tuple[str, ...]

    @property
    def server(self) -> Path:
        """FLARE's folder of the server."""
        return self.folder / "server"

    @property
    def admin(self) -> Path:
        """FLARE's folder of who sends jobs."""
        return self.folder / "admin"

    @property
    def public_key(self) -> Ed25519PublicKey:
        """Of the coordinator."""
        return read_public_key(self.folder / f"{KEY_FILE}.pub")

    def run_folder(self, digest: str) -> Path:
        """Of a plan's run."""
        return self.folder / "runs" / digest

    def plan_path(self, digest: str) -> Path:
        """Of a frozen plan."""
        return self.folder / "plans" / f"{digest}.json"

    @property
    def plans(self) -> tuple[str, ...]:
        """Digests of the frozen plans."""
        return tuple(sorted(path.stem for path in (self.folder / "plans").glob("*.json")))

    def find(self, start: str) -> str:
        """The digest of the frozen plan that starts so; as `find_digest`."""
        return find_digest(self.plans, start)

    def plan(self, digest: str) -> FederationPlan:
        """A frozen plan.

        Raises:
            UsageError: There is none of this digest.
            FederationError: The file was changed.
        """
        if not DIGEST.fullmatch(digest) or not self.plan_path(digest).exists():
            raise UsageError(f"{digest[:64]}: no plan of this digest was frozen here")
        plan = read_signed(self.plan_path(digest), self.public_key)
        if plan.digest != digest:
            raise FederationError(f"{self.plan_path(digest)}: the file is another plan's")
        return plan


def find_digest(digests: Sequence[str], start: str) -> str:
    """The one of some plans' digests that starts so.

    Raises:
        UsageError: None does, or several do.
    """
    found = [digest for digest in digests if digest.startswith(start)]
    if len(found) != 1:
        raise UsageError(
            f"{start or 'no digest'}: {'no' if not found else 'more than one'} plan here has a "
            "digest that starts so",
            hint=f"there are: {', '.join(d[:12] for d in digests) or 'none'}",
        )
    return found[0]


def create_study(folder: Path, address: Address, sites: Sequence[str]) -> Study:
    """Make a federation: keys, certificates and folders.

    Raises:
        UsageError: A name is unfit, or the folder exists.
        MissingExtraError: FLARE is not installed.
    """
    _check(address, sites)
    if folder.exists():
        raise UsageError(f"{folder}: exists", hint="name a new folder")
    with atomic_folder(folder, marker=STUDY_FILE) as staging:
        new_key(staging / KEY_FILE)
        make_certificates(address, sites, staging / "certificates")
        for name in ("plans", "runs"):
            (staging / name).mkdir()
        plain = {
            "format": FORMAT,
            "study": address.study,
            "host": address.host,
            "port": address.port,
            "sites": list(sites),
        }
        (staging / STUDY_FILE).write_bytes(canonical(plain) + b"\n")
        staging.chmod(0o700)
    return read_study(folder)


def _check(address: Address, sites: Sequence[str]) -> None:
    for name in (address.study, *sites):
        if not re.fullmatch(NAME, name):
            raise UsageError(f"{name!r}: a name has letters, digits, '_', '.' and '-', at most 64")
    if not HOST.fullmatch(address.host):
        raise UsageError(f"{address.host!r}: is no host name", hint="as sites reach the server")
    if not 1 <= address.port <= 65535:
        raise UsageError(f"--port {address.port}: must lie between 1 and 65535")
    if not 2 <= len(sites) <= MAX_SITES or len(set(sites)) < len(sites):
        raise UsageError(f"a federation has 2 to {MAX_SITES} sites, each named once")
    if clash := {address.host, "server", "coordinator"} & set(sites):
        raise UsageError(f"--site {clash.pop()}: is the server's name; name the site otherwise")


def read_study(folder: Path) -> Study:
    """Read a federation's folder.

    Raises:
        UsageError: It is none.
    """
    try:
        plain: Any = json.loads((folder / STUDY_FILE).read_bytes())
        address = Address(str(plain["study"]), str(plain["host"]), int(plain["port"]))
        return Study(folder, address, tuple(str(site) for site in plain["sites"]))
    except OSError:
        raise UsageError(
            f"{folder}: is no federation of this coordinator",
            hint="make one: pegai federation init FOLDER --host HOST --site NAME ...",
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{folder / STUDY_FILE}: can't be read; restore it") from None


def write_kit(study: Study, site: str, out: Path) -> None:
    """The file that one site needs to join; it holds the site's private key to the network.

    Raises:
        UsageError: There is no such site, or the file exists.
    """
    if site not in study.sites:
        raise UsageError(f"{site}: no such site", hint=f"there are: {', '.join(study.sites)}")
    if out.exists():
        raise UsageError(f"{out}: exists", hint="name a new file")
    certificates = study.folder / "certificates" / "sites" / site
    plain = {
        "format": "pegai-kit/1",
        "study": study.address.study,
        "host": study.address.host,
        "port": study.address.port,
        "site": site,
    }
    part = out.with_name(out.name + ".part")
    part.touch(mode=0o600)
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr(KIT_FILE, canonical(plain))
        archive.write(study.folder / f"{KEY_FILE}.pub", "coordinator.pub")
        for name in CLIENT_CERTIFICATES:
            archive.write(certificates / name, name)
    part.replace(out)


def freeze(study: Study, draft: FederationPlan, keys: Mapping[str, str]) -> FederationPlan:
    """Sign a plan with the sites' public keys in it.

    Args:
        study: Whose.
        draft: The plan.
        keys: Base64 of 32 bytes, by site.

    Raises:
        UsageError: Keys are missing, or the plan names sites that are not in the study.
    """
    strange = [name for name in draft.names if name not in study.sites]
    if strange:
        raise UsageError(
            f"the plan names {', '.join(strange)}, the federation has {', '.join(study.sites)}"
        )
    missing = [name for name in draft.names if name not in keys]
    if missing:
        raise UsageError(
            f"no key of {', '.join(missing)}",
            hint="each site sends NAME.site-key.json, which pegai site join writes: --key FILE",
        )
    if draft.noise == "central":
        raise FederationError(
            "noise = central lets the coordinator see exact counts: for simulations only",
            hint="noise = local or secagg",
        )
    plan = draft.with_keys({name: key_bytes(keys[name]) for name in draft.names})
    key = read_private_key(study.folder / KEY_FILE)
    atomic_write_bytes(study.plan_path(plan.digest), signed(plan, key))
    return plan


def run_plan(study: Study, digest: str, transport: Transport) -> FederatedFit:
    """Run a plan, or go on with its run, and write model and rows.

    Raises:
        PegaiError: A site refused, too few are left, or the run is over.
    """
    plan, folder = study.plan(digest), study.run_folder(digest)
    if read_state(study, digest).get("state") == "finished":
        raise FederationError(
            "the run of this plan is finished", hint="freeze another plan for another run"
        )
    _write_state(folder, {"state": "running", "stage": "", "share": 0.0})
    try:
        coordinator = Coordinator(plan, transport, folder / "coordinator")
        fit = coordinator.fit(Run(_told(folder)))
        fit.model.save(folder / "model", overwrite=True)
        rows = fit.model.sample(plan.rows, rng=Streams(coordinator.seed).get("sample"))
        write_table(rows, folder / "synthetic.csv")
    except Exception as error:
        _write_state(folder, {"state": "stopped", "reason": str(error)})
        raise
    seen = {
        "participants": list(fit.participants),
        "lost": dict(fit.lost),
        "exchanges": len(fit.seen),
        "bytes_from_a_site": sum(s.received for s in fit.seen),
        "seconds": round(sum(s.seconds for s in fit.seen), 3),
    }
    _write_state(folder, {"state": "finished", **seen})
    return fit


def _told(folder: Path) -> Progress:
    def tell(stage: str, share: float) -> None:
        _write_state(folder, {"state": "running", "stage": stage, "share": round(share, 3)})

    return tell


def read_state(study: Study, digest: str) -> dict[str, Any]:
    """How a run stands; `state` is `new`, `running`, `stopped` or `finished`."""
    try:
        return json.loads((study.run_folder(digest) / STATE_FILE).read_bytes())
    except (OSError, ValueError):
        return {"state": "new"}


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / STATE_FILE, canonical(dict(state)) + b"\n")
