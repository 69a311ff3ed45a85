"""Choose the settings of a method: on inner splits, on simulated tables, or charged.

| mode | reads the data | charges | tries on |
|---|---|---|---|
| none (no budget) | the table that is given | nothing | inner splits by patient |
| `simulate` | no | nothing | tables made up from the public schema |
| `charge` | yes, by charged mechanisms only | the ledger | the whole table |

Everything is in one folder: `study.jsonl` (the trials, as they go), `settings.toml` (for
`pegai fit --settings`), `tune.json` (what was tried) and `history.png`. The same command goes on
with a study that was stopped, and asks for more trials with a larger number.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pegai.data.conform import load_table
from pegai.data.table import Table
from pegai.errors import PrivacyError, UsageError
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.recorder import Recorder
from pegai.schema import Schema, read_schema
from pegai.synth.base import (
    Synthesizer,
    check_public,
    check_schema,
    learned_schema,
    table_bytes,
)
from pegai.synth.catalog import make
from pegai.synth.constraints.possible import require_any_row
from pegai.synth.running import Progress, silent
from pegai.workflow.facts import dataset_name, versions
from pegai.workflow.tune_arena import Arena, SimulatedArena, SplitArena, try_settings
from pegai.workflow.tune_charged import Series, Watch, refuse_uncovered, run_series
from pegai.workflow.tune_origin import settings_for
from pegai.workflow.tune_results import Chosen, Record, write_record
from pegai.workflow.tune_spaces import Setting, Values, merged, space_of
from pegai.workflow.tune_study import STUDY, Study, require_optuna
from pegai.workflow.workplace import workplace

Mode = Literal["none", "simulate", "charge"]
Notice = Callable[[str], None]

TRIALS: dict[str, int] = {"none": 50, "simulate": 50, "charge": 8}
"""How many trials, where the user doesn't say; few where each is charged."""

LEAST_PATIENTS = 20

OBJECTIVES: dict[str, str] = {
    "none": "mean of realism, utility and secrecy (1 is best), on the patients that inner splits "
    "hold back; see pegai.workflow.tune_objective",
    "simulate": "mean of realism, utility and secrecy (1 is best), on other patients of the "
    "simulated populations; see pegai.workflow.tune_objective",
    "charge": "sum over patients of the quadratic score by which synthetic rows foretell them, "
    "with Gaussian noise; see pegai.workflow.tune_charged",
}


@dataclass(frozen=True)
class TuneConfig:
    """What is tuned, and how.

    Attributes:
        schema: The schema file.
        folder: Where results go.
        method: A name of the catalog.
        data: The table; not needed, and never read, in the mode `simulate`.
        trials: Finished trials in all; None is `TRIALS`.
        max_minutes: No trial is begun after so long; None is no limit. Not for `charge`.
        repeats: Inner splits, or simulated populations, of each trial.
        epsilon: Of the private fit that is tuned; None tunes a fit without privacy.
        delta: Goes with epsilon.
        private_mode: With a budget: `simulate` or `charge`.
        patients: In the mode `simulate`: about how many there are, a public guess.
        fixed: Settings that are not searched, nested; as a tuning wrote them, or any.
        seed: Of what is tried, the splits and the populations; never of noise.
        ledger: Where `charge` is recorded; None as for `pegai fit`.
        dataset: Name in the ledger; None is the schema's.
        encoding: Of a CSV.
        delimiter: Of a CSV.
    """

    schema: Path
    folder: Path
    method: str
    data: Path | None = None
    trials: int | None = None
    max_minutes: float | None = None
    repeats: int = 3
    epsilon: float | None = None
    delta: float | None = None
    private_mode: Literal["simulate", "charge"] = "simulate"
    patients: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0
    ledger: Path | None = None
    dataset: str | None = None
    encoding: str | None = None
    delimiter: str | None = None

    @property
    def mode(self) -> Mode:
        """Which of the three ways."""
        return "none" if self.epsilon is None else self.private_mode

    @property
    def wanted(self) -> int:
        """How many trials."""
        return TRIALS[self.mode] if self.trials is None else self.trials


@dataclass(frozen=True)
class TuneResult:
    """What a tuning wrote and found.

    Attributes:
        folder: Where everything is.
        files: Path by what it is.
        record: All that is told.
        chosen: The choice; None where no trial has a score.
        made: Trials of this call.
        seconds: Wall time.
    """

    folder: Path
    files: Mapping[str, Path]
    record: Record
    chosen: Chosen | None
    made: int
    seconds: float


