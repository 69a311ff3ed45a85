"""Federated runs from files to files: the plan in words, and simulations with their report."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pegai.data.atomic import atomic_write_text
from pegai.data.conform import load_table
from pegai.data.files import file_sha256, write_table
from pegai.data.splits import Split, split
from pegai.data.table import Table
from pegai.errors import FederationError, UsageError
from pegai.evaluate.utility.places import auc_by_place
from pegai.federate.coordinator import FederatedFit
from pegai.federate.exchanges import Seen, together
from pegai.federate.plan import FederationPlan, Noise, plan_from_dict, read_plan
from pegai.federate.simulate import SiteData, simulate
from pegai.privacy.explain import explain
from pegai.privacy.guarantee import Privacy, default_ledger
from pegai.streams import Streams
from pegai.synth.base import learned_schema
from pegai.synth.running import Progress, Run

EVALUATION_SAMPLES = 3

Engine = Literal["process", "flare"]

TEMPLATE = """\
# A draft of a federated run; pegai federate simulate runs it on files that are all here.
study = "heart"
schema = "heart.schema.json"   # beside this file; the same at every site
method = "aim"                 # or mst
epsilon = 1.0                  # of the whole run, for each patient
delta = 1e-4                   # at most 1 / (10 x patients of all sites)
noise = "local"                # each site adds all noise; secagg: each a part, only the sum is seen
colluders = 1                  # secagg: sites that may fail or tell
# quorum = 3                   # fewest sites that a result may rest on; else all
sites_a_patient = 1            # most sites with rows of one and the same patient
rows = 1000                    # synthetic rows; a public number
sites = [{ name = "aarhus" }, { name = "bergen" }, { name = "cadiz" }]
"""


@dataclass(frozen=True)
class SimulationRequest:
    """What to simulate.

    Attributes:
        plan: The draft.
        sites: A file for each site.
        out: Folder for everything; a run begun in it is gone on with.
        noise: In place of the plan's.
        holdout: Share of each site's patients that no site shows to the run.
        seed: Of the splits, of sampling and of the evaluation; never of noise.
        ledger: Where the sites' charges are recorded; None as for a fit.
        compare: Whether each site is fitted alone, and all together in one place, at the same
            epsilon each, charged as well.
        private: False averages networks without privacy, to compare with.
        engine: `process`, or `flare` for FLARE's simulator.
    """

    plan: Path
    sites: Mapping[str, Path]
    out: Path
    noise: Noise | None = None
    holdout: float = 0.3
    seed: int = 0
    ledger: Path | None = None
    compare: bool = False
    private: bool = True
    engine: Engine = "process"


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation gave.

    Attributes:
        plan: The draft, as it was run.
        fit: The run.
        figures: Areas under the ROC curve, by what was fitted (`federated`, `pooled`,
            `alone NAME`) and where it was tested (`all`, or a site).
        real: Those of a model of all real training patients, by where it was tested.
        files: What was written.
        seconds: Of the run, without evaluation.
    """

    plan: FederationPlan
    fit: FederatedFit
    figures: Mapping[str, Mapping[str, float]]
    real: Mapping[str, float]
    files: Mapping[str, Path]
    seconds: float

    @property
    def is_private(self) -> bool:
        """Whether the model has a guarantee."""
        return self.fit.model.guarantee is not None


def plan_in_words(path: Path) -> dict[str, Any]:
    """What a plan asks of each site, before any data are read.

    Raises:
        PegaiError: The plan breaks a rule.
    """
    plan = read_plan(path)
    sites = len(plan.sites)
    schema = learned_schema(plan.schema_)
    # With local noise and patients at several sites each site's noise is wider, too.
    wider = 1.0 if plan.by_steps else plan.privacy_budget / plan.site_budget
    spread = math.sqrt(plan.noise_variance(sites) * wider)
    noise = plan.synthesizer.expected_noise(schema, plan.privacy)
    return {
        "study": plan.study,
        "digest": plan.digest,
        "method": plan.method,
        "noise": plan.noise,
        "sites": list(plan.names),
        "quorum": plan.least,
        "epsilon": plan.privacy.epsilon,
        "delta": plan.privacy.delta,
        "unit": plan.unit,
        "noise_in_patients": {label: width * spread for label, width in noise.items()},
        "in_one_place": noise,
        "in_words": explain(plan.privacy.epsilon, plan.privacy.delta).in_words(),
        "rests_on": list(plan.privacy.public),
    }


