"""The slices between two that were painted take the shapes between theirs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.case import slices
from napari_breastseg.editing.between import between
from napari_breastseg.editing.change import Change

SPACING = (3.0, 0.8, 0.8)


def disc(radius: float, centre: tuple[float, float] = (32, 32), size: int = 64) -> np.ndarray:
    y, x = np.indices((size, size))
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def after(mask: np.ndarray, change: Change | None) -> np.ndarray:
    result = mask.copy()
    if change is not None:
        result[slices(change.box)][change.where] = change.values[change.where]
    return result


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cone_from_its_two_ends(axis: int) -> None:
    """Between a disc of radius 4 and one of 16 lie the discs of a cone, whatever the axis, within half a pixel."""
    mask, said = np.zeros((9, 64, 64), np.uint8), np.zeros((9, 64, 64), bool)
    mask[0], mask[8] = disc(4), disc(16)
    said[0], said[8] = mask[0], mask[8]
    spacing = np.roll(SPACING, axis)
    found = after(np.moveaxis(mask, 0, axis), between(np.moveaxis(mask, 0, axis), np.moveaxis(said, 0, axis), axis, tuple(spacing)))
    areas = np.moveaxis(found, axis, 0).sum(axis=(1, 2))
    radii = np.linspace(4, 16, 9)
    assert np.all(np.abs(np.sqrt(areas / np.pi) - radii) < 0.5)


def test_a_shape_that_moves_is_followed() -> None:
    mask, said = np.zeros((5, 64, 64), np.uint8), np.zeros((5, 64, 64), bool)
    mask[0], mask[4] = disc(9, (30, 26)), disc(9, (30, 38))
    said[[0, 4]] = mask[[0, 4]] == 1
    found = after(mask, between(mask, said, 0, SPACING))
    centres = [np.argwhere(plane)[:, 1].mean() for plane in found]
    assert np.allclose(centres, [26, 29, 32, 35, 38], atol=1.0)
    assert all(plane.any() for plane in found)


def test_what_was_there_gives_way_and_what_lies_elsewhere_stays() -> None:
    """The model saw too much between, and another focus beside, which nobody painted."""
    mask, said = np.zeros((5, 64, 64), np.uint8), np.zeros((5, 64, 64), bool)
    mask[1:4] = disc(20) | disc(3, (8, 8))
    mask[[0, 4]] = disc(6)
    said[[0, 4]] = disc(2)  # a stroke of a region counts for all of it
    found = after(mask, between(mask, said, 0, SPACING))
    assert np.array_equal(found[2] == 1, disc(6) | disc(3, (8, 8)))
    assert np.array_equal(found[[0, 4]], mask[[0, 4]])


def test_painted_slices_between_are_kept_and_each_gap_is_its_own() -> None:
    mask, said = np.zeros((7, 64, 64), np.uint8), np.zeros((7, 64, 64), bool)
    for index, radius in ((0, 5), (3, 15), (6, 5)):
        mask[index], said[index] = disc(radius), disc(radius)
    found = after(mask, between(mask, said, 0, SPACING))
    assert np.array_equal(found[3] == 1, disc(15))
    assert found[1].sum() < found[2].sum() < found[3].sum()
    assert np.array_equal(found[1], found[5])


@pytest.mark.parametrize(("slices_painted", "centres"), [([2], [(32, 32)]), ([2, 3], [(32, 32), (32, 32)]), ([0, 4], [(12, 12), (50, 50)])])
def test_nothing_to_fill(slices_painted: list[int], centres: list[tuple[int, int]]) -> None:
    """One slice, two that touch, and two lesions that do not lie over each other."""
    mask, said = np.zeros((5, 64, 64), np.uint8), np.zeros((5, 64, 64), bool)
    for index, centre in zip(slices_painted, centres, strict=True):
        mask[index], said[index] = disc(6, centre), disc(6, centre)
    assert between(mask, said, 0, SPACING) is None


def test_an_erased_slice_ends_the_tumour() -> None:
    """Slice 4 was erased to nothing: towards it nothing is filled, and what the model saw between stays."""
    mask, said = np.zeros((6, 64, 64), np.uint8), np.zeros((6, 64, 64), bool)
    mask[0], mask[2] = disc(8), disc(3)
    said[0], said[4] = disc(8), disc(8)
    assert between(mask, said, 0, SPACING) is None
