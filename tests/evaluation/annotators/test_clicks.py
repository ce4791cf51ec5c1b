from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from napari_breastseg.case import Geometry, slices
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.clicks import LARGEST_RADIUS, Click, click, stroke

Volume = npt.NDArray[np.bool_]


def geometry(*spacing: float) -> Geometry:
    return Geometry((spacing[0], spacing[1], spacing[2]), np.eye(4), (1, 1, 1))


def empty(*shape: int) -> Volume:
    return np.zeros(shape, bool)


def painted(one: Click | None, shape: tuple[int, ...]) -> Volume:
    assert one is not None
    out = np.zeros(shape, bool)
    out[slices(one.box)][one.mask] = True
    return out


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_cube_is_clicked_in_its_middle_with_a_ball_that_stays_inside() -> None:
    truth = empty(9, 9, 9)
    truth[2:7, 2:7, 2:7] = True
    one = click(truth, empty(9, 9, 9), geometry(1, 1, 1), rng())
    distance = np.sqrt(((np.indices((9, 9, 9)) - 4) ** 2).sum(0))
    assert one is not None and one.value == 1
    np.testing.assert_array_equal(painted(one, truth.shape), distance < 3)  # depth 3, which leaves out the cube's far corners
    assert one.box == ((2, 7), (2, 7), (2, 7)) and truth[slices(one.box)][one.mask].all()


def test_depth_and_ball_are_in_mm() -> None:
    truth = empty(7, 11, 11)
    truth[2:5, 1:10, 1:10] = True  # 3 slices of 4 mm, 9 x 9 pixels of 1 mm: the middle (3, 5, 5) is 5 mm from the sides, 8 mm from above
    one = click(truth, empty(7, 11, 11), geometry(4, 1, 1), rng())
    z, y, x = np.indices(truth.shape)
    distance = np.sqrt(((z - 3) * 4) ** 2 + (y - 5) ** 2 + (x - 5) ** 2)
    np.testing.assert_array_equal(painted(one, truth.shape), distance < 5)


def test_the_largest_component_of_either_kind() -> None:
    truth, mask = empty(12, 12, 12), empty(12, 12, 12)
    truth[1:4, 1:4, 1:4] = True
    mask[6:11, 6:11, 6:11] = True
    one = click(truth, mask, geometry(1, 1, 1), rng())
    assert one is not None and one.value == 0 and painted(one, truth.shape)[8, 8, 8]
    mask[6:11, 6:11, 6:11] = False
    one = click(truth, mask, geometry(1, 1, 1), rng())
    assert one is not None and one.value == 1 and painted(one, truth.shape)[2, 2, 2]


def test_missing_and_surplus_that_touch_are_one_component_but_the_ball_paints_one_kind() -> None:
    truth, mask = empty(11, 11, 12), empty(11, 11, 12)
    truth[:, :, :4] = True
    mask[:, :, 4:11] = True  # errors fill a cube of 11; its middle is surplus, two columns from the missing ones
    one = click(truth, mask, geometry(1, 1, 1), rng())
    assert one is not None and one.value == 0
    distance = np.sqrt(sum((index - 5) ** 2 for index in np.indices(truth.shape)))
    np.testing.assert_array_equal(painted(one, truth.shape), distance < 2)


def test_a_thin_error_is_painted_with_a_brush_as_thick_as_what_it_belongs_to() -> None:
    truth = empty(11, 11, 11)
    truth[1:10, 1:10, 1:10] = True
    mask = truth.copy()
    mask[5, 5, 2:9] = False
    one = click(truth, mask, geometry(1, 1, 1), rng())
    distance = np.sqrt(((np.indices(truth.shape) - np.array([5, 5, 5])[:, None, None, None]) ** 2).sum(0))
    assert one is not None and one.value == 1 and truth[slices(one.box)][one.mask].all()
    assert one.mask.sum() > 50 and one.mask.sum() <= (distance < 5).sum()


def test_one_voxel_at_least_and_fifteen_mm_at_most() -> None:
    truth = empty(5, 5, 5)
    truth[2, 2, 2] = True
    one = click(truth, empty(5, 5, 5), geometry(0.5, 0.5, 0.5), rng())
    assert one is not None and one.box == ((2, 3), (2, 3), (2, 3)) and one.mask.all() and one.value == 1
    large = np.ones((41, 41, 41), bool)
    ball = painted(click(large, empty(41, 41, 41), geometry(1, 1, 1), rng()), large.shape)
    distance = np.sqrt(((np.indices(large.shape) - 20) ** 2).sum(0))
    np.testing.assert_array_equal(ball, distance < LARGEST_RADIUS)


def test_a_flat_image_is_clicked_as_a_plane_and_a_flat_component_as_a_volume() -> None:
    plane = empty(1, 9, 9)
    plane[0, 2:7, 2:7] = True
    ball = painted(click(plane, empty(1, 9, 9), geometry(1, 1, 1), rng()), plane.shape)
    assert ball.sum() == (np.hypot(*np.mgrid[-4:5, -4:5]) < 3).sum()
    sheet = empty(3, 9, 9)
    sheet[1] = plane
    one = click(sheet, empty(3, 9, 9), geometry(1, 1, 1), rng())
    assert one is not None and one.mask.sum() == 1


