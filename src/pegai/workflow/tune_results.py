"""What a tuning writes: the settings it chose, every trial it made, and a picture of them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pegai.data.atomic import atomic_write_bytes, atomic_write_text
from pegai.workflow.tune_origin import origin
from pegai.workflow.tune_spaces import Setting, merged
from pegai.workflow.tune_study import Trial

SETTINGS, RECORD, PICTURE = "settings.toml", "tune.json", "history.png"
FORMAT = "pegai-tune/1"

RULE = (
    "the trial with the best mean score; but the method's own settings, unless that one is better "
    "by more than two standard errors of the difference"
)
"""How the settings are chosen: the best of many noisy scores looks better than it is."""

ERRORS = 2.0
"""Of `RULE`."""

HEADS: dict[str, tuple[str, ...]] = {
    "none": (
        "Tuned on the data WITHOUT privacy: for fits without privacy only. In a private fit of the",
        "same patients these values would be a look at them that nobody charged.",
    ),
    "simulate": (
        "Tuned on tables simulated from the public schema. No data were read, nothing was charged.",
    ),
    "charge": (
        "Tuned on the private data under differential privacy, charged in the ledger. The fit with",
        "these settings is charged on top.",
    ),
}


@dataclass(frozen=True)
class Chosen:
    """The settings that were chosen, and why.

    Attributes:
        trial: The one that they are of.
        own: The trial of the method's own settings.
        best: The one with the best score.
        gain: How much better the best scored than the method's own settings.
        error: Standard error of that gain; NaN with one repeat.
    """

    trial: Trial
    own: Trial | None
    best: Trial
    gain: float
    error: float

    @property
    def why(self) -> str:
        """The choice in a sentence."""
        if self.own is None:
            return f"trial {self.trial.number} scored best; the method's own settings have no score"
        if self.best.number == self.own.number:
            return "no trial scored better than the method's own settings"
        told = f"{self.gain:.4g}"
        if not math.isnan(self.error):
            told += f" (standard error {self.error:.2g})"
        if self.trial.number == self.own.number:
            return (
                f"the method's own settings are kept: trial {self.best.number} scored better by "
                f"{told}, which may be chance"
            )
        return f"trial {self.trial.number} scored better than the method's own settings by {told}"


def choose(trials: Sequence[Trial]) -> Chosen | None:
    """Choose by `RULE`; None where no trial has ended with a score."""
    done = [trial for trial in trials if trial.state == "done"]
    if not done:
        return None
    # The earliest wins a tie.
    best = max(done, key=lambda trial: (trial.score, -trial.number))
    own = next((trial for trial in done if trial.own), None)
    if own is None or own.number == best.number:
        return Chosen(best, own, best, 0.0, math.nan)
    gain = best.score - own.score
    error = _standard_error(best, own)
    kept = not math.isnan(error) and gain <= ERRORS * error
    return Chosen(own if kept else best, own, best, gain, error)


def _standard_error(best: Trial, own: Trial) -> float:
    """Of the difference of two scores: by noise of known size, else over their repeats, paired."""
    if best.noise or own.noise:
        return math.hypot(best.noise, own.noise)
    if len(best.scores) < 2 or len(best.scores) != len(own.scores):
        return math.nan
    gaps = np.array(best.scores) - np.array(own.scores)
    return float(gaps.std(ddof=1) / math.sqrt(gaps.size))


@dataclass(frozen=True)
class Record:
    """All that is told of a tuning.

    Attributes:
        method: What was tuned.
        mode: `none`, `simulate` or `charge`.
        question: What the trials are about, with the budget and the seed.
        objective: What a score is, in words.
        space: What was searched.
        fixed: Settings that were not.
        trials: Every trial.
        spent: What was charged: data set, epsilon, delta, ledger lines.
        versions: Of the libraries.
    """

    method: str
    mode: str
    question: Mapping[str, Any]
    objective: str
    space: Sequence[Setting]
    fixed: Mapping[str, Any]
    trials: tuple[Trial, ...]
    spent: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]

    @property
    def chosen(self) -> Chosen | None:
        """The choice among the trials."""
        return choose(self.trials)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell: no trial has ended by itself, nothing was charged."""
        return not self.spent and all(trial.state == "interrupted" for trial in self.trials)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that were chosen, nested, with the fixed ones."""
        chosen = self.chosen
        return {} if chosen is None else merged(self.fixed, chosen.trial.values)

    def to_dict(self) -> dict[str, Any]:
        """The content of tune.json."""
        chosen = self.chosen
        internal = self.mode == "none"
        return {
            "format": FORMAT,
            "method": self.method,
            "private_mode": self.mode,
            "internal": internal,
            "question": dict(self.question),
            "objective": self.objective,
            "rule": RULE,
            "space": [_setting(s) for s in self.space],
            "fixed": dict(self.fixed),
            "chosen": None
            if chosen is None
            else {
                "trial": chosen.trial.number,
                "score": _number(chosen.trial.score),
                "own_settings_score": None if chosen.own is None else _number(chosen.own.score),
                "why": chosen.why,
                "settings": self.settings,
            },
            "spent": [dict(line) for line in self.spent],
            "trials": [_trial(trial) for trial in self.trials],
            "versions": dict(self.versions),
        }


def write_record(record: Record, folder: Path) -> dict[str, Path]:
    """Write settings, record and picture; each file is the old one or the new one."""
    content = json.dumps(record.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(folder / RECORD, content + "\n")
    atomic_write_bytes(folder / PICTURE, history(record))
    files = {"record": folder / RECORD, "picture": folder / PICTURE}
    if record.chosen is not None:
        marked = {**origin(record.mode, record.spent), **record.settings}
        heads = (
            f"Settings of {record.method}, chosen by pegai tune from {len(record.trials)} trials",
            *HEADS[record.mode],
        )
        atomic_write_text(folder / SETTINGS, to_toml(marked, heads))
        files = {"settings": folder / SETTINGS, **files}
    return files


def to_toml(settings: Mapping[str, Any], heads: Sequence[str] = ()) -> str:
    """Nested settings as TOML, under comment lines."""
    lines = [f"# {head}" for head in heads]
    lines += _table(settings, ())
    return "\n".join(lines) + "\n"


def _table(settings: Mapping[str, Any], place: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    lines = [f"{_key(name)} = {_toml(value)}" for name, value in plain.items()]
    for name, value in settings.items():
        if isinstance(value, Mapping):
            inner = (*place, _key(name))
            lines += ["", f"[{'.'.join(inner)}]", *_table(value, inner)]
    return lines


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {True: "inf", False: "-inf"}[value > 0]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(part) for part in value)}]"
    # JSON's numbers, booleans and texts are TOML's as well.
    return json.dumps(value)


def _setting(setting: Setting) -> dict[str, Any]:
    fields = {name: getattr(setting, name) for name in setting.__dataclass_fields__}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "score": _number(trial.score),
        "scores": list(trial.scores),
        "parts": [dict(part) for part in trial.parts],
        "noise": trial.noise,
        "seconds": trial.seconds,
        "error": trial.error,
        "settings": trial.values,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def history(record: Record) -> bytes:
    """A picture of the scores in the order of the trials, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for state, colour, mark in (("done", "#1f5fa8", "o"), ("pruned", "#a0a0a0", "x")):
        shown = [t for t in record.trials if t.state == state and t.scores]
        axes.plot(
            [t.number for t in shown],
            [t.score for t in shown],
            linestyle="none",
            marker=mark,
            color=colour,
            label=state,
        )
    done = [t for t in record.trials if t.state == "done"]
    if done:
        best = np.maximum.accumulate([t.score for t in done])
        axes.step([t.number for t in done], best, where="post", color="#1f5fa8", label="best")
    chosen = record.chosen
    if chosen is not None:
        axes.axvline(chosen.trial.number, color="#c05020", linestyle=":", label="chosen")
    axes.set_xlabel("trial")
    axes.set_ylabel("score" if record.mode != "charge" else "noisy score, in patients")
    axes.set_title(f"pegai tune: {record.method}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": "pegai"})
    return buffer.getvalue()
