"""Events: what they refuse, and that they survive JSON."""

import json
import math

import pytest

from pegai.errors import PrivacyError
from pegai.privacy import (
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
    event_from_dict,
)

EVENTS = [
    GaussianEvent("a", 1.5, 3),
    LaplaceEvent("b", 2),
    ExponentialEvent("c", 0.1, 7),
    GaussianFilterEvent("e", 0.4),
    RandomizedResponseEvent("f", 1.2, 5, 2),
    SubsampledGaussianEvent("d", 0.9, 0.01, 1000),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.kind)
def test_round_trip_through_json(event):
    assert event_from_dict(json.loads(json.dumps(event.to_dict()))) == event
    assert hash(event_from_dict(event.to_dict())) == hash(event)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", None, True])
def test_figures_out_of_range_are_refused(bad):
    for make in (
        lambda: GaussianEvent("a", bad),
        lambda: LaplaceEvent("a", bad),
        lambda: ExponentialEvent("a", bad),
        lambda: GaussianFilterEvent("a", bad),
        lambda: RandomizedResponseEvent("a", bad, 3),
        lambda: SubsampledGaussianEvent("a", bad, 0.5, 1),
        lambda: SubsampledGaussianEvent("a", 1.0, bad, 1),
    ):
        with pytest.raises(PrivacyError, match="'a'"):
            make()


@pytest.mark.parametrize("count", [0, -3, 1.5, True, None, "2"])
def test_counts_are_whole_and_positive(count):
    with pytest.raises(PrivacyError, match="count"):
        GaussianEvent("a", 1.0, count)


@pytest.mark.parametrize("label", ["", None, 3])
def test_labels_are_texts(label):
    with pytest.raises(PrivacyError, match="label"):
        LaplaceEvent(label, 1.0)


def test_sampling_probability_is_at_most_one():
    with pytest.raises(PrivacyError, match="sampling_probability"):
        SubsampledGaussianEvent("a", 1.0, 1.01, 1)
    SubsampledGaussianEvent("a", 1.0, 1.0, 1)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"kind": "other"},
        {"kind": "gaussian"},
        {"kind": "gaussian", "label": "a", "noise_multiplier": 1.0, "count": 1, "more": 2},
        {"kind": None},
    ],
)
def test_unknown_content_is_refused(raw):
    with pytest.raises(PrivacyError):
        event_from_dict(raw)


@pytest.mark.parametrize("count", [0, 2, 1.0, True])
def test_a_filter_counts_once(count):
    with pytest.raises(PrivacyError, match="count"):
        GaussianFilterEvent("a", 1.0, count)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.kind)
def test_uses_are_counted_in_the_language_of_dp_accounting(event):
    """A randomized response inside a self-composition counts once in its PLD accountant."""
    import dp_accounting as dpa

    stated = event.to_dp_event()
    if isinstance(stated, dpa.ComposedDpEvent):
        assert len(stated.events) == event.count
        assert not any(isinstance(e, dpa.SelfComposedDpEvent) for e in stated.events)
    else:
        assert getattr(stated, "count", 1) == event.count


def test_events_are_frozen():
    with pytest.raises(AttributeError):
        EVENTS[0].noise_multiplier = 9.0
