"""Scores of membership inference: the panel, its best attack, and what it would have seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.evaluate.baselines import RealBaselines
from pegai.evaluate.intervals import clopper_pearson, combine
from pegai.evaluate.measure import Measured
from pegai.evaluate.privacy.attacks import ATTACKS, HEADLINE, Attacked, attack
from pegai.evaluate.privacy.membership import (
    FPRS,
    PanelTest,
    best_attack,
    epsilon_lower_bound,
    observed_statistics,
    panel_test,
    resampled_statistics,
    roc_curve,
)
from pegai.evaluate.privacy.power import (
    CONTROLS,
    Control,
    independent_columns,
    minimum_detectable_leak,
)
from pegai.evaluate.privacy.targets import MIN_PATIENTS, Targets
from pegai.evaluate.scores import Score, joined, values_note

ROC_GRID = np.unique(
    np.concatenate([np.logspace(-4, -1, 31), np.linspace(0, 0.1, 21), np.linspace(0, 1, 101)])
).round(6)


def membership_scores(cache: RealBaselines, measured: Sequence[Measured]) -> tuple[Score, ...]:
    """The headline attack, the panel, its best attack, the controls, then every attack."""
    targets = cache.targets
    attacked = [m.attacked for m in measured if m.attacked is not None]
    if targets is None or not attacked:
        return _not_assessed()
    panel = panel_test([a.scores for a in attacked], targets.member, cache.streams)
    every = {name: _attack_scores(cache, targets, attacked, name, panel) for name in ATTACKS}
    return (
        *(_as_headline(score) for score in every[HEADLINE]),
        _supported(cache, targets, attacked),
        _p_value(panel, len(attacked)),
        _best(cache, targets, attacked),
        _epsilon(cache, targets, attacked),
        _detectable(cache, targets, attacked, panel),
        *_controls(cache.controls),
        *(score for scores in every.values() for score in scores),
    )


def _not_assessed() -> tuple[Score, ...]:
    note = (
        f"not assessed: training and holdout need {MIN_PATIENTS} patients each, for members and "
        "non-members"
    )
    names = ("membership_auc", *(tpr_name(f) for f in FPRS), "membership_p", LEAK)
    return tuple(
        Score(n, "privacy", "Membership inference", math.nan, better="half", n=0, note=note)
        for n in names
    )


def tpr_name(fpr: float) -> str:
    """The score name of a true positive rate: `membership_tpr_at_1pct`."""
    return f"membership_tpr_at_{fpr * 100:g}pct"


def _as_headline(score: Score) -> Score:
    return dataclasses.replace(score, name=score.name.rsplit("/", 1)[0])


def _attack_scores(
    cache: RealBaselines,
    targets: Targets,
    attacked: Sequence[Attacked],
    name: str,
    panel: PanelTest,
) -> list[Score]:
    """The area and the true positive rates of one attack."""
    assert cache.target_weights is not None  # noqa: S101
    values = np.array([observed_statistics(a.scores[name], targets.member) for a in attacked])
    draws = np.array([resampled_statistics(a.scores[name], cache.target_weights) for a in attacked])
    rng = cache.streams.child("combine/membership").get("split")
    low, high = combine(values[:, 0], draws[:, 0], rng, bounds=(0.0, 1.0))
    title = ATTACKS[name]
    found = [
        Score(
            f"membership_auc/{name}",
            "privacy",
            f"Membership inference: AUC, {title}",
            float(values[:, 0].mean()),
            low,
            high,
            0.5,
            "half",
            len(attacked),
            tuple(values[:, 0].tolist()),
            values_note(len(attacked)),
        )
    ]
    for i, fpr in enumerate(FPRS, start=1):
        score = _tpr_score(cache, targets, values[:, i], draws[:, i], fpr=fpr, attack=name)
        found.append(dataclasses.replace(score, baseline=panel.null_means[name, f"tpr_{fpr:g}"]))
    return found


def _tpr_score(
    cache: RealBaselines,
    targets: Targets,
    values: np.ndarray,
    draws: np.ndarray,
    *,
    fpr: float,
    attack: str,
) -> Score:
    name, title = (
        f"{tpr_name(fpr)}/{attack}",
        (
            f"Membership inference: true positive rate at {fpr * 100:g} % false positives, "
            f"{ATTACKS[attack]}"
        ),
    )
    needed = math.ceil(round(10 / fpr, 6))
    if targets.non_members < needed:
        supported = targets.supported_fpr()
        instead = f"the smallest rate supported is {supported * 100:g} %" if supported else ""
        note = joined(
            f"not assessed: {needed:,} non-members are needed, the holdout has "
            f"{targets.non_members:,} (observed {float(values.mean()):.4f}, used in membership_p)",
            instead,
        )
        return Score(name, "privacy", title, math.nan, better="lower", n=0, note=note)
    rng = cache.streams.child("combine/membership").get("split")
    low, high = _tpr_interval(targets, values, draws, rng)
    return Score(
        name,
        "privacy",
        title,
        float(values.mean()),
        low,
        high,
        better="lower",
        n=values.size,
        values=tuple(values.tolist()),
        note=values_note(values.size),
    )


def _tpr_interval(
    targets: Targets, values: np.ndarray, draws: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Two-way bootstrap, widened to Clopper-Pearson's, since no hits resample to no hits."""
    low, high = combine(values, draws, rng, bounds=(0.0, 1.0))
    least, most = clopper_pearson(float(values.mean()) * targets.members, targets.members)
    return min(low, least), max(high, most)


