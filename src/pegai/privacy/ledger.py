"""The ledger: what was spent on which data, append-only and hash-chained.

A JSON-lines file. Each line holds its number, the hash of the line before and its own SHA-256, and
is written in one canonical form, so that any edited byte and any line removed, inserted or moved is
seen by `Ledger.verify`. A companion file, `<name>.head`, holds the number of lines and the last
hash, so that lines cut off at the end are seen too.

**What this can't do.** The chain has no secret: someone who may write *both* files can forge a
consistent pair, or delete both and start anew. Keep a copy of the head where they can't write (a
ticket, an e-mail, a print): a later ledger must contain that line. The fingerprint binds a charge
to the table it was made for, but one changed byte gives another fingerprint; the data set's *name*
is what makes versions of the same table add up.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import math
import os
import secrets
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pegai.errors import BudgetExceededError, LedgerError, PrivacyError
from pegai.privacy.accountant import check_delta
from pegai.privacy.events import is_positive
from pegai.privacy.file_lock import lock, unlock
from pegai.privacy.guarantee import Plan
from pegai.privacy.ledger_chain import (
    Entry,
    Problem,
    State,
    canonical,
    entry_of,
    inspect,
    line_hash,
)

DEFAULT_EPSILON, DEFAULT_DELTA = 10.0, 1e-2
"""The budget of a data set for which none was set."""

_VERSION = 1
_ROUNDING = 1 + 1e-9  # 0.1 + 0.2 must not exceed a budget of 0.3


class Ledger:
    """A ledger file; it is made by the first entry.

    Every method that reads also verifies: a damaged ledger answers nothing.

    Args:
        path: The JSON-lines file. `<path>.head` and `<path>.lock` stand beside it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.head_path = self.path.with_name(self.path.name + ".head")
        self._lock_path = self.path.with_name(self.path.name + ".lock")

    def entries(self) -> list[Entry]:
        """Every line, oldest first; empty where there is no ledger yet.

        Raises:
            LedgerError: The ledger is damaged or was edited.
        """
        with self._locked(write=False):
            return [entry_of(body) for body in self._bodies()]

    def verify(self) -> list[Problem]:
        """What is wrong with the ledger; empty if nothing is, or if there is none yet."""
        with self._locked(write=False):
            return self._read().problems

    def set_budget(self, dataset: str, epsilon: float, delta: float) -> Entry:
        """Set what may be spent on a data set in all; the last one set counts.

        Raises:
            PrivacyError: A figure is out of range.
            LedgerError: The ledger is damaged or was edited.
        """
        _check_dataset(dataset)
        if not is_positive(epsilon):
            raise PrivacyError(f"a budget's epsilon must be finite and > 0, not {epsilon!r}")
        check_delta(delta)
        with self._locked(write=True):
            self._start()
            body = {"dataset": dataset, "epsilon": float(epsilon), "delta": float(delta)}
            return self._append("budget", body)

    def budget(self, dataset: str, fingerprint: str = "") -> tuple[float, float]:
        """What may be spent in all: the strictest among the names that share the data."""
        return _budget(self.entries(), dataset, fingerprint)

    def spent(self, dataset: str, fingerprint: str = "") -> tuple[float, float]:
        """Epsilon and delta spent on the data, by basic composition (sums).

        Counts charges under the same name or the same fingerprint, and those linked to them in
        turn, so that neither a new name nor a new version of a table starts from nothing.
        """
        return _spent(self.entries(), dataset, fingerprint)

    def fingerprint(self, chunks: Iterable[bytes]) -> str:
        """HMAC-SHA256 of a table's bytes under the ledger's own random key, in hexadecimal.

        The key never leaves the ledger, so a fingerprint seen alone can't be tried against guessed
        tables. How the bytes are cut into chunks makes no difference.

        Raises:
            LedgerError: The ledger is damaged or was edited.
        """
        with self._locked(write=True):
            self._start()
            salt = str(self._bodies()[0]["salt"])
        digest = hmac.new(bytes.fromhex(salt), digestmod=hashlib.sha256)
        for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()

    def check(self, *, dataset: str, plan: Plan, fingerprint: str = "") -> None:
        """Refuse a plan that would not fit, without writing anything; `charge` asks again.

        Raises:
            BudgetExceededError: It does not fit what is left.
            LedgerError: The ledger is damaged or was edited.
        """
        _check_dataset(dataset)
        with self._locked(write=False):
            self._refuse_overspending(dataset, fingerprint, plan)

    def charge(self, *, dataset: str, fingerprint: str, unit: str, plan: Plan, label: str) -> Entry:
        """Spend a plan; nothing is ever given back.

        The line is on the disk when this returns. Concurrent processes wait for each other.

        Raises:
            BudgetExceededError: It does not fit what is left; nothing is written.
            LedgerError: The ledger is damaged or was edited; nothing is written.
        """
        _check_dataset(dataset)
        with self._locked(write=True):
            self._refuse_overspending(dataset, fingerprint, plan)
            self._start()
            body = {
                "dataset": dataset,
                "fingerprint": fingerprint,
                "unit": unit,
                "label": label,
                "epsilon": float(plan.epsilon),
                "delta": float(plan.delta),
                "events": [event.to_dict() for event in plan.events],
                "public": list(plan.public),
            }
            return self._append("charge", body)

    def _refuse_overspending(self, dataset: str, fingerprint: str, plan: Plan) -> None:
        entries = [entry_of(body) for body in self._bodies()]
        allowed = _budget(entries, dataset, fingerprint)
        spent = _spent(entries, dataset, fingerprint)
        for name, limit, used, asked in (
            ("epsilon", allowed[0], spent[0], plan.epsilon),
            ("delta", allowed[1], spent[1], plan.delta),
        ):
            if used + asked > limit * _ROUNDING:
                raise BudgetExceededError(
                    f"data set {dataset!r}: {name} {asked:.4g} asked for, "
                    f"{max(limit - used, 0.0):.4g} left of {limit:.4g}",
                    hint="ask for less, or let whoever answers for the data raise the budget: "
                    "it is recorded in the ledger",
                )

    def _start(self) -> None:
        if not self._bodies():
            self._append("start", {"salt": secrets.token_hex(32), "version": _VERSION})

    def _bodies(self) -> list[dict[str, Any]]:
        state = self._read()
        if state.problems:
            first = state.problems[0]
            raise LedgerError(
                f"{self.path}: {len(state.problems)} problem(s); "
                f"first, line {first.line}: {first.message}",
                hint="restore the ledger and its .head from a backup; nothing is spent until then",
            )
        return state.bodies

    def _read(self) -> State:
        return inspect(_bytes_of(self.path), _bytes_of(self.head_path))

    def _append(self, kind: str, body: dict[str, Any]) -> Entry:
        """Write-ahead: the head names the line, the line is written, the head moves on.

        A crash in between leaves the line in the head, and the next writer finishes it: charged
        though it never ran, rather than run though never charged.
        """
        state = self._read()
        full = {
            **body,
            "kind": kind,
            "index": len(state.bodies),
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "prev": state.last_hash,
        }
        full["hash"] = line_hash(full)
        line = canonical(full).decode()
        try:
            self._write_head(len(state.bodies), state.last_hash, line)
            self._write_line(line)
            self._write_head(len(state.bodies) + 1, full["hash"], None)
        except OSError as error:
            raise LedgerError(
                f"{self.path}: writing failed ({type(error).__name__}); nothing was run",
                hint="free space or restore access; what was begun will count as spent",
            ) from None
        return entry_of(full)

    def _finish_pending(self) -> None:
        state = self._read()
        if state.problems or state.pending is None:
            return
        if not state.pending_written:
            self._write_line(state.pending[len(state.tail) :])
        body = cast("dict[str, Any]", json.loads(state.pending))
        self._write_head(int(body["index"]) + 1, str(body["hash"]), None)

    def _write_line(self, line: str) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _write_head(self, count: int, last: str, pending: str | None) -> None:
        temporary = self.head_path.with_name(self.head_path.name + ".part")
        handle = os.open(temporary, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(canonical({"count": count, "hash": last, "pending": pending}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.head_path)
        _sync_folder(self.path.parent)

    @contextmanager
    def _locked(self, *, write: bool) -> Generator[None]:
        if not (write or self.path.exists() or self.head_path.exists()):
            yield
            return
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self._lock_path.open("ab")
        except OSError as error:
            if write:
                raise LedgerError(
                    f"{self.path}: the ledger can't be written ({type(error).__name__})",
                    hint="set PEGAI_LEDGER to a file in a folder that you may write",
                ) from None
            yield  # a ledger on a read-only medium can still be read
            return
        with file:
            lock(file.fileno())
            try:
                if write:
                    self._finish_pending()
                yield
            finally:
                unlock(file.fileno())


def _linked(entries: list[Entry], dataset: str, fingerprint: str) -> tuple[set[str], set[str]]:
    """Names and fingerprints that lead to the same data, directly or through others."""
    names, prints = {dataset}, {fingerprint} - {""}
    charges = [entry for entry in entries if entry.kind == "charge"]
    size = 0
    while size != len(names) + len(prints):
        size = len(names) + len(prints)
        for entry in charges:
            if entry.dataset in names or entry.fingerprint in prints:
                names.add(entry.dataset)
                prints |= {entry.fingerprint} - {""}
    return names, prints


def _spent(entries: list[Entry], dataset: str, fingerprint: str) -> tuple[float, float]:
    names, _ = _linked(entries, dataset, fingerprint)
    charges = [e for e in entries if e.kind == "charge" and e.dataset in names]
    return math.fsum(e.epsilon for e in charges), math.fsum(e.delta for e in charges)


def _budget(entries: list[Entry], dataset: str, fingerprint: str) -> tuple[float, float]:
    names, _ = _linked(entries, dataset, fingerprint)
    allowed = dict.fromkeys(names, (DEFAULT_EPSILON, DEFAULT_DELTA))
    for entry in entries:
        if entry.kind == "budget" and entry.dataset in names:
            allowed[entry.dataset] = (entry.epsilon, entry.delta)
    return min(e for e, _ in allowed.values()), min(d for _, d in allowed.values())


def _check_dataset(dataset: str) -> None:
    if not dataset:
        raise PrivacyError("the data set needs a name, under which its spending adds up")


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"{path}: can't be read ({type(error).__name__})") from None


def _sync_folder(folder: Path) -> None:
    # A renamed file survives a power cut only once its folder is on the disk too.
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
