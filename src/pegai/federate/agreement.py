"""A plan under the coordinator's signature: what travels to sites, and what they approve."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pegai.data.signing import PLAN, fingerprint, is_signed_by, sign
from pegai.errors import FederationError, UsageError
from pegai.federate.plan import SIGNED_FORMAT, FederationPlan, plan_from_dict
from pegai.federate.wire import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def signed(plan: FederationPlan, key: Ed25519PrivateKey) -> bytes:
    """The file that sites are sent.

    Raises:
        UsageError: The plan lacks a site's key.
    """
    _ = plan.pinned
    signature = sign(key, plan.to_bytes(), context=PLAN).strip()
    return (
        canonical({"format": SIGNED_FORMAT, "plan": plan.to_dict(), "signature": signature}) + b"\n"
    )


def read_signed(path: Path, key: Ed25519PublicKey) -> FederationPlan:
    """Read such a file.

    Raises:
        UsageError: It is none, or the plan in it breaks a rule.
        FederationError: It isn't signed by this key: nobody knows who wrote it.
    """
    content = _content(path)
    plan = plan_from_dict(content["plan"], name=str(path))
    signature = str(content["signature"]).encode()
    if not is_signed_by(key, plan.to_bytes(), signature, context=PLAN):
        raise FederationError(
            f"{path}: is not signed by the coordinator's key {fingerprint(key)}",
            hint="a plan that was changed on its way, or by another coordinator; ask for it anew",
        )
    return plan


def _content(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None
    except ValueError:
        content = None
    whole = isinstance(content, dict) and content.keys() == {"format", "plan", "signature"}  # pyright: ignore
    if not whole or content["format"] != SIGNED_FORMAT or not isinstance(content["plan"], dict):
        raise UsageError(
            f"{path}: is no signed plan",
            hint="the coordinator makes it: pegai federation freeze plan.toml",
        )
    return content  # pyright: ignore[reportUnknownVariableType]


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as plans hold it: base64 of 32 bytes."""
    return base64.b64encode(key.public_bytes_raw()).decode()
