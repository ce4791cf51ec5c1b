"""One orientation inside, the file's own outside.

Inside, arrays are stored ``(z, y, x)`` with x to the patient's left, y to posterior and z to superior. Reorientation only flips and
permutes axes, so it is exact and can be undone exactly; an oblique file is taken along its nearest axes and keeps its affine.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from napari_breastseg.case import Geometry

S = TypeVar("S", bound=np.generic)

CANONICAL = ("L", "P", "S")
"""Where x, y and z point, in nibabel's codes."""

SAME_GRID_TOLERANCE = 0.1
"""Two grids are the same if no corner lies further apart than this part of a voxel: room for rounding in headers, none for a shift."""


def to_canonical(array_ijk: npt.NDArray[S], affine: npt.ArrayLike) -> tuple[npt.NDArray[S], Geometry]:
    """Turn a volume from its file's axes to the canonical ones.

    Parameters
    ----------
    array_ijk : ndarray, shape (i, j, k)
        As stored in the file.
    affine : array_like, shape (4, 4)
        Voxel indices (i, j, k) to RAS mm.

    Returns
    -------
    array_zyx : ndarray, shape (z, y, x)
        A view of the same voxels.
    geometry : Geometry
        With the spacing in canonical order, and what :func:`from_canonical` needs.

    Raises
    ------
    InputError
        If the affine gives no positive voxel size or cannot be inverted.
    """
    matrix = np.array(affine, dtype=np.float64)
    i, j, k = array_ijk.shape
    sizes = [float(size) for size in voxel_sizes(matrix)]
    geometry = Geometry(spacing=(sizes[0], sizes[1], sizes[2]), affine=matrix, original_shape=(i, j, k))
    turn = _turn_to_canonical(matrix)
    x, y, z = (sizes[int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3))
    turned = apply_orientation(array_ijk, turn).transpose(2, 1, 0)
    return turned, replace(geometry, spacing=(z, y, x))


def from_canonical(array_zyx: npt.NDArray[S], geometry: Geometry) -> npt.NDArray[S]:
    """Turn a canonical volume back to the axes of its file: the exact inverse of :func:`to_canonical`.

    Parameters
    ----------
    array_zyx : ndarray, shape (z, y, x)
    geometry : Geometry
        As :func:`to_canonical` gave it.

    Returns
    -------
    ndarray, shape ``geometry.original_shape``

    Raises
    ------
    ValueError
        If the array does not have the shape that this geometry has in canonical order.
    """
    if array_zyx.shape != canonical_shape(geometry):
        raise ValueError(f"an array of shape {array_zyx.shape} is not on a grid of shape {canonical_shape(geometry)} (z, y, x)")
    back = ornt_transform(axcodes2ornt(CANONICAL), io_orientation(geometry.affine))
    stored: npt.NDArray[S] = apply_orientation(array_zyx.transpose(2, 1, 0), back)
    return stored


def canonical_shape(geometry: Geometry) -> tuple[int, int, int]:
    """Shape (z, y, x) that a volume with this geometry has inside."""
    turn = _turn_to_canonical(geometry.affine)
    x, y, z = (geometry.original_shape[int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3))
    return z, y, x


def canonical_affine(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Return the (4, 4) matrix from canonical voxel indices (x, y, z) to RAS mm."""
    turn = _turn_to_canonical(geometry.affine)
    matrix: npt.NDArray[np.float64] = geometry.affine @ inv_ornt_aff(turn, geometry.original_shape)
    return matrix


def place_in_file(index_zyx: tuple[int, int, int], geometry: Geometry) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return where a canonical voxel (z, y, x) lies: its index (i, j, k) in the file, and the place of its centre in RAS mm."""
    z, y, x = index_zyx
    inside = np.array([x, y, z, 1.0])
    i, j, k = (round(float(c)) for c in (inv_ornt_aff(_turn_to_canonical(geometry.affine), geometry.original_shape) @ inside)[:3])
    right, front, up = (float(c) for c in (canonical_affine(geometry) @ inside)[:3])
    return (i, j, k), (right, front, up)


def same_grid(a: Geometry, b: Geometry) -> bool:
    """Tell whether two geometries put the same voxels at the same places, whatever the order in which their files store them."""
    if canonical_shape(a) != canonical_shape(b):
        return False
    z, y, x = canonical_shape(a)
    corners = np.array([(*corner, 1) for corner in product((0, x - 1), (0, y - 1), (0, z - 1))], dtype=np.float64)
    apart = corners @ (canonical_affine(a) - canonical_affine(b)).T
    return bool(np.linalg.norm(apart[:, :3], axis=1).max() <= SAME_GRID_TOLERANCE * min(a.spacing))


def _turn_to_canonical(affine: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    turn: npt.NDArray[Any] = ornt_transform(io_orientation(affine), axcodes2ornt(CANONICAL))
    return turn
