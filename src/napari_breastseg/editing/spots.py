"""Removing or keeping one region by a click on it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_breastseg.case import TUMOUR, Box, box_around, placed, slices
from napari_breastseg.editing.change import Change, Labels, Mask, changed
from napari_breastseg.errors import InputError


def remove_spot(mask: Labels, at: tuple[int, int, int], box: Box) -> Change | None:
    """Take the region away that a voxel belongs to, as far as it lies in `box`.

    Raises
    ------
    InputError
        If the voxel is no tumour.
    """
    near, tumour, region = _region(mask, at, box)
    return changed(mask, tumour & ~region, near)


def keep_spot(mask: Labels, at: tuple[int, int, int], box: Box) -> Change | None:
    """Take all tumour in `box` away but the region that a voxel belongs to; None if there is no other.

    Raises
    ------
    InputError
        If the voxel is no tumour.
    """
    near, _, region = _region(mask, at, box)
    return changed(mask, region, near)


def _region(mask: Labels, at: tuple[int, int, int], box: Box) -> tuple[Box, Mask, Mask]:
    """Return the box around all tumour in `box`, that tumour, and the region of it that holds a voxel."""
    if mask[at] != TUMOUR:
        raise InputError("There is no tumour at this place. Click on a coloured region.")
    part = mask[slices(box)] == TUMOUR
    found = box_around(part)
    assert found is not None  # the voxel lies in the box
    near, tumour = placed(found, box), part[slices(found)]
    labels, _ = ndimage.label(tumour, np.ones((3, 3, 3)))
    here = tuple(index - low for index, (low, _) in zip(at, near, strict=True))
    return near, tumour, labels == labels[here]
