"""An evaluation and its JSON: what is written is read back."""

from __future__ import annotations

import json
import math

import pytest

from pegai.errors import DataError
from pegai.evaluate.scores import Evaluation, Score

EVALUATION = Evaluation(
    (
        Score("a", "utility", "A", 0.5, 0.4, math.nan, values=(0.5, math.nan), note="n"),
        Score("b", "privacy", "B", math.nan, better="half"),
    ),
    plots={"p": [1, {"x": "y"}]},
    rows={"train": 3},
    seeds=(1, 2),
    seconds=1.5,
)


def test_round_trip():
    written = json.dumps(EVALUATION.to_dict(), allow_nan=False)
    read = Evaluation.from_dict(json.loads(written))
    assert repr(read) == repr(EVALUATION)
    assert not read["b"].assessed
    assert isinstance(read.seeds, tuple)


def test_fields_of_a_later_version_are_left_out():
    raw = EVALUATION.to_dict()
    raw["scores"][0]["later"] = 1
    assert repr(Evaluation.from_dict(raw)) == repr(EVALUATION)


@pytest.mark.parametrize("broken", [{}, {"scores": [{}]}, {"scores": 3}, {"scores": None}])
def test_broken_content_is_refused(broken):
    whole = EVALUATION.to_dict() | broken if broken else {}
    with pytest.raises(DataError, match="can't be read"):
        Evaluation.from_dict(whole)
