"""Finished cells of `tabular.py`: kept one a file, put together over seeds, printed."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabular_targets import judged

import pegai

Cell = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
SHOWN = {
    "scores": (
        ("c2st", "C2ST"),
        ("tstr", "TSTR"),
        ("membership_distance", "distance"),
        ("membership_ratio", "ratio"),
        ("membership_best", "best"),
        ("copies", "copies"),
        ("missing_pairs_max", "missing"),
        ("fit_cpu", "fit s"),
        ("sample_cpu", "sample s"),
        ("peak_mb", "peak MB"),
    ),
    "wide": (("fit_wall", "fit wall s"), ("fit_cpu", "fit CPU-s"), ("fit_peak_mb", "peak MB")),
    "speed": (("epoch_cpu", "CPU-s an epoch"), ("epoch_speedup", "times faster")),
}
"""Columns of the tables by a case's purpose."""

HIGHER, LOWER, HALF = "higher", "lower", "half"
CLAIMED = {
    "c2st": HALF,
    "tstr": HIGHER,
    "membership_distance": HALF,
    "membership_best": HALF,
    "missing_pairs_max": LOWER,
    "copies_excess": LOWER,
}
"""Scores on which every method is compared with `independent`, and which way is better."""


def git_version() -> str:
    """The commit, `-dirty` where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def machine() -> dict[str, str | int]:
    """Where it ran, without a name or a path."""
    model = ""
    if (info := Path("/proc/cpuinfo")).exists():
        lines = (x.partition(":")[2].strip() for x in info.read_text().splitlines()
                 if x.startswith("model name"))  # fmt: skip
        model = next(lines, "")
    return {
        "pegai": pegai.__version__,
        "processor": model or platform.machine(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cell_path(folder: Path, case: str, method: str, seed: int) -> Path:
    """Where a finished cell is kept."""
    return folder / "cells" / case / f"{method}-{seed}.json"


def kept(path: Path, asked: Cell) -> Cell | None:
    """The finished cell of the same settings, or None."""
    if not path.exists():
        return None
    cell = json.loads(path.read_text())
    return cell if cell["asked"] == asked else None


def keep(path: Path, cell: Cell) -> None:
    """Write a finished cell, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(cell, indent=1) + "\n")
    draft.replace(path)


def gathered(folder: Path, cases: list[Cell], order: list[str]) -> list[Cell]:
    """Every finished cell in the folder, of whichever run, whose case is still asked like that.

    Args:
        folder: The results folder.
        cases: The cases, as dicts.
        order: Methods in the order that they are shown in.
    """
    found = []
    for case in cases:
        paths = sorted((folder / "cells" / case["name"]).glob("*.json"))
        cells = [json.loads(path.read_text()) for path in paths]
        same = [c for c in cells if all(c["asked"][k] == case[k] for k in ("data", "epsilon"))]
        found += sorted(same, key=lambda c: (_place(c["method"], order), c["seed"]))
    return found


def _place(method: str, order: list[str]) -> int:
    return order.index(method) if method in order else len(order)


def figures(cell: Cell) -> dict[str, float]:
    """Measures and scores together; the peak is that of fit and sample.

    Tables of few levels repeat themselves: only copies beyond the holdout's share count as such.
    """
    found = {**cell.get("measures", {}), **cell.get("scores", {})}
    if "sample_peak_mb" in found:
        found["peak_mb"] = found["sample_peak_mb"]
    if "copies" in found:
        found["copies_excess"] = max(0.0, found["copies"] - found["copies_holdout"])
    return found


def summarised(cells: Iterable[Cell]) -> dict[str, Any]:
    """By case and method: how the runs went, and median, least and most of every figure."""
    grouped: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        grouped[cell["case"]][cell["method"]].append(cell)
    found: dict[str, Any] = {}
    for case, methods in grouped.items():
        found[case] = {name: _summary(rows) for name, rows in methods.items()}
        _add_speedup(found[case])
    return found


def _summary(rows: list[Cell]) -> dict[str, Any]:
    done = [figures(r) for r in rows if r["status"] == "done"]
    names = dict.fromkeys(name for row in done for name in row)
    other = [r for r in rows if r["status"] != "done"]
    # One seed that fails is a method that fails: the worst status is the method's.
    status = other[0]["status"] if other else "done"
    scores = {}
    for name in names:
        values = [row[name] for row in done if name in row]
        scores[name] = {
            "median": statistics.median(values),
            "least": min(values),
            "most": max(values),
            "values": values,
        }
    reasons = list(dict.fromkeys(r["reason"] for r in other))
    notes = list(dict.fromkeys(r["note"] for r in rows if r.get("note")))
    asked = {k: v for k, v in rows[0]["asked"].items() if k in ("settings", "epochs")}
    versions = list(dict.fromkeys(r["version"] for r in rows))
    return {
        "status": status,
        "reasons": reasons,
        "notes": notes,
        "asked": asked,
        "seeds": [r["seed"] for r in rows if r["status"] == "done"],
        "versions": versions,
        "scores": scores,
    }


