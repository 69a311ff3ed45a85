from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pegai.evaluate.scores import Evaluation, Score
from pegai.report import PUBLIC_2, build_content, decide, render_html
from pegai.report.content import Candidate
from pegai.report.disclosure import disclosure_grid, legacy_facts, rates
from pegai.report.uses import harmed_subgroups, intended_uses, rule_lines


def answers(evaluation, guarantee=None):
    verdict = decide(evaluation, guarantee, lint=[])
    return [use.answer for use in intended_uses(evaluation, verdict, PUBLIC_2)]


def test_each_use_is_answered_by_its_own_figures(make_evaluation):
    assert answers(make_evaluation(0.02)) == ["yes", "yes", "yes", "yes", "with care"]
    assert answers(make_evaluation(0.45)) == ["with care", "with care", "no", "no", "with care"]


def test_without_figures_nothing_is_answered():
    assert answers(Evaluation(())) == ["not assessed"] * 5


def test_nothing_is_fit_where_the_policy_forbids(make_evaluation):
    assert answers(make_evaluation(0.02, attack=0.7)) == ["no"] * 5


def test_a_slope_far_from_one_is_said(make_evaluation):
    base = make_evaluation(0.02)
    scores = tuple(
        replace(s, value=0.4) if s.name == "calibration_slope" else s for s in base.scores
    )
    assert answers(replace(base, scores=scores))[2] == "with care"


def test_harmed_subgroups_are_evident_and_large(make_evaluation):
    assert [s.name for s in harmed_subgroups(make_evaluation())] == ["subgroup_gap/site=va"]
    unsure = Score("subgroup_gap/x=1", "utility", "x", 0.2, -0.1, 0.5)
    assert harmed_subgroups(Evaluation((unsure,))) == ()


def test_rules_are_listed_only_where_they_are_broken_more_often(make_evaluation):
    (line,) = rule_lines(make_evaluation())
    assert line.startswith("Diastolic below systolic: broken by 0.30%")


@pytest.mark.parametrize("name", ["singling_out", "linkability", "attribute_inference"])
def test_the_officer_sees_the_difference_and_why_it_is_missing(make_evaluation, name):
    titles = {"singling_out": "Singling out", "linkability": "Linkability",
              "attribute_inference": "Inference"}  # fmt: skip
    found = {row[0].main: row for row in disclosure_grid(make_evaluation()).rows}
    assert found[titles[name]][3].main.endswith("%")
    nothing = {r[0].main: r for r in disclosure_grid(make_evaluation(nan=(name,))).rows}
    assert nothing[titles[name]][4].main == "Too few rows"


def test_success_on_patients_and_on_controls_is_told_apart():
    note = "success on 1,400 training patients 0.0314, on 600 holdout patients 0.0251; worst: x"
    score = Score("linkability", "privacy", "x", 0.0063, -0.01, 0.02, 0.0, "lower", note=note)
    evaluation = Evaluation((score, replace(score, name="model_inversion")))
    assert rates(evaluation, score) == (0.0314, 0.0251)
    rows = {row[0].main: row for row in disclosure_grid(evaluation).rows}
    assert [cell.main for cell in rows["Linkability"][1:3]] == ["3.1 %", "2.5 %"]
    assert "Inference through the model" in rows
    told = {"disclosure": {"linkability": {"patients": 0.5, "controls": 0.4}}}
    given = replace(evaluation, plots=told)
    assert rates(given, score) == (0.5, 0.4)


def test_distances_are_shown_as_legacy_and_never_gated(make_evaluation, surroundings):
    evaluation = make_evaluation()
    assert len(legacy_facts(evaluation)) == 2
    scores = tuple(
        replace(s, value=1.0, low=1.0, high=1.0) if s.name.startswith("dcr_") else s
        for s in evaluation.scores
    )
    worse = replace(evaluation, scores=scores)
    assert decide(worse, None, lint=[]) == decide(evaluation, None, lint=[])
    page = render_html(build_content([Candidate("a", "A", "m", worse)], **surroundings))
    assert "Legacy diagnostics, never gated" in page


def test_a_figure_without_interval_is_no_crash(make_evaluation, surroundings):
    base = make_evaluation()
    scores = tuple(replace(s, low=math.nan, high=math.nan) for s in base.scores)
    bare = replace(base, scores=scores)
    page = render_html(build_content([Candidate("a", "A", "m", bare)], **surroundings))
    assert "nan" not in page.lower().replace("nanosecond", "").replace("dominant", "")