def test_the_end_of_the_image_is_a_border() -> None:
    truth = np.ones((3, 3, 3), bool)
    one = click(truth, empty(3, 3, 3), geometry(1, 1, 1), rng())
    assert one is not None and painted(one, truth.shape)[1, 1, 1] and one.mask.sum() == 27  # depth 2: all of the cube is nearer


def test_ties_are_broken_by_the_seed_alone() -> None:
    truth = empty(20, 20, 20)
    truth[::4, ::4, ::4] = True
    places = [click(truth, empty(20, 20, 20), geometry(1, 1, 1), rng(seed)) for seed in range(8)]
    again = [click(truth, empty(20, 20, 20), geometry(1, 1, 1), rng(seed)) for seed in range(8)]
    assert [p.box for p in places if p] == [p.box for p in again if p]
    assert len({p.box for p in places if p}) > 1


def test_nothing_wrong_and_other_grids() -> None:
    truth = empty(4, 4, 4)
    assert click(truth, truth, geometry(1, 1, 1), rng()) is None
    with pytest.raises(InputError, match="same grid"):
        click(truth, empty(4, 4, 5), geometry(1, 1, 1), rng())


def test_a_stroke_is_drawn_through_the_error_in_one_slice() -> None:
    truth = empty(9, 9, 31)
    truth[2:7, 2:7, 2:29] = True  # a bar of 5 x 5 x 27: discs of half the largest radius reach its corners
    one = stroke(truth, empty(9, 9, 31), geometry(1, 1, 1), rng())
    assert one is not None and one.value == 1 and one.box == ((4, 5), (2, 7), (2, 29)) and one.mask.all()


def test_a_stroke_stops_where_the_brush_would_have_to_shrink_below_half() -> None:
    truth = empty(11, 11, 31)
    truth[1:10, 1:10, 1:10] = truth[1:10, 1:10, 21:30] = True
    truth[5, 5, 10:21] = True
    shown = painted(stroke(truth, empty(11, 11, 31), geometry(1, 1, 1), rng()), truth.shape)
    ends = shown[:, :, 1:10].any(), shown[:, :, 21:30].any()
    assert sorted(ends) == [False, True] and not shown[:, :, 12:19].any()


@pytest.mark.parametrize("seed", range(4))
def test_a_stroke_is_its_click_in_that_slice_and_more_and_paints_nothing_wrong(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    truth, mask = (ndimage.gaussian_filter(drawn.normal(size=(12, 30, 30)), 3) > 0 for _ in range(2))
    space = geometry(2.5, 1, 1)
    first, one = click(truth, mask, space, rng(seed)), stroke(truth, mask, space, rng(seed))
    assert first is not None and one is not None and first.value == one.value
    area, ball, z = painted(one, truth.shape), painted(first, truth.shape), one.box[0][0]
    assert one.mask.shape[0] == 1 and (area[z] >= ball[z]).all() and ball[z].any() and (truth[area] == one.value).all()
    assert stroke(truth, truth, space, rng()) is None


@pytest.mark.parametrize("spacing", [(2.5, 1.0, 1.3), (3.0, 1.8, 1.8)])
def test_a_stroke_against_every_disc_measured_to_every_pixel(spacing: tuple[float, float, float]) -> None:
    truth = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(8, 18, 18)), 3) > 0
    one = stroke(truth, empty(*truth.shape), geometry(*spacing), rng())
    assert one is not None
    ((z, _), *_) = one.box
    plane, places = truth[z], np.stack(np.indices(truth.shape[1:]), -1) * spacing[1:]
    component, _ = ndimage.label(truth, np.ones((3, 3, 3)))
    deepest = ndimage.distance_transform_edt(np.pad(truth, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    deepest[component != np.bincount(component[truth]).argmax()] = 0
    middle = np.argwhere(deepest == deepest.max())
    assert len(middle) == 1 and middle[0, 0] == z

    def away(point: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        return np.asarray(np.sqrt(((places - point * spacing[1:]) ** 2).sum(-1)))

    def radius(point: npt.NDArray[np.intp]) -> float:
        return float(away(point)[~plane].min()) - 1e-9

    way = np.zeros(plane.shape, bool)
    for point in np.argwhere(component[z] == component[tuple(middle[0])]):
        way[tuple(point)] = radius(point) >= radius(middle[0, 1:]) / 2
    joined, _ = ndimage.label(way, np.ones((3, 3)))
    wanted = empty(*plane.shape)
    for point in np.argwhere(joined == joined[tuple(middle[0, 1:])]):
        wanted |= away(point) < radius(point)
    np.testing.assert_array_equal(painted(one, truth.shape)[z], wanted)


def test_a_false_alarm_where_there_is_no_tumour_is_erased_with_the_largest_brush() -> None:
    mask = empty(5, 61, 91)
    mask[2, 23:34, 20:71] = True
    one = stroke(empty(*mask.shape), mask, geometry(1, 1, 1), rng())
    assert one is not None and one.value == 0 and not (mask & ~painted(one, mask.shape)).any()
    beyond = int(LARGEST_RADIUS) - 1  # voxels nearer than the radius
    assert one.box == ((2, 3), (23 - beyond, 34 + beyond), (20 - beyond, 71 + beyond))
