"""Growing, snapping, smoothing, filling, copying and picking regions, each beside a form that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_breastseg.case import Box, slices, whole
from napari_breastseg.editing.change import Change
from napari_breastseg.editing.edges import snap
from napari_breastseg.editing.grow import grow, reach
from napari_breastseg.editing.shape import copied, filled, smooth
from napari_breastseg.editing.spots import keep_spot, remove_spot
from napari_breastseg.errors import InputError

SPACING = (2.0, 1.0, 1.0)


def ball(radius: float, centre: tuple[float, float, float], shape: tuple[int, int, int] = (24, 48, 48)) -> np.ndarray:
    """Return the voxels within `radius` mm of a voxel."""
    return np.sqrt(sum(((i - c) * s) ** 2 for i, c, s in zip(np.indices(shape), centre, SPACING, strict=True))) <= radius


def after(mask: np.ndarray, change: Change | None) -> np.ndarray:
    assert change is not None
    before = mask.copy()
    result = mask.copy()
    result[slices(change.box)][change.where] = change.values[change.where]
    assert np.array_equal(mask, before)
    assert np.array_equal((result != mask)[slices(change.box)], change.where)  # it names what changes, nothing else
    return result


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def plane(mask: np.ndarray, index: int) -> Box:
    return (index, index + 1), (0, mask.shape[1]), (0, mask.shape[2])


def distance(radius: float, centre: tuple[float, float, float]) -> np.ndarray:
    """Return a probability that falls from 1 at the centre to 0 at `radius` mm."""
    r = np.sqrt(sum(((i - c) * s) ** 2 for i, c, s in zip(np.indices((24, 48, 48)), centre, SPACING, strict=True)))
    return np.clip(1 - r / radius, 0, 1).astype(np.float32)


@pytest.mark.parametrize("down_to", [0.25, 0.5, 0.75])
def test_growing_takes_the_ball_of_that_probability(down_to: float) -> None:
    probability = distance(16, (12, 24, 24))
    mask = np.zeros(probability.shape, np.uint8)
    found = after(mask, grow(mask, probability, np.zeros(mask.shape, bool), (12, 24, 24), down_to, whole(mask.shape)))
    assert np.array_equal(found == 1, ball(16 * (1 - down_to), (12, 24, 24)))


def test_growing_stays_in_its_box_leaves_other_foci_alone_and_keeps_out_of_healthy_tissue() -> None:
    probability = np.maximum(distance(8, (12, 14, 24)), distance(8, (12, 36, 24)))
    mask = np.zeros(probability.shape, np.uint8)
    mask[12, 2, 2] = 1
    barred = np.zeros(mask.shape, bool)
    barred[:, :, :20] = True
    found = after(mask, grow(mask, probability, barred, (12, 14, 24), 0.5, plane(mask, 12)))
    assert not found[:12].any()
    assert not found[13:].any()
    expected = ball(4, (12, 14, 24))[12] & ~barred[12]
    expected[2, 2] = True
    assert np.array_equal(found[12] == 1, expected)


def test_nothing_grows_where_the_model_sees_nothing() -> None:
    mask = np.zeros((24, 48, 48), np.uint8)
    with pytest.raises(InputError, match="Use the brush"):
        grow(mask, distance(6, (12, 24, 24)), np.zeros(mask.shape, bool), (2, 2, 2), 0.5, whole(mask.shape))
    with pytest.raises(InputError, match="Use the brush"):
        grow(mask, np.full(mask.shape, np.nan, np.float32), np.zeros(mask.shape, bool), (2, 2, 2), 0.5, whole(mask.shape))


def test_the_reach_ends_at_the_border() -> None:
    assert reach((1, 20, 47), 6.5, SPACING, whole((24, 48, 48))) == ((0, 5), (14, 27), (41, 48))
    assert reach((1, 20, 47), 6.5, SPACING, ((1, 2), (0, 48), (0, 48))) == ((1, 2), (14, 27), (41, 48))


@pytest.mark.parametrize("noise", [0.0, 20.0])
@pytest.mark.parametrize("drawn", [(9.0, (12, 24, 24)), (15.0, (12, 24, 24)), (12.0, (12, 26, 22))])
def test_a_careless_outline_falls_on_the_edge(drawn: tuple[float, tuple[int, int, int]], noise: float) -> None:
    """Too small, too large, beside: within 4 mm the border finds the ball's own."""
    truth = ball(12, (12, 24, 24))
    image = (100 + 150 * truth + noise * np.random.default_rng(0).normal(size=truth.shape)).astype(np.float32)
    mask = ball(*drawn).astype(np.uint8)
    found = after(mask, snap(mask, image, 4.0, SPACING, whole(mask.shape)))
    assert dice(found == 1, truth) > 0.97
    assert dice(found == 1, truth) > dice(mask == 1, truth) + 0.05


def test_snapping_one_slice_leaves_the_others_alone_and_finds_an_edge_in_it() -> None:
    truth = ball(12, (12, 24, 24))
    mask = ball(15, (12, 24, 24)).astype(np.uint8)
    found = after(mask, snap(mask, np.where(truth, 250, 100).astype(np.float32), 4.0, SPACING, plane(mask, 12)))
    assert dice(found[12] == 1, truth[12]) > 0.97
    assert np.array_equal(np.delete(found, 12, 0), np.delete(mask, 12, 0))


