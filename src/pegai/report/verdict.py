"""The decision: what a release policy says about one candidate.

Missing evidence is never green.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pegai.evaluate.scores import Evaluation
from pegai.report import gates as g
from pegai.report.gates import Gate, Status
from pegai.report.gates_disclosure import disclosure_gates
from pegai.report.gates_quality import quality_gates
from pegai.report.policy import DEFAULT_POLICY, ReleasePolicy

if TYPE_CHECKING:
    from pegai.privacy.guarantee import Guarantee

Decision = Literal["RELEASE", "RELEASE WITH CONTROLS", "DO NOT RELEASE", "NOT ASSESSED"]


@dataclass(frozen=True)
class Verdict:
    """What a policy says about one candidate.

    Attributes:
        decision: One of four words.
        policy: Name of the policy.
        summary: Why, in one or two sentences.
        gates: Every check, in the order of the report.
    """

    decision: Decision
    policy: str
    summary: str
    gates: tuple[Gate, ...]

    @property
    def controls(self) -> tuple[str, ...]:
        """What to do, each once: about the checks that decided, or all that are not a pass."""
        deciding = {"DO NOT RELEASE": "fail", "NOT ASSESSED": "not assessed"}.get(self.decision)
        asked = (
            g
            for g in self.gates
            if deciding is None or (g.status == deciding and g.group == "privacy" and g.decides)
        )
        return tuple(dict.fromkeys(g.control for g in asked if g.control))

    def with_status(self, status: Status) -> tuple[Gate, ...]:
        """The gates with one result."""
        return tuple(g for g in self.gates if g.status == status)


def decide(
    evaluation: Evaluation,
    guarantee: Guarantee | None = None,
    *,
    policy: ReleasePolicy = DEFAULT_POLICY,
    lint: Sequence[Mapping[str, Any]] | None = None,
    heuristic: str = "",
) -> Verdict:
    """Judges one candidate by a policy.

    A failed privacy gate forbids the release. A required privacy gate without evidence leaves it
    not assessed. Anything else that is not a plain pass asks for controls.

    Args:
        evaluation: The candidate's scores.
        guarantee: Its formal guarantee, or None.
        policy: The limits.
        lint: Rows of the Safe Harbor lint; None where it was not run.
        heuristic: Noise by a chosen scale, in words that say it is no guarantee; empty without.
    """
    checks = (
        *g.guarantee_gates(evaluation, guarantee, policy=policy, heuristic=heuristic),
        *g.canary_gates(evaluation, guarantee),
        g.membership_auc_gate(evaluation, policy),
        *g.best_attack_gate(evaluation, policy),
        *g.hit_rate_gates(evaluation, policy),
        g.permutation_gate(evaluation, policy),
        g.copies_gate(evaluation, policy),
        *g.copied_rows_gates(evaluation, policy),
        *disclosure_gates(evaluation, policy),
        g.safe_harbor_gate(lint),
        g.detection_gate(evaluation, policy),
        g.utility_gate(evaluation, policy),
        *quality_gates(evaluation, policy),
        g.repeats_gate(evaluation, policy),
    )
    decision = _decision(checks)
    return Verdict(decision, policy.name, _summary(decision, checks), checks)


def _decision(gates: Sequence[Gate]) -> Decision:
    privacy = [gate for gate in gates if gate.group == "privacy"]
    if any(gate.status == "fail" for gate in privacy):
        return "DO NOT RELEASE"
    if any(gate.status == "not assessed" and gate.required for gate in privacy):
        return "NOT ASSESSED"
    # Missing evidence that is not required is not green either: it becomes a control.
    return "RELEASE" if {gate.status for gate in gates} == {"pass"} else "RELEASE WITH CONTROLS"


def _summary(decision: Decision, gates: Sequence[Gate]) -> str:
    def titles(*statuses: Status, privacy_only: bool = False, required: bool = False) -> str:
        chosen = [
            gate.title.lower()
            for gate in gates
            if gate.status in statuses
            and (gate.group == "privacy" or not privacy_only)
            and (gate.required or not required)
        ]
        return _listed(chosen)

    if decision == "DO NOT RELEASE":
        return f"A check that protects patients failed: {titles('fail', privacy_only=True)}."
    if decision == "NOT ASSESSED":
        missing = titles("not assessed", privacy_only=True, required=True)
        return f"Evidence is missing, so nothing can be concluded: {missing}."
    if decision == "RELEASE WITH CONTROLS":
        open_points = titles("caution", "fail", "not assessed")
        return f"No check forbids the release, but these ask for controls: {open_points}."
    return f"All {len(gates)} checks of the policy passed."


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
