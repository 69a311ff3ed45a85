"""Release policies: the limits of one kind of release, named and versioned.

No regulator publishes limits for membership attacks; these are pegai's own, stated so that a
privacy officer can see and change them.
"""

from __future__ import annotations

from dataclasses import dataclass


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
        nonmembers_per_fpr: A hit rate at false-alarm rate a is an estimate only with this / a
            holdout patients; with fewer, the permutation test stands in.
        min_p: Permutation p below this is evidence that training patients stand out.
        fail_p: Where the permutation test stands in, p below this forbids a release.
        max_copy_excess: Exact copies of training rows beyond the holdout's own rate, as a share.
        flag_detection_auc: Above this, synthetic patients are told apart so easily that it is said.
        max_tstr_drop: Largest drop of a model's AUC when it is trained on synthetic data.
        min_repeats: Fewest synthetic tables for the intervals to mean something.
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

POLICIES = {policy.name: policy for policy in (PUBLIC_1, CONTROLLED_1)}
"""The policies by name."""
