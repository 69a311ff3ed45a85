"""Three small hospitals, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pegai.data.datasets import heart_disease_schema, load_heart_disease
from pegai.data.table import Table
from pegai.federate.coordinator import Coordinator
from pegai.federate.inprocess import InProcess
from pegai.federate.plan import FederationPlan, plan_from_dict
from pegai.federate.site import SiteAgent, SiteHome, SitePolicy
from pegai.schema import Schema

NAMES = ("aarhus", "bergen", "cadiz")
COLUMNS = ["age", "sex", "cp", "num"]


def small_schema() -> Schema:
    whole = heart_disease_schema()
    return whole.replace_columns(tuple(whole[name] for name in COLUMNS))


def small_table(number: int) -> Table:
    """A third of a hospital's patients."""
    table = load_heart_disease().select(COLUMNS)
    return Table(table.frame.filter(pl.int_range(pl.len()) % 3 == number), small_schema())


@dataclass
class Federation:
    """A plan with its sites."""

    plan: FederationPlan
    keys: dict[str, Ed25519PrivateKey]
    tables: dict[str, Table]
    folder: Path
    policy: SitePolicy

    def home(self, name: str) -> SiteHome:
        folder = self.folder / name
        key, table = self.keys[name], self.tables[name]
        return SiteHome(name, table, folder, folder / "ledger.jsonl", "heart", key)

    def agent(self, name: str, **changes: Any) -> SiteAgent:
        return SiteAgent(self.home(name), self.plan, self.policy, **changes)

    def agents(self) -> dict[str, SiteAgent]:
        return {name: self.agent(name) for name in self.plan.names}

    def coordinator(self, agents: dict[str, SiteAgent] | None = None) -> Coordinator:
        transport = InProcess(agents or self.agents())
        return Coordinator(self.plan, transport, self.folder / "coordinator")


Make = Callable[..., Federation]


def make_federation(folder: Path, **changes: Any) -> Federation:
    """A federation in a folder; keywords change the draft of the plan."""
    draft = {
        "study": "heart",
        "schema": small_schema().to_dict(),
        "method": "mst",
        "epsilon": 3.0,
        "delta": 1e-4,
        "sites": [{"name": name} for name in NAMES],
        "wait_seconds": 0,
    }
    keys = {name: Ed25519PrivateKey.generate() for name in NAMES}
    public = {name: key.public_key().public_bytes_raw() for name, key in keys.items()}
    plan = plan_from_dict(draft | changes).with_keys(public)
    tables = {name: small_table(i) for i, name in enumerate(NAMES)}
    return Federation(plan, keys, tables, folder, SitePolicy({plan.digest: 1}, central_noise=True))
