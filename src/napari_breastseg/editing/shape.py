"""Smoothing, filling holes, and taking over the shape of the slice beside."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Box, placed, slab, slices
from napari_breastseg.editing.change import Change, Labels, around_with_margin, changed, voxels


def smooth(mask: Labels, width: float, spacing: tuple[float, float, float], box: Box) -> Change | None:
    """Smooth the border of each region, which keeps its volume.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
    width : float
        Standard deviation (mm) of the Gaussian that the region is blurred with.
    spacing : tuple of float
        Voxel size (z, y, x) in mm.
    box : Box
        Where: outside of it nothing changes.
    """
    part = mask[slices(box)] == TUMOUR
    near = around_with_margin(part, voxels(3 * width, spacing, part.shape))
    if near is None:
        return None
    tumour = part[slices(near)]
    sigma = [0.0 if size == 1 else width / step for size, step in zip(part.shape, spacing, strict=True)]
    labels, count = ndimage.label(tumour, np.ones((3, 3, 3)))
    smoothed = np.zeros_like(tumour)
    for number in range(1, count + 1):
        region = labels == number
        blurred = ndimage.gaussian_filter(region.astype(np.float32), sigma)
        size = int(region.sum())
        smoothed |= blurred >= np.partition(blurred, blurred.size - size, axis=None)[blurred.size - size]
    return changed(mask, smoothed, placed(near, box))


def filled(mask: Labels, box: Box) -> Change | None:
    """Fill what tumour encloses: in each slice of a box that is one voxel thick, else in space."""
    tumour = mask[slices(box)] == TUMOUR
    thin = [axis for axis, size in enumerate(tumour.shape) if size == 1]
    flat = np.squeeze(tumour, tuple(thin))
    return changed(mask, ndimage.binary_fill_holes(flat).reshape(tumour.shape), box)


def copied(mask: Labels, axis: int, source: int, target: int) -> Change | None:
    """Add the tumour of one slice to another.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
    axis, source, target : int
        Across the slices, and the indices of the two.
    """
    box = slab(mask.shape, axis, target, target + 1)
    other = np.take(mask, [source], axis) == TUMOUR
    return changed(mask, other | (mask[slices(box)] == TUMOUR), box)
