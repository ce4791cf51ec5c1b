from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.metrics import get_confusion_matrix
from numpy.lib.stride_tricks import sliding_window_view
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes, mesh_surface_area

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import (
    accuracy,
    area_under_clicks,
    asd,
    counts,
    dice,
    hd95,
    iou,
    nsd,
    precision,
    recall,
    specificity,
    volumetric_similarity,
)

ALL = [dice, iou, precision, recall, volumetric_similarity]


def test_figures_of_a_small_example() -> None:
    mask = np.array([[1, 1, 1, 0, 0]], np.uint8)
    reference = np.array([[0, 1, 1, 1, 1]], np.uint8)
    assert (counts(mask, reference).tp, counts(mask, reference).fp, counts(mask, reference).fn) == (2, 1, 2)
    assert dice(mask, reference) == pytest.approx(4 / 7)
    assert iou(mask, reference) == pytest.approx(2 / 5)
    assert precision(mask, reference) == pytest.approx(2 / 3)
    assert recall(mask, reference) == pytest.approx(2 / 4)
    assert volumetric_similarity(mask, reference) == pytest.approx(1 - 1 / 7)
    assert specificity(mask, reference) == 0.0  # the one voxel that is not the reference is marked
    assert accuracy(mask, reference) == pytest.approx(2 / 5)


def test_specificity_and_accuracy_are_monais() -> None:
    rng = np.random.default_rng(0)
    mask, reference = (rng.random((1, 30, 40)) < share for share in (0.2, 0.1))
    tp, fp, tn, fn = get_confusion_matrix(*(torch.from_numpy(m)[None, None].float() for m in (mask, reference)))[0, 0].tolist()
    assert specificity(mask, reference) == pytest.approx(tn / (tn + fp))
    assert accuracy(mask, reference) == pytest.approx((tp + tn) / (tp + tn + fp + fn))


@pytest.mark.parametrize("figure", ALL)
def test_empty_masks(figure: Callable[..., float]) -> None:
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert figure(empty, empty) == 1.0
    assert figure(full, full) == 1.0
    assert figure(empty, full) == 0.0
    assert figure(full, empty) == 0.0


def test_grids_must_be_the_same() -> None:
    with pytest.raises(InputError, match="same grid"):
        dice(np.zeros((2, 2)), np.zeros((2, 3)))


def shifted_cube(shift: int, edge: int = 40) -> npt.NDArray[np.bool_]:
    cube = np.zeros((56, 56, 56), bool)
    cube[8 : 8 + edge, 8 : 8 + edge, 4 + shift : 4 + shift + edge] = True
    return cube


@pytest.mark.parametrize(("shift", "tolerance"), [(0, 0.0), (2, 2.0), (3, 2.0), (6, 2.0), (8, 4.0)])
def test_surface_dice_of_a_shifted_cube(shift: int, tolerance: float) -> None:
    """Of the four sides the shift leaves all but `shift - tolerance`; of the far face a rim `tolerance` wide is near the other's sides."""
    edge = 40
    sides, rim = 4 * edge * (edge - shift + tolerance), edge**2 - (edge - 2 * tolerance) ** 2
    expected = 1.0 if shift <= tolerance else (sides + rim) / (6 * edge**2)
    measured = nsd(shifted_cube(shift), shifted_cube(0), (1.0, 1.0, 1.0), tolerance)
    assert measured == pytest.approx(expected, abs=0.02)  # edges and corners of cubes of voxels are bevelled
    assert (measured == 1.0) == (shift <= tolerance)


def test_surface_dice_is_in_mm() -> None:
    a, b = shifted_cube(0), shifted_cube(3)
    assert nsd(a, b, (1.0, 1.0, 0.5), 1.5) == 1.0
    sides, rim = 4 * 20 * (40 - 3 + 1.5), 20**2 - (20 - 2 * 1.5) ** 2
    assert nsd(a, b, (0.5, 0.5, 1.0), 1.5) == pytest.approx((sides + rim) / (4 * 20 * 40 + 2 * 20**2), abs=0.02)
    assert nsd(a[20:21], b[20:21], (9.0, 1.0, 0.5), 1.5) == 1.0
    line = nsd(a[20:21], b[20:21], (9.0, 1.0, 1.0), 2.0)
    assert line == pytest.approx((2 * (40 - 3 + 2) + 2 * 2) / (4 * 40), abs=0.02)


