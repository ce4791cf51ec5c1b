"""Resampling between the grid of a case and the working grid of a model, as one matrix per axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

Volume = npt.NDArray[np.float32]
SLAB = 2**24
"""Voxels that are read from a case at a time."""


def working_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, int, int]:
    """Shape (z, y, x) of a volume of `shape` voxels of `spacing` mm on a grid of about `target` mm."""
    z, y, x = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))
    return z, y, x


def resample(volume: Volume, shape: Sequence[int], part: Sequence[slice] | None = None) -> Volume:
    """Resample (channel, z, y, x) to `shape` (z, y, x) over the same field of view.

    Linear, after a Gaussian that keeps what the coarser grid cannot show from folding back (sigma = (factor - 1) / 2 voxels).

    Parameters
    ----------
    volume : ndarray, shape (channel, z, y, x), float32
    shape : sequence of int
    part : sequence of slice, optional
        Return only these voxels (z, y, x) of the result.
    """
    places = part or (slice(None),) * 3
    x = _tensor(volume)
    axes = range(3) if volume.size < np.prod(shape) else reversed(range(3))  # whichever keeps what is between small
    for axis in axes:
        x = _along(x, axis, shape[axis], places[axis])
    result: Volume = x.numpy()
    return result


def resample_read(read: Callable[[slice], Volume], lengths: Sequence[int], shape: Sequence[int]) -> Volume:
    """Resample one volume that is read slab by slab, so that it is never in memory as a whole; see :func:`resample`.

    Parameters
    ----------
    read : callable
        Returns the slices of a range of z, shape (z, y, x).
    lengths : sequence of int
        Voxels (z, y, x) of the volume.
    shape : sequence of int

    Returns
    -------
    ndarray, shape `shape`, float32
    """
    depth, step = lengths[0], max(1, SLAB // (lengths[1] * lengths[2]))
    planes = torch.empty((1, depth, shape[1], shape[2]))
    for low in range(0, depth, step):
        slab = _tensor(read(slice(low, min(depth, low + step))))[None]
        planes[:, low : low + step] = _along(_along(slab, 2, shape[2]), 1, shape[1])
    result: Volume = _along(planes, 0, shape[0])[0].numpy()
    return result


def _tensor(volume: Volume) -> Tensor:
    return torch.from_numpy(np.require(volume, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]))  # torch warns of what it may not write


def _along(x: Tensor, axis: int, length: int, part: slice = slice(None)) -> Tensor:
    """Resample (channel, z, y, x) along one of its axes z, y, x to `length` voxels, of which `part` is returned."""
    if x.shape[axis + 1] == length:
        return x[(slice(None),) * (axis + 1) + (part,)]
    matrix = _matrix(x.shape[axis + 1], length)[part]
    if axis == 2:
        return x @ matrix.T
    if axis == 1:
        return matrix @ x
    return (matrix @ x.flatten(2)).view(x.shape[0], len(matrix), *x.shape[2:])


@lru_cache(maxsize=64)
def _matrix(length: int, wanted: int) -> Tensor:
    """Return the resampling of `length` to `wanted` voxels along one axis as a matrix: what it does to each unit vector."""
    unit = np.eye(length, dtype=np.float64)
    sigma = max(0.0, (length / wanted - 1) / 2)
    smooth = ndimage.gaussian_filter1d(unit, sigma, axis=0) if sigma else unit
    linear = interpolate(torch.from_numpy(smooth.T.copy())[None], size=wanted, mode="linear", align_corners=False)[0]
    return linear.T.float().contiguous()
