"""Where in a case to look next: the places at which the model is unsure, the widest doubt first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, UNDECIDED, box_around, slices
from napari_breastseg.session.rows import MarkRow

DOUBT = (0.2, 0.8)
"""Probabilities between which the model is unsure of a voxel, as in `inference.uncertainty`."""


@dataclass(frozen=True)
class Place:
    """A region of which the model is unsure.

    Attributes
    ----------
    index : tuple of int
        Its innermost voxel (z, y, x).
    width : float
        Twice the distance (mm) from there to where the model is sure, or the person has said something.
    voxels : int
        Its size.
    """

    index: tuple[int, int, int]
    width: float
    voxels: int


def unsure_places(
    probability: npt.NDArray[np.float32], annotation: npt.NDArray[np.uint8], spacing: tuple[float, float, float]
) -> list[Place]:
    """Return the regions of which the model is unsure and the person has said nothing, the widest first.

    Every tumour has a shell of doubt around it, as thin as its border is sharp: what is no wider than two voxels is left out.

    Parameters
    ----------
    probability : ndarray, shape (z, y, x), float32
    annotation : ndarray, shape (z, y, x), uint8
    spacing : tuple of float
        Voxel size (z, y, x) in mm.
    """
    low, high = DOUBT
    unsure = (probability > low) & (probability < high) & (annotation == UNDECIDED)
    box = box_around(unsure)
    if box is None:
        return []
    unsure = unsure[slices(box)]
    thin = [axis for axis, size in enumerate(probability.shape) if size == 1]  # an image ends in no depth
    around = [(0, 0) if axis in thin else (1, 1) for axis in range(3)]
    inner = tuple(slice(None) if axis in thin else slice(1, -1) for axis in range(3))
    depth = ndimage.distance_transform_edt(np.pad(unsure, around), sampling=spacing)[inner]
    labels, count = ndimage.label(unsure, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    deepest = ndimage.maximum_position(depth, labels, np.arange(1, count + 1))
    finest = min(size for axis, size in enumerate(spacing) if axis not in thin)
    corner = [start for start, _ in box]
    places = []
    for number, where in enumerate(deepest, 1):
        if depth[where] > finest:
            z, y, x = (int(start + index) for start, index in zip(corner, where, strict=True))
            places.append(Place((z, y, x), 2 * float(depth[where]), int(sizes[number])))
    return sorted(places, key=lambda place: (-place.width, place.index))


def slices_to_check(mask: npt.NDArray[np.uint8], marks: Iterable[MarkRow], axis: int) -> list[int]:
    """Return the slices across an axis that show tumour and that nobody called reviewed."""
    reviewed = {mark.value["index"] for mark in marks if mark.what == "slice-reviewed" and mark.value["axis"] == axis}
    shown = np.flatnonzero((mask == TUMOUR).any(axis=tuple(other for other in range(3) if other != axis)))
    return [int(index) for index in shown if index not in reviewed]
