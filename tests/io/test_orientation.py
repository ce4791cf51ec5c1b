from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from nibabel.affines import apply_affine
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff

from napari_breastseg.case import Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.io.orientation import canonical_affine, canonical_shape, from_canonical, place_in_file, same_grid, to_canonical

AXES = (("L", "R"), ("P", "A"), ("I", "S"))
ORIENTATIONS = [codes for order in permutations(AXES) for codes in product(*order)]
SHAPE = (4, 5, 6)
ARRAY = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)


def affine_of(codes: tuple[str, ...], sizes: tuple[float, float, float] = (0.7, 0.9, 2.0)) -> np.ndarray:
    """Affine of a file stored along `codes` whose axes to right, anterior and superior have these sizes (mm)."""
    ras = np.diag([*sizes, 1.0])
    ras[:3, 3] = (-11.0, 7.0, 3.0)
    shape = np.empty(3, int)
    ornt = axcodes2ornt(codes)
    for stored, (axis, _) in enumerate(ornt):
        shape[int(axis)] = SHAPE[stored]
    turn = np.column_stack([[list(ornt[:, 0]).index(a) for a in range(3)], [ornt[list(ornt[:, 0]).index(a), 1] for a in range(3)]])
    return np.asarray(ras @ inv_ornt_aff(turn, tuple(shape)))


def oblique(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.asarray(turn @ affine_of(("L", "P", "S")))


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_orientation_becomes_left_posterior_superior_and_back(codes: tuple[str, ...]) -> None:
    affine = affine_of(codes)
    assert aff2axcodes(affine) == codes
    turned, geometry = to_canonical(ARRAY, affine)
    assert turned.shape == canonical_shape(geometry)
    assert geometry.original_shape == SHAPE
    assert geometry.spacing == pytest.approx((2.0, 0.9, 0.7))
    assert aff2axcodes(canonical_affine(geometry)) == ("L", "P", "S")
    np.testing.assert_array_equal(from_canonical(turned, geometry), ARRAY)


@pytest.mark.parametrize("affine", [affine_of(("S", "R", "A")), oblique(20.0)], ids=["permuted", "oblique"])
def test_each_voxel_keeps_its_place_in_the_patient(affine: np.ndarray) -> None:
    turned, geometry = to_canonical(ARRAY, affine)
    for value in (0, 17, 83, 119):
        (stored,) = np.argwhere(ARRAY == value)
        ((z, y, x),) = np.argwhere(turned == value)
        np.testing.assert_allclose(apply_affine(canonical_affine(geometry), (x, y, z)), apply_affine(affine, stored), atol=1e-9)


@pytest.mark.parametrize("affine", [*map(affine_of, ORIENTATIONS[::5]), oblique(20.0)])
def test_a_place_is_told_as_other_programs_count_it(affine: np.ndarray) -> None:
    turned, geometry = to_canonical(ARRAY, affine)
    for value in (0, 17, 83, 119):
        ((z, y, x),) = np.argwhere(turned == value)
        voxel, ras = place_in_file((int(z), int(y), int(x)), geometry)
        assert ARRAY[voxel] == value
        assert ras == pytest.approx(apply_affine(affine, voxel))


def test_indices_grow_to_left_posterior_and_superior() -> None:
    _, geometry = to_canonical(ARRAY, affine_of(("A", "S", "R")))
    x, y, z = canonical_affine(geometry)[:3, :3].T
    assert x[0] < 0  # RAS: less is more to the left
    assert y[1] < 0
    assert z[2] > 0


@pytest.mark.parametrize("degrees", [5.0, 30.0, 60.0, 170.0])
def test_an_oblique_file_keeps_its_affine_and_returns_exactly(degrees: float) -> None:
    affine = oblique(degrees)
    turned, geometry = to_canonical(ARRAY, affine)
    np.testing.assert_array_equal(geometry.affine, affine)
    np.testing.assert_array_equal(from_canonical(turned, geometry), ARRAY)


def test_the_callers_affine_is_not_shared() -> None:
    affine = affine_of(("R", "A", "S"))
    _, geometry = to_canonical(ARRAY, affine)
    affine[:] = 0
    assert geometry.affine[0, 0] == pytest.approx(0.7)


@pytest.mark.parametrize("affine", [np.diag([0.0, 1, 1, 1]), np.full((4, 4), np.nan), np.ones((4, 4))], ids=["flat", "nan", "singular"])
def test_an_affine_that_cannot_be_used_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="Correct the file's header"):
        to_canonical(ARRAY, affine)


def test_an_array_of_another_shape_does_not_go_back() -> None:
    _, geometry = to_canonical(ARRAY, affine_of(("R", "A", "S")))
    with pytest.raises(ValueError, match="not on a grid"):
        from_canonical(np.zeros((1, 2, 3)), geometry)


def test_the_same_grid_in_another_storage_order_is_the_same() -> None:
    ras = affine_of(("R", "A", "S"))
    mirror = np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    geometry = to_canonical(ARRAY, ras)[1]
    assert same_grid(geometry, to_canonical(ARRAY[::-1], ras @ mirror)[1])
    assert not same_grid(geometry, to_canonical(ARRAY.transpose(1, 2, 0), ras)[1])


@pytest.mark.parametrize(("shift", "same"), [(1e-4, True), (0.5, False)])
def test_rounding_in_a_header_is_no_other_grid_but_a_shift_is(shift: float, same: bool) -> None:
    affine = affine_of(("L", "P", "S"))
    moved = affine.copy()
    moved[0, 3] += shift
    assert same_grid(Geometry((2, 1, 1), affine, SHAPE), Geometry((2, 1, 1), moved, SHAPE)) is same
