"""Where windows stand in a box, and how they are blended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from napari_breastseg.case import Box, slices

STRETCH = 1.25
"""How much longer than the patch a window may be, if fewer windows then suffice: the networks take any size."""


def plan_windows(shape: Sequence[int], patch: Sequence[int], overlap: float = 0.25) -> list[Box]:
    """Cover a box with as few windows as the overlap allows, spread evenly from edge to edge.

    A box of 65 voxels gets one window of 65, not two of 64: windows stretch by up to `STRETCH`.

    Parameters
    ----------
    shape, patch : sequence of int
        Voxels (z, y, x); an axis shorter than the patch gets one window of its own length.
    overlap : float
        Smallest share of a window that its neighbour repeats.
    """
    axes = []
    for length, size in zip(shape, patch, strict=True):
        # n windows of size s that overlap by the share o cover s (1 + (n - 1) (1 - o)) voxels.
        count = max(1, math.ceil((length / (size * STRETCH) - 1) / (1 - overlap)) + 1)
        window = min(length, max(size, math.ceil(length / (1 + (count - 1) * (1 - overlap)))))
        starts = np.round(np.linspace(0, length - window, count)).astype(int)
        axes.append([(int(s), int(s) + window) for s in starts])
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


@cache
def blending_weight(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Gaussian window of `shape` (sigma 1/8 of the edge, as nnU-Net), never below 1 % of its peak."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in shape]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    result: npt.NDArray[np.float32] = np.maximum(weight, 0.01).astype(np.float32)
    return result


def blend(total: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], window: Box, values: npt.NDArray[np.float32]) -> None:
    """Add what a window says, (z, y, x), to the weighted sum over windows and to the sum of their weights."""
    importance = blending_weight((values.shape[0], values.shape[1], values.shape[2]))
    total[slices(window)] += importance * values
    weight[slices(window)] += importance