def simulate_files(request: SimulationRequest, progress: Progress) -> Simulation:
    """Run a plan on files that are all here, and write model, rows and report.

    Raises:
        PegaiError: The plan, a file or a site refuses.
    """
    plan = _plan(request)
    if not request.private and not plan.by_steps:
        raise UsageError(
            f"--without-privacy averages networks, and {plan.method} has none",
            hint="a plan with method gan, ctgan, tvae or vaegan",
        )
    progress("reading", 0.0)
    parts = {name: _read(path, plan, request) for name, path in request.sites.items()}
    ledger = request.ledger or default_ledger()
    name = plan.schema_.pegai.dataset or plan.study
    sites = {
        site: SiteData(part.train, ledger, f"{name} at {site}") for site, part in parts.items()
    }
    start = time.perf_counter()
    streams = Streams(request.seed)
    if request.private:
        _same_run(request, plan)
    if request.private and request.engine == "flare":
        fit = _on_flare(plan, sites, request.out / "run", progress)
    elif request.private:
        fit = simulate(plan, sites, request.out / "run", Run(progress))
    else:
        fit = _averaged(plan, sites, streams, progress)
    seconds = time.perf_counter() - start
    fit.model.save(request.out / "model", overwrite=True)
    write_table(
        fit.model.sample(plan.rows, rng=streams.get("sample")), request.out / "synthetic.csv"
    )
    tables = {"federated": _samples(fit.model, parts, streams)}
    if request.compare:
        tables |= _compared(plan, sites, parts, streams, progress, private=request.private)
    figures, real = _figures(tables, parts, request.seed, progress)
    files: dict[str, Path] = {
        "model": request.out / "model",
        "synthetic": request.out / "synthetic.csv",
        "report": request.out / "federation.md",
        "figures": request.out / "federation.json",
    }
    if request.private and request.engine == "process":
        files["plan"] = request.out / "run" / "plan.json"
    done = Simulation(plan, fit, figures, real, files, seconds)
    atomic_write_text(files["figures"], json.dumps(_plain(done), indent=1) + "\n")
    atomic_write_text(files["report"], _report(done))
    return done


def _same_run(request: SimulationRequest, plan: FederationPlan) -> None:
    """A run is gone on with only as it was begun: another split would test on who was learned."""
    folder = request.out / "run"
    begun = {
        "plan": plan.digest,
        "files": {name: file_sha256(path) for name, path in sorted(request.sites.items())},
        "holdout": request.holdout,
        "seed": request.seed,
        "engine": request.engine,
    }
    path = folder / "begun.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(begun, indent=1) + "\n")
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name, value in begun.items() if found.get(name) != value]
    if differing:
        raise FederationError(
            f"{folder}: holds a run with another {' and '.join(differing)}",
            hint="name a new folder, --out, or give what it was begun with",
        )


def _plan(request: SimulationRequest) -> FederationPlan:
    plan = read_plan(request.plan)
    changes = {"wait_seconds": 0.0, **({"noise": request.noise} if request.noise else {})}
    return plan_from_dict(plan.to_dict() | changes, name=str(request.plan))


def _read(path: Path, plan: FederationPlan, request: SimulationRequest) -> Split:
    table = load_table(path, plan.schema_, extra="drop", cell_by_cell=True)
    return split(table, holdout=request.holdout, rng=Streams(request.seed).get("split"))


def _pooled(parts: Mapping[str, Split]) -> Split:
    def together(tables: list[Table]) -> Table:
        return Table(pl.concat([t.frame for t in tables]), tables[0].schema)

    return Split(
        together([p.train for p in parts.values()]), together([p.holdout for p in parts.values()])
    )


def _samples(model: Any, parts: Mapping[str, Split], streams: Streams) -> list[Table]:
    rows = sum(len(part.train) for part in parts.values())
    return [model.sample(rows, rng=streams.get("sample", 1 + i)) for i in range(EVALUATION_SAMPLES)]


def _compared(
    plan: FederationPlan,
    sites: Mapping[str, SiteData],
    parts: Mapping[str, Split],
    streams: Streams,
    progress: Progress,
    *,
    private: bool,
) -> dict[str, list[Table]]:
    """The same method at the same epsilon: all rows in one place, and each site alone."""
    asked = Privacy(plan.epsilon, plan.delta, plan.unit)
    ledger = next(iter(sites.values())).ledger
    whole = SiteData(_pooled(parts).train, ledger, f"{plan.study} in one place")
    jobs = {"pooled": whole} | {f"alone {name}": site for name, site in sites.items()}
    tables: dict[str, list[Table]] = {}
    for done, (name, data) in enumerate(jobs.items()):
        progress(f"for comparison: {name}", done / len(jobs))
        if private:
            privacy = replace(asked, ledger=data.ledger, dataset=data.dataset)
            model = plan.synthesizer.fit(data.table, privacy=privacy)
        else:
            model = plan.synthesizer.fit(data.table, rng=streams.get("model", 1 + done))
        tables[name] = _samples(model, parts, streams)
    return tables


def _on_flare(
    plan: FederationPlan, sites: Mapping[str, SiteData], folder: Path, progress: Progress
) -> FederatedFit:
    """In FLARE's simulator, each site with a file of its own."""
    from pegai.federate.flare_simulator import SiteFile, simulate_on_flare

    files: dict[str, SiteFile] = {}
    for name, site in sites.items():
        path = folder / "data" / f"{name}.csv"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_table(site.table, path)
        files[name] = SiteFile(path, site.ledger, site.dataset)
    fit = simulate_on_flare(plan, files, folder, progress)
    shutil.rmtree(folder / "data")  # a second copy of patients is kept no longer than it must
    return fit


