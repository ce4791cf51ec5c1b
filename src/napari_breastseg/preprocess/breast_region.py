"""Where the breasts are: boxes in which windows are placed, from cheap image processing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box
from napari_breastseg.preprocess.intensity import Volume, body_mask

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


def breast_region(volume: Volume, spacing: tuple[float, float, float]) -> BreastRegion:
    """Find the breasts in one phase.

    The anterior surface of the body is followed from left to right. Where it shows two humps with a cleft between them, each hump
    becomes a box that ends where the chest wall does. Nothing is cut when in doubt.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
        One phase; y runs to posterior.
    spacing : tuple of float
        mm (z, y, x).
    """
    shape = volume.shape
    everywhere = np.ones(shape[1:], bool)
    body = ndimage.binary_opening(body_mask(volume), iterations=2)
    labels, count = ndimage.label(body)
    if count == 0:
        return BreastRegion([_box((0, shape[0]), (0, shape[1]), (0, shape[2]))], everywhere)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.isin(labels, np.flatnonzero(sizes >= 0.1 * sizes.max()))
    (z0, z1), (y0, y1), (x0, x1) = (_extent(body.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    margin = [int(np.ceil(MARGIN / s)) for s in spacing]
    z = (max(0, z0 - margin[0]), min(shape[0], z1 + margin[0]))
    y = (max(0, y0 - margin[1]), min(shape[1], y1 + margin[1]))
    x = (max(0, x0 - margin[2]), min(shape[2], x1 + margin[2]))
    cleft = _cleft(body, spacing)
    if cleft is None:
        return BreastRegion([_box(z, y, x)], everywhere)
    middle, bottom = cleft
    beside = (np.arange(shape[2]) - middle) * spacing[2]
    limit = bottom + (WALL + CURVE * beside**2) / spacing[1]
    halves = [(x[0], min(shape[2], middle + margin[2])), (max(0, middle - margin[2]), x[1])]
    boxes = [_box(z, (y[0], min(y[1], math.ceil(limit[a:b].max()))), (a, b)) for a, b in halves]
    return BreastRegion(boxes, np.arange(shape[1])[:, None] < limit)


def _cleft(body: npt.NDArray[np.bool_], spacing: tuple[float, float, float]) -> tuple[int, int] | None:
    """Column (x) and depth (y) of the bottom of the cleft between two breasts, or None."""
    filled = body.any(axis=0)
    surface = np.where(filled.any(axis=0), filled.argmax(axis=0), filled.shape[0]).astype(float)
    x0, x1 = _extent(filled.any(axis=0))
    third = (x1 - x0) // 3
    if third < 2:
        return None
    smooth = ndimage.uniform_filter1d(surface, max(3, round(6 / spacing[2])), mode="nearest")
    middle = x0 + third + int(np.argmax(smooth[x0 + third : x1 - third]))
    bottom = smooth[middle]
    humps = (smooth[x0:middle].min(), smooth[middle:x1].min())
    if bottom - max(humps) < CLEFT / spacing[1]:
        return None
    return middle, int(bottom)


def _extent(flags: npt.ArrayLike) -> tuple[int, int]:
    found = np.flatnonzero(flags)
    return int(found[0]), int(found[-1]) + 1


def _box(z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> Box:
    return z, y, x
