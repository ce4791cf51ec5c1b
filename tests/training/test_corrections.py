"""Sparse labels between grids, and the score of a model on them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED
from napari_breastseg.training.corrections import HELD_OUT, CorrectedVolume, balanced_accuracy, sparse_labels
from napari_breastseg.training.sampling import Volume


@pytest.mark.parametrize("axis", range(3))
def test_a_stroke_one_voxel_thin_survives_coarsening(axis: int) -> None:
    labels = np.full((20, 20, 20), UNDECIDED, np.uint8)
    np.moveaxis(labels, axis, 0)[9, 4:12, 4:12] = 1
    coarse = sparse_labels(labels, (10, 10, 10))
    assert (coarse == 1).sum() == 16
    assert (coarse == 0).sum() == 0


def test_majority_decides_and_the_same_grid_is_untouched() -> None:
    labels = np.full((2, 2, 2), UNDECIDED, np.uint8)
    labels[0] = 0
    labels[1, 0, 0] = 1
    assert sparse_labels(labels, (1, 1, 1)).item() == 0
    assert np.array_equal(sparse_labels(labels, (2, 2, 2)), labels)


def test_refining_fills_the_covered_voxels() -> None:
    labels = np.array([[[0, 1]]], np.uint8)
    assert sparse_labels(labels, (1, 1, 4)).tolist() == [[[0, 0, 1, 1]]]


def test_balanced_accuracy_weighs_classes_alike_and_separates_held_out() -> None:
    labels = np.full((4, 4, 4), UNDECIDED, np.uint8)
    labels[0, 0, :] = 1
    labels[1] = 0
    labels[3, 3, 3] = HELD_OUT
    held_out = np.full(labels.shape, UNDECIDED, np.uint8)
    held_out[3, 3, 3] = 1
    channels = np.zeros((1, 4, 4, 4), np.float16)
    channels[0, 0, 0, :2] = 1  # half of the tumour is found, no background is mistaken
    one = CorrectedVolume(Volume(channels, labels, {}), held_out, [], 1.0)
    assert balanced_accuracy([one], (4, 4, 4), lambda x: x[0]) == (0.75, 0.0)
