"""The page: one self-contained HTML file, and the JSON twin beside it.

The file needs no network and no JavaScript, and its content security policy forbids both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pegai._version import __version__
from pegai.errors import DataError
from pegai.report import disclosure, domain, tables, uses, views
from pegai.report.content import Content
from pegai.report.glossary import GLOSSARY
from pegai.report.numbers import at_most
from pegai.report.plots.attack import plot_roc
from pegai.report.plots.correlation import Correlations, plot_correlations
from pegai.report.plots.marginals import Marginals, plot_marginals
from pegai.report.plots.models import plot_calibration, plot_importance, plot_subgroups
from pegai.report.plots.picture import Picture
from pegai.report.plots.sample import plot_sample
from pegai.report.plots.scatter import plot_scatter
from pegai.report.plots.study import plot_coefficients, plot_survival
from pegai.report.plots.tradeoff import Point, plot_bounds, plot_tradeoff
from pegai.report.plots.utility import plot_classifiers, plot_confusion

HTML_NAME = "report.html"
JSON_NAME = "report.json"
TEMPLATES = Path(__file__).parent / "templates"


def render_html(content: Content) -> str:
    """The page as text; equal content gives equal text."""
    return environment().get_template("report.html.j2").render(_context(content))


def environment() -> Environment:
    """Where the templates are found and every text in them is escaped."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only what pegai.report.plots made is trusted markup; every text in it is escaped there.
    made.filters["svg"] = lambda picture: Markup(picture.svg)  # noqa: S704
    made.filters["at_most"] = at_most
    made.globals["css"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704
    return made


def render_json(content: Content) -> str:
    """The JSON twin as text: sorted keys, no NaN; equal content gives equal text."""
    return (
        json.dumps(content.to_dict(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def write_report(content: Content, folder: str | Path) -> tuple[Path, Path]:
    """Writes `report.html` and `report.json`; each is whole or absent.

    Args:
        content: What the report says.
        folder: Made if it does not exist.

    Returns:
        The paths of the page and of its JSON twin.

    Raises:
        DataError: The folder can't be made, or a file can't be written.
    """
    from pegai.data.atomic import atomic_write_text

    # Both are rendered before either is written: an error leaves the old pair.
    page, twin = render_html(content), render_json(content)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the folder {target} can't be made ({error.strerror})",
            hint="Name another folder for the report.",
        ) from None
    html_path, json_path = target / HTML_NAME, target / JSON_NAME
    atomic_write_text(html_path, page)
    atomic_write_text(json_path, twin)
    return html_path, json_path


def _unbroken(value: Any) -> Any:
    """Keeps `95 %` and `ε = 1` on one line; markup is left as it is."""
    if type(value) is not str:
        return value
    return value.replace("\x00", "").replace(" %", "\u00a0%").replace("ε = ", "ε\u00a0=\u00a0")


def _context(content: Content) -> dict[str, Any]:
    subject, evaluation = content.subject, content.subject.evaluation
    return {
        "content": content,
        "subject": subject,
        "verdict": content.verdict,
        "rows": {k: evaluation.rows.get(k, 0) for k in ("train", "holdout", "synthetic")},
        "version": __version__,
        "created": views.when(content.created),
        "attack_facts": views.attack_facts(evaluation),
        "tiles": views.key_figures(subject),
        "sample": views.sample_sentence(evaluation),
        "uses": uses.use_grid(uses.intended_uses(evaluation, content.verdict, content.policy)),
        "subgroups": uses.subgroup_lines(evaluation),
        "subgroups_absent": views.absent(
            evaluation, "subgroup_gap", "No subgroup that could be measured loses much."
        ),
        "rules": uses.rule_lines(evaluation),
        "rules_absent": views.absent(
            evaluation, "rule_violations", "No rule is broken more often than by real patients."
        ),
        "disclosure": disclosure.disclosure_grid(evaluation),
        "controls": disclosure.control_lines(evaluation),
        "identity": disclosure.identity_facts(evaluation),
        "identity_note": disclosure.IDENTITY_NOTE,
        "legacy": disclosure.legacy_facts(evaluation),
        "legacy_note": disclosure.LEGACY_NOTE,
        "explained": views.explained(subject.guarantee),
        "domain": domain.domain_grid(content.domain) if content.domain else None,
        "domain_sources": domain.source_facts(content.domain or ()),
        "gates": views.gate_grid(content.verdict),
        "candidates": views.candidate_grid(content),
        "bounds": _bounds(content),
        "tradeoff": plot_tradeoff(_points(content)),
        "plots": _plots(content),
        "scores": tables.score_grids(evaluation),
        "details": _details(content),
        "guarantee_json": views.guarantee_json(subject),
        "glossary": GLOSSARY,
    }


def _plots(content: Content) -> dict[str, Any]:
    """The plots of the subject; what has no data is empty and leaves its section out."""
    data = content.subject.evaluation.plots
    tstr, report = data.get("tstr") or (), data.get("report") or {}
    marginals = data.get("marginals") or ()
    correlation, scatter = data.get("correlation"), data.get("scatter")
    confusion, roc = data.get("confusion"), data.get("roc")
    attack = content.subject.evaluation.get("membership_auc")
    drawn = plot_marginals(marginals) if marginals else Marginals((), (), 0)
    pairs = plot_correlations(correlation) if correlation else Correlations((), (), 0)
    return {
        "marginals": drawn,
        "marginal_grid": tables.marginal_grid(drawn.distances),
        "correlations": pairs,
        "association": str(correlation.get("method") or "") if correlation else "",
        "pair_grid": tables.pair_grid(pairs.worst),
        "scatter": plot_scatter(scatter) if scatter else (),
        "classifiers": plot_classifiers(tstr) if tstr else (),
        "tstr_grid": tables.tstr_grid(tstr) if tstr else None,
        "confusion": plot_confusion(confusion) if confusion else (),
        "confusion_of": _classifier_title(tstr, confusion) if confusion else "",
        "class_grid": tables.class_grid(report) if report else None,
        "roc": plot_roc(roc, math.nan if attack is None else attack.value) if roc else (),
        "roc_of": str(roc.get("title") or "") if roc else "",
        **_study_plots(data),
    }


def _study_plots(data: Mapping[str, Any]) -> dict[str, Any]:
    """The plots that a study would draw; empty where they were not measured."""
    subgroups = data.get("subgroups") or ()
    return {
        "sample": plot_sample(data.get("equivalent_sample") or {}),
        "coefficients": (
            *plot_coefficients(data.get("coefficients") or {}),
            *plot_coefficients(data.get("hazards") or {}, "hazards"),
        ),
        "inference_note": str((data.get("coefficients") or {}).get("warning") or ""),
        "survival": plot_survival(data.get("survival") or {}),
        "calibration": plot_calibration(data.get("reliability") or ()),
        "importance": plot_importance(data.get("importance") or ()),
        "subgroups": tables.subgroup_grid(subgroups),
        "subgroup_pictures": plot_subgroups(subgroups),
        "worst": tables.worst_grids(data),
    }


def _classifier_title(tstr: Any, confusion: Any) -> str:
    name = str(confusion.get("classifier") or "")
    titles = {row["classifier"]: str(row.get("title") or row["classifier"]) for row in tstr}
    return titles.get(name, name)


def _details(content: Content) -> dict[str, Any]:
    """The tables behind the folds; None where there is nothing to show."""
    removed, lint = content.deidentification, content.lint
    settings = content.subject.settings
    rows = content.subject.evaluation.rows
    seeds = {**content.seeds, "evaluation": list(content.subject.evaluation.seeds)}
    return {
        "deidentification": tables.rows_grid(removed, "What was done to which column")
        if removed
        else None,
        "lint": tables.rows_grid(lint, "HIPAA Safe Harbor classes") if lint else None,
        "anonymity": tables.anonymity_grid(content.anonymity_before, content.anonymity_after)
        if content.anonymity_before or content.anonymity_after
        else None,
        "ledger": tables.rows_grid(content.ledger, "Charges to the privacy budget")
        if content.ledger
        else None,
        "split": tables.facts_grid({**content.split, "rows": rows}, "Split"),
        "settings": tables.facts_grid(settings, "Settings of the generator") if settings else None,
        "versions": tables.facts_grid(content.versions, "Versions", head="Version", raw=True),
        "seeds": tables.facts_grid(seeds, "Seeds", head="Seed"),
        "machine": tables.facts_grid(content.machine, "Machine"),
    }


def _points(content: Content) -> list[Point]:
    return [
        Point(
            label=c.title,
            method=c.method,
            epsilon=c.epsilon,
            subject=i == content.subject_index,
            utility=c.evaluation.get("tstr_auc"),
            attack=c.evaluation.get("membership_auc"),
        )
        for i, c in enumerate(content.candidates)
    ]


def _bounds(content: Content) -> Picture | None:
    """What each guarantee leaves an attacker; nothing to draw where there is none."""
    if all(c.guarantee is None for c in content.candidates):
        return None
    rows = [
        (
            c.title,
            None if c.guarantee is None or c.guarantee.audit_only else c.guarantee.attack_tpr,
            i == content.subject_index,
        )
        for i, c in enumerate(content.candidates)
    ]
    return plot_bounds(rows)
