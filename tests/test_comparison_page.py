"""The comparison of methods: what its page says of results, and one real run of the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def score(*values: float) -> dict[str, Any]:
    middle = sorted(values)[len(values) // 2]
    return {"median": middle, "least": min(values), "most": max(values), "values": list(values)}


def summary(status: str = "done", reasons: tuple[str, ...] = (), **scores: Any) -> dict[str, Any]:
    real = {"trtr": score(0.88), "c2st_real": score(0.5), "copies_holdout": score(0.0),
            "missing_pairs_real": score(0.0)} if scores else {}  # fmt: skip
    return {
        "status": status, "reasons": list(reasons), "notes": [], "versions": ["abc1234"],
        "asked": {"settings": {}, "epochs": None}, "seeds": [0, 1, 2] if scores else [],
        "scores": {**scores, **real},
    }  # fmt: skip


def results() -> dict[str, Any]:
    from tabular_results import beaten
    from tabular_targets import judged

    methods = {
        "independent": summary(c2st=score(0.9, 0.91, 0.92), tstr=score(0.4, 0.5, 0.6)),
        "ctgan": summary(c2st=score(0.95, 0.96, 0.97), tstr=score(0.86, 0.87, 0.88)),
        "tvae": summary(c2st=score(0.6, 0.61, 0.62), tstr=score(0.84, 0.85, 0.86)),
        "pategan": summary("refused", ("PrivacyError: a budget is needed",)),
    }
    case = {"name": "cleveland", "title": "Cleveland", "purpose": "scores", "epsilon": None}
    medians = {"cleveland": {m: {k: v["median"] for k, v in s["scores"].items()}
                             for m, s in methods.items()}}  # fmt: skip
    every = {"cleveland": {m: s["status"] for m, s in methods.items()}}
    machine = {"pegai": "0", "processor": "P", "cores": 2, "system": "S", "python": "3"}
    return {
        "commands": ["python benchmarks/tabular.py"], "machine": machine, "git": "abc1234",
        "cases": [case], "skipped": {"tabular-argn": "pip found no torch"},
        "summary": {"cleveland": methods}, "targets": judged(medians, every),
        "worse_than_independent": {"cleveland": beaten(methods)},
    }  # fmt: skip


def test_the_page_says_where_independent_columns_do_better() -> None:
    from comparison_page import page

    text = page(results())
    assert "Cleveland: `ctgan` on C2ST (0.960 against 0.910)" in text
    assert "`tvae` on" not in text


def test_overlapping_ranges_are_told() -> None:
    from comparison_page import against

    methods = {"independent": summary(c2st=score(0.9, 0.91, 0.96)),
               "gan": summary(c2st=score(0.9, 0.95, 0.97))}  # fmt: skip
    assert against(methods, "gan", "c2st") == "C2ST (0.950 against 0.910, overlapping)"


def test_only_copies_beyond_the_share_of_the_holdout_count() -> None:
    from tabular_results import figures

    assert figures({"scores": {"copies": 0.1, "copies_holdout": 0.2}})["copies_excess"] == 0
    found = figures({"scores": {"copies": 0.3, "copies_holdout": 0.2}})
    assert found["copies_excess"] == pytest.approx(0.1)


def test_what_is_missing_is_said_to_be_missing() -> None:
    from comparison_page import page

    text = page(results())
    assert "`arm` was not run; no figures." in text
    assert "`tabular-argn` was not run: pip found no torch; no figures." in text
    assert "`pategan`: refused: PrivacyError: a budget is needed" in text
    assert "| `pategan` | refused |" in text


def test_targets_are_met_not_met_or_not_run() -> None:
    found = {(t["method"], t["score"]): t["met"] for t in results()["targets"]
             if t["case"] == "cleveland"}  # fmt: skip
    assert found["ctgan", "tstr"] is True
    assert found["ctgan", "c2st"] is False
    assert found["tvae", "tstr"] is False
    assert found["gan", "tstr"] is None


def test_bounds_can_be_scores_of_the_same_and_of_another_method() -> None:
    from tabular_targets import judged

    medians = {
        "adult": {"auto": {"copies": 0.002, "copies_holdout": 0.001}},
        "adult-private": {"gan": {"tstr": 0.83}, "independent": {"tstr": 0.5}},
    }
    found = {(t["case"], t["method"], t["bound"]): t["met"] for t in judged(medians, {})}
    assert found["adult", "auto", "copies_holdout"] is False
    assert found["adult-private", "gan", "independent:tstr"] is True


def test_a_fit_that_failed_has_not_met_its_target() -> None:
    from tabular_targets import judged

    found = judged({}, {"cleveland": {"gan": "failed"}, "wide": {"mst": "stopped", "aim": "done"}})
    told = {(t["case"], t["method"], t["score"]): t["met"] for t in found}
    assert told["cleveland", "gan", "tstr"] is False
    assert told["wide", "mst", "fitted_or_refused"] is False
    assert told["wide", "aim", "fitted_or_refused"] is True


def test_the_words_know_every_method_of_the_catalog() -> None:
    from comparison_page import OURS

    from pegai.synth.catalog import CATALOG

    assert set(CATALOG) <= set(OURS)


def test_a_fit_that_takes_too_long_is_stopped_and_says_so() -> None:
    from tabular import watched

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        assert watched(child, 0.5, 1.0) == "stopped after 0.5 s"


def test_a_peer_that_cannot_be_installed_says_why() -> None:
    from tabular_environments import UnavailableError, _run

    with pytest.raises(UnavailableError, match="no torch here"):
        _run([sys.executable, "-c", "raise SystemExit('no torch here')"])


def test_the_cart_peer_keeps_what_is_missing_with_what_it_depends_on() -> None:
    import numpy as np
    import pandas as pd

    sys.path.insert(1, str(BENCHMARKS / "tabular_peers"))
    from cart_peer import Cart

    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b", "c"], size=600)
    value = np.where(group == "a", np.nan, np.round(rng.normal(5, 1, 600), 1))
    frame = pd.DataFrame({"group": group, "value": value})
    for method in ("cart", "cart-smooth"):
        made = Cart(frame, ["group"], method, 0).sample(500, {"group": 0, "value": 1}, 1)
        assert (made["value"].isna() == (made["group"] == "a")).all()
        assert set(made["group"]) == {"a", "b", "c"}
        assert made["value"].between(value[value > 0].min(), np.nanmax(value)).sum() > 200


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_real_run_and_its_page(tmp_path: Path) -> None:
    asked = ["--only", "cleveland", "--methods", "independent", "mst", "--seeds", "1",
             "--no-peers", "--results", str(tmp_path)]  # fmt: skip
    shown = run("tabular.py", *asked)
    assert "cleveland independent seed 0: fit_cpu" in shown
    cell = tmp_path / "cells" / "cleveland" / "mst-0.json"
    before = cell.stat().st_mtime_ns
    run("tabular.py", *asked, "--resume")
    assert cell.stat().st_mtime_ns == before

    found = json.loads((tmp_path / "results.json").read_text())
    scores = found["summary"]["cleveland"]["mst"]["scores"]
    assert 0.5 < scores["tstr"]["median"] <= 1
    assert scores["fit_cpu"]["median"] > 0
    assert scores["peak_mb"]["median"] > 10
    out, plot = tmp_path / "page.md", tmp_path / "figures" / "plot.png"
    run("comparison_page.py", str(tmp_path), "-o", str(out), "--plot", str(plot))
    text = out.read_text()
    assert "| `mst` | 0." in text
    assert "](figures/plot.png)" in text
    assert str(tmp_path) not in text
    assert plot.stat().st_size > 5_000
