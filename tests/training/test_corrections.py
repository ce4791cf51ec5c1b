"""Sparse labels between grids, and the score of a model on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, slices
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.methods import get_preset
from napari_breastseg.phantom import make_phantom
from napari_breastseg.training.corrections import Correction, balanced_accuracy, load_windows, sparse_labels


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


def test_balanced_accuracy_weighs_classes_alike() -> None:
    labels = np.full((4, 4, 4), UNDECIDED, np.uint8)
    labels[0, 0, :] = 1
    labels[1] = 0
    probability = np.zeros(labels.shape, np.float32)
    probability[0, 0, :2] = 0.9  # half of the tumour is found
    probability[2] = 0.9  # nobody has said what is there
    assert balanced_accuracy([(labels, probability)]) == 0.75
    assert balanced_accuracy([(labels, probability), (np.zeros_like(labels), np.ones_like(probability))]) == pytest.approx(0.35)
    assert balanced_accuracy([(np.full_like(labels, UNDECIDED), probability)]) is None


def test_windows_hold_every_correction_of_the_case_once_known(tmp_path: Path) -> None:
    """Windows are those of the prediction; a stroke in the tumour is found in one of them, and old corrections weigh less."""
    phantom = make_phantom(11, (48, 80, 80), phases=2, lesions=1, diameter=20.0)
    z = int(phantom.tumour.sum((1, 2)).argmax())
    learn = np.full(phantom.tumour.shape, UNDECIDED, np.uint8)
    learn[z] = np.where(phantom.tumour[z], 1, UNDECIDED)
    for name, array in (("images", phantom.case.images), ("learn", learn), ("held", learn)):
        np.save(tmp_path / f"{name}.npy", array)
    files = (tmp_path / "images.npy", phantom.case.geometry, tmp_path / "learn.npy", tmp_path / "held.npy")
    preset = get_preset("hcma-unet/practical")
    fresh, old = (load_windows(Correction("case", *files, rounds_ago=ago), preset) for ago in (0, 2))
    grids, region = plan_grids(phantom.case, preset)
    assert region.inside[phantom.tumour[z] == 1].all()
    assert 0 < len(fresh) <= sum(len(grid.windows) for grid in grids)
    for window in fresh:
        assert window.image.shape == (2, *window.learn.shape)
        assert (window.held_out == 1).any()
        assert (window.learn == UNDECIDED).all()  # what is a test does not train
    known = sum((sparse_labels(learn[slices(grid.box)], grid.shape) == 1).sum() for grid in grids)
    covered = sum((window.held_out == 1).sum() for window in fresh)
    assert covered >= known > 0  # windows overlap, and none of the corrections is left out
    assert sum(window.weight for window in fresh) == pytest.approx(1.0)
    assert sum(window.weight for window in old) == pytest.approx(0.25)