def _averaged(
    plan: FederationPlan, sites: Mapping[str, SiteData], streams: Streams, progress: Progress
) -> FederatedFit:
    """Networks averaged over rounds, without privacy."""
    from pegai.federate.averaging import fit_averaged
    from pegai.federate.networks import method_of

    tables = {name: site.table for name, site in sites.items()}
    model = fit_averaged(method_of(plan), tables, streams.get("model"), Run(progress))
    return FederatedFit(model, (), plan.names, {}, "")


def _figures(
    tables: Mapping[str, list[Table]], parts: Mapping[str, Split], seed: int, progress: Progress
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Areas on the holdout of all and of each site, and those of models of real patients."""
    whole = _pooled(parts)
    places = {"all": whole.holdout} | {name: part.holdout for name, part in parts.items()}
    figures: dict[str, dict[str, float]] = {}
    for done, (name, made) in enumerate(tables.items()):
        progress(f"testing {name}", done / (len(tables) + 1))
        figures[name] = auc_by_place(made, whole.train, places, seed=seed)
    progress("testing real patients", len(tables) / (len(tables) + 1))
    return figures, auc_by_place([whole.train], whole.train, places, seed=seed)


def _plain(done: Simulation) -> dict[str, Any]:
    """The JSON of a simulation; NaN is null."""

    def known(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): known(v) for k, v in value.items()}  # pyright: ignore
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {
        "format": "pegai-federation-report/1",
        "study": done.plan.study,
        "noise": done.plan.noise if done.is_private else None,
        "epsilon": done.plan.privacy.epsilon if done.is_private else None,
        "delta": done.plan.privacy.delta if done.is_private else None,
        "sites": list(done.plan.names),
        "participants": list(done.fit.participants),
        "lost": dict(done.fit.lost),
        "exchanges": [asdict(seen) for seen in done.fit.seen],
        "figures": known(done.figures),
        "real": known(done.real),
        "seconds": round(done.seconds, 2),
    }


def _report(done: Simulation) -> str:
    """What a person reads; for inside the house, since holdouts are real patients."""
    plan, fit = done.plan, done.fit
    lines = [f"# Federated run: {plan.study}", ""]
    lines += _what_was_run(done)
    lines += [f"Lost on the way: {name} ({why})." for name, why in fit.lost.items()]
    if done.is_private:
        lines += what_was_seen(plan, fit.seen)
    lines += [
        "## Use: trained on synthetic rows, tested on real patients (AUC)",
        "",
        "Outside the guarantee: holdouts are real patients. For the sites, not for a release.",
        "",
    ]
    places = list(done.real)
    lines += [f"| trained on | {' | '.join(places)} |", "|---" * (len(places) + 1) + "|"]
    rows = {**done.figures, "real patients": done.real}
    for name, found in rows.items():
        values = [found[place] for place in places]
        shown = " | ".join("-" if math.isnan(v) else f"{v:.3f}" for v in values)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def _what_was_run(done: Simulation) -> list[str]:
    plan, fit = done.plan, done.fit
    if not done.is_private:
        return [
            f"Method {plan.method}, networks averaged over rounds, sites "
            f"{', '.join(fit.participants)}. **No formal guarantee**: nothing was protected, and "
            "nothing was charged. To compare with; never between hospitals.",
            "",
        ]
    return what_was_charged(plan, fit.participants)


def what_was_charged(plan: FederationPlan, participants: Sequence[str]) -> list[str]:
    """Who took part, and what it cost; lines of Markdown."""
    return [
        f"Method {plan.method}, noise {plan.noise}, sites {', '.join(participants)}. "
        f"Each site's ledger was charged epsilon {plan.privacy.epsilon:.4g} at delta "
        f"{plan.privacy.delta:.3g}, for the whole run, before anything left it.",
        "",
    ]


def what_was_seen(plan: FederationPlan, exchanges: Sequence[Seen]) -> list[str]:
    """What the guarantee rests on, and all that the coordinator saw; lines of Markdown."""
    lines = ["## What the guarantee rests on", ""]
    lines += [f"- {text}" for text in plan.privacy.public]
    lines += ["", "## What the coordinator saw", "", _EXCHANGES_HEAD, "|---|---|---|---|---|---|"]
    for seen in together(exchanges):
        lines.append(
            f"| {seen.numbered} | {seen.what} | {seen.numbers:,} | {seen.deviation:.3g} | "
            f"{seen.received:,} | {seen.seconds:.2f} |"
        )
    lines += [
        "",
        "Noise is the standard deviation in a cell of the sum, in patients; of gradients, in "
        "clipping norms, of which a patient's gradient has one at most.",
        "",
    ]
    return lines


_EXCHANGES_HEAD = "| exchange | what | numbers a site sent | noise | bytes from a site | seconds |"


def sites_from(options: list[str]) -> dict[str, Path]:
    """NAME=FILE, each name once.

    Raises:
        UsageError: One is not of that form, or a name comes twice.
    """
    found: dict[str, Path] = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--site {option}: must be NAME=FILE", hint="--site aarhus=a.csv")
        if name in found:
            raise UsageError(f"--site {name}: given twice")
        found[name] = Path(path)
    return found
