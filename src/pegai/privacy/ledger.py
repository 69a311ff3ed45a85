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
from pegai.privacy.ledger_account import COMPOSITIONS, Account, Composition
from pegai.privacy.ledger_chain import (
    Entry,
    Problem,
    State,
    canonical,
    entry_of,
    inspect,
    line_hash,
)

_VERSION = 1


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

    def settle(self) -> None:
        """Finish the line that a process had begun to write when it was killed, if there is one.

        Every writer does so first. Whoever wants to know whether something was charged already
        must do so, too: until then the line is in the head only, and not among the entries.
        """
        with self._locked(write=True):
            pass

    def verify(self) -> list[Problem]:
        """What is wrong with the ledger; empty if nothing is, or if there is none yet."""
        with self._locked(write=False):
            return self._read().problems

    def set_budget(
        self,
        dataset: str,
        epsilon: float,
        delta: float,
        *,
        composition: Composition | None = None,
    ) -> Entry:
        """Set what may be spent on a data set in all; the last one set counts.

        Args:
            dataset: Its name.
            epsilon: Of all charges together.
            delta: Of all charges together.
            composition: How charges add up: `sums`, or `gaussian`, by which many releases cost far
                less (see `ledger_account`). It can't be changed once the data set is charged.
                None leaves it as it is, which is `sums` at first.

        Raises:
            PrivacyError: A figure is out of range, or the composition can't be changed any more.
            LedgerError: The ledger is damaged or was edited.
        """
        _check_dataset(dataset)
        if not is_positive(epsilon):
            raise PrivacyError(f"a budget's epsilon must be finite and > 0, not {epsilon!r}")
        check_delta(delta)
        if composition is not None and composition not in COMPOSITIONS:
            raise PrivacyError(
                f"charges can't add up by {composition!r}",
                hint=f"there are: {', '.join(COMPOSITIONS)}",
            )
        with self._locked(write=True):
            body: dict[str, Any] = {
                "dataset": dataset,
                "epsilon": float(epsilon),
                "delta": float(delta),
            }
            if composition is not None:
                account = self._account(dataset)
                if account.charges and account.composition != composition:
                    raise PrivacyError(
                        f"data set {dataset!r} is charged by {account.composition} already",
                        hint="how charges add up is chosen before the first one: a choice by what "
                        "was released would void both rules",
                    )
                body["composition"] = composition
            self._start()
            return self._append("budget", body)

    def budget(self, dataset: str, fingerprint: str = "") -> tuple[float, float]:
        """What may be spent in all: the strictest among the names that share the data."""
        account = self.account(dataset, fingerprint)
        return account.epsilon, account.delta

    def spent(self, dataset: str, fingerprint: str = "") -> tuple[float, float]:
        """Epsilon and delta spent on the data, by the rule of its budget; sums, if none was chosen.

        Counts charges under the same name or the same fingerprint, and those linked to them in
        turn, so that neither a new name nor a new version of a table starts from nothing.
        """
        return self.account(dataset, fingerprint).spent()

    def account(self, dataset: str, fingerprint: str = "") -> Account:
        """The charges that belong to a data set, its budget, and how they add up.

        Raises:
            LedgerError: The ledger is damaged or was edited, or the data set shares its data with
                one whose charges add up by another rule.
        """
        return Account.of(self.entries(), dataset, fingerprint)

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
            account = self._refuse_overspending(dataset, fingerprint, plan)
            self._start()
            body: dict[str, Any] = {
                "dataset": dataset,
                "fingerprint": fingerprint,
                "unit": unit,
                "label": label,
                "epsilon": float(plan.epsilon),
                "delta": float(plan.delta),
                "events": [event.to_dict() for event in plan.events],
                "public": list(plan.public),
            }
            if account.composition == "gaussian":
                cost = account.cost(plan)
                body |= {
                    "composition": account.composition,
                    "mu_squared": cost.mu_squared,
                    "remainder": cost.remainder,
                }
            return self._append("charge", body)

    def _account(self, dataset: str, fingerprint: str = "") -> Account:
        return Account.of([entry_of(body) for body in self._bodies()], dataset, fingerprint)

    def _refuse_overspending(self, dataset: str, fingerprint: str, plan: Plan) -> Account:
        account = self._account(dataset, fingerprint)
        if refusal := account.refusal([plan]):
            raise BudgetExceededError(
                f"data set {dataset!r}: {refusal}",
                hint="ask for less, or let whoever answers for the data raise the budget: "
                "it is recorded in the ledger",
            )
        return account

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
