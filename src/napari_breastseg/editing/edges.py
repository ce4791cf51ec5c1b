"""Moves the border of a mask to the edges of the image beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Box, placed, slices
from napari_breastseg.editing.change import Change, Labels, Mask, around_with_margin, changed, voxels

INSIDE, OUTSIDE = 1, 2
CORE = 0.7
"""Part of its greatest depth from which a region that is thinner than the search counts as certainly inside."""


def snap(mask: Labels, image: npt.NDArray[np.float32], width: float, spacing: tuple[float, float, float], box: Box) -> Change | None:
    """Let the border of the tumour fall on the strongest edge of the image near it: a watershed of the image's gradient.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
        What is shown.
    image : array, shape (z, y, x)
        In memory or lazy; not a number counts as 0.
    width : float
        How far (mm) a border may move, to either side.
    spacing : tuple of float
        Voxel size (z, y, x) in mm.
    box : Box
        Where: outside of it nothing changes.

    Returns
    -------
    Change or None
        None if all borders stay.
    """
    from skimage.segmentation import watershed  # takes a while to import, and docks should open at once

    near = _near(mask, width, spacing, box)
    if near is None:
        return None
    place = slices(near)
    tumour = mask[place] == TUMOUR
    values = np.nan_to_num(np.asarray(image[place], np.float32), posinf=0.0, neginf=0.0)
    gradient = _gradient(values, spacing)
    markers = _markers(tumour, width, spacing)
    return changed(mask, watershed(gradient, markers) == INSIDE, near)


def _near(mask: Labels, width: float, spacing: tuple[float, float, float], box: Box) -> Box | None:
    part = mask[slices(box)] == TUMOUR
    found = around_with_margin(part, voxels(2 * width, spacing, part.shape))
    return None if found is None else placed(found, box)


def _gradient(values: npt.NDArray[np.float32], spacing: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Return the length of the image's gradient per mm, after smoothing by the smallest voxel side."""
    finest = min(step for step, size in zip(spacing, values.shape, strict=True) if size > 1) if max(values.shape) > 1 else 1.0
    squared = np.zeros_like(values)
    for axis, step in enumerate(spacing):
        if values.shape[axis] > 1:
            sigma = [0.0 if size == 1 else finest / other for size, other in zip(values.shape, spacing, strict=True)]
            order = [int(other == axis) for other in range(3)]
            squared += (ndimage.gaussian_filter(values, sigma, order) / step) ** 2
    return np.sqrt(squared)


def _markers(tumour: Mask, width: float, spacing: tuple[float, float, float]) -> npt.NDArray[np.int32]:
    """Return what is certainly inside and certainly outside, and 0 for what lies nearer to the border than `width`."""
    depth = ndimage.distance_transform_edt(np.pad(tumour, 1, mode="edge"), sampling=spacing)[1:-1, 1:-1, 1:-1]
    markers = np.zeros(tumour.shape, np.int32)
    markers[ndimage.distance_transform_edt(~tumour, sampling=spacing) > width] = OUTSIDE
    labels, count = ndimage.label(tumour, np.ones((3, 3, 3)))
    deepest = ndimage.maximum(depth, labels, np.arange(count + 1))
    markers[tumour & (depth > np.minimum(width, CORE * np.asarray(deepest)[labels]))] = INSIDE
    return markers
