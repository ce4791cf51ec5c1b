"""What a person painted: the voxels of a mask that changed since they were last handed on, as strokes for the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED, Box, box_around, overlay, placed, slices
from napari_breastseg.editing.change import Change

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Stroke:
    """One stroke that is to be saved: the voxels of `mask` within `box` become `value`."""

    box: Box
    mask: npt.NDArray[np.bool_]
    value: int | Labels
    tool: str


@dataclass(frozen=True)
class Painted:
    """The strokes that were painted, and whether another label than tumour and background was among them and has been taken back."""

    strokes: list[Stroke]
    refused: bool


class PaintedMask:
    """A mask that somebody paints on, and what of it was handed on.

    What changed is found by comparing the mask with a copy, within the box that was painted where that is known: a stroke costs what its
    box costs, however large the case is.

    Parameters
    ----------
    painted : ndarray, uint8, shape (z, y, x)
        The mask that is shown, changed from outside: the prediction with the annotation laid over it.
    predicted, annotation : ndarray, uint8, shape (z, y, x)
        What it is made of; the annotation is kept up to date here, strokes that are still being saved included.
    """

    def __init__(self, painted: Labels, predicted: Labels, annotation: Labels) -> None:
        self.painted = painted
        self.annotation = annotation
        self._predicted = predicted
        self._known = painted.copy()
        self._voxels = int(np.count_nonzero(painted == TUMOUR))

    @property
    def voxels(self) -> int:
        """Number of voxels that are tumour, of what was handed on."""
        return self._voxels

    def take(self, tool: str, within: Box | None = None) -> Painted:
        """Return what was painted since the last call, a stroke per value, and restore what was painted neither tumour nor background.

        Parameters
        ----------
        tool : str
        within : Box, optional
            Where to look; everywhere if it is not known.
        """
        box = within or box_around(self.painted != self._known)
        if box is None:
            return Painted([], False)
        place = slices(box)
        new, old = self.painted[place].copy(), self._known[place].copy()
        refused = bool(new.max() > TUMOUR)
        if refused:
            np.copyto(new, old, where=new > TUMOUR)
            self.painted[place] = new
        changed = new != old
        strokes = []
        for value in (BACKGROUND, TUMOUR):
            where = changed & (new == value)
            inner = box_around(where)
            if inner is not None:
                stroke = Stroke(placed(inner, box), where[slices(inner)].copy(), value, tool)
                np.copyto(self.annotation[slices(stroke.box)], np.uint8(value), where=stroke.mask)
                strokes.append(stroke)
                self._voxels += int(np.count_nonzero(stroke.mask)) * (1 if value == TUMOUR else -1)
        self._known[place] = new
        return Painted(strokes, refused)

    def approve(self, box: Box, where: npt.NDArray[np.bool_], tool: str) -> Stroke | None:
        """Take what is shown at the voxels `where` of `box` as annotation; what was said before stays. None if all of it was said."""
        place = slices(box)
        where = where & (self.annotation[place] == UNDECIDED)
        if not where.any():
            return None
        self.annotation[place][where] = self._known[place][where]
        return Stroke(box, where, self._known[place].copy(), tool)

    def apply(self, change: Change, tool: str) -> Stroke | None:
        """Do what a tool found, as one stroke; None if all of it has been painted so, or is just being painted, meanwhile."""
        place = slices(change.box)
        painted, known = self.painted[place], self._known[place]
        where = change.where & (painted == known) & (known != change.values)
        inner = box_around(where)
        if inner is None:
            return None
        self._voxels += int(np.where(change.values == TUMOUR, 1, -1)[where].sum())
        for array in (painted, known, self.annotation[place]):
            np.copyto(array, change.values, where=where)
        return Stroke(placed(inner, change.box), where[slices(inner)].copy(), change.values[slices(inner)].copy(), tool)

    def follow(self, box: Box, values: Labels, waiting: Iterable[Stroke]) -> None:
        """Show what the annotation now says within `box`, below the strokes that are on their way and what is being painted just now."""
        place = slices(box)
        self.annotation[place] = values
        for stroke in waiting:
            self.annotation[slices(stroke.box)][stroke.mask] = np.broadcast_to(stroke.value, stroke.mask.shape)[stroke.mask]
        shown = overlay(self._predicted[place], self.annotation[place])
        painted, known = self.painted[place], self._known[place]
        self._voxels += int(np.count_nonzero(shown == TUMOUR)) - int(np.count_nonzero(known == TUMOUR))
        painted[...] = np.where(painted == known, shown, painted)
        known[...] = shown

    def lay_over(self, predicted: Labels) -> None:
        """Show the annotation over `predicted` from now on."""
        self._predicted = predicted
        z, y, x = predicted.shape
        self.follow(((0, z), (0, y), (0, x)), self.annotation, ())


def box_of_indices(places: Iterable[Any], shape: tuple[int, ...]) -> Box | None:
    """Return the smallest box around numpy indices, each a slice or an array of integers per axis; None if one is of another kind."""
    lows, highs = list(shape), [0] * len(shape)
    for place in places:
        if not isinstance(place, tuple) or len(place) != len(shape):
            return None
        for axis, index in enumerate(place):
            low, high = _range(index)
            if not 0 <= low < high <= shape[axis]:
                return None
            if low < lows[axis]:
                lows[axis] = low
            if high > highs[axis]:
                highs[axis] = high
    z, y, x = zip(lows, highs, strict=True)
    return (z, y, x) if highs[0] else None


def _range(index: object) -> tuple[int, int]:
    """Return where an index begins and ends, nothing where that cannot be told."""
    if isinstance(index, slice) and isinstance(index.start, int) and isinstance(index.stop, int):
        return index.start, index.stop
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu" and index.size:
        return int(index.min()), int(index.max()) + 1
    return 0, 0
