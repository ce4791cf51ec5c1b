"""Where the breasts are: boxes in which windows are placed, from cheap image processing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, slices, whole
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.overview import Overview

MARGIN = 8.0
"""mm kept around everything that was found."""
CLEFT = 25.0
"""mm by which the midline must lie behind both breasts for the view to count as bilateral."""
WALL, CURVE = 25.0, 0.002
"""mm behind the bottom of the cleft that still belong to the breast at the midline, and how much more per mm squared beside it, since the
chest wall curves away: as far back as the wall, but not into the heart and the liver, which enhance."""


@dataclass(frozen=True)
class BreastRegion:
    """Where the breasts are.

    Attributes
    ----------
    boxes : list of Box
        One per breast, or one of the whole body if two breasts cannot be told apart.
    inside : ndarray of bool, shape (y, x)
        False behind the chest wall.
    """

    boxes: list[Box]
    inside: npt.NDArray[np.bool_]


def breast_region(seen: Overview) -> BreastRegion:
    """Find the breasts of a case.

    The anterior surface of the body is followed from left to right. Where it shows two humps with a cleft between them, each hump
    becomes a box that ends where the chest wall does. Nothing is cut when in doubt.

    Parameters
    ----------
    seen : Overview
        y runs to posterior.

    Raises
    ------
    InputError
        If the image is constant.
    """
    shape, spacing = seen.case.shape, seen.case.geometry.spacing
    everywhere = np.ones(shape[1:], bool)
    body = ndimage.binary_opening(seen.body)
    labels, count = ndimage.label(body)
    if count == 0:
        return BreastRegion([whole(shape)], everywhere)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.isin(labels, np.flatnonzero(sizes >= 0.1 * sizes.max()))
    cell = seen.spacing
    extents = [_extent(body.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    z, y, x = (
        (max(0, math.floor((low * c - MARGIN) / s)), min(n, math.ceil((high * c + MARGIN) / s)))
        for (low, high), c, s, n in zip(extents, cell, spacing, shape, strict=True)
    )
    cleft = _cleft(body, cell)
    if cleft is None:
        return BreastRegion([(z, y, x)], everywhere)
    middle, bottom = cleft
    beside = (np.arange(shape[2]) + 0.5) * spacing[2] - middle
    limit = (bottom + WALL + CURVE * beside**2) / spacing[1]
    right, left = min(shape[2], math.ceil((middle + MARGIN) / spacing[2])), max(0, math.floor((middle - MARGIN) / spacing[2]))
    boxes: list[Box] = [(z, (y[0], min(y[1], math.ceil(limit[a:b].max()))), (a, b)) for a, b in ((x[0], right), (left, x[1]))]
    return BreastRegion(boxes, np.arange(shape[1])[:, None] < limit)


def breast_mask(seen: Overview, shape: Sequence[int] | None = None) -> npt.NDArray[np.bool_]:
    """Say which voxels lie in a breast: in the body, in front of the chest wall.

    Parameters
    ----------
    seen : Overview
    shape : sequence of int, optional
        Voxels (z, y, x) of the result, over the case's field of view; the case's own if not given.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    InputError
        If the image is constant, or no breast is found.
    """
    region = breast_region(seen)
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in ndimage.binary_opening(seen.body)])  # fat may be as dark as air
    boxed = np.zeros(body.shape, bool)
    for box in region.boxes:
        boxed[slices(_scaled(box, seen.case.shape, body.shape))] = True
    z, y, x = (_nearest(n, m) for n, m in zip(shape or seen.case.shape, body.shape, strict=True))
    mask: npt.NDArray[np.bool_] = (body & boxed)[np.ix_(z, y, x)]
    rows, columns = (_nearest(n, m) for n, m in zip((shape or seen.case.shape)[1:], region.inside.shape, strict=True))
    mask &= region.inside[np.ix_(rows, columns)]
    if not mask.any():
        raise InputError(f"No breast was found in {seen.case.name}. Check that it shows one, and that its phases are in order.")
    return mask


def _nearest(length: int, cells: int) -> npt.NDArray[np.intp]:
    """Return, for each of so many voxels along an axis, the cell in which its middle lies."""
    return ((np.arange(length) + 0.5) * cells / length).astype(np.intp)


def _scaled(box: Box, shape: Sequence[int], cells: Sequence[int]) -> Box:
    """Return the cells that a box of voxels covers."""
    z, y, x = ((low * m // n, -(-high * m // n)) for (low, high), n, m in zip(box, shape, cells, strict=True))
    return z, y, x


def _cleft(body: npt.NDArray[np.bool_], cell: tuple[float, float, float]) -> tuple[float, float] | None:
    """Where (x) and how deep (y) the bottom of the cleft between two breasts lies, mm; None if there is none."""
    filled = body.any(axis=0)
    surface = np.where(filled.any(axis=0), filled.argmax(axis=0), filled.shape[0]).astype(float)
    x0, x1 = _extent(filled.any(axis=0))
    third = (x1 - x0) // 3
    if third < 2:
        return None
    smooth = ndimage.uniform_filter1d(surface, max(3, round(6 / cell[2])), mode="nearest")
    middle = x0 + third + int(np.argmax(smooth[x0 + third : x1 - third]))
    bottom = smooth[middle]
    humps = (smooth[x0:middle].min(), smooth[middle:x1].min())
    if bottom - max(humps) < CLEFT / cell[1]:
        return None
    return (middle + 0.5) * cell[2], float(bottom) * cell[1]


def _extent(flags: npt.ArrayLike) -> tuple[int, int]:
    found = np.flatnonzero(flags)
    return int(found[0]), int(found[-1]) + 1
