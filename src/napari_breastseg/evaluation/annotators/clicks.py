"""Clicks and strokes where the mask is most wrong, by the rule of the CVPR 2025 challenge on interactive 3-D segmentation.

A click goes to the voxel that lies deepest in the largest component of errors (26 neighbours, missing and surplus voxels together, the end
of the image counts as its border). Different here: depth is measured in mm, and the click paints a ball, because a voxel teaches little,
the largest one that stays inside the true class, as a person paints with the largest brush that does no harm. A stroke draws the click out
through the error, in the slice that is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import Box, Geometry, box_around, slices
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.brush import distance

LARGEST_RADIUS = 15.0
"""Radius in mm of the largest ball or disc."""

Volume = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """What is painted with one click, a ball, or with one stroke, in one slice.

    Parameters
    ----------
    box : Box
    mask : ndarray of bool
        Voxels of the box that are painted.
    value : int
        0 erases, 1 paints tumour.
    """

    box: Box
    mask: Volume
    value: int


def click(reference: npt.NDArray[Any], mask: npt.NDArray[Any], geometry: Geometry, rng: np.random.Generator) -> Click | None:
    """Return the click that `mask` needs most, None where nothing is wrong.

    The ball is the largest one that paints nothing wrong, at least one voxel and at most :data:`LARGEST_RADIUS` mm.

    Parameters
    ----------
    reference, mask : ndarray, shape (z, y, x)
        Tumour where not 0: the truth, and the mask that is shown.
    geometry : Geometry
    rng : Generator
        Chooses between components of one size and voxels of one depth.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    aim = _aim(reference, mask, geometry, rng)
    if aim is None:
        return None
    return _painted(_ball(aim.true_class, aim.centre, geometry.spacing), aim.value)


def stroke(reference: npt.NDArray[Any], mask: npt.NDArray[Any], geometry: Geometry, rng: np.random.Generator) -> Click | None:
    """Return the stroke that `mask` needs most, None where nothing is wrong.

    A person sees one slice, and so does this: it begins where :func:`click` clicks and is drawn through the same component, in the same
    slice and no other, wherever the largest disc that paints nothing wrong has at least half the radius of the first one: a round brush
    whose size follows the shape. Arguments and errors are those of :func:`click`.
    """
    aim = _aim(reference, mask, geometry, rng)
    if aim is None:
        return None
    z, *centre = aim.centre
    true_class, spacing = aim.true_class[z : z + 1], geometry.spacing
    free = np.minimum(distance(true_class[0], spacing[1:]), LARGEST_RADIUS)
    places, _ = ndimage.label(aim.component[z] & (free >= free[tuple(centre)] / 2), np.ones((3, 3)))
    painted = np.zeros(aim.true_class.shape, bool)
    for y, x in np.argwhere(places == places[tuple(centre)]):
        reach = [1 + int(free[y, x] / step) for step in spacing[1:]]
        near = tuple(slice(max(0, c - n), c + n + 1) for c, n in zip((y, x), reach, strict=True))
        middle = np.array([0, y - near[0].start, x - near[1].start])
        painted[z][near] |= _ball(true_class[:, *near], middle, spacing)[0]
    return _painted(painted, aim.value)


@dataclass(frozen=True)
class _Aim:
    """The largest component of errors, the class that belongs there, its value, and the voxel to click."""

    component: Volume
    true_class: Volume
    value: int
    centre: npt.NDArray[np.intp]


def _aim(reference: npt.NDArray[Any], mask: npt.NDArray[Any], geometry: Geometry, rng: np.random.Generator) -> _Aim | None:
    if reference.shape != mask.shape or mask.ndim != 3:
        raise InputError(f"A mask of shape {mask.shape} cannot be clicked with a reference of shape {reference.shape}. Use the same grid.")
    truth = reference.astype(bool)
    labels, count = ndimage.label(truth ^ mask.astype(bool), np.ones((3, 3, 3)))
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    label = 1 + int(rng.choice(np.flatnonzero(sizes == sizes.max())))
    around = ndimage.find_objects(labels, label)[label - 1]
    depth = _depth(labels[around] == label, tuple(int(size > 1) for size in mask.shape), geometry.spacing)
    deepest = np.argwhere(depth >= depth.max() - 1e-9)
    centre = deepest[rng.integers(len(deepest))] + [part.start for part in around]
    value = truth[tuple(centre)]
    return _Aim(labels == label, truth == value, int(value), centre)


def _painted(mask: Volume, value: int) -> Click:
    box = box_around(mask)
    assert box is not None
    return Click(box, mask[slices(box)], value)


def _depth(inside: Volume, margins: tuple[int, ...], spacing: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Distance in mm to the nearest voxel outside; so many voxels beyond the array are outside, too."""
    depth = ndimage.distance_transform_edt(np.pad(inside, [(m, m) for m in margins]), sampling=spacing)
    return np.asarray(depth[tuple(slice(m, m + n) for m, n in zip(margins, inside.shape, strict=True))], np.float64)


def _ball(true_class: Volume, centre: npt.NDArray[Any], spacing: tuple[float, float, float]) -> Volume:
    """Voxels nearer to the centre than the nearest voxel of the other class is, and than the largest radius; always the centre itself."""
    z, y, x = (((np.arange(n, dtype=float) - c) * s) ** 2 for n, c, s in zip(true_class.shape, centre, spacing, strict=True))
    squares = z[:, None, None] + y[:, None] + x
    ball: Volume = squares < min(float(squares[~true_class].min(initial=np.inf)), LARGEST_RADIUS**2) - 1e-9
    ball[tuple(centre)] = True
    return ball
