"""Where windows stand in a box, and how what they say is blended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box, slices

Map = npt.NDArray[np.float32]
Blending = Literal["gaussian", "linear"]

STRETCH = 1.25
"""How much longer than the patch a window may be, if fewer windows then suffice: the networks take any size."""
TRIM = 2
"""Outermost voxels of a window that do not count where another one covers them: there the network saw the edge of its window."""
LEAST = 0.01
"""Smallest weight of a voxel that counts, relative to the middle of its window."""


def plan_windows(
    shape: Sequence[int], patch: Sequence[int], overlap: float = 0.25, stretch: float = STRETCH, least: Sequence[int] | None = None
) -> list[Box]:
    """Cover a box with as few windows as the overlap allows, spread evenly from edge to edge.

    A box of 65 voxels gets one window of 65, not two of 64.

    Parameters
    ----------
    shape, patch : sequence of int
        Voxels (z, y, x); an axis shorter than the patch gets one window of its own length.
    overlap : float
        Smallest share of a window that its neighbour repeats, below 1.
    stretch : float
        How much longer than the patch a window may be.
    least : sequence of int, optional
        How much shorter than the patch windows may be if as many of them suffice; not at all if not given.
    """
    axes = []
    for length, size, smallest in zip(shape, patch, least or patch, strict=True):
        # n windows of size s that overlap by the share o cover s (1 + (n - 1) (1 - o)) voxels.
        count = max(1, math.ceil((length / (size * stretch) - 1) / (1 - overlap)) + 1)
        window = min(length, max(smallest, math.ceil(length / (1 + (count - 1) * (1 - overlap)))))
        starts = np.round(np.linspace(0, length - window, count)).astype(int)
        axes.append([(int(s), int(s) + window) for s in starts])
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


class Canvas:
    """The weighted mean of what overlapping windows say, and the only memory that a box needs for it.

    Parameters
    ----------
    shape : tuple of int
        Voxels (z, y, x).
    windows : sequence of Box
        All that will be added.
    blending : str
        How weights fall from the middle of a window to its edge: as a "gaussian" (sigma 1/8 of the edge, as nnU-Net) or "linear".
    """

    def __init__(self, shape: tuple[int, int, int], windows: Sequence[Box], blending: Blending = "gaussian") -> None:
        self._blending = blending
        self._sum: Map = np.zeros(shape, np.float32)
        self._weight: Map = np.zeros(shape, np.float32)
        self._trims = [_trim({window[axis] for window in windows}) for axis in range(3)]

    def add(self, window: Box, values: Map) -> None:
        """Add what a window says, (z, y, x)."""
        weight = self.importance(window)
        self._sum[slices(window)] += weight * values
        self._weight[slices(window)] += weight

    def importance(self, window: Box) -> Map:
        """Return the weights of what a window says, (z, y, x)."""
        z, y, x = (
            _axis_weight(high - low, trim * (low > 0), trim * (high < length), self._blending)
            for (low, high), trim, length in zip(window, self._trims, self._sum.shape, strict=True)
        )
        weight: Map = z[:, None, None] * y[:, None] * x
        return weight

    def mean(self, elsewhere: Map | float = 0.0) -> Map:
        """Return the mean so far; `elsewhere` stands where no window has been."""
        return self.mean_in((slice(None),) * 3, elsewhere)

    def mean_in(self, place: tuple[slice, slice, slice], elsewhere: Map | float = 0.0) -> Map:
        """Return the mean so far in a part of the box."""
        weight = self._weight[place]
        other = elsewhere if isinstance(elsewhere, float) else elsewhere[place]
        mean: Map = np.where(weight > 0, self._sum[place] / np.maximum(weight, np.finfo(np.float32).tiny), other).astype(np.float32)
        return mean


def _trim(spans: set[tuple[int, int]]) -> int:
    """Return how many outermost voxels of the windows along an axis can be left out, and all are covered still."""
    overlaps = [high - low for (_, high), (low, _) in itertools.pairwise(sorted(spans))]
    return TRIM if min(overlaps, default=0) > 2 * TRIM else 0


@lru_cache(maxsize=256)
def _axis_weight(length: int, before: int, after: int, blending: Blending) -> Map:
    """Return the weights along one axis of a window, whose outermost voxels before and after do not count."""
    middle = (length - 1) / 2
    away = np.abs(np.arange(length) - middle)
    weight = np.exp(-0.5 * (away / (length / 8)) ** 2) if blending == "gaussian" else 1 - away / (middle + 1)
    weight = np.maximum(weight, LEAST)
    weight[:before] = 0
    weight[length - after :] = 0
    result: Map = weight.astype(np.float32)
    return result
