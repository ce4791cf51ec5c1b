"""The simulated annotator: corrects the worst slice of each plane with a brush that never leaves the true class.

The rule follows RootPainter's published simulated annotator, carried to three dimensions:

- In each of the three planes the slice with the most wrong voxels is corrected, after the corrections of the planes before.
- Errors within two pixels of the reference's border (in that plane) are left alone, unless the whole volume has no others in that plane.
- Missing tumour is painted before surplus tumour is erased, large components before small ones. Each component is covered by the largest
  discs that stay inside the true class; such a stroke also repaints voxels that were right already, and those count as annotated too.
- Annotated background is at most ten times annotated tumour. Where the limit would stop the robot, it first marks the middle of the tumour
  in the plane's widest tumour slice; what still does not fit is left for a later round. Without tumour in the reference there is no limit.
- Looking at a slice costs 0.2 s before and 0.2 s after; the rest of the time model is the brush's, see :mod:`.brush`.

Real people are less exact: figures obtained with a robot are optimistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Box, Geometry, box_around
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.annotators.brush import Disc, Plane, cover, drags, painting_seconds, travel_seconds

PLANES = ("axial", "coronal", "sagittal")
BORDER = 2
"""Pixels beside the reference's border in which errors are left alone."""
BACKGROUND_LIMIT = 10
SEARCH, LOOK = 0.2, 0.2
"""Seconds to find the error in a slice, and for the last look at it."""

Volume = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stroke:
    """One drag of the brush.

    Parameters
    ----------
    box : Box
        One voxel thick along the plane's axis.
    mask : ndarray of bool
        Voxels of the box that are painted.
    value : int
        0 erases, 1 paints tumour.
    plane : str
    seconds : float
        Time of the person, travel to the stroke included.
    """

    box: Box
    mask: Volume
    value: int
    plane: str
    seconds: float


@dataclass(frozen=True)
class Correction:
    """What the robot did in one round: strokes in order, the time of the person in s, and the annotated voxels of each class."""

    strokes: tuple[Stroke, ...]
    person_seconds: float
    tumour_voxels: int
    background_voxels: int


