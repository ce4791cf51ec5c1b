from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import Geometry, slices
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.brush import cover, distance, drags, painting_seconds, travel_seconds
from napari_breastseg.evaluation.annotators.robot import BACKGROUND_LIMIT, Correction, correct, near_border
from napari_breastseg.evaluation.metrics import dice

SHAPE = (24, 40, 44)
GEOMETRY = Geometry((1.6, 0.8, 0.8), np.diag([0.8, 0.8, 1.6, 1.0]), (44, 40, 24))


def ball(centre: tuple[int, int, int], radius_mm: float) -> npt.NDArray[np.bool_]:
    grid = np.indices(SHAPE).astype(float)
    return sum(((grid[a] - centre[a]) * GEOMETRY.spacing[a]) ** 2 for a in range(3)) <= radius_mm**2


TUMOUR = ball((12, 20, 20), 9)
VESSEL = ball((12, 34, 36), 3)


def applied(correction: Correction, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    out = mask.copy()
    for stroke in correction.strokes:
        out[slices(stroke.box)][stroke.mask] = bool(stroke.value)
    return out


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    "mask", [np.zeros(SHAPE, bool), VESSEL, TUMOUR | VESSEL, ball((12, 20, 27), 9), ball((12, 20, 20), 15)], ids=lambda _: ""
)
def test_strokes_never_leave_the_true_class(mask: npt.NDArray[np.bool_]) -> None:
    correction = correct(TUMOUR, mask, GEOMETRY, rng())
    assert correction.strokes
    for stroke in correction.strokes:
        assert (TUMOUR[slices(stroke.box)][stroke.mask] == bool(stroke.value)).all()
        assert stroke.mask.any()
        assert sum(b - a == 1 for a, b in stroke.box) >= 1
    assert dice(applied(correction, mask), TUMOUR) > dice(mask, TUMOUR)
    assert correction.background_voxels <= BACKGROUND_LIMIT * correction.tumour_voxels


def test_one_slice_of_each_plane_and_the_worst_one() -> None:
    correction = correct(TUMOUR, np.zeros(SHAPE, bool), GEOMETRY, rng())
    assert list(dict.fromkeys(s.plane for s in correction.strokes)) == ["axial", "coronal", "sagittal"]
    left = TUMOUR.copy()
    for axis, plane in enumerate(["axial", "coronal", "sagittal"]):
        indices = {s.box[axis][0] for s in correction.strokes if s.plane == plane}
        away = left & ~near_border(TUMOUR, axis)
        sums = away.sum(axis=tuple(a for a in range(3) if a != axis))
        assert len(indices) == 1 and sums[indices.pop()] == sums.max()
        for stroke in (s for s in correction.strokes if s.plane == plane):
            left[slices(stroke.box)][stroke.mask] = False


def test_a_disc_is_as_large_as_the_true_class_allows_in_mm() -> None:
    truth = TUMOUR[:, 20]
    (disc, *_) = cover(truth, truth, (1.6, 0.8), rng())
    assert disc.centre == (12, 20)
    grid = np.indices(truth.shape)
    inside = np.hypot((grid[0] - 12) * 1.6, (grid[1] - 20) * 0.8) < distance(truth, (1.6, 0.8))[12, 20] - 1e-9
    np.testing.assert_array_equal(disc.pixels, inside)


def test_discs_cover_the_whole_component() -> None:
    component = TUMOUR[12] & ~ball((12, 20, 16), 8)[12]
    painted = np.any([d.pixels for d in drags(cover(component, TUMOUR[12], (0.8, 0.8), rng()), TUMOUR[12])], axis=0)
    assert painted[component].all() and TUMOUR[12][painted].all()


def test_errors_beside_the_border_are_left_until_nothing_else_is_left() -> None:
    thin = ball((12, 20, 20), 9.9) & ~TUMOUR
    both = correct(TUMOUR, TUMOUR | thin | VESSEL, GEOMETRY, rng())
    after = applied(both, TUMOUR | thin | VESSEL)
    assert {s.box[0] for s in both.strokes if s.plane == "axial" and s.value == 0} == {(12, 13)}
    assert not (after & VESSEL)[12].any()
    assert (after & thin & near_border(TUMOUR, 0))[12].any()
    only = correct(TUMOUR, TUMOUR | thin, GEOMETRY, rng())
    assert any(s.value == 0 for s in only.strokes)


def test_background_is_confirmed_against_some_tumour() -> None:
    correction = correct(TUMOUR, TUMOUR | VESSEL, GEOMETRY, rng())
    assert correction.tumour_voxels > 0 and correction.background_voxels > 0


def test_a_large_false_region_is_erased_only_within_the_limit() -> None:
    small = ball((12, 20, 20), 2)
    everywhere = np.ones(SHAPE, bool)
    correction = correct(small, everywhere, GEOMETRY, rng())
    assert 0 < correction.background_voxels <= BACKGROUND_LIMIT * correction.tumour_voxels


def test_a_healthy_case_can_be_erased() -> None:
    correction = correct(np.zeros(SHAPE, bool), VESSEL, GEOMETRY, rng())
    assert correction.background_voxels > 0 == correction.tumour_voxels


def test_a_right_mask_costs_nothing() -> None:
    correction = correct(TUMOUR, TUMOUR, GEOMETRY, rng())
    assert correction.strokes == () and correction.person_seconds == 0.0


def test_one_seed_one_result() -> None:
    mask = ball((12, 24, 24), 8) | VESSEL
    first, again = (correct(TUMOUR, mask, GEOMETRY, rng(3)) for _ in range(2))
    assert first.person_seconds == again.person_seconds
    assert [(s.box, s.value, s.mask.tobytes()) for s in first.strokes] == [(s.box, s.value, s.mask.tobytes()) for s in again.strokes]


def test_rounds_reach_the_reference() -> None:
    mask, generator = ball((12, 20, 30), 8) | VESSEL, rng()
    for _ in range(40):
        mask = applied(correct(TUMOUR, mask, GEOMETRY, generator), mask)
    assert dice(mask, TUMOUR) > 0.95


def test_time_model() -> None:
    assert painting_seconds(0) == pytest.approx(1 / 120)
    assert painting_seconds(400) == pytest.approx(1.0)
    assert travel_seconds((0, 0), (0, 800)) == pytest.approx(1.0)
    correction = correct(TUMOUR, np.zeros(SHAPE, bool), GEOMETRY, rng())
    assert correction.person_seconds == pytest.approx(3 * 0.4 + sum(s.seconds for s in correction.strokes))


def test_grids_must_be_the_same() -> None:
    with pytest.raises(InputError, match="same grid"):
        correct(TUMOUR, TUMOUR[1:], GEOMETRY, rng())