def test_no_border_moves_farther_than_allowed() -> None:
    mask = ball(8, (12, 24, 24)).astype(np.uint8)
    image = np.where(ball(14, (12, 24, 24)), 250, 100).astype(np.float32)
    found = after(mask, snap(mask, image, 3.0, SPACING, whole(mask.shape))) == 1
    moved = ndimage.distance_transform_edt(mask == 0, sampling=SPACING)[found & (mask == 0)]
    assert moved.max() <= 3.0
    assert snap(np.zeros_like(mask), image, 3.0, SPACING, whole(mask.shape)) is None


def test_a_thin_region_is_not_lost() -> None:
    """A region of one voxel's thickness, thinner than the search is wide, stays, and does not flood its surroundings."""
    mask = np.zeros((24, 48, 48), np.uint8)
    mask[12, 24, 10:30] = 1
    image = np.where(mask == 1, 250, 100).astype(np.float32)
    change = snap(mask, image, 4.0, SPACING, whole(mask.shape))
    found = mask if change is None else after(mask, change)
    assert found[mask == 1].all()
    assert found.sum() <= 9 * mask.sum() + 18


def test_smoothing_keeps_the_volume_and_takes_the_roughness() -> None:
    """A rough ball becomes smoother: less surface, the same volume, nearer to the ball."""
    truth = ball(12, (12, 24, 24))
    rough = truth ^ (np.random.default_rng(1).random(truth.shape) < 0.3) & ball(14, (12, 24, 24)) & ~ball(10, (12, 24, 24))
    largest, _ = ndimage.label(rough, np.ones((3, 3, 3)))
    rough = largest == np.bincount(largest.ravel())[1:].argmax() + 1
    mask = rough.astype(np.uint8)
    found = after(mask, smooth(mask, 1.5, SPACING, whole(mask.shape))) == 1

    def surface(shape: np.ndarray) -> int:
        return sum(int(np.diff(shape.astype(np.int8), axis=axis).astype(bool).sum()) for axis in range(3))

    assert abs(int(found.sum()) - int(rough.sum())) <= 2
    assert surface(found) < 0.6 * surface(rough)
    assert dice(found, truth) > dice(rough, truth)


def test_smoothing_keeps_small_regions_beside_large_ones() -> None:
    mask = (ball(10, (12, 16, 24)) | ball(3, (12, 40, 24))).astype(np.uint8)
    found = after(mask, smooth(mask, 2.0, SPACING, whole(mask.shape)))
    sizes = np.bincount(ndimage.label(found, np.ones((3, 3, 3)))[0].ravel())[1:]
    assert len(sizes) == 2
    assert sizes.min() >= 0.9 * ball(3, (12, 40, 24)).sum()
    assert smooth(np.zeros_like(mask), 2.0, SPACING, whole(mask.shape)) is None


def test_filling_holes_in_a_slice_and_in_space() -> None:
    shell = ball(12, (12, 24, 24)) & ~ball(6, (12, 24, 24))
    mask = shell.astype(np.uint8)
    one = after(mask, filled(mask, plane(mask, 12)))
    assert np.array_equal(one[12] == 1, ball(12, (12, 24, 24))[12])
    assert np.array_equal(np.delete(one, 12, 0), np.delete(mask, 12, 0))
    assert np.array_equal(after(mask, filled(mask, whole(mask.shape))) == 1, ball(12, (12, 24, 24)))
    assert filled(one, plane(mask, 12)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_copying_a_slice_adds_to_what_is_there(axis: int) -> None:
    mask = np.zeros((6, 6, 6), np.uint8)
    np.moveaxis(mask, axis, 0)[2, 1:3, 1:3] = 1
    np.moveaxis(mask, axis, 0)[3, 4, 4] = 1
    found = np.moveaxis(after(mask, copied(mask, axis, 2, 3)), axis, 0)
    expected = np.moveaxis(mask, axis, 0).copy()
    expected[3, 1:3, 1:3] = 1
    assert np.array_equal(found, expected)
    assert copied(mask, axis, 0, 1) is None


def test_removing_and_keeping_a_region() -> None:
    first, second = ball(5, (6, 16, 16)), ball(5, (16, 34, 34))
    mask = (first | second).astype(np.uint8)
    assert np.array_equal(after(mask, remove_spot(mask, (6, 16, 16), whole(mask.shape))) == 1, second)
    assert np.array_equal(after(mask, keep_spot(mask, (6, 16, 16), whole(mask.shape))) == 1, first)
    only_here = after(mask, remove_spot(mask, (6, 16, 16), plane(mask, 6)))
    assert not only_here[6].any()
    assert np.array_equal(np.delete(only_here, 6, 0), np.delete(mask, 6, 0))
    assert keep_spot(first.astype(np.uint8), (6, 16, 16), whole(mask.shape)) is None
    for tool in (remove_spot, keep_spot):
        with pytest.raises(InputError, match="Click on a coloured region"):
            tool(mask, (0, 0, 0), whole(mask.shape))
