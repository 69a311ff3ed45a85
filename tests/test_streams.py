"""Named random streams: equal by seed, apart by name, index and child."""

import numpy as np
import pytest

from pegai.streams import Streams

GOLDEN = [481, 743, 628, 120, 892]
GOLDEN_CHILD = 7616280090067706888


def draw(generator: np.random.Generator) -> list[int]:
    return generator.integers(0, 2**62, 4).tolist()


def test_equal_seeds_give_equal_streams():
    assert draw(Streams(7).get("model")) == draw(Streams(7).get("model"))


def test_streams_differ_by_seed_name_and_index():
    drawn = [
        draw(Streams(7).get("model")),
        draw(Streams(7).get("sample")),
        draw(Streams(7).get("split")),
        draw(Streams(8).get("model")),
        draw(Streams(7).get("model", 1)),
        draw(Streams(7).child("a").get("model")),
        draw(Streams(7).child("b").get("model")),
        draw(Streams(7).child("a").child("b").get("model")),
    ]
    assert len({tuple(values) for values in drawn}) == len(drawn)


def test_golden_values_do_not_change_between_versions():
    # A seed in a published report must give the same split for ever.
    assert Streams(7).get("split").integers(0, 1000, 5).tolist() == GOLDEN
    assert Streams(7).child("a").seed == GOLDEN_CHILD


def test_child_is_deterministic_and_small_enough_for_a_seed():
    child = Streams(3).child("repeat-1")
    assert child == Streams(3).child("repeat-1")
    assert 0 <= child.seed < 2**64


def test_fresh_streams_differ():
    assert Streams.fresh() != Streams.fresh()


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        Streams(-1).get("model")


def test_there_is_no_stream_for_noise():
    names = Streams.get.__annotations__["name"]
    assert "noise" not in str(names)