def _add_speedup(methods: dict[str, Any]) -> None:
    ours = methods.get("ctgan", {}).get("scores", {}).get("epoch_cpu")
    theirs = methods.get("sdv-ctgan", {}).get("scores", {}).get("epoch_cpu")
    if ours and theirs:
        times = theirs["median"] / ours["median"]
        spread = {"median": times, "least": times, "most": times, "values": [times]}
        methods["ctgan"]["scores"]["epoch_speedup"] = spread


def beaten(methods: dict[str, Any]) -> dict[str, list[str]]:
    """For each method, the scores on which `independent` has the better median."""
    if "independent" not in methods:
        return {}
    base, found = methods["independent"]["scores"], {}
    for name, summary in methods.items():
        if name == "independent" or not summary["scores"]:
            continue
        found[name] = [
            score
            for score, sense in CLAIMED.items()
            if score in summary["scores"]
            and score in base
            and _cost(summary["scores"][score], sense) > _cost(base[score], sense)
        ]
    return found


def _cost(score: dict[str, Any], sense: str) -> float:
    """Less is better. An area below one half tells nothing more than one half."""
    value = score["median"]
    if sense == HALF:
        return max(value, 0.5)
    return -value if sense == HIGHER else value


def results(
    cells: list[Cell], cases: list[dict[str, Any]], skipped: dict[str, str]
) -> dict[str, Any]:
    """Everything that is printed and that the comparison page is made of."""
    summary = summarised(cells)
    medians = {
        case: {m: {k: v["median"] for k, v in s["scores"].items()} for m, s in methods.items()}
        for case, methods in summary.items()
    }
    every = {case: {m: s["status"] for m, s in of.items()} for case, of in summary.items()}
    return {
        "commands": list(dict.fromkeys(c["command"] for c in cells)),
        "machine": machine(),
        "git": git_version(),
        "cases": [c for c in cases if c["name"] in summary],
        "skipped": {name: why for name, why in skipped.items() if name not in summary},
        "summary": summary,
        "targets": judged(medians, every),
        "worse_than_independent": {case: beaten(methods) for case, methods in summary.items()},
    }


def show(found: dict[str, Any]) -> None:
    """Print every table, then the targets."""
    print("\n" + ", ".join(f"{k} {v}" for k, v in found["machine"].items()), f"git {found['git']}")
    for name, reason in found["skipped"].items():
        print(f"skipped: {name}: {reason}")
    for case in found["cases"]:
        _show_case(case, found["summary"][case["name"]])
        worse = found["worse_than_independent"][case["name"]]
        for method, names in worse.items():
            if names:
                print(f"  `independent` has the better median than {method} on {', '.join(names)}")
    print("\ntargets")
    for target in found["targets"]:
        word = {True: "met", False: "NOT MET", None: "not run"}[target["met"]]
        value = "-" if target["value"] is None else f"{target['value']:.4g}"
        asked = f"{target['sense']} {target['bound']}"
        line = f"{target['case']:18} {target['method']:12} {target['score']:20} {value:>9}"
        print(f"  {line} {asked:22} {word}")


def _show_case(case: dict[str, Any], methods: dict[str, Any]) -> None:
    asked = f", epsilon {case['epsilon']:g}" if case["epsilon"] else ""
    print(f"\n{case['title']}{asked}: medians over seeds, [least, most]")
    columns = SHOWN[case["purpose"]]
    print(f"  {'':14}" + "".join(f"{title:>26}" for _, title in columns))
    for method, summary in methods.items():
        cells = [_spread(summary["scores"].get(name)) for name, _ in columns]
        print(f"  {method:14}" + "".join(f"{c:>26}" for c in cells))
        told = [*summary["reasons"], *summary["notes"]]
        if summary["asked"].get("epochs"):
            told.append(f"{summary['asked']['epochs']} epochs")
        for line in told:
            print(f"  {'':14}{line}")
    if case["purpose"] == "scores":
        base = next((m["scores"] for m in methods.values() if "trtr" in m["scores"]), {})
        names = ("trtr", "c2st_real", "copies_holdout", "missing_pairs_real")
        print("  real rows:    " + ", ".join(f"{n} {_spread(base.get(n))}" for n in names))


def _spread(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    if len(found["values"]) == 1:
        return f"{found['median']:.4g}"
    return f"{found['median']:.3g} [{found['least']:.3g}, {found['most']:.3g}]"
