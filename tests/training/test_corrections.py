"""Sparse labels between grids, and the score of a model on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, slices
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.methods import get_preset
from napari_breastseg.phantom import make_phantom
from napari_breastseg.training.corrections import CorrectedWindow, Correction, balanced_accuracy, load_windows, shown_by, sparse_labels


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
    mask = np.zeros(labels.shape, bool)
    mask[0, 0, :2] = True  # half of the tumour is found
    mask[2] = True  # nobody has said what is there
    assert balanced_accuracy([(labels, mask)]) == 0.75
    assert balanced_accuracy([(labels, mask), (np.zeros_like(labels), np.ones_like(mask))]) == pytest.approx(0.35)
    assert balanced_accuracy([(np.full_like(labels, UNDECIDED), mask)]) is None


def test_a_small_correction_counts_as_much_as_a_big_one() -> None:
    labels = np.full((4, 4, 40), UNDECIDED, np.uint8)
    labels[:, :, 2:18] = 0  # a big stroke that both of the first two windows show, and the third does not
    labels[1, 1, 37] = 1
    labels[0, 0, 0] = 0  # another one, in the first window alone
    parts = [(slice(None), slice(None), slice(start, start + 16)) for start in (0, 4, 24)]
    np.testing.assert_allclose(shown_by(labels, parts), [1.5, 0.5, 1.0])
    np.testing.assert_array_equal(shown_by(np.full_like(labels, UNDECIDED), parts), 0)


def test_windows_show_the_corrections_of_the_case(tmp_path: Path) -> None:
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
    known = max((sparse_labels(learn[slices(grid.box)], grid.shape) == 1).sum() for grid in grids)
    assert max((window.held_out == 1).sum() for window in fresh) >= known / 2 > 0
    assert all(window.weight == 0 for window in fresh)  # nothing here trains
    assert [window.recency for window in (fresh[0], old[0])] == [1.0, 0.25]


def test_in_a_case_that_is_done_whatever_nobody_painted_is_healthy() -> None:
    learn, held_out = (np.full((1, 1, 4), UNDECIDED, np.uint8) for _ in range(2))
    learn[..., 0], held_out[..., 1] = 1, 1
    image = np.zeros((1, *learn.shape), np.float32)
    open_, done = (CorrectedWindow("case", image, learn, held_out, 1.0, 0, done) for done in (False, True))
    assert open_.taught.ravel().tolist() == [1, 255, 255, 255] and open_.decided.ravel().tolist() == [1, 1, 255, 255]
    assert done.taught.ravel().tolist() == [1, 255, 0, 0] and done.decided.ravel().tolist() == [1, 1, 0, 0]
