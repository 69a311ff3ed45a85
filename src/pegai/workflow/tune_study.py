"""The study of `pegai tune`: trials in a file of JSON lines, so that the same command goes on.

Optuna proposes the settings and keeps the trials; its journal file holds JSON and nothing that is
unpickled. Every trial is written as it goes, so that Ctrl-C and `kill -9` lose only the one under
way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pegai.errors import MissingExtraError, UsageError
from pegai.privacy.ledger_chain import Entry
from pegai.workflow.tune_spaces import Setting, Values

STUDY = "study.jsonl"
NAME = "pegai tune"
RANDOM_TRIALS = 10
"""Trials that are drawn at random before the sampler learns from them."""

State = Literal["done", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class Trial:
    """One trial, as the results tell of it.

    Attributes:
        number: From 0, which is the method's own settings.
        state: `pruned` was given up after some of its repeats, `failed` could not be fitted.
        values: The settings that were searched, by path.
        scores: Of each repeat.
        parts: What each score is made of.
        seconds: Wall time; None where it would tell of private data.
        noise: Standard deviation of the noise in the score; 0 without.
        error: Why it failed.
        own: Whether its settings are the method's own.
    """

    number: int
    state: State
    values: Values
    scores: tuple[float, ...]
    parts: tuple[Mapping[str, float | None], ...] = ()
    seconds: float | None = None
    noise: float = 0.0
    error: str = ""
    own: bool = False

    @property
    def score(self) -> float:
        """The mean over its repeats; NaN without any."""
        return float(np.mean(self.scores)) if self.scores else math.nan


def require_optuna() -> Any:
    """The Optuna package, quiet.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        optuna = import_module("optuna")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "pegai tune needs Optuna, which is not installed", hint="pip install 'pegai[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Study:
    """Trials in a folder, and the sampler that proposes the next one."""

    def __init__(self, study: Any, space: Sequence[Setting]) -> None:
        self._study = study
        self._space = tuple(space)

    @classmethod
    def open(
        cls,
        folder: Path,
        question: Mapping[str, Any],
        *,
        space: Sequence[Setting],
        first: Values,
        seed: int,
        adaptive: bool,
    ) -> Study:
        """The study in a folder, begun or gone on with.

        Args:
            folder: Holds `study.jsonl`.
            question: What the trials are about; a study of another question is refused.
            space: What is searched.
            first: The settings of the first trial.
            seed: Of the sampler.
            adaptive: Whether proposals may depend on earlier scores (TPE), or are drawn at random.

        Raises:
            UsageError: The folder holds a study of another question, or a damaged one.
            MissingExtraError: Optuna is not installed.
        """
        optuna = require_optuna()
        path = folder / STUDY
        asked = json.loads(json.dumps(dict(question)))
        try:
            backend = optuna.storages.journal.JournalFileBackend(
                str(path), lock_obj=optuna.storages.journal.JournalFileOpenLock(str(path))
            )
            storage = optuna.storages.JournalStorage(backend)
            study = optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True
            )
            known = study.user_attrs.get("question")
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise UsageError(
                f"{path}: is no study, or a damaged one ({type(error).__name__})",
                hint="name another folder, or delete the file to start anew",
            ) from None
        if known is None:
            study.set_user_attr("question", asked)
            study.set_user_attr("own", dict(first))
        elif known != asked:
            raise UsageError(
                f"{path} is a study with another {_difference(known, asked)}",
                hint="name another folder, or give the arguments of the study to go on with it",
            )
        for trial in study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING":
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        done = len(study.get_trials(deepcopy=False))
        # Another seed for each call, or the trials of the last one would be proposed again.
        study.sampler = (
            optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=RANDOM_TRIALS)
            if adaptive
            else optuna.samplers.RandomSampler(seed=seed + done)
        )
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
        opened = cls(study, space)
        if not opened._has(first):
            study.enqueue_trial(dict(first))
        return opened

    def _has(self, first: Values) -> bool:
        """Whether the first settings were tried, or wait to be."""
        waiting = [
            t.system_attrs.get("fixed_params")
            for t in self._study.get_trials(deepcopy=False)
            if t.state.name == "WAITING"
        ]
        tried = [t.values for t in self.trials if t.state in ("done", "failed")]
        return first in waiting or first in tried

    def ask(self) -> tuple[Any, Values]:
        """A new trial of Optuna, and the settings that it proposes, by path."""
        trial = self._study.ask()
        values = {setting.path: setting.suggest(trial) for setting in self._space}
        trial.set_user_attr("values", values)
        return trial, values

    def note(self, trial: Any, **facts: Any) -> None:
        """Write down what is known of a trial so far."""
        for name, fact in facts.items():
            trial.set_user_attr(name, fact)

    def gives_up(self, trial: Any, score: float, step: int) -> bool:
        """Report the score so far; whether it is below the median of other trials by then."""
        trial.report(score, step)
        return bool(trial.should_prune())

    def done(self, trial: Any, score: float) -> None:
        """A trial has its score."""
        self._study.tell(trial, score)

    def pruned(self, trial: Any) -> None:
        """A trial was given up, since earlier ones were better by then."""
        self._study.tell(trial, state=require_optuna().trial.TrialState.PRUNED)

    def failed(self, trial: Any, error: str = "") -> None:
        """A trial could not be fitted; without a reason it was interrupted."""
        if error:
            trial.set_user_attr("error", error)
        self._study.tell(trial, state=require_optuna().trial.TrialState.FAIL)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials that have ended, in order."""
        found = self._study.get_trials(deepcopy=False)
        own = self._study.user_attrs.get("own")
        return tuple(_trial(t, own) for t in found if t.state.is_finished())

    @property
    def question(self) -> dict[str, Any]:
        """What the trials are about."""
        return dict(self._study.user_attrs["question"])

    @property
    def charges(self) -> tuple[dict[str, Any], ...]:
        """What was charged for trials, as lines of the ledger."""
        return tuple(self._study.user_attrs.get("charges", ()))

    def charged(self, entry: Entry) -> None:
        """Write down a line of the ledger."""
        line = {
            "ledger_line": entry.index,
            "ledger_hash": entry.hash,
            "dataset": entry.dataset,
            "epsilon": entry.epsilon,
            "delta": entry.delta,
            "label": entry.label,
            "time": entry.time,
        }
        self._study.set_user_attr("charges", [*self.charges, line])

    @property
    def finished(self) -> int:
        """How many trials count: all but the interrupted ones."""
        return sum(trial.state != "interrupted" for trial in self.trials)


def _trial(found: Any, own: Any) -> Trial:
    facts = found.user_attrs
    states: dict[str, State] = {"COMPLETE": "done", "PRUNED": "pruned"}
    failed: State = "failed" if "error" in facts else "interrupted"
    return Trial(
        number=found.number,
        state=states.get(found.state.name, failed),
        values=dict(facts.get("values", {})),
        scores=tuple(facts.get("scores", ())),
        parts=tuple(facts.get("parts", ())),
        seconds=facts.get("seconds"),
        noise=float(facts.get("noise", 0.0)),
        error=str(facts.get("error", "")),
        own=facts.get("values") == own,
    )


def _difference(known: Any, asked: Mapping[str, Any]) -> str:
    """The first part of two questions that differs, in words."""
    if not isinstance(known, dict):
        return "question"
    for name in asked:
        if known.get(name) != asked[name]:
            return name.replace("_", " ")
    return "question"
