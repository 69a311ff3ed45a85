"""Release policies: the limits of one kind of release, named and versioned.

No regulator publishes limits for membership attacks; these are pegai's own, stated so that a
privacy officer can see and change them. One limit has an official origin: 0.09 for the risk of
re-identification (EMA Policy 0070, Health Canada PRCI), which is about identity and is applied to
nothing else.

A limit that is None leaves its check out. Policies are also read from files: see `policy_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OPTIONAL = (
    "singling_out",
    "linkability",
    "attribute_inference",
    "identity_risk",
    "instrument_check",
)
"""Checks whose evidence can't always exist (no quasi-identifiers, no secrets, few patients).

Without evidence they ask for a control; a policy that lists them as `required` is then not met, and
the verdict is NOT ASSESSED. Every other check of privacy is always required.
"""


@dataclass(frozen=True)
class ReleasePolicy:
    """The limits of one kind of release.

    Attributes:
        name: Name and version; changes with every change of a limit.
        title: What the policy is for.
        max_epsilon: Largest epsilon that counts as protection of its own.
        max_membership_auc: Limit for the upper end of the attack's AUC interval.
        max_tpr_at_1pct: Limit for the upper end of the attack's hit rate at 1 % false alarms.
        max_tpr_at_01pct: The same at 0.1 % false alarms.
        max_tstr_drop: Largest drop of a model's AUC when it is trained on synthetic data.
        max_copy_excess: Exact copies of training rows beyond the holdout's own rate, as a share.
        nonmembers_per_fpr: A hit rate at false-alarm rate a is an estimate only with this / a
            holdout patients; with fewer, the permutation test stands in.
        min_p: Permutation p below this is evidence that training patients stand out.
        fail_p: Where the permutation test stands in, p below this forbids a release.
        flag_detection_auc: Above this, synthetic patients are told apart so easily that it is said.
        min_repeats: Fewest synthetic tables for the intervals to mean something.
        max_singling_out: Success of singling out on patients beyond that on controls.
        max_linkability: Success of linking on patients beyond that on controls.
        max_attribute_inference: Success of guessing a secret on patients beyond that on controls.
        max_identity_risk: Chance that a patient is identified and something new is learnt.
        max_rule_excess: Violations of clinical rules beyond those of real patients.
        min_equivalent_sample: Least equivalent real sample size, as a share of the training rows.
        min_coefficient_overlap: Least mean overlap of the intervals of regression coefficients.
        max_detectable_leak: The smallest share of copied patients that the attacks would have seen
            must not be larger; else a quiet attack proves nothing.
        required: Names of `OPTIONAL` checks without whose evidence nothing may be released.
    """

    name: str
    title: str
    max_epsilon: float
    max_membership_auc: float
    max_tpr_at_1pct: float
    max_tpr_at_01pct: float
    max_tstr_drop: float
    max_copy_excess: float = 0.001
    nonmembers_per_fpr: float = 10.0
    min_p: float = 0.05
    fail_p: float = 0.01
    flag_detection_auc: float = 0.80
    min_repeats: int = 5
    max_singling_out: float | None = None
    max_linkability: float | None = None
    max_attribute_inference: float | None = None
    max_identity_risk: float | None = None
    max_rule_excess: float | None = None
    min_equivalent_sample: float | None = None
    min_coefficient_overlap: float | None = None
    max_detectable_leak: float | None = None
    required: tuple[str, ...] = ()


PUBLIC_1 = ReleasePolicy(
    name="public-1",
    title="release to anyone, with no agreement and no control afterwards",
    max_epsilon=3.0,
    max_membership_auc=0.55,
    max_tpr_at_1pct=0.03,
    max_tpr_at_01pct=0.01,
    max_tstr_drop=0.03,
)

CONTROLLED_1 = ReleasePolicy(
    name="controlled-1",
    title="release to named recipients under an agreement, in a controlled environment",
    max_epsilon=10.0,
    max_membership_auc=0.60,
    max_tpr_at_1pct=0.06,
    max_tpr_at_01pct=0.02,
    max_tstr_drop=0.05,
)

PUBLIC_2 = replace(
    PUBLIC_1,
    name="public-2",
    max_singling_out=0.09,
    max_linkability=0.05,
    max_attribute_inference=0.05,
    max_identity_risk=0.09,
    max_rule_excess=0.01,
    min_equivalent_sample=0.25,
    min_coefficient_overlap=0.70,
    max_detectable_leak=0.05,
)

CONTROLLED_2 = replace(
    CONTROLLED_1,
    name="controlled-2",
    max_singling_out=0.18,
    max_linkability=0.10,
    max_attribute_inference=0.10,
    max_identity_risk=0.18,
    max_rule_excess=0.02,
    min_equivalent_sample=0.10,
    min_coefficient_overlap=0.50,
    max_detectable_leak=0.10,
)

POLICIES = {policy.name: policy for policy in (PUBLIC_2, CONTROLLED_2, PUBLIC_1, CONTROLLED_1)}
"""The policies by name."""

DEFAULT_POLICY = PUBLIC_2
"""What is applied where no policy is chosen."""