def test_surface_dice_against_all_pairs_of_surface_elements() -> None:
    """The oracle: in each cell between eight voxels the area by marching cubes, and its distance to every such cell of the other mask."""
    spacing = (1.5, 0.7, 0.7)
    z, y, x = (index * size for index, size in zip(np.indices((24, 48, 48)), spacing, strict=True))

    def ellipsoid(*centre_and_radii: float) -> npt.NDArray[np.bool_]:
        a, b, c, r, s, t = centre_and_radii
        return ((z - a) / r) ** 2 + ((y - b) / s) ** 2 + ((x - c) / t) ** 2 < 1

    def elements(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        cells = sliding_window_view(mask, (2, 2, 2)).astype(float)
        at = np.argwhere((cells.min((3, 4, 5)) == 0) & (cells.max((3, 4, 5)) == 1))
        kinds, kind = np.unique(cells[tuple(at.T)].reshape(-1, 8), axis=0, return_inverse=True)
        meshes = [marching_cubes(cell.reshape(2, 2, 2), 0.5, spacing=spacing, method="lorensen")[:2] for cell in kinds]
        return at * spacing, np.array([mesh_surface_area(*mesh) for mesh in meshes])[kind]

    a = ellipsoid(17, 16, 16, 11, 9, 10)
    for b in (ellipsoid(17, 16, 19, 11, 9, 10), ellipsoid(17, 19, 16, 8, 11, 9), a | ellipsoid(17, 26, 26, 5, 5, 5)):
        (at, area), (other, other_area) = elements(a), elements(b)
        apart = cdist(at, other)
        near = area[apart.min(1) <= 2].sum() + other_area[apart.min(0) <= 2].sum()
        expected = near / (area.sum() + other_area.sum())
        assert 0.3 < expected < 0.95 and nsd(a, b, spacing) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5)])
def test_surface_dice_of_empty_masks(shape: tuple[int, int, int]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    assert nsd(empty, empty, (1, 1, 1)) == nsd(full, full, (1, 1, 1)) == 1.0
    assert nsd(empty, full, (1, 1, 1)) == nsd(full, empty, (1, 1, 1)) == 0.0


def test_the_area_leaves_the_step_before_the_clicks_out() -> None:
    assert area_under_clicks([0.0, 1, 1, 1, 1, 1]) == 4.0
    assert area_under_clicks([9.0, 0.0, 0.2, 0.4, 0.6, 0.8]) == pytest.approx(1.6)
    assert area_under_clicks([0.5, 0.6, 0.7, 0.7, 0.8, 0.9]) == pytest.approx(0.3 + 0.7 + 0.7 + 0.8 + 0.45)


def test_the_surfaces_of_two_balls_about_one_centre_lie_their_difference_apart() -> None:
    """On voxels of 1 x 0.5 x 0.5 mm; a surface is known to a voxel."""
    z, y, x = np.ogrid[-12:13, -24:25, -24:25]
    away = np.sqrt(z**2 + (0.5 * y) ** 2 + (0.5 * x) ** 2)
    small, large = away <= 6, away <= 10
    assert hd95(small, large, (1.0, 0.5, 0.5)) == pytest.approx(4, abs=0.5)
    assert asd(small, large, (1.0, 0.5, 0.5)) == pytest.approx(4, abs=0.5)
    assert hd95(small, large, (2.0, 1.0, 1.0)) == pytest.approx(2 * hd95(small, large, (1.0, 0.5, 0.5)), rel=1e-5)


def test_a_shift_moves_the_furthest_surfaces_by_itself() -> None:
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:10, 5:10, 5:10] = 1
    shifted = np.roll(mask, 3, axis=2)
    assert hd95(mask, shifted, (1.0, 1.0, 2.0)) == pytest.approx(6)
    assert 0 < asd(mask, shifted, (1.0, 1.0, 2.0)) < 6
    assert hd95(mask, mask, (1.0, 1.0, 2.0)) == asd(mask, mask, (1.0, 1.0, 2.0)) == 0


@pytest.mark.parametrize("measure", [hd95, asd])
def test_a_distance_to_nothing_is_no_number(measure: Callable[..., float]) -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1, 1, 1] = 1
    for one, other in ((mask, 0 * mask), (0 * mask, mask), (0 * mask, 0 * mask)):
        assert np.isnan(measure(one, other, (1.0, 1.0, 1.0)))
