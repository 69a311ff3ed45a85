"""One fit of one of our methods in a process of its own: what `tabular.py` starts.

Beside the catalog's methods, with a budget: `naive-bayes` (see `private_tables.py`), the bar for
private methods. It draws while it counts, so its sampling is in the fit.

    python tabular_cell.py REQUEST.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent / "tabular_peers"))
from meter import Meter

import pegai
from pegai.data.conform import conform
from pegai.data.files import read_frame, write_table
from pegai.data.table import Table
from pegai.errors import PegaiError
from pegai.schema import read_schema
from pegai.synth.catalog import CATALOG, make
from pegai.synth.running import Run

WITHOUT_TORCH = ("auto", "independent", "trees", "mst", "aim", "naive-bayes")
REFUSED = 3
"""The exit status of a fit that the method refuses."""

Sampler = Callable[[int], Table]


def fitted(request: dict, train: Table) -> Sampler:
    """Fit the method; what draws rows from it."""
    method, seed, epsilon = request["method"], request["seed"], request["epsilon"]
    if method == "naive-bayes":
        from private_tables import Case, naive_bayes

        target = train.schema.target.name
        case = Case("", train, target, request["delta"], (epsilon,), 0.0)
        return naive_bayes(train, case, epsilon, seed).head
    synthesizer = make(method, request["settings"])
    if epsilon is None:
        model = synthesizer.fit(train, rng=seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Path(folder) / "ledger.jsonl"
            privacy = pegai.Privacy(epsilon, request["delta"], ledger=ledger, dataset="benchmark")
            model = synthesizer.fit(train, privacy=privacy)
    request["note"] = told(model)
    return lambda rows: model.sample(rows, rng=seed)


def told(model: Any) -> str:
    """What `auto` chose, and why: it leaves that in the settings; empty for other methods."""
    return str(getattr(model, "settings", {}).get("auto", ""))


def warm(method: str) -> None:
    """Import before the clock starts, as the peers do."""
    if method == "naive-bayes":
        import private_tables  # noqa: F401
    if method not in WITHOUT_TORCH:
        import torch

        torch.set_num_threads(1)


def seconds_per_epoch(request: dict, train: Table) -> float:
    """CPU-seconds of as many steps as an epoch has, between the first and the last line of losses.

    Settings that the method does not have are refused, so that architectures are never compared
    that differ. Batches have 512 rows, sdv-dev's 500: an epoch is counted in rows.
    """
    from pegai.synth.networks.training import batch_size

    steps = len(train) / batch_size(len(train))
    looks: list[tuple[float, float]] = []

    def log(figures: Mapping[str, float | int | str]) -> None:
        looks.append((float(figures["step"]), time.process_time()))

    settings = {**request["settings"], "max_steps": round(steps * request["epochs"])}
    make(request["method"], settings).fit(train, rng=request["seed"], run=Run(log=log))
    (first, began), (last, ended) = looks[0], looks[-1]
    if last <= first:
        raise SystemExit("fewer than two lines of losses: nothing to measure between")
    return (ended - began) / (last - first) * steps


def run(request: dict) -> None:
    """Fit, sample and write; the measures last, so that they mean a finished run."""
    train = conform(read_frame(request["train"]), read_schema(request["schema"]))
    warm(request["method"])
    meter = Meter()
    if request["purpose"] == "speed":
        meter.measures["epoch_cpu"] = seconds_per_epoch(request, train)
        meter.write(request["run"])
        return
    with meter.part("fit"):
        sample = fitted(request, train)
    with meter.part("sample"):
        made = sample(request["rows"])
    write_table(made, request["made"])
    if request["million"]:
        with meter.part("million"):
            many = sample(request["million"])
        assert len(many) == request["million"]
    meter.write(request["run"], note=request.get("note", ""))


def main() -> None:
    """Run one request; refusals are told from failures by the exit status."""
    if sys.argv[1:] == ["--methods"]:
        print(json.dumps(list(CATALOG)))
        return
    request = json.loads(Path(sys.argv[1]).read_text())
    try:
        run(request)
    except PegaiError as error:
        # On one line: the parent shows the last.
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(REFUSED) from None


if __name__ == "__main__":
    main()
