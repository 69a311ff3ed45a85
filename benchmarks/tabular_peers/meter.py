"""CPU-seconds, seconds and peak memory of the parts of a run; the standard library only.

Scripts of every environment import it, so that all methods are measured in the same way.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Meter:
    """What the parts of a run took, by name."""

    def __init__(self) -> None:
        self.measures: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure a part.

        `<name>_cpu` is user and system time, children included, `<name>_peak_mb` the most memory
        that was resident until its end.
        """
        cpu, wall = cpu_seconds(), time.perf_counter()
        yield
        self.measures[f"{name}_cpu"] = cpu_seconds() - cpu
        self.measures[f"{name}_wall"] = time.perf_counter() - wall
        self.measures[f"{name}_peak_mb"] = peak_mb()

    def write(self, path: str | Path, **more: object) -> None:
        """Leave the measures, and what else the parent should know."""
        Path(path).write_text(json.dumps({"measures": self.measures, **more}))


def cpu_seconds() -> float:
    """User and system time of this process and of its finished children."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak_mb() -> float:
    """Most resident memory of this process so far, in MB.

    Not `ru_maxrss`: on Linux it starts at what the parent held when the child was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    # Without /proc (macOS) the figure is in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
