"""What a tool does to a mask: the voxels that change, and what they become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import TUMOUR, Box, box_around, placed, slices

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """Voxels of a mask that become tumour or background.

    Parameters
    ----------
    box : Box
        Around the voxels that change.
    where : ndarray of bool
        Which ones they are, within the box.
    values : ndarray, uint8
        What they become; what it holds elsewhere in the box means nothing.
    """

    box: Box
    where: Mask
    values: Labels


def changed(mask: Labels, tumour: Mask, box: Box) -> Change | None:
    """Return how a mask must change to show `tumour`, and nothing else, within `box`; None if it does so already.

    Parameters
    ----------
    mask : ndarray, uint8, shape (z, y, x)
    tumour : ndarray of bool, as large as `box`
    box : Box
    """
    different = (mask[slices(box)] == TUMOUR) != tumour
    inner = box_around(different)
    if inner is None:
        return None
    place = slices(inner)
    return Change(placed(inner, box), different[place].copy(), tumour[place].astype(np.uint8))


def around_with_margin(mask: Mask, margin: tuple[int, int, int]) -> Box | None:
    """Return the box around the true voxels and `margin` voxels more on each side of an axis, as far as the array reaches."""
    box = box_around(mask)
    if box is None:
        return None
    z, y, x = ((max(0, low - more), min(size, high + more)) for (low, high), more, size in zip(box, margin, mask.shape, strict=True))
    return z, y, x


def voxels(length: float, spacing: tuple[float, float, float], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return how many voxels a length (mm) takes along each axis, rounded up; none along an axis of one voxel."""
    z, y, x = (0 if size == 1 else int(np.ceil(length / step)) for size, step in zip(shape, spacing, strict=True))
    return z, y, x
