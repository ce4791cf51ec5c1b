"""Grows a region from a click, through what the model thinks possible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Box, slices
from napari_breastseg.editing.change import Change, Labels, Mask, changed
from napari_breastseg.errors import InputError

FAINTEST = 0.02
"""Probability below which there is nothing to grow through."""


def grow(
    mask: Labels,
    probability: npt.NDArray[np.float32],
    barred: Mask,
    at: tuple[int, int, int],
    down_to: float,
    box: Box,
) -> Change | None:
    """Add the region around a voxel whose probability of tumour stays above a part of the voxel's own.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
        What is shown; nothing of it is taken away.
    probability : ndarray, shape (z, y, x)
        From 0 to 1, in memory or lazy.
    barred : ndarray of bool, shape (z, y, x)
        Where the region must not go, such as what the person said is healthy.
    at : tuple of int
        The voxel, which lies in `box`.
    down_to : float
        From 0 to 1: the part of the voxel's probability that is enough.
    box : Box
        How far the region may reach.

    Returns
    -------
    Change or None
        None if all of the region is tumour already.

    Raises
    ------
    InputError
        If the model sees next to nothing at the voxel.
    """
    place = slices(box)
    seen = np.asarray(probability[place])
    corner = tuple(low for low, _ in box)
    middle = tuple(index - low for index, low in zip(at, corner, strict=True))
    peak = float(seen[middle])
    if not peak >= FAINTEST:
        raise InputError(f"The model sees nothing here ({100 * peak:.0f} % tumour), so nothing can grow from this place. Use the brush.")
    possible = (seen >= down_to * peak) & ~barred[place]
    possible[middle] = True
    labels, _ = ndimage.label(possible, np.ones((3, 3, 3)))
    return changed(mask, (mask[place] == TUMOUR) | (labels == labels[middle]), box)


def reach(at: tuple[int, int, int], length: float, spacing: tuple[float, float, float], limit: Box) -> Box:
    """Return the box that reaches `length` (mm) from a voxel to each side, as far as `limit` goes."""
    far = [int(length / size) for size in spacing]
    z, y, x = ((max(low, i - n), min(high, i + n + 1)) for i, n, (low, high) in zip(at, far, limit, strict=True))
    return z, y, x
