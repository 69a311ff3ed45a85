"""Facts that a report states: versions, machine, ledger lines."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from pegai._version import __version__
from pegai.privacy.ledger import Entry, Ledger
from pegai.schema import Schema

LIBRARIES = ("numpy", "scipy", "polars", "scikit-learn", "torch", "dp-accounting")


def dataset_name(schema: Schema, path: Path, *, chosen: str | None = None) -> str:
    """The name under which a table's spending adds up, the same for every command.

    Args:
        schema: Its own name goes first, so that a new run file does not start from nothing.
        path: The table's file; its name up to the first dot is the last resort.
        chosen: A name from a run file.
    """
    return schema.pegai.dataset or chosen or path.name.split(".")[0]


def ledger_rows(path: Path, dataset: str) -> list[dict[str, Any]]:
    """The ledger's lines on a data set; none where there is no ledger."""
    if not path.exists():
        return []
    return [ledger_row(entry) for entry in Ledger(path).entries() if entry.dataset == dataset]


def ledger_row(entry: Entry) -> dict[str, Any]:
    """One line of the ledger, for people."""
    return {
        "line": entry.index,
        "time": entry.time,
        "what": entry.label or "budget set",
        "data set": entry.dataset,
        "epsilon": entry.epsilon,
        "delta": entry.delta,
    }


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"pegai": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def now() -> str:
    """The time, as ISO 8601 text in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def machine() -> dict[str, Any]:
    """What it ran on, without the machine's name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "device": "CPU",
    }
