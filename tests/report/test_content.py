from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from pegai.errors import UsageError
from pegai.report import CONTROLLED_1, Candidate, build_content, render_json
from pegai.report.content import plain


def test_the_page_is_about_the_first_released_candidate(candidates, surroundings):
    unreleased = [c for c in candidates if not c.released]
    content = build_content([*unreleased, *candidates[:1]], **surroundings)
    assert content.subject is candidates[0]
    assert content.verdict is content.verdicts[-1]
    assert build_content(unreleased, **surroundings).subject is unreleased[0]


def test_candidates_are_needed_and_named_once(candidates, surroundings):
    with pytest.raises(UsageError, match="at least one"):
        build_content([], **surroundings)
    with pytest.raises(UsageError, match="more than once"):
        build_content([candidates[0], candidates[0]], **surroundings)


def test_json_twin(content, candidates):
    twin = json.loads(render_json(content))
    assert twin["format"] == "pegai-report/1"
    assert twin["audience"] == "internal"
    assert twin["subject"] == candidates[0].name
    assert twin["policy"]["name"] == "public-2"
    assert [c["name"] for c in twin["candidates"]] == [c.name for c in candidates]
    first, last = twin["candidates"][0], twin["candidates"][-1]
    assert first["guarantee"]["epsilon"] == 1.0
    assert last["guarantee"] is None
    assert first["verdict"]["decision"] == content.verdict.decision
    assert {s["name"] for s in first["evaluation"]["scores"]} >= {"tstr_auc", "membership_auc"}
    assert set(twin) == {
        "anonymity", "audience", "candidates", "commands", "created", "dataset",
        "deidentification", "domain", "format", "ledger", "lint", "machine", "policy", "seeds",
        "split", "subject", "tables", "title", "versions",
    }  # fmt: skip


def test_json_keys_are_sorted_and_equal_content_gives_equal_bytes(candidates, surroundings):
    texts = {render_json(build_content(candidates, **surroundings)) for _ in range(2)}
    (text,) = texts
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_nan_becomes_null(make_evaluation, surroundings):
    candidate = Candidate("a", "A", "ctgan", make_evaluation(nan=("tstr_auc",)))
    twin = json.loads(render_json(build_content([candidate], **surroundings)))
    scores = {s["name"]: s for s in twin["candidates"][0]["evaluation"]["scores"]}
    assert scores["tstr_auc"]["value"] is None
    assert twin["candidates"][0]["seconds"] is None


def test_steps_that_were_not_run_are_null(candidates):
    content = build_content(candidates, title="T", dataset="D", created="now")
    twin = content.to_dict()
    assert twin["deidentification"] is None
    assert twin["lint"] is None
    assert twin["ledger"] == []
    assert content.verdict.decision == "NOT ASSESSED"


def test_a_policy_can_be_chosen(candidates, surroundings):
    content = build_content(candidates, **surroundings, policy=CONTROLLED_1)
    assert {v.policy for v in content.verdicts} == {"controlled-1"}


class Letter(Enum):
    A = "name"

    @property
    def letter(self) -> str:
        return "A"

    @property
    def title(self) -> str:
        return "names"


@dataclass(frozen=True)
class Action:
    column: str
    identifier_class: Letter | None
    cells: int


def test_rows_may_be_dataclasses(candidates, surroundings):
    rows = [Action("name", Letter.A, 7), Action("notes", None, 2)]
    content = build_content(candidates, **{**surroundings, "deidentification": rows})
    assert content.deidentification == (
        {"column": "name", "class": "A: names", "cells": 7},
        {"column": "notes", "class": None, "cells": 2},
    )


def test_plain():
    value = {
        1: (math.nan, math.inf, np.float64(0.5), np.int64(3)),
        "a": np.array([1.0, math.nan]),
        "d": dt.date(2026, 11, 23),
        "p": Path("x"),
        "s": {"b", "a"},
        "n": None,
    }
    assert plain(value) == {
        "1": [None, None, 0.5, 3], "a": [1.0, None], "d": "2026-11-23", "p": "x",
        "s": ["a", "b"], "n": None,
    }  # fmt: skip
