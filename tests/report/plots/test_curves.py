"""The privacy-utility curve: its bound, one and many methods, and odd data."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pegai.evaluate.scores import Score
from pegai.report.plots.curves import Spot, _apart, attack_auc_bound, plot_curves

HOSTILE = '<script>alert(1)</script> $x^{2}$ id="q" \x00\n日本'


def spot(method, epsilon, value=0.7, *, width=0.05, delta=1e-3, names=None):
    names = names or ("tstr_auc", "detection_auc", "membership_auc")
    scores = {n: Score(n, "utility", n, value, value - width, value + width, 0.9) for n in names}
    return Spot(method, epsilon, math.nan if math.isinf(epsilon) else delta, scores)


def check(picture):
    root = ET.fromstring(picture.svg)  # noqa: S314
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i.startswith(picture.name) for i in ids)
    assert "<style" not in picture.svg and "http" not in picture.svg
    assert len(picture.svg) < 60_000


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 0.0), (1.0, 1e-3), (3.0, 1e-2), (10, 0.1)])
def test_the_bound_is_the_area_under_the_region(epsilon, delta):
    alarms = np.linspace(0, 1, 200_001)
    hits = np.minimum(
        np.exp(epsilon) * alarms + delta, 1 - np.exp(-epsilon) * (1 - delta - alarms)
    ).clip(0, 1)
    area = float(((hits[1:] + hits[:-1]) / 2 * np.diff(alarms)).sum())
    assert attack_auc_bound(epsilon, delta) == pytest.approx(area, abs=1e-6)


def test_the_bound_at_its_ends():
    assert attack_auc_bound(1e-12, 0.0) == pytest.approx(0.5)
    assert attack_auc_bound(math.inf, 0.0) == 1.0
    assert attack_auc_bound(1.0, 0.0) == pytest.approx(math.e / (1 + math.e))


@pytest.mark.parametrize("methods", [1, 4, 9])
@pytest.mark.parametrize(
    "epsilons", [(1.0,), (math.inf,), (0.5, 1, 3, 10, math.inf), (1e-6, 20.0), (1, 1.01, 1.02)]
)
def test_three_panels(methods, epsilons):
    spots = [spot(f"m{i}", e, 0.5 + i / 50) for i in range(methods) for e in epsilons]
    pictures = plot_curves(spots)
    assert [p.name for p in pictures] == [
        "curve-tstr-auc",
        "curve-detection-auc",
        "curve-membership-auc",
    ]
    for picture in pictures:
        check(picture)
    has_bound = any(map(math.isfinite, epsilons))
    assert ("ruled out by" in pictures[2].svg) == has_bound
    assert "real patients 0.90" in pictures[0].svg
    assert (">none<" in pictures[0].svg) == (math.inf in epsilons)
    assert plot_curves(spots) == pictures


def test_what_was_not_assessed_is_left_out():
    assert plot_curves([spot("m", 1.0, math.nan)]) == ()
    (only,) = plot_curves([spot("m", 1.0, names=("membership_auc",)), spot("n", 1.0, math.nan)])
    assert only.name == "curve-membership-auc"
    assert "n, epsilon" not in only.description


def test_no_interval_and_hostile_names():
    for picture in plot_curves([spot(HOSTILE, e, width=math.nan) for e in (1.0, 3.0, math.inf)]):
        check(picture)
        assert "<script" not in picture.svg


def test_labels_are_pushed_apart_within_the_limits():
    placed = _apart([0.5, 0.5, 0.5, 0.9], 0.1, (0.0, 1.0))
    gaps = np.diff(sorted(placed))
    assert gaps.min() >= 0.1 - 1e-6
    assert placed[3] == pytest.approx(0.9)
    low = _apart([0.0, 0.0, 0.01], 0.1, (0.0, 1.0))
    assert min(low) >= -1e-9
