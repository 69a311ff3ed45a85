"""The page of a comparison and its twins: deterministic, inert, and equal after a round trip."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

from pegai.evaluate.scores import Evaluation
from pegai.report import Candidate, build_content, render_html
from pegai.report.comparison import (
    Comparison,
    Trial,
    render_csv,
    render_json,
    render_page,
    technique_grid,
    write_comparison,
)

HOSTILE = '<script>alert("x")</script>'


def comparison(make_evaluation, *, name="aim"):
    content = build_content(
        [
            Candidate(f"{name}, not private", name, name, make_evaluation()),
            Candidate("b, not private", "b", "b", make_evaluation(), heuristic="noise: none"),
        ],
        title=f"Compared {name}",
        dataset="heart",
        created="2026-01-02T03:04:05Z",
        commands=(f"pegai compare {name}",),
    )
    trials = (
        Trial(name, 1.0, 1e-3, (1.0, 3.0), ("cells/a/model", "cells/b/model")),
        Trial("b", None, None, (2.0,), ("cells/c/model",)),
    )
    return Comparison(content, trials, "quick", 100, left_out=(f"{name} is left out",))


def test_the_files_tell_the_same(make_evaluation, tmp_path):
    made = comparison(make_evaluation)
    files = write_comparison(made, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "compare.csv",
        "compare.html",
        "compare.json",
    ]
    whole = json.loads(files["json"].read_text(encoding="utf-8"))
    rows = list(csv.DictReader(files["csv"].read_text(encoding="utf-8").splitlines()))
    assert len(whole["cells"]) == len(rows) == 2
    score = made.content.candidates[0].evaluation["membership_auc"]
    assert float(rows[0]["membership_auc"]) == round(score.value, 6)
    assert whole["cells"][0]["scores"]["membership_auc"]["value"] == score.value
    assert rows[0]["fit_seconds"] == "2.0"
    assert rows[1]["epsilon"] == ""
    assert whole["audience"] == "internal"


def test_equal_content_gives_equal_bytes(make_evaluation):
    first, second = (comparison(make_evaluation) for _ in range(2))
    for render in (render_page, render_json, render_csv):
        assert render(first) == render(second)


def test_the_page_is_inert(make_evaluation):
    page = render_page(comparison(make_evaluation, name=HOSTILE))
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "INTERNAL" in page


def test_the_table_says_what_epsilon_allows(make_evaluation):
    grid = technique_grid(comparison(make_evaluation))
    column = grid.heads.index("Attack AUC")
    assert "ε allows 0.74" in grid.rows[0][column].below
    assert "allows" not in grid.rows[1][column].below
    assert "heuristic noise" in grid.rows[1][1].below
    assert grid.rows[0][0].below == "2 fits, 2.0\u00a0s each"


def test_a_report_of_what_was_read_back_is_the_same(make_evaluation):
    made = comparison(make_evaluation).content
    written = json.dumps(made.subject.evaluation.to_dict(), allow_nan=False)
    read = Evaluation.from_dict(json.loads(written))
    again = tuple(replace(c, evaluation=read) for c in made.candidates)
    assert render_html(replace(made, candidates=again)) == render_html(made)
