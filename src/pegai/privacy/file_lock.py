"""An exclusive lock on an open file, between processes, on every system."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    def lock(handle: int) -> None:
        """Wait until this process alone holds the file."""
        os.lseek(handle, 0, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
            except OSError:
                continue  # LK_LOCK gives up after ten tries; a charge must wait
            return

    def try_lock(handle: int) -> bool:
        """Hold the file if nobody else does; whether it is held."""
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(handle: int) -> None:
        """Let the next one in."""
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def lock(handle: int) -> None:
        """Wait until this process alone holds the file."""
        fcntl.flock(handle, fcntl.LOCK_EX)

    def try_lock(handle: int) -> bool:
        """Hold the file if nobody else does; whether it is held."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(handle: int) -> None:
        """Let the next one in."""
        fcntl.flock(handle, fcntl.LOCK_UN)