@dataclass(frozen=True, eq=False)
class _Task:
    """What all modes need."""

    config: TuneConfig
    schema: Schema
    space: tuple[Setting, ...]
    progress: Progress
    notice: Notice

    @property
    def privacy(self) -> Privacy | None:
        """The budget of the fit that is tuned."""
        config = self.config
        if config.epsilon is None or config.delta is None:
            return None
        name = config.dataset
        if config.data is not None:
            name = name or dataset_name(self.schema, config.data)
        return Privacy(config.epsilon, config.delta, ledger=config.ledger, dataset=name)

    def make(self, values: Values) -> Synthesizer:
        """A synthesizer, checked against the schema."""
        made = make(self.config.method, merged(self.config.fixed, values))
        made.check(self.schema)
        return made

    def open(self, **more: Any) -> Study:
        """The study in the folder; `more` is what else its trials are about."""
        config = self.config
        question = {
            "method": config.method,
            "private_mode": config.mode,
            "epsilon": config.epsilon,
            "delta": config.delta,
            "schema": self.schema.digest(),
            "seed": config.seed,
            "fixed_settings": dict(config.fixed),
            **more,
        }
        own = _own_values(config, self.space)
        return Study.open(
            config.folder,
            question,
            space=self.space,
            first=own,
            seed=config.seed,
            adaptive=config.mode != "charge",
        )

    def told(self, study: Study) -> Callable[[int, float], None]:
        """Progress in trials, with the best score so far."""
        wanted, said, asked = self.config.wanted, "", -1

        def tell(done: int, share: float) -> None:
            nonlocal said, asked
            if done != asked:  # a fit tells of itself a thousand times
                scores = [t.score for t in study.trials if t.state == "done"]
                best = f", best {max(scores):.4g}" if scores else ""
                said, asked = f"trial {done + 1} of {wanted}{best}", done
            self.progress(said, min((done + share) / wanted, 1.0))

        return tell


def tune(
    config: TuneConfig,
    *,
    progress: Progress = silent,
    notice: Notice = lambda text: None,
    recorder: Recorder | None = None,
) -> TuneResult:
    """Try settings of a method and choose among them.

    What has ended is kept and written, whatever stops the rest.

    Args:
        config: What is tuned.
        progress: Told of the trial and the share of the whole.
        notice: Told, before it happens, what is charged and what is not read.
        recorder: Only for audits of the mode `charge`.

    Raises:
        UsageError: An argument can't be, or the folder holds a study of another question.
        MissingExtraError: Optuna is not installed.
        PrivacyError: The mode `charge` would cost more than is left, a domain is not public, or
            fixed settings of a private fit were tuned on private data without a charge.
    """
    start = time.perf_counter()
    task = _task(config, progress, notice)
    config = task.config
    require_optuna()
    with workplace(config.folder):
        if config.mode == "none":
            study, run = _on_splits(task)
        elif config.mode == "simulate":
            study, run = _on_simulated(task)
        else:
            study, run = _charged(task, recorder)
        before = study.finished
        try:
            run()
        finally:
            record = _record(task, study)
            if record.is_empty:
                # Nothing came of it: the folder stays free for other arguments.
                (config.folder / STUDY).unlink(missing_ok=True)
                files = {}
            else:
                files = write_record(record, config.folder)
    progress("done", 1.0)
    made = study.finished - before
    seconds = time.perf_counter() - start
    return TuneResult(config.folder, files, record, record.chosen, made, seconds)


def _task(config: TuneConfig, progress: Progress, notice: Notice) -> _Task:
    """Refuse what can't be, before anything is read or written."""
    _check_arguments(config)
    config = replace(config, fixed=settings_for(config.fixed, private=config.mode != "none"))
    make(config.method, dict(config.fixed))
    space = space_of(config.method, private=config.mode != "none", fixed=config.fixed)
    schema = read_schema(config.schema)
    check_schema(schema)
    task = _Task(config, schema, space, progress, notice)
    made = task.make({})
    if task.privacy is not None:
        if not made.private:
            raise made.has_no_private_form()
        check_public(schema)
        if schema.rules or schema.impossible:
            require_any_row(schema, {})
    return task


def _check_arguments(config: TuneConfig) -> None:
    """Refuse arguments that can't be, or don't go together."""
    if (config.epsilon is None) != (config.delta is None):
        raise UsageError("epsilon and delta go together", hint="give both, or neither")
    if config.wanted < 1 or config.repeats < 1:
        raise UsageError(
            f"trials and repeats must be at least 1, not {config.wanted} and {config.repeats}"
        )
    if config.max_minutes is not None and not config.max_minutes > 0:
        raise UsageError(f"max_minutes must be above 0, not {config.max_minutes}")
    if config.max_minutes is not None and config.mode == "charge":
        raise UsageError(
            "charged trials are paid for together before the first, and all of them run: "
            "max_minutes can't end them early",
            hint="leave it out, and ask for fewer --trials",
        )
    if config.mode == "simulate" and config.patients is None:
        raise UsageError(
            "simulated tables need a number of patients",
            hint="--patients 500: about how many there are, as far as that is public",
        )
    if config.patients is not None and config.patients < LEAST_PATIENTS:
        raise UsageError(f"patients must be at least {LEAST_PATIENTS}, not {config.patients}")
    if config.mode != "simulate" and config.data is None:
        raise UsageError("no table is given", hint="pegai tune TABLE -s SCHEMA ...")


def _own_values(config: TuneConfig, space: tuple[Setting, ...]) -> Values:
    """The method's own values of what is searched."""
    from pegai.synth.catalog import CATALOG

    found: Values = {}
    for setting in space:
        value: Any = CATALOG[config.method].config()
        for part in setting.path.split("."):
            value = getattr(value, part)
        found[setting.path] = value
    return found