def _supported(cache: RealBaselines, targets: Targets, attacked: Sequence[Attacked]) -> Score:
    """The headline attack at the smallest false positive rate that the holdout supports."""
    assert cache.target_weights is not None  # noqa: S101
    fpr = targets.supported_fpr()
    title = "Membership inference: true positive rate at the smallest supported false positive rate"
    if fpr is None:
        note = f"not assessed: 100 non-members are needed, the holdout has {targets.non_members}"
        return Score(
            "membership_tpr_supported", "privacy", title, math.nan, better="lower", n=0, note=note
        )
    scores = [a.scores[HEADLINE] for a in attacked]
    values = np.array([observed_statistics(s, targets.member, (fpr,))[1] for s in scores])
    draws = np.array([resampled_statistics(s, cache.target_weights, (fpr,))[1] for s in scores])
    rng = cache.streams.child("combine/membership").get("split")
    low, high = _tpr_interval(targets, values, draws, rng)
    return Score(
        "membership_tpr_supported",
        "privacy",
        f"Membership inference: true positive rate at {fpr * 100:g} % false positives",
        float(values.mean()),
        low,
        high,
        fpr,
        "lower",
        values.size,
        tuple(values.tolist()),
        joined(f"at {fpr * 100:g} % false positives", values_note(values.size)),
    )


def _p_value(panel: PanelTest, tables: int) -> Score:
    return Score(
        "membership_p",
        "privacy",
        "Membership inference: p-value of the whole panel, exact by permutation",
        panel.p_value,
        baseline=0.5,
        better="higher",
        n=tables,
        note="small means that the synthetic data remember training patients; uniform between 0 "
        "and 1 if they don't, provided the holdout was drawn at random by patient; the largest "
        f"statistic is that of: {ATTACKS[panel.found_by]}",
    )


def _best(cache: RealBaselines, targets: Targets, attacked: Sequence[Attacked]) -> Score:
    assert cache.target_weights is not None  # noqa: S101
    scores = [a.scores for a in attacked]
    best = best_attack(scores, targets.member, cache.target_weights, cache.streams)
    rng = cache.streams.child("combine/membership").get("split")
    low, high = combine(best.values, best.draws, rng, bounds=(0.0, 1.0))
    chosen = " and ".join(dict.fromkeys(ATTACKS[name] for name in best.names))
    return Score(
        "membership_auc_best",
        "privacy",
        "Membership inference: AUC of the best attack, chosen on other patients",
        float(best.values.mean()),
        low,
        high,
        0.5,
        "half",
        len(attacked),
        tuple(best.values.tolist()),
        joined(f"chosen: {chosen}", values_note(len(attacked))),
    )


def _epsilon(cache: RealBaselines, targets: Targets, attacked: Sequence[Attacked]) -> Score:
    found = [epsilon_lower_bound(a.scores, targets.member, cache.streams) for a in attacked]
    values = [bound.epsilon for bound in found]
    worst = max(found, key=lambda bound: bound.epsilon)
    return Score(
        "membership_epsilon",
        "privacy",
        "Least ε that explains the attacks (lower end of a 95 % interval)",
        float(np.mean(values)),
        baseline=0.0,
        better="lower",
        n=len(values),
        values=tuple(values),
        note=joined(
            f"{ATTACKS[worst.attack]}: {worst.tpr:.3f} of members against {worst.fpr:.3f} of others"
            if worst.epsilon > 0
            else "no attack shows more than chance",
            "a private generator whose claimed ε is smaller would be broken",
        ),
    )


LEAK = "minimum_detectable_leak"
EVIDENT = 0.05


def _detectable(
    cache: RealBaselines, targets: Targets, attacked: Sequence[Attacked], panel: PanelTest
) -> Score:
    title = "Minimum detectable leak: share of training patients copied verbatim"
    base = attacked[0]
    if panel.p_value < EVIDENT:
        # What is to be found must not be there already.
        rng = cache.streams.child("detectable-leak/base").get("split")
        base = attack(targets, independent_columns(targets, len(cache.train), rng))
    found = minimum_detectable_leak(base, targets, panel, cache.streams)
    if math.isnan(found.share):
        note = "not assessed: even a quarter of the training patients copied would not be noticed"
        return Score(LEAK, "privacy", title, math.nan, better="lower", n=0, note=note)
    note = (
        f"{found.copies:.0f} copied records among {targets.members:,} attacked training patients "
        "would be noticed in 95 % of evaluations like this one"
    )
    return Score(LEAK, "privacy", title, found.share, better="lower", note=note)


def _controls(controls: Sequence[Control]) -> tuple[Score, ...]:
    return tuple(
        Score(
            f"control_{control.name}",
            "privacy",
            f"Positive control, p-value of the panel: {CONTROLS[control.name]}",
            control.p_value,
            baseline=0.5,
            better="lower",
            note=f"detected, by: {ATTACKS[control.found_by]}"
            if control.detected
            else "not detected: this evaluation would not see such a leak",
        )
        for control in controls
    )


def privacy_plots(
    cache: RealBaselines, measured: Sequence[Measured], area: Score | None
) -> dict[str, Any]:
    """`roc` of the headline attack, the mean of strict step curves over synthetic tables."""
    if cache.targets is None or area is None or not area.assessed:
        return {"roc": None}
    member = cache.targets.member
    attacked = [m.attacked for m in measured if m.attacked is not None]
    curves = [roc_curve(a.scores[HEADLINE], member, ROC_GRID) for a in attacked]
    return {
        "roc": {
            "attack": HEADLINE,
            "title": ATTACKS[HEADLINE],
            "fpr": ROC_GRID.tolist(),
            "tpr": np.mean(curves, axis=0).round(6).tolist(),
            "auc": area.value,
            "low": area.low,
            "high": area.high,
            "members": cache.targets.members,
            "non_members": cache.targets.non_members,
        }
    }
