"""Fills the slices between those that somebody painted, by interpolating their shapes.

Shape-based interpolation: Raya and Udupa, IEEE Trans Med Imaging 1990, doi 10.1109/42.52980.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, slab
from napari_breastseg.editing.change import Change, Labels, Mask, around_with_margin, changed

EIGHT = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""


def between(mask: Labels, said: Mask, axis: int, spacing: tuple[float, float, float]) -> Change | None:
    """Interpolate the tumour between each two slices that follow each other among those that were painted.

    Of a painted slice, the regions count that hold or touch a painted voxel. Two of them are interpolated if they lie over each other.
    What the slices between showed there gives way; other regions stay, and so do all painted slices.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
        What is shown.
    said : ndarray of bool, shape (z, y, x)
        The voxels that the person painted or erased.
    axis : int
        Across the slices.
    spacing : tuple of float
        Voxel size (z, y, x) in mm.

    Returns
    -------
    Change or None
        None if there is nothing between, or nothing that could be filled.
    """
    painted = np.flatnonzero(said.any(axis=tuple(other for other in range(3) if other != axis)))
    if len(painted) < 2:
        return None
    first, last = int(painted[0]), int(painted[-1]) + 1
    tumour = np.moveaxis(mask, axis, 0)[first:last] == TUMOUR
    strokes = np.moveaxis(said, axis, 0)[first:last]
    plane = [size for other, size in enumerate(spacing) if other != axis]
    for start, stop in zip(painted[:-1] - first, painted[1:] - first, strict=True):
        if stop - start > 1:
            _fill(tumour, int(start), int(stop), _regions(tumour, strokes, start), _regions(tumour, strokes, stop), plane)
    return changed(mask, np.moveaxis(tumour, 0, axis), slab(mask.shape, axis, first, last))


def _regions(tumour: Mask, strokes: Mask, index: int) -> Mask:
    """Return the regions of a slice that hold or touch a stroke."""
    return _touched(tumour[index], ndimage.binary_dilation(strokes[index], EIGHT))


def _touched(plane: Mask, by: Mask) -> Mask:
    """Return the regions of a plane that have a pixel in common with `by`."""
    labels, _ = ndimage.label(plane, EIGHT)
    found = np.unique(labels[by])
    return np.isin(labels, found[found > 0])


def _fill(tumour: Mask, start: int, stop: int, below: Mask, above: Mask, spacing: list[float]) -> None:
    """Interpolate, in the slices between two, the regions of them that lie over each other."""
    below, above = _touched(below, above), _touched(above, below)
    box = around_with_margin((below | above)[np.newaxis], (0, 1, 1))
    if box is None:
        return
    place = slice(*box[1]), slice(*box[2])
    low, high = _signed(below[place], spacing), _signed(above[place], spacing)
    for index in range(start + 1, stop):
        part = (index - start) / (stop - start)
        shape = np.zeros_like(below)
        shape[place] = (1 - part) * low + part * high < 0
        tumour[index] = (tumour[index] & ~_touched(tumour[index], shape)) | shape


def _signed(shape: Mask, spacing: list[float]) -> npt.NDArray[np.float64]:
    """Return the distance (mm) to the border of a shape, half a pixel outside of its outermost ones, negative inside."""
    outside = ndimage.distance_transform_edt(~shape, sampling=spacing)
    inside = ndimage.distance_transform_edt(shape, sampling=spacing)
    signed: npt.NDArray[np.float64] = outside - inside
    return signed
