"""Every generator side by side with its peers: scores, seconds and memory, in one run.

    python benchmarks/tabular.py --suite small
    python benchmarks/tabular.py --suite standard --adult FOLDER --support2 FOLDER --resume
        [--methods NAME ...] [--only CASE ...] [--seeds N] [--epsilon E]
        [--peer-seeds 1] [--peer-epochs N] [--environments FOLDER] [--results FOLDER]

Cases are in `tabular_cases.py`, scores in `tabular_scores.py`, targets in `tabular_targets.py`.
Methods are those of pegai's catalog, the peers of `tabular_environments.py`, and, with a budget, a
private naive Bayes. Each fit runs in a process of its own, on one thread, and is measured there:
CPU-seconds of fitting and of sampling (user and system, imports left out) and the most resident
memory. Its rows are scored here against the real holdout. Nothing is chosen by any of it.

Finished fits are kept in the results folder with their settings and git version; `--resume` takes
those whose settings are the same, `--again METHOD` runs a method anew. `results.json` there holds
all finished fits of the folder, and is what `comparison_page.py` makes the documentation's page of.
Adult (doi:10.24432/C5XW20) and SUPPORT2 (doi:10.3886/ICPSR02957) must be fetched; without their
folders their cases are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tabular_cases import (
    EQUAL_ARCHITECTURE,
    MANY_ROWS,
    MILLION,
    MILLION_METHODS,
    SPEED_EPOCHS,
    Case,
    missing_folder,
    parts,
    suite,
)
from tabular_cell import REFUSED
from tabular_environments import PEERS, UnavailableError, prepared
from tabular_results import Cell, cell_path, gathered, git_version, keep, kept, results, show
from tabular_scores import Real, real, scores

from pegai.data.conform import conform
from pegai.data.files import read_frame, write_table
from pegai.data.splits import Split
from pegai.errors import PegaiError
from pegai.schema import Column, write_schema
from pegai.synth.catalog import CATALOG

HERE = Path(__file__).resolve().parent
FULL_PRECISION = 12
BENCH = HERE.parent / ".bench"
FOLDERS = ("--adult", "--support2", "--environments", "--results")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class Todo(NamedTuple):
    """One fit to be made."""

    case: Case
    method: str
    seed: int


def main() -> None:
    """Run what is asked for, keep it, print it."""
    asked = arguments()
    folders = {n: f for n in ("adult", "support2") if (f := getattr(asked, n)) is not None}
    skipped: dict[str, str] = {}
    cases = []
    for case in suite(asked.suite, asked.epsilon):
        if asked.only and case.name not in asked.only:
            continue
        if folder := missing_folder(case, folders):
            skipped[case.name] = f"no --{folder} FOLDER was given"
            continue
        cases.append(case)
    pythons = peers_ready(asked, cases, skipped)
    todo = [t for case in cases for t in plan(case, asked, pythons)]
    runner = Runner(asked, folders, pythons)
    for done, item in enumerate(todo, 1):
        print(f"[{done}/{len(todo)}] {described(runner.cell(item))}", flush=True)
        save(asked, skipped)
    show(save(asked, skipped))


def save(asked: argparse.Namespace, skipped: dict[str, str]) -> dict[str, Any]:
    """Write `results.json` after every cell, so that a stopped run has a page too."""
    cases = [dataclasses.asdict(case) for case in suite("standard", asked.epsilon)]
    cells = gathered(asked.results, cases, [*CATALOG, "naive-bayes", *PEERS])
    found = results(cells, cases, skipped)
    asked.results.mkdir(parents=True, exist_ok=True)
    (asked.results / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def command_line() -> str:
    """The command with folders by what they are, not where."""
    return shlex.join(["python", "benchmarks/tabular.py", *_told_arguments()])


def _told_arguments() -> Iterator[str]:
    previous = ""
    for word in sys.argv[1:]:
        flag, sign, _ = word.partition("=")
        if previous in FOLDERS:
            word = previous.removeprefix("--").upper()  # noqa: PLW2901
        elif sign and flag in FOLDERS:
            word = f"{flag}={flag.removeprefix('--').upper()}"  # noqa: PLW2901
        yield word
        previous = word


def plan(case: Case, asked: argparse.Namespace, pythons: dict[str, Path]) -> Iterator[Todo]:
    """The fits of a case, seed by seed, so that a stopped run has every method."""
    for seed in range(asked.first_seed, asked.first_seed + (asked.seeds or case.seeds)):
        for method in methods_of(case, asked, pythons):
            peer = method in PEERS
            limit = asked.peer_seeds if peer and is_large(case) else None
            if limit is None or seed - asked.first_seed < limit:
                yield Todo(case, method, seed)


def methods_of(case: Case, asked: argparse.Namespace, pythons: dict[str, Path]) -> list[str]:
    """The methods that a case compares."""
    if case.purpose == "speed":
        every = ["ctgan", *(["sdv-ctgan"] if "sdv-ctgan" in pythons else [])]
    elif case.purpose == "wide":
        # Peers only by name: sdv-dev's CTGAN takes all memory there is.
        every = [*CATALOG, *(pythons if asked.methods else ())]
    elif case.epsilon is not None:
        every = [*CATALOG, "naive-bayes"]
    else:
        every = [*CATALOG, *pythons]
    return [m for m in every if not asked.methods or m in asked.methods]


def is_large(case: Case) -> bool:
    """Whether slow peers may have fewer seeds and epochs."""
    return case.data not in ("cleveland", "hospitals")


def peers_ready(
    asked: argparse.Namespace, cases: list[Case], skipped: dict[str, str]
) -> dict[str, Path]:
    """The Python of every peer that is asked for and can be run; others are told as skipped."""
    found: dict[str, Path] = {}
    usual = any(case.epsilon is None and case.purpose != "wide" for case in cases)
    if not usual and not asked.methods:
        return found
    for name, peer in PEERS.items():
        if asked.no_peers or (asked.methods and name not in asked.methods):
            continue
        try:
            found[name] = prepared(peer.environment, asked.environments)[0]
        except UnavailableError as error:
            skipped[name] = str(error)
            print(f"skipped: {name}: {error}", flush=True)
    return found


class Runner:
    """Starts fits and scores their rows; the real tables of the last split stay in memory."""

    def __init__(
        self, asked: argparse.Namespace, folders: dict[str, Path], pythons: dict[str, Path]
    ) -> None:
        self.asked, self.folders, self.pythons = asked, folders, pythons
        self.version = git_version()
        self._split: tuple[tuple[str, int], Split, Real | None] | None = None

    def cell(self, item: Todo) -> Cell:
        """A kept cell of the same settings, or a new one."""
        wanted = self.settings(item)
        path = cell_path(self.asked.results, item.case.name, item.method, item.seed)
        again = item.method in self.asked.again
        if self.asked.resume and not again and (found := kept(path, wanted)) is not None:
            return found
        start = time.perf_counter()
        cell = {"case": item.case.name, "method": item.method, "seed": item.seed,
                "asked": wanted, "version": self.version,
                "command": command_line(), **self.made(item, wanted)}  # fmt: skip
        keep(path, {**cell, "seconds": round(time.perf_counter() - start, 1)})
        return cell

    def settings(self, item: Todo) -> Cell:
        """What decides the outcome of a cell, but for the code."""
        case, peer = item.case, PEERS.get(item.method)
        epochs = None if peer is None else peer.epochs
        if epochs is not None and is_large(case) and self.asked.peer_epochs:
            epochs = self.asked.peer_epochs
        settings: dict[str, Any] = {}
        if case.purpose == "speed":
            epochs, settings = SPEED_EPOCHS, {} if peer else EQUAL_ARCHITECTURE
        elif item.method in self.asked.settings:
            settings = self.asked.settings[item.method]
        first = item.seed == self.asked.first_seed
        many = case.million and first and item.method in MILLION_METHODS
        return {
            "purpose": case.purpose,
            "data": case.data,
            "holdout": case.holdout,
            "epsilon": case.epsilon,
            "delta": case.delta,
            "epochs": epochs,
            "settings": settings,
            "million": MILLION if many else 0,
        }

    def made(self, item: Todo, wanted: Cell) -> Cell:
        """Run the fit in a folder of its own; what came of it."""
        split, against = self.real(item)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            request = {**wanted, "method": item.method, "seed": item.seed,
                       **files(split, folder, item.method in PEERS)}  # fmt: skip
            (folder / "request.json").write_text(json.dumps(request))
            status, reason = self.child(item.method, folder)
            if status != "done":
                return {"status": status, "reason": reason}
            run = json.loads((folder / "run.json").read_text())
            found = {"status": "done", "reason": "", "note": run.get("note", ""),
                     "measures": run["measures"]}  # fmt: skip
            if against is None:
                return found
            try:
                rows = conform(read_frame(request["made"]), split.train.schema)
                return {**found, "scores": scores(rows, against, item.seed)}
            except (PegaiError, ValueError) as error:
                # Hours of other fits must not be lost for rows that can't be scored.
                return {**found, "status": "failed", "reason": f"its rows: {error}"}

    def real(self, item: Todo) -> tuple[Split, Real | None]:
        """The split, and its baselines where anything is scored."""
        # A split that comes with the data is the same for every seed.
        seed = 0 if item.case.holdout is None else item.seed
        key = (item.case.name, seed)
        if self._split is None or self._split[0] != key:
            split = parts(item.case, seed, self.folders)
            scored = item.case.purpose == "scores"
            against = real(split.train, split.holdout, seed) if scored else None
            self._split = (key, split, against)
        return self._split[1], self._split[2]

    def child(self, method: str, folder: Path) -> tuple[str, str]:
        """Start a fit and wait, within the limits of time and memory: (status, reason)."""
        python, script = Path(sys.executable), HERE / "tabular_cell.py"
        if method in self.pythons:
            python, script = self.pythons[method], PEERS[method].script
        command = [str(python), "-W", "ignore", str(script), str(folder / "request.json")]
        errors = folder / "errors.txt"
        with errors.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=stream,
                env={**os.environ, **dict.fromkeys(THREADS, "1")},
            )  # fmt: skip
            stopped = watched(process, self.asked.limit_seconds, self.asked.limit_gb)
        if stopped:
            return "stopped", stopped
        if process.returncode == 0 and (folder / "run.json").exists():
            return "done", ""
        last = [x for x in errors.read_text().splitlines() if x.strip()][-1:] or ["no message"]
        status = "refused" if process.returncode == REFUSED else "failed"
        return status, last[0].strip().replace(str(folder), "...")


def files(split: Split, folder: Path, peer: bool) -> dict[str, Any]:
    """Write the training rows for a child; where everything is, and what the columns are."""
    paths: dict[str, Any] = {
        "run": str(folder / "run.json"),
        "made": str(folder / ("made.csv" if peer else "made.parquet")),
        "rows": len(split.train),
    }
    if peer:
        write_table(split.train, folder / "train.csv")
        columns = split.train.columns
        decimals = {c.name: places(c) for c in columns}
        discrete = [c.name for c in columns if c.is_discrete]
        return {**paths, "train_csv": str(folder / "train.csv"), "discrete": discrete,
                "decimals": decimals}  # fmt: skip
    write_table(split.train, folder / "train.parquet")
    write_schema(split.train.schema, folder / "schema.json")
    schema = str(folder / "schema.json")
    return {**paths, "train": str(folder / "train.parquet"), "schema": schema}


def places(column: Column) -> int:
    """Decimals that a peer's numbers are rounded to."""
    if column.type == "integer":
        return 0
    return FULL_PRECISION if column.pegai.decimals is None else column.pegai.decimals


