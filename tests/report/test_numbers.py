from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegai.evaluate.scores import Score
from pegai.report.numbers import (
    at_most,
    cell,
    duration,
    figure,
    score_with_interval,
    share,
    shorten,
    significant,
)

NAN = math.nan


def test_upper_bounds_are_never_rounded_down():
    assert at_most(0.02633) == "2.7 %"
    assert at_most(0.027) == "2.7 %"
    assert at_most(1.0) == "100 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (-0.25, "−0.250"), (-0.0001, "0.000"), (NAN, "not assessed"),
     (None, "not assessed"), (math.inf, "∞")],
)  # fmt: skip
def test_figure(value, text):
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (1, "100 %"), (0.012, "1.2 %"), (0.0004, "0.04 %"), (NAN, "not assessed")],
)
def test_share(value, text):
    assert share(value) == text


def test_scores():
    copies = Score("exact_copies", "privacy", "t", 0.01, 0.0, 0.02)
    assert score_with_interval(copies) == "1.0 % (0 % to 2.0 %)"
    assert score_with_interval(Score("x", "privacy", "t", 0.5)) == "0.500"
    assert score_with_interval(Score("x", "privacy", "t", NAN, 0.1, 0.2)) == "not assessed"
    assert score_with_interval(None) == "not assessed"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (41.6, "42 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"),
     (NAN, "not recorded")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds).replace("\u00a0", " ") == text


def test_settings():
    assert significant(0.001) == "0.001"
    assert significant(math.inf) == "∞"
    assert cell({"a": [1, 2.5], "b": None, "c": True}) == "a: 1, 2.5; b: –; c: yes"
    assert cell([]) == "–"


@given(st.text(max_size=200), st.integers(3, 40))
def test_shorten_keeps_the_length_and_drops_control_characters(text, length):
    short = shorten(text, length)
    assert len(short) <= length
    assert all(c.isprintable() for c in short)
    assert shorten(short, length) == short
