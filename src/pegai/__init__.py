"""pegai: synthetic patients with a stated privacy guarantee and the evidence.

Names are loaded on first use, so that `import pegai` is fast and brings in no torch.

Example:
    >>> import pegai
    >>> table = pegai.datasets.load_heart_disease(site="cleveland")
    >>> len(table)
    303
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pegai._version import __version__

if TYPE_CHECKING:
    from pegai.data import datasets
    from pegai.data.conform import load_table, table_from
    from pegai.data.deidentify import deidentify
    from pegai.data.splits import split
    from pegai.data.table import Table
    from pegai.errors import PegaiError
    from pegai.evaluate.suite import evaluate as evaluate_synthetic
    from pegai.privacy.guarantee import Privacy
    from pegai.privacy.ledger import Ledger
    from pegai.schema import Schema, read_schema
    from pegai.synth.aim import AIM
    from pegai.synth.catalog import load
    from pegai.synth.ctgan import CTGAN, CTGANConfig
    from pegai.synth.independent import Independent
    from pegai.synth.mst import MST
    from pegai.synth.running import Run
    from pegai.synth.trees import Trees

__all__ = [
    "AIM",
    "CTGAN",
    "MST",
    "CTGANConfig",
    "Independent",
    "Ledger",
    "PegaiError",
    "Privacy",
    "Run",
    "Schema",
    "Table",
    "Trees",
    "__version__",
    "datasets",
    "deidentify",
    "evaluate_synthetic",
    "load",
    "load_table",
    "read_schema",
    "split",
    "table_from",
]

_HOMES = {
    "AIM": "pegai.synth.aim",
    "CTGAN": "pegai.synth.ctgan",
    "CTGANConfig": "pegai.synth.ctgan",
    "Independent": "pegai.synth.independent",
    "Ledger": "pegai.privacy.ledger",
    "MST": "pegai.synth.mst",
    "PegaiError": "pegai.errors",
    "Privacy": "pegai.privacy.guarantee",
    "Run": "pegai.synth.running",
    "Schema": "pegai.schema",
    "Table": "pegai.data.table",
    "Trees": "pegai.synth.trees",
    "deidentify": "pegai.data.deidentify",
    "load": "pegai.synth.catalog",
    "load_table": "pegai.data.conform",
    "read_schema": "pegai.schema",
    "split": "pegai.data.splits",
    "table_from": "pegai.data.conform",
}


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return import_module("pegai.data.datasets")
    if name == "evaluate_synthetic":  # `pegai.evaluate` is the package
        return import_module("pegai.evaluate.suite").evaluate
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pegai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
