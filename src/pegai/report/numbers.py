"""Numbers for people: figures, shares, intervals, durations and labels of a sensible length."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from pegai.evaluate.scores import Score

NONE = "not assessed"
NBSP = "\u00a0"

SHARES = (
    "membership_tpr",
    "canary_guesses",
    "exact_copies",
    "copied_rows",
    "text_copies",
    "singling_out",
    "linkability",
    "attribute_inference",
    "identity_risk",
    "minimum_detectable_leak",
    "rule_violations",
    "equivalent_sample",
    "coefficient_sign_flips",
    "coefficient_coverage",
)
"""Scores whose name begins so are shown in per cent."""


def figure(value: float | None, digits: int = 3) -> str:
    """A figure with fixed digits; a typographic minus; `not assessed` for NaN."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def share(value: float | None) -> str:
    """A share in per cent, with more digits where it is small."""
    if value is None or math.isnan(value):
        return NONE
    percent = 100 * value
    digits = 0 if abs(percent) >= 99.95 or percent == 0 else 1 if abs(percent) >= 1 else 2
    return f"{figure(percent, digits)} %"


def at_most(value: float) -> str:
    """A share that is an upper bound: rounded up to a tenth of a per cent."""
    return share(math.ceil(value * 1000 - 1e-9) / 1000)


def significant(value: float, digits: int = 3) -> str:
    """A positive setting such as epsilon or delta: `1`, `0.35`, `0.001`, `1e-05`."""
    return figure(value) if not math.isfinite(value) else f"{value:.{digits}g}"


def interval(low: float, high: float, *, as_share: bool = False) -> str:
    """`0.48 to 0.56`; empty where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    show = share if as_share else figure
    return f"{show(low)} to {show(high)}"


def is_share(name: str) -> bool:
    """Whether a score is a share, to be shown in per cent."""
    return name.startswith(SHARES)


def score_text(score: Score | None) -> str:
    """The figure of a score alone."""
    if score is None:
        return NONE
    return share(score.value) if is_share(score.name) else figure(score.value)


def score_interval(score: Score | None) -> str:
    """The interval of a score, or nothing."""
    if score is None or not score.assessed:
        return ""
    return interval(score.low, score.high, as_share=is_share(score.name))


def score_with_interval(score: Score | None) -> str:
    """`0.52 (0.48 to 0.56)`."""
    between = score_interval(score)
    return f"{score_text(score)} ({between})" if between else score_text(score)


def why_not(score: Score | None, otherwise: str = "") -> str:
    """Why a score was not assessed, without saying again that it was not."""
    note = ("" if score is None else score.note).removeprefix(f"{NONE}:").strip()
    return note[:1].upper() + note[1:] if note else otherwise


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if math.isnan(seconds):
        return "not recorded"
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    return f"{whole // 3600}{NBSP}h {whole % 3600 // 60}{NBSP}min"


def shorten(text: str, length: int = 24) -> str:
    """A label of at most `length` characters without control characters, for a plot."""
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(text))
    visible = " ".join(visible.split())
    return visible if len(visible) <= length else visible[: length - 1].rstrip() + "…"


def short_number(value: float) -> str:
    """A tick label: `1200`, `0.25`, `1.2e+06`."""
    return f"{value:.4g}".replace("-", "−")


def cell(value: Any) -> str:
    """Any value of a settings table as text: nothing, figures, lists and pairs included."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return NONE
        return figure(value) if not math.isfinite(value) else f"{value:.6g}".replace("-", "−")
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {cell(v)}" for k, v in value.items()) or "–"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell(v) for v in value) or "–"
    return str(value)
