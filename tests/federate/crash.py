"""Runs the federation of a folder until it is done, or until somebody kills this process."""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.federate.sites import NAMES, small_table

from pegai.federate.coordinator import Coordinator
from pegai.federate.inprocess import InProcess
from pegai.federate.plan import read_plan
from pegai.federate.site import SiteAgent, SiteHome, SitePolicy

if __name__ == "__main__":
    root = Path(sys.argv[1])
    plan = read_plan(root / "plan.json")
    agents = {}
    for i, name in enumerate(NAMES):
        key = load_pem_private_key((root / f"{name}.pem").read_bytes(), None)
        home = SiteHome(name, small_table(i), root / name, root / name / "ledger", "heart", key)
        agents[name] = SiteAgent(home, plan, SitePolicy({plan.digest: 1}))
    print("ready", flush=True)
    fit = Coordinator(plan, InProcess(agents), root / "coordinator").fit()
    fit.model.save(root / "model", overwrite=True)
    print("done", flush=True)
