"""The chain of a ledger's lines: one canonical form, hashes, and what is wrong with two files."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, cast

from pegai.errors import PrivacyError
from pegai.privacy.events import Event, event_from_dict

GENESIS = "0" * 64
"""What the first line names as the hash before it."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        index: Line number, from 0.
        time: ISO 8601, UTC.
        kind: start, budget or charge.
        dataset: The data set's name; empty in the start line.
        epsilon: Spent (charge) or allowed (budget).
        delta: Spent or allowed.
        fingerprint: Keyed digest of the table that was charged.
        unit: Who was protected.
        label: What was done.
        events: What the charge was for.
        hash: SHA-256 of the line.
        composition: How charges add up: sums or gaussian; empty in a budget that leaves it open.
        mu_squared: What a charge costs where they add up by gaussian.
        remainder: Likewise; see `gaussian_cost`.
    """

    index: int
    time: str
    kind: str
    dataset: str = ""
    epsilon: float = 0.0
    delta: float = 0.0
    fingerprint: str = ""
    unit: str = ""
    label: str = ""
    events: tuple[Event, ...] = ()
    hash: str = ""
    composition: str = ""
    mu_squared: float = 0.0
    remainder: float = 0.0


@dataclass(frozen=True)
class Problem:
    """Something wrong with a ledger.

    Attributes:
        line: Line number from 1, or 0 where it is the file or its head.
        message: What is wrong.
    """

    line: int
    message: str


@dataclass(frozen=True)
class State:
    """What the two files say.

    Attributes:
        bodies: The lines, parsed.
        problems: What is wrong; empty if nothing is.
        last_hash: Of the last whole line.
        pending: A line that the head announces, whose writing was interrupted.
        pending_written: Whether that line is whole in the file.
        tail: The part of it that is in the file.
    """

    bodies: list[dict[str, Any]]
    problems: list[Problem]
    last_hash: str = GENESIS
    pending: str | None = None
    pending_written: bool = False
    tail: str = ""


def inspect(data: bytes | None, head_bytes: bytes | None) -> State:
    """Check the chain, then the head against it.

    Args:
        data: The ledger's bytes; None where there is no file.
        head_bytes: The head file's bytes; None where there is none.

    Returns:
        The lines and every problem found.
    """
    if data is None and head_bytes is None:
        return State([], [])
    if head_bytes is None:
        return State([], [Problem(0, "its head file is missing")])
    head = _parse_head(head_bytes)
    if head is None:
        return State([], [Problem(0, "its head file was edited")])
    count, last, pending = head
    if data is None and not (count == 0 and pending is not None):
        return State([], [Problem(0, "the ledger is missing, its head file is there")])
    lines = (data or b"").split(b"\n")
    tail = lines.pop()
    bodies, problems = _check_chain(lines)
    hashes = [GENESIS, *(str(body.get("hash")) for body in bodies)]
    if problems:
        return State(bodies, problems)
    written = pending is not None and len(lines) == count + 1 and lines[-1] == pending.encode()
    if written and not tail and hashes[-2] == last:
        return State(bodies, [], hashes[-1], pending, True)
    if len(lines) != count or hashes[-1] != last:
        return State(bodies, [Problem(0, _cut_message(len(lines), count))])
    if not (pending or "").encode().startswith(tail):
        return State(bodies, [Problem(len(lines) + 1, "the last line is not complete")])
    return State(bodies, [], last, pending, False, tail.decode())


def _cut_message(lines: int, count: int) -> str:
    if lines == count:
        return "the last line is not the one its head file names"
    return f"it has {lines} lines, its head file says {count}: lines were cut off or added"


def _check_chain(lines: list[bytes]) -> tuple[list[dict[str, Any]], list[Problem]]:
    bodies: list[dict[str, Any]] = []
    problems: list[Problem] = []
    previous = GENESIS
    for index, line in enumerate(lines):
        body = _parse(line)
        fault = _fault(body, line, index, previous)
        if fault:
            problems.append(Problem(index + 1, fault))
        bodies.append(body or {})
        previous = str((body or {}).get("hash"))
    return bodies, problems


def _fault(body: dict[str, Any] | None, line: bytes, index: int, previous: str) -> str:
    if body is None or canonical(body) != line:
        return "the line was edited: it is not in the form the ledger writes"
    stated = body.get("hash")
    if stated != line_hash({k: v for k, v in body.items() if k != "hash"}):
        return "the line was edited: its hash does not fit its content"
    if body.get("index") != index or body.get("prev") != previous:
        return "a line before this one was removed, inserted or moved"
    if (body.get("kind") == "start") != (index == 0):
        return "a ledger has one start, in its first line"
    try:
        entry_of(body)
    except (KeyError, TypeError, ValueError, PrivacyError):
        return "the line lacks a field of its kind"
    return ""


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None


def _parse_head(data: bytes) -> tuple[int, str, str | None] | None:
    body = _parse(data)
    if body is None or set(body) != {"count", "hash", "pending"} or canonical(body) != data:
        return None
    count, last, pending = body["count"], body["hash"], body["pending"]
    if type(count) is not int or not isinstance(last, str):
        return None
    return (count, last, pending) if pending is None or isinstance(pending, str) else None


def canonical(body: dict[str, Any]) -> bytes:
    """The one form of a content; empty where JSON has none (NaN), so that it equals no line."""
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return b""
    return text.encode()


def line_hash(body: dict[str, Any]) -> str:
    """SHA-256 of a line's content without its own hash."""
    return hashlib.sha256(canonical(body)).hexdigest()


def entry_of(body: dict[str, Any]) -> Entry:
    """The entry that a line stands for."""
    kind = str(body["kind"])
    if kind == "start":
        bytes.fromhex(body["salt"])
        return Entry(int(body["index"]), str(body["time"]), kind, hash=str(body["hash"]))
    if kind not in ("budget", "charge"):
        raise ValueError(kind)
    spent = kind == "charge"
    # Absent from lines of the first version, all of which are summed.
    composition = str(body.get("composition", "sums" if spent else ""))
    if composition not in ("sums", "gaussian") and (spent or composition):
        raise ValueError(composition)
    by_mu = spent and composition == "gaussian"
    return Entry(
        index=int(body["index"]),
        time=str(body["time"]),
        kind=kind,
        dataset=str(body["dataset"]),
        epsilon=float(body["epsilon"]),
        delta=float(body["delta"]),
        fingerprint=str(body["fingerprint"]) if spent else "",
        unit=str(body["unit"]) if spent else "",
        label=str(body["label"]) if spent else "",
        events=tuple(event_from_dict(e) for e in body["events"]) if spent else (),
        hash=str(body["hash"]),
        composition=composition,
        mu_squared=_finite(body["mu_squared"]) if by_mu else 0.0,
        remainder=_finite(body["remainder"]) if by_mu else 0.0,
    )


def _finite(raw: Any) -> float:
    value = float(raw)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(value)
    return value