def watched(process: subprocess.Popen, seconds: float, gigabytes: float) -> str:
    """Wait for a child; why it was stopped, or nothing."""
    start, status = time.monotonic(), Path(f"/proc/{process.pid}/status")
    while True:
        try:
            process.wait(timeout=1.0)
            return ""
        except subprocess.TimeoutExpired:
            reason = ""
            if time.monotonic() - start > seconds:
                reason = f"stopped after {seconds:g} s"
            elif resident_gb(status) > gigabytes:
                reason = f"stopped at more than {gigabytes:g} GB"
            if reason:
                process.kill()
                process.wait()
                return reason


def resident_gb(status: Path) -> float:
    """Resident memory of a process now; 0 where the system does not tell."""
    if not status.exists():
        return 0.0
    lines = [x for x in status.read_text().splitlines() if x.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 2**20 if lines else 0.0


def described(cell: Cell) -> str:
    """A cell on one line."""
    head = f"{cell['case']} {cell['method']} seed {cell['seed']}: "
    if cell["status"] != "done":
        return f"{head}{cell['status']}: {cell['reason']}"
    shown = {**cell["measures"], **cell.get("scores", {})}
    names = ("fit_cpu", "epoch_cpu", "c2st", "tstr", "membership_distance", "million_wall")
    return head + ", ".join(f"{n} {shown[n]:.3g}" for n in names if n in shown)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--suite", choices=("small", "standard"), default="small")
    add("--only", nargs="+", default=[], metavar="CASE")
    add("--methods", nargs="+", default=[], metavar="NAME")
    add("--adult", type=Path)
    add("--support2", type=Path)
    add("--seeds", type=int, help="in place of each case's own number")
    add("--first-seed", type=int, default=0)
    add("--epsilon", type=float, help="in place of each private case's own budget")
    add("--no-peers", action="store_true")
    add("--peer-seeds", type=int, help=f"seeds of peers on tables above {MANY_ROWS} rows")
    add("--peer-epochs", type=int, help=f"epochs of sdv-dev's on tables above {MANY_ROWS} rows")
    add("--environments", type=Path, default=BENCH, help="the peers' environments")
    add("--results", type=Path, default=BENCH / "tabular", help="finished fits, results.json")
    add("--resume", action="store_true", help="take finished fits of the same settings")
    add("--again", nargs="+", default=[], metavar="NAME", help="with --resume: not of these")
    add("--settings", type=json.loads, default={}, metavar="JSON",
        help="settings by method, for trying: the output says so")  # fmt: skip
    add("--limit-seconds", type=float, default=3 * 3600)
    add("--limit-gb", type=float, default=12.0)
    found = parser.parse_args()
    found.results, found.environments = found.results.resolve(), found.environments.resolve()
    return found


if __name__ == "__main__":
    main()
