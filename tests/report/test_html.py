from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pegai.errors import DataError
from pegai.evaluate.scores import Evaluation
from pegai.report import Candidate, build_content, render_html, write_report

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "br", "link", "hr", "img", "input"}


class Page(HTMLParser):
    """Collects what a reader meets, and checks that tags nest and ids are unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []
        ids = [a["id"] for _, a in self.tags if "id" in a]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.words.append(data)
        if self.stack and self.stack[-1] in ("h1", "h2", "h3", "h4"):
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def html(content):
    return render_html(content)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_golden_structure(page):
    assert page.headings == [
        "Synthetic heart disease patients",
        "For the data owner",
        "RELEASE WITH CONTROLS",
        "What the policy asks for",
        "What may it be used for?",
        "Whom it serves worse",
        "Rules that are broken",
        "For the privacy officer",
        "What was done and what is promised",
        "The policy, check by check",
        "What attacks find out about patients",
        "Would a leak have been seen?",
        "Risk of being identified",
        "Where bounds and categories come from",
        "What was spent on these patients",
        "What is not covered",
        "Sign-off",
        "For the scientist",
        "Candidates side by side",
        "Privacy against usefulness",
        "Does each column look right?",
        "Do the columns hang together?",
        "As good as how many patients?",
        "A map of patients",
        "Do models learn the same?",
        "Where they are right and wrong",
        "Do predicted risks come true?",
        "Do they lean on the same columns?",
        "Would a study come to the same conclusion?",
        "Regression coefficients",
        "Survival",
        "Subgroups",
        "Would an attack find the patients?",
        "Legacy diagnostics, never gated",
        "Details",
        "Words used",
    ]
    drawn = 1 + 2 + 15 + 3 + 2 + 2 + 3 + 2 + 1 + 1 + 2 + 1 + 1 + 2
    assert sum(tag == "svg" for tag, _ in page.tags) == drawn


def test_size_and_determinism(html, candidates, surroundings):
    assert len(html.encode()) < 600_000
    assert render_html(build_content(candidates, **surroundings)) == html


def test_nothing_is_fetched_and_nothing_runs(html, page):
    (policy,) = (
        a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    assert (
        "http:" not in html and "https:" not in html and "//" not in re.sub(r"/\*.*?\*/", "", html)
    )
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]{1})", html)) <= {"#"}
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "form", "img", "base")
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_it_can_be_read_without_seeing(page):
    for tag, attributes in page.tags:
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-labelledby"]
    levels = [int(t[1]) for t, _ in page.tags if re.fullmatch(r"h\d", t)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert ("html", {"lang": "en"}) in page.tags


def test_it_says_it_is_internal_and_never_promises_too_much(page):
    assert (
        "This report compares with real patients and is INTERNAL: it is not covered by the "
        "guarantee and is not part of a release."
    ) in page.text
    for word in ("anonymous", "GDPR-compliant", "zero risk", "risk-free", "guaranteed safe"):
        assert word.lower() not in page.text.lower()


def test_the_guarantee_is_in_words(page, candidates):
    for sentence in candidates[0].guarantee.in_words():
        assert " ".join(sentence.split()) in page.text


def test_figures_stand_in_the_table(page):
    for text in ("0.813", "0.801 to 0.825", "real 0.885", "0.474 to 0.534", "no formal guarantee"):
        assert text in page.text


def test_no_candidate_with_privacy(make_evaluation, surroundings):
    candidate = Candidate(
        "a", "Plain CTGAN", "ctgan", make_evaluation(0.02, plots={"seeds": 5}), released=True
    )
    found = Page(render_html(build_content([candidate], **surroundings)))
    assert "No formal guarantee." in found.text
    assert "RELEASE WITH CONTROLS" in found.headings
    assert "How many patients could an attacker recognise?" not in found.text
    assert "This candidate has no formal guarantee." in found.text


def test_absent_evidence(surroundings, make_guarantee):
    bare = Candidate("a", "A", "ctgan", Evaluation(()), make_guarantee(), released=True)
    content = build_content([bare], title="T", dataset="D", created="some day")
    found = Page(render_html(content))
    assert "NOT ASSESSED" in found.headings
    assert found.text.count("Not assessed.") >= 6
    assert sum(tag == "svg" for tag, _ in found.tags) == 1
    assert "✓" not in found.text
    assert "status-pass" in str(found.tags)  # the guarantee itself


@pytest.mark.parametrize("empty", [None, [], {}])
def test_empty_plots(make_evaluation, surroundings, empty):
    names = ("marginals", "correlation", "scatter", "tstr", "confusion", "report", "roc")
    evaluation = make_evaluation(plots=dict.fromkeys(names, empty))
    Page(render_html(build_content([Candidate("a", "A", "m", evaluation)], **surroundings)))


def test_nan_scores(make_evaluation, surroundings):
    names = tuple(s.name for s in make_evaluation().scores)
    evaluation = make_evaluation(nan=names, plots={"seeds": 5})
    found = Page(render_html(build_content([Candidate("a", "A", "m", evaluation)], **surroundings)))
    assert "NOT ASSESSED" in found.headings
    assert "nan" not in re.findall(r"\w+", found.text.lower())
    assert "too few rows" in found.text


def hostile(value):
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return (
        {HOSTILE + str(k): hostile(v) for k, v in value.items()}
        if isinstance(value, dict)
        else value
    )


def test_hostile_text_is_inert(make_evaluation, surroundings, candidates):
    evaluation = make_evaluation()
    plots = json.loads(json.dumps(evaluation.plots))
    for column in plots["marginals"]:
        column.update(column=HOSTILE, title=HOSTILE, labels=hostile(column["labels"]))
    plots["correlation"]["columns"] = [HOSTILE] * 15
    plots["confusion"].update(labels=[HOSTILE, HOSTILE], classifier=HOSTILE)
    for row in (*plots["tstr"], *plots["report"]["real"], *plots["report"]["synthetic"]):
        row.update(title=HOSTILE, classifier=HOSTILE, label=HOSTILE)
    scores = tuple(replace(s, title=HOSTILE, note=HOSTILE) for s in evaluation.scores)
    candidate = replace(
        candidates[0], name=HOSTILE, title=HOSTILE, method=HOSTILE,
        evaluation=replace(evaluation, plots=plots, scores=scores),
        settings=hostile(dict(candidates[0].settings)),
    )  # fmt: skip
    strange = {k: hostile(v) for k, v in surroundings.items()}
    text = render_html(build_content([candidate, candidates[1]], **strange))
    found = Page(text)
    assert "<script" not in text
    assert all(tag != "script" for tag, _ in found.tags)
    assert "alert" in found.text


def test_very_long_names_and_wide_tables(make_evaluation, surroundings):
    plots = make_evaluation().plots
    column = plots["marginals"][5]
    long = "a_very_long_column_name_" * 20
    names = [f"{long}{i}" for i in range(60)]
    matrix = [[1.0 if i == j else 0.1 for j in range(60)] for i in range(60)]
    wide = {
        **plots,
        "marginals": [{**column, "column": n, "title": n} for n in names],
        "correlation": {"columns": names, "real": matrix, "synthetic": matrix},
    }
    candidate = Candidate(long, long, long, make_evaluation(plots=wide))
    text = render_html(build_content([candidate], **{**surroundings, "title": long}))
    assert len(text.encode()) < 3_000_000
    assert "36 more" in Page(text).text


@pytest.fixture(scope="module")
def small(make_evaluation, surroundings):
    evaluation = make_evaluation(plots={"marginals": make_evaluation().plots["marginals"][:2]})
    return build_content([Candidate("a", "A", "ctgan", evaluation)], **surroundings)


def test_write_report(small, tmp_path):
    folder = tmp_path / "new" / "demo"
    paths = write_report(small, folder)
    assert [p.name for p in paths] == ["report.html", "report.json"]
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json"]
    assert json.loads(paths[1].read_text(encoding="utf-8"))["format"] == "pegai-report/1"
    first = [p.read_bytes() for p in paths]
    assert [p.read_bytes() for p in write_report(small, folder)] == first


def test_an_error_leaves_the_old_report(small, tmp_path, monkeypatch):
    paths = write_report(small, tmp_path)
    before = [p.read_bytes() for p in paths]
    monkeypatch.setattr("pegai.report.html.render_json", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(small, tmp_path)
    assert [p.read_bytes() for p in paths] == before


def test_a_folder_that_cannot_be_made_is_a_plain_error(small, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        write_report(small, tmp_path / "file" / "report")