def correct(reference: npt.NDArray[Any], mask: npt.NDArray[Any], geometry: Geometry, rng: np.random.Generator) -> Correction:
    """Correct the worst slice of each plane of `mask` as a person with a brush would.

    Parameters
    ----------
    reference, mask : ndarray, shape (z, y, x)
        Tumour where not 0: the truth, and the mask that is shown.
    geometry : Geometry
        Its spacing makes the brush round in mm.
    rng : Generator
        Breaks ties between equally bad slices and equally good places for the brush; the same seed gives the same strokes.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if reference.shape != mask.shape or mask.ndim != 3:
        raise InputError(
            f"A mask of shape {mask.shape} cannot be corrected with a reference of shape {reference.shape}. Use the same grid."
        )
    hand = _Hand(reference.astype(bool), mask.astype(bool), geometry.spacing, rng)
    for axis in range(3):
        hand.correct_worst_slice(axis)
    return Correction(tuple(hand.strokes), hand.seconds, hand.said(TUMOUR), hand.said(BACKGROUND))


class _Hand:
    """The robot at work: what it sees, what it has painted, and its clock."""

    def __init__(self, truth: Volume, shown: Volume, spacing: tuple[float, float, float], rng: np.random.Generator) -> None:
        self.truth, self.shown, self.spacing, self.rng = truth, shown, spacing, rng
        self.annotation = np.full(truth.shape, UNDECIDED, np.uint8)
        self.strokes: list[Stroke] = []
        self.seconds = 0.0
        self.confirmed: set[int] = set()

    def said(self, value: int) -> int:
        return int(np.count_nonzero(self.annotation == value))

    def correct_worst_slice(self, axis: int) -> None:
        errors = self.truth ^ self.shown
        away = errors & ~near_border(self.truth, axis)
        errors = away if away.any() else errors
        totals = errors.sum(axis=tuple(a for a in range(3) if a != axis))
        if not totals.any():
            return
        index = int(self.rng.choice(np.flatnonzero(totals == totals.max())))
        wrong, truth = _cut(errors, axis, index), _cut(self.truth, axis, index)
        pointer = self._open_slice(wrong.shape)
        for component in _components(wrong & truth):
            pointer = self._paint(cover(component, truth, self._pixel(axis), self.rng), truth, TUMOUR, axis, index, pointer)
        for component in _components(wrong & ~truth):
            discs, complete = self._within_limit(component, axis, index)
            if not complete and self._confirm(axis):
                discs, _ = self._within_limit(component, axis, index)
                pointer = self._open_slice(wrong.shape)
            pointer = self._paint(discs, ~truth, BACKGROUND, axis, index, pointer)

    def _within_limit(self, component: Plane, axis: int, index: int) -> tuple[list[Disc], bool]:
        """Discs that erase `component`, no more of them than the limit of background allows, and whether these are all."""
        pixel, allowed = self._pixel(axis), ~_cut(self.truth, axis, index)
        discs = cover(component, allowed, pixel, self.rng)
        if not self.truth.any():
            return discs, True
        room = BACKGROUND_LIMIT * self.said(TUMOUR) - self.said(BACKGROUND)
        bare = _cut(self.annotation == UNDECIDED, axis, index)
        count = _fitting(discs, allowed, bare, room)
        if count == len(discs):
            return discs, True
        if count == 0 and room > 0:
            smaller = math.sqrt(room * pixel[0] * pixel[1] / math.pi) * 0.9
            discs = cover(component, allowed, pixel, self.rng, largest=smaller)
            count = _fitting(discs[:1], allowed, bare, room)
        return discs[:count], False

    def _confirm(self, axis: int) -> bool:
        """Mark the middle of the tumour in the slice of this plane that shows most of it, once per plane; say whether that was done."""
        if axis in self.confirmed:
            return False
        self.confirmed.add(axis)
        index = int(self.truth.sum(axis=tuple(a for a in range(3) if a != axis)).argmax())
        truth = _cut(self.truth, axis, index)
        largest = cover(truth, truth, self._pixel(axis), self.rng)[:1]
        self._paint(largest, truth, TUMOUR, axis, index, self._open_slice(truth.shape))
        return True

    def _open_slice(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Spend the time that looking costs; the pointer waits in the middle of the slice."""
        self.seconds += SEARCH + LOOK
        return shape[0] / 2, shape[1] / 2

    def _paint(
        self, discs: list[Disc], allowed: Plane, value: int, axis: int, index: int, pointer: tuple[float, float]
    ) -> tuple[float, float]:
        for drag in drags(discs, allowed):
            seconds = travel_seconds(pointer, drag.start) + painting_seconds(drag.length)
            stroke = _stroke(drag.pixels, value, axis, index, seconds)
            where = tuple(slice(a, b) for a, b in stroke.box)
            self.annotation[where][stroke.mask] = value
            self.shown[where][stroke.mask] = value == TUMOUR
            self.strokes.append(stroke)
            self.seconds += seconds
            pointer = drag.end
        return pointer

    def _pixel(self, axis: int) -> tuple[float, float]:
        row, column = (s for a, s in enumerate(self.spacing) if a != axis)
        return row, column


def near_border(truth: Volume, axis: int) -> Volume:
    """Voxels within :data:`BORDER` pixels of the other class in the plane across `axis`."""
    row, column = np.ogrid[-BORDER : BORDER + 1, -BORDER : BORDER + 1]
    disc = np.expand_dims(row**2 + column**2 <= BORDER**2, axis)
    near = np.zeros_like(truth)
    box = box_around(truth)
    if box is not None:
        place = tuple(slice(max(0, low - BORDER), high + BORDER) for low, high in box)
        part = truth[place]
        near[place] = np.where(part, ndimage.binary_dilation(~part, disc), ndimage.binary_dilation(part, disc))
    return near


def _fitting(discs: list[Disc], allowed: Plane, bare: Plane, room: int) -> int:
    """How many of the first `discs` colour at most `room` pixels that are still `bare`, the ways between them included."""
    count = len(discs)
    while count:
        painted = np.any([drag.pixels for drag in drags(discs[:count], allowed)], axis=0)
        if np.count_nonzero(painted & bare) <= room:
            break
        count -= max(1, count // 8)
    return count


def _cut(volume: Volume, axis: int, index: int) -> Plane:
    plane: Plane = np.take(volume, index, axis)
    return plane


def _components(wrong: Plane) -> list[Plane]:
    """Return the 8-connected components of a plane, the largest first."""
    labels, count = ndimage.label(wrong, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    return [labels == 1 + int(i) for i in np.argsort(-sizes, kind="stable")[:count]]


def _stroke(pixels: Plane, value: int, axis: int, index: int, seconds: float) -> Stroke:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    (r0, r1), (c0, c1) = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
    ranges = [(r0, r1), (c0, c1)]
    ranges.insert(axis, (index, index + 1))
    return Stroke((ranges[0], ranges[1], ranges[2]), np.expand_dims(pixels[r0:r1, c0:c1], axis), value, PLANES[axis], seconds)
