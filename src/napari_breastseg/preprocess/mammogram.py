"""Where the breast and the pectoral muscle are in a mammogram, from cheap image processing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.transform import resize

from napari_breastseg.case import Box, whole
from napari_breastseg.errors import InputError
from napari_breastseg.preprocess.breast_region import BreastRegion
from napari_breastseg.preprocess.intensity import SMALLEST, Inputs
from napari_breastseg.preprocess.overview import CONSTANT, Overview

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SKIN = 0.12
"""Where the breast begins on the way from the commonest value of the film or air to the median of what is clearly breast: the skin is
dark."""
ROWS = 160
"""Height at which the muscle is looked for."""
AWAY = 3.0
"""Pixels, at that height, on either side of the muscle's edge at which brightness is compared."""
LONG = 0.15
"""Exponent of the length of the edge in its score: of two equally sharp ones the longer counts a little more."""
SHARP = 0.15
"""Least difference in brightness, as a share of the breast's pixels, across what counts as the muscle's edge."""
BREAST_BEHIND = 0.75
"""Least share of the muscle's edge behind which there must be breast: the skin is no edge of the muscle."""
LEVELS = 257
"""Values between which the equalised brightness is interpolated."""
MARGIN = 0.02
"""Part of the image kept around the breast."""


def breast_outline(image: Plane) -> Mask:
    """Separate the breast, muscle included, from film or air and from labels, shape (y, x).

    Raises
    ------
    InputError
        If the image is constant.
    """
    if float(np.ptp(image)) <= SMALLEST:
        raise InputError(CONSTANT)
    smooth = ndimage.gaussian_filter(image, max(image.shape) / 480)
    cut = float(threshold_otsu(smooth))
    dark, bright = smooth[smooth < cut], smooth[smooth >= cut]
    counts, edges = np.histogram(dark, 64)
    air = float(edges[counts.argmax()])
    found = ndimage.binary_opening(smooth > air + SKIN * (float(np.median(bright)) - air), iterations=3)
    labels, count = ndimage.label(found)
    if count == 0:
        return np.ones(image.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    outline: Mask = ndimage.binary_fill_holes(labels == sizes.argmax())
    return outline


def pectoral_muscle(image: Plane, breast: Mask) -> Mask:
    """Find the pectoral muscle of an oblique view (MLO), shape (y, x); in views without one nothing is marked.

    It is what lies behind a straight line from the upper edge of the image to the chest wall, of all such lines that across which the
    brightness falls most. Brightness is ranked within the breast, so that the exposure does not matter.
    """
    h, w = image.shape
    size = (ROWS, max(16, round(w * ROWS / h)))
    small = resize(image, size, anti_aliasing=True).astype(np.float32)
    inside = resize(breast.astype(np.float32), size) > 0.5
    right = bool(inside[:, -2:].mean() > inside[:, :2].mean())
    if right:  # the wall is on the right: look at it from the other side
        small, inside = small[:, ::-1], inside[:, ::-1]
    top = np.flatnonzero(inside[2])
    if not top.size:
        return np.zeros(image.shape, bool)
    smooth = ndimage.gaussian_filter(small, 1.5)
    rank = np.searchsorted(np.sort(smooth[inside]), smooth) / inside.sum()
    across = np.arange(max(4, size[1] // 16), min(size[1] - 1, top[-1] + 1), 2)
    lines = np.stack(np.meshgrid(across, np.arange(ROWS // 7, ROWS * 19 // 20, 3)), -1).reshape(-1, 2)
    wide, deep = lines.T.astype(np.float64)
    if not wide.size:
        return np.zeros(image.shape, bool)
    drops = _drops(rank.astype(np.float32), inside, wide, deep)
    best = int((drops * np.hypot(wide, deep) ** LONG).argmax())
    if drops[best] < SHARP:
        return np.zeros(image.shape, bool)
    y, x = np.mgrid[:h, :w]
    x = w - 1 - x if right else x
    muscle: Mask = ((y + 0.5) * ROWS / h / deep[best] + (x + 0.5) * size[1] / w / wide[best] < 1) & breast
    return muscle


def _drops(rank: Plane, inside: Mask, wide: npt.NDArray[np.float64], deep: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean fall of brightness across each line from (0, wide) on the upper edge to (deep, 0) on the wall; 0 along the skin."""
    along = np.linspace(0.03, 0.97, 64)
    y, x = np.outer(deep, along), np.outer(wide, 1 - along)
    length = np.hypot(wide, deep)[:, None]
    dy, dx = AWAY * wide[:, None] / length, AWAY * deep[:, None] / length
    inner, outer = ((y - dy, x - dx), (y + dy, x + dx))
    h, w = rank.shape
    seen = (inner[0] >= 0) & (inner[1] >= 0) & (outer[0] < h) & (outer[1] < w)

    near, far = (tuple(axis.astype(int).clip(0, n - 1) for axis, n in zip(place, (h, w), strict=True)) for place in (inner, outer))
    fall = np.where(seen, np.clip(rank[near] - rank[far], -0.3, 0.3), 0)
    mean = fall.sum(1) / np.maximum(seen.sum(1), 8)
    return np.where((inside[far] & seen).mean(1) > BREAST_BEHIND, mean, 0.0)


def equalised(seen: Overview) -> Inputs:
    """Return the image with its histogram equalised within the breast, muscle left out: from 0 to 1, as many pixels at each value.

    Raises
    ------
    InputError
        If the image is constant.
    """
    image = seen.image[0]
    breast = breast_outline(image)
    tissue = breast & ~pectoral_muscle(image, breast)
    levels = np.quantile(seen.sample[0][tissue if tissue.any() else breast], np.linspace(0, 1, LEVELS))
    return Inputs(seen, (0,), ((1.0,),), (0.0,), levels=tuple(map(float, levels)))


def mammogram_region(seen: Overview) -> BreastRegion:
    """Return the box of the breast, and what of it is not muscle."""
    shape = seen.case.shape
    image = seen.image[0]
    breast = breast_outline(image)
    muscle = pectoral_muscle(image, breast)
    rows, columns = (np.flatnonzero(breast.any(axis)) for axis in (1, 0))
    box: list[tuple[int, int]] = []
    for found, cells, length in zip((rows, columns), image.shape, shape[1:], strict=True):
        low, high = found[0] / cells - MARGIN, (found[-1] + 1) / cells + MARGIN
        box.append((max(0, math.floor(low * length)), min(length, math.ceil(high * length))))
    y, x = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape[1:], image.shape, strict=True))
    boxes: list[Box] = [(whole(shape)[0], box[0], box[1])]
    return BreastRegion(boxes, ~muscle[np.ix_(y, x)])