def _until(config: TuneConfig) -> float:
    """The `time.monotonic` after which no trial is begun."""
    if config.max_minutes is None:
        return math.inf
    return time.monotonic() + 60 * config.max_minutes


def _trying(task: _Task, study: Study, arena: Callable[[], Arena]) -> Callable[[], None]:
    def run() -> None:
        until = _until(task.config)
        if study.finished < task.config.wanted:
            told = task.told(study)
            wanted = task.config.wanted
            try_settings(study, arena(), task.make, trials=wanted, until=until, told=told)

    return run


def _on_splits(task: _Task) -> tuple[Study, Callable[[], None]]:
    config = task.config
    task.progress("reading", 0.0)
    table = _read(task, cell_by_cell=False)
    digest = hashlib.blake2b(digest_size=16)
    for part in table_bytes(table):
        digest.update(part)
    study = task.open(data=digest.hexdigest(), repeats=config.repeats)

    def arena() -> Arena:
        return SplitArena.of(table, repeats=config.repeats, seed=config.seed)

    return study, _trying(task, study, arena)


def _on_simulated(task: _Task) -> tuple[Study, Callable[[], None]]:
    config, privacy = task.config, task.privacy
    if privacy is None or config.patients is None:
        raise UsageError("simulated tables need a budget and a number of patients")
    if config.data is not None:
        task.notice(f"{config.data} is not read: the trials are on simulated tables")
    patients, budget = config.patients, (privacy.epsilon, privacy.delta)
    study = task.open(patients=patients, repeats=config.repeats)

    def arena() -> Arena:
        task.progress("simulating tables", 0.0)
        return SimulatedArena.of(
            task.schema,
            patients=patients,
            repeats=config.repeats,
            budget=budget,
            seed=config.seed,
        )

    return study, _trying(task, study, arena)


def _charged(task: _Task, recorder: Recorder | None) -> tuple[Study, Callable[[], None]]:
    config, privacy = task.config, task.privacy
    if privacy is None:
        raise PrivacyError("charged trials need epsilon and delta")
    study = task.open(dataset=privacy.dataset)

    def run() -> None:
        missing = config.wanted - study.finished
        if missing < 1:
            return
        task.progress("reading", 0.0)
        _run_charged(task, study, privacy, missing, recorder)

    return study, run


def _run_charged(
    task: _Task, study: Study, privacy: Privacy, missing: int, recorder: Recorder | None
) -> None:
    """Plan the missing trials, charge them together, and run them."""
    table = _read(task, cell_by_cell=True)
    asked = [study.ask() for _ in range(missing)]
    waiting = dict(enumerate(trial for trial, _ in asked))
    released: dict[int, float] = {}
    told, before = task.told(study), study.finished

    def scored(position: int, score: float) -> None:
        released[position] = score

    def written() -> None:
        # Together at the end: the study notes the time, and how long one fit of the private data
        # took may tell of them.
        for position, score in released.items():
            study.note(waiting[position], scores=[score], noise=series.noise)
            study.done(waiting.pop(position), score)

    watch = Watch(
        charged=study.charged,
        scored=scored,
        progress=lambda position, share: told(before + position, share),
    )
    try:
        task.progress("planning and charging", 0.0)
        made = [task.make(values) for _, values in asked]
        series = Series.of(made, task.schema, privacy, first=asked[0][0].number)
        final = task.make({}).plan(learned_schema(task.schema), privacy)
        refuse_uncovered(series, final, privacy, table)
        _say_cost(task, study, series, final)
        try:
            run_series(
                series, table, privacy, method=task.config.method, watch=watch, recorder=recorder
            )
        finally:
            written()
    except BaseException:
        for trial in waiting.values():
            study.failed(trial)
        raise


def _say_cost(task: _Task, study: Study, series: Series, final: Plan) -> None:
    """Say what will be charged, before it is."""
    if study.charges and any(trial.state == "interrupted" for trial in study.trials):
        task.notice(
            "charged trials of an earlier call did not end. Their charge stays, since nothing is "
            "refunded, and others are charged in their place"
        )
    task.notice(
        f"{len(series.plans)} charged trials cost epsilon {series.whole.epsilon:.4g} and delta "
        f"{series.whole.delta:.3g} together, and the fit after them epsilon {final.epsilon:.4g} "
        "more. Nothing is refunded"
    )


def _read(task: _Task, *, cell_by_cell: bool) -> Table:
    config = task.config
    if config.data is None:
        raise UsageError("no table is given")
    return load_table(
        config.data,
        task.schema,
        extra="drop",
        encoding=config.encoding,
        delimiter=config.delimiter,
        cell_by_cell=cell_by_cell,
    )


def _record(task: _Task, study: Study) -> Record:
    config = task.config
    known = {**versions(), "optuna": str(require_optuna().__version__)}
    return Record(
        method=config.method,
        mode=config.mode,
        question=study.question,
        objective=OBJECTIVES[config.mode],
        space=task.space,
        fixed=config.fixed,
        trials=study.trials,
        spent=study.charges,
        versions=known,
    )
