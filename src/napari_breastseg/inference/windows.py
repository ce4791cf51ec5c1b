"""Where windows stand in a box, and how they are blended."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box


def plan_windows(shape: Sequence[int], patch: Sequence[int], overlap: float = 0.25) -> list[Box]:
    """Cover a box with as few windows as the overlap allows, spread evenly from edge to edge.

    Parameters
    ----------
    shape, patch : sequence of int
        Voxels (z, y, x); an axis shorter than the patch gets one window of its own length.
    overlap : float
        Smallest share of a window that its neighbour repeats.
    """
    axes = []
    for length, size in zip(shape, patch, strict=True):
        size = min(size, length)
        count = 1 if length == size else int(np.ceil((length - size) / (size * (1 - overlap)))) + 1
        starts = np.round(np.linspace(0, length - size, count)).astype(int)
        axes.append([(int(s), int(s) + size) for s in starts])
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


@cache
def blending_weight(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Gaussian window of `shape` (sigma 1/8 of the edge, as nnU-Net), never below 1 % of its peak."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in shape]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    result: npt.NDArray[np.float32] = np.maximum(weight, 0.01).astype(np.float32)
    return result
