import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pegai.evaluate.privacy import neighbours
from pegai.evaluate.privacy.neighbours import nearest_distances, nearest_neighbours


@pytest.mark.parametrize("k", [1, 3, 50])
def test_distances_match_scipy(k, monkeypatch):
    monkeypatch.setattr(neighbours, "_CELLS", 100)
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    monkeypatch.setattr(neighbours, "_CHUNK", 5)
    rng = np.random.default_rng(0)
    targets, reference = rng.normal(size=(37, 6)), rng.normal(size=(41, 6))
    expected = np.sort(cdist(targets, reference), axis=1)[:, :k]
    assert nearest_distances(targets, reference, k) == pytest.approx(expected)


def test_a_copy_is_at_zero_however_far_out_it_lies():
    reference = np.array([[1e6, 3.0], [0.0, 1.0], [1e6, 9.0]])
    assert nearest_distances(reference, reference, 1).tolist() == [[0.0]] * 3


def test_rows_of_the_same_patient_are_no_neighbours():
    rows, units = np.array([[0.0], [0.0], [5.0]]), np.array([0, 0, 1])
    found = nearest_distances(rows, rows, 3, target_units=units, reference_units=units)
    assert found[0, 0] == 5.0
    assert np.isinf(found[0, 1:]).all()
    assert found[2].tolist() == [5.0, 5.0, np.inf]


def test_nothing_to_find():
    assert nearest_distances(np.zeros((2, 3)), np.zeros((0, 3)), 4).shape == (2, 0)
    assert nearest_distances(np.zeros((0, 3)), np.zeros((2, 3)), 1).shape == (0, 1)


def test_blocks_and_patients_together(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    monkeypatch.setattr(neighbours, "_CHUNK", 8)
    rng = np.random.default_rng(1)
    targets, reference = rng.normal(size=(40, 5)), rng.normal(size=(90, 5))
    ours, theirs = rng.integers(0, 12, 40), rng.integers(0, 12, 90)
    far = cdist(targets, reference)
    far[ours[:, None] == theirs[None, :]] = np.inf
    found = nearest_neighbours(targets, reference, 4, target_units=ours, reference_units=theirs)
    assert found.distances == pytest.approx(np.sort(far, axis=1)[:, :4])
    assert found.distances == pytest.approx(np.take_along_axis(far, found.index, axis=1))


def test_equal_rows_come_in_order():
    reference = np.repeat(np.arange(3.0), 4)[:, None]
    found = nearest_neighbours(np.array([[1.0]]), reference, 4)
    assert found.index.tolist() == [[4, 5, 6, 7]]
