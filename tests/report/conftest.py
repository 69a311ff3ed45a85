"""A made-up but realistic evaluation of a heart disease table, and the report built from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pegai.evaluate.scores import Evaluation, Score
from pegai.privacy.events import SubsampledGaussianEvent
from pegai.privacy.guarantee import Guarantee
from pegai.report import Candidate, Content, build_content

NUMERIC = (
    ("age", "Age (years)", 28, 90),
    ("trestbps", "Resting blood pressure (mm Hg)", 80, 210),
    ("chol", "Serum cholesterol (mg/dl)", 80, 600),
    ("thalach", "Maximum heart rate", 60, 220),
    ("oldpeak", "ST depression", 0, 7),
)
DISCRETE = (
    ("sex", "Sex", ("female", "male")),
    ("cp", "Chest pain", ("typical angina", "atypical angina", "non-anginal pain", "asymptomatic")),
    ("fbs", "Fasting blood sugar > 120 mg/dl", ("no", "yes", "missing")),
    ("restecg", "Resting ECG", ("normal", "ST-T abnormality", "LV hypertrophy")),
    ("exang", "Exercise-induced angina", ("no", "yes")),
    ("slope", "Slope of ST segment", ("upsloping", "flat", "downsloping", "missing")),
    ("ca", "Major vessels coloured", ("0", "1", "2", "3", "missing")),
    ("thal", "Thallium test", ("normal", "fixed defect", "reversible defect", "missing")),
    ("site", "Hospital", ("cleveland", "hungarian", "switzerland", "va")),
    ("num", "Heart disease", ("absent", "present")),
)
CLASSIFIERS = (
    ("logistic", "Logistic regression"),
    ("forest", "Random forest"),
    ("boosting", "Gradient boosting"),
    ("knn", "k nearest neighbours"),
    ("svm", "Support vector machine"),
)


def fake_marginals(rng: np.random.Generator, error: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, title, low, high in NUMERIC:
        edges = np.linspace(low, high, 21)
        middle = (edges[:-1] + edges[1:]) / 2
        real = np.exp(-0.5 * ((middle - (low + high) / 2.2) / ((high - low) / 6)) ** 2)
        synthetic = real * np.exp(error * 2 * rng.normal(size=20))
        missing = [0.04, 0.04 + error / 4] if name == "chol" else []
        real, synthetic = real / real.sum(), synthetic / synthetic.sum()
        labels = [f"{a:.0f} to {b:.0f}" for a, b in pairwise(edges)]
        found.append(
            {
                "column": name,
                "title": title,
                "kind": "integer" if name != "oldpeak" else "continuous",
                "labels": labels + ["missing"] * bool(missing),
                "edges": edges.tolist(),
                "real": (real * (1 - sum(missing[:1]))).tolist() + missing[:1],
                "synthetic": (synthetic * (1 - sum(missing[1:]))).tolist() + missing[1:],
            }
        )
    for name, title, labels in DISCRETE:
        real = rng.dirichlet(np.full(len(labels), 3.0))
        synthetic = np.clip(real + error * 0.6 * rng.normal(size=len(labels)), 0.005, None)
        found.append(
            {
                "column": name,
                "title": title,
                "kind": "categorical",
                "labels": list(labels),
                "edges": None,
                "real": real.tolist(),
                "synthetic": (synthetic / synthetic.sum()).tolist(),
            }
        )
    return found


def fake_plots(rng: np.random.Generator, error: float, auc: float) -> dict[str, Any]:
    names = [c[0] for c in (*NUMERIC, *DISCRETE)]
    loadings = rng.normal(size=(15, 4))
    real = np.corrcoef(loadings @ loadings.T + 3 * np.eye(15))
    noise = rng.normal(size=(15, 15)) * error
    synthetic = np.clip(real * (1 - error) + (noise + noise.T) / 2, -1, 1)
    np.fill_diagonal(synthetic, 1.0)
    cloud = np.vstack([rng.normal((-1.2, 0), 1, (180, 2)), rng.normal((1.6, 0.8), 0.8, (96, 2))])
    fake = cloud + error * 2 * rng.normal(size=cloud.shape)
    fpr = np.linspace(0, 1, 277)
    tpr = np.clip(fpr + (auc - 0.5) * 4 * fpr * (1 - fpr) + 0.012 * rng.normal(size=277), 0, 1)
    tpr = np.maximum.accumulate(tpr)
    tpr[0], tpr[-1] = 0, 1
    return {
        "marginals": fake_marginals(rng, error),
        "correlation": {
            "columns": names, "real": real.tolist(), "synthetic": synthetic.tolist(),
        },
        "scatter": {
            "real": cloud.tolist(), "synthetic": fake.tolist(), "explained": [0.31, 0.14],
        },
        "tstr": [fake_classifier(rng, key, title, error) for key, title in CLASSIFIERS],
        "confusion": {
            "classifier": "boosting",
            "labels": ["absent", "present"],
            "real": [[101.0, 22.0], [19.0, 134.0]],
            "synthetic": [[92.4, 30.6], [27.2, 125.8]],
        },
        "report": {
            kind: [
                {"label": "absent", "precision": 0.84 - gap, "recall": 0.82 - gap,
                 "f1": 0.83 - gap, "support": 123},
                {"label": "present", "precision": 0.86 - gap, "recall": 0.88 - gap,
                 "f1": 0.87 - gap, "support": 153},
            ]
            for kind, gap in (("real", 0.0), ("synthetic", error / 2))
        },
        "roc": {
            "fpr": fpr.tolist(), "tpr": tpr.tolist(), "auc": auc, "low": auc - 0.03,
            "high": auc + 0.03,
        },
        "seeds": 5,
        **fake_study(rng, error),
    }  # fmt: skip


def fake_study(rng: np.random.Generator, error: float) -> dict[str, Any]:
    """What a study would draw: calibration, importance, coefficients, survival, subgroups."""
    names = [c[0] for c in (*NUMERIC, *DISCRETE)]
    risks = np.linspace(0.05, 0.95, 8)
    times = np.arange(1, 25) * 30.0

    def points(shift: float) -> list[dict[str, float]]:
        seen = np.clip(risks + shift * (0.5 - risks), 0, 1)
        return [
            {"risk": float(r), "observed": float(o), "low": float(o) - 0.05,
             "high": float(o) + 0.05, "n": 35.0}
            for r, o in zip(risks, seen, strict=True)
        ]  # fmt: skip

    def coefficient(column: str) -> dict[str, Any]:
        real = float(rng.normal())
        fake = real + error * 2 * float(rng.normal())
        return {"column": column, "label": column.capitalize(), "real": real,
                "real_low": real - 0.3, "real_high": real + 0.3, "synthetic": fake,
                "low": fake - 0.35, "high": fake + 0.35, "train": real}  # fmt: skip

    def curve(rate: float) -> dict[str, list[float]]:
        alive = np.exp(-rate * times)
        return {"survival": alive.tolist(), "low": (alive - 0.05).tolist(),
                "high": (alive + 0.05).tolist()}  # fmt: skip

    def model(family: str, outcome: str) -> dict[str, Any]:
        return {"family": family, "outcome": outcome, "rule": "single",
                "warning": "One table: standard errors by the rule for a single release.",
                "terms": [coefficient(n) for n in names]}  # fmt: skip

    real = np.sort(rng.gamma(1, 0.03, len(names)))[::-1]
    return {
        "reliability": [
            {"classifier": "boosting", "title": "Gradient boosting", "real": points(0.05),
             "synthetic": points(error)},
        ],
        "importance": [
            {"column": n, "title": n, "real": float(r), "synthetic": float(r + 0.01 * z)}
            for n, r, z in zip(names, real, rng.normal(size=len(names)), strict=True)
        ],
        "coefficients": model("logistic", "heart disease"),
        "hazards": model("cox", "death"),
        "survival": {"time": "days", "event": "died", "title": "Death", "horizon": 720.0,
                     "times": times.tolist(), "real": curve(0.0006), "synthetic": curve(0.0008)},
        "subgroups": [
            {"column": "site", "title": "Hospital", "group": level, "n": 60 + i, "metric": "auc",
             "real": 0.88, "synthetic": 0.86, "gap": 0.06 - 0.02 * i, "low": 0.02 - 0.02 * i,
             "high": 0.1 - 0.02 * i, "share_real": 0.2, "share_synthetic": 0.15, "ratio": 0.75}
            for i, level in enumerate(("va", "cleveland", "hungarian", "switzerland"))
        ],
        "equivalent_sample": {"patients": [32, 64, 128, 256, 512], "questions": [
            {"name": f"{n}way", "title": title, "real": [0.13, 0.095, 0.07, 0.05, 0.034],
             "synthetic": [0.055, 0.057], "equivalent": [210.0, 205.0]}
            for n, title in ((1, "single columns"), (2, "pairs of columns"))
        ]},
        **{
            name: [{"columns": ["chol", "age", "sex"][:n], "distance": 0.08, "baseline": 0.03}]
            for n, name in enumerate(("worst_1way", "worst_2way", "worst_3way"), start=1)
        },
    }  # fmt: skip


def fake_classifier(rng: np.random.Generator, key: str, title: str, error: float) -> dict[str, Any]:
    metrics = {}
    for metric, real in (("auc", 0.88), ("accuracy", 0.81), ("balanced_accuracy", 0.80),
                         ("precision", 0.82), ("recall", 0.83), ("f1", 0.82)):  # fmt: skip
        best = real + 0.02 * float(rng.normal())
        value = best - error * (0.4 + 0.2 * float(rng.random()))
        metrics[metric] = {
            "synthetic": value, "low": value - 0.02, "high": value + 0.02, "real": best,
        }  # fmt: skip
    return {"classifier": key, "title": title, "metrics": metrics}


def fake_scores(error: float, attack: float, p: float) -> tuple[Score, ...]:
    utility = 0.885 - 0.45 * error
    return (
        Score("column_shapes", "fidelity", "Column shapes", 0.97 - error / 3, 0.96 - error / 3,
              0.98 - error / 3, 0.975, n=5),
        Score("pair_trends", "fidelity", "Pair trends", 0.95 - error / 2, 0.94 - error / 2,
              0.96 - error / 2, 0.955, n=5),
        Score("detection_auc", "fidelity", "Detection (C2ST)", 0.52 + error, 0.50 + error,
              0.54 + error, 0.51, "half", 5),
        Score("tstr_auc", "utility", "TSTR AUC, mean over classifiers", utility, utility - 0.012,
              utility + 0.012, 0.885, n=5),
        *(
            Score(f"tstr_auc/{key}", "utility", f"TSTR AUC, {title}", utility, utility - 0.02,
                  utility + 0.02, 0.88, n=5)
            for key, title in CLASSIFIERS
        ),
        Score("membership_auc", "privacy", "Membership inference AUC", attack, attack - 0.03,
              attack + 0.03, 0.5, "half", 5),
        Score("membership_tpr_at_1pct", "privacy", "Hits at 1 % false alarms", 0.012, 0.004, 0.028,
              0.01, "lower", 5),
        Score("membership_tpr_at_0.1pct", "privacy", "Hits at 0.1 % false alarms", 0.001, 0.0,
              0.009, 0.001, "lower", 5, note="276 non-members are too few for an estimate"),
        Score("membership_p", "privacy", "Permutation p of the attack", p, n=5),
        Score("exact_copies", "privacy", "Exact copies", 0.0, 0.0, 0.0, 0.0, "lower", 5),
        *fake_disclosure(),
        *fake_quality(error),
    )  # fmt: skip


def fake_disclosure() -> tuple[Score, ...]:
    """Attacks that find nothing, and controls that show they would have."""
    return (
        Score("singling_out", "privacy", "Singling out", 0.004, -0.02, 0.03, 0.0, "lower", 5),
        Score("linkability", "privacy", "Linkability", 0.002, -0.01, 0.02, 0.0, "lower", 5),
        Score("attribute_inference", "privacy", "Inference", 0.01, -0.02, 0.04, 0.0, "lower", 5),
        Score("identity_risk", "privacy", "Identity risk", 0.03, 0.02, 0.05, better="lower", n=5),
        Score("minimum_detectable_leak", "privacy", "Smallest leak", 0.012, better="lower"),
        Score("control_planted", "privacy", "Planted copies are seen", 1.0),
        Score("control_jitter", "privacy", "Jittered copies are seen", 1.0),
        Score("control_overfit", "privacy", "Overfitting is seen", 1.0),
        Score("k_anonymity", "privacy", "k of the source", 3.0),
        Score("dcr_share", "privacy", "Closer to training than to holdout", 0.51, 0.48, 0.54, 0.5),
        Score("nndr_mean", "privacy", "Nearest to second nearest", 0.71, 0.69, 0.73, 0.72),
    )


def fake_quality(error: float) -> tuple[Score, ...]:
    overlap, share = 0.92 - error, 0.62 - error
    return (
        Score("equivalent_sample", "fidelity", "Equivalent sample", share, share - 0.1,
              share + 0.1, 1.0, n=5),
        Score("equivalent_patients", "fidelity", "Equivalent patients", 644 * share,
              644 * (share - 0.1), 644 * (share + 0.1), 644, n=5),
        Score("rule_violations", "fidelity", "Broken rules", 0.002, 0.0, 0.006, 0.001, "lower", 5,
              note="broken by 0.30% of synthetic rows and 0.10% of the holdout's"),
        Score("rule_violations/pressure", "fidelity", "Diastolic below systolic", 0.002, 0.0,
              0.006, 0.001, "lower", 5,
              note="broken by 0.30% of synthetic rows and 0.10% of the holdout's"),
        Score("calibration_slope", "utility", "Calibration slope", 0.93, 0.85, 1.02, 1.01, n=5),
        Score("coefficient_overlap", "utility", "Overlap", overlap, overlap - 0.05,
              overlap + 0.05, 0.95, n=5),
        Score("coefficient_sign_flips", "utility", "Sign flips", 0.0, 0.0, 0.0, 0.0, "lower", 5),
        Score("coefficient_coverage", "utility", "Coverage", 0.93, 0.9, 0.96, 0.95, n=5),
        Score("subgroup_gap", "utility", "Largest loss", 0.06, 0.02, 0.10, 0.0, "lower", 5),
        Score("subgroup_gap/site=va", "utility", "Loss at va", 0.06, 0.02, 0.10, 0.0, "lower", 5),
        Score("subgroup_gap/sex=male", "utility", "Loss of men", 0.01, 0.0, 0.02, 0.0, "lower", 5),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Evaluation]:
    def make(
        error: float = 0.1,
        attack: float = 0.51,
        p: float = 0.4,
        *,
        seed: int = 3,
        without: tuple[str, ...] = (),
        nan: tuple[str, ...] = (),
        plots: dict[str, Any] | None = None,
    ) -> Evaluation:
        scores = tuple(
            Score(s.name, s.group, s.title, math.nan, n=0, note="too few rows")
            if s.name in nan
            else s
            for s in fake_scores(error, attack, p)
            if s.name not in without
        )
        return Evaluation(
            scores=scores,
            plots=fake_plots(np.random.default_rng(seed), error, attack)
            if plots is None
            else plots,
            rows={"train": 644, "holdout": 276, "synthetic": 644},
            seeds=(0, 1, 2, 3, 4),
            seconds=38.2,
        )

    return make


@pytest.fixture(scope="session")
def make_guarantee() -> Callable[..., Guarantee]:
    def make(epsilon: float = 1.0, attack_tpr: float = 0.027, **changes: Any) -> Guarantee:
        event = SubsampledGaussianEvent(
            label="critic", count=900, noise_multiplier=2.1, sampling_probability=0.1
        )
        return Guarantee(
            epsilon=epsilon,
            delta=changes.pop("delta", 1e-3),
            events=(event,),
            public=("columns, categories and bounds: dictionary (UCI documentation)",),
            attack_tpr=attack_tpr,
            versions={"pegai": "0.1.0", "numpy": "2.3.4", "python": "3.11.2"},
            created="2026-11-23T09:30:00+00:00",
            **changes,
        )

    return make


@pytest.fixture(scope="session")
def candidates(
    make_evaluation: Callable[..., Evaluation], make_guarantee: Callable[..., Guarantee]
) -> tuple[Candidate, ...]:
    settings = {"epochs": 300, "batch_size": 64, "learning_rate": 2e-4, "hidden": [128, 128]}
    private = (
        (1.0, 0.027, 0.16, True),
        (3.0, 0.172, 0.11, False),
        (10.0, 1.0, 0.08, False),
    )
    return (
        *(
            Candidate(
                name=f"ctgan, epsilon {epsilon:g}",
                title=f"CTGAN with ε = {epsilon:g}",
                method="ctgan",
                evaluation=make_evaluation(error, 0.5 + 0.004 * epsilon),
                guarantee=make_guarantee(epsilon, bound),
                released=released,
                settings=settings,
                seconds=41.3,
            )
            for epsilon, bound, error, released in private
        ),
        Candidate(
            "ctgan", "CTGAN, not private", "ctgan", make_evaluation(0.03, 0.561, 0.01),
            settings=settings, seconds=28.0,
        ),
        Candidate(
            "independent", "Independent columns", "independent", make_evaluation(0.4, 0.5),
            seconds=0.2,
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def surroundings() -> dict[str, Any]:
    return {
        "title": "Synthetic heart disease patients",
        "dataset": "UCI Heart Disease, four hospitals: 920 patients, 15 columns",
        "created": "2026-11-23T09:31:12+00:00",
        "deidentification": [
            {"column": "name", "class": "A: names", "evidence": "name of the column",
             "action": "dropped", "cells": 920},
            {"column": "id", "class": "R: any other unique code", "evidence": "unique",
             "action": "dropped", "cells": 920},
            {"column": "age", "class": "C: dates and ages", "evidence": "bounds",
             "action": "over 89 as 90", "cells": 0},
        ],
        "anonymity_before": {"k": 1, "l_distinct": 1, "l_entropy": 1.0, "t": 0.512},
        "anonymity_after": {"k": 3, "l_distinct": 2, "l_entropy": 1.4, "t": 0.31},
        "split": {"unit": "patient", "holdout_share": 0.3, "seed": 7},
        "versions": {"pegai": "0.1.0", "numpy": "2.3.4", "torch": "2.13.0"},
        "seeds": {"split": 7, "sample": [11, 12, 13, 14, 15], "noise": "operating system"},
        "machine": {"system": "Linux", "cores": 2, "python": "3.11.2"},
        "ledger": [
            {"time": "2026-11-23T09:30:00+00:00", "dataset": "heart", "epsilon": 1.0,
             "delta": 1e-3, "spent": 1.0, "hash": "9f2c51d0a7b1"},
        ],
        "lint": [
            {"class": "A: names", "status": "closed", "columns": []},
            {"class": "C: dates", "status": "closed", "columns": []},
        ],
        "commands": ["pegai demo --out demo/ --seed 7"],
        "domain": [
            {"column": name, "title": title, "kind": "integer", "role": "feature",
             "values": f"{low} to {high}", "source": "expert:clinical range"}
            for name, title, low, high in NUMERIC
        ] + [
            {"column": name, "title": title, "kind": "categorical", "role": "feature",
             "values": ", ".join(levels), "source": "dictionary:UCI"}
            for name, title, levels in DISCRETE
        ],
    }  # fmt: skip


@pytest.fixture(scope="session")
def content(candidates: tuple[Candidate, ...], surroundings: dict[str, Any]) -> Content:
    return build_content(candidates, **surroundings)
