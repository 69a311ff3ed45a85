"""The curve of real subsamples and its inversion."""

import numpy as np
import pytest

from pegai.evaluate.fidelity.equivalent_sample import Curve, invert

SIZES = np.array([5, 10, 20, 50, 100, 200, 500, 1000])


def curve(a=4.0, b=0.01):
    heights = np.sqrt(a / SIZES + b)[:, None]
    return Curve(SIZES, {"2way": np.hstack([heights, heights])})


@pytest.mark.parametrize("m", [5.5, 17, 140, 640, 999])
def test_the_known_shape_is_inverted_exactly(m):
    error = np.full(2, np.sqrt(4.0 / m + 0.01))
    assert invert(curve(), "2way", error) == pytest.approx([m, m])


def test_nothing_is_extrapolated():
    assert invert(curve(), "2way", np.array([0.0, 9.0])).tolist() == [1000, 5]
    best = curve().errors["2way"][-1]
    assert invert(curve(), "2way", best * (1 + 1e-12)).tolist() == [1000, 1000]


def test_flat_stretches_give_the_smallest_size():
    heights = np.array([4.0, 3, 2, 2, 2, 2, 1, 1])[:, None]
    flat = Curve(SIZES, {"2way": heights})
    assert invert(flat, "2way", np.array([2.0])).tolist() == [20]
    assert invert(flat, "2way", np.array([1.0])).tolist() == [1000]
    assert np.isnan(invert(flat, "2way", np.array([np.nan]))).all()
