"""The officer's table of attacks: what succeeds on patients, what on strangers, what it means.

The rows follow the three criteria of the Article 29 Working Party's Opinion 05/2014 (WP216):
singling out, linkability and inference; membership stands first, since whoever is singled out or
linked was in the data.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pegai.evaluate.scores import Evaluation, Score
from pegai.report.gates_disclosure import CONTROLS, detected
from pegai.report.numbers import NONE, figure, score_with_interval, share, why_not
from pegai.report.tables import Grid, Text

IDENTITY_NOTE = (
    "0.09 is the largest risk of re-identification that EMA Policy 0070 and Health Canada accept "
    "for public documents (one in a group of eleven). It is a limit for identity on "
    "quasi-identifiers. It must not be applied to figures of membership attacks or to distances."
)
LEGACY_NOTE = (
    "Distances to the closest record are asked for by habit. Tables that pass such tests have been "
    "attacked with success, and tables that fail them can be harmless. No check of the policy uses "
    "them."
)
LEGACY = ("dcr_", "nndr_")
SUCCESS = re.compile(
    r"success on [\d,]+ training patients ([\d.]+\d), on [\d,]+ holdout patients ([\d.]+\d)"
)


@dataclass(frozen=True)
class _Row:
    name: str
    title: str
    question: str
    meaning: str


ROWS = (
    _Row(
        "singling_out",
        "Singling out",
        "Does what only one patient has reappear?",
        "Of 100 patients with something that nobody else has, it reappears for {more} beyond what "
        "it does for strangers.",
    ),
    _Row(
        "linkability",
        "Linkability",
        "Can two halves of a record be put together?",
        "{more} out of 100 patients are linked beyond those that are linked by chance.",
    ),
    _Row(
        "attribute_inference",
        "Inference",
        "Can a secret of a patient be guessed from the rest?",
        "{more} out of 100 secrets are guessed beyond what is guessed of strangers.",
    ),
)


INVERSION = _Row(
    "model_inversion",
    "Inference through the model",
    "Can a secret be guessed by asking the released model?",
    "{more} out of 100 secrets are guessed beyond what is guessed of strangers.",
)
"""Only where a model is to be released."""


def disclosure_grid(evaluation: Evaluation) -> Grid:
    """Membership and the three criteria: patients, controls, difference, smallest leak, meaning."""
    leak = evaluation.get("minimum_detectable_leak")
    smallest = NONE if leak is None or not leak.assessed else share(leak.value)
    rows = (
        _membership_row(evaluation, smallest),
        *(_row(evaluation, row) for row in ROWS),
    )
    inversion = evaluation.get(INVERSION.name)
    if inversion is not None and inversion.assessed:
        rows = (*rows, _row(evaluation, INVERSION))
    rows = (*rows, *_canary_rows(evaluation))
    heads = ("Attack", "On patients", "On controls", "Difference (95 %)", "What it means")
    return Grid("What attacks found", heads, rows)


def _membership_row(evaluation: Evaluation, smallest: str) -> tuple[Text, ...]:
    head = Text("Membership", "Can it be told who was in the training data?")
    score = evaluation.get("membership_tpr_supported")
    area = evaluation.get("membership_auc")
    if score is None or not score.assessed or math.isnan(score.baseline):
        said = why_not(score) or f"AUC {score_with_interval(area)}; 0.5 is guessing."
        return (head, _none(), _none(), Text(score_with_interval(area), "AUC", "number"),
                Text(said, f"smallest leak that would be seen: {smallest}"))  # fmt: skip
    more = score.value - score.baseline
    meaning = (
        f"Of 100 patients {_hundred(score.value)} are recognised where {_hundred(score.baseline)} "
        f"of 100 strangers are wrongly accused."
    )
    difference = Text(share(more), _interval(score.low - score.baseline, score.high
                                             - score.baseline), "number")  # fmt: skip
    below = f"smallest leak that would be seen: {smallest} of the patients"
    return (
        head,
        Text(share(score.value), kind="number"),
        Text(share(score.baseline), kind="number"),
        difference,
        Text(meaning, below),
    )


def _canary_rows(evaluation: Evaluation) -> tuple[tuple[Text, ...], ...]:
    """Made-up patients in refits; none where they were not tried."""
    area, bound = evaluation.get("canary_auc"), evaluation.get("canary_epsilon")
    right = evaluation.get("canary_guesses")
    if area is None or bound is None or right is None or not area.assessed:
        return ()
    head = Text("Learning by heart", "Do refits of the method give made-up odd patients away?")
    said = (
        f"Of 100 clear guesses about who was in {_hundred(right.value)} are right, where guessing "
        f"gets 50; this refutes every ε below {figure(bound.value, 2)}."
    )
    below = "refits on reference patients: about the method, not about this table"
    return ((head, Text("–"), Text("–"), Text(score_with_interval(area), "AUC", "number"),
             Text(said, below)),)  # fmt: skip


def _row(evaluation: Evaluation, row: _Row) -> tuple[Text, ...]:
    head = Text(row.title, row.question)
    score = evaluation.get(row.name)
    if score is None or not score.assessed:
        return head, _none(), _none(), _none(), Text(why_not(score, "This attack was not run."))
    patients, controls = rates(evaluation, score)
    return (
        head,
        _share(patients),
        _share(controls),
        Text(share(score.value), _interval(score.low, score.high), "number"),
        Text(row.meaning.format(more=_hundred(max(score.value, 0.0))), _smallest(score)),
    )


def rates(evaluation: Evaluation, score: Score) -> tuple[float, float]:
    """Success on patients and on controls of an attack whose score is the difference.

    From the plots' data where it is there, else from the score's note, which says both.
    """
    data = (evaluation.plots.get("disclosure") or {}).get(score.name) or {}
    if data.get("patients") is not None and data.get("controls") is not None:
        return float(data["patients"]), float(data["controls"])
    said = SUCCESS.search(score.note)
    return (float(said[1]), float(said[2])) if said else (math.nan, math.nan)


def _smallest(score: Score) -> str:
    """The smallest difference that this many patients could have shown, from the interval."""
    if math.isnan(score.low) or math.isnan(score.high):
        return ""
    return f"a leak of more than {share(max(score.high, 0.0))} is excluded with 95 % confidence"


def _hundred(rate: float) -> str:
    return f"{100 * rate:.3g}"


def _share(rate: float) -> Text:
    return Text("–" if math.isnan(rate) else share(rate), kind="number")


def _none() -> Text:
    return Text(NONE, kind="number missing")


def _interval(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"{share(low)} to {share(high)}"


def control_lines(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """Leaks that were made on purpose, and whether the attacks saw them."""
    words = {True: "seen", False: "NOT seen: the attacks are blind to it here", None: NONE}
    leak = evaluation.get("minimum_detectable_leak")
    smallest = NONE if leak is None or not leak.assessed else f"{share(leak.value)} of the patients"
    return (
        *((title.capitalize(), words[detected(evaluation.get(name))]) for name, title in CONTROLS),
        ("Smallest leak that would be seen", smallest),
    )


def identity_facts(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The risk of being identified, and k and l of the source's quasi-identifiers."""
    risk = evaluation.get("identity_risk")
    facts = [("Risk of being identified", score_with_interval(risk))]
    if risk is not None and risk.assessed and not math.isnan(risk.baseline):
        facts.append(("The same of holdout patients", share(risk.baseline)))
    groups = evaluation.get("k_anonymity")
    if groups is not None and groups.assessed:
        facts.append(("k of the source's quasi-identifiers", f"{groups.value:g}"))
    return tuple(facts)


def legacy_facts(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """Distances to the closest record: shown, never gated."""
    return tuple(
        (score.title, score_with_interval(score))
        for score in evaluation.scores
        if score.name.startswith(LEGACY)
    )
