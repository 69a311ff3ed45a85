"""One process at a time answers for a site: two would draw noise for the same question twice."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pegai.errors import FederationError
from pegai.privacy.file_lock import try_lock

PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 0.1

_held: dict[str, tuple[int, int]] = {}
_guard = threading.Lock()


def hold(folder: Path) -> None:
    """Hold a site's folder until this process ends, however it ends.

    Raises:
        FederationError: Another process holds it, also after `PATIENCE_SECONDS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = str(folder.resolve())
    with _guard:
        if key in _held and _held[key][0] == os.getpid():
            return
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + PATIENCE_SECONDS
        while not try_lock(handle):
            if time.monotonic() >= end:
                os.close(handle)
                raise FederationError(
                    "another process of this site is at work",
                    hint="its people stop it, or wait until the engine does; then resume",
                )
            time.sleep(RETRY_SECONDS)
        _held[key] = os.getpid(), handle
