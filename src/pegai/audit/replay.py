"""Record and replay: with what mechanisms released frozen, one patient more may change nothing.

A private fit is run on a table while all that its mechanisms release is recorded, then on the table
with one patient more while the recording is played back. Everything outside of mechanisms is then
post-processing of the same outputs, so any difference in what is seen (the sequence of mechanisms,
the model folder to the last byte, samples, progress, warnings, what is printed, errors) is a leak
that no accounting covers. And the inputs of each mechanism, which do differ, may differ by no more
than the sensitivity that was declared. After Re:cord-play (arXiv:2602.17454).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pegai.audit.findings import Finding
from pegai.audit.neighbours import Neighbours
from pegai.data.table import Table
from pegai.privacy.guarantee import Privacy
from pegai.privacy.recorder import Mechanism
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.files import write_model
from pegai.synth.running import Run

CHECK = "record and replay"
SLACK = 1e-9
"""Of the rounding of this file's own norms."""

SAMPLED = "poisson_sample"
SELECTED = "select_keys"
REPLAY_PROBABILITY = 0.3
SAMPLE_ROWS = 20
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a mechanism: what it was given, and what it released.

    Attributes:
        label: The planned event.
        kind: The method of `Session`.
        values: The private input.
        sensitivity: As declared.
        released: What came out.
        mechanism: What released it; None for a sample of patients.
    """

    label: str
    kind: str
    values: Array
    sensitivity: float
    released: Array
    mechanism: Any = None


@dataclass(eq=False)
class Tape:
    """A `Recorder` that records fresh releases, or plays back those of another tape.

    Attributes:
        source: The tape to play back; None records.
        calls: What happened so far.
    """

    source: Tape | None = None
    calls: list[Call] = field(default_factory=list[Call])
    _mechanism: Any = None

    def record_mechanism(self, label: str, mechanism: Mechanism) -> None:
        """Remember what would release."""
        self._mechanism = mechanism

    def record(self, label: str, kind: str, values: Array, sensitivity: float) -> Array:
        """What is released: fresh noise, or what the source released at this place."""
        place = len(self.calls)
        if self.source is None:
            released = self._fresh(kind, values)
        else:
            released = self._played(self.source, place, kind, values)
        mechanism = None if kind == SAMPLED else self._mechanism
        self.calls.append(Call(label, kind, values, sensitivity, released, mechanism))
        return released

    def _fresh(self, kind: str, values: Array) -> Array:
        if kind == SAMPLED:
            rng = np.random.default_rng(len(self.calls))
            return rng.random(int(values[0])) < REPLAY_PROBABILITY
        return self._mechanism.release(values)

    @staticmethod
    def _played(source: Tape, place: int, kind: str, values: Array) -> Array:
        if place >= len(source.calls):
            raise ReplayError("more mechanisms ran with one patient more")
        released = source.calls[place].released
        if kind != SAMPLED:
            return released
        # Who is sampled stays sampled; the patient who is added takes part in every step.
        more = max(int(values[0]) - len(released), 0)
        return np.append(released, np.ones(more, bool))[: int(values[0])]


class ReplayError(Exception):
    """The two runs took different ways."""


@dataclass(frozen=True)
class Replayed:
    """What one replay gave.

    Attributes:
        method: The name in the catalog.
        case: What is odd about the patient.
        uses: Of mechanisms.
        moved: The largest distance of two inputs as a share of the declared sensitivity.
        findings: What leaks; empty where nothing does.
    """

    method: str
    case: str
    uses: int
    moved: float
    findings: tuple[Finding, ...]


@dataclass(eq=False)
class _Run:
    """Everything that can be seen of a fit, by name."""

    calls: list[Call]
    seen: dict[str, Any]


def replay(method: Synthesizer, pair: Neighbours, privacy: Privacy) -> Replayed:
    """Fit one method on a pair of neighbours, the second time with the first one's releases.

    Args:
        method: Ready to fit.
        pair: The two tables.
        privacy: The budget; its ledger is not used.
    """
    tape = Tape()
    first = _run(method, pair.without, privacy, tape)
    second = _run(method, pair.with_one, privacy, Tape(source=tape))
    told = [*_failures(first), *_differences(first.seen, second.seen)]
    told += _ways(first.calls, second.calls)
    where = f"{method.name}: {pair.name}"
    shares = [distance(a, b) / a.sensitivity for a, b in _comparable(first.calls, second.calls)]
    return Replayed(
        method.name,
        pair.name,
        len(first.calls),
        max(shares, default=0.0),
        tuple(Finding(CHECK, where, text) for text in told),
    )


def replay_all(
    methods: Iterable[Synthesizer],
    pairs: Iterable[Neighbours],
    privacy: Privacy,
    *,
    told: Callable[[str], None] = lambda what: None,
) -> Iterator[Replayed]:
    """Every method on every pair."""
    pairs = list(pairs)
    for method in methods:
        told(f"replaying {method.name}")
        for pair in pairs:
            yield replay(method, pair, privacy)


def _run(method: Synthesizer, table: Table, privacy: Privacy, tape: Tape) -> _Run:
    told: list[tuple[str, object]] = []
    seen: dict[str, Any] = {"the progress": told}
    with tempfile.TemporaryDirectory() as folder, _watched(seen):
        place = Path(folder)
        try:
            model = method.fit(
                table,
                privacy=replace(privacy, ledger=place / "ledger.jsonl"),
                recorder=tape,
                run=Run(
                    lambda stage, share: told.append((stage, share)),
                    log=lambda figures: told.append(("the log", tuple(figures.items()))),
                ),
            )
            seen |= _left_behind(model, place / "model")
        except Exception as error:  # whatever is raised is seen outside
            seen["the error"] = f"{type(error).__name__}: {error}".replace(folder, "")
    return _Run(tape.calls, seen)


@contextlib.contextmanager
def _watched(seen: dict[str, Any]) -> Iterator[None]:
    """Note what is printed, logged and warned of."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logging.getLogger().addHandler(handler)
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            warnings.simplefilter("always")
            yield
            seen["the warnings"] = [str(w.message) for w in warned]
    finally:
        logging.getLogger().removeHandler(handler)
    seen["what is printed"] = out.getvalue()


