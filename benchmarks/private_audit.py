"""pegai's own audit of its private methods: the mu that is claimed and the mu that is seen.

Audits the measurement layer of every method on a worst-case pair at one budget, every mechanism by
itself, and DP-SGD with canaries. mu seen / mu says how tight an audit is; a share above 1 by more
than its interval would be a breach, which is printed.

    python benchmarks/private_audit.py [--runs 100000] [--epsilon 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pegai.audit.canaries import gradient_canary, one_run
from pegai.audit.gdp import Audited
from pegai.audit.layers import PARTS_MU, audit_layer, parts
from pegai.audit.neighbours import audit_schema
from pegai.audit.suite import CANARY_SHARE, QUICK
from pegai.privacy import Privacy
from pegai.synth.catalog import PRIVATE, make

DELTA = 1e-5
MARGINALS = ("independent", "mst", "aim")
TARGET_SHARE, TARGET_SECONDS = 0.88, 300.0
HEAD = "| audit | mu claimed | mu seen | 95 % interval | low / mu | seen / mu | seconds |"


def timed(audit: Callable[[], Audited], runs: int) -> dict[str, float | str]:
    """Audit, print the row, and return it."""
    start = time.perf_counter()
    found = audit()
    seconds = time.perf_counter() - start
    print(
        f"| {found.where}, {runs:,} | {found.mu:.4f} | {found.mu_seen:.4f} "
        f"| {found.mu_low:.4f} to {found.mu_high:.4f} | {found.share:.3f} "
        f"| {found.mu_seen / found.mu:.3f} | {seconds:.1f} |",
        flush=True,
    )
    for finding in found.findings:
        print(f"BREACH: {finding.what}", flush=True)
    return {**found.to_dict(), "seconds": seconds}


def methods(epsilon: float, runs: int) -> list[dict[str, float | str]]:
    """The measurement layer of every method; each row is a patient."""
    schema, privacy = audit_schema(by_patient=False), Privacy(epsilon, DELTA)
    made = [make(name, QUICK.get(name)) for name in PRIVATE]
    return [timed(lambda m=m: audit_layer(m, schema, privacy, runs=runs), runs) for m in made]


def mechanisms(runs: int) -> list[dict[str, float | str]]:
    """Every mechanism by itself."""
    return [timed(lambda p=part: p.audit(runs), runs) for part in parts(PARTS_MU)]


def canaries(runs: int) -> list[dict[str, float | str]]:
    """A gradient canary in each step, and many canaries in one training."""
    steps = max(runs // CANARY_SHARE, 100)
    rows = [timed(lambda: gradient_canary(runs=steps), steps)]
    start = time.perf_counter()
    one = one_run()
    print(
        f"one training, {one.canaries:,} canaries: {one.correct} of {one.guesses} guesses right, "
        f"epsilon at least {one.epsilon_low:.3f} of {one.epsilon:g} claimed at delta {one.delta:g} "
        f"(95 %), {time.perf_counter() - start:.1f} s"
    )
    for finding in one.findings:
        print(f"BREACH: {finding.what}")
    return [*rows, one.to_dict()]


def main() -> None:
    """Audit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"epsilon {arguments.epsilon:g}, delta {DELTA:g}; runs in each world beside the name")
    print(f"{HEAD}\n|---|---|---|---|---|---|---|")
    whole = methods(arguments.epsilon, arguments.runs)
    single = mechanisms(arguments.runs)
    planted = canaries(arguments.runs)
    marginal = [row for row in whole if row["where"] in MARGINALS]
    worst = min(float(row["mu_seen"]) / float(row["mu"]) for row in marginal)
    seconds = sum(float(row["seconds"]) for row in marginal)
    print(
        f"{', '.join(MARGINALS)}: the least mu seen / mu is {worst:.3f} (target: at least "
        f"{TARGET_SHARE}), {seconds:.0f} s together (target: at most {TARGET_SECONDS:.0f})"
    )
    if arguments.json is not None:
        content = {"methods": whole, "mechanisms": single, "canaries": planted}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
