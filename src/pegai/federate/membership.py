"""A site's folder: its keys, what its people have approved, its ledger and its journals.

member.json            which federation, and where its server is
coordinator.pub        whose plans and questions are answered
site.key               this site's own; its public part goes to the coordinator
certificates/          of this site on the network
approved/DIGEST/       the plan and the approval; revoked when a file of that name is there
runs/                  every answer that left, noise included
ledger.jsonl           what patients were charged, unless another ledger is named
flare/                 what FLARE needs, written anew whenever it starts
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pegai.data.atomic import atomic_folder, atomic_write_bytes
from pegai.data.conform import load_table
from pegai.data.files import file_sha256
from pegai.data.signing import (
    new_key,
    public_key_from,
    read_private_key,
    read_public_key,
)
from pegai.errors import FederationError, UsageError
from pegai.federate.agreement import public_text, read_signed
from pegai.federate.flare_kit import CLIENT_CERTIFICATES, Address
from pegai.federate.plan import NAME, FederationPlan
from pegai.federate.site import SiteAgent, SiteHome, SitePolicy
from pegai.federate.study import DIGEST, HOST, KIT_FILE, find_digest
from pegai.federate.wire import canonical
from pegai.synth.base import private_rows

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from pegai.data.table import Table

MEMBER_FILE = "member.json"
FORMAT = "pegai-member/1"
APPROVAL_FORMAT = "pegai-approval/1"
MAX_KIT_BYTES = 1_000_000
SITE_KEY_FORMAT = "pegai-site-key/1"


@dataclass(frozen=True)
class Approval:
    """What a site's people have said yes to.

    Attributes:
        digest: Of the plan.
        data: The file.
        data_sha256: What was in it: another content needs another approval.
        dataset: Name of the table in the ledger.
        ledger: Its path.
        runs: How often the plan may be run.
        approved_at: UTC, ISO 8601.
    """

    digest: str
    data: str
    data_sha256: str
    dataset: str
    ledger: str
    runs: int
    approved_at: str


@dataclass(frozen=True)
class Membership:
    """A federation, on a site's machine.

    Attributes:
        folder: Of all its files.
        address: Of the server.
        site: This site's name.
    """

    folder: Path
    address: Address
    site: str

    @property
    def coordinator_key(self) -> Ed25519PublicKey:
        """Whose signature plans must have."""
        return read_public_key(self.folder / "coordinator.pub")

    @property
    def workspace(self) -> Path:
        """FLARE's folder."""
        return self.folder / "flare"

    @property
    def ledger(self) -> Path:
        """Where charges go unless another ledger is named."""
        return self.folder / "ledger.jsonl"

    def _approved(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise FederationError("a plan's digest has 64 hexadecimal digits")
        return self.folder / "approved" / digest

    def plan(self, digest: str) -> FederationPlan:
        """An approved plan.

        Raises:
            FederationError: None of this digest was approved, or the file was changed.
        """
        path = self._approved(digest) / "plan.json"
        if not path.exists():
            raise FederationError(
                "this site has not approved the plan", hint="its people read it and say yes first"
            )
        plan = read_signed(path, self.coordinator_key)
        if plan.digest != digest:
            raise FederationError("this site's copy of the plan was changed")
        return plan

    def approval(self, digest: str) -> Approval:
        """The approval of a plan.

        Raises:
            FederationError: There is none, or it was revoked.
        """
        folder = self._approved(digest)
        if (folder / "revoked").exists():
            raise FederationError("this site has revoked its approval of the plan")
        try:
            plain = json.loads((folder / "approval.json").read_bytes())
            if plain.pop("format") != APPROVAL_FORMAT:
                raise ValueError
            return Approval(**plain)
        except OSError:
            raise FederationError(
                "this site has not approved the plan", hint="its people read it and say yes first"
            ) from None
        except (ValueError, TypeError, KeyError):
            raise FederationError("this site's approval of the plan can't be read") from None

    @property
    def digests(self) -> tuple[str, ...]:
        """Plans that were approved here, also those revoked."""
        folder = self.folder / "approved"
        return tuple(sorted(p.name for p in folder.glob("*") if DIGEST.fullmatch(p.name)))

    def find(self, start: str) -> str:
        """The digest of the plan approved here that starts so; as `study.find_digest`."""
        return find_digest(self.digests, start)

    def revoke(self, digest: str) -> None:
        """Take an approval back: the next message of a run that is under way is refused."""
        self.approval(digest)
        atomic_write_bytes(self._approved(digest) / "revoked", _now().encode())

    def agent(self, digest: str) -> SiteAgent:
        """What answers the coordinator under an approved plan.

        Raises:
            FederationError: The plan isn't approved, or the data are other ones than were approved.
            PegaiError: The data can't be read, or can't be learned with privacy.
        """
        plan, approval = self.plan(digest), self.approval(digest)
        data = Path(approval.data)
        if file_sha256(data) != approval.data_sha256:
            raise FederationError(
                "the site's data changed since the plan was approved",
                hint="its people approve the plan anew",
            )
        home = SiteHome(
            self.site,
            read_site_table(data, plan),
            self.folder,
            Path(approval.ledger),
            approval.dataset,
            read_private_key(self.folder / "site.key"),
        )
        return SiteAgent(home, plan, SitePolicy({digest: approval.runs}))


def read_site_table(data: Path, plan: FederationPlan) -> Table:
    """A site's table, read with the plan's schema cell by cell, and fit for a private method."""
    table = load_table(data, plan.schema_, extra="drop", cell_by_cell=True)
    private_rows(table)
    return table


def join(kit: Path, folder: Path) -> Membership:
    """Unpack a kit, and make this site's own key.

    Only certificates and an address are taken from a kit: no script, and no policy.

    Raises:
        UsageError: The file is no kit, or the folder exists.
    """
    if folder.exists():
        raise UsageError(f"{folder}: exists", hint="name a new folder")
    files = _unpacked(kit)
    address, site = _kit_address(files[KIT_FILE], kit)
    public_key_from(files["coordinator.pub"], name="coordinator.pub")
    with atomic_folder(folder, marker=MEMBER_FILE) as staging:
        staging.chmod(0o700)
        (staging / "certificates").mkdir()
        (staging / "approved").mkdir()
        for name in CLIENT_CERTIFICATES:
            path = staging / "certificates" / name
            path.touch(mode=0o600)
            path.write_bytes(files[name])
        (staging / "coordinator.pub").write_bytes(files["coordinator.pub"])
        new_key(staging / "site.key")
        plain = {"format": FORMAT, **asdict(address), "site": site}
        (staging / MEMBER_FILE).write_bytes(canonical(plain) + b"\n")
        key = public_text(read_public_key(staging / "site.key.pub"))
        sent = {"format": SITE_KEY_FORMAT, "study": address.study, "site": site, "key": key}
        (staging / f"{site}.site-key.json").write_bytes(canonical(sent) + b"\n")
    return read_membership(folder)


def _unpacked(kit: Path) -> dict[str, bytes]:
    wanted = {KIT_FILE, "coordinator.pub", *CLIENT_CERTIFICATES}
    try:
        with zipfile.ZipFile(kit) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if set(members) != wanted or sum(i.file_size for i in members.values()) > MAX_KIT_BYTES:
                raise ValueError
            return {name: archive.read(name) for name in wanted}
    except OSError as error:
        raise UsageError(f"{kit}: can't be read ({error.strerror})") from None
    except (ValueError, zipfile.BadZipFile):
        raise UsageError(
            f"{kit}: is no kit of a federation",
            hint="the coordinator makes it: pegai federation kit FOLDER SITE",
        ) from None


def _kit_address(raw: bytes, kit: Path) -> tuple[Address, str]:
    import re

    try:
        plain: Any = json.loads(raw)
        address = Address(str(plain["study"]), str(plain["host"]), int(plain["port"]))
        site = str(plain["site"])
        named = re.fullmatch(NAME, site) and re.fullmatch(NAME, address.study)
        if not (named and HOST.fullmatch(address.host) and 1 <= address.port <= 65535):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{kit}: the kit's address can't be read") from None
    return address, site


def read_membership(folder: Path) -> Membership:
    """Read a site's folder.

    Raises:
        UsageError: It is none.
    """
    try:
        plain: Any = json.loads((folder / MEMBER_FILE).read_bytes())
        address = Address(str(plain["study"]), str(plain["host"]), int(plain["port"]))
        return Membership(folder, address, str(plain["site"]))
    except OSError:
        raise UsageError(
            f"{folder}: is no site's folder of a federation",
            hint="make one: pegai site join KIT.zip FOLDER",
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{folder / MEMBER_FILE}: can't be read; restore it") from None


def read_site_key(path: Path, study: str) -> tuple[str, str]:
    """A site's name and public key, from the file that it sent.

    Raises:
        UsageError: The file is none, or of another federation.
    """
    try:
        plain: Any = json.loads(path.read_bytes())
        if plain["format"] != SITE_KEY_FORMAT:
            raise ValueError
        found = str(plain["site"]), str(plain["key"])
        of = str(plain["study"])
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path}: holds no site's key", hint="pegai site join writes NAME.site-key.json"
        ) from None
    if of != study:
        raise UsageError(f"{path}: is the key of a site of {of!r}, not of {study!r}")
    return found


def approve(member: Membership, plan: FederationPlan, signed: bytes, approval: Approval) -> None:
    """Write an approval down; one that was revoked is given anew.

    Args:
        member: The site.
        plan: As `agreement.read_signed` gave it.
        signed: The file's bytes.
        approval: What was said yes to.
    """
    folder = member.folder / "approved" / plan.digest
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(folder / "plan.json", signed)
    plain = {"format": APPROVAL_FORMAT, **asdict(approval)}
    atomic_write_bytes(folder / "approval.json", canonical(plain) + b"\n")
    (folder / "revoked").unlink(missing_ok=True)


def new_approval(
    member: Membership, plan: FederationPlan, data: Path, *, dataset: str, ledger: Path, runs: int
) -> Approval:
    """An approval of a plan for a file as it is now."""
    return Approval(
        plan.digest,
        str(data.resolve()),
        file_sha256(data),
        dataset,
        str(ledger.resolve()),
        runs,
        _now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