def _left_behind(model: Fitted, folder: Path) -> dict[str, Any]:
    """Bytes of the model folder, but for the time of the day; and rows."""
    file = model.to_file()
    if file.guarantee is not None:
        file = replace(file, guarantee=replace(file.guarantee, created=""))
    # `Fitted.save` refuses a model of an audit; this one is thrown away.
    write_model(file, folder)
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    files = {f"the model folder's {p.relative_to(folder)}": p.read_bytes() for p in paths}
    return {**files, "a sample": model.sample(SAMPLE_ROWS, rng=0).frame.write_csv()}


def _failures(run: _Run) -> Iterator[str]:
    """What would make a replay worthless: it did not reach its end, or nothing was recorded."""
    if "the error" in run.seen:
        yield f"the fit failed: {run.seen['the error']}"
    elif not run.calls:
        yield "no mechanism ran"


def _differences(first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second:
            yield f"{name}: seen with one of the two tables only"
        elif first[name] != second[name]:
            yield f"{name}: differs, though every mechanism released the same"


def _ways(first: list[Call], second: list[Call]) -> Iterator[str]:
    """Different mechanisms, or inputs farther apart than was declared."""
    if len(first) != len(second):
        yield f"{len(first)} uses of mechanisms without the patient, {len(second)} with them"
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if _public(a) != _public(b):
            yield f"use {place}: {_public(a)} without the patient, {_public(b)} with them"
            return
    for a, b in _comparable(first, second):
        if (far := distance(a, b)) > a.sensitivity * (1 + SLACK):
            yield f"{a.label}: a patient changes it by {far:.6g}, declared was {a.sensitivity:.6g}"


def _public(call: Call) -> tuple[object, ...]:
    """What of a use may not depend on a patient; how many patients there are is private."""
    private = call.kind in (SAMPLED, SELECTED)
    shape = None if private else (call.values.shape, call.values.dtype.str)
    # A mechanism is its sensitivity and its noise.
    return call.label, call.kind, call.sensitivity, shape, repr(call.mechanism)


def _comparable(first: list[Call], second: list[Call]) -> Iterator[tuple[Call, Call]]:
    for a, b in zip(first, second, strict=False):
        if a.kind == SELECTED:
            yield _shared(a, b)
        elif a.kind != SAMPLED and a.values.shape == b.values.shape:
            yield a, b


def _shared(first: Call, second: Call) -> tuple[Call, Call]:
    """A key selection's weights of the keys that both have; new keys are its delta's."""
    known = dict(zip(first.values["key"], first.values["weight"], strict=True))
    again = dict(zip(second.values["key"], second.values["weight"], strict=True))
    keys = sorted(known.keys() & again.keys())
    weights = [np.array([w[k] for k in keys], np.int64) for w in (known, again)]
    return replace(first, values=weights[0]), replace(second, values=weights[1])


def distance(first: Call, second: Call) -> float:
    """How far the inputs of a mechanism are apart, in its norm.

    L2 for Gaussian noise, L1 for Laplace noise, the largest change of a score for a choice, and the
    number of changed places for randomized response.
    """
    before, after = first.values.ravel(), second.values.ravel()
    change = np.abs(before.astype(np.float64) - after.astype(np.float64))
    if not change.size:
        return 0.0
    if not np.isfinite(change).all():
        return float("inf")
    if first.kind == "laplace":
        return float(change.sum())
    if first.kind == "choose":
        return float(change.max())
    if first.kind == "randomized_response":
        return float(np.count_nonzero(change))
    return float(np.linalg.norm(change))
