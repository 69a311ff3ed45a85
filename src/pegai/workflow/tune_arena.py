"""Where trials are tried: inner splits of a table without privacy, or simulated tables with it.

Every trial meets the same tables, the same held-back patients and the same seeds, so that two
trials differ by their settings and, where the fits are private, by their noise.
"""

from __future__ import annotations

import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pegai.data.splits import split
from pegai.data.table import Table
from pegai.errors import DataError, PegaiError
from pegai.privacy.guarantee import Privacy
from pegai.privacy.ledger import Ledger
from pegai.schema import Schema
from pegai.streams import Streams
from pegai.synth.base import Synthesizer
from pegai.synth.running import Run
from pegai.workflow.tune_objective import Figures, Judge
from pegai.workflow.tune_simulate import simulated
from pegai.workflow.tune_spaces import Values
from pegai.workflow.tune_study import Study

HELD = 0.3
"""Share of the patients that an inner split holds back."""

LEAST_HELD = 20
MOST_SIMULATED = 5_000
LEAST_SIMULATED = 1_000
SIMULATED = "simulated"

Told = Callable[[int, float], None]
"""Called with the number of trials that have ended, and the share of the next one that is done."""


class Arena(ABC):
    """Tables to learn from and patients held back, the same for every trial."""

    repeats: int

    @abstractmethod
    def figures(self, synthesizer: Synthesizer, repeat: int, run: Run) -> Figures:
        """Fit one of the tables and judge what comes out."""


@final
@dataclass(frozen=True, eq=False)
class SplitArena(Arena):
    """Inner splits of a table by patient; no privacy.

    Attributes:
        tables: What is learnt, one a split.
        judges: Of the patients held back.
        seed: Of the fits and the sampling.
    """

    tables: tuple[Table, ...]
    judges: tuple[Judge, ...]
    seed: int

    @classmethod
    def of(cls, table: Table, *, repeats: int, seed: int) -> SplitArena:
        """Split a table several times.

        Raises:
            DataError: There are too few patients to hold some back.
        """
        streams = Streams(seed).child("tune")
        tables: list[Table] = []
        judges: list[Judge] = []
        for repeat in range(repeats):
            parts = split(table, holdout=HELD, rng=streams.get("split", repeat))
            held = len(parts.holdout)
            if held < LEAST_HELD:
                raise DataError(
                    f"an inner split holds {held} rows back; to judge a fit takes {LEAST_HELD}",
                    hint="tune on more patients, or take the method's own settings",
                )
            own = streams.child(f"judge {repeat}")
            tables.append(parts.train)
            judges.append(Judge.of(parts.train.evaluated(), parts.holdout.evaluated(), own))
        return cls(tuple(tables), tuple(judges), seed)

    @property
    def repeats(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many splits."""
        return len(self.tables)

    def figures(self, synthesizer: Synthesizer, repeat: int, run: Run) -> Figures:
        """Fit one side of a split, and judge as many rows by the other."""
        streams, table = Streams(self.seed).child("tune"), self.tables[repeat]
        model = synthesizer.fit(table, rng=streams.get("model", repeat), run=run)
        drawn = model.sample(len(table), rng=streams.get("sample", repeat))
        return self.judges[repeat].figures(drawn)


@final
@dataclass(frozen=True, eq=False)
class SimulatedArena(Arena):
    """Tables simulated from a public schema, fitted with the budget that the real fit will have.

    The fits are private ones, noise and all, but nobody is in the data: each is charged to a ledger
    of its own in a temporary folder, and the real one is neither read nor written.

    Attributes:
        tables: What is learnt.
        judges: Of other patients of the same made-up population.
        epsilon: Of each fit.
        delta: Of each fit.
        seed: Of the populations and the sampling; the noise of the fits has none.
    """

    tables: tuple[Table, ...]
    judges: tuple[Judge, ...]
    epsilon: float
    delta: float
    seed: int

    @classmethod
    def of(
        cls, schema: Schema, *, patients: int, repeats: int, budget: tuple[float, float], seed: int
    ) -> SimulatedArena:
        """Make up populations.

        Args:
            schema: Public.
            patients: About how many the real table has: a public guess.
            repeats: How many populations.
            budget: Epsilon and delta of the fit that is tuned.
            seed: Equal seeds make equal populations.
        """
        streams = Streams(seed).child("tune simulated")
        held = min(max(patients, LEAST_SIMULATED), MOST_SIMULATED)
        rngs = [streams.get("split", repeat) for repeat in range(repeats)]
        pairs = simulated(schema, patients, held, rngs)
        judges = [
            Judge.of(left.evaluated(), right.evaluated(), streams.child(f"judge {i}"))
            for i, (left, right) in enumerate(pairs)
        ]
        return cls(tuple(left for left, _ in pairs), tuple(judges), *budget, seed)

    @property
    def repeats(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many populations."""
        return len(self.tables)

    def figures(self, synthesizer: Synthesizer, repeat: int, run: Run) -> Figures:
        """A private fit of a simulated table, judged by others of its population."""
        table = self.tables[repeat]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "simulated.jsonl"
            Ledger(path).set_budget(SIMULATED, 2 * self.epsilon, min(2 * self.delta, 0.5))
            privacy = Privacy(self.epsilon, self.delta, ledger=path, dataset=SIMULATED)
            model = synthesizer.fit(table, privacy=privacy, run=run)
        rows = min(max(len(table), LEAST_HELD), MOST_SIMULATED)
        streams = Streams(self.seed).child("tune simulated")
        return self.judges[repeat].figures(
            model.sample(rows, rng=streams.get("sample", repeat)),
        )


def try_settings(
    study: Study,
    arena: Arena,
    make: Callable[[Values], Synthesizer],
    *,
    trials: int,
    until: float,
    told: Told,
) -> None:
    """Ask for trials and run them, until there are enough or the time is up.

    A trial is pruned after a repeat in which its mean is below the median of the others' by then.
    The first trial, the method's own settings, must not fail.

    Args:
        study: Where trials are kept.
        arena: Where they are tried.
        make: A synthesizer from the settings that are searched.
        trials: How many finished ones there are to be, those of earlier calls among them.
        until: No trial is begun after this `time.monotonic`.
        told: Told of the progress.

    Raises:
        PegaiError: The first trial failed.
    """
    while study.finished < trials and time.monotonic() < until:
        done = study.finished
        trial, values = study.ask()
        try:
            _one(study, arena, trial, make(values), told=lambda share, n=done: told(n, share))
        except PegaiError as error:
            # Where the first can't be fitted none can: that one is no result.
            study.failed(trial, error.message if done else "")
            if not done:
                raise
        except BaseException:
            study.failed(trial)
            raise


def _one(
    study: Study,
    arena: Arena,
    trial: object,
    synthesizer: Synthesizer,
    *,
    told: Callable[[float], None],
) -> None:
    start, mean = time.perf_counter(), math.nan
    found: list[Figures] = []
    for repeat in range(arena.repeats):
        run = Run(lambda _, share, r=repeat: told((r + 0.9 * share) / arena.repeats))
        found.append(arena.figures(synthesizer, repeat, run))
        mean = sum(f.score for f in found) / len(found)
        if math.isnan(mean):
            raise DataError(
                "nothing about the synthetic rows could be judged", hint="tune on more patients"
            )
        study.note(
            trial,
            scores=[round(f.score, 6) for f in found],
            parts=[f.to_dict() for f in found],
            seconds=round(time.perf_counter() - start, 3),
        )
        if study.gives_up(trial, mean, repeat) and repeat + 1 < arena.repeats:
            study.pruned(trial)
            return
    study.done(trial, mean)
